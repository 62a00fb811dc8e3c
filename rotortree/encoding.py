"""How proofs are written: as bytes, and as JSON.

Binary, little-endian, of exactly 24 + 32·k bytes::

    0   4  magic: "RTIP" inclusion, "RTCP" consistency
    4   1  version, 1
    5   1  n
    6   2  zero
    8   8  size (consistency: of the new tree)
    16  8  inclusion: index of the leaf; consistency: size of the old tree
    24     the hashes, lowest level first, left to right

The JSON form is one object with the keys ``type``, ``version``, ``n``, ``size``, ``index`` or
``old_size``, and ``hashes``, a list of lowercase hexadecimal strings.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from rotortree.errors import InvalidProofError
from rotortree.geometry import NODE_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CONSISTENCY",
    "CONSISTENCY_MAGIC",
    "HEADER_BYTES",
    "INCLUSION",
    "INCLUSION_MAGIC",
    "VERSION",
    "Codec",
    "Fields",
    "from_hex",
    "inclusion_header",
    "load_object",
]

_HEADER = struct.Struct("<4sBBHQQ")
_HEX_NODE = re.compile("[0-9a-f]{64}")

HEADER_BYTES = _HEADER.size
"""How long it is."""

VERSION = 1
"""The one version that there is."""

INCLUSION_MAGIC = b"RTIP"
CONSISTENCY_MAGIC = b"RTCP"
"""The first four bytes of the two kinds of proofs."""


def inclusion_header(n: int, size: int, index: int) -> bytes:
    """What an inclusion proof begins with."""
    return _HEADER.pack(INCLUSION_MAGIC, VERSION, n, 0, size, index)


def load_object(text: str | bytes, keys: tuple[str, ...], what: str) -> dict[str, object]:
    """A JSON object with exactly these keys, none of them twice.  Raises InvalidProofError."""
    try:
        if not isinstance(text, str):
            text = str(text, "utf-8")  # json would take UTF-16, a mark before it, and surrogates
        found: object = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidProofError(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict) or found.keys() != set(keys):
        raise InvalidProofError(f"{what} must be an object with the keys {', '.join(keys)}")
    if type(found["version"]) is not int or found["version"] != VERSION:
        raise InvalidProofError(f"{what} must be of version {VERSION}")
    return found


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def from_hex(value: object, what: str) -> bytes:
    """The 32 bytes that hexadecimal digits stand for.  Raises InvalidProofError."""
    if isinstance(value, str) and _HEX_NODE.fullmatch(value):
        return bytes.fromhex(value)
    raise InvalidProofError(f"{what} must be {2 * NODE_BYTES} lowercase hexadecimal digits")


class Fields(NamedTuple):
    """What every proof consists of.  ``number`` is the index or the old size."""

    n: int
    size: int
    number: int
    hashes: bytes


class Codec(NamedTuple):
    """The two encodings of one kind of proof."""

    magic: bytes
    type: str
    number: str

    def encode(self, fields: Fields) -> bytes:
        """The binary form."""
        n, size, number, hashes = fields
        return _HEADER.pack(self.magic, VERSION, n, 0, size, number) + hashes

    def decode(self, data: Buffer) -> Fields:
        """What `encode` wrote, unchecked.  Raises InvalidProofError where no fields are."""
        data = bytes(memoryview(data))  # bytes(5) would be five zeros
        if len(data) < HEADER_BYTES:
            raise InvalidProofError(f"{len(data)} bytes are too short for a proof")
        magic, version, n, zero, size, number = _HEADER.unpack_from(data)
        if (magic, version, zero) != (self.magic, VERSION, 0):
            raise InvalidProofError(f"not a {self.type} of version {VERSION}")
        return Fields(n, size, number, data[HEADER_BYTES:])

    def to_json(self, fields: Fields) -> str:
        """The JSON form."""
        n, size, number, hashes = fields
        rows = [hashes[at : at + NODE_BYTES].hex() for at in range(0, len(hashes), NODE_BYTES)]
        values = {"type": self.type, "version": VERSION, "n": n, "size": size}
        return json.dumps(values | {self.number: number, "hashes": rows})

    def from_json(self, text: str | bytes) -> Fields:
        """What `to_json` wrote, unchecked.  Raises InvalidProofError where no fields are."""
        keys = ("type", "version", "n", "size", self.number, "hashes")
        found = load_object(text, keys, "a proof")
        if found["type"] != self.type:
            raise InvalidProofError(f"not a {self.type}")
        rows = found["hashes"]
        if not isinstance(rows, list):
            raise InvalidProofError("hashes must be a list")
        hashes = b"".join([from_hex(row, "a hash") for row in rows])
        # Whatever the values are, the proof that is made of them checks them.
        return Fields(found["n"], found["size"], found[self.number], hashes)  # type: ignore[arg-type]


INCLUSION = Codec(INCLUSION_MAGIC, "rotortree-inclusion-proof", "index")
CONSISTENCY = Codec(CONSISTENCY_MAGIC, "rotortree-consistency-proof", "old_size")
"""The two kinds."""
