"""Updates: an old inclusion proof and a consistency proof make exactly the new inclusion proof."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    SCHEMES,
    InvalidProofError,
    NoUpdateNeededError,
    consistency_proof,
    inclusion_proof,
    root,
    update_inclusion_proof,
)
from tests.model.support import BLAKE3, Leaves, make_leaves, root_of


@cache
def inclusion(size: int, n: int, index: int) -> Leaves:
    """The BLAKE3 inclusion proof of leaf `index` of the first `size` leaves."""
    return inclusion_proof(make_leaves(size), n, index, BLAKE3)


@cache
def consistency(old_size: int, size: int, n: int) -> Leaves:
    """The BLAKE3 consistency proof from the first old_size to the first `size` leaves."""
    return consistency_proof(make_leaves(size), n, old_size, BLAKE3)


def update(
    old_size: int,
    size: int,
    n: int,
    index: int,
    inclusion_hashes: Leaves,
    consistency_hashes: Leaves,
) -> Leaves:
    """The update between the two true heads, of the true leaf."""
    return update_inclusion_proof(
        old_size,
        root_of(old_size, n),
        size,
        root_of(size, n),
        n,
        index,
        index.to_bytes(4, "little").ljust(32, b"\0"),
        inclusion_hashes,
        consistency_hashes,
        BLAKE3,
    )


@pytest.mark.evidence("example", "PROOF-21")
def test_update_by_hand() -> None:
    """Leaf 2 of 3 was lifted and gets a new sibling from the consistency proof; its uncle stays."""
    a, b, c, d = make_leaves(4)
    uncle = BLAKE3((a, b))
    assert inclusion(3, 2, 2) == (uncle,)
    assert consistency(3, 4, 2) == (c, d, uncle)
    assert update(3, 4, 2, 2, (uncle,), (c, d, uncle)) == (d, uncle)


@pytest.mark.evidence("exhaustive", "PROOF-20", "PROOF-21")
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_update_equals_a_fresh_proof(n: int) -> None:
    """All index < old_size < size <= 22."""
    for size in range(2, 23):
        for old_size in range(1, size):
            for index in range(old_size):
                old, extension = inclusion(old_size, n, index), consistency(old_size, size, n)
                updated = update(old_size, size, n, index, old, extension)
                assert updated == inclusion(size, n, index)


@pytest.mark.evidence("property", "PROOF-20")
@given(
    leaves=st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=60).map(tuple),
    n=st.integers(2, 255),
    name=st.sampled_from(sorted(SCHEMES)),
    data=st.data(),
)
def test_update_equals_a_fresh_proof_for_any_leaves(
    leaves: Leaves, n: int, name: str, data: st.DataObject
) -> None:
    """Up to 60 leaves, repeats included, any n and scheme."""
    parent = SCHEMES[name]
    old_size = data.draw(st.integers(1, len(leaves) - 1))
    index = data.draw(st.integers(0, old_size - 1))
    updated = update_inclusion_proof(
        old_size=old_size,
        old_root=root(leaves[:old_size], n, parent),
        size=len(leaves),
        root=root(leaves, n, parent),
        n=n,
        index=index,
        leaf=leaves[index],
        inclusion_hashes=inclusion_proof(leaves[:old_size], n, index, parent),
        consistency_hashes=consistency_proof(leaves, n, old_size, parent),
        parent=parent,
    )
    assert updated == inclusion_proof(leaves, n, index, parent)


@pytest.mark.evidence("exhaustive", "PROOF-23")
def test_two_updates_are_one() -> None:
    """From a to b to c gives what a to c gives; all index < a < b < c <= 10, n = 2 and 3."""
    for n in (2, 3):
        for c in range(3, 11):
            for b in range(2, c):
                for a in range(1, b):
                    for index in range(a):
                        first = update(a, b, n, index, inclusion(a, n, index), consistency(a, b, n))
                        second = update(b, c, n, index, first, consistency(b, c, n))
                        assert second == inclusion(c, n, index)


@pytest.mark.evidence("exhaustive", "PROOF-22")
def test_both_proofs_are_verified_first() -> None:
    """A changed, missing or added hash in either is InvalidProofError; case G of prior art."""
    for n in (2, 3):
        for size in range(2, 10):
            for old_size in range(1, size):
                for index in range(old_size):
                    old, extension = inclusion(old_size, n, index), consistency(old_size, size, n)
                    for wrong in _spoiled(old):
                        with pytest.raises(InvalidProofError, match="inclusion proof"):
                            update(old_size, size, n, index, wrong, extension)
                    for wrong in _spoiled(extension):
                        with pytest.raises(InvalidProofError, match="consistency proof"):
                            update(old_size, size, n, index, old, wrong)


def _spoiled(hashes: Leaves) -> list[Leaves]:
    """One added, and for each hash: dropped, and one bit flipped."""
    found = [(*hashes, b"\0" * 32)]
    for i, value in enumerate(hashes):
        flipped = value[:-1] + bytes([value[-1] ^ 128])
        found += [hashes[:i] + hashes[i + 1 :], (*hashes[:i], flipped, *hashes[i + 1 :])]
    return found


@pytest.mark.evidence("example", "PROOF-22")
def test_an_update_to_the_same_tree_is_refused() -> None:
    """NoUpdateNeededError, but only after the proof was found valid; both are ValueErrors."""
    with pytest.raises(NoUpdateNeededError):
        update(5, 5, 2, 1, inclusion(5, 2, 1), ())
    with pytest.raises(InvalidProofError):
        update(5, 5, 2, 1, inclusion(5, 2, 2), ())
    with pytest.raises(InvalidProofError):
        update(5, 5, 2, 1, inclusion(5, 2, 1), (b"\0" * 32,))
    assert issubclass(NoUpdateNeededError, ValueError)
    assert issubclass(InvalidProofError, ValueError)


def test_no_update_backwards_or_from_the_empty_tree() -> None:
    """A smaller new tree, or an old tree without the leaf, is InvalidProofError."""
    with pytest.raises(InvalidProofError):
        update(5, 3, 2, 1, inclusion(5, 2, 1), consistency(3, 5, 2))
    with pytest.raises(InvalidProofError):
        update(0, 3, 2, 0, (), ())
    with pytest.raises(InvalidProofError):
        update(3, 5, 2, 4, inclusion(5, 2, 4), consistency(3, 5, 2))
