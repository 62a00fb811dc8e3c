"""Recovery: find what is there, decide what it means, load it, go on.

Four steps, which also every normal start runs:

1. `survey` reads COMMIT and every log segment.  Damage is a fact to it, not an error.
2. `decide` is a pure function of the survey: which head the level files hold, which units of the
   log follow, what is dropped as torn, or which typed error it is.  `specs/storage-format.md`
   prints it as a table.
3. `load` builds the tree: level files, then the units, then the roots are compared.
4. `Recovered` is handed to the engine, which makes the next segment durable *before* anything
   older is changed; a crash in recovery therefore changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
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
from rotortree.storage.files import FileSystem
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
from rotortree.storage.level_files import Damage, LevelFiles
from rotortree.storage.parallel import made_ahead
from rotortree.storage.wal import SegmentReader, SegmentScan, Unit, scan_segment
from rotortree.tree.accumulator import Accumulator

__all__ = ["Decision", "Survey", "decide", "load", "survey"]


_ROW_BYTES = 8 << 20
"""Leaves are replayed in rows of so many bytes, which several threads hash; two are in memory."""


class Survey(NamedTuple):
    """What was found in a directory.

    ``commit`` is None if the record is absent or damaged; ``commit_error`` then says how it is
    damaged.  ``level_files``: whether there is any.
    """

    directory: str
    commit: Commit | None
    commit_error: StorageError | None
    segments: tuple[SegmentScan, ...]
    level_files: bool

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


def survey(fs: FileSystem, directory: str) -> Survey:
    """Read COMMIT and all of the log.  Raises IoFailedError only."""
    commit, commit_error = _read_commit(fs, f"{directory}/{COMMIT}")
    scans = []
    for name in calls.listdir(fs, f"{directory}/{WAL}"):
        number = segment_number(name)
        path = f"{directory}/{WAL}/{name}"
        file = calls.open_file(fs, path, "read") if number is not None else None
        if number is None or file is None:
            continue
        try:
            scans.append(scan_segment(file, path, number))
        finally:
            calls.close_file(file)
    scans.sort(key=lambda scan: scan.number)
    return Survey(
        directory, commit, commit_error, tuple(scans), _has_level_files(fs, f"{directory}/{LEVELS}")
    )


def _read_commit(fs: FileSystem, path: str) -> tuple[Commit | None, StorageError | None]:
    file = calls.open_file(fs, path, "read")
    if file is None:
        return None, None
    try:
        data = calls.read_exactly(file, path, COMMIT_BYTES + 1, 0)
        return Commit.decode(data, path), None
    except IoFailedError:
        raise
    except StorageError as error:
        return None, error
    finally:
        calls.close_file(file)


def _has_level_files(fs: FileSystem, path: str) -> bool:
    levels = [name for name in calls.listdir(fs, path) if is_level(name)]
    return any(calls.listdir(fs, f"{path}/{level}") for level in levels)


class Decision(NamedTuple):
    """What a survey means.

    ``base`` is what the level files must hold; ``must_prove``: nobody vouches for that but the
    leaves themselves, because the commit record is gone.  Then ``units`` follow, each with the path
    of its segment, and lead to ``head``.  Up to ``durable_size`` its leaves are known to be on the
    disk; the rest may be in memory only, if a process was killed or its fsync failed.  Behind the
    units, ``torn_bytes`` with ``torn_leaves`` whole leaves were written but never acknowledged;
    the zeros that the log ends with are not among them.
    ``clean``: the last process closed the tree, and the log may go on in its last segment.
    Segments below ``first_segment`` are of no more use.
    """

    identity: Identity
    base: Head
    must_prove: bool
    units: tuple[tuple[str, Unit], ...]
    head: Head
    durable_size: int
    torn_bytes: int
    torn_leaves: int
    clean: bool
    first_segment: int
    last: SegmentScan


def decide(found: Survey) -> Decision | None:
    """What the survey means; None if no tree was ever created there.  Pure.

    Raises DataCorruptionError or WalCorruptedError where acknowledged data is damaged or missing,
    and UnsupportedFormatError for a commit record of another version, which is not to be replaced.
    """
    if isinstance(found.commit_error, UnsupportedFormatError):
        raise found.commit_error
    if not found.segments:
        _check_never_created(found)
        return None
    live = _live_segments(found)
    headers = [_sound_header(scan) for scan in live]
    _check_identities(live, headers)
    commit = _commit_of(found, headers[-1].identity)
    base = headers[0].base
    if commit is not None and commit.checkpoint != base:
        _check_number(found, commit.first_segment, live[0].number)
        raise DataCorruptionError(
            live[0].path,
            64,
            f"the segment begins at {base.size} leaves, the checkpoint at {commit.checkpoint.size}",
        )
    units = []
    head = base
    for scan, following in zip(live, [*headers[1:], None], strict=True):
        stop = None if following is None else following.base.size
        for unit in _units_up_to(scan, stop):
            units.append((scan.path, unit))
            head = Head(unit.stop, unit.root)
        if following is not None and following.base != head:
            _check_number(found, scan.number + 1, following.number)
            raise WalCorruptedError(
                scan.path,
                scan.stop,
                f"leaves {head.size} to {following.base.size - 1} are damaged or missing: the next"
                " segment says that they were durable",
                (head.size, following.base.size),
            )
    last = live[-1]
    _check_capacity(last, headers[-1].identity, head)
    _check_acknowledged(last, commit, head)
    torn_bytes = last.used - last.end
    return Decision(
        identity=headers[-1].identity,
        base=base,
        must_prove=commit is None,
        units=tuple(units),
        head=head,
        durable_size=max(last.durable_size, commit.acknowledged.size if commit else 0),
        torn_bytes=torn_bytes,
        torn_leaves=last.dropped,
        clean=(
            commit is not None
            and commit.acknowledged == head
            and commit.last_segment == last.number
            and not torn_bytes
        ),
        first_segment=live[0].number,
        last=last,
    )


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
    numbers = {scan.number for scan in found.segments}
    if found.commit.last_segment not in numbers:
        _check_number(found, found.commit.last_segment, 0)
    return tuple(scan for scan in found.segments if scan.number >= found.commit.first_segment)


def _check_number(found: Survey, expected: int, number: int) -> None:
    """Raise DataCorruptionError if a segment is another than the one that should be there."""
    if number != expected:
        path = f"{found.directory}/{WAL}/{segment_name(expected)}"
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


def _units_up_to(scan: SegmentScan, stop: int | None) -> tuple[Unit, ...]:
    """The units before size ``stop``, where the next segment begins whatever lies behind it."""
    return tuple(unit for unit in scan.units if stop is None or unit.stop <= stop)


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
    fs: FileSystem,
    found: Survey,
    decision: Decision,
    tree: Accumulator,
    levels: LevelFiles,
    tiering: TieringConfig,
    *,
    verify: bool,
) -> tuple[Damage, ...]:
    """Fill an empty tree with what was decided; return what had to be repaired.

    Raises DataCorruptionError where the leaves do not lead to the roots, and IoFailedError.
    """
    damages: tuple[Damage, ...] = ()
    if decision.base != EMPTY:
        damages = levels.load(tree, decision.base, tiering, verify=verify or decision.must_prove)
    for path, units in itertools.groupby(decision.units, key=lambda placed: placed[0]):
        _replay(fs, tree, path, (unit for _, unit in units))
    _check_root(tree, decision.head, decision.last.path, SEGMENT_BYTES)
    if found.commit is not None:
        _check_root(tree, found.commit.acknowledged, found.commit_path, 64)
    return damages


def _replay(fs: FileSystem, tree: Accumulator, path: str, units: Iterable[Unit]) -> None:
    file = calls.open_file(fs, path, "read")
    if file is None:
        raise DataCorruptionError(path, 0, "the log segment vanished")
    try:
        frames = [frame for unit in units for frame in unit.frames]
        length = sum(leaves for _, leaves in frames) * NODE_BYTES
        payloads = itertools.starmap(SegmentReader(file, path).payload, frames)
        rows = _rows(itertools.chain.from_iterable(payloads), min(length, _ROW_BYTES))
        for row in made_ahead(rows) if length > _ROW_BYTES else rows:
            tree.extend(row)
    finally:
        calls.close_file(file)


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
