"""What errors of proofs and heads say: each names what is wrong, in the words of the caller."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rotortree import (
    ConsistencyProof,
    InclusionProof,
    InvalidProofError,
    TreeHead,
)
from tests.tree.support import tree_of

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
    "a tree head is not JSON: a key stands twice": (lambda: TreeHead.from_json('{"n": 2, "n": 2}')),
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
