"""Tree heads and proofs: build, verify, update, encode, decode.

The verifier trusts a `TreeHead` and nothing in the proof.  A proof carries hashes; which node each
of them is, how large every group is and how deep the tree is follow from (size, index, n) by
`geometry`, and a missing or additional hash is an InvalidProofError like a wrong one.

Binary encoding, little-endian, of exactly 24 + 32·k bytes::

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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from rotortree import kernel
from rotortree.errors import (
    InvalidConfigError,
    InvalidProofError,
    NoUpdateNeededError,
    shown,
)
from rotortree.geometry import (
    MAX_ARITY,
    MAX_SIZE,
    NODE_BYTES,
    Group,
    consistency_groups,
    inclusion_groups,
)
from rotortree.hashing import Hasher, builtin_hasher, check_hasher
from rotortree.leaves import Leaf, one_leaf

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "TreeHead",
    "verify_consistency",
    "verify_inclusion",
]

_HEADER = struct.Struct("<4sBBHQQ")
_VERSION = 1
_HEX_NODE = re.compile("[0-9a-f]{64}")


def _check_count(name: str, value: object, stop: int = MAX_SIZE + 1) -> None:
    if type(value) is not int or not 0 <= value < stop:
        raise InvalidProofError(f"{name} is {shown(value)}: it must be an integer in [0, {stop})")


def _check_arity(n: object) -> None:
    if type(n) is not int or not 2 <= n <= MAX_ARITY:
        raise InvalidProofError(f"n is {shown(n)}: it must be an integer from 2 to {MAX_ARITY}")


def _load_object(text: str | bytes, keys: tuple[str, ...], what: str) -> dict[str, object]:
    """A JSON object with exactly these keys, none of them twice."""
    try:
        found: object = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidProofError(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict) or found.keys() != set(keys):
        raise InvalidProofError(f"{what} must be an object with the keys {', '.join(keys)}")
    if type(found["version"]) is not int or found["version"] != _VERSION:
        raise InvalidProofError(f"{what} must be of version {_VERSION}")
    return found


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _from_hex(value: object, what: str) -> bytes:
    if isinstance(value, str) and _HEX_NODE.fullmatch(value):
        return bytes.fromhex(value)
    raise InvalidProofError(f"{what} must be {2 * NODE_BYTES} lowercase hexadecimal digits")


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a verifier trusts: a tree's size, root, arity and hash scheme.

    ``root`` is 32 bytes, or None for the empty tree.  Raises InvalidProofError when the values do
    not fit each other.
    """

    size: int
    root: bytes | None
    n: int
    scheme: str

    def __post_init__(self) -> None:
        _check_count("size", self.size)
        if (self.root is None) != (self.size == 0):
            raise InvalidProofError("a head has a root exactly if its size is not 0")
        if self.root is not None and (type(self.root) is not bytes or len(self.root) != NODE_BYTES):
            raise InvalidProofError(f"a root must be {NODE_BYTES} bytes")
        _check_arity(self.n)
        if not isinstance(self.scheme, str):
            raise InvalidProofError(f"scheme is {self.scheme!r}: it must be a name")

    def to_json(self) -> str:
        """The head as one line of JSON."""
        return json.dumps(
            {
                "type": "rotortree-head",
                "version": _VERSION,
                "n": self.n,
                "scheme": self.scheme,
                "size": self.size,
                "root": None if self.root is None else self.root.hex(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The head that `to_json` wrote.  Raises InvalidProofError for anything else."""
        keys = ("type", "version", "n", "scheme", "size", "root")
        found = _load_object(text, keys, "a tree head")
        if found["type"] != "rotortree-head":
            raise InvalidProofError("not a tree head")
        root = None if found["root"] is None else _from_hex(found["root"], "root")
        # Whatever the values are, __post_init__ checks them.
        return cls(found["size"], root, found["n"], found["scheme"])  # type: ignore[arg-type]


class _Fields(NamedTuple):
    """What every proof consists of.  ``number`` is the index or the old size."""

    n: int
    size: int
    number: int
    hashes: bytes


class _Codec(NamedTuple):
    """The two encodings of one kind of proof."""

    magic: bytes
    type: str
    number: str

    def encode(self, fields: _Fields) -> bytes:
        n, size, number, hashes = fields
        return _HEADER.pack(self.magic, _VERSION, n, 0, size, number) + hashes

    def decode(self, data: Leaf) -> _Fields:
        data = bytes(memoryview(data))  # bytes(5) would be five zeros
        if len(data) < _HEADER.size:
            raise InvalidProofError(f"{len(data)} bytes are too short for a proof")
        magic, version, n, zero, size, number = _HEADER.unpack_from(data)
        if (magic, version, zero) != (self.magic, _VERSION, 0):
            raise InvalidProofError(f"not a {self.type} of version {_VERSION}")
        return _Fields(n, size, number, data[_HEADER.size :])

    def to_json(self, fields: _Fields) -> str:
        n, size, number, hashes = fields
        rows = [hashes[at : at + NODE_BYTES].hex() for at in range(0, len(hashes), NODE_BYTES)]
        values = {"type": self.type, "version": _VERSION, "n": n, "size": size}
        return json.dumps(values | {self.number: number, "hashes": rows})

    def from_json(self, text: str | bytes) -> _Fields:
        keys = ("type", "version", "n", "size", self.number, "hashes")
        found = _load_object(text, keys, "a proof")
        if found["type"] != self.type:
            raise InvalidProofError(f"not a {self.type}")
        rows = found["hashes"]
        if not isinstance(rows, list):
            raise InvalidProofError("hashes must be a list")
        hashes = b"".join([_from_hex(row, "a hash") for row in rows])
        # Whatever the values are, the proof that is made of them checks them.
        return _Fields(found["n"], found["size"], found[self.number], hashes)  # type: ignore[arg-type]


_INCLUSION = _Codec(b"RTIP", "rotortree-inclusion-proof", "index")
_CONSISTENCY = _Codec(b"RTCP", "rotortree-consistency-proof", "old_size")


def _check_shape(n: object, size: object, hashes: object) -> None:
    """What can be wrong with a proof before its groups are known."""
    _check_count("size", size)
    _check_arity(n)
    if type(hashes) is not bytes:
        raise InvalidProofError("hashes must be bytes")


def _check_length(hashes: bytes, count: int) -> None:
    if len(hashes) != NODE_BYTES * count:
        raise InvalidProofError(
            f"{len(hashes)} bytes of hashes, where the shape needs {count} of {NODE_BYTES} bytes"
        )


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a leaf is at ``index`` of a tree of ``size`` leaves and arity ``n``.

    ``hashes`` is, level by level from the leaves up, the siblings of the node on the path, left to
    right, 32 bytes each.  Raises InvalidProofError when their number does not fit the shape.
    """

    n: int
    size: int
    index: int
    hashes: bytes

    def __post_init__(self) -> None:
        _check_shape(self.n, self.size, self.hashes)
        _check_count("index", self.index, self.size)
        _check_length(self.hashes, sum(group.stop - group.start - 1 for group in self._groups()))

    def _groups(self) -> tuple[Group, ...]:
        return inclusion_groups(self.size, self.n, self.index)

    def encode(self) -> bytes:
        """The canonical binary form: 24 + 32·k bytes."""
        return _INCLUSION.encode(_Fields(self.n, self.size, self.index, self.hashes))

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*_INCLUSION.decode(data))

    def to_json(self) -> str:
        """The proof as one line of JSON."""
        return _INCLUSION.to_json(_Fields(self.n, self.size, self.index, self.hashes))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for anything else."""
        return cls(*_INCLUSION.from_json(text))


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That a tree of ``size`` leaves begins with the leaves of one of ``old_size``.

    ``hashes`` is, level by level from the leaves up, the nodes beside the boundary between old and
    new leaves, left to right, 32 bytes each; none where a size is equal or the old tree was empty.
    Raises InvalidProofError when their number does not fit the shape.
    """

    n: int
    size: int
    old_size: int
    hashes: bytes

    def __post_init__(self) -> None:
        _check_shape(self.n, self.size, self.hashes)
        _check_count("old_size", self.old_size, self.size + 1)
        count = sum(group.stop - group.start - straddles for group, straddles in self._groups())
        _check_length(self.hashes, count)

    def _groups(self) -> tuple[tuple[Group, bool], ...]:
        return consistency_groups(self.old_size, self.size, self.n)

    def encode(self) -> bytes:
        """The canonical binary form: 24 + 32·k bytes."""
        return _CONSISTENCY.encode(_Fields(self.n, self.size, self.old_size, self.hashes))

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*_CONSISTENCY.decode(data))

    def to_json(self) -> str:
        """The proof as one line of JSON."""
        return _CONSISTENCY.to_json(_Fields(self.n, self.size, self.old_size, self.hashes))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for anything else."""
        return cls(*_CONSISTENCY.from_json(text))

    def update(
        self,
        proof: InclusionProof,
        leaf: Leaf,
        old_head: TreeHead,
        new_head: TreeHead,
        *,
        hasher: Hasher | None = None,
    ) -> InclusionProof:
        """The inclusion proof of the same leaf in the newer tree, made of these two proofs alone.

        Both are verified first, against the two heads that the caller trusts: raises
        InvalidProofError when either does not hold, NoUpdateNeededError when the sizes are equal.
        """
        verify_inclusion(old_head, proof.index, leaf, proof, hasher=hasher)
        boundary = _verified_boundary(old_head, new_head, self, hasher)
        if old_head.size == new_head.size:
            raise NoUpdateNeededError(new_head.size)
        old_siblings = dict(_siblings_by_level(proof))
        parts = []
        for group in inclusion_groups(new_head.size, new_head.n, proof.index):
            start, row = boundary.get(group.level, (-1, b""))
            if start == group.start:
                own = (group.own - group.start) * NODE_BYTES
                parts.append(row[:own] + row[own + NODE_BYTES :])
            else:  # away from the boundary the group was complete, and is what it was
                parts.append(old_siblings[group.level])
        return InclusionProof(new_head.n, new_head.size, proof.index, b"".join(parts))


def verify_inclusion(
    head: TreeHead,
    index: int,
    leaf: Leaf,
    proof: InclusionProof,
    *,
    hasher: Hasher | None = None,
) -> None:
    """Return if ``proof`` proves that ``leaf`` (32 bytes) is at ``index`` of the tree of ``head``.

    Raises InvalidProofError otherwise, InvalidLeafError when the leaf is not 32 bytes, and
    InvalidConfigError when the head's scheme is not built in and no ``hasher`` of it was given.
    """
    scheme = _scheme(head, hasher)
    node = bytes(one_leaf(leaf))
    _check_count("index", index)
    if (proof.n, proof.size, proof.index) != (head.n, head.size, index):
        raise InvalidProofError(
            f"the proof is of leaf {proof.index} of {proof.size} (n = {proof.n}),"
            f" not of leaf {index} of {head.size} (n = {head.n})"
        )
    at = 0
    for _, start, own, stop in inclusion_groups(head.size, head.n, index):
        middle, end = at + (own - start) * NODE_BYTES, at + (stop - start - 1) * NODE_BYTES
        node = kernel.hash_group(scheme, proof.hashes[at:middle] + node + proof.hashes[middle:end])
        at = end
    if node != head.root:
        raise InvalidProofError("the proof does not lead to the head's root")


def verify_consistency(
    old_head: TreeHead,
    new_head: TreeHead,
    proof: ConsistencyProof,
    *,
    hasher: Hasher | None = None,
) -> None:
    """Return if ``proof`` proves that the tree of ``new_head`` begins with that of ``old_head``.

    Every tree begins with the empty one.  Raises InvalidProofError otherwise, and
    InvalidConfigError as `verify_inclusion` does.
    """
    _verified_boundary(old_head, new_head, proof, hasher)


def _scheme(head: TreeHead, hasher: Hasher | None) -> Hasher:
    if hasher is None:
        hasher = builtin_hasher(head.scheme)
        if hasher is None:
            raise InvalidConfigError(
                "scheme", head.scheme, "it is not built in: pass its hasher, too"
            )
    else:
        check_hasher(hasher)
    if hasher.name != head.scheme:
        raise InvalidProofError(f"the head is of scheme {head.scheme!r}, not {hasher.name!r}")
    return hasher


def _siblings_by_level(proof: InclusionProof) -> Iterator[tuple[int, bytes]]:
    at = 0
    for group in inclusion_groups(proof.size, proof.n, proof.index):
        end = at + (group.stop - group.start - 1) * NODE_BYTES
        yield group.level, proof.hashes[at:end]
        at = end


def _verified_boundary(
    old_head: TreeHead, new_head: TreeHead, proof: ConsistencyProof, hasher: Hasher | None
) -> dict[int, tuple[int, bytes]]:
    """Verify a consistency proof; return the new tree's groups along the boundary.

    For each level that has one: the group's first node and its members in the new tree.
    """
    scheme = _scheme(old_head, hasher)
    if (old_head.n, old_head.scheme) != (new_head.n, new_head.scheme):
        raise InvalidProofError("the two heads are of trees of different arity or scheme")
    if (proof.n, proof.old_size, proof.size) != (new_head.n, old_head.size, new_head.size):
        raise InvalidProofError(
            f"the proof is from size {proof.old_size} to {proof.size} (n = {proof.n}),"
            f" not from {old_head.size} to {new_head.size} (n = {new_head.n})"
        )
    if proof.old_size in (0, proof.size):
        if proof.old_size and old_head.root != new_head.root:
            raise InvalidProofError("two heads of one size have different roots")
        return {}
    groups: dict[int, tuple[int, bytes]] = {}
    old = new = b""
    at = 0
    for (level, start, own, stop), straddles in consistency_groups(
        proof.old_size, proof.size, proof.n
    ):
        middle = at + (own - start) * NODE_BYTES
        end = at + (stop - start - straddles) * NODE_BYTES
        before, after = proof.hashes[at:middle], proof.hashes[middle:end]
        groups[level] = start, before + new + after
        old, new = _fold(scheme, before + old), _fold(scheme, before + new + after)
        at = end
    if old != old_head.root:
        raise InvalidProofError("the proof does not lead to the old head's root")
    if new != new_head.root:
        raise InvalidProofError("the proof does not lead to the new head's root")
    return groups


def _fold(scheme: Hasher, members: bytes) -> bytes:
    """The parent of a group; a lone member is lifted."""
    return members if len(members) == NODE_BYTES else kernel.hash_group(scheme, members)
