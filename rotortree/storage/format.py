"""What is on disk, byte by byte: file headers, frame headers, names.

`specs/storage-format.md` is the normative text.  All integers are little-endian, all offsets
multiples of 16.  Every file begins with a header that names the tree it belongs to, and ends its
header with a seal: BLAKE3 truncated to 16 bytes.  Each layout's length is asserted against the
text, and each offset follows from the one before.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple, Self

from blake3 import blake3

from rotortree.errors import (
    ChecksumMismatchError,
    DataCorruptionError,
    InvalidConfigError,
    UnsupportedFormatError,
)
from rotortree.geometry import MAX_SIZE, NODE_BYTES, check_parameters
from rotortree.hashing import is_scheme_name

__all__ = [
    "COMMIT",
    "COMMIT_BYTES",
    "COMMIT_MAGIC",
    "EMPTY",
    "FORMAT_VERSION",
    "FRAME_BYTES",
    "FRAME_MAGIC",
    "LEVELS",
    "LOCK",
    "MAX_SEGMENT",
    "SALT_BYTES",
    "SEAL_BYTES",
    "SEGMENT_BYTES",
    "SEGMENT_MAGIC",
    "SHARD_BYTES",
    "SHARD_MAGIC",
    "WAL",
    "Commit",
    "Frame",
    "Head",
    "Identity",
    "SegmentHeader",
    "is_level",
    "seal",
    "segment_name",
    "segment_number",
    "shard_file",
    "shard_header",
    "shard_name",
]

FORMAT_VERSION = 1
"""The one version that there is."""

SEAL_BYTES = 16
SALT_BYTES = 16
"""Lengths of a seal and of a segment's salt."""

LOCK = "LOCK"
COMMIT = "COMMIT"
WAL = "wal"
LEVELS = "levels"
"""The names in a tree's directory."""


def seal(data: bytes, key: bytes | None = None) -> bytes:
    """The seal of some bytes: BLAKE3, keyed if a key is given, truncated to 16 bytes."""
    state = blake3(data) if key is None else blake3(data, key=key)
    return state.digest(SEAL_BYTES)


class Head(NamedTuple):
    """A tree's size and root.  The empty tree's root is stored as 32 zero bytes."""

    size: int
    root: bytes


EMPTY = Head(0, bytes(NODE_BYTES))
"""The head of the empty tree."""


_IDENTITY = struct.Struct("<8sHBBI16s32s")
assert _IDENTITY.size == 64


class Identity(NamedTuple):
    """Which tree a file belongs to, and the parameters that decide what its bytes mean.

    ``shard_nodes``: how many nodes one level file holds.
    """

    n: int
    max_depth: int
    shard_nodes: int
    tree_id: bytes
    scheme: str

    def sealed(self, magic: bytes, body: bytes) -> bytes:
        """A whole header: identity, body, seal."""
        header = _IDENTITY.pack(
            magic,
            FORMAT_VERSION,
            self.n,
            self.max_depth,
            self.shard_nodes,
            self.tree_id,
            self.scheme.encode("ascii"),
        )
        return header + body + seal(header + body)

    @classmethod
    def unsealed(cls, magic: bytes, data: bytes, length: int, path: str) -> tuple[Self, bytes]:
        """Check a header of ``length`` bytes at the start of a file; return identity and body.

        Raises DataCorruptionError (short, other magic, impossible values), ChecksumMismatchError,
        UnsupportedFormatError.
        """
        if len(data) < length:
            raise DataCorruptionError(path, len(data), f"the file ends in its {length}-byte header")
        found, version, n, max_depth, shard_nodes, tree_id, scheme = _IDENTITY.unpack_from(data)
        if found != magic:
            raise DataCorruptionError(path, 0, f"begins with {found!r}, not with {magic!r}")
        if version != FORMAT_VERSION:
            raise UnsupportedFormatError(path, version, FORMAT_VERSION)
        sealed, mark = data[: length - SEAL_BYTES], data[length - SEAL_BYTES : length]
        if seal(sealed) != mark:
            raise ChecksumMismatchError(
                path, length - SEAL_BYTES, "the header's seal does not match"
            )
        try:
            check_parameters(n, max_depth)
            name = scheme.rstrip(b"\0").decode("ascii")
        except (InvalidConfigError, UnicodeDecodeError) as error:
            raise DataCorruptionError(path, 0, f"impossible parameters: {error}") from None
        if not is_scheme_name(name):
            raise DataCorruptionError(path, 32, f"impossible scheme name {name!r}")
        if not shard_nodes or shard_nodes % n:
            raise DataCorruptionError(path, 12, f"impossible shard size {shard_nodes}")
        return cls(n, max_depth, shard_nodes, tree_id, name), sealed[_IDENTITY.size :]


def _body_bytes(length: int) -> int:
    return length - _IDENTITY.size - SEAL_BYTES


_SEGMENT = struct.Struct("<QQ32s16sQQ")  # the last Q is reserved: zero
SEGMENT_MAGIC = b"RotorWAL"
SEGMENT_BYTES = 160
MAX_SEGMENT = 2**63 - 1
"""How a segment begins, the length of its header, and the largest number."""

assert _SEGMENT.size == _body_bytes(SEGMENT_BYTES)


class SegmentHeader(NamedTuple):
    """The first 160 bytes of a log segment.

    ``promise``: the offset in the segment below which everything was durable before the segment got
    its name; at least the header was.
    """

    identity: Identity
    number: int
    base: Head
    salt: bytes
    promise: int = SEGMENT_BYTES

    def encode(self) -> bytes:
        """The header's bytes."""
        body = _SEGMENT.pack(self.number, *self.base, self.salt, self.promise, 0)
        return self.identity.sealed(SEGMENT_MAGIC, body)

    @classmethod
    def decode(cls, data: bytes, path: str) -> Self:
        """Raises as `Identity.unsealed` does."""
        identity, body = Identity.unsealed(SEGMENT_MAGIC, data, SEGMENT_BYTES, path)
        number, size, root, salt, promise, reserved = _SEGMENT.unpack(body)
        if not 0 < number <= MAX_SEGMENT or promise < SEGMENT_BYTES or reserved:
            raise DataCorruptionError(path, _IDENTITY.size, "impossible values in the header")
        return cls(identity, number, _head(path, size, root), salt, promise)

    def key(self) -> bytes:
        """The key of every seal in this segment.

        It depends on the random salt, so that neither frames of another segment nor leaves that an
        attacker made look like frames are ever taken for frames of this one.
        """
        return blake3(self.encode()).digest()


def _head(path: str, size: int, root: bytes) -> Head:
    if size > MAX_SIZE or (size == 0 and root != EMPTY.root):
        raise DataCorruptionError(path, _IDENTITY.size, f"impossible head of size {size}")
    return Head(size, root)


_COMMIT = struct.Struct("<Q32sQ32sQQ")
COMMIT_MAGIC = b"RotorCMT"
COMMIT_BYTES = 176
"""How the commit record begins, and its length."""
assert _COMMIT.size == _body_bytes(COMMIT_BYTES)


class Commit(NamedTuple):
    """The commit record: what the level files hold, and what was acknowledged.

    ``first_segment`` is the segment whose base is the checkpoint; ``last_segment`` the one that
    was open when the record was written.
    """

    identity: Identity
    checkpoint: Head
    acknowledged: Head
    first_segment: int
    last_segment: int

    def encode(self) -> bytes:
        """The record's bytes."""
        body = _COMMIT.pack(
            *self.checkpoint, *self.acknowledged, self.first_segment, self.last_segment
        )
        return self.identity.sealed(COMMIT_MAGIC, body)

    @classmethod
    def decode(cls, data: bytes, path: str) -> Self:
        """Raises as `Identity.unsealed` does; trailing bytes are DataCorruptionError, too."""
        identity, body = Identity.unsealed(COMMIT_MAGIC, data, COMMIT_BYTES, path)
        if len(data) > COMMIT_BYTES:
            raise DataCorruptionError(path, COMMIT_BYTES, "the file goes on behind the record")
        size, root, acknowledged, acknowledged_root, first, last = _COMMIT.unpack(body)
        if not 0 < first <= last <= MAX_SEGMENT or acknowledged < size:
            raise DataCorruptionError(path, _IDENTITY.size, "impossible values in the record")
        checkpoint = _head(path, size, root)
        return cls(identity, checkpoint, _head(path, acknowledged, acknowledged_root), first, last)


_SHARD = struct.Struct("<QQ32x")
SHARD_MAGIC = b"RotorLVL"
SHARD_BYTES = 128
"""How a level file begins, and the length of its header."""
assert _SHARD.size == _body_bytes(SHARD_BYTES)


def shard_header(identity: Identity, level: int, shard: int) -> bytes:
    """The first 128 bytes of a level file: a pure function of whose file it is."""
    return identity.sealed(SHARD_MAGIC, _SHARD.pack(level, shard))


_FRAME = struct.Struct("<4sIQQQQQ32s16s16s")  # the last Q is reserved: zero
FRAME_MAGIC = b"RtFr"
FRAME_BYTES = 128
"""How a frame begins, and the length of its header."""
assert _FRAME.size == FRAME_BYTES - SEAL_BYTES

_MORE = 1


class Frame(NamedTuple):
    """A frame's header: the 128 bytes before its leaves.

    ``more``: the flush goes on in the next frame, and counts only with it.  ``promise``: the offset
    in this segment below which everything was durable when the frame was written.  ``chain``: the
    seal of the header before, or of the segment's header.
    """

    more: bool
    number: int
    first: int
    leaves: int
    promise: int
    root: bytes
    chain: bytes
    payload_seal: bytes

    def encode(self, key: bytes) -> bytes:
        """The header's bytes, its seal last."""
        flags = _MORE if self.more else 0
        header = _FRAME.pack(FRAME_MAGIC, flags, *self[1:5], 0, *self[5:])
        return header + seal(header, key)

    @classmethod
    def decode(cls, data: bytes, key: bytes) -> Self | None:
        """The frame that ``data`` begins with; None if it does not begin with a sealed one."""
        header, mark = (
            data[: FRAME_BYTES - SEAL_BYTES],
            data[FRAME_BYTES - SEAL_BYTES : FRAME_BYTES],
        )
        if len(mark) < SEAL_BYTES or not header.startswith(FRAME_MAGIC):
            return None
        if seal(header, key) != mark:
            return None
        _, flags, number, first, leaves, promise, reserved, *rest = _FRAME.unpack(header)
        return None if reserved else cls(flags == _MORE, number, first, leaves, promise, *rest)


_SEGMENT_NAME = re.compile(r"([0-9]{8,})\.wal")


def segment_name(number: int) -> str:
    """The file name of a log segment."""
    return f"{number:08d}.wal"


def segment_number(name: str) -> int | None:
    """The number of a segment's file name; None if it is not one."""
    match = _SEGMENT_NAME.fullmatch(name)
    if match is None or len(name) > len(segment_name(MAX_SEGMENT)):
        return None
    number = int(match[1])
    return number if 0 < number <= MAX_SEGMENT and segment_name(number) == name else None


def is_level(name: str) -> bool:
    """Whether this is the name of a level's directory."""
    return name.isdecimal() and str(int(name)) == name


def shard_file(shard: int) -> str:
    """The name of a level file in its level's directory."""
    return f"{shard:08d}.nodes"


def shard_name(level: int, shard: int) -> str:
    """The path of a level file below the levels' directory."""
    return f"{level}/{shard_file(shard)}"
