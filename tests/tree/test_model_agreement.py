"""The tree in memory agrees with the model: every node, every proof, at every small size."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

import rotortree_model as model
from rotortree import LeanIMT, TreeHead, verify_consistency, verify_inclusion
from tests.campaigns.exhaustive.campaign import SHAPES_ARE_EVIDENCE_OF, SHORT
from tests.campaigns.exhaustive.shapes import ARITIES as SHAPE_ARITIES
from tests.campaigns.exhaustive.shapes import Counts, check_shapes
from tests.tree.support import (
    ARITIES,
    HASHERS,
    PARENT,
    cut,
    head_of,
    make_leaves,
    model_levels,
    model_root,
    tree_of,
)

NODES_BOUND = 200
"""The largest size of single inserts and of random ones."""

BATCH_BOUND = 40
"""Sizes that every two batches make."""


@pytest.mark.evidence("exhaustive", *SHAPES_ARE_EVIDENCE_OF)
@pytest.mark.parametrize("n", SHAPE_ARITIES)
def test_every_shape_is_the_models_in_every_node_proof_and_update(n: int) -> None:
    """n from 2 to 9, sizes 0 to 91: heads, nodes, every (index, size), every (old size, size).

    As past sizes of one tree, and as one batch. Every (index, old size, size) up to 48 is updated.
    """
    counts = check_shapes(n, SHORT.size, SHORT.updates)
    assert counts == Counts.expected(n, SHORT.size, SHORT.updates)


@pytest.mark.evidence("exhaustive", "TREE-11", "TREE-22")
@pytest.mark.parametrize("n", ARITIES)
def test_single_inserts_give_the_models_root_and_depth_each_time(n: int) -> None:
    """200 leaves one by one: the root that insert returns, root, size, depth, head; then nodes."""
    tree = LeanIMT(n)
    assert (tree.root, tree.size, tree.depth) == (None, 0, 0)
    for size, leaf in enumerate(make_leaves(NODES_BOUND), 1):
        assert tree.insert(leaf) == tree.root == model_root(n, size)
        assert (tree.size, tree.depth) == (size, model.depth(size, n))
        assert tree.head == head_of(n, size)
        if size % 20 == 0 or size < 20:
            snapshot = tree.snapshot()
            for level, row in enumerate(model_levels(n, size)):
                assert tuple(snapshot.get_node(level, i) for i in range(len(row))) == row


@pytest.mark.evidence("exhaustive", "TREE-13", "TREE-22")
@pytest.mark.parametrize("n", ARITIES)
def test_a_second_batch_of_any_size_gives_the_models_tree(n: int) -> None:
    """All (first, second) batches of at most 40 leaves together: root and every level 1 node."""
    for size in range(2, BATCH_BOUND + 1):
        leaves = make_leaves(size)
        for first in range(1, size):
            tree = LeanIMT(n)
            tree.extend(leaves[:first])
            assert tree.insert_many(leaves[first:]) == model_root(n, size)
            snapshot = tree.snapshot()
            row = model_levels(n, size)[1]
            assert tuple(snapshot.get_node(1, i) for i in range(len(row))) == row


@pytest.mark.evidence("property", "TREE-2", "TREE-13")
@pytest.mark.parametrize("n", ARITIES)
def test_random_mixes_of_inserts_and_batches_give_the_models_roots(n: int) -> None:
    """30 random ways to cut 200 leaves into single inserts and batches, by all four methods."""
    leaves = make_leaves(NODES_BOUND)
    for seed in range(30):
        choose = random.Random(f"{n} {seed}")
        tree = LeanIMT(n)
        parts = cut(leaves, [choose.randrange(NODES_BOUND) for _ in range(choose.randrange(60))])
        for part in parts:
            if len(part) == 1 and choose.random() < 0.8:
                choose.choice((tree.insert, tree.append))(part[0])
            else:
                choose.choice((tree.insert_many, tree.extend))(part)
            assert tree.root == model_root(n, tree.size)
        assert tree.size == NODES_BOUND


@pytest.mark.evidence("exhaustive", "TREE-13")
@pytest.mark.parametrize("n", ARITIES)
def test_the_maximal_depth_is_in_no_node(n: int) -> None:
    """Trees of up to 40 leaves that could grow as deep as they are, or far deeper: one head."""
    for size in range(1, 41):
        depth = max(1, tree_of(n, size).depth)
        for max_depth in (depth, depth + 1, 255):
            tree = LeanIMT(n, max_depth)
            tree.insert_many(make_leaves(size))
            assert tree.head == head_of(n, size)


@pytest.mark.evidence("exhaustive", "PROOF-20", "PROOF-21")
@pytest.mark.parametrize("n", ARITIES)
def test_an_update_is_the_models_update(n: int) -> None:
    """All index < old < new <= 14, against update_inclusion_proof of the model."""
    tree = tree_of(n, 14)
    leaves = make_leaves(14)
    for size in range(2, 15):
        for old_size in range(1, size):
            extension = tree.snapshot(size).prove_consistency(old_size)
            for index in range(old_size):
                old = tree.snapshot(old_size).prove(index)
                heads = head_of(n, old_size), head_of(n, size)
                expected = model.update_inclusion_proof(
                    *(old_size, heads[0].root, size, heads[1].root, n, index, leaves[index]),
                    model.inclusion_proof(tuple(leaves[:old_size]), n, index, PARENT),
                    model.consistency_proof(tuple(leaves[:size]), n, old_size, PARENT),
                    PARENT,
                )
                assert extension.update(old, leaves[index], *heads).hashes == b"".join(expected)


@pytest.mark.evidence("property", "PROOF-23")
@pytest.mark.parametrize("n", ARITIES)
def test_a_chain_of_updates_follows_the_tree(n: int) -> None:
    """A proof of leaf 0, 3 or 7 updated over 10 random growths up to 200 leaves."""
    tree = tree_of(n, NODES_BOUND)
    leaves = make_leaves(8)
    for index in (0, 3, 7):
        sizes = sorted(random.Random(f"{n} {index}").sample(range(8, NODES_BOUND + 1), 10))
        proof = tree.snapshot(sizes[0]).prove(index)
        for old_size, size in pairwise(sizes):
            extension = tree.snapshot(size).prove_consistency(old_size)
            heads = head_of(n, old_size), head_of(n, size)
            proof = extension.update(proof, leaves[index], *heads)
            assert proof == tree.snapshot(size).prove(index)


@pytest.mark.evidence("exhaustive", "TREE-15", "TREE-16", "TREE-17")
@pytest.mark.parametrize("name", sorted(HASHERS))
def test_every_scheme_is_the_models(name: str) -> None:
    """Each built-in scheme, n = 2, 3, 7, 255, sizes 0 to 40 and 254 to 258: nodes and proofs."""
    parent = model.SCHEMES[name]
    for n in (2, 3, 7, 255):
        tree = tree_of(n, 258, HASHERS[name]())
        for size in (*range(41), *range(254, 259)):
            snapshot, head = tree.snapshot(size), head_of(n, size, name)
            assert snapshot.head == head
            for level, row in enumerate(model_levels(n, size, name)):
                assert tuple(snapshot.get_node(level, i) for i in range(len(row))) == row
            leaves = tuple(make_leaves(size))
            for index in {0, size // 2, size - 1} if size else ():
                proof = snapshot.prove(index)
                hashes = model.inclusion_proof(leaves, n, index, parent)
                assert proof.hashes == b"".join(hashes)
                verify_inclusion(head, index, leaves[index], proof)
                extension = snapshot.prove_consistency(index)
                hashes = model.consistency_proof(leaves, n, index, parent)
                assert extension.hashes == b"".join(hashes)
                verify_consistency(head_of(n, index, name), head, extension)


@pytest.mark.evidence("example", "TREE-14", "TREE-15")
def test_roots_are_those_of_the_original_implementation() -> None:
    """Every root of tests/data/reference-roots.json, in one batch and as a past size."""
    path = Path(__file__).parents[1] / "data" / "reference-roots.json"
    references = json.loads(path.read_text())["roots"]
    assert references
    trees = {n: tree_of(n, 1) for n in {reference["n"] for reference in references}}
    for n, tree in trees.items():
        largest = max(reference["size"] for reference in references if reference["n"] == n)
        if largest > 1:
            tree.extend(make_leaves(largest - 1, start=1))
    for reference in references:
        n, size, root = reference["n"], reference["size"], bytes.fromhex(reference["root"])
        assert tree_of(n, size).head == TreeHead(size, root, n, "blake3")
        snapshot = trees[n].snapshot(size)
        assert (snapshot.root, snapshot.depth) == (root, reference["depth"])
