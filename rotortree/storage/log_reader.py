"""Reading the log: what a segment's file holds, as facts; `recovery` judges them.

::

    ┌────────────────┬────────────┬──────────┬────────────┬──────────┬────────────┬─────────
    │ segment header │ frame hdr 0│ leaves   │ frame hdr 1│ leaves   │ frame hdr 2│ leaves …
    └────────────────┴────────────┴──────────┴────────────┴──────────┴────────────┴─────────
                     └─ unit: one flush ─────┘└─ unit of two frames, the first flagged MORE ─┘

A unit is what one flush wrote: every leaf that was pending.  It counts whole or not at all, so a
batch, which becomes visible in one step, is never split by a crash.

Behind the last unit the open segment may have zeros, written ahead.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from blake3 import blake3

from rotortree.errors import DataCorruptionError, StorageError
from rotortree.geometry import NODE_BYTES
from rotortree.storage import calls
from rotortree.storage.directory import ReadableFile
from rotortree.storage.format import (
    FRAME_BYTES,
    FRAME_MAGIC,
    SEAL_BYTES,
    SEGMENT_BYTES,
    Frame,
    SegmentHeader,
)
from rotortree.storage.parallel import count_passing

__all__ = [
    "SegmentReader",
    "SegmentScan",
    "Unit",
    "payload_seal",
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
    ones from the start.  ``stop`` is where the first frame is that is not valid, and ``dropped``
    how many leaves valid frames of an unfinished unit hold.  ``promise`` is the largest offset that
    the header, or any sealed frame before or behind ``stop``, says was durable.  From ``used`` on,
    which is not before ``stop``, there are only zeros.  ``chain`` and ``frames`` continue the last
    unit.  ``identity`` is the file's.
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
    identity: Hashable = None

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


def payload_seal(parts: Iterable[memoryview], key: bytes) -> bytes:
    """The seal of a frame's leaves, with the key of its segment."""
    state = blake3(key=key)
    for part in parts:
        state.update(part)
    return state.digest(SEAL_BYTES)


def scan_segment(file: ReadableFile, path: str, number: int) -> SegmentScan:
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

    def __init__(self, file: ReadableFile, path: str) -> None:
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

    def __init__(self, file: ReadableFile, path: str, size: int, header: SegmentHeader) -> None:
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
        """Scan the frames as if all large payloads were right, and collect those for a check."""
        units: list[Unit] = []
        frames: list[tuple[int, int]] = []
        offset, number, chain = SEGMENT_BYTES, 0, self._header.encode()[-SEAL_BYTES:]
        begin, first = offset, self._header.base.size
        unit_chain, unit_number = chain, number
        promise = self._header.promise
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
            identity=self._file.identity,
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
        """Whether a payload has its seal.  Threads share no reader: by default it is a new one."""
        reader = reader or SegmentReader(self._file, self._path)
        parts = reader.payload(payload.frame_offset + FRAME_BYTES, payload.leaves)
        return payload_seal(parts, self._key) == payload.seal

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
