"""Every shape of a small tree: nodes, proofs, consistency, updates; production against the model.

A shape is an arity and a size. Every node of every level, every (index, size), every (old size,
size) and every (index, old size, size) is compared, hash for hash, and what is a proof is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import comb
from typing import NamedTuple, Self

import rotortree_model as model
from rotortree import (
    ConsistencyProof,
    IndexOutOfRangeError,
    LeanIMT,
    NoUpdateNeededError,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)

__all__ = ["ARITIES", "Counts", "Shapes", "check_shapes", "summed"]

ARITIES = range(2, 10)
"""Every arity whose shapes are tried."""


class Counts(NamedTuple):
    """How many of each were compared."""

    shapes: int
    nodes: int
    proofs: int
    pairs: int
    updates: int

    @classmethod
    def expected(cls, n: int, size: int, updates: int) -> Self:
        """For all sizes up to ``size``, and for updates up to ``updates``, in closed form.

        Nodes: ceil(s / n^k) for each level k of each size s. Proofs: an index below a size. Pairs:
        an old size up to a size. Updates: an index below an old size up to a size.
        """
        spans = [n**level for level in range(size.bit_length() + 1)]
        return cls(
            shapes=size + 1,
            nodes=sum(
                -(-one // span)
                for one in range(1, size + 1)
                for span, below in zip(spans, [0, *spans], strict=False)
                if below < one
            ),
            proofs=comb(size + 1, 2),
            pairs=comb(size + 2, 2),
            updates=comb(updates + 2, 3),
        )


def check_shapes(n: int, size: int, updates: int) -> Counts:
    """Compare all shapes of arity n up to ``size``, and all updates of sizes up to ``updates``.

    Raises AssertionError at the first difference, or whatever production raises.
    """
    shapes = Shapes(n, size)
    sizes = range(size + 1)
    return Counts(
        shapes=sum(shapes.check_shape(one) for one in sizes),
        nodes=sum(shapes.check_nodes(one) for one in sizes),
        proofs=sum(shapes.check_inclusion(one) for one in sizes),
        pairs=sum(shapes.check_consistency(one) for one in sizes),
        updates=sum(shapes.check_updates(one) for one in range(updates + 1)),
    )


def summed(counts: Iterable[Counts]) -> Counts:
    """All of them together."""
    return Counts(*map(sum, zip(*counts, strict=True)))


class Shapes:
    """One tree of some arity, its past sizes, and what the model says of each.

    Every check returns how many things it compared.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n = n
        self._leaves = tuple(index.to_bytes(32, "big") for index in range(size))
        self._tree = LeanIMT(n)
        if size:
            self._tree.extend(self._leaves)
        self._snapshots = [self._tree.snapshot(one) for one in range(size + 1)]
        scheme = model.SCHEMES["blake3"]
        self._levels = [model.levels(self._leaves[:one], n, scheme) for one in range(size + 1)]
        self._heads = [
            TreeHead(one, levels[-1][0] if levels else None, n, "blake3")
            for one, levels in enumerate(self._levels)
        ]

    def _values(self, size: int, coordinates: tuple[tuple[int, int], ...]) -> bytes:
        """The model's values of nodes of the tree of a size."""
        return b"".join(self._levels[size][level][index] for level, index in coordinates)

    def check_shape(self, size: int) -> int:
        """Head, depth, and the length of every level, two above the root included."""
        snapshot, levels = self._snapshots[size], self._levels[size]
        depth = max(0, len(levels) - 1)
        lengths = [*map(len, levels), 0, 0]
        _same(size, "head", snapshot.head, self._heads[size])
        _same(size, "depth", snapshot.depth, depth)
        _same(size, "levels", [snapshot.level_len(k) for k in range(len(lengths))], lengths)
        _same(size, "root at a size", self._tree.root_at(size), self._heads[size].root)
        one_batch = LeanIMT(self.n)
        if size:
            one_batch.insert_many(self._leaves[:size])
        _same(size, "head of one batch", one_batch.head, self._heads[size])
        return 1

    def check_nodes(self, size: int) -> int:
        """Every node of every level."""
        snapshot, levels = self._snapshots[size], self._levels[size]
        for level, row in enumerate(levels):
            found = tuple(snapshot.get_node(level, index) for index in range(len(row)))
            _same(size, f"level {level}", found, row)
        return sum(map(len, levels))

    def check_inclusion(self, size: int) -> int:
        """Every leaf's proof, alone and among all; it verifies for that leaf. There is no other."""
        snapshot, head = self._snapshots[size], self._heads[size]
        together = snapshot.prove_many(range(size))
        for index, proof in enumerate(together):
            named = model.inclusion_coordinates(size, self.n, index)
            _same(size, f"proof of {index}", proof.hashes, self._values(size, named))
            _same(
                size,
                f"fields of {index}",
                (proof.n, proof.size, proof.index),
                (self.n, size, index),
            )
            _same(size, f"one proof of {index}", snapshot.prove(index), proof)
            verify_inclusion(head, index, self._leaves[index], proof)
        _refused(size, snapshot.prove, size)
        return len(together)

    def _extension(self, old: int, size: int) -> ConsistencyProof:
        return self._snapshots[size].prove_consistency(old)

    def check_consistency(self, size: int) -> int:
        """The proof from every old size; it verifies for the two heads. There is no other."""
        for old in range(size + 1):
            proof = self._extension(old, size)
            named = model.consistency_coordinates(old, size, self.n)
            _same(size, f"proof from {old}", proof.hashes, self._values(size, named))
            _same(
                size,
                f"fields from {old}",
                (proof.n, proof.size, proof.old_size),
                (self.n, size, old),
            )
            verify_consistency(self._heads[old], self._heads[size], proof)
        _refused(size, self._snapshots[size].prove_consistency, size + 1)
        return size + 1

    def check_updates(self, size: int) -> int:
        """Every leaf's proof from every old size; from the same size there is no update."""
        fresh = self._snapshots[size].prove_many(range(size))
        for old in range(1, size + 1):
            extension = self._extension(old, size)
            heads = self._heads[old], self._heads[size]
            for index, proof in enumerate(self._snapshots[old].prove_many(range(old))):
                try:
                    updated = extension.update(proof, self._leaves[index], *heads)
                except NoUpdateNeededError:
                    _same(size, f"what needs no update of {index}", old, size)
                else:
                    _same(size, f"update of {index} from {old}", updated, fresh[index])
                    assert old < size, f"size {size}: an update from the same size"
        return comb(size + 1, 2)


def _refused(size: int, prove: Callable[[int], object], number: int) -> None:
    try:
        proof = prove(number)
    except IndexOutOfRangeError:
        return
    raise AssertionError(f"size {size}: there is a proof of {number}: {proof!r}")


def _same(size: int, what: str, found: object, expected: object) -> None:
    assert found == expected, f"size {size}, {what}: {found!r}, by the model {expected!r}"
