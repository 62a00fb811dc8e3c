"""Laws of the decoders of proofs and heads: binary and JSON, against predicates from the text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from rotortree import ConsistencyProof, InclusionProof, InvalidProofError, TreeHead
from rotortree_model import consistency_coordinates, inclusion_coordinates

__all__ = [
    "consistency",
    "consistency_json",
    "head_json",
    "inclusion",
    "inclusion_json",
]

_MAX_SIZE = 2**63 - 1
_HASH_BYTES = 32
_HEX = re.compile(r"[0-9a-f]{64}")

_T = TypeVar("_T")
_Object: TypeAlias = dict[str, object]


def inclusion(data: bytes) -> bool:
    """Inclusion proofs as bytes: decoded exactly if PROOF-24 to PROOF-27 say so, and canonical."""
    proof = _decoded(InclusionProof.decode, data)
    assert (proof is not None) == _is_inclusion(data), f"decoded: {proof is not None}"
    if proof is not None:
        assert proof.encode() == data, "it is not canonical"
        assert InclusionProof(proof.n, proof.size, proof.index, proof.hashes) == proof
        assert InclusionProof.from_json(proof.to_json()) == proof
    return proof is not None


def consistency(data: bytes) -> bool:
    """Consistency proofs as bytes: as `inclusion`."""
    proof = _decoded(ConsistencyProof.decode, data)
    assert (proof is not None) == _is_consistency(data), f"decoded: {proof is not None}"
    if proof is not None:
        assert proof.encode() == data, "it is not canonical"
        assert ConsistencyProof(proof.n, proof.size, proof.old_size, proof.hashes) == proof
        assert ConsistencyProof.from_json(proof.to_json()) == proof
    return proof is not None


def inclusion_json(data: bytes) -> bool:
    """Inclusion proofs as JSON: read exactly if PROOF-28 and PROOF-30 say so, as what they say."""
    proof = _decoded(InclusionProof.from_json, data)
    expected = _binary(_json(data), b"RTIP", "rotortree-inclusion-proof", "index")
    assert (proof and proof.encode()) == expected, f"read as {proof!r}"
    return proof is not None


def consistency_json(data: bytes) -> bool:
    """Consistency proofs as JSON: as `inclusion_json`."""
    proof = _decoded(ConsistencyProof.from_json, data)
    expected = _binary(_json(data), b"RTCP", "rotortree-consistency-proof", "old_size")
    assert (proof and proof.encode()) == expected, f"read as {proof!r}"
    return proof is not None


def head_json(data: bytes) -> bool:
    """Heads as JSON: read exactly if PROOF-29 and PROOF-30 say so, and written as they are."""
    head = _decoded(TreeHead.from_json, data)
    found = _json(data)
    assert (head is not None) == _is_head(found), f"read as {head!r}"
    if head is not None:
        assert json.loads(head.to_json()) == found, f"read as {head!r}"
        assert TreeHead.from_json(head.to_json()) == head
    return head is not None


def _decoded(decode: Callable[[bytes], _T], data: bytes) -> _T | None:
    """What was decoded, None if it was refused; any error but InvalidProofError is a finding."""
    try:
        return decode(data)
    except InvalidProofError:
        return None


# What the text says, written once more.


def _is_inclusion(data: bytes) -> bool:
    n, size, index = _fields(data, b"RTIP")
    if not (n >= 2 and index < size <= _MAX_SIZE):
        return False
    return len(data) == 24 + _HASH_BYTES * len(inclusion_coordinates(size, n, index))


def _is_consistency(data: bytes) -> bool:
    n, size, old = _fields(data, b"RTCP")
    if not (n >= 2 and old <= size <= _MAX_SIZE):
        return False
    return len(data) == 24 + _HASH_BYTES * len(consistency_coordinates(old, size, n))


def _fields(data: bytes, magic: bytes) -> tuple[int, int, int]:
    """n, size and number; zeros if there are none."""
    if len(data) < 24 or data[:5] != magic + b"\1" or data[6:8] != b"\0\0":
        return 0, 0, 0
    return data[5], int.from_bytes(data[8:16], "little"), int.from_bytes(data[16:24], "little")


def _json(data: bytes) -> _Object | None:
    """The object of PROOF-30 that UTF-8 text stands for; None if it is none."""

    def once_each(pairs: list[tuple[str, object]]) -> _Object:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=once_each)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None


def _number(value: object, low: int, high: int) -> int | None:
    """The integer in [low, high] that a value is; None if it is none."""
    return value if type(value) is int and low <= value <= high else None


def _binary(found: _Object | None, magic: bytes, kind: str, number: str) -> bytes | None:
    """The binary form of what JSON says, None if it says no such proof."""
    keys = {"type", "version", "n", "size", number, "hashes"}
    if found is None or found.keys() != keys or found["type"] != kind:
        return None
    n, hashes = _number(found["n"], 2, 255), found["hashes"]
    size, at = _number(found["size"], 0, _MAX_SIZE), _number(found[number], 0, _MAX_SIZE)
    if n is None or size is None or at is None or _number(found["version"], 1, 1) is None:
        return None
    if not isinstance(hashes, list) or not all(map(_is_hex, hashes)):
        return None
    data = magic + bytes([1, n, 0, 0]) + size.to_bytes(8, "little") + at.to_bytes(8, "little")
    data += b"".join(map(bytes.fromhex, hashes))
    return data if (_is_inclusion if magic == b"RTIP" else _is_consistency)(data) else None


def _is_hex(value: object) -> bool:
    return type(value) is str and _HEX.fullmatch(value) is not None


def _is_head(found: _Object | None) -> bool:
    keys = {"type", "version", "n", "scheme", "size", "root"}
    if found is None or found.keys() != keys or found["type"] != "rotortree-head":
        return False
    numbers = (("version", 1, 1), ("n", 2, 255), ("size", 0, _MAX_SIZE))
    if any(_number(found[key], low, high) is None for key, low, high in numbers):
        return False
    right_root = found["root"] is None if found["size"] == 0 else _is_hex(found["root"])
    return right_root and type(found["scheme"]) is str
