"""Inclusion proofs: a leaf is at an index of a tree.  One proof or many are made and verified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, SupportsIndex, overload

from rotortree import kernel
from rotortree.encoding import INCLUSION, Fields
from rotortree.errors import EmptyBatchError, InvalidProofError
from rotortree.geometry import NODE_BYTES, inclusion_groups
from rotortree.hashing import Hasher
from rotortree.leaves import Leaf, LeafBatch, leaf_row, one_leaf
from rotortree.proofs.encoded import EncodedProof, check_length, check_shape
from rotortree.proofs.heads import TreeHead, check_count, hasher_of

__all__ = [
    "InclusionProof",
    "InclusionProofs",
    "verify_inclusion",
    "verify_inclusion_many",
]


class InclusionProof(EncodedProof):
    """The claim that a leaf is at ``index`` of a tree of ``size`` leaves and arity ``n``.

    ``hashes`` is, level by level from the leaves up, the siblings of the node on the path, left to
    right, 32 bytes each (PROOF-7).  Immutable.  Raises InvalidProofError if a number is out of
    range, or if ``hashes`` has another length than size, index and arity need.
    """

    __slots__ = ()
    __match_args__ = ("n", "size", "index", "hashes")
    _codec = INCLUSION

    def __init__(self, n: int, size: int, index: int, hashes: bytes) -> None:
        check_shape(n, size, hashes)
        check_count("index", index, size)
        groups = inclusion_groups(size, n, index)
        check_length(hashes, sum(group.stop - group.start - 1 for group in groups))
        super().__init__(Fields(n, size, index, hashes))

    @property
    def index(self) -> int:
        """The index of the leaf."""
        return self._number

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*cls._codec.decode(data))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for any other text."""
        return cls(*cls._codec.from_json(text))


class InclusionProofs(Sequence[InclusionProof]):
    """A sequence of inclusion proofs that is stored as one row of bytes, ``encoded`` (PROOF-33).

    ``ends`` is the offset in bytes at which each proof ends.  An item is made when it is asked for.
    Requires that ``encoded`` is the binary forms of proofs, one behind the other.
    """

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


def verify_inclusion(
    head: TreeHead,
    index: int,
    leaf: Leaf,
    proof: InclusionProof,
    *,
    hasher: Hasher | None = None,
) -> None:
    """Return if ``proof`` proves that ``leaf`` (32 bytes) is at ``index`` of the tree of ``head``.

    Raises InvalidProofError if it does not (PROOF-5), InvalidLeafError if the leaf is not 32 bytes,
    and InvalidConfigError if the head's scheme is not built in and its ``hasher`` is not given.
    """
    n, size, encoded = head.n, head.size, proof._encoded
    if hasher is None and kernel.leads_to(
        head.scheme, n, size, head.root, index, leaf, encoded, kernel.LANES
    ):
        return
    # The proof does not hold, or leads_to does not know the scheme, or the leaf is not bytes.
    scheme = hasher_of(head, hasher)
    row = leaf if type(leaf) is bytes and len(leaf) == NODE_BYTES else bytes(one_leaf(leaf))
    try:
        root = kernel.path_roots(scheme, n, size, [index], row, [encoded])
    except ValueError:
        reason = _mismatch(head, index, proof)
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

    The proofs are verified together, which is faster than one by one.  Raises as `verify_inclusion`
    does, for the first proof that does not hold, and names its place (PROOF-34).  Raises
    InvalidProofError if the numbers of indices, leaves and proofs differ, and EmptyBatchError if
    there are none of each (PROOF-35).
    Requires equally many indices, leaves and proofs, at least one.
    """
    scheme = hasher_of(head, hasher)
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
            f"{len(places)} indices, {count} leaves and {len(proofs)} proofs:"
            " their numbers must be equal"
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


def _mismatch(head: TreeHead, index: int, proof: EncodedProof) -> InvalidProofError | None:
    """Why ``proof`` is not a proof of that leaf and head; None if its fields fit (PROOF-2)."""
    if not isinstance(proof, InclusionProof):
        return InvalidProofError("this is not an inclusion proof")
    try:
        check_count("index", index)
    except InvalidProofError as error:
        return error
    if (proof.n, proof.size, proof.index) == (head.n, head.size, index):
        return None
    return InvalidProofError(
        f"the proof is of leaf {proof.index} of {proof.size} (n = {proof.n}),"
        f" not of leaf {index} of {head.size} (n = {head.n})"
    )
