"""Proofs in native code: what they lead to is what the twin finds, and nothing else is read."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rotortree import InclusionProof
from rotortree.encoding import CONSISTENCY_MAGIC, HEADER_BYTES
from rotortree.geometry import consistency_groups, inclusion_groups
from rotortree.kernel import _portable
from tests.tree.hazards import guarded_bytes
from tests.tree.native import MOST, lanes_here, native_module, native_tree, scheme_of

_native = native_module()

LANES = lanes_here(_native)
TAGGED = (True, False)
ARITIES = (2, 3, 4, 5, 8, 16, 31, 32)

by_lanes = pytest.mark.parametrize("lanes", LANES)
by_tag = pytest.mark.parametrize("tagged", TAGGED, ids=["tagged", "plain"])


def sizes_of(n: int) -> tuple[int, ...]:
    """Sizes with lone nodes, edge groups of any length, none of these, and the largest."""
    small = {1, 2, 3, n - 1, n, n + 1, 2 * n, n * n, n * n + 1, n * n + n + 2, n**3 - 1}
    return (*sorted(small), 1_000_003, 2**62 + 12_345, 2**63 - 1)


def shapes(tagged: bool) -> Iterator[tuple[int, int, random.Random]]:
    """Arities and sizes, and numbers for each."""
    for n in ARITIES:
        for size in sizes_of(n) if n <= MOST[tagged] else ():
            yield n, size, random.Random(size * n)


def proof_in(n: int, size: int, index: int, numbers: random.Random) -> bytes:
    """An encoded proof of a leaf there, of hashes that are in no tree."""
    groups = inclusion_groups(size, n, index)
    count = sum(group.stop - group.start - 1 for group in groups)
    return InclusionProof(n, size, index, numbers.randbytes(32 * count)).encode()


def hashes_in(n: int, size: int, old_size: int, numbers: random.Random) -> bytes:
    """The hashes of a consistency proof between these sizes, which are in no tree."""
    groups = consistency_groups(old_size, size, n)
    count = sum(group.stop - group.start - straddles for group, straddles in groups)
    return numbers.randbytes(32 * count)


def places_in(size: int, n: int, numbers: random.Random) -> set[int]:
    """Leaves at every place of a group, at both ends, and anywhere."""
    some = {numbers.randrange(size) for _ in range(4)}
    return {*range(min(n, size)), size - 1, *some}


@by_lanes
@by_tag
def test_a_proof_leads_to_the_root_of_the_twin_and_to_no_other(tagged: bool, lanes: int) -> None:
    """Every place in a group; the leaf, the root, any hash and the ends of the proof matter."""
    hasher = scheme_of(tagged)
    for n, size, numbers in shapes(tagged):
        for index in places_in(size, n, numbers):
            leaf, proof = numbers.randbytes(32), proof_in(n, size, index, numbers)
            root = _portable.path_roots(hasher, n, size, [index], leaf, [proof])

            def leads(
                root: bytes,
                leaf: bytes,
                proof: bytes,
                n: int = n,
                size: int = size,
                at: int = index,
            ) -> bool:
                given = (hasher.name, n, size, root, at, leaf, proof)
                found: bool = _native.leads_to(*given, lanes)
                assert _portable.leads_to(*given, lanes) == found
                return found

            assert leads(root, leaf, proof)
            assert not leads(root, flipped(leaf, numbers.randrange(32)), proof)
            assert not leads(flipped(root, numbers.randrange(32)), leaf, proof)
            assert not leads(root, leaf, flipped(proof, numbers.randrange(len(proof))))
            assert not leads(root, leaf, proof[:-1])
            assert not leads(root, leaf, proof[:-32])
            assert not leads(root, leaf, proof + bytes(32))
            assert not leads(root, leaf, proof, size=size - 1)


def flipped(row: bytes, at: int) -> bytes:
    """One bit of a byte is another."""
    return row[:at] + bytes((row[at] ^ 1 << at % 8,)) + row[at + 1 :]


@by_lanes
def test_every_hash_of_a_proof_matters(lanes: int) -> None:
    """Whatever its place in its group, and in the block that hashes it."""
    for n in (2, 4, 16):
        numbers, leaf = random.Random(n), bytes(32)
        for index in (0, n // 2 * (n + 1), n**3 - 1):
            proof = proof_in(n, n**3, index, numbers)
            root = _portable.path_roots(scheme_of(True), n, n**3, [index], leaf, [proof])
            for at in range(HEADER_BYTES, len(proof)):
                forged = flipped(proof, at)
                assert not _native.leads_to("blake3", n, n**3, root, index, leaf, forged, lanes)


@by_lanes
@by_tag
def test_the_nodes_along_a_boundary_are_those_of_the_twin(tagged: bool, lanes: int) -> None:
    """Old sizes at every place of a group; ValueError for hashes that are not as many."""
    hasher = scheme_of(tagged)
    for n, size, numbers in shapes(tagged):
        for old_size in places_in(size, n, numbers) - {0}:
            hashes = hashes_in(n, size, old_size, numbers)
            expected = _portable.boundary_nodes(hasher, n, size, old_size, hashes)
            assert _native.boundary_nodes(n, size, old_size, hashes, tagged, lanes) == expected
            for wrong in (hashes[:-1], hashes[:-32], hashes + b"0", hashes + bytes(32), b""):
                if wrong == hashes:
                    continue
                with pytest.raises(ValueError, match="fit"):
                    _native.boundary_nodes(n, size, old_size, wrong, tagged, lanes)


@by_lanes
def test_nothing_behind_a_proof_is_read(lanes: int) -> None:
    """Proofs, whole and cut short, leaves and roots, each of them before a forbidden page."""
    for n, size, numbers in shapes(tagged=True):
        index = numbers.randrange(size)
        whole, leaf = proof_in(n, size, index, numbers), numbers.randbytes(32)
        root = _portable.path_roots(scheme_of(True), n, size, [index], leaf, [whole])
        for length in {len(whole), max(len(whole) - 32, 0), HEADER_BYTES, HEADER_BYTES - 1, 0}:
            with (
                guarded_bytes(whole[:length]) as proof,
                guarded_bytes(leaf) as node,
                guarded_bytes(root) as top,
            ):
                found = _native.leads_to("blake3", n, size, top, index, node, proof, lanes)
                assert found == (length == len(whole))
                del proof, node, top


@by_lanes
def test_nothing_behind_the_hashes_of_a_boundary_is_read(lanes: int) -> None:
    """Whole and cut short, before a forbidden page."""
    for n, size, numbers in shapes(tagged=True):
        for old_size in {numbers.randrange(size), size - 1} - {0}:
            whole = hashes_in(n, size, old_size, numbers)
            expected = _portable.boundary_nodes(scheme_of(True), n, size, old_size, whole)
            given = n, size, old_size
            with guarded_bytes(whole) as hashes:
                assert _native.boundary_nodes(*given, hashes, True, lanes) == expected
                del hashes
            with guarded_bytes(whole[:-32]) as hashes:
                with pytest.raises(ValueError, match="fit"):
                    _native.boundary_nodes(*given, hashes, True, lanes)
                del hashes


# Wrong calls.

LEAF = bytes(32)
PROOF = InclusionProof(2, 2, 0, LEAF).encode()
ROOT = _portable.path_roots(scheme_of(True), 2, 2, [0], LEAF, [PROOF])
RIGHT: tuple[Any, ...] = ("blake3", 2, 2, ROOT, 0, LEAF, PROOF, 4)


def but(**changed: object) -> tuple[Any, ...]:
    """The right arguments of leads_to, some of them changed."""
    names = ("scheme", "n", "size", "root", "index", "leaf", "proof", "lanes")
    return tuple(changed.get(name, value) for name, value in zip(names, RIGHT, strict=True))


WRONG_PATHS: dict[str, tuple[type[Exception], tuple[Any, ...]]] = {
    "too few": (TypeError, RIGHT[:-1]),
    "too many": (TypeError, (*RIGHT, None)),
    "n: text": (TypeError, but(n="2")),
    "n: 256": (IndexError, but(n=256)),
    "n: -1": (OverflowError, but(n=-1)),
    "size: 2**63": (IndexError, but(size=2**63)),
    "size: None": (TypeError, but(size=None)),
    "lanes: 5": (ValueError, but(lanes=5)),
    "lanes: 17": (IndexError, but(lanes=17)),
    "lanes: text": (TypeError, but(lanes="4")),
}

WRONG_BOUNDARIES: dict[str, tuple[type[Exception], tuple[Any, ...]]] = {
    "too few": (TypeError, (2, 3, 1, bytes(96), True)),
    "too many": (TypeError, (2, 3, 1, bytes(96), True, 4, None)),
    "n: 1": (ValueError, (1, 3, 1, bytes(96), True, 4)),
    "n: 32, tagged": (ValueError, (32, 3, 1, bytes(96), True, 4)),
    "n: 33, plain": (ValueError, (33, 3, 1, bytes(96), False, 4)),
    "size: 2**63": (IndexError, (2, 2**63, 1, bytes(96), True, 4)),
    "old size: 0": (ValueError, (2, 3, 0, bytes(96), True, 4)),
    "old size: size": (IndexError, (2, 3, 3, bytes(96), True, 4)),
    "old size: -1": (OverflowError, (2, 3, -1, bytes(96), True, 4)),
    "hashes: a bytearray": (ValueError, (2, 3, 1, bytearray(96), True, 4)),
    "hashes: None": (ValueError, (2, 3, 1, None, True, 4)),
    "lanes: 5": (ValueError, (2, 3, 1, bytes(96), True, 5)),
}


@pytest.mark.parametrize("name", WRONG_PATHS)
def test_a_wrong_question_about_a_path_raises(name: str) -> None:
    """Each with the exception that Python has for it."""
    assert _native.leads_to(*RIGHT) is True
    error, arguments = WRONG_PATHS[name]
    with pytest.raises(error) as caught:
        _native.leads_to(*arguments)
    assert str(caught.value)


@pytest.mark.parametrize("name", WRONG_BOUNDARIES)
def test_a_wrong_question_about_a_boundary_raises(name: str) -> None:
    """Each with the exception that Python has for it."""
    assert len(_native.boundary_nodes(2, 3, 1, bytes(96), True, 4)) == 128
    error, arguments = WRONG_BOUNDARIES[name]
    with pytest.raises(error) as caught:
        _native.boundary_nodes(*arguments)
    assert str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        *({"scheme": scheme} for scheme in ("sha256", "blake", "blake3 ", "blake3-plain2", "", 3)),
        *({"n": n} for n in (0, 1, 3, 32, 255)),
        *({"index": index} for index in (1, 2, -1, 2**63, 2**64, 2**80, True, 0.0, "0", None)),
        *({"root": root} for root in (None, ROOT[1:], ROOT + b"0", bytearray(ROOT), "0" * 32)),
        *({"leaf": leaf} for leaf in (None, LEAF[1:], LEAF + b"0", bytearray(LEAF), "0" * 32)),
        *({"proof": proof} for proof in (None, b"", bytearray(PROOF), PROOF[:24], "RTIP")),
        {"size": 0},
        {"size": 3},
    ],
    ids=str,
)
def test_what_is_unknown_leads_nowhere(changed: dict[str, object]) -> None:
    """False, for whoever can say what is wrong."""
    assert _native.leads_to(*but(**changed)) is False


# What is encoded.


def test_a_proof_is_of_the_kind_that_was_asked_for() -> None:
    """Subclasses with a dictionary, slots and references to themselves; nothing but a kind."""

    plain: Any = type("Plain", (_native.Encoded,), {"__slots__": ()})
    opened: Any = type("Opened", (_native.Encoded,), {})
    tree: Any = native_tree(_native, 2)
    tree.extend(bytes(64))
    for kind in (_native.Encoded, plain, opened):
        found = tree.prove(2, tree.edge(2), 0, kind)
        assert (type(found), found._encoded) == (kind, PROOF)
        if kind is opened:
            found.itself = found  # garbage, for the collector
        del found
    gc.collect()
    for wrong in (InclusionProof.decode, object, bytes, None, plain()):
        with pytest.raises(TypeError):
            tree.prove(2, tree.edge(2), 0, wrong)
    with pytest.raises(AttributeError):
        _ = plain()._encoded


def test_no_reference_is_leaked() -> None:
    """By proofs that are made and let go, and by verdicts, right and wrong."""
    tree, hashes = native_tree(_native, 2), bytes(96)
    tree.extend(bytes(64))
    edge, kind, calls = tree.edge(2), _native.Encoded, 3000
    given = [RIGHT, but(leaf=None), but(index=2**80), but(proof=b"")]
    gc.collect()  # what earlier tests left
    held = list(map(sys.getrefcount, (ROOT, LEAF, PROOF, hashes, edge, kind)))
    before = sys.getallocatedblocks()
    for _ in range(calls):
        tree.prove(2, edge, 0, kind)
        _native.boundary_nodes(2, 3, 1, hashes, True, 4)
        for arguments in given:
            _native.leads_to(*arguments)
        for name in ("n: text", "size: 2**63", "lanes: 5"):
            with pytest.raises(WRONG_PATHS[name][0]):
                _native.leads_to(*WRONG_PATHS[name][1])
        with pytest.raises(ValueError, match="fit"):
            _native.boundary_nodes(2, 3, 1, LEAF, True, 4)
        with pytest.raises(TypeError):
            tree.prove(2, edge, 0, object)  # type: ignore[type-var]
    gc.collect()
    assert sys.getallocatedblocks() - before < calls // 10
    assert list(map(sys.getrefcount, (ROOT, LEAF, PROOF, hashes, edge, kind))) == held


def test_what_is_a_consistency_proof_is_no_inclusion_proof() -> None:
    """The same numbers and hashes behind the other magic lead nowhere."""
    assert not _native.leads_to(*but(proof=CONSISTENCY_MAGIC + PROOF[4:]))
