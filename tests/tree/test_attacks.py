"""The attacks that worked on an earlier implementation: each must fail, at every small size.

There, the prover chose the structure: sizes and positions were read from the proof.  Here the
verifier trusts a head, and everything that a prover could claim is tried against the true one.
"""

from __future__ import annotations

from typing import Any

import pytest

from rotortree import (
    ConsistencyProof,
    InclusionProof,
    InvalidConfigError,
    InvalidProofError,
    NoUpdateNeededError,
    TreeHead,
    verify_consistency,
    verify_inclusion,
    verify_inclusion_many,
)
from tests.tree.support import (
    ARITIES,
    extends,
    head_of,
    includes,
    make_leaves,
    model_consistency,
    model_levels,
    model_root,
    tree_of,
)

BOUND = 34
"""Trees of up to so many leaves are attacked; they reach depth 6, 4, 3, 3 for n = 2, 3, 4, 5."""


def claim(head: TreeHead, index: int, leaf: bytes, hashes: bytes, at: int | None = None) -> bool:
    """Whether these hashes pass as a proof that the leaf is at ``index`` of the head's tree.

    ``at``: the index that the proof itself names, if it is another one.
    """
    named = index if at is None else at
    return includes(head, index, leaf, head.n, head.size, named, hashes)


@pytest.mark.evidence("exhaustive", "PROOF-12")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_a_an_inner_node_is_not_a_leaf(n: int) -> None:
    """Every inner node, with the hashes above it, as any leaf of its tree; sizes up to 34.

    Nodes whose value is a lifted leaf are left out: they are that leaf.
    """
    for size in range(2, BOUND + 1):
        head, leaves = head_of(n, size), make_leaves(size)
        snapshot = tree_of(n, size).snapshot()
        rows = model_levels(n, size)
        proofs = snapshot.prove_many(range(size))
        for level in range(1, len(rows)):
            for position, node in enumerate(rows[level]):
                if node in leaves:
                    continue
                hashes = _hashes_above(proofs[position * n**level], level)
                for index in range(size):
                    assert not claim(head, index, node, hashes)
                    assert not claim(head, index, node, proofs[index].hashes)


def _hashes_above(proof: InclusionProof, level: int) -> bytes:
    """What a proof holds of ``level`` and higher."""
    below, index, length = 0, proof.index, proof.size
    for _ in range(level):
        start = index - index % proof.n
        below += min(start + proof.n, length) - start - 1
        index, length = index // proof.n, -(-length // proof.n)
    return proof.hashes[32 * below :]


@pytest.mark.evidence("exhaustive", "PROOF-12")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_b_the_root_is_not_a_leaf(n: int) -> None:
    """The root, with no hashes and with those of every leaf, as any leaf; sizes 2 to 34."""
    for size in range(2, BOUND + 1):
        head = head_of(n, size)
        assert head.root is not None
        snapshot = tree_of(n, size).snapshot()
        for index in range(size + n):
            assert not claim(head, index, head.root, b"")
            for other in range(size):
                hashes = snapshot.prove(other).hashes
                assert not claim(head, index, head.root, hashes)
                assert not claim(head, index, head.root, hashes, at=other)


@pytest.mark.evidence("exhaustive", "PROOF-2", "PROOF-6")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_c_a_proof_does_not_count_for_another_size(n: int) -> None:
    """A proof of size s, as it is or relabelled, against the true heads of sizes up to s + n².

    All s up to 20.  The head that it was made for refuses every other label, too.
    """
    for size in range(1, 21):
        leaves, snapshot = make_leaves(size), tree_of(n, size).snapshot()
        for index, leaf in enumerate(leaves):
            hashes, true_head = snapshot.prove(index).hashes, head_of(n, size)
            assert claim(true_head, index, leaf, hashes)
            for other in range(index + 1, size + n * n + 1):
                if other == size:
                    continue
                honest = head_of(n, other)
                assert not claim(honest, index, leaf, hashes)
                assert not includes(honest, index, leaf, n, size, index, hashes)
                assert not includes(true_head, index, leaf, n, other, index, hashes)


@pytest.mark.evidence("exhaustive", "PROOF-12")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_d_a_lifted_leaf_has_one_index(n: int) -> None:
    """The lone last leaf of every size up to 34, with its own proof, at any other index."""
    for size in range(n + 1, BOUND + 1):
        if size % n != 1:
            continue
        own, head = size - 1, head_of(n, size)
        leaf, proof = make_leaves(size)[own], tree_of(n, size).snapshot().prove(size - 1)
        assert claim(head, own, leaf, proof.hashes)
        for index in range(size + 2 * n * n):
            if index != own:
                assert not claim(head, index, leaf, proof.hashes)
                assert not claim(head, index, leaf, proof.hashes, at=own)


@pytest.mark.evidence("exhaustive", "PROOF-2", "PROOF-6")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_e_a_consistency_proof_does_not_count_for_another_size(n: int) -> None:
    """A proof a to b relabelled a to c, or d to b, b up to 18: the heads of a and b refuse it.

    The true heads of the sizes on the label accept it only if it is hash for hash their own proof
    (for n = 3, those of 1 to 3 and of 2 to 3 are the same three leaves).
    """
    for size in range(2, 19):
        snapshot = tree_of(n, size).snapshot()
        for old_size in range(1, size):
            hashes = snapshot.prove_consistency(old_size).hashes
            old, new = head_of(n, old_size), head_of(n, size)
            for a, b in [
                *((old_size, other) for other in range(old_size, size + n * n + 1)),
                *((other, size) for other in range(size + 1)),
            ]:
                assert extends(old, new, n, b, a, hashes) == ((a, b) == (old_size, size))
                own = hashes == model_consistency(n, a, b)
                assert extends(head_of(n, a), head_of(n, b), n, b, a, hashes) == own


@pytest.mark.evidence("example", "TREE-35")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_f_one_root_of_two_sizes_is_two_heads(n: int) -> None:
    """n² leaves and the n leaves that are their level 1 nodes have one root; n to n² likewise.

    No proof of one tree counts against the head of the other, and neither extends the other.
    """
    for groups in range(2, n + 1):
        size = groups * n
        rows = model_levels(n, size)
        below, above = tree_of(n, size), tree_of(n, 0)
        above.extend(list(rows[1]))
        assert below.root == above.root == model_root(n, size)
        assert below.head != above.head
        for index, node in enumerate(rows[1]):
            proof = above.snapshot().prove(index)
            assert claim(above.head, index, node, proof.hashes)
            for place in range(size):
                assert not claim(below.head, place, node, proof.hashes)
                assert not claim(below.head, place, node, proof.hashes, at=index)
        for index in range(size):
            proof = below.snapshot().prove(index)
            for place in range(groups):
                leaf = make_leaves(size)[index]
                assert not claim(above.head, place, leaf, proof.hashes)
                assert not claim(above.head, place, leaf, proof.hashes, at=index)
        for hashes in (
            below.snapshot().prove_consistency(groups).hashes,
            above.snapshot().prove_consistency(groups).hashes,
            b"".join(rows[1]),
            b"",
        ):
            assert not extends(above.head, below.head, n, size, groups, hashes)


@pytest.mark.evidence("exhaustive", "PROOF-22")
@pytest.mark.parametrize("n", ARITIES)
def test_attack_g_an_update_verifies_the_old_proof_first(n: int) -> None:
    """A wrong leaf, any wrong hash, another leaf's proof, a wrong head: nothing is updated.

    All index < old < new <= 12.
    """
    leaves = make_leaves(13)
    tree = tree_of(n, 12)
    for size in range(2, 13):
        new = head_of(n, size)
        for old_size in range(1, size):
            old, extension = head_of(n, old_size), tree.snapshot(size).prove_consistency(old_size)
            for index in range(old_size):
                proof, leaf = tree.snapshot(old_size).prove(index), leaves[index]
                with pytest.raises(InvalidProofError):
                    extension.update(proof, leaves[12], old, new)
                for wrong in _with_a_wrong_hash(proof.hashes):
                    changed = InclusionProof(n, old_size, index, wrong)
                    with pytest.raises(InvalidProofError):
                        extension.update(changed, leaf, old, new)
                for wrong in _with_a_wrong_hash(extension.hashes):
                    spoiled = ConsistencyProof(n, size, old_size, wrong)
                    with pytest.raises(InvalidProofError):
                        spoiled.update(proof, leaf, old, new)
                with pytest.raises(InvalidProofError):
                    extension.update(proof, leaf, new, new)
                with pytest.raises(InvalidProofError):
                    extension.update(proof, leaf, new, old)
            if old_size > 1:
                with pytest.raises(InvalidProofError):
                    extension.update(tree.snapshot(old_size).prove(1), leaves[0], old, new)


def _with_a_wrong_hash(hashes: bytes) -> list[bytes]:
    """For each hash, the hashes with one bit of it changed."""
    return [
        hashes[:at] + bytes((hashes[at] ^ 0x10,)) + hashes[at + 1 :]
        for at in range(7, len(hashes), 32)
    ]


@pytest.mark.evidence("example", "PROOF-22")
def test_an_update_to_the_same_size_says_so_after_verifying() -> None:
    """NoUpdateNeededError, an InvalidProofError, with the size; a bad proof is reported first."""
    tree, leaves, head = tree_of(3, 7), make_leaves(7), head_of(3, 7)
    extension = tree.snapshot().prove_consistency(7)
    with pytest.raises(NoUpdateNeededError) as caught:
        extension.update(tree.snapshot().prove(2), leaves[2], head, head)
    assert caught.value.size == 7
    with pytest.raises(InvalidProofError) as other:
        extension.update(tree.snapshot().prove(2), leaves[3], head, head)
    assert not isinstance(other.value, NoUpdateNeededError)
    wrong = TreeHead(7, bytes(32), 3, "blake3")
    with pytest.raises(InvalidProofError):
        extension.update(tree.snapshot().prove(2), leaves[2], head, wrong)


@pytest.mark.evidence("exhaustive", "PROOF-16", "PROOF-18")
@pytest.mark.parametrize("n", ARITIES)
def test_a_consistency_proof_ties_both_roots(n: int) -> None:
    """With either root of another tree, nothing is proven; all 1 <= old <= new <= 24.

    Equal sizes with unequal roots and an old head larger than the new one included.
    """
    for size in range(1, 25):
        snapshot, new = tree_of(n, size).snapshot(), head_of(n, size)
        for old_size in range(1, size + 1):
            old, hashes = head_of(n, old_size), snapshot.prove_consistency(old_size).hashes
            fields = (n, size, old_size, hashes)
            assert extends(old, new, *fields)
            assert not extends(TreeHead(old_size, b"?" * 32, n, "blake3"), new, *fields)
            assert not extends(old, TreeHead(size, b"?" * 32, n, "blake3"), *fields)
            if old_size != size:
                assert not extends(new, old, *fields)
                assert not extends(new, old, n, old_size, size, hashes)


@pytest.mark.evidence("example", "PROOF-4", "PROOF-17")
def test_arity_and_scheme_of_the_head_are_binding() -> None:
    """A proof of another arity or scheme is refused, even where its shape would fit."""
    for size in range(1, 20):
        for n in ARITIES:
            snapshot = tree_of(n, size).snapshot()
            for index, leaf in enumerate(make_leaves(size)):
                hashes = snapshot.prove(index).hashes
                fields = (n, size, index, hashes)
                for other in ARITIES:
                    head = TreeHead(size, model_root(n, size), other, "blake3")
                    assert includes(head, index, leaf, *fields) == (other == n)
                for name in ("blake3-plain", "sha256") if hashes else ():
                    head = TreeHead(size, model_root(n, size), n, name)
                    assert not includes(head, index, leaf, *fields)
    mixed = (2, 3, 2, tree_of(2, 3).snapshot().prove_consistency(2).hashes)
    assert extends(head_of(2, 2), head_of(2, 3), *mixed)
    for old, new in [
        (TreeHead(2, model_root(2, 2), 3, "blake3"), head_of(2, 3)),
        (TreeHead(2, model_root(2, 2), 2, "sha256"), head_of(2, 3)),
        (head_of(2, 2), TreeHead(3, model_root(2, 3), 2, "blake3-plain")),
    ]:
        assert not extends(old, new, *mixed)


@pytest.mark.evidence("example", "PROOF-5", "PROOF-27")
@pytest.mark.parametrize("n", ARITIES)
def test_a_proof_of_the_other_kind_proves_nothing(n: int) -> None:
    """With the same numbers, without hashes, too: InvalidProofError wherever a proof is taken."""
    for size in range(1, 12):
        snapshot, head, leaves = tree_of(n, size).snapshot(), head_of(n, size), make_leaves(size)
        for number in range(size):
            inclusion: Any = snapshot.prove(number)
            consistency: Any = snapshot.prove_consistency(number)
            old, leaf = head_of(n, number), leaves[number]
            with pytest.raises(InvalidProofError, match="not an inclusion proof"):
                verify_inclusion(head, number, leaf, consistency)
            with pytest.raises(InvalidProofError, match="not an inclusion proof"):
                verify_inclusion_many(head, [number], [leaf], [consistency])
            with pytest.raises(InvalidProofError, match="not a consistency proof"):
                verify_consistency(old, head, inclusion)
            with pytest.raises(InvalidProofError, match="not an inclusion proof"):
                snapshot.prove_consistency(size).update(consistency, leaf, head, head)


@pytest.mark.evidence("example", "PROOF-4", "PROOF-17")
def test_the_scheme_of_the_old_head_is_looked_for_first() -> None:
    """Of two heads of different schemes, one unknown: which of them it is decides the error."""
    proof = tree_of(2, 3).snapshot().prove_consistency(2)
    known = head_of(2, 2), head_of(2, 3)
    own = [TreeHead(head.size, head.root, 2, "own") for head in known]
    with pytest.raises(InvalidProofError, match="different arity or scheme"):
        verify_consistency(known[0], own[1], proof)
    with pytest.raises(InvalidConfigError, match="not built in"):
        verify_consistency(own[0], known[1], proof)
    with pytest.raises(InvalidConfigError, match="not built in"):
        verify_consistency(own[0], own[1], proof)
