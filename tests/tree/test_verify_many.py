"""Verifying many proofs at once is verifying them one by one, by either kernel."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rotortree import (
    Blake3Hasher,
    Blake3PlainHasher,
    CustomHasher,
    EmptyBatchError,
    Hasher,
    InclusionProof,
    InclusionProofs,
    InvalidConfigError,
    InvalidLeafError,
    InvalidProofError,
    LeanIMT,
    Sha256Hasher,
    TreeHead,
    kernel,
    verify_inclusion,
    verify_inclusion_many,
)
from rotortree.geometry import inclusion_groups
from rotortree.kernel import _portable
from tests.tree.support import make_leaves, tree_of

KERNELS = pytest.mark.parametrize("which", [kernel, _portable], ids=lambda which: str(which.NAME))
"""The kernel in use and the portable one, which may be the same."""

ARITIES = (*range(2, 33), 255)
COUNTS = (1, 31, 32, 33, 1000)
"""Numbers of proofs: around those that the native kernel takes at a time."""

CUSTOM = CustomHasher("custom", lambda children: Sha256Hasher().parent(b"".join(children)))
SCHEMES: tuple[Hasher, ...] = (Blake3Hasher(), Blake3PlainHasher(), Sha256Hasher(), CUSTOM)


def sizes_of(n: int) -> tuple[int, ...]:
    """Sizes with lone nodes, edge groups of any length, and none of these."""
    return tuple(sorted({1, 2, n, n + 1, n * n, n * n + 1, n * n + n + 2, 2 * n * n - 1} & BELOW))


BELOW = set(range(1, 1100))


class Case:
    """A tree of our leaves, its head, and proofs of some of them."""

    def __init__(self, n: int, size: int, hasher: Hasher | None = None) -> None:
        self.leaves = make_leaves(size)
        tree = tree_of(n, size, hasher)
        self.hasher, self.head, self.snapshot = tree.hasher, tree.head, tree.snapshot()

    def some(self, count: int, seed: int) -> tuple[list[int], list[bytes], list[InclusionProof]]:
        """Indices, the last leaf's among them, their leaves and proofs."""
        numbers = random.Random(seed)
        indices = [numbers.randrange(self.head.size) for _ in range(count)]
        indices[numbers.randrange(count)] = self.head.size - 1
        leaves = [self.leaves[index] for index in indices]
        return indices, leaves, list(self.snapshot.prove_many(indices))


def one_by_one(
    head: TreeHead, indices: Sequence[int], leaves: Sequence[bytes], proofs: Sequence[Any]
) -> int | None:
    """The place of the first proof that does not hold."""
    for place, (index, leaf, proof) in enumerate(zip(indices, leaves, proofs, strict=True)):
        try:
            verify_inclusion(head, index, leaf, proof)
        except InvalidProofError:
            return place
    return None


def together(
    head: TreeHead, indices: Sequence[int], leaves: Sequence[bytes], proofs: Sequence[Any]
) -> int | None:
    """The place of the bad proof that the error names."""
    try:
        verify_inclusion_many(head, indices, b"".join(leaves), proofs)
    except InvalidProofError as error:
        first, place = str(error).partition(":")[0].split()
        assert first == "proof"
        return int(place)
    return None


@pytest.mark.evidence("property", "PROOF-34")
@pytest.mark.parametrize("n", ARITIES)
def test_proofs_that_hold_hold_together(n: int) -> None:
    """1 to 1000 random leaves, the last one among them, of trees with lone and edge groups."""
    for size in sizes_of(n):
        case = Case(n, size)
        for count in COUNTS:
            indices, leaves, proofs = case.some(count, size)
            verify_inclusion_many(case.head, indices, b"".join(leaves), proofs)
            assert one_by_one(case.head, indices, leaves, proofs) is None


@pytest.mark.parametrize("hasher", SCHEMES, ids=lambda hasher: str(hasher.name))
def test_every_scheme_is_verified(hasher: Hasher) -> None:
    """The built-in ones by their names, others with their hasher, and not without it."""
    for n in (2, 3, 31, 32, 33):
        case = Case(n, 70, hasher)
        indices, leaves, proofs = case.some(40, n)
        verify_inclusion_many(case.head, indices, leaves, proofs, hasher=hasher)
        if hasher is CUSTOM:
            with pytest.raises(InvalidConfigError):
                verify_inclusion_many(case.head, indices, leaves, proofs)
        else:
            verify_inclusion_many(case.head, indices, leaves, proofs)
        with pytest.raises(InvalidProofError, match="scheme"):
            verify_inclusion_many(case.head, indices, leaves, proofs, hasher=Other())


class Other(Sha256Hasher):
    """A scheme of another name."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "other"


def flipped(row: bytes, at: int) -> bytes:
    """The row with one bit of it changed."""
    at %= len(row)
    return row[:at] + bytes([row[at] ^ 1]) + row[at + 1 :]


def forge(
    case: Case, kind: str, index: int, leaf: bytes, proof: InclusionProof, numbers: random.Random
) -> tuple[int, bytes, InclusionProof]:
    """The three with something wrong about them."""
    head = case.head
    other = (index + numbers.randrange(1, head.size)) % head.size
    if kind == "leaf":
        return index, flipped(leaf, numbers.randrange(32)), proof
    if kind == "hashes":
        bad = flipped(proof.hashes, numbers.randrange(2**20))
        return index, leaf, InclusionProof(head.n, head.size, index, bad)
    if kind == "index":
        return other, leaf, proof
    if kind == "another's proof":
        return index, leaf, case.snapshot.prove(other)
    if kind == "a past size":
        return index, leaf, tree_of(head.n, head.size + 1).snapshot().prove(index)
    raise AssertionError(kind)


KINDS = ("leaf", "hashes", "index", "another's proof", "a past size")


@pytest.mark.evidence("property", "PROOF-34")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 4, 7, 31, 32, 255])
def test_the_first_forged_proof_is_named(n: int, kind: str) -> None:
    """One or two of 1 to 1000 are forged, at any place: one by one they fail at the same."""
    numbers = random.Random(n)
    for size in (2, n + 1, n * n + n + 2) if n < 255 else (2, 256):
        case = Case(n, size)
        for count in COUNTS:
            indices, leaves, proofs = case.some(count, size)
            places = sorted(numbers.randrange(count) for _ in range(2))
            for place in set(places):
                indices[place], leaves[place], proofs[place] = forge(
                    case, kind, indices[place], leaves[place], proofs[place], numbers
                )
            assert together(case.head, indices, leaves, proofs) == places[0]
            assert one_by_one(case.head, indices, leaves, proofs) == places[0]


@pytest.mark.evidence("exhaustive", "PROOF-34")
def test_every_place_is_looked_at() -> None:
    """One of 70 proofs is forged: each in turn, in each of the ways."""
    case, numbers = Case(3, 70), random.Random(0)
    indices, leaves, proofs = (
        list(range(70)),
        case.leaves,
        list(case.snapshot.prove_many(range(70))),
    )
    for place in range(70):
        for kind in KINDS:
            changed = [list[Any](indices), list[Any](leaves), list[Any](proofs)]
            forged = forge(case, kind, indices[place], leaves[place], proofs[place], numbers)
            for values, value in zip(changed, forged, strict=True):
                values[place] = value
            assert together(case.head, *changed) == place


def test_what_is_no_index_is_named() -> None:
    """Values that are no integers, or are out of range, in a batch and alone."""
    case = Case(3, 70)
    indices, leaves, proofs = case.some(40, 1)
    for wrong in (-1, 70, 2**63, 2**64, 2**80, -(2**70), True, 1.0, "1", None):
        changed: list[Any] = [*indices[:35], wrong, *indices[36:]]
        with pytest.raises(InvalidProofError, match=r"proof 35: (index is|the proof is of leaf)"):
            verify_inclusion_many(case.head, changed, leaves, proofs)


@pytest.mark.evidence("example", "PROOF-5", "PROOF-35")
def test_numbers_that_differ_are_refused() -> None:
    """A leaf, an index or a proof more or less; no leaves at all; leaves that are none."""
    case = Case(4, 70)
    indices, leaves, proofs = case.some(33, 2)
    different: tuple[tuple[Any, Any, Any], ...] = (
        (indices[1:], leaves, proofs),
        (indices, leaves[1:], proofs),
        (indices, leaves, proofs[1:]),
        ([*indices, 0], leaves, proofs),
        ([], leaves, []),
        (indices, [], proofs),
        (indices, b"", []),
        ([], iter(()), proofs),
    )
    for given in different:
        with pytest.raises(InvalidProofError, match="numbers must be equal"):
            verify_inclusion_many(case.head, *given)
    with pytest.raises(EmptyBatchError):
        verify_inclusion_many(case.head, [], [], [])
    with pytest.raises(InvalidLeafError):
        verify_inclusion_many(case.head, indices, [*leaves[1:], bytes(31)], proofs)


@pytest.mark.evidence("example", "PROOF-11")
def test_nothing_is_in_the_empty_tree() -> None:
    """Whatever is claimed: its head has no root."""
    proof = Case(2, 1).snapshot.prove(0)
    with pytest.raises(InvalidProofError, match="proof 0"):
        verify_inclusion_many(LeanIMT(2).head, [0], bytes(32), [proof])


@pytest.mark.evidence("example", "PROOF-33")
def test_indices_and_proofs_may_come_from_anywhere() -> None:
    """Generators of them, leaves of every form, and the row of proofs that a snapshot made."""
    case = Case(5, 70)
    indices, leaves, proofs = case.some(40, 3)
    verify_inclusion_many(case.head, iter(indices), iter(leaves), iter(proofs))
    verify_inclusion_many(
        case.head,
        range(70),
        bytearray(b"".join(case.leaves)),
        case.snapshot.prove_many(range(70)),
    )


@pytest.mark.evidence("example", "PROOF-33")
def test_the_row_of_proofs_is_a_sequence_of_them() -> None:
    """As a list: places from either end, slices, what is beyond; equal to proofs made alone."""
    snapshot = Case(3, 70).snapshot
    indices = [5, 0, 69, 5, 33]
    row, proofs = snapshot.prove_many(indices), [snapshot.prove(index) for index in indices]
    assert isinstance(row, InclusionProofs)
    assert (len(row), list(row), list(reversed(row))) == (5, proofs, proofs[::-1])
    assert row.encoded == b"".join(proof.encode() for proof in proofs)
    for place in range(-5, 5):
        assert row[place] == proofs[place]
        assert row[np.int64(place)] == proofs[place]
    for part in (slice(None), slice(1, 3), slice(-2, None), slice(None, None, -2), slice(9)):
        assert row[part] == proofs[part]
    for place in (5, -6, 2**70):
        with pytest.raises(IndexError):
            row[place]
    with pytest.raises(TypeError):
        row["0"]  # type: ignore[call-overload]
    assert (row.index(proofs[2]), row.count(proofs[0]), proofs[4] in row) == (2, 2, True)
    assert repr(row) == f"<5 inclusion proofs, {len(row.encoded)} bytes>"
    assert list(snapshot.prove_many([])) == []


# The kernels themselves.


@KERNELS
@pytest.mark.parametrize("n", [2, 3, 5, 31, 32, 33])
def test_the_roots_are_those_that_paths_lead_to(which: ModuleType, n: int) -> None:
    """Also of leaves and hashes that are in no tree, of up to 2**63 - 1 leaves."""
    hasher, numbers = Blake3PlainHasher(), random.Random(n)
    for size in (*sizes_of(n), 2**32, 2**62 + 12_345, 2**63 - 1):
        indices = [size - 1, *(numbers.randrange(size) for _ in range(66))]
        leaves, proofs = numbers.randbytes(32 * 67), []
        for index in indices:
            hashes = numbers.randbytes(32 * (hash_count(n, size, index)))
            proofs.append(InclusionProof(n, size, index, hashes).encode())
        expected = _portable.path_roots(hasher, n, size, indices, leaves, proofs)
        assert which.path_roots(hasher, n, size, indices, leaves, proofs) == expected
        assert which.path_roots(hasher, n, size, [], b"", []) == b""


def hash_count(n: int, size: int, index: int) -> int:
    """How many hashes a proof has: all members of its groups but those on the path."""
    return sum(group.stop - group.start - 1 for group in inclusion_groups(size, n, index))


@KERNELS
@pytest.mark.parametrize("n", [2, 3, 31, 255])
def test_encodings_that_do_not_fit_are_a_value_error(which: ModuleType, n: int) -> None:
    """Short and long ones, wrong headers, other indices, in every place of 40."""
    size = n + 3
    case, hasher = Case(n, size), Blake3Hasher()
    indices, leaves, proofs = case.some(40, n)
    row, encodings = b"".join(leaves), [proof.encode() for proof in proofs]
    assert which.path_roots(hasher, n, size, indices, row, encodings) == case.head.root * 40  # type: ignore[operator]
    for place in range(0, 40, 3):
        right = encodings[place]
        wrong = [b"", right[:23], right[:24], right[:-32], right[:-1], right + b"0"]
        wrong += [right + bytes(32), flipped(right, 0), flipped(right, 4), flipped(right, 5)]
        wrong += [flipped(right, 6), flipped(right, 7), flipped(right, 8), flipped(right, 23)]
        for encoding in wrong:
            if encoding == right:
                continue
            changed = [*encodings[:place], encoding, *encodings[place + 1 :]]
            with pytest.raises(ValueError, match="proof"):
                which.path_roots(hasher, n, size, indices, row, changed)
        for index in (size, -1, 2**64, True, None, "0"):
            places: list[Any] = [*indices[:place], index, *indices[place + 1 :]]
            with pytest.raises(ValueError, match=r"index|proof"):
                which.path_roots(hasher, n, size, places, row, encodings)
    for given in (
        (indices[1:], row, encodings),
        (indices, row[32:], encodings),
        (indices, row[1:], encodings),
        (indices, row, encodings[1:]),
    ):
        with pytest.raises(ValueError, match="as many"):
            which.path_roots(hasher, n, size, *given)
