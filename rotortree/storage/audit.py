"""Verify everything that a tree's directory stores, and name all that is wrong with it.

Nothing here reads the format by itself: the facts are those of `recovery.survey`, the verdicts
those of `recovery.decide`, the nodes those that `LevelFiles.load` loaded.  Opening a tree stops at
the first error; an audit asks the same questions of every part by itself, so that damage in one
place does not hide damage in another.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
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
from rotortree.storage.directory import Directory, FileSystem, ReadableDirectory
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
from rotortree.storage.level_files import LevelFiles, level_counts, nodes_per_segment, shards
from rotortree.storage.recovery import Decision, Survey, decide, load, opened, survey
from rotortree.tree.accumulator import Accumulator, new_accumulator

__all__ = ["AuditFinding", "Severity", "audit", "opened_to_read"]

Severity = Literal["damaged", "repairable", "note"]
"""How bad a finding is.

damaged: acknowledged data cannot be trusted, or cannot be read.  repairable: opening the tree for
writing makes it right again.  note: harmless, what a crash may leave behind.
"""

_VERSION_OFFSET = 8
"""Where a header has its format version."""

_GROUPS_AT_ONCE = 1 << 14


class AuditFinding(NamedTuple):
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
def opened_to_read(fs: FileSystem, directory: str) -> Iterator[Directory]:
    """A tree's directory, from which writers are kept out for as long as the context lasts.

    Raises TreeNotFoundError, FileLockedError, IoFailedError.
    """
    root = calls.open_root(fs, directory)
    if root is None:
        raise TreeNotFoundError(directory)
    try:
        if {WAL, COMMIT, LEVELS}.isdisjoint(calls.listdir(root)):
            raise TreeNotFoundError(directory)
        lock = calls.take_lock(root, LOCK, shared=True)
        try:
            yield root
        finally:
            calls.release_lock(lock)
    finally:
        calls.close(root)


def audit(fs: FileSystem, directory: str, hasher: Hasher | None = None) -> list[AuditFinding]:
    """Everything that is wrong with the tree in ``directory``; changes nothing on disk.

    ``hasher`` is that of the tree if its scheme is not built in.  The tree is read as a whole and
    held in memory.  Raises TreeNotFoundError, FileLockedError, ConfigMismatchError when the scheme
    is not known, IoFailedError when COMMIT or the log cannot be read.
    """
    with opened_to_read(fs, directory) as root:
        found = survey(root)
        findings = [_damaged(error) for error in _log_errors(found)]
        decision = None if findings else decide(found)
        if decision is None and not findings:
            raise TreeNotFoundError(directory)
        findings += _content_findings(root, found, decision, hasher)
        sound = all(finding.severity != "damaged" for finding in findings)
        findings += _commit_findings(found, decision, repairable=sound)
        findings += _notes(root, found, decision)
    return _first_of_each_place(findings)


def _first_of_each_place(findings: list[AuditFinding]) -> list[AuditFinding]:
    """One finding for a place: several questions may have found the same damage."""
    first: dict[tuple[str, int | None], AuditFinding] = {}
    for finding in findings:
        first.setdefault((finding.path, finding.offset), finding)
    return list(first.values())


def _damaged(error: StorageError) -> AuditFinding:
    """An error of the library as a finding: the place apart from what is wrong there."""
    place: str = getattr(error, "path", "")
    offset: int | None = getattr(error, "offset", None)
    if isinstance(error, UnsupportedFormatError):
        offset = _VERSION_OFFSET
    message = str(error).removeprefix(place).removeprefix(f", offset {offset}").removeprefix(": ")
    return AuditFinding(place, offset, message, "damaged")


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
        last = live[-1].number
        base = live[-1].header.base
        begun = commit._replace(checkpoint=base, first_segment=last, last_segment=last)
        yield found._replace(segments=(live[-1],), commit=begun)


def _commit_findings(
    found: Survey, decision: Decision | None, *, repairable: bool
) -> Iterator[AuditFinding]:
    severity: Severity = "repairable" if repairable else "damaged"
    if found.commit_error is not None:
        yield _damaged(found.commit_error)._replace(severity=severity)
    elif found.commit is None and decision is not None and decision.base != EMPTY:
        yield AuditFinding(found.commit_path, None, "the commit record is missing", severity)


# Nodes and roots.


def _content_findings(
    root: ReadableDirectory, found: Survey, decision: Decision | None, hasher: Hasher | None
) -> Iterator[AuditFinding]:
    """Recompute every node and every root that is stored."""
    identity = found.identity
    if identity is None:
        return
    hasher = hasher or builtin_hasher(identity.scheme)
    if hasher is None:
        raise ConfigMismatchError(found.directory, "scheme", identity.scheme, "a built-in one")
    tree = new_accumulator(identity.n, identity.max_depth, hasher, nodes_per_segment(identity))
    levels = LevelFiles(root, identity)
    try:
        base = _base(found, identity)
        # Read, not mapped, above the leaves: a sector that cannot be read is an error, no signal.
        tiering = TieringConfig(pin_above_level=1)
        try:
            if decision is not None:
                wrong = load(root, found, decision, tree, levels, tiering, verify=True)
            elif base != EMPTY:
                wrong = levels.load(tree, base, tiering, verify=True)
            else:
                wrong = ()
        except StorageError as error:
            yield _damaged(error)
            yield from _StoredNodes(levels, identity, hasher).findings(base.size)
            return
        for place in wrong:
            yield AuditFinding(place.path, place.offset, place.message, "repairable")
        if decision is not None:
            yield from _unit_roots(tree, decision)
    finally:
        levels.close()


def _base(found: Survey, identity: Identity) -> Head:
    """What the level files should hold, as far as anything that is sound says so."""
    if found.commit is not None:
        return found.commit.checkpoint if found.commit.identity == identity else EMPTY
    header = found.segments[0].header if found.segments else None
    return header.base if header is not None else EMPTY


def _unit_roots(tree: Accumulator, decision: Decision) -> Iterator[AuditFinding]:
    """Opening compares the last root of the log only; here every flush's."""
    for link in decision.links:
        for unit in link.units:
            if tree.root(unit.stop) != unit.root:
                offset = unit.frames[-1][0] - FRAME_BYTES
                message = f"the frame's root is not that of the first {unit.stop} leaves"
                yield AuditFinding(link.scan.path, offset, message, "damaged")


class _StoredNodes:
    """The nodes of the level files as they are, judged group by group.

    Opening asks this of all leaves together and names one place.  Here every place is found, but
    what disagrees with what does not always say which of the two is damaged.
    """

    def __init__(self, files: LevelFiles, identity: Identity, hasher: Hasher) -> None:
        self._files = files
        self._identity = identity
        self._hasher = hasher

    def findings(self, size: int) -> Iterator[AuditFinding]:
        """Damaged headers, missing ends, nodes that are not the parents of their children."""
        for level, shard, length in _expected_files(size, self._identity):
            yield from self._file_findings(level, shard, length)
        yield from self._disagreements(size)

    def _file_findings(self, level: int, shard: int, length: int) -> Iterator[AuditFinding]:
        path = self._files.path(level, shard)
        try:
            size = self._files.file_size(level, shard)
            header = self._files.read(level, shard, SHARD_BYTES, 0)
        except IoFailedError as error:
            yield _damaged(error)
            return
        if size < length:
            message = f"the file ends at {size}, not at {length}"
            yield AuditFinding(path, size, message, "damaged")
        if len(header) == SHARD_BYTES and header != shard_header(self._identity, level, shard):
            message = "the header is damaged, or another file's"
            yield AuditFinding(path, 0, message, "damaged")

    def _disagreements(self, size: int) -> Iterator[AuditFinding]:
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
        length, offset = (stop - start) * NODE_BYTES, SHARD_BYTES + place * NODE_BYTES
        try:
            return self._files.read(level, shard, length, offset)
        except IoFailedError:
            return b""  # `_file_findings` has named it

    def _finding(self, level: int, index: int, message: str) -> AuditFinding:
        shard, place = divmod(index, self._identity.shard_nodes)
        offset = SHARD_BYTES + place * NODE_BYTES
        return AuditFinding(self._files.path(level, shard), offset, message, "damaged")


def _expected_files(size: int, identity: Identity) -> Iterator[tuple[int, int, int]]:
    """Level, shard and least length of every level file of a checkpoint of ``size`` leaves."""
    for level, count in level_counts(size, identity.n):
        for shard, start, stop in shards(identity, 0, count):
            yield level, shard, SHARD_BYTES + (stop - start) * NODE_BYTES


# What is harmless.


def _notes(
    root: ReadableDirectory, found: Survey, decision: Decision | None
) -> Iterator[AuditFinding]:
    if decision is not None:
        last = decision.last
        if decision.torn_bytes:
            message = (
                f"{decision.torn_bytes} bytes, {decision.torn_leaves} whole leaves, of a flush that"
                " was never acknowledged"
            )
            yield AuditFinding(last.path, last.end, message, "note")
        elif not decision.clean and found.commit_error is None:
            message = "the tree was not closed; whether its last flush is missing cannot be told"
            yield AuditFinding(last.path, last.end, message, "note")
        live = {link.scan.number for link in decision.links}
        for scan in found.segments:
            if scan.number not in live:
                message = "obsolete: a checkpoint or a later segment holds all of it"
                yield AuditFinding(scan.path, None, message, "note")
        yield from _level_leftovers(root, decision)
    yield from _foreign_names(root)


def _foreign_names(root: ReadableDirectory) -> Iterator[AuditFinding]:
    known = {LOCK, COMMIT, WAL, LEVELS}
    for name in calls.listdir(root):
        if name not in known:
            yield _foreign(calls.path_of(root, name))
    with opened(root, WAL) as wal:
        for name in () if wal is None else calls.listdir(wal):
            if wal is not None and segment_number(name) is None:
                yield _foreign(calls.path_of(wal, name))


def _foreign(path: str) -> AuditFinding:
    unfinished = path.endswith(calls.TEMPORARY)
    message = "a file that was never finished" if unfinished else "not part of the tree"
    return AuditFinding(path, None, message, "note")


def _level_leftovers(root: ReadableDirectory, decision: Decision) -> Iterator[AuditFinding]:
    """What the level files hold beyond the checkpoint: of one that was not finished."""
    expected = {
        shard_name(level, shard): length
        for level, shard, length in _expected_files(decision.base.size, decision.identity)
    }
    with opened(root, LEVELS) as levels:
        for level in () if levels is None else calls.listdir(levels):
            if levels is not None and not is_level(level):
                yield _foreign(calls.path_of(levels, level))
            elif levels is not None:
                yield from _leftovers_of_level(levels, level, expected)


def _leftovers_of_level(
    levels: ReadableDirectory, level: str, expected: Mapping[str, int]
) -> Iterator[AuditFinding]:
    with opened(levels, level) as directory:
        for name in () if directory is None else calls.listdir(directory):
            assert directory is not None  # it has names
            length = expected.get(f"{level}/{name}", 0)
            try:
                more = _file_size(directory, name) - length
            except IoFailedError as error:
                yield _damaged(error)._replace(severity="note")
                continue
            if more > 0:
                message = f"{more} bytes behind the checkpoint, which do not count"
                yield AuditFinding(calls.path_of(directory, name), length, message, "note")


def _file_size(directory: ReadableDirectory, name: str) -> int:
    file = calls.open_file(directory, name)
    if file is None:
        return 0
    try:
        return calls.file_size(file, calls.path_of(directory, name))
    finally:
        calls.close(file)
