"""Opening a directory: create a tree, or recover the one that is there, and say what was found."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from functools import partial

from rotortree.config import RotorTreeConfig
from rotortree.durable.engine import OpenedTree
from rotortree.errors import (
    ConfigMismatchError,
    InvalidConfigError,
    IoFailedError,
    NotATreeError,
    TreeNotFoundError,
)
from rotortree.hashing import Blake3Hasher, Hasher, builtin_hasher
from rotortree.storage import calls
from rotortree.storage.directory import Directory, Lock, ReadableDirectory
from rotortree.storage.environment import Environment
from rotortree.storage.format import COMMIT, LEVELS, LOCK, WAL, Identity, segment_number
from rotortree.storage.level_files import (
    LevelFiles,
    WrongPlace,
    default_shard_nodes,
    nodes_per_segment,
)
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log, create_log, resume_log
from rotortree.storage.recovery import Decision, Survey, decide, load, survey
from rotortree.tree.accumulator import Accumulator, new_accumulator

__all__ = ["RecoveryReport", "open_tree"]

_OUR_NAMES = frozenset({LOCK, COMMIT, COMMIT + calls.TEMPORARY, WAL, LEVELS})


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What opening the tree found and did.

    ``created``: there was none.  ``clean``: the last process closed it, and nothing was wrong.
    ``torn_bytes`` and ``torn_leaves``: what the log's end held of a flush that was never
    acknowledged and was dropped.  ``repaired``: what was damaged and made right again from what was
    not, each with its file and offset.  ``replayed_leaves`` came from the log, ``checkpoint_size``
    from the level files.  ``seconds``: how long opening took.
    """

    created: bool
    clean: bool
    torn_bytes: int
    torn_leaves: int
    repaired: tuple[str, ...]
    replayed_leaves: int
    checkpoint_size: int
    seconds: float


def open_tree(
    config: RotorTreeConfig, environment: Environment
) -> tuple[OpenedTree, RecoveryReport]:
    """Create or recover the tree of a directory; hold its lock.

    Raises what `RotorTree.open` documents; then nothing is locked, and nothing was changed on disk
    but what a later open does again.
    """
    started = environment.scheduler.now()
    root = _open_directory(config, environment)
    try:
        lock = calls.take_lock(root, LOCK, shared=config.read_only)
        try:
            return _Opening(config, environment, root, lock).open(started)
        except BaseException:
            calls.release_lock(lock)
            raise
    except BaseException:
        calls.close(root)
        raise


def _open_directory(config: RotorTreeConfig, environment: Environment) -> Directory:
    """Open the directory, made if it may be made; refuse one that is something else's."""
    path = config.path
    try:
        root = calls.open_root(environment.files, path)
        if root is None:
            if config.read_only or not config.create:
                raise TreeNotFoundError(path)
            with calls.translated(path, "mkdir"), contextlib.suppress(FileExistsError):
                environment.files.mkdir(path)
            with calls.translated(path, "open"):
                root = environment.files.directory(path)
    except IoFailedError as error:
        if error.errno == errno.ENOTDIR:
            raise NotATreeError(path, "it is not a directory") from error
        raise
    try:
        _check_names(config, root)
    except BaseException:
        calls.close(root)
        raise
    return root


def _check_names(config: RotorTreeConfig, root: ReadableDirectory) -> None:
    """Raise NotATreeError, or TreeNotFoundError where no tree is and none may be created."""
    names = set(calls.listdir(root))
    if COMMIT in names or (WAL in names and _has_segments(root)):
        return
    if names - _OUR_NAMES:
        raise NotATreeError(config.path, f"the directory holds {min(names - _OUR_NAMES)!r}")
    if not names & {WAL, LEVELS} and (config.read_only or not config.create):
        raise TreeNotFoundError(config.path)


def _has_segments(root: ReadableDirectory) -> bool:
    wal = calls.open_directory(root, WAL)
    if wal is None:
        return False
    try:
        return any(segment_number(name) is not None for name in calls.listdir(wal))
    finally:
        calls.close(wal)


class _Opening:
    """The steps from a locked directory to an open tree."""

    def __init__(
        self, config: RotorTreeConfig, environment: Environment, root: Directory, lock: Lock
    ) -> None:
        self._config = config
        self._environment = environment
        self._root = root
        self._lock = lock

    def open(self, started: float) -> tuple[OpenedTree, RecoveryReport]:
        """Survey, decide, create if there is nothing, load, go on."""
        config, root = self._config, self._root
        found = survey(root)
        decision = decide(found)
        created = decision is None
        if decision is None:
            found, decision = self._create()
        identity = decision.identity
        hasher = _matching_hasher(config, identity)
        tree = new_accumulator(identity.n, identity.max_depth, hasher, nodes_per_segment(identity))
        levels = LevelFiles(root, identity)
        log = writer = None
        try:
            wrong = load(
                root, found, decision, tree, levels, config.tiering, verify=config.verify_checkpoint
            )
            if not config.read_only:
                writer = LevelWriter(root, identity)
                log = self._resume(found, decision, tree, writer, wrong, created=created)
            opened = OpenedTree(root, self._lock, tree, levels, decision.base, log, writer)
        except BaseException:
            for part in (writer, levels):
                if part is not None:
                    part.close()
            raise
        return opened, RecoveryReport(
            created=created,
            clean=decision.clean and not wrong,
            torn_bytes=decision.torn_bytes,
            torn_leaves=decision.torn_leaves,
            repaired=_repairs(found, wrong),
            replayed_leaves=decision.head.size - decision.base.size,
            checkpoint_size=decision.base.size,
            seconds=self._environment.scheduler.now() - started,
        )

    def _create(self) -> tuple[Survey, Decision]:
        """Make a new, empty tree, and read it back as any other."""
        config = self._config
        if config.read_only or not config.create:
            raise TreeNotFoundError(config.path)
        create_log(self._root, self._environment, _new_identity(config, self._environment))
        found = survey(self._root)
        decision = decide(found)
        assert decision is not None  # its first segment was just written
        return found, decision._replace(clean=True)

    def _resume(
        self,
        found: Survey,
        decision: Decision,
        tree: Accumulator,
        writer: LevelWriter,
        wrong: tuple[WrongPlace, ...],
        *,
        created: bool,
    ) -> Log:
        repair = partial(writer.repair, tree, decision.base.size, wrong)
        return resume_log(
            self._root,
            self._lock,
            self._environment,
            found,
            decision,
            partial(tree.views, 0),
            tree.root,
            repair=repair if wrong else None,
            record=self._config.record_acknowledgements,
            created=created,
        )


def _new_identity(config: RotorTreeConfig, environment: Environment) -> Identity:
    n = 4 if config.n is None else config.n
    hasher = Blake3Hasher() if config.hasher is None else config.hasher
    shard_nodes = environment.shard_nodes or default_shard_nodes(n)
    if shard_nodes % n:
        raise InvalidConfigError("shard_nodes", shard_nodes, f"it must be a multiple of {n}")
    return Identity(
        n=n,
        max_depth=20 if config.max_depth is None else config.max_depth,
        shard_nodes=shard_nodes,
        tree_id=environment.random_bytes(16),
        scheme=hasher.name,
    )


def _repairs(found: Survey, wrong: tuple[WrongPlace, ...]) -> tuple[str, ...]:
    commit = () if found.commit_error is None else (str(found.commit_error),)
    return commit + tuple(str(place) for place in wrong)


def _matching_hasher(config: RotorTreeConfig, identity: Identity) -> Hasher:
    """The stored scheme's hasher; ConfigMismatchError if anything given is not as stored."""
    given = config.hasher
    for parameter, stored, wanted in (
        ("n", identity.n, config.n),
        ("max_depth", identity.max_depth, config.max_depth),
        ("scheme", identity.scheme, None if given is None else given.name),
    ):
        if wanted is not None and wanted != stored:
            raise ConfigMismatchError(config.path, parameter, stored, wanted)
    hasher = given or builtin_hasher(identity.scheme)
    if hasher is None:
        raise ConfigMismatchError(config.path, "scheme", identity.scheme, "a built-in one")
    return hasher
