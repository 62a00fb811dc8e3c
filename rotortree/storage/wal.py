"""The write-ahead log: segments of frames, one unit of frames per flush.

::

    ┌────────────────┬────────────┬──────────┬────────────┬──────────┬────────────┬─────────
    │ segment header │ frame hdr 0│ leaves   │ frame hdr 1│ leaves   │ frame hdr 2│ leaves …
    └────────────────┴────────────┴──────────┴────────────┴──────────┴────────────┴─────────
                     └─ unit: one flush ─────┘└─ unit of two frames, the first flagged MORE ─┘

A unit is what one flush wrote: every leaf that was pending.  It counts whole or not at all, so a
batch, which becomes visible in one step, is never split by a crash.

Behind the last unit the open segment may have zeros, written ahead: a flush into them changes no
length and allocates nothing, which takes a journalling file system about two thirds of the time.
Close cuts them off.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from blake3 import blake3

from rotortree.errors import DataCorruptionError, IoFailedError, StorageError
from rotortree.geometry import NODE_BYTES
from rotortree.storage import calls
from rotortree.storage.environment import Environment
from rotortree.storage.files import File
from rotortree.storage.format import (
    FRAME_BYTES,
    FRAME_MAGIC,
    MAX_SEGMENT,
    SEAL_BYTES,
    SEGMENT_BYTES,
    Frame,
    Head,
    SegmentHeader,
    segment_name,
)
from rotortree.storage.parallel import count_passing

__all__ = [
    "SegmentReader",
    "SegmentScan",
    "SegmentWriter",
    "Unit",
    "create_writer",
    "scan_segment",
]

_READ_BYTES = 1 << 20
"""How much of a file is read at once; a multiple of the alignment.

Twice that takes twice the time: memory of that size is new for each piece, and its pages missing.
"""

_LARGE_BYTES = 1 << 20
"""Larger payloads are sealed by several threads, behind the walk over the frames' headers."""

_ALIGNMENT = 32
"""Frames begin at multiples of this: all headers are, and leaves are."""


class Unit(NamedTuple):
    """What one flush wrote: frames [(payload offset, leaves), …] and where they lie in the file."""

    offset: int
    end: int
    first: int
    leaves: int
    root: bytes
    frames: tuple[tuple[int, int], ...]

    @property
    def stop(self) -> int:
        """The tree's size after this unit."""
        return self.first + self.leaves


class SegmentScan(NamedTuple):
    """What a segment's file was found to hold.  Facts only; `recovery` judges them.

    ``header`` is None when it is damaged, and ``error`` says how.  ``units`` are the whole valid
    ones from the start; ``stop`` is where the first frame is that is not valid, ``dropped`` how
    many leaves valid frames of an unfinished unit hold, and ``promise`` the largest offset that any
    sealed frame, before or behind that, says was durable.  From ``used`` on, which is not before
    ``stop``, there are only zeros.  ``chain`` and ``frames`` continue it.
    """

    number: int
    path: str
    size: int
    header: SegmentHeader | None
    error: StorageError | None
    units: tuple[Unit, ...] = ()
    stop: int = 0
    dropped: int = 0
    promise: int = 0
    used: int = 0
    chain: bytes = b""
    frames: int = 0

    @property
    def durable_size(self) -> int:
        """The tree's size up to which the segment itself says that everything was durable."""
        assert self.header is not None  # a damaged one says nothing
        promised = (unit.stop for unit in reversed(self.units) if unit.end <= self.promise)
        return next(promised, self.header.base.size)

    @property
    def end(self) -> int:
        """The offset behind the last whole unit."""
        return self.units[-1].end if self.units else min(SEGMENT_BYTES, self.size)


class SegmentWriter:
    """The open end of the log.  Not thread-safe: the flush lock guards it.

    `write`, then `sync`, then `advance`; a failure before `advance` leaves the end where it was,
    and the next `write` begins there again.
    """

    def __init__(
        self,
        file: File,
        path: str,
        header: SegmentHeader,
        environment: Environment,
        scan: SegmentScan,
    ) -> None:
        self.path = path
        self.header = header
        self.stop = scan.units[-1].stop if scan.units else header.base.size
        self._file = file
        self._key = header.key()
        self._frame_leaves = environment.frame_leaves
        self._zeros_ahead = environment.zeros_ahead
        self._allocated = scan.size
        self._offset = scan.end
        self._chain = scan.chain
        self._frames = scan.frames
        self._next = (self._offset, self._chain, self._frames, self.stop)

    def write(
        self,
        stop: int,
        count: int,
        leaves: Callable[[int, int], Iterable[memoryview]],
        root: Callable[[int], bytes],
    ) -> None:
        """Write one unit: the leaves from ``self.stop`` up to ``stop``.  Not durable yet.

        Raises IoFailedError; the file may then hold any part of the unit behind its end.
        """
        buffers: list[bytes | memoryview] = []
        chain, frames, first = self._chain, self._frames, self.stop
        while first < stop:
            end = min(first + self._frame_leaves, stop)
            payload = list(leaves(first, end))
            frame = Frame(
                more=end < stop,
                number=frames,
                first=first,
                leaves=end - first,
                calls=count if end == stop else 0,
                promise=self._offset,
                root=root(end),
                chain=chain,
                payload_seal=_payload_seal(payload, self._key),
            ).encode(self._key)
            chain = frame[-SEAL_BYTES:]
            buffers += (frame, *payload)
            frames, first = frames + 1, end
        offset = calls.write_all(self._file, self.path, buffers, self._offset)
        if offset > self._allocated:
            self._allocated = self._write_zeros(offset)
        self._next = offset, chain, frames, stop

    def _write_zeros(self, start: int) -> int:
        """Write zeros for the next units, as long as the log is or as is allowed; return their end.

        A disk that has no room for them has it for what counts: then there are none.
        """
        try:
            zeros = bytes(min(start, self._zeros_ahead))
            return calls.write_all(self._file, self.path, [zeros], start)
        except IoFailedError:
            with contextlib.suppress(IoFailedError):
                self._cut(start)
            return start

    def head(self, root: Callable[[int], bytes]) -> Head:
        """What the log leads to."""
        return Head(self.stop, root(self.stop))

    def sync(self) -> None:
        """Make what was written durable.  Raises IoFailedError."""
        calls.sync_file(self._file, self.path)

    def advance(self) -> None:
        """What was written and synced is now part of the log."""
        self._offset, self._chain, self._frames, self.stop = self._next

    def cut_back(self) -> None:
        """Give back the space of a unit that could not be written.  Raises IoFailedError."""
        self._allocated = self._offset
        self._cut(self._offset)

    def cut_zeros(self) -> None:
        """Cut off the zeros ahead, if there are any.  Raises IoFailedError.

        Not synced: with them or without, this is the same log.
        """
        if self._allocated > self._offset:
            self.cut_back()

    def _cut(self, length: int) -> None:
        with calls.translated(self.path, "truncate"):
            self._file.truncate(length)

    def close(self) -> None:
        """Release the file."""
        calls.close_file(self._file)


def create_writer(environment: Environment, directory: str, header: SegmentHeader) -> SegmentWriter:
    """A new, empty segment, durable under its temporary name; `calls.publish` comes next.

    Raises IoFailedError, also when no number is left for it.
    """
    path = f"{directory}/{segment_name(header.number)}"
    if header.number > MAX_SEGMENT:
        raise IoFailedError(path, "create", OSError(errno.EOVERFLOW, "no number is left"))
    data = header.encode()
    file = calls.write_temporary(environment.files, path, data)
    scan = SegmentScan(header.number, path, len(data), header, None, chain=data[-SEAL_BYTES:])
    return SegmentWriter(file, path, header, environment, scan)


def _payload_seal(parts: Iterable[memoryview], key: bytes) -> bytes:
    state = blake3(key=key)
    for part in parts:
        state.update(part)
    return state.digest(SEAL_BYTES)


def scan_segment(file: File, path: str, number: int) -> SegmentScan:
    """Read a whole segment.  Damage is a fact in the result; raises IoFailedError only."""
    size = calls.file_size(file, path)
    data = calls.read_exactly(file, path, SEGMENT_BYTES, 0)
    try:
        header = SegmentHeader.decode(data, path)
        if header.number != number:
            raise DataCorruptionError(path, 64, f"this is segment {header.number}, misplaced")
    except StorageError as error:
        return SegmentScan(number, path, size, None, error)
    return _Scanner(file, path, size, header).scan()


class SegmentReader:
    """Reads a segment from front to back, in large pieces that hold many small frames.

    Read, not mapped: a sector that cannot be read is then an error and not a signal.
    """

    def __init__(self, file: File, path: str) -> None:
        self._file = file
        self._path = path
        self._start = 0
        self._piece = memoryview(b"")

    def view(self, offset: int, length: int) -> memoryview:
        """The ``length`` bytes from ``offset``, fewer only where the file ends."""
        at = offset - self._start
        if at < 0 or at + length > len(self._piece):
            length_read = max(length, _READ_BYTES)
            data = calls.read_exactly(self._file, self._path, length_read, offset)
            self._start, self._piece, at = offset, memoryview(data), 0
        return self._piece[at : at + length]

    def payload(self, offset: int, leaves: int) -> Iterator[memoryview]:
        """The leaves of a frame, in pieces.  Raises DataCorruptionError where the file ends."""
        end = offset + leaves * NODE_BYTES
        while offset < end:
            part = self.view(offset, min(_READ_BYTES, end - offset))
            if not part or len(part) % NODE_BYTES:
                at = offset + len(part)
                raise DataCorruptionError(self._path, at, "the file ends within a frame")
            yield part
            offset += len(part)


class _Payload(NamedTuple):
    """The leaves of the frame at an offset, and the seal that they should have."""

    frame_offset: int
    leaves: int
    seal: bytes


class _Scanner:
    """Walks the frames of one segment.  Frames are valid below ``_end`` only."""

    def __init__(self, file: File, path: str, size: int, header: SegmentHeader) -> None:
        self._file = file
        self._path = path
        self._size = size
        self._header = header
        self._key = header.key()
        self._reader = SegmentReader(file, path)
        self._end = size
        self._large: list[_Payload] = []

    def scan(self) -> SegmentScan:
        scan = self._walk()
        sealed = count_passing(self._is_sealed, self._large)
        if sealed < len(self._large):
            self._end = self._large[sealed].frame_offset
            scan = self._walk()
        return scan

    def _walk(self) -> SegmentScan:
        """What there is if all large payloads are right, which are collected."""
        units: list[Unit] = []
        frames: list[tuple[int, int]] = []
        offset, number, chain = SEGMENT_BYTES, 0, self._header.encode()[-SEAL_BYTES:]
        begin, first = offset, self._header.base.size
        unit_chain, unit_number = chain, number
        promise = 0
        while (found := self._frame(offset, number, first, chain)) is not None:
            frame, chain = found
            promise = max(promise, frame.promise)
            frames.append((offset + FRAME_BYTES, frame.leaves))
            offset += FRAME_BYTES + frame.leaves * NODE_BYTES
            number, first = number + 1, first + frame.leaves
            if not frame.more:
                start = units[-1].stop if units else self._header.base.size
                units.append(Unit(begin, offset, start, first - start, frame.root, tuple(frames)))
                begin, unit_chain, unit_number, frames = offset, chain, number, []
        return SegmentScan(
            number=self._header.number,
            path=self._path,
            size=self._size,
            header=self._header,
            error=None,
            units=tuple(units),
            stop=offset,
            dropped=sum(count for _, count in frames),
            promise=max(promise, self._promise_behind(offset)),
            used=self._end_of_use(offset),
            chain=unit_chain,
            frames=unit_number,
        )

    def _frame(
        self, offset: int, number: int, first: int, chain: bytes
    ) -> tuple[Frame, bytes] | None:
        """The frame at an offset and its seal, if everything about it and its leaves is right.

        Large payloads are collected, to be looked at later.
        """
        if offset >= self._end:
            return None
        data = bytes(self._reader.view(offset, FRAME_BYTES))
        frame = Frame.decode(data, self._key)
        if frame is None:
            return None
        payload = offset + FRAME_BYTES
        right = (
            (frame.number, frame.first, frame.chain) == (number, first, chain)
            and frame.promise <= offset
            and 0 < frame.leaves <= (self._size - payload) // NODE_BYTES
        )
        if not right:
            return None
        found = _Payload(offset, frame.leaves, frame.payload_seal)
        if frame.leaves * NODE_BYTES > _LARGE_BYTES:
            self._large.append(found)
        elif not self._is_sealed(found, self._reader):
            return None
        return frame, data[-SEAL_BYTES:]

    def _is_sealed(self, payload: _Payload, reader: SegmentReader | None = None) -> bool:
        """Whether leaves have their seal.  Threads have a reader each, which is none of theirs."""
        reader = reader or SegmentReader(self._file, self._path)
        parts = reader.payload(payload.frame_offset + FRAME_BYTES, payload.leaves)
        return _payload_seal(parts, self._key) == payload.seal

    def _promise_behind(self, offset: int) -> int:
        """The largest promise of any sealed frame from ``offset`` on, wherever it begins."""
        promise = 0
        while offset < self._size:
            data = calls.read_exactly(self._file, self._path, _READ_BYTES + FRAME_BYTES, offset)
            at = data.find(FRAME_MAGIC)
            while 0 <= at < _READ_BYTES:
                if at % _ALIGNMENT == 0:
                    frame = Frame.decode(data[at : at + FRAME_BYTES], self._key)
                    promise = max(promise, frame.promise if frame else 0)
                at = data.find(FRAME_MAGIC, at + 1)
            offset += _READ_BYTES
        return promise

    def _end_of_use(self, offset: int) -> int:
        """Where the zeros begin that the file ends with; ``offset`` if all is zeros from there."""
        end = self._size
        while offset < end:
            start = max(offset, end - _READ_BYTES)
            data = calls.read_exactly(self._file, self._path, end - start, start)
            if used := data.rstrip(b"\0"):
                return start + len(used)
            end = start
        return offset
