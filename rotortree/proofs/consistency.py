"""Consistency proofs: a tree begins with an older one.  They also update inclusion proofs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from rotortree import kernel
from rotortree.encoding import CONSISTENCY, Fields
from rotortree.errors import InvalidProofError, NoUpdateNeededError
from rotortree.geometry import NODE_BYTES, consistency_groups, inclusion_groups
from rotortree.hashing import Hasher
from rotortree.leaves import Leaf
from rotortree.proofs.encoded import EncodedProof, check_length, check_shape
from rotortree.proofs.heads import TreeHead, check_count, hasher_of
from rotortree.proofs.inclusion import InclusionProof, verify_inclusion

__all__ = ["ConsistencyProof", "verify_consistency"]


class ConsistencyProof(EncodedProof):
    """The claim that a tree of ``size`` leaves begins with the leaves of one of ``old_size``.

    ``hashes`` is, level by level from the leaves up, the nodes beside the boundary between old and
    new leaves, left to right, 32 bytes each (PROOF-14).  It is empty if the sizes are equal or
    ``old_size`` is 0.  Immutable.  Raises InvalidProofError if a number is out of range, or if
    ``hashes`` has another length than the sizes and the arity need.
    """

    __slots__ = ()
    __match_args__ = ("n", "size", "old_size", "hashes")
    _codec = CONSISTENCY

    def __init__(self, n: int, size: int, old_size: int, hashes: bytes) -> None:
        check_shape(n, size, hashes)
        check_count("old_size", old_size, size + 1)
        groups = consistency_groups(old_size, size, n)
        count = sum(group.stop - group.start - straddles for group, straddles in groups)
        check_length(hashes, count)
        super().__init__(Fields(n, size, old_size, hashes))

    @property
    def old_size(self) -> int:
        """The size of the older tree in leaves."""
        return self._number

    @classmethod
    def decode(cls, data: Leaf) -> Self:
        """The proof that `encode` wrote.  Raises InvalidProofError for any other bytes."""
        return cls(*cls._codec.decode(data))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The proof that `to_json` wrote.  Raises InvalidProofError for any other text."""
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
        """The inclusion proof of the same leaf in the newer tree, made from these two proofs alone.

        Verifies both proofs first, against the two heads that the caller trusts (PROOF-22).  Raises
        InvalidProofError if a proof does not hold, then NoUpdateNeededError if the sizes are equal,
        and InvalidLeafError and InvalidConfigError as `verify_inclusion` does.
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
            else:  # this group was complete in the old tree: its members are the old siblings
                parts.append(old_siblings[group.level])
        return InclusionProof(new_head.n, new_head.size, proof.index, b"".join(parts))


def verify_consistency(
    old_head: TreeHead,
    new_head: TreeHead,
    proof: ConsistencyProof,
    *,
    hasher: Hasher | None = None,
) -> None:
    """Return if ``proof`` proves that the tree of ``new_head`` begins with that of ``old_head``.

    Every tree begins with the empty one (PROOF-18).  Raises InvalidProofError if the proof does not
    hold (PROOF-5), and InvalidConfigError as `verify_inclusion` does.
    """
    _verified_nodes(old_head, new_head, proof, hasher)


def _verified_nodes(
    old_head: TreeHead, new_head: TreeHead, proof: ConsistencyProof, hasher: Hasher | None
) -> bytes:
    """Verify a consistency proof; return the row of nodes that `kernel.boundary_nodes` computed.

    The row is empty if the sizes are equal or the older tree is empty: nothing is to compute then.
    """
    scheme = hasher_of(old_head, hasher)
    if (old_head.n, old_head.scheme) != (new_head.n, new_head.scheme):
        raise InvalidProofError("the two heads are of trees of different arity or scheme")
    if not isinstance(proof, ConsistencyProof):
        raise InvalidProofError("this is not a consistency proof")
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


def _siblings_by_level(proof: InclusionProof) -> Iterator[tuple[int, bytes]]:
    """For each level with siblings: the level, and the siblings in one row."""
    hashes, at = proof.hashes, 0
    for group in inclusion_groups(proof.size, proof.n, proof.index):
        end = at + (group.stop - group.start - 1) * NODE_BYTES
        yield group.level, hashes[at:end]
        at = end


def _new_groups(proof: ConsistencyProof, nodes: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The newer tree's groups along the boundary: level, index of the first member, members.

    ``nodes`` is what `_verified_nodes` returned: the parents of these groups, old and new in turn.
    """
    at, new = 0, b""
    groups = consistency_groups(proof.old_size, proof.size, proof.n)
    for place, ((level, start, own, stop), straddles) in enumerate(groups):
        middle = at + (own - start) * NODE_BYTES
        end = at + (stop - start - straddles) * NODE_BYTES
        yield level, start, proof.hashes[at:middle] + new + proof.hashes[middle:end]
        at, new = end, nodes[(2 * place + 1) * NODE_BYTES : (2 * place + 2) * NODE_BYTES]
