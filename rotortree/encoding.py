"""The two encodings of proofs: binary and JSON (specs/proofs.md, sections 5 and 6).

The binary form is little-endian and exactly 24 + 32·k bytes long, for k hashes::

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
"""Length of a proof's header, in bytes."""

VERSION = 1
"""The version of both encodings; no other exists."""

INCLUSION_MAGIC = b"RTIP"
CONSISTENCY_MAGIC = b"RTCP"
"""The first four bytes of an inclusion proof and of a consistency proof."""


def inclusion_header(n: int, size: int, index: int) -> bytes:
    """The header of an inclusion proof, 24 bytes.  Requires fields that fit (PROOF-24)."""
    return _HEADER.pack(INCLUSION_MAGIC, VERSION, n, 0, size, index)


def load_object(text: str | bytes, keys: tuple[str, ...], what: str) -> dict[str, object]:
    """The JSON object in ``text``, which has exactly these keys and version 1 (PROOF-30).

    ``what`` names the object in error messages.  Raises InvalidProofError for anything else: text
    that is not JSON, bytes that are not UTF-8, a missing, additional or repeated key.
    """
    try:
        if not isinstance(text, str):
            text = str(text, "utf-8")  # json accepts UTF-16 and byte order marks, too
        found: object = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidProofError(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict) or found.keys() != set(keys):
        raise InvalidProofError(f"{what} must be an object with the keys {', '.join(keys)}")
    if type(found["version"]) is not int or found["version"] != VERSION:
        raise InvalidProofError(f"{what} must be of version {VERSION}")
    return found


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The members of a JSON object as a dict.  Raises ValueError if a key is repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def from_hex(value: object, what: str) -> bytes:
    """The 32 bytes of 64 lowercase hexadecimal digits.

    ``what`` names the value in error messages.  Raises InvalidProofError for anything else.
    """
    if isinstance(value, str) and _HEX_NODE.fullmatch(value):
        return bytes.fromhex(value)
    raise InvalidProofError(f"{what} must be {2 * NODE_BYTES} lowercase hexadecimal digits")


class Fields(NamedTuple):
    """The fields of a proof of either kind.

    ``number`` is the index of an inclusion proof, the old size of a consistency proof.
    """

    n: int
    size: int
    number: int
    hashes: bytes


class Codec(NamedTuple):
    """The two encodings of one kind of proof.

    ``magic`` begins the binary form, ``type`` names the kind in JSON, and ``number`` is the JSON
    key of `Fields.number`.
    """

    magic: bytes
    type: str
    number: str

    def encode(self, fields: Fields) -> bytes:
        """The binary form (PROOF-24).  Requires fields that fit."""
        n, size, number, hashes = fields
        return _HEADER.pack(self.magic, VERSION, n, 0, size, number) + hashes

    def decode(self, data: Buffer) -> Fields:
        """The fields that `encode` wrote; their values are not checked.

        Raises InvalidProofError if ``data`` has no header of this kind of proof.
        """
        data = bytes(memoryview(data))  # through a view: bytes(5) would be five zeros
        if len(data) < HEADER_BYTES:
            raise InvalidProofError(f"{len(data)} bytes are too short for a proof")
        magic, version, n, zero, size, number = _HEADER.unpack_from(data)
        if (magic, version, zero) != (self.magic, VERSION, 0):
            raise InvalidProofError(f"not a {self.type} of version {VERSION}")
        return Fields(n, size, number, data[HEADER_BYTES:])

    def to_json(self, fields: Fields) -> str:
        """The JSON form, one line (PROOF-28, PROOF-32)."""
        n, size, number, hashes = fields
        rows = [hashes[at : at + NODE_BYTES].hex() for at in range(0, len(hashes), NODE_BYTES)]
        values = {"type": self.type, "version": VERSION, "n": n, "size": size}
        return json.dumps(values | {self.number: number, "hashes": rows})

    def from_json(self, text: str | bytes) -> Fields:
        """The fields that `to_json` wrote; values and types of numbers are not checked.

        Raises InvalidProofError if ``text`` is not a JSON object of this kind of proof.
        """
        keys = ("type", "version", "n", "size", self.number, "hashes")
        found = load_object(text, keys, "a proof")
        if found["type"] != self.type:
            raise InvalidProofError(f"not a {self.type}")
        rows = found["hashes"]
        if not isinstance(rows, list):
            raise InvalidProofError("hashes must be a list")
        hashes = b"".join([from_hex(row, "a hash") for row in rows])
        # The numbers may be of any type here: the constructor of the proof checks them.
        return Fields(found["n"], found["size"], found[self.number], hashes)  # type: ignore[arg-type]


INCLUSION = Codec(INCLUSION_MAGIC, "rotortree-inclusion-proof", "index")
CONSISTENCY = Codec(CONSISTENCY_MAGIC, "rotortree-consistency-proof", "old_size")
"""The codecs of the two kinds of proofs."""
