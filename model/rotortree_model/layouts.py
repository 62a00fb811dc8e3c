"""Layouts: what single files of the storage format say, read as `specs/storage-format.md` has it.

This is the independent reader's lower half, written from the text alone. A header is read into a
value or found damaged; which damage matters is for `rotortree_model.directory` to decide.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from blake3 import blake3

from rotortree_model import shape
from rotortree_model.schemes import HASH_BYTES

COMMIT = "COMMIT"
"""Path of the commit record."""

FRAME_HEADER_BYTES = 128
"""Length of the header of a frame, in bytes; its leaves follow."""

LEVEL_HEADER_BYTES = 128
"""Length of the header of a level file, in bytes; its nodes follow."""

MAX_SIZE = 2**63 - 1
"""The largest size and the largest number of a segment."""

SEGMENT_HEADER_BYTES = 160
"""Length of the header of a segment, in bytes; its frames follow."""

VERSION = 1
"""The version of the format that this reader knows."""

ALIGNMENT = 32
COMMIT_BYTES = 176
SEAL_BYTES = 16

Kind: TypeAlias = Literal["DataCorruptionError", "WalCorruptedError", "UnsupportedFormatError"]
"""What kind of damage it is."""


class DamagedError(Exception):
    """A directory is damaged; file and offset (bytes) are None where the text leaves them open."""

    def __init__(self, kind: Kind, reason: str, file: str | None = None, offset: int | None = None):
        super().__init__(f"{kind}: {reason}, in {file} at {offset}")
        self.kind = kind
        self.reason = reason
        self.file = file
        self.offset = offset


class Identity(NamedTuple):
    """What is equal in all files of a directory."""

    n: int
    max_depth: int
    shard_nodes: int
    tree_id: bytes
    scheme: str

    @property
    def capacity(self) -> int:
        """The most leaves that this tree may hold."""
        return min(shape.capacity(self.n, self.max_depth), MAX_SIZE)


class Head(NamedTuple):
    """A size and a root of 32 bytes, which are zeros for size 0."""

    size: int
    root: bytes


class Commit(NamedTuple):
    """The commit record."""

    identity: Identity
    checkpoint: Head
    acknowledged: Head
    first: int
    last: int


class Unit(NamedTuple):
    """What one flush wrote: where it ends in its file, where it leads, and its leaves."""

    end: int
    head: Head
    leaves: tuple[bytes, ...]


class Segment(NamedTuple):
    """A segment of the log: its header, its units, and what lies behind them."""

    path: str
    number: int
    identity: Identity
    base: Head
    units: tuple[Unit, ...]
    invalid: int
    """Offset of the first frame that is not valid, or the end of the file."""
    used: int
    """Where the bytes in use end."""
    contradicted: bool
    """Whether something behind the first invalid offset promises more than that."""

    @property
    def end(self) -> int:
        """Where the last unit ends, or the header."""
        return self.units[-1].end if self.units else SEGMENT_HEADER_BYTES


class Frame(NamedTuple):
    """A valid frame."""

    end: int
    more: bool
    head: Head
    seal: bytes
    leaves: tuple[bytes, ...]


def number(data: bytes, at: int, width: int) -> int:
    """The unsigned little-endian integer of this width, in bytes, at an offset."""
    return int.from_bytes(data[at : at + width], "little")


def pieces(data: bytes) -> tuple[bytes, ...]:
    """The whole leaves or nodes of 32 bytes that data begins with."""
    stop = len(data) - len(data) % HASH_BYTES
    return tuple(data[at : at + HASH_BYTES] for at in range(0, stop, HASH_BYTES))


def numbered(files: Mapping[str, bytes], pattern: str) -> dict[int, str]:
    """Number to path, in order, of the files whose path is the pattern with {} for a number.

    The number has at least 8 decimal digits and no more than it needs.
    """
    form = re.compile(re.escape(pattern).replace(r"\{\}", r"([0-9]{8}|[1-9][0-9]{8,})"))
    found = {int(match[1]): path for path in files if (match := form.fullmatch(path))}
    return dict(sorted(found.items()))


def identity(path: str, data: bytes, magic: bytes, end: int) -> Identity | None:
    """The identity in a header of ``end`` bytes; None if magic, seal or a field is damaged.

    DamagedError if it is of another version, which comes before everything but the magic.
    """
    if data[:8] != magic or len(data) < 10:
        return None
    if number(data, 8, 2) != VERSION:
        raise DamagedError("UnsupportedFormatError", "another version", path)
    header = data[:end]
    if len(header) < end or header[-SEAL_BYTES:] != seal(header[:-SEAL_BYTES]):
        return None
    n, max_depth, shard_nodes = data[10], data[11], number(data, 12, 4)
    name = data[32:64].rstrip(b"\0").decode("latin-1")
    if n < shape.MIN_ARITY or max_depth < 1 or shard_nodes == 0 or shard_nodes % n:
        return None
    if not name or not name.isascii() or not name.isprintable():
        return None
    return Identity(n, max_depth, shard_nodes, data[16:32], name)


def seal(data: bytes, key: bytes | None = None) -> bytes:
    """The first 16 bytes of BLAKE3(data), or of BLAKE3(key; data)."""
    hashed = blake3(data) if key is None else blake3(data, key=key)
    return hashed.digest()[:SEAL_BYTES]


def head(data: bytes, at: int) -> Head | None:
    """The head at an offset; None if its size is too large, or is 0 and the root is not zeros."""
    size, root = number(data, at, 8), data[at + 8 : at + 40]
    if size > MAX_SIZE or (size == 0 and any(root)):
        return None
    return Head(size, root)


def commit_record(data: bytes) -> Commit | None:
    """The commit record; None if it is damaged, DamagedError if it is of another version."""
    tree = identity(COMMIT, data, b"RotorCMT", COMMIT_BYTES)
    if tree is None or len(data) != COMMIT_BYTES:
        return None
    checkpoint, acknowledged = head(data, 64), head(data, 104)
    first, last = number(data, 144, 8), number(data, 152, 8)
    if checkpoint is None or acknowledged is None or acknowledged.size < checkpoint.size:
        return None
    if not 1 <= first <= last <= MAX_SIZE:
        return None
    return Commit(tree, checkpoint, acknowledged, first, last)


def level_identity(path: str, data: bytes, level: int, shard: int) -> Identity | None:
    """The identity in a level file; None if its header is damaged or belongs elsewhere."""
    tree = identity(path, data, b"RotorLVL", LEVEL_HEADER_BYTES)
    misplaced = (number(data, 64, 8), number(data, 72, 8)) != (level, shard)
    return None if misplaced or any(data[80:112]) else tree


def segment(path: str, data: bytes, name: int) -> Segment:
    """The segment in a file with this number as its name; DamagedError if its header is damaged."""
    tree = identity(path, data, b"RotorWAL", SEGMENT_HEADER_BYTES)
    base = head(data, 72)
    misplaced = number(data, 64, 8) != name
    if tree is None or base is None or misplaced or any(data[128:144]):
        raise DamagedError("WalCorruptedError", "a damaged or misplaced header", path)
    header = data[:SEGMENT_HEADER_BYTES]
    key, found = blake3(header).digest(), tuple(frames(header, data))
    invalid = found[-1].end if found else SEGMENT_HEADER_BYTES
    used = max(invalid, len(data.rstrip(b"\0")))
    later = range(invalid + ALIGNMENT, len(data), ALIGNMENT)
    contradicted = any(promise(data, at) > invalid for at in later if is_sealed(key, data, at))
    units = tuple(units_of(found))
    return Segment(path, name, tree, base, units, invalid, used, contradicted)


def is_sealed(key: bytes, data: bytes, at: int) -> bool:
    """Whether there is a frame at this offset whose magic and seal are right."""
    fields, found = data[at : at + 112], data[at + 112 : at + FRAME_HEADER_BYTES]
    return fields[:4] == b"RtFr" and len(found) == SEAL_BYTES and found == seal(fields, key)


def promise(data: bytes, at: int) -> int:
    """Up to where the frame at this offset says that the segment was durable."""
    return number(data, at + 40, 8)


def frames(header: bytes, data: bytes) -> Iterator[Frame]:
    """The frames of a segment with this header, up to the first that is not valid."""
    key, at, count = blake3(header).digest(), SEGMENT_HEADER_BYTES, 0
    size, chain = number(header, 72, 8), header[-SEAL_BYTES:]
    while (frame := valid_frame(key, data, at)) is not None:
        in_order = (number(data, at + 8, 8), number(data, at + 16, 8)) == (count, size)
        if not in_order or data[at + 80 : at + 96] != chain:
            return
        yield frame
        at, count, size, chain = frame.end, count + 1, frame.head.size, frame.seal


def valid_frame(key: bytes, data: bytes, at: int) -> Frame | None:
    """The frame at this offset if it is valid by itself, wherever in the segment it should be."""
    flags, many = number(data, at + 4, 4), number(data, at + 24, 8)
    start, end = at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + many * HASH_BYTES
    payload = data[start:end]
    if not is_sealed(key, data, at) or flags > 1 or many < 1 or end > len(data):
        return None
    if promise(data, at) > at or data[at + 96 : at + 112] != seal(payload, key):
        return None
    after = Head(number(data, at + 16, 8) + many, data[at + 48 : at + 80])
    return Frame(end, flags == 1, after, data[at + 112 : start], pieces(payload))


def units_of(found: tuple[Frame, ...]) -> Iterator[Unit]:
    """The units that these frames make; frames with MORE at the end make none."""
    leaves: tuple[bytes, ...] = ()
    for frame in found:
        leaves += frame.leaves
        if not frame.more:
            yield Unit(frame.end, frame.head, leaves)
            leaves = ()
