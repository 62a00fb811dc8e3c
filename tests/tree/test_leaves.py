"""Leaves in every form that is allowed make one tree, and the tree keeps bytes of its own."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotortree import FlushPolicy, LeanIMT, RotorTree
from tests.tree.support import ARITIES, make_leaves, model_root, tree_of

COUNT = 19
LEAVES = make_leaves(COUNT)
DATA = b"".join(LEAVES)

BATCHES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: DATA,
    "bytearray": lambda: bytearray(DATA),
    "memoryview": lambda: memoryview(DATA),
    "memoryview in rows": lambda: memoryview(DATA).cast("B", (COUNT, 32)),
    "signed memoryview": lambda: memoryview(DATA).cast("b"),
    "part of a memoryview": lambda: memoryview(b"x" + DATA + b"yz")[1:-2],
    "NumPy (k, 32)": lambda: np.frombuffer(DATA, np.uint8).reshape(COUNT, 32),
    "NumPy, writable": lambda: np.frombuffer(DATA, np.uint8).reshape(COUNT, 32).copy(),
    "NumPy flat": lambda: np.frombuffer(DATA, np.uint8),
    "rows of a larger array": lambda: np.frombuffer(b"?" * 64 + DATA, np.uint8).reshape(-1, 32)[2:],
    "ctypes": lambda: (ctypes.c_uint8 * len(DATA)).from_buffer_copy(DATA),
    "list of bytes": lambda: list(LEAVES),
    "tuple of bytes": lambda: tuple(LEAVES),
    "list of bytearrays": lambda: [bytearray(leaf) for leaf in LEAVES],
    "list of memoryviews": lambda: [memoryview(leaf) for leaf in LEAVES],
    "list of rows": lambda: list(np.frombuffer(DATA, np.uint8).reshape(COUNT, 32)),
    "list of (1, 32) arrays": lambda: [np.frombuffer(x, np.uint8).reshape(1, 32) for x in LEAVES],
    "one of each": lambda: [
        (bytes, bytearray, memoryview)[i % 3](leaf) for i, leaf in enumerate(LEAVES)
    ],
    "generator": lambda: (leaf for leaf in LEAVES),
    "iterator": lambda: iter(LEAVES),
    "map": lambda: map(bytes, LEAVES),
    "deque": lambda: deque(LEAVES),
    "values of a dict": lambda: dict(enumerate(LEAVES)).values(),
}


@pytest.mark.parametrize("name", BATCHES)
def test_every_form_of_a_batch_is_the_same_tree(name: str, tmp_path: Path) -> None:
    """19 leaves as bytes, views, arrays, sequences and iterables, n = 2 to 5 and on disk."""
    for n in ARITIES:
        for by_root in (True, False):
            tree = tree_of(n, 0)
            if by_root:
                assert tree.insert_many(BATCHES[name]()) == model_root(n, COUNT)
            else:
                tree.extend(BATCHES[name]())
            assert (tree.size, tree.root) == (COUNT, model_root(n, COUNT))
            assert tree.snapshot().leaves() == DATA
    with RotorTree.open(tmp_path, n=3) as durable:
        root, token = durable.insert_many(BATCHES[name]())
        token.wait()
        assert root == durable.root == model_root(3, COUNT)


LEAF_FORMS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "part of a memoryview": lambda leaf: memoryview(b"x" + leaf + b"y")[1:33],
    "NumPy": lambda leaf: np.frombuffer(leaf, np.uint8),
    "NumPy (1, 32)": lambda leaf: np.frombuffer(leaf, np.uint8).reshape(1, 32),
    "ctypes": (ctypes.c_uint8 * 32).from_buffer_copy,
}


@pytest.mark.parametrize("name", LEAF_FORMS)
def test_every_form_of_a_leaf_is_the_same_leaf(name: str) -> None:
    """insert and append of any contiguous buffer of 32 bytes; a batch of one is the same."""
    tree, make = LeanIMT(3), LEAF_FORMS[name]
    for size, leaf in enumerate(LEAVES, 1):
        if size % 3 == 0:
            tree.append(make(leaf))
        elif size % 3 == 1:
            assert tree.insert(make(leaf)) == model_root(3, size)
        else:
            assert tree.insert_many([make(leaf)]) == model_root(3, size)
    assert (tree.root, tree.snapshot().leaves()) == (model_root(3, COUNT), DATA)


@pytest.mark.evidence("example", "TREE-27")
def test_a_buffer_changed_after_the_call_changes_no_tree(tmp_path: Path) -> None:
    """bytearrays and arrays, alone, as a batch and within a list, before and after a flush."""
    with RotorTree.open(tmp_path, n=2, flush_policy=FlushPolicy.Manual()) as durable:
        for tree in (LeanIMT(2), durable):
            one, batch = bytearray(LEAVES[0]), bytearray(b"".join(LEAVES[1:5]))
            array = np.frombuffer(b"".join(LEAVES[5:9]), np.uint8).reshape(4, 32).copy()
            listed = [bytearray(leaf) for leaf in LEAVES[9:13]]
            tree.insert(one)
            tree.insert_many(batch)
            tree.insert_many(array)
            tree.insert_many(listed)
            for changed in (one, batch, *listed):
                changed[:] = bytes(len(changed))
            array[:] = 255
            assert (tree.size, tree.root) == (13, model_root(2, 13))
            assert tree.snapshot().leaves() == DATA[: 13 * 32]
        durable.flush()
        assert durable.root == model_root(2, 13)
    with RotorTree.open(tmp_path) as again:
        assert again.snapshot().leaves() == DATA[: 13 * 32]


def test_what_a_read_returns_is_not_the_trees_own_memory() -> None:
    """Leaves, nodes, roots and proofs are bytes, which nobody can change."""
    tree = tree_of(2, COUNT)
    snapshot = tree.snapshot()
    values = (
        *(snapshot.leaves(), snapshot.leaves(0, 8), snapshot.get_node(0, 1)),
        *(snapshot.get_node(1, 0), snapshot.root, tree.root, snapshot.prove(3).hashes),
        snapshot.prove_consistency(4).hashes,
    )
    assert {type(value) for value in values} == {bytes}


@pytest.mark.parametrize("count", [32, 33, 100, 5000])
def test_batches_far_beyond_the_first_memory_are_right(count: int) -> None:
    """A second batch of up to 5000 leaves after 7, n = 2 and 255: every leaf, root, last proof."""
    for n in (2, 255):
        tree = tree_of(n, 7)
        tree.extend(b"".join(make_leaves(count, start=7)))
        assert tree.snapshot().leaves() == b"".join(make_leaves(7 + count))
        if count < 5000:
            assert tree.root == model_root(n, 7 + count)
        assert tree.head == tree_of(n, 7 + count).head
