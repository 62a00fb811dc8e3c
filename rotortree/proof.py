"""Tree heads and proofs: build, verify, update.

The verifier trusts a `TreeHead` and nothing in the proof.  A proof carries hashes; which node each
of them is, how large every group is and how deep the tree is follow from (size, index, n) by
`geometry`, and a missing or additional hash is an InvalidProofError like a wrong one.  How proofs
are encoded is told by `encoding`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, SupportsIndex, overload

from rotortree import kernel
from rotortree.encoding import (
    CONSISTENCY,
    HEADER_BYTES,
    INCLUSION,
    VERSION,
    Codec,
    Fields,
    from_hex,
    load_object,
)
from rotortree.errors import (
    EmptyBatchError,
    InvalidConfigError,
    InvalidProofError,
    NoUpdateNeededError,
    shown,
)
from rotortree.geometry import (
    MAX_ARITY,
    MAX_SIZE,
    NODE_BYTES,
    consistency_groups,
    inclusion_groups,
)
from rotortree.hashing import Hasher, builtin_hasher, check_hasher
from rotortree.leaves import Leaf, LeafBatch, leaf_row, one_leaf

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "InclusionProofs",
    "TreeHead",
    "verify_consistency",
    "verify_inclusion",
    "verify_inclusion_many",
]


def _check_count(name: str, value: object, stop: int = MAX_SIZE + 1) -> None:
    if type(value) is not int or not 0 <= value < stop:
        raise InvalidProofError(f"{name} is {shown(value)}: it must be an integer in [0, {stop})")


def _check_arity(n: object) -> None:
    if type(n) is not int or not 2 <= n <= MAX_ARITY:
        raise InvalidProofError(f"n is {shown(n)}: it must be an integer from 2 to {MAX_ARITY}")


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
            raise InvalidProofError(f"scheme is {shown(self.scheme)}: it must be a name")

    def to_json(self) -> str:
        """The head as one line of JSON."""
        return json.dumps(
            {
                "type": "rotortree-head",
                "version": VERSION,
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
        found = load_object(text, keys, "a tree head")
        if found["type"] != "rotortree-head":
            raise InvalidProofError("not a tree head")
        root = None if found["root"] is None else from_hex(found["root"], "root")
        # Whatever the values are, __post_init__ checks them.
        return cls(found["size"], root, found["n"], found["scheme"])  # type: ignore[arg-type]


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


class _Proof(kernel.Encoded):
    """What both kinds of proofs are: their encoding, decoded when somebody asks."""

    __slots__ = ()
    _codec: ClassVar[Codec]

    def __init__(self, fields: Fields) -> None:
        self._encoded = self._codec.encode(fields)

    @classmethod
    def _of(cls, encoded: bytes) -> Self:
        """The proof that has this encoding, which is known to be one."""
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
        """The arity."""
        return self._encoded[5]

    @property
    def size(self) -> int:
        """The size of the tree, of the new one if there are two."""
        return int.from_bytes(self._encoded[8:16], "little")

    @property
    def _number(self) -> int:
        return int.from_bytes(self._encoded[16:HEADER_BYTES], "little")

    @property
    def hashes(self) -> bytes:
        """The hashes, 32 bytes each, lowest level first, left to right."""
        return self._encoded[HEADER_BYTES:]

    def encode(self) -> bytes:
        """The canonical binary form: 24 + 32·k bytes."""
        return self._encoded

    def to_json(self) -> str:
        """The proof as one line of JSON."""
        return self._codec.to_json(self._fields)


class InclusionProof(_Proof):
    """That a leaf is at ``index`` of a tree of ``size`` leaves and arity ``n``.

    ``hashes`` is, level by level from the leaves up, the siblings of the node on the path, left to
    right, 32 bytes each.  Raises InvalidProofError when their number does not fit the shape.
    Immutable.
    """

    __slots__ = ()
    __match_args__ = ("n", "size", "index", "hashes")
    _codec = INCLUSION

    def __init__(self, n: int, size: int, index: int, hashes: bytes) -> None:
        _check_shape(n, size, hashes)
        _check_count("index", index, size)
        groups = inclusion_groups(size, n, index)
        _check_length(hashes, sum(group.stop - group.start - 1 for group in groups))
        super().__init__(Fields(n, size, index, hashes))

    @property
    def index(self) -> int:
        """Which leaf it is about."""
        return self._number

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*cls._codec.decode(data))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for anything else."""
        return cls(*cls._codec.from_json(text))


class InclusionProofs(Sequence[InclusionProof]):
    """Inclusion proofs in one row of bytes, ``encoded``; each is made when it is asked for."""

    __slots__ = ("_ends", "encoded")

    def __init__(self, encoded: bytes, ends: Sequence[int]) -> None:
        self.encoded = encoded
        self._ends = ends

    def __repr__(self) -> str:
        return f"<{len(self)} inclusion proofs, {len(self.encoded)} bytes>"

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> InclusionProof: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[InclusionProof]: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> InclusionProof | list[InclusionProof]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]  # raises as a list does
        start = self._ends[number - 1] if number else 0
        return InclusionProof._of(self.encoded[start : self._ends[number]])


class ConsistencyProof(_Proof):
    """That a tree of ``size`` leaves begins with the leaves of one of ``old_size``.

    ``hashes`` is, level by level from the leaves up, the nodes beside the boundary between old and
    new leaves, left to right, 32 bytes each; none where a size is equal or the old tree was empty.
    Raises InvalidProofError when their number does not fit the shape.  Immutable.
    """

    __slots__ = ()
    __match_args__ = ("n", "size", "old_size", "hashes")
    _codec = CONSISTENCY

    def __init__(self, n: int, size: int, old_size: int, hashes: bytes) -> None:
        _check_shape(n, size, hashes)
        _check_count("old_size", old_size, size + 1)
        groups = consistency_groups(old_size, size, n)
        count = sum(group.stop - group.start - straddles for group, straddles in groups)
        _check_length(hashes, count)
        super().__init__(Fields(n, size, old_size, hashes))

    @property
    def old_size(self) -> int:
        """The size of the old tree."""
        return self._number

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*cls._codec.decode(data))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for anything else."""
        return cls(*cls._codec.from_json(text))

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
        verify_inclusion(old_head, proof._number, leaf, proof, hasher=hasher)
        nodes = _verified_nodes(old_head, new_head, self, hasher)
        if old_head.size == new_head.size:
            raise NoUpdateNeededError(new_head.size)
        boundary = {level: (start, row) for level, start, row in _new_groups(self, nodes)}
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
    n, size, encoded = head.n, head.size, proof._encoded
    if hasher is None and kernel.leads_to(
        head.scheme, n, size, head.root, index, leaf, encoded, kernel.LANES
    ):
        return
    # It does not hold, or the kernel does not know: the scheme, or leaves that are not bytes.
    scheme = _scheme(head, hasher)
    row = leaf if type(leaf) is bytes and len(leaf) == NODE_BYTES else bytes(one_leaf(leaf))
    try:
        root = kernel.path_roots(scheme, n, size, [index], row, [encoded])
    except ValueError:
        reason = _not_of(head, index, proof)
        if reason is None:
            raise  # an error of the hasher
        raise reason from None
    if root != head.root:
        raise InvalidProofError("the proof does not lead to the head's root")


def verify_inclusion_many(
    head: TreeHead,
    indices: Iterable[int],
    leaves: LeafBatch,
    proofs: Iterable[InclusionProof],
    *,
    hasher: Hasher | None = None,
) -> None:
    """Return if each proof proves that its leaf is at its index of the tree of ``head``.

    They are as many of each, at least one.  Raises as `verify_inclusion` does, for the first that
    does not hold, and names its place; InvalidProofError when they are not as many, and
    EmptyBatchError when there are none of each.
    """
    scheme = _scheme(head, hasher)
    places, proofs = list(indices), list(proofs)
    try:
        row = bytes(leaf_row(leaves))
    except EmptyBatchError:
        if not places and not proofs:
            raise
        row = b""
    count = len(row) // NODE_BYTES
    if not len(places) == len(proofs) == count:
        raise InvalidProofError(
            f"{count} leaves, {len(places)} indices and {len(proofs)} proofs are not as many"
        )
    encodings = [proof.encode() for proof in proofs]
    try:
        roots = kernel.path_roots(scheme, head.n, head.size, places, row, encodings)
    except ValueError:
        roots = None
    if roots is None or head.root is None or roots != head.root * count:
        for place, (index, proof) in enumerate(zip(places, proofs, strict=True)):
            leaf = row[place * NODE_BYTES : (place + 1) * NODE_BYTES]
            try:
                verify_inclusion(head, index, leaf, proof, hasher=hasher)
            except InvalidProofError as error:
                raise InvalidProofError(f"proof {place}: {error}") from None
        raise AssertionError("each of the proofs holds, but not all of them together")


def _not_of(head: TreeHead, index: int, proof: _Proof) -> InvalidProofError | None:
    """Why a proof, whose shape is right, is not of that leaf and head; None if it is."""
    if not isinstance(proof, InclusionProof):
        return InvalidProofError("it is not an inclusion proof")
    try:
        _check_count("index", index)
    except InvalidProofError as error:
        return error
    if (proof.n, proof.size, proof._number) == (head.n, head.size, index):
        return None
    return InvalidProofError(
        f"the proof is of leaf {proof._number} of {proof.size} (n = {proof.n}),"
        f" not of leaf {index} of {head.size} (n = {head.n})"
    )


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
    _verified_nodes(old_head, new_head, proof, hasher)


def _scheme(head: TreeHead, hasher: Hasher | None) -> Hasher:
    if hasher is None:
        hasher = builtin_hasher(head.scheme)
        if hasher is None:
            raise InvalidConfigError(
                "scheme", head.scheme, "it is not built in: pass its hasher, too"
            )
        return hasher
    check_hasher(hasher)
    if hasher.name != head.scheme:
        raise InvalidProofError(f"the head is of scheme {head.scheme!r}, not {hasher.name!r}")
    return hasher


def _siblings_by_level(proof: InclusionProof) -> Iterator[tuple[int, bytes]]:
    hashes, at = proof.hashes, 0
    for group in inclusion_groups(proof.size, proof.n, proof.index):
        end = at + (group.stop - group.start - 1) * NODE_BYTES
        yield group.level, hashes[at:end]
        at = end


def _verified_nodes(
    old_head: TreeHead, new_head: TreeHead, proof: ConsistencyProof, hasher: Hasher | None
) -> bytes:
    """Verify a consistency proof; return what `kernel.boundary_nodes` found."""
    scheme = _scheme(old_head, hasher)
    if (old_head.n, old_head.scheme) != (new_head.n, new_head.scheme):
        raise InvalidProofError("the two heads are of trees of different arity or scheme")
    if not isinstance(proof, ConsistencyProof):
        raise InvalidProofError("it is not a consistency proof")
    n, size, old_size, hashes = proof._fields
    if (n, old_size, size) != (new_head.n, old_head.size, new_head.size):
        raise InvalidProofError(
            f"the proof is from size {old_size} to {size} (n = {n}),"
            f" not from {old_head.size} to {new_head.size} (n = {new_head.n})"
        )
    if old_size in (0, size):
        if old_size and old_head.root != new_head.root:
            raise InvalidProofError("two heads of one size have different roots")
        return b""
    nodes = kernel.boundary_nodes(scheme, n, size, old_size, hashes)
    if nodes[-2 * NODE_BYTES : -NODE_BYTES] != old_head.root:
        raise InvalidProofError("the proof does not lead to the old head's root")
    if nodes[-NODE_BYTES:] != new_head.root:
        raise InvalidProofError("the proof does not lead to the new head's root")
    return nodes


def _new_groups(proof: ConsistencyProof, nodes: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Level, first node and members of the new tree's groups along the boundary."""
    at, new = 0, b""
    groups = consistency_groups(proof.old_size, proof.size, proof.n)
    for place, ((level, start, own, stop), straddles) in enumerate(groups):
        middle = at + (own - start) * NODE_BYTES
        end = at + (stop - start - straddles) * NODE_BYTES
        yield level, start, proof.hashes[at:middle] + new + proof.hashes[middle:end]
        at, new = end, nodes[(2 * place + 1) * NODE_BYTES : (2 * place + 2) * NODE_BYTES]
