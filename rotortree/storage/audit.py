"""Verify everything that a tree's directory stores, and name all that is wrong with it.

Nothing here reads the format by itself: the facts are those of `recovery.survey`, the verdicts
those of `recovery.decide`, the nodes those that `LevelFiles.load` loaded.  Opening a tree stops at
the first error; an audit asks the same questions of every part by itself, so that damage in one
place does not hide damage in another.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Literal, NamedTuple

from rotortree import kernel
from rotortree.config import TieringConfig
from rotortree.errors import (
    ConfigMismatchError,
    IoFailedError,
    StorageError,
    TreeNotFoundError,
    UnsupportedFormatError,
)
from rotortree.geometry import NODE_BYTES, complete_count, depth
from rotortree.hashing import Hasher, builtin_hasher
from rotortree.storage import calls
from rotortree.storage.files import FileSystem
from rotortree.storage.format import (
    COMMIT,
    EMPTY,
    FRAME_BYTES,
    LEVELS,
    LOCK,
    SHARD_BYTES,
    WAL,
    Head,
    Identity,
    is_level,
    segment_number,
    shard_header,
    shard_name,
)
from rotortree.storage.level_files import LevelFiles, nodes_per_segment
from rotortree.storage.recovery import Decision, Survey, decide, load, survey
from rotortree.tree.accumulator import Accumulator, new_accumulator

__all__ = ["Finding", "Severity", "audit", "shared_lock"]

Severity = Literal["damaged", "repairable", "note"]
"""How bad a finding is.

damaged: acknowledged data cannot be trusted, or cannot be read.  repairable: opening the tree for
writing makes it right again.  note: harmless, what a crash may leave behind.
"""

_VERSION_OFFSET = 8
"""Where a header has its format version."""

_GROUPS_AT_ONCE = 1 << 14


class Finding(NamedTuple):
    """Something that is not as it should be: in which file, how many bytes into it.

    ``offset`` is None where it is the whole file, or the operating system did not say.
    """

    path: str
    offset: int | None
    message: str
    severity: Severity

    def __str__(self) -> str:
        place = self.path if self.offset is None else f"{self.path}, offset {self.offset}"
        return f"{place}: {self.message}"


@contextlib.contextmanager
def shared_lock(fs: FileSystem, directory: str) -> Iterator[None]:
    """Keep writers out of a tree's directory.

    A copy without its lock file is nobody's.  Raises FileLockedError, IoFailedError.
    """
    lock = calls.take_lock(fs, f"{directory}/{LOCK}", shared=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def audit(fs: FileSystem, directory: str, hasher: Hasher | None = None) -> list[Finding]:
    """Everything that is wrong with the tree in ``directory``; changes nothing on disk.

    ``hasher`` is that of the tree if its scheme is not built in.  The tree is read as a whole and
    held in memory.  Raises TreeNotFoundError, FileLockedError, ConfigMismatchError when the scheme
    is not known, IoFailedError when COMMIT or the log cannot be read.
    """
    if {WAL, COMMIT, LEVELS}.isdisjoint(calls.listdir(fs, directory)):
        raise TreeNotFoundError(directory)
    with shared_lock(fs, directory):
        found = survey(fs, directory)
        findings = [_damaged(error) for error in _log_errors(found)]
        decision = None if findings else decide(found)
        if decision is None and not findings:
            raise TreeNotFoundError(directory)
        findings += _content_findings(fs, found, decision, hasher)
        sound = all(finding.severity != "damaged" for finding in findings)
        findings += _commit_findings(found, decision, repairable=sound)
        findings += _notes(fs, found, decision)
    return _first_of_each_place(findings)


def _first_of_each_place(findings: list[Finding]) -> list[Finding]:
    """One finding for a place: several questions may have found the same damage."""
    first: dict[tuple[str, int | None], Finding] = {}
    for finding in findings:
        first.setdefault((finding.path, finding.offset), finding)
    return list(first.values())


def _damaged(error: StorageError) -> Finding:
    """An error of the library as a finding: the place apart from what is wrong there."""
    place: str = getattr(error, "path", "")
    offset: int | None = getattr(error, "offset", None)
    if isinstance(error, UnsupportedFormatError):
        offset = _VERSION_OFFSET
    message = str(error).removeprefix(place).removeprefix(f", offset {offset}").removeprefix(": ")
    return Finding(place, offset, message, "damaged")


# The log and the commit record.


def _log_errors(found: Survey) -> Iterator[StorageError]:
    """What `decide` says of every part of the log by itself, and of all of it."""
    for part in (*_parts(found), found):
        try:
            decide(part)
        except StorageError as error:
            yield error


def _parts(found: Survey) -> Iterator[Survey]:
    """Each live segment, each with the next, and the last one with the commit record."""
    commit = found.commit
    live = [scan for scan in found.segments if not commit or scan.number >= commit.first_segment]
    alone = found._replace(commit=None, commit_error=None)
    for scan in live:
        yield alone._replace(segments=(scan,))
    for pair in itertools.pairwise(live):
        yield alone._replace(segments=pair)
    if commit is not None and live and live[-1].header is not None:
        begun = commit._replace(checkpoint=live[-1].header.base, first_segment=live[-1].number)
        yield found._replace(segments=(live[-1],), commit=begun)


def _commit_findings(
    found: Survey, decision: Decision | None, *, repairable: bool
) -> Iterator[Finding]:
    severity: Severity = "repairable" if repairable else "damaged"
    if found.commit_error is not None:
        yield _damaged(found.commit_error)._replace(severity=severity)
    elif found.commit is None and decision is not None and decision.base != EMPTY:
        yield Finding(found.commit_path, None, "the commit record is missing", severity)


# Nodes and roots.


def _content_findings(
    fs: FileSystem, found: Survey, decision: Decision | None, hasher: Hasher | None
) -> Iterator[Finding]:
    """Recompute every node and every root that is stored."""
    identity = found.identity
    if identity is None:
        return
    hasher = hasher or builtin_hasher(identity.scheme)
    if hasher is None:
        raise ConfigMismatchError(found.directory, "scheme", identity.scheme, "a built-in one")
    tree = new_accumulator(identity.n, identity.max_depth, hasher, nodes_per_segment(identity))
    levels = LevelFiles(fs, found.directory, identity)
    base = _base(found, identity)
    # Read, not mapped, above the leaves: a sector that cannot be read is an error, not a signal.
    tiering = TieringConfig(pin_above_level=1)
    try:
        if decision is not None:
            damages = load(fs, found, decision, tree, levels, tiering, verify=True)
        elif base != EMPTY:
            damages = levels.load(tree, base, tiering, verify=True)
        else:
            damages = ()
    except StorageError as error:
        yield _damaged(error)
        yield from _StoredNodes(fs, found.directory, identity, hasher).findings(base.size)
        return
    for damage in damages:
        yield Finding(damage.path, damage.offset, damage.message, "repairable")
    if decision is not None:
        yield from _unit_roots(tree, decision)


def _base(found: Survey, identity: Identity) -> Head:
    """What the level files should hold, as far as anything that is sound says so."""
    if found.commit is not None:
        return found.commit.checkpoint if found.commit.identity == identity else EMPTY
    header = found.segments[0].header if found.segments else None
    return header.base if header is not None else EMPTY


def _unit_roots(tree: Accumulator, decision: Decision) -> Iterator[Finding]:
    """Opening compares the last root of the log only; here every flush's."""
    for path, unit in decision.units:
        if tree.root(unit.stop) != unit.root:
            offset = unit.frames[-1][0] - FRAME_BYTES
            message = f"the frame's root is not that of the first {unit.stop} leaves"
            yield Finding(path, offset, message, "damaged")


class _StoredNodes:
    """The nodes of the level files as they are, judged group by group.

    Opening asks this of all leaves together and names one place.  Here every place is found, but
    what disagrees with what does not always say which of the two is damaged.
    """

    def __init__(self, fs: FileSystem, directory: str, identity: Identity, hasher: Hasher) -> None:
        self._fs = fs
        self._directory = f"{directory}/{LEVELS}"
        self._identity = identity
        self._hasher = hasher

    def findings(self, size: int) -> Iterator[Finding]:
        """Damaged headers, missing ends, nodes that are not the parents of their children."""
        for level, shard, length in _expected_files(size, self._identity):
            yield from self._file_findings(level, shard, length)
        yield from self._disagreements(size)

    def _file_findings(self, level: int, shard: int, length: int) -> Iterator[Finding]:
        path = f"{self._directory}/{shard_name(level, shard)}"
        try:
            size = _file_size(self._fs, path)
            header = self._read(path, SHARD_BYTES, 0)
        except IoFailedError as error:
            yield _damaged(error)
            return
        if size < length:
            yield Finding(path, size, f"the file ends at {size}, not at {length}", "damaged")
        if len(header) == SHARD_BYTES and header != shard_header(self._identity, level, shard):
            message = "the header is damaged, or another file's"
            yield Finding(path, 0, message, "damaged")

    def _disagreements(self, size: int) -> Iterator[Finding]:
        """Every stored node that is not the parent of its stored children, and who is to blame.

        A damaged node agrees neither with its children nor with its parent; a damaged leaf has no
        children, so that its parent disagrees with it and with nothing else.
        """
        n = self._identity.n
        bad: dict[int, set[int]] = {0: set()}
        for level in range(1, depth(size, n) + 1):
            bad[level] = set(self._bad_parents(level, complete_count(size, n, level)))
        for level, indices in bad.items():
            for index in sorted(indices):
                children = range(index * n, index * n + n)
                above = index // n in bad.get(level + 1, ())
                if level == 1 and not above:
                    message = f"of leaves {children[0]} to {children[-1]} at least one is damaged"
                    yield self._finding(0, children[0], message)
                elif above or bad[level - 1].isdisjoint(children):
                    message = f"node {index} of level {level} is not the parent of its children"
                    yield self._finding(level, index, message)

    def _bad_parents(self, level: int, count: int) -> Iterator[int]:
        """The stored nodes of a level that are not the parents of their stored children."""
        n = self._identity.n
        for start, stop in self._rows(count):
            stored = self._nodes(level, start, stop)
            children = self._nodes(level - 1, start * n, stop * n)
            groups = min(len(stored) // NODE_BYTES, len(children) // (n * NODE_BYTES))
            computed = kernel.hash_groups(self._hasher, children[: groups * n * NODE_BYTES], n)
            for at in range(0, len(computed) if stored != computed else 0, NODE_BYTES):
                if stored[at : at + NODE_BYTES] != computed[at : at + NODE_BYTES]:
                    yield start + at // NODE_BYTES

    def _rows(self, count: int) -> Iterator[tuple[int, int]]:
        """The nodes [0, count) of a level in parts, of each of which all children are in one file.

        Then the nodes themselves are, too, because a file holds a multiple of n.
        """
        parents = self._identity.shard_nodes // self._identity.n
        for shard_start in range(0, count, parents):
            shard_stop = min(count, shard_start + parents)
            for start in range(shard_start, shard_stop, _GROUPS_AT_ONCE):
                yield start, min(shard_stop, start + _GROUPS_AT_ONCE)

    def _nodes(self, level: int, start: int, stop: int) -> bytes:
        """Nodes [start, stop), all of one file; fewer where it ends, none if it is unreadable."""
        shard, place = divmod(start, self._identity.shard_nodes)
        path = f"{self._directory}/{shard_name(level, shard)}"
        try:
            return self._read(path, (stop - start) * NODE_BYTES, SHARD_BYTES + place * NODE_BYTES)
        except IoFailedError:
            return b""  # `_file_findings` has named it

    def _read(self, path: str, length: int, offset: int) -> bytes:
        file = calls.open_file(self._fs, path, "read")
        if file is None:
            return b""
        try:
            return calls.read_exactly(file, path, length, offset)
        finally:
            calls.close_file(file)

    def _finding(self, level: int, index: int, message: str) -> Finding:
        shard, place = divmod(index, self._identity.shard_nodes)
        path = f"{self._directory}/{shard_name(level, shard)}"
        return Finding(path, SHARD_BYTES + place * NODE_BYTES, message, "damaged")


def _expected_files(size: int, identity: Identity) -> Iterator[tuple[int, int, int]]:
    """Level, shard and least length of every level file of a checkpoint of ``size`` leaves."""
    for level in range(depth(size, identity.n) + 1):
        count = complete_count(size, identity.n, level)
        for shard, start in enumerate(range(0, count, identity.shard_nodes)):
            nodes = min(count - start, identity.shard_nodes)
            yield level, shard, SHARD_BYTES + nodes * NODE_BYTES


# What is harmless.


def _notes(fs: FileSystem, found: Survey, decision: Decision | None) -> Iterator[Finding]:
    if decision is not None:
        last = decision.last
        if decision.torn_bytes:
            message = (
                f"{decision.torn_bytes} bytes, {decision.torn_leaves} whole leaves, of a flush that"
                " was never acknowledged"
            )
            yield Finding(last.path, last.end, message, "note")
        elif not decision.clean and found.commit_error is None:
            message = "the tree was not closed; whether its last flush is missing cannot be told"
            yield Finding(last.path, last.end, message, "note")
        for scan in found.segments:
            if scan.number < decision.first_segment:
                yield Finding(scan.path, None, "obsolete: a checkpoint holds all of it", "note")
        yield from _level_leftovers(fs, found.directory, decision)
    yield from _foreign_names(fs, found.directory)


def _foreign_names(fs: FileSystem, directory: str) -> Iterator[Finding]:
    known = {LOCK, COMMIT, WAL, LEVELS}
    for name in calls.listdir(fs, directory):
        if name not in known:
            yield _foreign(f"{directory}/{name}")
    for name in calls.listdir(fs, f"{directory}/{WAL}"):
        if segment_number(name) is None:
            yield _foreign(f"{directory}/{WAL}/{name}")


def _foreign(path: str) -> Finding:
    unfinished = path.endswith(calls.TEMPORARY)
    message = "a file that was never finished" if unfinished else "not part of the tree"
    return Finding(path, None, message, "note")


def _level_leftovers(fs: FileSystem, directory: str, decision: Decision) -> Iterator[Finding]:
    """What the level files hold beyond the checkpoint: of one that was not finished."""
    expected = {
        shard_name(level, shard): length
        for level, shard, length in _expected_files(decision.base.size, decision.identity)
    }
    for level in calls.listdir(fs, f"{directory}/{LEVELS}"):
        if not is_level(level):
            yield _foreign(f"{directory}/{LEVELS}/{level}")
            continue
        for name in calls.listdir(fs, f"{directory}/{LEVELS}/{level}"):
            path = f"{directory}/{LEVELS}/{level}/{name}"
            length = expected.get(f"{level}/{name}", 0)
            try:
                more = _file_size(fs, path) - length
            except IoFailedError as error:
                yield _damaged(error)._replace(severity="note")
                continue
            if more > 0:
                message = f"{more} bytes behind the checkpoint, which do not count"
                yield Finding(path, length, message, "note")


def _file_size(fs: FileSystem, path: str) -> int:
    file = calls.open_file(fs, path, "read")
    if file is None:
        return 0
    try:
        return calls.file_size(file, path)
    finally:
        calls.close_file(file)
