"""What a consistency proof shows: that no leaf of the old tree was changed, moved or removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from rotortree import ConsistencyProof, InvalidProofError, LeanIMT, verify_consistency
from rotortree.encoding import HEADER_BYTES
from tests.storage.trees import head, leaf, leaves

MOST = 9
"""Leaves of the largest tree."""


def rewritten(old_size: int, size: int) -> Iterator[tuple[bytes, ...]]:
    """The leaves of a new tree, of which those of the old one are not the first."""
    honest = leaves(0, size)
    for at in range(old_size):
        yield (*honest[:at], leaf(1000), *honest[at + 1 :])
        yield (*honest[:at], *honest[at + 1 :], leaf(1000))  # removed
        yield (*honest[:at], leaf(1000), *honest[at:-1])  # all behind it moved
        if at + 1 < size:
            yield (*honest[:at], honest[at + 1], honest[at], *honest[at + 2 :])


@pytest.mark.evidence("exhaustive", "PROOF-19")
@pytest.mark.parametrize("n", [2, 3, 4])
def test_no_proof_verifies_for_a_tree_that_rewrote_a_leaf(n: int) -> None:
    """All pairs of sizes to 9: a leaf changed, removed, put in, or two of them exchanged.

    Neither the new tree's own proof nor the honest tree's verifies, nor one in which one hash is
    the other's.
    """
    refused = 0
    for size in range(1, MOST + 1):
        honest = LeanIMT(n=n)
        honest.insert_many(leaves(0, size))
        for old_size in range(1, size + 1):
            good = honest.snapshot().prove_consistency(old_size)
            verify_consistency(head(old_size, n), honest.head, good)
            for forged in rewritten(old_size, size):
                tree = LeanIMT(n=n)
                tree.insert_many(forged)
                for proof in mixed(good, tree.snapshot().prove_consistency(old_size)):
                    with pytest.raises(InvalidProofError):
                        verify_consistency(head(old_size, n), tree.head, proof)
                    refused += 1
    assert refused > 2000


def mixed(good: ConsistencyProof, forged: ConsistencyProof) -> Iterator[ConsistencyProof]:
    """Both proofs, and each of them with one hash of the other."""
    yield good
    yield forged
    for one, other in ((good, forged), (forged, good)):
        data, rest = one.encode(), other.encode()
        for at in range(HEADER_BYTES, len(data), 32):
            with contextlib.suppress(InvalidProofError):
                yield ConsistencyProof.decode(data[:at] + rest[at : at + 32] + data[at + 32 :])
