"""Readers take no lock, and every one of them sees a tree that once was."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

import rotortree_model as model
from rotortree import (
    CheckpointPolicy,
    FlushPolicy,
    LeanIMT,
    RotorTree,
    TieringConfig,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)
from rotortree.storage.environment import Environment
from tests.tree.hazards import run_together
from tests.tree.support import PARENT, make_leaves, tree_of, wait_for_checkpoints

COUNT = 3000
LEAVES = make_leaves(COUNT)


def ends() -> tuple[int, ...]:
    """The sizes at which batches of 1 to 60 leaves end, from 0 to COUNT."""
    choose, found = random.Random(1), [0]
    while found[-1] < COUNT:
        found.append(min(COUNT, found[-1] + choose.choice((1, 1, 3, 17, 60))))
    return tuple(found)


ENDS = ends()

Tree = LeanIMT | RotorTree


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Let threads take turns every 10 microseconds, a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def write(tree: Tree, stop: threading.Event, seen: Mapping[int, TreeHead]) -> None:
    """Insert all batches, and not all of them before the readers see a dozen sizes."""
    end_of_patience = time.monotonic() + 60
    try:
        for at, end in pairwise(ENDS):
            _ = tree.extend(LEAVES[at:end])
            time.sleep(1e-4)
            while len(seen) * COUNT < 12 * end and time.monotonic() < end_of_patience:
                time.sleep(1e-4)
    finally:
        stop.set()


def read(tree: Tree, stop: threading.Event, seed: int, seen: dict[int, TreeHead]) -> None:
    """Take snapshots, prove leaves and the extension of the head seen before; note all heads.

    Once more after the end, so that no reader reads nothing.
    """
    choose, before = random.Random(seed), tree.snapshot(0).head
    ended = False
    while not ended:
        ended = stop.is_set()
        snapshot = tree.snapshot()
        head, size = snapshot.head, snapshot.size
        assert size in ENDS
        assert seen.setdefault(size, head) == head
        if size:
            for index in (choose.randrange(size), size - 1):
                proof = snapshot.prove(index)
                verify_inclusion(head, index, LEAVES[index], proof)
            start = choose.randrange(size)
            assert snapshot.leaves(start, size) == b"".join(LEAVES[start:size])
            past = tree.snapshot(choose.randrange(size + 1))
            assert seen.setdefault(past.size, past.head) == past.head
        verify_consistency(before, head, snapshot.prove_consistency(before.size))
        before = head


def check_heads(n: int, seen: dict[int, TreeHead]) -> None:
    """Every head is that of the first ``size`` leaves: all by another tree, some by the model."""
    alone = tree_of(n, COUNT)
    assert len(seen) > 10
    for size, head in seen.items():
        assert head == alone.snapshot(size).head
    for size in random.Random(n).sample(sorted(seen), 5):
        assert seen[size].root == model.root(tuple(LEAVES[:size]), n, PARENT)


@pytest.mark.evidence("property", "TREE-23", "TREE-33")
@pytest.mark.parametrize("n", [2, 3, 16])
def test_readers_of_a_growing_tree_in_memory_see_trees_that_were(n: int) -> None:
    """Three readers while one thread inserts 3000 leaves: trees that end with a batch."""
    tree, stop = LeanIMT(n), threading.Event()
    seen: dict[int, TreeHead] = {}
    readers = [lambda seed=seed: read(tree, stop, seed, seen) for seed in range(3)]
    run_together(lambda: write(tree, stop, seen), *readers)
    check_heads(n, seen)


@pytest.mark.evidence("property", "TREE-33", "DURABLE-23")
@pytest.mark.parametrize("pin", [None, 1, 0])
@pytest.mark.parametrize("n", [2, 5])
def test_readers_of_a_growing_tree_on_disk_see_trees_that_were(
    n: int, pin: int | None, tmp_path: Path
) -> None:
    """The same while the tree flushes in the background and is checkpointed all the time.

    Level files of 4·n nodes, so that memory is exchanged for mapped files under the readers.
    """
    stop, seen = threading.Event(), dict[int, TreeHead]()
    with RotorTree.open(
        tmp_path,
        n=n,
        tiering=TieringConfig(pin),
        flush_policy=FlushPolicy.Interval(0),
        checkpoint_policy=CheckpointPolicy.EveryNEntries(100),
        environment=Environment(frame_leaves=5, shard_nodes=4 * n),
    ) as tree:

        def checkpoint() -> None:
            while not stop.wait(0.01):
                tree.checkpoint()

        readers = [lambda seed=seed: read(tree, stop, seed, seen) for seed in range(3)]
        run_together(lambda: write(tree, stop, seen), checkpoint, *readers)
        last = tree.snapshot()
        wait_for_checkpoints(tree, 100)
    check_heads(n, seen)
    assert last.leaves() == b"".join(LEAVES)
    with RotorTree.open(tmp_path) as again:
        assert again.head == last.head
        assert again.recovery.clean


@pytest.mark.evidence("property", "DURABLE-49")
def test_insertions_from_several_threads_are_done_one_after_the_other(tmp_path: Path) -> None:
    """Four threads insert 150 batches of 1 to 3 leaves each: no leaf lost or doubled or mixed up.

    Each thread's leaves are in its order, each batch in one piece, each returned root is the root
    at its token's size.
    """
    policy = CheckpointPolicy.EveryNEntries(64)
    with RotorTree.open(tmp_path, n=3, checkpoint_policy=policy) as tree:
        roots: dict[int, bytes] = {}

        def insert(number: int) -> None:
            for i in range(150):
                batch = [bytes([number, i, j]) + bytes(29) for j in range(1 + i % 3)]
                root, token = tree.insert_many(batch)
                assert tree.snapshot().leaves(token.size - len(batch), token.size) == b"".join(
                    batch
                )
                assert roots.setdefault(token.size, root) is root
                if i % 50 == 0:
                    token.wait(60)

        run_together(*(lambda number=number: insert(number) for number in range(4)))
        data = tree.snapshot().leaves()
        leaves = [data[at : at + 32] for at in range(0, len(data), 32)]
        assert len(roots) == 600
        assert all(tree.root_at(size) == root for size, root in roots.items())
    expected = [(i, j) for i in range(150) for j in range(1 + i % 3)]
    for number in range(4):
        assert [(x[1], x[2]) for x in leaves if x[0] == number] == expected
    with RotorTree.open(tmp_path) as again:
        assert again.snapshot().leaves() == data


@pytest.mark.evidence("property", "DURABLE-15")
def test_durable_insertions_from_several_threads_are_durable_when_they_return(
    tmp_path: Path,
) -> None:
    """Four threads, 40 each: durable_size holds the leaf as soon as insert_durable returns."""
    with RotorTree.open(tmp_path, n=2, flush_policy=FlushPolicy.Manual()) as tree:

        def insert(number: int) -> None:
            for i in range(40):
                tree.insert_durable(bytes([number, i]) + bytes(30))
                place = tree.snapshot().leaves().index(bytes([number, i]) + bytes(30))
                assert tree.durable_size > place // 32

        run_together(*(lambda number=number: insert(number) for number in range(4)))
        assert tree.size == tree.durable_size == 160


@pytest.mark.parametrize("n", [2, 3])
def test_insertions_in_memory_are_done_one_after_the_other(n: int) -> None:
    """Four threads insert 300 batches of 1 to 40 leaves each, with and without their root.

    No leaf is lost or overwritten, each thread's are in its order, each batch in one piece, and
    each returned root is the root of some size at which the batch had just been inserted.
    """
    tree = LeanIMT(n)
    returned: list[tuple[bytes, bytes]] = []

    def insert(number: int) -> None:
        for i in range(300):
            row = b"".join(
                bytes([number, i % 256, i // 256, j]) + bytes(28) for j in range(1 + i * 7 % 40)
            )
            if i % 2:
                returned.append((row, tree.insert_many(row)))
            else:
                tree.extend(row)

    run_together(*(lambda number=number: insert(number) for number in range(4)))
    data = tree.snapshot().leaves()
    leaves = [data[at : at + 32] for at in range(0, len(data), 32)]
    expected = [(i, j) for i in range(300) for j in range(1 + i * 7 % 40)]
    for number in range(4):
        found = [(x[1] + 256 * x[2], x[3]) for x in leaves if x[0] == number]
        assert found == expected
    for row, root in returned:
        at = data.index(row)
        assert at % 32 == 0
        assert tree.root_at((at + len(row)) // 32) == root
    alone = LeanIMT(n)
    assert alone.insert_many(data) == tree.root
