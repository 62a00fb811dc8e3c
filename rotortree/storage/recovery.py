"""Recovery: find what is there, decide what it means, load it, go on.

Four steps, which also every normal start runs:

1. `survey` reads COMMIT and every log segment.  Damage is a fact to it, not an error.
2. `decide` is a pure function of the survey: which head the level files hold, which units of the
   log follow, what is dropped as torn, or which typed error it is.  `specs/storage-format.md`
   prints it as a table.
3. `load` builds the tree: level files, then the units, then the roots are compared.
4. `log.resume_log` goes on, for a writer: in the last segment if nothing in it is in doubt; else it
   makes the next one durable *before* anything older is changed.  So a crash in recovery changes
   nothing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from rotortree.config import TieringConfig
from rotortree.errors import (
    DataCorruptionError,
    IoFailedError,
    StorageError,
    UnsupportedFormatError,
    WalCorruptedError,
)
from rotortree.geometry import NODE_BYTES, capacity
from rotortree.storage import calls
from rotortree.storage.directory import ReadableDirectory
from rotortree.storage.format import (
    COMMIT,
    COMMIT_BYTES,
    EMPTY,
    LEVELS,
    SEGMENT_BYTES,
    WAL,
    Commit,
    Head,
    Identity,
    SegmentHeader,
    is_level,
    segment_name,
    segment_number,
)
from rotortree.storage.level_files import LevelFiles, WrongPlace
from rotortree.storage.log_reader import SegmentReader, SegmentScan, Unit, scan_segment
from rotortree.storage.parallel import made_ahead
from rotortree.tree.accumulator import Accumulator

__all__ = ["Decision", "Link", "Survey", "decide", "load", "opened", "survey"]


_ROW_BYTES = 8 << 20
"""Leaves are replayed in rows of so many bytes, which several threads hash; two are in memory."""


class Survey(NamedTuple):
    """What was found in a directory.

    ``commit`` is None if the record is absent or damaged; ``commit_error`` then says how it is
    damaged.  ``level_files``: whether there is any.  ``wal``: the identity of the log's directory.
    """

    directory: str
    commit: Commit | None
    commit_error: StorageError | None
    segments: tuple[SegmentScan, ...]
    level_files: bool
    wal: Hashable = None

    @property
    def commit_path(self) -> str:
        """The path of the commit record."""
        return f"{self.directory}/{COMMIT}"

    @property
    def identity(self) -> Identity | None:
        """Whose directory it is, by its newest readable log segment, else by COMMIT."""
        for scan in reversed(self.segments):
            if scan.header is not None:
                return scan.header.identity
        return self.commit.identity if self.commit else None


def survey(root: ReadableDirectory) -> Survey:
    """Read COMMIT and all of the log.  Raises IoFailedError only."""
    commit, commit_error = _read_commit(root)
    segments: tuple[SegmentScan, ...] = ()
    identity: Hashable = None
    with opened(root, WAL) as wal:
        if wal is not None:
            identity = calls.identity_of(wal)
            segments = tuple(sorted(_scans(wal), key=lambda scan: scan.number))
    level_files = _has_level_files(root)
    return Survey(root.path, commit, commit_error, segments, level_files, identity)


def _scans(wal: ReadableDirectory) -> Iterator[SegmentScan]:
    for name in calls.listdir(wal):
        number = segment_number(name)
        file = None if number is None else calls.open_file(wal, name)
        if number is None or file is None:
            continue
        try:
            yield scan_segment(file, calls.path_of(wal, name), number)
        finally:
            calls.close(file)


@contextlib.contextmanager
def opened(directory: ReadableDirectory, name: str) -> Iterator[ReadableDirectory | None]:
    """A directory in another one, for as long as the context lasts; None if it is not there."""
    found = calls.open_directory(directory, name)
    try:
        yield found
    finally:
        if found is not None:
            calls.close(found)


def _read_commit(root: ReadableDirectory) -> tuple[Commit | None, StorageError | None]:
    file = calls.open_file(root, COMMIT)
    if file is None:
        return None, None
    path = calls.path_of(root, COMMIT)
    try:
        data = calls.read_exactly(file, path, COMMIT_BYTES + 1, 0)
        return Commit.decode(data, path), None
    except IoFailedError:
        raise
    except StorageError as error:
        return None, error
    finally:
        calls.close(file)


def _has_level_files(root: ReadableDirectory) -> bool:
    with opened(root, LEVELS) as levels:
        if levels is None:
            return False
        return any(_has_names(levels, name) for name in calls.listdir(levels) if is_level(name))


def _has_names(directory: ReadableDirectory, name: str) -> bool:
    with opened(directory, name) as inner:
        return inner is not None and bool(calls.listdir(inner))


class Link(NamedTuple):
    """A log segment that counts, with those of its units that count."""

    scan: SegmentScan
    units: tuple[Unit, ...]

    @property
    def base(self) -> Head:
        """Where the segment begins."""
        assert self.scan.header is not None  # a damaged one is no link
        return self.scan.header.base

    @property
    def head(self) -> Head:
        """Where its units lead."""
        return Head(self.units[-1].stop, self.units[-1].root) if self.units else self.base

    @property
    def end(self) -> int:
        """The offset in its file behind them."""
        return self.end_at(self.head.size)

    def end_at(self, size: int) -> int:
        """The offset in its file behind those that end at ``size`` or before."""
        ends = (unit.end for unit in reversed(self.units) if unit.stop <= size)
        return next(ends, SEGMENT_BYTES)


class Decision(NamedTuple):
    """What a survey means.

    ``links`` are the segments that count; they lead from ``base``, which the level files must hold,
    to ``head``.  ``must_prove``: nobody vouches for the base but the leaves themselves, because the
    commit record is gone.  Up to ``durable_size``, where a unit ends, the leaves are known to be on
    the disk; the rest may be in memory only, if a process was killed or its fsync failed.  Behind
    the units, ``torn_bytes`` with ``torn_leaves`` whole leaves were written but never acknowledged;
    the zeros that the log ends with are not among them.  ``clean``: the last process closed the
    tree.  ``is_named``: the last segment's name is known to be durable.
    """

    identity: Identity
    links: tuple[Link, ...]
    must_prove: bool
    durable_size: int
    torn_bytes: int
    torn_leaves: int
    clean: bool
    is_named: bool

    @property
    def is_known(self) -> bool:
        """Whether the log may go on in its last segment.

        Its name and all of the head are known to be durable, and nothing unknown lies behind it.
        """
        is_known = self.is_named and self.durable_size == self.head.size and not self.torn_bytes
        return self.clean or is_known

    @property
    def base(self) -> Head:
        """What the level files must hold."""
        return self.links[0].base

    @property
    def head(self) -> Head:
        """What the log leads to."""
        return self.links[-1].head

    @property
    def last(self) -> SegmentScan:
        """The segment with the largest number."""
        return self.links[-1].scan


def decide(found: Survey) -> Decision | None:
    """What the survey means; None if no tree was ever created there.  Pure.

    Raises DataCorruptionError or WalCorruptedError where acknowledged data is damaged or missing,
    and UnsupportedFormatError for a commit record of another version, which is not to be replaced.
    Requirements: FORMAT-54.
    """
    if isinstance(found.commit_error, UnsupportedFormatError):
        raise found.commit_error
    if not found.segments:
        _check_never_created(found)
        return None
    live = _live_segments(found)
    headers = [_sound_header(scan) for scan in live]
    identity = headers[-1].identity
    _check_identities(live, headers)
    commit = _commit_of(found, identity)
    links = _links(found, _not_replaced(live, headers), commit)
    last = links[-1]
    _check_capacity(last.scan, identity, last.head)
    _check_acknowledged(last.scan, commit, last.head)
    torn_bytes = last.scan.used - last.end
    is_named = _is_named(last.scan, commit)
    return Decision(
        identity=identity,
        links=links,
        must_prove=commit is None,
        durable_size=_durable_size(last, commit) if is_named else last.base.size,
        torn_bytes=torn_bytes,
        torn_leaves=last.scan.dropped,
        clean=commit is not None
        and commit.last_segment == last.scan.number
        and commit.acknowledged == last.head
        and not torn_bytes,
        is_named=is_named,
    )


def _not_replaced(
    live: tuple[SegmentScan, ...], headers: list[SegmentHeader]
) -> list[tuple[SegmentScan, SegmentHeader]]:
    """Without the segments that a later one replaces: it begins where they do, or before."""
    kept: list[tuple[SegmentScan, SegmentHeader]] = []
    for scan, header in zip(live, headers, strict=True):
        while kept and kept[-1][1].base.size >= header.base.size:
            kept.pop()
        kept.append((scan, header))
    return kept


def _links(
    found: Survey, segments: list[tuple[SegmentScan, SegmentHeader]], commit: Commit | None
) -> tuple[Link, ...]:
    """The units that count; each segment's must lead to where the next one begins."""
    first, header = segments[0]
    if commit is not None and commit.checkpoint != header.base:
        _check_is_there(found, commit.first_segment)
        message = f"begins at {header.base.size} leaves, the checkpoint at {commit.checkpoint.size}"
        raise DataCorruptionError(first.path, 64, f"the segment {message}")
    links = []
    for (scan, _), (_, following) in itertools.pairwise(segments):
        stop = following.base.size
        links.append(Link(scan, tuple(unit for unit in scan.units if unit.stop <= stop)))
        head = links[-1].head
        if following.base != head:
            _check_is_there(found, scan.number + 1)
            raise WalCorruptedError(
                scan.path,
                scan.stop,
                f"leaves {head.size} to {stop - 1} are damaged or missing: the next segment says"
                " that they were durable",
                (head.size, stop),
            )
    scan, _ = segments[-1]
    return (*links, Link(scan, scan.units))


def _is_named(last: SegmentScan, commit: Commit | None) -> bool:
    """Whether the last segment's name is known to be durable, and so what it promises.

    The commit record says so; so does a unit that came when the segment had its name, because its
    writer had synced that.  Otherwise the sync may have failed, and then another proves nothing.
    """
    if commit is not None and commit.last_segment == last.number:
        return True
    return last.header is not None and last.end > last.header.promise


def _durable_size(last: Link, commit: Commit | None) -> int:
    """The largest size, of those at which a unit ends, that something says was durable."""
    known = max(last.scan.durable_size, commit.acknowledged.size if commit else 0)
    ends = [unit.stop for unit in last.units if unit.stop <= known]
    return ends[-1] if ends else last.base.size


def _check_never_created(found: Survey) -> None:
    """No segment: never created, unless something else says that there was one."""
    if found.commit or found.commit_error or found.level_files:
        path = f"{found.directory}/{WAL}"
        raise DataCorruptionError(path, 0, "every log segment is missing")


def _live_segments(found: Survey) -> tuple[SegmentScan, ...]:
    """The segments from the checkpoint's on.

    One that is missing between others is missed by their bases and heads, or was of no use.
    """
    if found.commit is None:
        return found.segments
    _check_is_there(found, found.commit.last_segment)
    return tuple(scan for scan in found.segments if scan.number >= found.commit.first_segment)


def _check_is_there(found: Survey, number: int) -> None:
    """Raise DataCorruptionError if there is no segment of this number, not even a replaced one."""
    if all(scan.number != number for scan in found.segments):
        path = f"{found.directory}/{WAL}/{segment_name(number)}"
        raise DataCorruptionError(path, 0, "the log segment is missing")


def _sound_header(scan: SegmentScan) -> SegmentHeader:
    if scan.header is not None:
        return scan.header
    assert scan.error is not None  # a scan has one or the other
    raise scan.error


def _check_identities(live: tuple[SegmentScan, ...], headers: list[SegmentHeader]) -> None:
    for scan, header in zip(live, headers, strict=True):
        if header.identity != headers[-1].identity:
            raise DataCorruptionError(scan.path, 0, "the segment belongs to another tree")


def _commit_of(found: Survey, identity: Identity) -> Commit | None:
    """The commit record if it is this tree's; one of another tree counts as damaged."""
    if found.commit is None or found.commit.identity == identity:
        return found.commit
    raise DataCorruptionError(found.commit_path, 0, "the commit record belongs to another tree")


def _check_capacity(last: SegmentScan, identity: Identity, head: Head) -> None:
    room = capacity(identity.n, identity.max_depth)
    if head.size > room:
        raise DataCorruptionError(last.path, 0, f"{head.size} leaves, where {room} have room")


def _check_acknowledged(last: SegmentScan, commit: Commit | None, head: Head) -> None:
    """Torn or corrupt?  Raise if anything says that more than ``head`` was acknowledged."""
    if commit is not None and commit.acknowledged.size > head.size:
        stop = commit.acknowledged.size
        raise WalCorruptedError(
            last.path,
            last.stop,
            f"leaves {head.size} to {stop - 1} are damaged or missing: the commit record says that"
            " they were durable",
            (head.size, stop),
        )
    if last.promise > last.stop:
        raise WalCorruptedError(
            last.path,
            last.stop,
            f"leaves from {head.size} on are damaged: a later frame says that everything up to"
            f" offset {last.promise} was durable",
            (head.size, head.size + 1),
        )


def load(
    root: ReadableDirectory,
    found: Survey,
    decision: Decision,
    tree: Accumulator,
    levels: LevelFiles,
    tiering: TieringConfig,
    *,
    verify: bool,
) -> tuple[WrongPlace, ...]:
    """Fill an empty tree with what was decided; return what had to be repaired.

    Raises DataCorruptionError where the leaves do not lead to the roots, and IoFailedError.
    """
    wrong: tuple[WrongPlace, ...] = ()
    if decision.base != EMPTY:
        wrong = levels.load(tree, decision.base, tiering, verify=verify or decision.must_prove)
    with opened(root, WAL) as wal:
        for link in decision.links:
            if link.units:
                _replay(wal, tree, link)
    _check_root(tree, decision.head, decision.last.path, SEGMENT_BYTES)
    if found.commit is not None:
        _check_root(tree, found.commit.acknowledged, found.commit_path, 64)
    return wrong


def _replay(wal: ReadableDirectory | None, tree: Accumulator, link: Link) -> None:
    path = link.scan.path
    file = None if wal is None else calls.open_file(wal, segment_name(link.scan.number))
    if file is None:
        raise DataCorruptionError(path, 0, "the log segment vanished")
    try:
        frames = [frame for unit in link.units for frame in unit.frames]
        length = sum(leaves for _, leaves in frames) * NODE_BYTES
        payloads = itertools.starmap(SegmentReader(file, path).payload, frames)
        rows = _rows(itertools.chain.from_iterable(payloads), min(length, _ROW_BYTES))
        for row in made_ahead(rows) if length > _ROW_BYTES else rows:
            tree.extend(row)
    finally:
        calls.close(file)


def _rows(parts: Iterable[memoryview], length: int) -> Iterator[memoryview]:
    """The same bytes in rows of a length, the last one maybe shorter.

    Two buffers by turns: a row may be used until the one behind the next is asked for.  New memory
    for each would take longer than to copy.
    """
    buffers = itertools.cycle([memoryview(bytearray(length)) for _ in range(2)])
    row, filled = next(buffers), 0
    for part in parts:
        while part:
            fits = part[: length - filled]
            row[filled : filled + len(fits)] = fits
            part, filled = part[len(fits) :], filled + len(fits)
            if filled == length:
                yield row
                row, filled = next(buffers), 0
    if filled:
        yield row[:filled]


def _check_root(tree: Accumulator, head: Head, path: str, offset: int) -> None:
    root = tree.root(head.size)
    if root != head.root:
        raise DataCorruptionError(
            path,
            offset,
            f"the first {head.size} leaves have the root {root.hex()}, not {head.root.hex()}:"
            " damaged, or hashed by another scheme",
            (0, head.size),
        )
