"""Consistency proofs: complete, equal to a second reading of the definition, and sound."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    SCHEMES,
    Scheme,
    consistency_coordinates,
    consistency_proof,
    depth,
    level_length,
    levels,
    root,
    verify_consistency,
)
from tests.model.support import BLAKE3, Leaves, make_leaves, root_of

BOUND = 22
"""Trees of up to so many leaves are enumerated."""


@cache
def proof_of(old_size: int, size: int, n: int) -> Leaves:
    """The BLAKE3 consistency proof from the first old_size to the first `size` leaves."""
    return consistency_proof(make_leaves(size), n, old_size, BLAKE3)


def holds(old_size: int, size: int, n: int, hashes: Leaves) -> bool:
    """Whether the hashes verify against the two true heads."""
    return verify_consistency(
        old_size, root_of(old_size, n), size, root_of(size, n), n, hashes, BLAKE3
    )


def pairs(bound: int = BOUND) -> Iterator[tuple[int, int, int]]:
    """(n, old_size, size) for n = 2 to 5 and all 0 <= old_size <= size <= bound."""
    return (
        (n, old_size, size)
        for n in range(2, 6)
        for size in range(bound + 1)
        for old_size in range(size + 1)
    )


class Reader:
    """A second verifier, written from the definition: reads the hashes in order, level by level."""

    def __init__(self, old_size: int, size: int, n: int, hashes: Leaves, parent: Scheme) -> None:
        self.old_size, self.size, self.n = old_size, size, n
        self.hashes, self.parent = list(hashes), parent

    def combine(self, values: list[bytes]) -> bytes:
        """Lift one, hash several."""
        return values[0] if len(values) == 1 else self.parent(tuple(values))

    def read(self, level: int, index: int) -> tuple[bytes, bytes]:
        """The old and the new value of a straddling node; IndexError if hashes run out."""
        width = self.n ** (level - 1)
        last = min((index + 1) * self.n, level_length(self.size, self.n, level - 1))
        inner: dict[int, tuple[bytes, bytes]] = {}
        for child in range(index * self.n, last):
            if child * width < self.old_size < min((child + 1) * width, self.size):
                inner[child] = self.read(level - 1, child)
        old: list[bytes] = []
        new: list[bytes] = []
        for child in range(index * self.n, last):
            if child in inner:
                old.append(inner[child][0])
                new.append(inner[child][1])
                continue
            value = self.hashes.pop(0)
            new.append(value)
            if (child + 1) * width <= self.old_size:
                old.append(value)
        return self.combine(old), self.combine(new)

    def roots(self) -> tuple[bytes, bytes] | None:
        """The two roots that the hashes lead to; None if one is missing or left over."""
        try:
            found = self.read(depth(self.size, self.n), 0)
        except IndexError:
            return None
        return None if self.hashes else found


# --- completeness


@pytest.mark.evidence("example", "PROOF-14")
@pytest.mark.parametrize(
    ("old_size", "size", "n", "expected"),
    [
        (0, 5, 2, ()),
        (5, 5, 2, ()),
        (1, 2, 2, ((0, 0), (0, 1))),
        (1, 3, 2, ((0, 0), (0, 1), (1, 1))),
        (2, 3, 2, ((1, 0), (1, 1))),
        (3, 4, 2, ((0, 2), (0, 3), (1, 0))),
        (4, 5, 2, ((2, 0), (2, 1))),
        (5, 7, 2, ((0, 4), (0, 5), (1, 3), (2, 0))),
        (4, 9, 4, ((1, 0), (1, 1), (1, 2))),
        (3, 5, 3, ((1, 0), (1, 1))),
        (4, 5, 3, ((0, 3), (0, 4), (1, 0))),
        (5, 11, 3, ((0, 3), (0, 4), (0, 5), (1, 0), (1, 2), (2, 1))),
    ],
)
def test_proof_by_hand(
    old_size: int, size: int, n: int, expected: tuple[tuple[int, int], ...]
) -> None:
    """Which nodes a proof consists of, on paper: lowest level first, left to right in each."""
    rows = levels(make_leaves(size), n, BLAKE3)
    assert consistency_coordinates(old_size, size, n) == expected
    assert proof_of(old_size, size, n) == tuple(rows[k][i] for k, i in expected)


@pytest.mark.evidence("exhaustive", "PROOF-15", "PROOF-16")
@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_every_pair_of_sizes_has_a_proof(name: str) -> None:
    """All 0 <= old_size <= size <= 22, n = 2 to 5, each scheme; the second reader agrees."""
    parent = SCHEMES[name]
    for n, old_size, size in pairs():
        leaves = make_leaves(size)
        old_root, new_root = root(leaves[:old_size], n, parent), root(leaves, n, parent)
        proof = consistency_proof(leaves, n, old_size, parent)
        assert verify_consistency(old_size, old_root, size, new_root, n, proof, parent)
        if 0 < old_size < size:
            reader = Reader(old_size, size, n, proof, parent)
            assert reader.roots() == (old_root, new_root)
        else:
            assert proof == ()


@pytest.mark.evidence("property", "PROOF-16")
@given(
    leaves=st.lists(st.binary(min_size=32, max_size=32), max_size=60).map(tuple),
    n=st.integers(2, 255),
    name=st.sampled_from(sorted(SCHEMES)),
    data=st.data(),
)
def test_a_tree_extends_each_of_its_prefixes(
    leaves: Leaves, n: int, name: str, data: st.DataObject
) -> None:
    """Up to 60 leaves of any value, repeats included, any n, scheme and old size."""
    parent = SCHEMES[name]
    old_size = data.draw(st.integers(0, len(leaves)))
    old_root, new_root = root(leaves[:old_size], n, parent), root(leaves, n, parent)
    proof = consistency_proof(leaves, n, old_size, parent)
    assert verify_consistency(old_size, old_root, len(leaves), new_root, n, proof, parent)


@pytest.mark.evidence("property", "PROOF-16")
@given(
    n=st.integers(2, 255), sizes=st.tuples(*[st.integers(1, 2**64)] * 2), extra=st.integers(-1, 1)
)
def test_both_readings_of_the_definition_agree_without_a_tree(
    n: int, sizes: tuple[int, int], extra: int
) -> None:
    """Sizes to 2^64, made-up hashes, as many as needed or one off: same verdict, same roots."""
    old_size, size = sorted(sizes)
    count = len(consistency_coordinates(old_size, size, n))
    hashes = make_leaves(max(0, count + extra))
    if old_size == size:
        assert count == 0
        return
    found = Reader(old_size, size, n, hashes, BLAKE3).roots()
    assert (found is None) == (extra != 0)
    old_root, new_root = found or (b"\1" * 32, b"\2" * 32)
    accepted = verify_consistency(old_size, old_root, size, new_root, n, hashes, BLAKE3)
    assert accepted == (found is not None)
    wrong = b"\3" * 32
    assert not verify_consistency(old_size, wrong, size, new_root, n, hashes, BLAKE3)
    assert not verify_consistency(old_size, old_root, size, wrong, n, hashes, BLAKE3)


@pytest.mark.parametrize("old_size", [-1, 4])
def test_no_proof_from_a_size_outside_the_tree(old_size: int) -> None:
    """Building raises ValueError for a negative or a larger old size."""
    with pytest.raises(ValueError, match="old size"):
        consistency_proof(make_leaves(3), 2, old_size, BLAKE3)


# --- the edges


@pytest.mark.evidence("example", "PROOF-15", "PROOF-18")
def test_every_tree_extends_the_empty_one_and_itself() -> None:
    """With the empty proof and no other, and only if the roots say so."""
    some = b"\0" * 32
    for n, _, size in pairs(9):
        for old_size in (0, size):
            assert holds(old_size, size, n, ())
            assert not holds(old_size, size, n, (some,))
        if size:
            assert not verify_consistency(
                size, some[:-1] + b"\1", size, root_of(size, n), n, (), BLAKE3
            )


def test_a_head_has_a_root_exactly_if_it_has_leaves() -> None:
    """A root for size 0, none for a size above 0, one that is not 32 bytes: False in each case."""
    some = b"\0" * 32
    assert verify_consistency(0, None, 0, None, 2, (), BLAKE3)
    assert not verify_consistency(0, some, 0, some, 2, (), BLAKE3)
    assert not verify_consistency(0, some, 3, root_of(3, 2), 2, (), BLAKE3)
    assert not verify_consistency(0, None, 3, None, 2, (), BLAKE3)
    assert not verify_consistency(3, None, 3, None, 2, (), BLAKE3)
    assert not verify_consistency(0, None, 3, b"short", 2, (), BLAKE3)
    assert not verify_consistency(2, None, 3, root_of(3, 2), 2, proof_of(2, 3, 2), BLAKE3)
    assert not verify_consistency(-1, some, 3, root_of(3, 2), 2, (), BLAKE3)
    assert not verify_consistency(-1, None, 3, root_of(3, 2), 2, (), BLAKE3)


@pytest.mark.evidence("exhaustive", "PROOF-18")
def test_a_smaller_tree_extends_no_larger_one() -> None:
    """Heads swapped, with the proof of the right direction or none: False."""
    for n, old_size, size in pairs(12):
        if old_size < size:
            for hashes in ((), proof_of(old_size, size, n)):
                assert not verify_consistency(
                    size, root_of(size, n), old_size, root_of(old_size, n), n, hashes, BLAKE3
                )


# --- soundness


@pytest.mark.evidence("exhaustive", "PROOF-3")
def test_every_mutated_proof_is_rejected() -> None:
    """Dropped, doubled, flipped, replaced, cut, lengthened, swapped, added; sizes to 12."""
    for n, old_size, size in pairs(12):
        proof = proof_of(old_size, size, n)
        foreign = (b"\0" * 32, b"\xff" * 32, *make_leaves(size)[-1:])
        for i, value in enumerate(proof):
            before, after = proof[:i], proof[i + 1 :]
            flipped = bytes([value[0] ^ 1]) + value[1:]
            assert not holds(old_size, size, n, before + after)
            assert not holds(old_size, size, n, (*before, value, value, *after))
            assert not holds(old_size, size, n, (*before, flipped, *after))
            assert not holds(old_size, size, n, (*before, value[1:], *after))
            assert not holds(old_size, size, n, (*before, value + b"\0", *after))
            for other in foreign:
                assert other == value or not holds(old_size, size, n, (*before, other, *after))
            for j in range(i + 1, len(proof)):
                swapped = (*before, proof[j], *proof[i + 1 : j], value, *proof[j + 1 :])
                assert not holds(old_size, size, n, swapped)
        for i in range(len(proof) + 1):
            for other in foreign:
                assert not holds(old_size, size, n, (*proof[:i], other, *proof[i:]))


@pytest.mark.evidence("example", "PROOF-3")
def test_bytes_do_not_move_from_one_hash_to_the_next() -> None:
    """Hashes of 31 and 33 bytes that join to the right 64 are rejected, though both roots match."""
    left, right, last = proof_of(6, 9, 3)
    shifted = (left[:-1], left[-1:] + right, last)
    reader = Reader(6, 9, 3, shifted, BLAKE3)
    assert reader.roots() == (root_of(6, 3), root_of(9, 3))
    assert not holds(6, 9, 3, shifted)


@pytest.mark.evidence("exhaustive", "PROOF-6")
def test_a_proof_of_other_sizes_is_rejected_unless_it_is_the_same() -> None:
    """Against all other pairs of true heads with 0 < old_size < size <= 12, n = 2 to 5.

    Some proofs are the same: for n = 3, all 3 leaves prove 1 to 3 and 2 to 3, both true.
    """
    real = [(n, old_size, size) for n, old_size, size in pairs(12) if 0 < old_size < size]
    for n, old_size, size in real:
        proof = proof_of(old_size, size, n)
        for m, other_old, other in real:
            if m == n:
                same = proof == proof_of(other_old, other, n)
                assert holds(other_old, other, n, proof) == same
                assert size == other or not same


def test_a_rewritten_history_has_no_proof() -> None:
    """If one old leaf differs in the new tree, its own proof is rejected for every size to 12."""
    for n, old_size, size in pairs(12):
        for changed in range(old_size):
            if old_size < size:
                leaves = list(make_leaves(size))
                leaves[changed] = b"\xff" * 32
                forged = tuple(leaves)
                proof = consistency_proof(forged, n, old_size, BLAKE3)
                new_root = root(forged, n, BLAKE3)
                old_root = root_of(old_size, n)
                assert not verify_consistency(old_size, old_root, size, new_root, n, proof, BLAKE3)


@pytest.mark.evidence("exhaustive", "PROOF-6")
def test_a_false_size_is_caught_exactly_if_it_changes_the_shape() -> None:
    """A root does not commit to its size: the false head (other size, this root) passes if the
    proof names the same nodes at both sizes, and never otherwise.

    So the sizes of both heads must be trusted (case E of prior art). Sizes to 18, n = 2 to 5.
    """
    for n, old_size, size in pairs(18):
        if 0 < old_size < size:
            proof = proof_of(old_size, size, n)
            for other in range(old_size + 1, 18 + 1):
                accepted = verify_consistency(
                    old_size, root_of(old_size, n), other, root_of(size, n), n, proof, BLAKE3
                )
                named = consistency_coordinates(old_size, other, n)
                assert accepted == (named == consistency_coordinates(old_size, size, n))
