"""What both kinds of proofs share: an immutable object that consists of its binary form."""

from __future__ import annotations

from typing import ClassVar, Self

from rotortree import kernel
from rotortree.encoding import HEADER_BYTES, Codec, Fields
from rotortree.errors import InvalidProofError
from rotortree.geometry import NODE_BYTES
from rotortree.proofs.heads import check_arity, check_count

__all__ = ["EncodedProof", "check_length", "check_shape"]


def check_shape(n: object, size: object, hashes: object) -> None:
    """Raise InvalidProofError if fields are wrong that can be judged without the proof's groups."""
    check_count("size", size)
    check_arity(n)
    if type(hashes) is not bytes:
        raise InvalidProofError("hashes must be bytes")


def check_length(hashes: bytes, count: int) -> None:
    """Raise InvalidProofError unless ``hashes`` is exactly ``count`` hashes (PROOF-3)."""
    if len(hashes) != NODE_BYTES * count:
        raise InvalidProofError(
            f"{len(hashes)} bytes of hashes, where the shape needs {count} of {NODE_BYTES} bytes"
        )


class EncodedProof(kernel.Encoded):
    """A proof of either kind: it stores its binary form alone, and decodes a field when asked.

    Proofs are equal if they are of one class and their binary forms are equal (PROOF-25).
    """

    __slots__ = ()
    _codec: ClassVar[Codec]

    def __init__(self, fields: Fields) -> None:
        self._encoded = self._codec.encode(fields)

    @classmethod
    def _of(cls, encoded: bytes) -> Self:
        """The proof with this binary form, unchecked.  Requires that ``encoded`` is a proof's."""
        proof = cls.__new__(cls)
        proof._encoded = encoded
        return proof

    @property
    def _fields(self) -> Fields:
        return Fields(self.n, self.size, self._number, self.hashes)

    def __repr__(self) -> str:
        n, size, number, hashes = self._fields
        kind, name = type(self).__name__, self._codec.number
        return f"{kind}(n={n}, size={size}, {name}={number}, hashes={hashes!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._encoded == other._encoded

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(self._fields)

    @property
    def n(self) -> int:
        """The arity of the tree."""
        return self._encoded[5]

    @property
    def size(self) -> int:
        """The size of the tree in leaves; of a consistency proof, the size of the newer tree."""
        return int.from_bytes(self._encoded[8:16], "little")

    @property
    def _number(self) -> int:
        """The index of an inclusion proof, the old size of a consistency proof."""
        return int.from_bytes(self._encoded[16:HEADER_BYTES], "little")

    @property
    def hashes(self) -> bytes:
        """The hashes in one row, 32 bytes each: lowest level first, left to right."""
        return self._encoded[HEADER_BYTES:]

    def encode(self) -> bytes:
        """The canonical binary form, 24 + 32·k bytes for k hashes (PROOF-24, PROOF-25)."""
        return self._encoded

    def to_json(self) -> str:
        """The proof as one line of JSON (PROOF-28)."""
        return self._codec.to_json(self._fields)
