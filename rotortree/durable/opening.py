"""Opening a directory: create a tree, or recover the one that is there, and say what was found."""

from __future__ import annotations

import contextlib
import errno
import posixpath
from dataclasses import dataclass
from functools import partial

from rotortree.config import RotorTreeConfig
from rotortree.durable.engine import OpenedTree, remove_segments
from rotortree.errors import (
    ConfigMismatchError,
    InvalidConfigError,
    IoFailedError,
    NotATreeError,
    TreeNotFoundError,
)
from rotortree.hashing import Blake3Hasher, Hasher, builtin_hasher
from rotortree.storage import calls
from rotortree.storage.environment import Environment
from rotortree.storage.files import FileSystem, Lock
from rotortree.storage.format import (
    COMMIT,
    EMPTY,
    LEVELS,
    LOCK,
    SALT_BYTES,
    WAL,
    Commit,
    Head,
    Identity,
    SegmentHeader,
    segment_number,
)
from rotortree.storage.level_files import (
    Damage,
    LevelFiles,
    default_shard_nodes,
    nodes_per_segment,
)
from rotortree.storage.recovery import Decision, Survey, decide, load, survey
from rotortree.storage.wal import SegmentWriter, create_writer
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
    _prepare_directory(config, environment)
    path = f"{config.path}/{LOCK}"
    lock = calls.take_lock(environment.files, path, shared=config.read_only)
    try:
        opened, report = _open_locked(config, environment, lock, started)
    except BaseException:
        if lock is not None:
            calls.release_lock(lock)
        raise
    return opened, report


def _prepare_directory(config: RotorTreeConfig, environment: Environment) -> None:
    """Make the directory if it may be made; refuse one that is something else's."""
    fs, path = environment.files, config.path
    try:
        names = set(calls.listdir(fs, path))
    except IoFailedError as error:
        if error.errno == errno.ENOTDIR:
            raise NotATreeError(path, "it is not a directory") from error
        raise
    log = map(segment_number, calls.listdir(fs, f"{path}/{WAL}") if WAL in names else ())
    if COMMIT in names or any(log):
        return
    if names - _OUR_NAMES:
        raise NotATreeError(path, f"the directory holds {min(names - _OUR_NAMES)!r}")
    if not names & {WAL, LEVELS}:
        if config.read_only or not config.create:
            raise TreeNotFoundError(path)
        calls.make_directory(fs, path)


def _open_locked(
    config: RotorTreeConfig, environment: Environment, lock: Lock | None, started: float
) -> tuple[OpenedTree, RecoveryReport]:
    found = survey(environment.files, config.path)
    decision = decide(found)
    created = decision is None
    if decision is None:
        if config.read_only or not config.create:
            raise TreeNotFoundError(config.path)
        _create(config, environment)
        found = survey(environment.files, config.path)
        decision = decide(found)
        assert decision is not None  # its first segment was just written
        decision = decision._replace(clean=True)
    identity = decision.identity
    hasher = _matching_hasher(config, identity)
    tree = new_accumulator(identity.n, identity.max_depth, hasher, nodes_per_segment(identity))
    levels = LevelFiles(environment.files, config.path, identity)
    damages = load(
        environment.files,
        found,
        decision,
        tree,
        levels,
        config.tiering,
        verify=config.verify_checkpoint,
    )
    log, commit = None, found.commit
    if not config.read_only:
        log, commit = _go_on(config, environment, found, decision, tree, levels, damages)
    opened = OpenedTree(
        lock, identity, tree, levels, log, commit, decision.base, decision.first_segment
    )
    return opened, RecoveryReport(
        created=created,
        clean=decision.clean and not damages,
        torn_bytes=decision.torn_bytes,
        torn_leaves=decision.torn_leaves,
        repaired=_repairs(found, damages),
        replayed_leaves=decision.head.size - decision.base.size,
        checkpoint_size=decision.base.size,
        seconds=environment.scheduler.now() - started,
    )


def _repairs(found: Survey, damages: tuple[Damage, ...]) -> tuple[str, ...]:
    commit = () if found.commit_error is None else (str(found.commit_error),)
    return commit + tuple(str(damage) for damage in damages)


def _create(config: RotorTreeConfig, environment: Environment) -> None:
    """Make a new, empty tree.  The name of its first segment is the commit point.

    That name is not durable yet: going on with a recovered tree begins with that.
    """
    fs, path = environment.files, config.path
    n = 4 if config.n is None else config.n
    hasher = Blake3Hasher() if config.hasher is None else config.hasher
    shard_nodes = environment.shard_nodes or default_shard_nodes(n)
    if shard_nodes % n:
        raise InvalidConfigError("shard_nodes", shard_nodes, f"it must be a multiple of {n}")
    identity = Identity(
        n=n,
        max_depth=20 if config.max_depth is None else config.max_depth,
        shard_nodes=shard_nodes,
        tree_id=environment.random_bytes(16),
        scheme=hasher.name,
    )
    calls.make_directory(fs, f"{path}/{WAL}")
    calls.make_directory(fs, f"{path}/{LEVELS}")
    _sync_names(environment, path, with_parent=True)
    header = SegmentHeader(identity, 1, EMPTY, environment.random_bytes(SALT_BYTES))
    writer = create_writer(environment, f"{path}/{WAL}", header)
    writer.close()
    calls.publish(fs, writer.path)


def _sync_names(environment: Environment, path: str, *, with_parent: bool) -> None:
    calls.sync_directory(environment.files, path)
    if with_parent:
        calls.sync_directory(environment.files, posixpath.dirname(path) or ".")


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


def _go_on(
    config: RotorTreeConfig,
    environment: Environment,
    found: Survey,
    decision: Decision,
    tree: Accumulator,
    levels: LevelFiles,
    damages: tuple[Damage, ...],
) -> tuple[SegmentWriter, Commit | None]:
    """Make what was recovered durable, and a place for what comes.

    What was read may be in memory only, if a process was killed before it synced, or if its fsync
    failed; and in the latter case another fsync would say nothing.  So what is not known to be on
    the disk is written anew, into the next segment, before that has a name and before anything
    older is changed.
    """
    fs, path = environment.files, config.path
    calls.sync_directory(fs, f"{path}/{WAL}")
    # A commit record shows that creation was finished, and the parent's names are durable.
    _sync_names(environment, path, with_parent=found.commit is None)
    if decision.clean and not damages:
        clean = found.commit or _write_commit(fs, path, decision, decision.last.number)
        return _reopen_segment(environment, decision, is_new=found.commit is None), clean
    base = Head(decision.durable_size, tree.root(decision.durable_size))
    salt = environment.random_bytes(SALT_BYTES)
    header = SegmentHeader(decision.identity, decision.last.number + 1, base, salt)
    writer = create_writer(environment, f"{path}/{WAL}", header)
    try:
        if base != decision.head:
            writer.write(decision.head.size, 0, partial(tree.views, 0), tree.root)
            writer.sync()
            writer.advance()
        calls.publish(fs, writer.path)
        calls.sync_directory(fs, f"{path}/{WAL}")
        levels.repair(tree, decision.base.size, damages)
        commit = found.commit
        if _needs_commit(config, found, decision):
            commit = _write_commit(fs, path, decision, header.number)
        with contextlib.suppress(IoFailedError):  # it only gives space back
            remove_segments(environment, path, decision.first_segment)
    except BaseException:
        writer.close()
        raise
    return writer, commit


def _needs_commit(config: RotorTreeConfig, found: Survey, decision: Decision) -> bool:
    """Whether to write the commit record anew.

    When there is none, or no valid one; when acknowledgements are recorded and it does not say of
    what opening shows, and so acknowledges; and when segments are still there that it made useless:
    then it may have been renamed into place without its name ever reaching the disk, and they may
    go only when that is certain.
    """
    if found.commit is None or found.segments[0].number < decision.first_segment:
        return True
    return config.record_acknowledgements and found.commit.acknowledged != decision.head


def _write_commit(fs: FileSystem, path: str, decision: Decision, last_segment: int) -> Commit:
    """Record what was recovered, as the log's last segment has it durable."""
    commit = Commit(
        decision.identity, decision.base, decision.head, decision.first_segment, last_segment
    )
    calls.replace_file(fs, path, COMMIT, commit.encode())
    return commit


def _reopen_segment(environment: Environment, decision: Decision, *, is_new: bool) -> SegmentWriter:
    scan = decision.last
    file = calls.open_file(environment.files, scan.path, "write")
    assert file is not None  # it was read under the lock just now
    assert scan.header is not None  # and was sound
    writer = SegmentWriter(file, scan.path, scan.header, environment, scan)
    try:
        if scan.size > scan.end:
            # Zeros ahead.  If their sync failed, and the disk was read again since, then nobody
            # knows whether it has them; so their length must be written anew.
            writer.cut_back()
        if not is_new:
            # A process that was killed may have cut off a unit that the disk still has.
            writer.sync()
    except BaseException:
        writer.close()
        raise
    return writer
