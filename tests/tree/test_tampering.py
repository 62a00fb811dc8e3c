"""No changed byte, no cut and no addition of an encoded proof is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rotortree import (
    ConsistencyProof,
    InclusionProof,
    InvalidProofError,
    verify_consistency,
    verify_inclusion,
)
from tests.tree.support import ARITIES, head_of, make_leaves, tree_of

HEADER = 24
"""Bytes before the hashes."""

BOUND = 40
"""Trees of up to so many leaves: each byte of each proof is changed, header bytes in three ways."""

BITS_BOUND = 8
"""Up to so many leaves: each bit of each byte is flipped, and all bits of a byte."""

VALUES_BOUND = 3
"""Up to so many leaves: each byte takes all its 255 other values."""

PAIR_BOUND = 20
"""The same as BOUND for the pairs of sizes of consistency proofs."""

EVERY_VALUE = range(1, 256)
EVERY_BIT = (1, 2, 4, 8, 16, 32, 64, 128, 255)
THREE = (0x01, 0x80, 0xFF)

Accepts = Callable[[bytes], bool]


def changed(encoded: bytes, at: int, mask: int) -> bytes:
    """The encoding with some bits of one byte flipped."""
    return encoded[:at] + bytes((encoded[at] ^ mask,)) + encoded[at + 1 :]


def accepted_changes(encoded: bytes, size: int, accepts: Accepts) -> Iterator[str]:
    """Which changes of single bytes are accepted: none, if all is well."""
    for at in range(len(encoded)):
        if size <= VALUES_BOUND:
            masks: tuple[int, ...] | range = EVERY_VALUE
        elif size <= BITS_BOUND:
            masks = EVERY_BIT
        elif at < HEADER:
            masks = THREE
        else:
            masks = (EVERY_BIT[(at + size) % len(EVERY_BIT)],)
        for mask in masks:
            if accepts(changed(encoded, at, mask)):
                yield f"byte {at} xor {mask:#x}"


def accepted_lengths(encoded: bytes, accepts: Accepts) -> Iterator[str]:
    """Which truncations and extensions are accepted: none, if all is well."""
    for length in range(len(encoded)):
        if accepts(encoded[:length]):
            yield f"the first {length} bytes"
    for more in (b"\0", b"\xff", bytes(32), bytes(64), encoded[-1:], encoded[-32:], encoded):
        if accepts(encoded + more):
            yield f"with {len(more)} bytes more"


def inclusion_cases(n: int, bound: int) -> Iterator[tuple[str, int, bytes, Accepts]]:
    """Every proof of every tree of up to ``bound`` leaves, encoded, and what accepts it."""
    tree, leaves = tree_of(n, bound), make_leaves(bound)
    for size in range(1, bound + 1):
        head, snapshot = head_of(n, size), tree.snapshot(size)
        for index in range(size):

            def accepts(data: bytes, index: int = index) -> bool:
                try:
                    proof = InclusionProof.decode(data)
                    verify_inclusion(head, index, leaves[index], proof)  # noqa: B023
                except InvalidProofError:
                    return False
                return True

            yield f"leaf {index} of {size}", size, snapshot.prove(index).encode(), accepts


def consistency_cases(n: int, bound: int) -> Iterator[tuple[str, int, bytes, Accepts]]:
    """Every pair of sizes up to ``bound``, its proof encoded, and what accepts it."""
    tree = tree_of(n, bound)
    for size in range(bound + 1):
        new, snapshot = head_of(n, size), tree.snapshot(size)
        for old_size in range(size + 1):
            old = head_of(n, old_size)

            def accepts(data: bytes) -> bool:
                try:
                    proof = ConsistencyProof.decode(data)
                    verify_consistency(old, new, proof)  # noqa: B023
                except InvalidProofError:
                    return False
                return True

            encoded = snapshot.prove_consistency(old_size).encode()
            yield f"{old_size} to {size}", size, encoded, accepts


@pytest.mark.parametrize("n", ARITIES)
def test_no_changed_byte_of_an_inclusion_proof_is_accepted(n: int) -> None:
    """Every byte of every proof of trees of up to 40 leaves, in at least one way.

    All 255 other values up to 3 leaves; every bit, and all of them at once, up to 8; above,
    header bytes in three ways and each byte of a hash in one of nine, which changes with the size.
    """
    for name, size, encoded, accepts in inclusion_cases(n, BOUND):
        assert accepts(encoded)
        assert list(accepted_changes(encoded, size, accepts)) == [], name


@pytest.mark.evidence("exhaustive", "PROOF-5")
@pytest.mark.parametrize("n", ARITIES)
def test_no_changed_byte_of_a_consistency_proof_is_accepted(n: int) -> None:
    """Every byte of every proof between sizes up to 20, as for inclusion proofs."""
    for name, size, encoded, accepts in consistency_cases(n, PAIR_BOUND):
        assert accepts(encoded)
        assert list(accepted_changes(encoded, size, accepts)) == [], name


@pytest.mark.evidence("exhaustive", "PROOF-3", "PROOF-25")
@pytest.mark.parametrize("n", ARITIES)
def test_no_cut_or_extended_inclusion_proof_is_accepted(n: int) -> None:
    """Every shorter length; one byte, one and two hashes, its own tail, itself added; 40 leaves."""
    for name, _, encoded, accepts in inclusion_cases(n, BOUND):
        assert list(accepted_lengths(encoded, accepts)) == [], name


@pytest.mark.evidence("exhaustive", "PROOF-3", "PROOF-25")
@pytest.mark.parametrize("n", ARITIES)
def test_no_cut_or_extended_consistency_proof_is_accepted(n: int) -> None:
    """As for inclusion proofs, between all sizes up to 28."""
    for name, _, encoded, accepts in consistency_cases(n, 28):
        assert list(accepted_lengths(encoded, accepts)) == [], name


@pytest.mark.evidence("exhaustive", "PROOF-5")
@pytest.mark.parametrize("n", ARITIES)
def test_no_other_order_of_the_hashes_is_accepted(n: int) -> None:
    """Any two unequal hashes exchanged, doubled or zeroed; inclusion to 24, consistency to 16."""
    for cases in (inclusion_cases(n, 24), consistency_cases(n, 16)):
        for name, _, encoded, accepts in cases:
            hashes = [encoded[at : at + 32] for at in range(HEADER, len(encoded), 32)]
            for i, left in enumerate(hashes):
                for value in {bytes(32), *hashes} - {left}:
                    replaced = [*hashes[:i], value, *hashes[i + 1 :]]
                    assert not accepts(encoded[:HEADER] + b"".join(replaced)), name
                    if value in hashes[i + 1 :]:
                        j = hashes.index(value, i + 1)
                        replaced[j] = left
                        assert not accepts(encoded[:HEADER] + b"".join(replaced)), name


@pytest.mark.parametrize("n", ARITIES)
def test_no_changed_byte_of_the_leaf_is_accepted(n: int) -> None:
    """Each of its 32 bytes in three ways, and every other leaf; trees of up to 24 leaves."""
    leaves, tree = make_leaves(24), tree_of(n, 24)
    for size in range(1, 25):
        head, snapshot = head_of(n, size), tree.snapshot(size)
        for index, leaf in enumerate(leaves[:size]):
            proof = snapshot.prove(index)
            others = [changed(leaf, at, mask) for at in range(32) for mask in THREE]
            for other in (*others, *leaves[:index], *leaves[index + 1 :]):
                with pytest.raises(InvalidProofError):
                    verify_inclusion(head, index, other, proof)
