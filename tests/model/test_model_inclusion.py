"""Inclusion proofs: complete, sound against every mutation, and blind to no structure."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    SCHEMES,
    Scheme,
    depth,
    inclusion_coordinates,
    inclusion_proof,
    inclusion_root,
    levels,
    root,
    verify_inclusion,
)
from tests.model.support import BLAKE3, Leaves, make_leaves

BOUND = 28
"""Trees of up to so many leaves are enumerated."""


@cache
def root_of(size: int, n: int) -> bytes:
    """The BLAKE3 root of the first `size` leaves; there is at least one."""
    found = root(make_leaves(size), n, BLAKE3)
    assert found is not None
    return found


@cache
def proof_of(size: int, n: int, index: int) -> Leaves:
    """The BLAKE3 inclusion proof of leaf `index` of the first `size` leaves."""
    return inclusion_proof(make_leaves(size), n, index, BLAKE3)


def trees(bound: int = BOUND) -> Iterator[tuple[int, int]]:
    """(n, size) for n = 2 to 5 and all sizes from 1 to bound."""
    return ((n, size) for n in range(2, 6) for size in range(1, bound + 1))


def mutants(hashes: Leaves, others: Leaves) -> Iterator[Leaves]:
    """Every tuple that one small change makes of hashes; `others` are plausible foreign values."""
    for i, value in enumerate(hashes):
        before, after = hashes[:i], hashes[i + 1 :]
        yield before + after  # dropped
        yield (*before, value, value, *after)  # doubled
        yield (*before, value[:-1], *after)  # cut
        yield (*before, value + b"\0", *after)  # trailing byte
        yield (*before, b"", *after)
        for bit in (0, 100, 255):
            flipped = int.from_bytes(value) ^ (1 << bit)
            yield (*before, flipped.to_bytes(32), *after)
        for other in others:
            yield (*before, other, *after)  # replaced
        for j in range(i + 1, len(hashes)):  # swapped
            yield (*before, hashes[j], *hashes[i + 1 : j], value, *hashes[j + 1 :])
    for i in range(len(hashes) + 1):
        for other in others:
            yield (*hashes[:i], other, *hashes[i:])  # added
    for i in range(len(hashes) - 1):  # a byte moved over the border of two hashes
        left, right = hashes[i], hashes[i + 1]
        yield (*hashes[:i], left[:-1], left[-1:] + right, *hashes[i + 2 :])
        yield (*hashes[:i], left + right[:1], right[1:], *hashes[i + 2 :])
        yield (*hashes[:i], left + right, *hashes[i + 2 :])
        yield (*hashes[:i], left + right, b"", *hashes[i + 2 :])


# --- completeness


@pytest.mark.evidence("example", "PROOF-7", "PROOF-8")
@pytest.mark.parametrize(
    ("size", "n", "index", "expected"),
    [
        (1, 2, 0, ()),
        (2, 2, 0, ((0, 1),)),
        (2, 2, 1, ((0, 0),)),
        (3, 2, 2, ((1, 0),)),
        (5, 2, 0, ((0, 1), (1, 1), (2, 1))),
        (5, 2, 4, ((2, 0),)),
        (7, 2, 6, ((1, 2), (2, 0))),
        (5, 3, 1, ((0, 0), (0, 2), (1, 1))),
        (5, 3, 4, ((0, 3), (1, 0))),
        (10, 3, 4, ((0, 3), (0, 5), (1, 0), (1, 2), (2, 1))),
        (10, 3, 9, ((2, 0),)),
    ],
)
def test_proof_by_hand(
    size: int, n: int, index: int, expected: tuple[tuple[int, int], ...]
) -> None:
    """Which nodes a proof consists of, drawn on paper; lone children contribute nothing."""
    rows = levels(make_leaves(size), n, BLAKE3)
    assert inclusion_coordinates(size, n, index) == expected
    assert proof_of(size, n, index) == tuple(rows[k][i] for k, i in expected)


@pytest.mark.evidence("property", "PROOF-7", "PROOF-10")
@given(
    leaves=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=60).map(tuple),
    n=st.integers(2, 255),
    name=st.sampled_from(sorted(SCHEMES)),
    data=st.data(),
)
def test_a_proof_is_the_rest_of_each_group_on_the_path_and_verifies(
    leaves: Leaves, n: int, name: str, data: st.DataObject
) -> None:
    """Compared with groups cut bottom-up; to 60 leaves, repeats too, any n and scheme."""
    parent: Scheme = SCHEMES[name]
    index = data.draw(st.integers(0, len(leaves) - 1))
    expected: Leaves = ()
    row, place = leaves, index
    while len(row) > 1:
        groups = [row[i : i + n] for i in range(0, len(row), n)]
        group = groups[place // n]
        expected += group[: place % n] + group[place % n + 1 :]
        row, place = tuple(g[0] if len(g) == 1 else parent(g) for g in groups), place // n
    proof = inclusion_proof(leaves, n, index, parent)
    assert proof == expected
    assert inclusion_root(len(leaves), n, index, leaves[index], proof, parent) == row[0]
    assert verify_inclusion(len(leaves), n, row[0], index, leaves[index], proof, parent)


@pytest.mark.evidence("exhaustive", "PROOF-9", "PROOF-10")
@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_every_leaf_of_every_small_tree_has_a_proof(name: str) -> None:
    """All n from 2 to 5, sizes to 28, indices, in each scheme."""
    parent = SCHEMES[name]
    for n, size in trees():
        leaves = make_leaves(size)
        head = root(leaves, n, parent)
        for index, leaf in enumerate(leaves):
            proof = inclusion_proof(leaves, n, index, parent)
            assert verify_inclusion(size, n, head, index, leaf, proof, parent)


@pytest.mark.evidence("example", "PROOF-9", "PROOF-11")
@pytest.mark.parametrize("index", [-1, 3, 4])
def test_a_leaf_that_does_not_exist_has_no_proof(index: int) -> None:
    """Building raises ValueError; verifying is False and the root None."""
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(make_leaves(3), 2, index, BLAKE3)
    assert inclusion_root(3, 2, index, b"\0" * 32, (), BLAKE3) is None
    assert not verify_inclusion(3, 2, root_of(3, 2), index, b"\0" * 32, (), BLAKE3)


@pytest.mark.evidence("example", "PROOF-11")
def test_the_empty_tree_proves_nothing() -> None:
    """No index verifies, and "no root computed" is not taken for "no root"."""
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof((), 2, 0, BLAKE3)
    assert not verify_inclusion(0, 2, None, 0, b"\0" * 32, (), BLAKE3)
    assert not verify_inclusion(3, 2, None, 0, b"\0" * 32, (), BLAKE3)
    assert not verify_inclusion(3, 2, None, 9, b"\0" * 32, (), BLAKE3)


@pytest.mark.evidence("property", "PROOF-1")
@given(n=st.integers(2, 255), size=st.integers(1, 2**64), data=st.data())
def test_a_verifier_needs_no_tree(n: int, size: int, data: st.DataObject) -> None:
    """Sizes to 2^64: n - 1 hashes a level at most; that many fold, one more or less does not."""
    index = data.draw(st.integers(0, size - 1))
    count = len(inclusion_coordinates(size, n, index))
    assert count <= (n - 1) * depth(size, n)
    hashes = make_leaves(count)
    assert inclusion_root(size, n, index, b"\0" * 32, hashes, BLAKE3) is not None
    assert inclusion_root(size, n, index, b"\0" * 32, (*hashes, b"\0" * 32), BLAKE3) is None
    if hashes:
        assert inclusion_root(size, n, index, b"\0" * 32, hashes[1:], BLAKE3) is None


# --- soundness against one trusted head


@pytest.mark.evidence("exhaustive", "PROOF-3")
def test_every_mutated_proof_is_rejected() -> None:
    """All mutations of all proofs for n = 2 to 5 and sizes to 12; foreign values are true nodes."""
    for n, size in trees(12):
        leaves = make_leaves(size)
        foreign = (root_of(size, n), leaves[0], leaves[size // 2])
        for index in range(size):
            proof = proof_of(size, n, index)
            for mutant in mutants(proof, foreign):
                valid = verify_inclusion(
                    size, n, root_of(size, n), index, leaves[index], mutant, BLAKE3
                )
                assert valid == (mutant == proof), (n, size, index, mutant)


@pytest.mark.evidence("exhaustive", "PROOF-1")
def test_a_proof_holds_for_its_leaf_and_index_alone() -> None:
    """With another leaf, at another index, or both at once it is rejected; sizes to 14."""
    for n, size in trees(14):
        leaves, head = make_leaves(size), root_of(size, n)
        for index in range(size):
            proof = proof_of(size, n, index)
            for other in (i for i in range(-1, size + n) if i != index):
                foreign = other.to_bytes(4, "little", signed=True).ljust(32, b"\0")
                assert not verify_inclusion(size, n, head, other, leaves[index], proof, BLAKE3)
                assert not verify_inclusion(size, n, head, index, foreign, proof, BLAKE3)
                assert not verify_inclusion(size, n, head, other, foreign, proof, BLAKE3)


def test_a_leaf_of_another_length_is_rejected() -> None:
    """Even where its bytes, joined to its sibling's, are the right ones."""
    a, b = make_leaves(2)
    assert verify_inclusion(2, 2, root_of(2, 2), 0, a, (b,), BLAKE3)
    assert not verify_inclusion(2, 2, root_of(2, 2), 0, a[:-1], (a[-1:] + b,), BLAKE3)
    assert not verify_inclusion(2, 2, root_of(2, 2), 0, a + b, (b"",), BLAKE3)
    assert not verify_inclusion(1, 2, a + b, 0, a + b, (), BLAKE3)


def test_a_proof_of_another_size_is_rejected() -> None:
    """Against the true head of any other size; case C of prior art. Sizes to 18."""
    for n, size in trees(18):
        for other in (s for s in range(1, 18 + 1) if s != size):
            for index in range(min(size, other)):
                leaf = make_leaves(size)[index]
                proof = proof_of(size, n, index)
                assert not verify_inclusion(other, n, root_of(other, n), index, leaf, proof, BLAKE3)


@pytest.mark.evidence("exhaustive", "PROOF-12")
def test_an_inner_node_is_no_leaf() -> None:
    """No node above the leaves, the root included, verifies as a leaf; cases A and B of prior art.

    With every proof that may be cut from that node's path: the siblings from its level upward.
    n = 2 to 5, sizes to 28, in the tagged and in the plain scheme.
    """
    for name in ("blake3", "blake3-plain"):
        parent = SCHEMES[name]
        for n, size in trees():
            leaves = make_leaves(size)
            rows = levels(leaves, n, parent)
            for level, row in list(enumerate(rows))[1:]:
                for place, value in enumerate(row):
                    below = inclusion_coordinates(size, n, place * n**level)
                    cut = tuple(rows[k][i] for k, i in below if k >= level)
                    for index in range(size):
                        accepted = verify_inclusion(size, n, rows[-1][0], index, value, cut, parent)
                        assert accepted == (value == leaves[index])  # the lift: it is that leaf


@pytest.mark.evidence("example", "PROOF-12")
def test_a_lifted_leaf_is_at_one_index_only() -> None:
    """Leaf 4 of 5 is not leaf 5, 6 or 7, nor with a size relabelled to fit; case D of prior art."""
    leaf, proof = make_leaves(5)[4], proof_of(5, 2, 4)
    assert verify_inclusion(5, 2, root_of(5, 2), 4, leaf, proof, BLAKE3)
    for index in (5, 6, 7):
        for size in (5, 6, 7, 8):
            assert not verify_inclusion(size, 2, root_of(5, 2), index, leaf, proof, BLAKE3)


# --- what a false head can do


@pytest.mark.evidence("exhaustive", "PROOF-6")
def test_a_false_size_is_caught_exactly_if_it_changes_the_path() -> None:
    """A root does not commit to its size: with a false head (other size, this root) a true leaf
    still verifies if its path has the same groups at both sizes, and never otherwise.

    So nobody may take a size from the prover. n = 2 to 5, sizes to 18.
    """
    for n, size in trees(18):
        for other in range(1, 18 + 1):
            for index in range(min(size, other)):
                leaf, proof = make_leaves(size)[index], proof_of(size, n, index)
                accepted = verify_inclusion(other, n, root_of(size, n), index, leaf, proof, BLAKE3)
                same = inclusion_coordinates(size, n, index) == inclusion_coordinates(
                    other, n, index
                )
                assert accepted == same
