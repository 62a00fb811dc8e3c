"""Differential reading: what opening a tree said, against the independent reader of the format.

`Reading` sees every call of `RotorTree.open` while it watches. It takes the directory as it is
when the tree's lock is held, lets `rotortree_model.read_directory` read it, and compares: the
leaves, the root, whether it was closed cleanly, what was torn, which files were repaired, what is
known to be durable; or the error, its file, offset and leaves. Not compared is what no reader of
bytes can know: calls that failed, locks, parameters that somebody gave.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

import rotortree.durable.opening
import rotortree.durable.rotor_tree
from rotortree import (
    DataCorruptionError,
    DetachedError,
    FileLockedError,
    IoFailedError,
    NotATreeError,
    TreeNotFoundError,
    UnsupportedFormatError,
)
from rotortree.config import RotorTreeConfig
from rotortree.durable.engine import OpenedTree
from rotortree.durable.opening import RecoveryReport
from rotortree.errors import ConfigMismatchError, StorageError
from rotortree.storage.directory import FileSystem, ReadableDirectory
from rotortree.storage.environment import Environment
from rotortree.storage.os_directory import OsFileSystem
from rotortree.storage.recovery import Decision, Survey
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.cache import Cache, Inode
from rotortree_model import SCHEMES, Contents, DamagedError, Scheme, read_directory

__all__ = ["MOST_BYTES", "DisagreementError", "Reading", "files_of"]

MOST_BYTES = 1 << 18
"""Directories of a real disk that are larger are not read."""

_NOTHING: Mapping[str, bytes] = {}
"""What is taken where nothing is to be compared."""

PLACE = ("file", "offset", "leaves")
"""What an error says that the text may leave open."""

Opened: TypeAlias = tuple[OpenedTree, RecoveryReport]
Outcome: TypeAlias = Opened | StorageError
Found: TypeAlias = Contents | DamagedError | None


class DisagreementError(AssertionError):
    """The implementation and the independent reader read a directory in two ways."""


def files_of(fs: FileSystem, directory: str) -> Mapping[str, bytes] | None:
    """The files of a directory by their paths in it; None if it cannot or should not be read."""
    if isinstance(fs, SimulatedDisk):
        try:
            return dict(_files_below(fs.cache, fs.cache.directory(fs.cache.root, directory), ""))
        except OSError:
            return {}
    root = Path(directory)
    if type(fs) is not OsFileSystem or not root.is_dir():
        return None
    paths = [path for path in root.rglob("*") if path.is_file()]
    try:
        if sum(path.stat().st_size for path in paths) > MOST_BYTES:
            return None
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    except OSError:
        return None


def _files_below(cache: Cache, directory: Inode, start: str) -> Iterator[tuple[str, bytes]]:
    """Files by their paths, by way of links, too; no deeper than those of a tree ever are."""
    for name in directory.names:
        try:
            found = cache.look_up(directory, name)
        except OSError:  # a link to nothing
            continue
        if found.entries is None:
            yield f"{start}{name}", found.data
        elif start.count("/") < 2:
            yield from _files_below(cache, found, f"{start}{name}/")


class Reading:
    """Compares opens while it watches, and counts by what they were; none when ``paused``.

    One of ``every`` many, because the independent reader takes as long as all the rest.
    """

    def __init__(self, every: int) -> None:
        self.counts = Counter[str]()
        self.paused = False
        self.every = every
        self._opens = 0
        self._captured = threading.local()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch `RotorTree.open`."""
        opening = rotortree.durable.rotor_tree.open_tree  # type: ignore[attr-defined]  # imported there
        survey = rotortree.durable.opening.survey  # type: ignore[attr-defined]
        decide = rotortree.durable.opening.decide  # type: ignore[attr-defined]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rotortree.durable.rotor_tree, "open_tree", partial(self._open, opening))
            patch.setattr(rotortree.durable.opening, "survey", partial(self._survey, survey))
            patch.setattr(rotortree.durable.opening, "decide", partial(self._decide, decide))
            yield

    def _survey(
        self, survey: Callable[[ReadableDirectory], Survey], root: ReadableDirectory
    ) -> Survey:
        """Take the directory now that the lock is held; the second survey is of a new tree."""
        source = getattr(self._captured, "source", None)
        if not self.paused and source is not None and self._captured.files is None:
            self._captured.files = files_of(*source)
        return survey(root)

    def _decide(
        self, decide: Callable[[Survey], Decision | None], found: Survey
    ) -> Decision | None:
        """Take what was decided."""
        self._captured.decision = decide(found)
        return self._captured.decision  # type: ignore[no-any-return]  # it was set just now

    def _open(
        self,
        opening: Callable[[RotorTreeConfig, Environment], Opened],
        config: RotorTreeConfig,
        environment: Environment,
    ) -> Opened:
        self._opens += 1
        self._captured.fs = environment.files
        if self.paused or self._opens % self.every:
            self._captured.files = _NOTHING
            return opening(config, environment)
        self._captured.files, self._captured.decision = None, None
        self._captured.source = environment.files, config.path
        hits = _hits(environment.files)
        try:
            opened = opening(config, environment)
        except StorageError as error:
            if hits == _hits(environment.files):
                self._compare(config, environment, error)
            raise
        try:
            if hits == _hits(environment.files):
                self._compare(config, environment, opened)
        except BaseException:
            opened[0].release()
            raise
        return opened

    def _compare(self, config: RotorTreeConfig, environment: Environment, outcome: Outcome) -> None:
        files = self._captured.files
        if files is None and isinstance(outcome, NotATreeError | TreeNotFoundError):
            files = files_of(environment.files, config.path)
        if self.paused or files is None or _is_of_no_file(config, outcome):
            return
        found = _read(files, config)
        decision: Decision | None = self._captured.decision
        differences = list(_differences(found, outcome, decision, config.path))
        if differences:
            raise DisagreementError(f"{sorted(files)}: {'; '.join(differences)}")
        self.counts[_kind(found)] += 1

    def summary(self) -> str:
        """How many directories of which kind were read by both."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        return f"{self.counts.total()} directories were read twice: {kinds}"


def _hits(fs: FileSystem) -> int:
    """How many calls went wrong so far."""
    return fs.faults.hits if isinstance(fs, SimulatedDisk) else 0


def _is_of_no_file(config: RotorTreeConfig, outcome: Outcome) -> bool:
    """Whether it is an error of what the call was given, of the system, or of what others did."""
    given = (config.n, config.max_depth, config.hasher) != (None, None, None)
    return isinstance(outcome, IoFailedError | FileLockedError | DetachedError) or (
        isinstance(outcome, ConfigMismatchError) and given
    )


def _read(files: Mapping[str, bytes], config: RotorTreeConfig) -> Found:
    schemes: dict[str, Scheme] = dict(SCHEMES)
    hasher = config.hasher
    if hasher is not None:
        schemes[hasher.name] = lambda children: hasher.parent(b"".join(children))
    try:
        return read_directory(files, verify=config.verify_checkpoint, schemes=schemes)
    except DamagedError as error:
        return error


def _kind(found: Found) -> str:
    """What the reader found, in a word or two."""
    if found is None:
        return "no tree"
    if isinstance(found, DamagedError):
        return found.kind
    if found.repaired:
        return "repaired"
    return "closed" if found.closed else "torn" if found.torn else "not closed"


def _differences(
    found: Found, outcome: Outcome, decision: Decision | None, directory: str
) -> Iterator[str]:
    """All that the two say differently."""
    ours, theirs = _facts_of_reader(found), _facts(outcome, decision, directory)
    for name, expected in theirs.items():
        said = ours.get(name)
        unsaid = isinstance(found, DamagedError) and said is None and name in PLACE
        if said != expected and not unsaid:
            yield f"{name} is {expected!r}, by the text {said!r}"


def _facts_of_reader(found: Found) -> Mapping[str, object]:
    if found is None:
        return {"verdict": "no tree"}
    if isinstance(found, DamagedError):
        return {
            "verdict": found.kind,
            "file": found.file,
            "offset": found.offset,
            "leaves": found.leaves,
        }
    return {
        "verdict": "a tree",
        "leaves": b"".join(found.leaves),
        "root": found.root,
        "clean": found.closed and not found.repaired,
        "torn": found.torn[2] - found.torn[1] if found.torn else 0,
        "repaired": sorted(found.repaired),
        "checkpoint": found.checkpoint,
        "durable": found.durable,
        "identity": tuple(found.identity),
    }


def _facts(outcome: Outcome, decision: Decision | None, directory: str) -> Mapping[str, object]:
    if isinstance(outcome, tuple):
        assert decision is not None  # there is a tree
        return _facts_of_tree(*outcome, decision, directory)
    if isinstance(outcome, TreeNotFoundError):
        return {"verdict": "no tree"}
    facts: dict[str, object] = {"verdict": type(outcome).__name__}
    if isinstance(outcome, DataCorruptionError | UnsupportedFormatError):
        facts["file"] = outcome.path.removeprefix(f"{directory}/")
    if isinstance(outcome, DataCorruptionError):
        facts |= {"offset": outcome.offset, "leaves": outcome.leaves}
    return facts


def _facts_of_tree(
    opened: OpenedTree, report: RecoveryReport, decision: Decision, directory: str
) -> Mapping[str, object]:
    if report.created:
        return {"verdict": "no tree"}
    tree = opened.tree
    files = {entry.removeprefix(f"{directory}/").split(":")[0] for entry in report.repaired}
    return {
        "verdict": "a tree",
        "durable": decision.durable_size,
        "leaves": b"".join(tree.views(0, 0, tree.size)),
        "root": tree.root(tree.size) if tree.size else None,
        "clean": report.clean,
        "torn": report.torn_bytes,
        "repaired": sorted({file.split(",")[0] for file in files}),
        "checkpoint": report.checkpoint_size,
        "identity": tuple(decision.identity),
    }
