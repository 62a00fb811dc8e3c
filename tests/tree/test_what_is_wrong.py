"""What proofs say: errors name what is wrong, and a proof is a value that Python can show."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rotortree import (
    ConsistencyProof,
    CustomHasher,
    InclusionProof,
    InvalidConfigError,
    InvalidLeafError,
    InvalidProofError,
    LeanIMT,
    NoUpdateNeededError,
    TreeHead,
    verify_consistency,
    verify_inclusion,
    verify_inclusion_many,
)
from rotortree.errors import TreeError
from tests.tree.support import head_of, make_leaves, tree_of

PROOF = tree_of(2, 13).snapshot().prove(5)
EXTENSION = tree_of(2, 13).snapshot().prove_consistency(5)
HEAD = tree_of(2, 13).head


def read(value: InclusionProof | ConsistencyProof | TreeHead, **changes: object) -> object:
    """Read a value again after changes of its JSON."""
    return type(value).from_json(json.dumps(json.loads(value.to_json()) | changes))


WRONG: dict[str, Callable[[], object]] = {
    # JSON.
    "a proof is not JSON: Expecting value: line 1 column 1 (char 0)": (
        lambda: InclusionProof.from_json("no")
    ),
    "a tree head is not JSON: a key is repeated": (lambda: TreeHead.from_json('{"n": 2, "n": 2}')),
    "a proof must be an object with the keys type, version, n, size, index, hashes": (
        lambda: InclusionProof.from_json("{}")
    ),
    "a proof must be an object with the keys type, version, n, size, old_size, hashes": (
        lambda: ConsistencyProof.from_json("[]")
    ),
    "a tree head must be an object with the keys type, version, n, scheme, size, root": (
        lambda: read(HEAD, more=1)
    ),
    "a proof must be of version 1": lambda: read(PROOF, version=2),
    "a tree head must be of version 1": lambda: read(HEAD, version=2),
    "not a rotortree-inclusion-proof": lambda: read(PROOF, type="no"),
    "not a rotortree-consistency-proof": lambda: read(EXTENSION, type="no"),
    "not a tree head": lambda: read(HEAD, type="no"),
    "hashes must be a list": lambda: read(PROOF, hashes="00"),
    "a hash must be 64 lowercase hexadecimal digits": lambda: read(PROOF, hashes=["00"]),
    "root must be 64 lowercase hexadecimal digits": lambda: read(HEAD, root="00"),
    # Bytes.
    "23 bytes are too short for a proof": lambda: InclusionProof.decode(PROOF.encode()[:23]),
    "not a rotortree-inclusion-proof of version 1": (
        lambda: InclusionProof.decode(EXTENSION.encode())
    ),
    "not a rotortree-consistency-proof of version 1": (
        lambda: ConsistencyProof.decode(PROOF.encode())
    ),
    # Fields.
    "size is -1: it must be an integer in [0, 9223372036854775808)": (
        lambda: TreeHead(-1, None, 2, "blake3")
    ),
    "size is '5': it must be an integer in [0, 9223372036854775808)": (
        lambda: read(PROOF, size="5")
    ),
    "index is 13: it must be an integer in [0, 13)": lambda: read(PROOF, index=13),
    "old_size is 14: it must be an integer in [0, 14)": lambda: read(EXTENSION, old_size=14),
    "n is 256: it must be an integer from 2 to 255": lambda: read(PROOF, n=256),
    "n is 1: it must be an integer from 2 to 255": lambda: read(HEAD, n=1),
    "hashes must be bytes": lambda: InclusionProof(2, 2, 0, bytearray(32)),  # type: ignore[arg-type]
    "31 bytes of hashes, where the shape needs 1 of 32 bytes": (
        lambda: InclusionProof(2, 2, 0, bytes(31))
    ),
    "32 bytes of hashes, where the shape needs 2 of 32 bytes": (
        lambda: ConsistencyProof(2, 2, 1, bytes(32))
    ),
    "a head has a root exactly if its size is not 0": lambda: TreeHead(1, None, 2, "blake3"),
    "a root must be 32 bytes": lambda: TreeHead(1, bytes(31), 2, "blake3"),
    "scheme is 5: it must be a name": lambda: read(HEAD, scheme=5),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_value_that_is_refused_is_named(message: str) -> None:
    """The whole message of each InvalidProofError of a constructor or decoder."""
    with pytest.raises(InvalidProofError) as caught:
        WRONG[message]()
    assert str(caught.value) == message


LEAF = make_leaves(6)[5]
OLD = head_of(2, 5)
ROOTLESS = TreeHead(13, b"?" * 32, 2, "blake3")
OWN = TreeHead(13, bytes(32), 2, "own")
OWN_HASHER = CustomHasher("other", lambda children: children[0])
NOT_ANY: Any = (EXTENSION, PROOF)

REFUSED: dict[str, Callable[[], object]] = {
    "index is -1: it must be an integer in [0, 9223372036854775808)": (
        lambda: verify_inclusion(HEAD, -1, LEAF, PROOF)
    ),
    "the proof is of leaf 5 of 13 (n = 2), not of leaf 6 of 13 (n = 2)": (
        lambda: verify_inclusion(HEAD, 6, LEAF, PROOF)
    ),
    "the proof is of leaf 5 of 13 (n = 2), not of leaf 5 of 12 (n = 2)": (
        lambda: verify_inclusion(head_of(2, 12), 5, LEAF, PROOF)
    ),
    "the proof is of leaf 5 of 13 (n = 2), not of leaf 5 of 13 (n = 3)": (
        lambda: verify_inclusion(head_of(3, 13), 5, LEAF, PROOF)
    ),
    "this is not an inclusion proof": lambda: verify_inclusion(HEAD, 5, LEAF, NOT_ANY[0]),
    "this is not a consistency proof": lambda: verify_consistency(OLD, HEAD, NOT_ANY[1]),
    "the proof does not lead to the head's root": (
        lambda: verify_inclusion(HEAD, 5, bytes(32), PROOF)
    ),
    "proof 1: the proof does not lead to the head's root": (
        lambda: verify_inclusion_many(HEAD, [5, 5], LEAF + bytes(32), [PROOF, PROOF])
    ),
    "1 indices, 2 leaves and 0 proofs: their numbers must be equal": (
        lambda: verify_inclusion_many(HEAD, [5], bytes(64), [])
    ),
    "scheme is 'own', but it is not built in: pass its hasher, too": (
        lambda: verify_inclusion(OWN, 5, LEAF, PROOF)
    ),
    "the head is of scheme 'own', not 'other'": (
        lambda: verify_inclusion(OWN, 5, LEAF, PROOF, hasher=OWN_HASHER)
    ),
    "the two heads are of trees of different arity or scheme": (
        lambda: verify_consistency(OLD, OWN, EXTENSION)
    ),
    "the proof is from size 5 to 13 (n = 2), not from 4 to 13 (n = 2)": (
        lambda: verify_consistency(head_of(2, 4), HEAD, EXTENSION)
    ),
    "two heads of one size have different roots": (
        lambda: verify_consistency(HEAD, ROOTLESS, tree_of(2, 13).snapshot().prove_consistency(13))
    ),
    "the proof does not lead to the old head's root": (
        lambda: verify_consistency(TreeHead(5, b"?" * 32, 2, "blake3"), HEAD, EXTENSION)
    ),
    "the proof does not lead to the new head's root": (
        lambda: verify_consistency(OLD, ROOTLESS, EXTENSION)
    ),
    "the proof is of size 13 already": (
        lambda: tree_of(2, 13).snapshot().prove_consistency(13).update(PROOF, LEAF, HEAD, HEAD)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_proof_that_does_not_hold_is_told_why(message: str) -> None:
    """The whole message of each error of verification and of an update."""
    with pytest.raises(TreeError) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_an_error_of_verification_is_about_are_its_attributes() -> None:
    """The scheme that is unknown, the size that both heads have."""
    with pytest.raises(InvalidConfigError) as unknown:
        verify_inclusion(OWN, 5, LEAF, PROOF)
    assert (unknown.value.parameter, unknown.value.value) == ("scheme", "own")
    with pytest.raises(NoUpdateNeededError) as same:
        tree_of(2, 13).snapshot().prove_consistency(13).update(PROOF, LEAF, HEAD, HEAD)
    assert same.value.size == 13


@pytest.mark.evidence("example", "PROOF-5")
def test_what_is_not_32_bytes_is_no_leaf_of_a_proof() -> None:
    """Shorter, longer, none: InvalidLeafError, whether the proof is right or not."""
    for length in (0, 1, 31, 33, 64):
        for index in (5, 6):
            for leaf in (bytes(length), bytearray(length)):
                with pytest.raises(InvalidLeafError):
                    verify_inclusion(HEAD, index, leaf, PROOF)
                with pytest.raises(InvalidLeafError):
                    verify_inclusion_many(HEAD, [index], [leaf], [PROOF])


def test_a_true_proof_is_verified_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a leaf that is bytes; the other way is for what does not hold, or is not known."""

    def fail(*_: object) -> None:
        raise AssertionError("it was verified twice")

    monkeypatch.setattr("rotortree.kernel.path_roots", fail)
    verify_inclusion(HEAD, 5, LEAF, PROOF)
    with pytest.raises(AssertionError, match="twice"):
        verify_inclusion(HEAD, 5, bytes(32), PROOF)


def test_a_proof_is_a_value() -> None:
    """Shown as what makes it; equal and of one hash exactly if kind and fields are; pickled."""
    tree = LeanIMT(2)
    tree.extend(make_leaves(13))
    for proof, name in ((PROOF, "index"), (EXTENSION, "old_size")):
        text = f"(n=2, size=13, {name}=5, hashes={proof.hashes!r})"
        assert repr(proof) == type(proof).__name__ + text
        assert eval(repr(proof)) == proof
        again = pickle.loads(pickle.dumps(proof))
        assert type(again) is type(proof)
        assert again == proof
        assert hash(again) == hash(proof)
        assert proof.__eq__(proof.encode()) is NotImplemented
    assert tree.snapshot().prove(5) == PROOF
    assert hash(tree.snapshot().prove(5)) == hash(PROOF)
    assert tree.snapshot().prove(6) != PROOF
    assert len({hash(tree.snapshot().prove(index)) for index in range(13)}) == 13
    empty = (tree.snapshot(1).prove(0), tree.snapshot(1).prove_consistency(0))
    assert empty[0] != empty[1]
    match PROOF:
        case InclusionProof(n, size, index, hashes):
            assert (n, size, index, hashes) == (2, 13, 5, PROOF.hashes)
    match EXTENSION:
        case ConsistencyProof(n, size, old_size, hashes):
            assert (n, size, old_size, hashes) == (2, 13, 5, EXTENSION.hashes)
