"""Layouts: reads single files of the storage format, as `specs/storage-format.md` describes them.

This is the lower half of the independent reader, written from the text alone.
`rotortree_model.directory` decides whether damage that is found here matters.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from blake3 import blake3

from rotortree_model import shape
from rotortree_model.schemes import HASH_BYTES
from rotortree_model.shape import MAX_SIZE

ALIGNMENT = 32
"""Frames begin at multiples of this, in bytes."""

COMMIT = "COMMIT"
"""Path of the commit record."""

COMMIT_BYTES = 176
"""Length of the commit record, in bytes."""

FRAME_HEADER_BYTES = 128
"""Length of the header of a frame, in bytes; its leaves follow."""

LEVEL_HEADER_BYTES = 128
"""Length of the header of a level file, in bytes; its nodes follow."""

SEAL_BYTES = 16
"""Length of a seal, in bytes."""

SEGMENT_HEADER_BYTES = 160
"""Length of the header of a segment, in bytes; its frames follow."""

VERSION = 1
"""The version of the format that this reader knows."""

Kind: TypeAlias = Literal[
    "ChecksumMismatchError",
    "ConfigMismatchError",
    "DataCorruptionError",
    "NotATreeError",
    "UnsupportedFormatError",
    "WalCorruptedError",
]
"""The kinds of damage, by the names of the Python library's errors."""


class DamagedError(Exception):
    """The directory holds no tree that may be opened.

    ``kind`` is the kind of damage, ``file`` a path in the directory, ``offset`` in bytes,
    ``leaves`` the half-open range of leaves that cannot be trusted. Each of the last three is None
    where the text does not determine it.
    """

    def __init__(
        self,
        kind: Kind,
        file: str | None = None,
        offset: int | None = None,
        leaves: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(f"{kind} in {file} at {offset}, leaves {leaves}")
        self.kind = kind
        self.file = file
        self.offset = offset
        self.leaves = leaves


class Identity(NamedTuple):
    """The header fields that are equal in all files of a directory. Requirements: FORMAT-14."""

    n: int
    max_depth: int
    shard_nodes: int
    tree_id: bytes
    scheme: str

    @property
    def capacity(self) -> int:
        """The most leaves that this tree may hold."""
        return shape.capacity(self.n, self.max_depth)


class Head(NamedTuple):
    """A size and a root of 32 bytes, which are zeros for size 0. Requirements: FORMAT-16."""

    size: int
    root: bytes


class Commit(NamedTuple):
    """The commit record. Requirements: FORMAT-43."""

    identity: Identity
    checkpoint: Head
    acknowledged: Head
    first: int
    last: int


class Frame(NamedTuple):
    """A valid frame. ``end`` is the offset behind it, ``head`` that of the tree with its leaves."""

    end: int
    more: bool
    promise: int
    head: Head
    seal: bytes
    leaves: tuple[bytes, ...]


class Unit(NamedTuple):
    """The leaves of one flush. ``end`` is the offset behind them, ``head`` the tree with them."""

    end: int
    head: Head
    leaves: tuple[bytes, ...]


class Segment(NamedTuple):
    """A segment of the log: its header, its units, and what lies behind them.

    ``begun`` is the promise of the header, ``invalid`` the offset behind the last valid frame (X in
    the text), ``used`` the offset where the bytes in use end, ``promise`` the largest promise of
    the header and of any sealed frame.
    """

    path: str
    number: int
    identity: Identity
    base: Head
    begun: int
    units: tuple[Unit, ...]
    invalid: int
    used: int
    promise: int

    @property
    def end(self) -> int:
        """The offset behind the last unit, or behind the header if there is no unit."""
        return self.units[-1].end if self.units else SEGMENT_HEADER_BYTES

    def durable(self, acknowledged: int, *, recorded: bool) -> int:
        """The largest size known to be durable, if ``acknowledged`` leaves are acknowledged.

        ``recorded`` is whether the commit record names this segment as its last one. The size is
        the base, or one at which a unit ends: an acknowledged size that is inside a unit makes none
        of that unit's leaves known to be durable.
        Requirements: FORMAT-70.
        """
        if not recorded and self.end <= self.begun:
            return self.base.size
        known = (
            unit.head.size
            for unit in self.units
            if unit.end <= self.promise or unit.head.size <= acknowledged
        )
        return max(known, default=self.base.size)


def number_at(data: bytes, at: int, width: int) -> int:
    """The unsigned little-endian integer of this width, in bytes, at an offset."""
    return int.from_bytes(data[at : at + width], "little")


def pieces(data: bytes) -> tuple[bytes, ...]:
    """The whole leaves or nodes, of 32 bytes each, that the data begins with."""
    stop = len(data) - len(data) % HASH_BYTES
    return tuple(data[at : at + HASH_BYTES] for at in range(0, stop, HASH_BYTES))


def seal(data: bytes, key: bytes | None = None) -> bytes:
    """The first 16 bytes of BLAKE3(data), or of BLAKE3(key; data)."""
    hashed = blake3(data) if key is None else blake3(data, key=key)
    return hashed.digest()[:SEAL_BYTES]


def segments(files: Mapping[str, bytes]) -> dict[int, str]:
    """Number to path, in order, of all files that have the name of a segment.

    Requirements: FORMAT-2, FORMAT-4.
    """
    form = re.compile(r"wal/([0-9]{8}|[1-9][0-9]{8,18})\.wal")
    found = {int(match[1]): path for path in files if (match := form.fullmatch(path))}
    return {number: found[number] for number in sorted(found) if 0 < number <= MAX_SIZE}


def identity(path: str, data: bytes, magic: bytes, length: int) -> Identity:
    """The identity in the header of this length that a file begins with.

    Length, magic, version, seal and fields are judged in this order; DamagedError for the first
    that is wrong.
    Requirements: FORMAT-12, FORMAT-13.
    """
    if len(data) < length:
        raise DamagedError("DataCorruptionError", path, len(data))
    if data[:8] != magic:
        raise DamagedError("DataCorruptionError", path, 0)
    if number_at(data, 8, 2) != VERSION:
        raise DamagedError("UnsupportedFormatError", path)
    sealed, mark = data[: length - SEAL_BYTES], data[length - SEAL_BYTES : length]
    if seal(sealed) != mark:
        raise DamagedError("ChecksumMismatchError", path, len(sealed))
    return identity_fields(path, data)


def identity_fields(path: str, data: bytes) -> Identity:
    """The identity in a header whose seal is right; DamagedError for the first wrong field.

    Requirements: FORMAT-12, FORMAT-13.
    """
    name = data[32:64].rstrip(b"\0")
    if data[10] < shape.MIN_ARITY or data[11] < 1 or not name.isascii():
        raise DamagedError("DataCorruptionError", path, 0)
    if not name or not all(ord("!") <= letter <= ord("~") for letter in name):
        raise DamagedError("DataCorruptionError", path, 32)
    shard_nodes = number_at(data, 12, 4)
    if shard_nodes == 0 or shard_nodes % data[10]:
        raise DamagedError("DataCorruptionError", path, 12)
    return Identity(data[10], data[11], shard_nodes, data[16:32], name.decode("ascii"))


def head(path: str, data: bytes, at: int) -> Head:
    """The head at an offset; DamagedError if no tree can have such a head.

    Requirements: FORMAT-13, FORMAT-16.
    """
    size, root = number_at(data, at, 8), data[at + 8 : at + 8 + HASH_BYTES]
    if size > MAX_SIZE or (size == 0 and any(root)):
        raise DamagedError("DataCorruptionError", path, 64)
    return Head(size, root)


def commit_record(files: Mapping[str, bytes]) -> Commit | None:
    """The commit record; None if it is absent or damaged; DamagedError if of another version.

    Requirements: FORMAT-43, FORMAT-55.
    """
    data = files.get(COMMIT, b"")
    try:
        tree = identity(COMMIT, data, b"RotorCMT", COMMIT_BYTES)
        checkpoint, acknowledged = head(COMMIT, data, 64), head(COMMIT, data, 104)
    except DamagedError as error:
        if error.kind == "UnsupportedFormatError":
            raise
        return None
    first, last = number_at(data, 144, 8), number_at(data, 152, 8)
    right = 1 <= first <= last <= MAX_SIZE and checkpoint.size <= acknowledged.size
    whole = len(data) == COMMIT_BYTES
    return Commit(tree, checkpoint, acknowledged, first, last) if right and whole else None


def level_header(tree: Identity, level: int, shard: int) -> bytes:
    """The header of a level file. Requirements: FORMAT-47."""
    header = b"RotorLVL" + VERSION.to_bytes(2, "little") + bytes([tree.n, tree.max_depth])
    header += tree.shard_nodes.to_bytes(4, "little") + tree.tree_id
    header += tree.scheme.encode("ascii").ljust(32, b"\0")
    header += level.to_bytes(8, "little") + shard.to_bytes(8, "little") + bytes(32)
    return header + seal(header)


def segment(path: str, data: bytes, name: int) -> Segment:
    """The segment in a file with this number as its name; DamagedError if its header is damaged.

    Requirements: FORMAT-18, FORMAT-20, FORMAT-27, FORMAT-33, FORMAT-56.
    """
    tree, header = identity(path, data, b"RotorWAL", SEGMENT_HEADER_BYTES), data[:160]
    base, number, own = head(path, data, 72), number_at(data, 64, 8), number_at(data, 128, 8)
    if number != name or own < SEGMENT_HEADER_BYTES or any(data[136:144]):
        raise DamagedError("DataCorruptionError", path, 64)
    key, valid = blake3(header).digest(), tuple(frames(header, data))
    invalid = valid[-1].end if valid else SEGMENT_HEADER_BYTES
    used = max(invalid, len(data.rstrip(b"\0")))
    behind = range(invalid, len(data), ALIGNMENT)
    promises = [promise(data, at) for at in behind if is_sealed(key, data, at)]
    promised = max([own, *promises, *(frame.promise for frame in valid)])
    return Segment(path, name, tree, base, own, tuple(units(valid)), invalid, used, promised)


def is_sealed(key: bytes, data: bytes, at: int) -> bool:
    """Whether the frame at this offset has its magic, its seal, and zeros where it is reserved.

    Requirements: FORMAT-23, FORMAT-24.
    """
    sealed, mark = data[at : at + 112], data[at + 112 : at + FRAME_HEADER_BYTES]
    if sealed[:4] != b"RtFr" or len(mark) != SEAL_BYTES or any(sealed[40:48]):
        return False
    return mark == seal(sealed, key)


def promise(data: bytes, at: int) -> int:
    """The promise of the frame at this offset: everything below it was durable."""
    return number_at(data, at + 32, 8)


def frames(header: bytes, data: bytes) -> Iterator[Frame]:
    """The valid frames of the segment with this header, up to the first offset without one.

    Requirements: FORMAT-22, FORMAT-24, FORMAT-25.
    """
    key, at, count = blake3(header).digest(), SEGMENT_HEADER_BYTES, 0
    size, chain = number_at(header, 72, 8), header[-SEAL_BYTES:]
    while (frame := frame_at(key, data, at)) is not None:
        in_order = (number_at(data, at + 8, 8), number_at(data, at + 16, 8)) == (count, size)
        if not in_order or data[at + 80 : at + 96] != chain:
            return
        yield frame
        at, count, size, chain = frame.end, count + 1, frame.head.size, frame.seal


def frame_at(key: bytes, data: bytes, at: int) -> Frame | None:
    """The frame at this offset, or None. Number, first and chain are not checked: see `frames`.

    Requirements: FORMAT-24, FORMAT-28.
    """
    start, many = at + FRAME_HEADER_BYTES, number_at(data, at + 24, 8)
    end = start + many * HASH_BYTES
    if not is_sealed(key, data, at) or many < 1 or end > len(data) or promise(data, at) > at:
        return None
    if data[at + 96 : at + 112] != seal(data[start:end], key):
        return None
    after = Head(number_at(data, at + 16, 8) + many, data[at + 48 : at + 80])
    more = number_at(data, at + 4, 4) == 1
    mark = data[start - SEAL_BYTES : start]
    return Frame(end, more, promise(data, at), after, mark, pieces(data[start:end]))


def units(valid: tuple[Frame, ...]) -> Iterator[Unit]:
    """The whole units that these frames form. Requirements: FORMAT-30."""
    leaves: tuple[bytes, ...] = ()
    for frame in valid:
        leaves += frame.leaves
        if not frame.more:
            yield Unit(frame.end, frame.head, leaves)
            leaves = ()
