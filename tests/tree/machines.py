"""Histories: the rules that `test_histories.py` runs, with a list of leaves as the model beside."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import rotortree_model as model
from rotortree import (
    CheckpointPolicy,
    ClosedError,
    DurabilityToken,
    FlushPolicy,
    LeanIMT,
    ReadOnlyError,
    RotorTree,
    Snapshot,
    TieringConfig,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)
from rotortree.scheduler import ThreadScheduler
from rotortree.storage.environment import Environment
from rotortree_faultinject.disk.schedule import StepScheduler
from tests.tree.support import PARENT, make_leaves, wait_for_checkpoints

MOST_LEAVES = 700
"""A history stops growing here: n = 255 is at depth 2 by then."""

arities = st.sampled_from([2, 3, 4, 5, 6, 7, 8, 9, 16, 255])
places = st.floats(0, 1)
"""Where in a range: 0 is its first value, 1 its last."""


def pick(place: float, count: int) -> int:
    """A number in [0, count)."""
    return min(count - 1, int(place * count))


class TreeMachine(RuleBasedStateMachine):
    """Insertions and reads that both kinds of trees have."""

    tree: LeanIMT | RotorTree

    def __init__(self) -> None:
        super().__init__()
        self.n = 0
        self.grew = False
        self.leaves: list[bytes] = []
        self.tokens: list[DurabilityToken] = []
        self.held: list[tuple[Snapshot, TreeHead]] = []

    # The model's answers.

    def root_at(self, size: int) -> bytes | None:
        """The root of the first ``size`` leaves, by the model."""
        return model.root(tuple(self.leaves[:size]), self.n, PARENT)

    def head_at(self, size: int) -> TreeHead:
        """The head of the first ``size`` leaves, by the model."""
        return TreeHead(size, self.root_at(size), self.n, "blake3")

    # Insertions.

    def new_leaves(self, count: int, *, same: bool) -> list[bytes]:
        """Leaves never seen before, or equal ones."""
        return [b"\7" * 32] * count if same else make_leaves(count, start=len(self.leaves))

    def inserted(self, result: Any, batch: list[bytes], *, with_root: bool) -> None:
        """Note what an insertion added and check what it returned."""
        self.leaves += batch
        self.grew = True
        if isinstance(self.tree, RotorTree):
            root, token = result if with_root else (None, result)
            assert token.size == len(self.leaves)
            self.tokens.append(token)
        else:
            root = result
        assert root == (self.root_at(len(self.leaves)) if with_root else None)

    @precondition(lambda self: self.n and len(self.leaves) < MOST_LEAVES)
    @rule(same=st.booleans(), with_root=st.booleans())
    def insert_one(self, same: bool, with_root: bool) -> None:
        batch = self.new_leaves(1, same=same)
        method = self.tree.insert if with_root else self.tree.append
        self.inserted(method(batch[0]), batch, with_root=with_root)

    @precondition(lambda self: self.n and len(self.leaves) < MOST_LEAVES)
    @rule(
        count=st.integers(1, 40),
        groups=st.sampled_from([0, 0, 0, 1, 2]),
        same=st.booleans(),
        joined=st.booleans(),
        with_root=st.booleans(),
    )
    def insert_batch(
        self, count: int, groups: int, same: bool, joined: bool, with_root: bool
    ) -> None:
        batch = self.new_leaves(groups * self.n or count, same=same)
        method = self.tree.insert_many if with_root else self.tree.extend
        result = method(b"".join(batch) if joined else batch)
        self.inserted(result, batch, with_root=with_root)

    # Reads.

    @precondition(lambda self: self.n)
    @rule(place=places)
    def take_a_snapshot(self, place: float) -> None:
        size = pick(place, len(self.leaves) + 1)
        self.held = [*self.held[-5:], (self.tree.snapshot(size), self.head_at(size))]

    @precondition(lambda self: self.leaves)
    @rule(place=places, size_place=places, old_place=places)
    def prove_at_a_past_size(self, place: float, size_place: float, old_place: float) -> None:
        size = pick(size_place, len(self.leaves)) + 1
        index, old_size = pick(place, size), pick(old_place, size)
        snapshot, prefix, head = self.tree.snapshot(size), self.leaves[:size], self.head_at(size)
        proof, extension = snapshot.prove(index), snapshot.prove_consistency(old_size)
        expected = model.inclusion_proof(tuple(prefix), self.n, index, PARENT)
        assert proof.hashes == b"".join(expected)
        expected = model.consistency_proof(tuple(prefix), self.n, old_size, PARENT)
        assert extension.hashes == b"".join(expected)
        verify_inclusion(head, index, prefix[index], proof)
        verify_consistency(self.head_at(old_size), head, extension)
        if index < old_size < size:
            old = self.tree.snapshot(old_size).prove(index)
            old_head = self.head_at(old_size)
            assert extension.update(old, prefix[index], old_head, head) == proof

    @precondition(lambda self: self.n)
    @rule(place=places)
    def read_every_node_at_a_past_size(self, place: float) -> None:
        size = pick(place, min(150, len(self.leaves)) + 1)
        self.check_nodes(self.tree.snapshot(size))

    def check_nodes(self, snapshot: Snapshot) -> None:
        """Every level of a snapshot, node by node."""
        rows = model.levels(tuple(self.leaves[: snapshot.size]), self.n, PARENT)
        for level, row in enumerate(rows):
            assert snapshot.level_len(level) == len(row)
            assert tuple(snapshot.get_node(level, i) for i in range(len(row))) == row
        assert snapshot.level_len(len(rows)) == 0

    @precondition(lambda self: self.held)
    @rule(place=places, leaf_place=places)
    def read_an_earlier_snapshot(self, place: float, leaf_place: float) -> None:
        self.check_held(*self.held[pick(place, len(self.held))], leaf_place)

    def check_held(self, snapshot: Snapshot, head: TreeHead, place: float) -> None:
        """A snapshot says what it said, whatever happened since."""
        size = snapshot.size
        assert snapshot.head == head
        assert snapshot.leaves() == b"".join(self.leaves[:size])
        if size:
            index = pick(place, size)
            verify_inclusion(head, index, self.leaves[index], snapshot.prove(index))
            self.check_nodes(snapshot)

    @invariant()
    def the_tree_is_the_models(self) -> None:
        if self.n:
            assert self.tree.size == len(self.leaves)
            assert self.tree.head == self.head_at(len(self.leaves))
            assert self.tree.depth == model.depth(len(self.leaves), self.n)

    def teardown(self) -> None:
        """Every snapshot that was taken is still what it was."""
        for snapshot, head in self.held:
            self.check_held(snapshot, head, 0.5)


class MemoryMachine(TreeMachine):
    """A LeanIMT."""

    @initialize(n=arities)
    def make(self, n: int) -> None:
        self.n, self.tree = n, LeanIMT(n)


@dataclass(frozen=True)
class Options:
    """What may differ from one opening of a directory to the next."""

    verify: bool = True
    pin: int | None = None
    flush: Any = field(default_factory=FlushPolicy.Manual)
    checkpoint: Any = field(default_factory=CheckpointPolicy.Manual)
    frame_leaves: int = 1
    threads: bool = False
    acknowledgements: bool = False


options = st.builds(
    Options,
    verify=st.booleans(),
    pin=st.sampled_from([None, 0, 1]),
    flush=st.sampled_from(
        [FlushPolicy.Manual(), FlushPolicy.Interval(0), FlushPolicy.Interval(0.001)]
    ),
    checkpoint=st.sampled_from([CheckpointPolicy.Manual(), CheckpointPolicy.OnClose()])
    | st.integers(1, 50).map(CheckpointPolicy.EveryNEntries)
    | st.integers(1, 4000).map(CheckpointPolicy.MemoryThreshold),
    frame_leaves=st.sampled_from([1, 2, 3, 7, 100]),
    threads=st.booleans(),
    acknowledgements=st.booleans(),
)


class DurableMachine(TreeMachine):
    """A RotorTree in a directory of its own, opened again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.path = tempfile.mkdtemp(prefix="rotortree-history-")
        self.acknowledged = 0

    @property
    def disk(self) -> RotorTree:
        """The tree, which is a durable one."""
        assert isinstance(self.tree, RotorTree)
        return self.tree

    @initialize(n=arities, groups=st.integers(1, 6), chosen=options)
    def create(self, n: int, groups: int, chosen: Options) -> None:
        self.n, self.shard_nodes = n, groups * n
        self.open(chosen, n=n)
        report = self.disk.recovery
        assert (report.created, report.clean, report.repaired) == (True, True, ())
        assert (report.replayed_leaves, report.checkpoint_size, report.torn_bytes) == (0, 0, 0)

    def open(self, chosen: Options, **keywords: Any) -> None:
        """Open the directory."""
        self.chosen, self.grew = chosen, False
        self.scheduler = None if chosen.threads else StepScheduler()
        self.tree = RotorTree.open(
            self.path,
            flush_policy=chosen.flush,
            checkpoint_policy=chosen.checkpoint,
            tiering=TieringConfig(chosen.pin),
            verify_checkpoint=chosen.verify,
            record_acknowledgements=chosen.acknowledgements,
            environment=Environment(
                scheduler=self.scheduler or ThreadScheduler(),
                frame_leaves=chosen.frame_leaves,
                shard_nodes=self.shard_nodes,
            ),
            **keywords,
        )

    @precondition(lambda self: self.n and len(self.leaves) < MOST_LEAVES)
    @rule()
    def insert_durably(self) -> None:
        batch = self.new_leaves(1, same=False)
        root = self.disk.insert_durable(batch[0])
        self.leaves += batch
        self.grew = True
        assert root == self.root_at(len(self.leaves))
        self.durable()

    def durable(self) -> None:
        """Everything inserted so far was promised to be durable."""
        self.acknowledged = len(self.leaves)
        assert self.disk.durable_size == len(self.leaves)
        assert all(token.is_durable for token in self.tokens)
        for token in self.tokens[-2:]:
            token.wait(0)

    @precondition(lambda self: self.n)
    @rule()
    def flush(self) -> None:
        self.disk.flush()
        self.durable()

    @precondition(lambda self: self.n)
    @rule()
    def checkpoint(self) -> None:
        self.disk.checkpoint()
        self.durable()
        assert self.disk.checkpoint_size == len(self.leaves)

    @precondition(lambda self: self.n)
    @rule()
    def let_the_background_run(self) -> None:
        if self.scheduler is not None:
            for _ in range(3):
                self.scheduler.run_due()
        policy = self.chosen.checkpoint
        most = policy.n if isinstance(policy, CheckpointPolicy.EveryNEntries) else MOST_LEAVES * 9
        if self.grew:  # what was replayed counts only once something comes after it
            wait_for_checkpoints(self.disk, most)

    @precondition(lambda self: self.n and self.tokens)
    @rule(place=places)
    def wait_for_a_token(self, place: float) -> None:
        token = self.tokens[pick(place, len(self.tokens))]
        if self.scheduler is not None:
            self.scheduler.run_due()
        token.wait(60)
        assert token.is_durable
        assert self.disk.durable_size >= token.size
        self.acknowledged = max(self.acknowledged, token.size)

    @precondition(lambda self: self.n)
    @rule(chosen=options, checkpoint=st.booleans(), look=st.booleans())
    def close_and_reopen(self, chosen: Options, checkpoint: bool, look: bool) -> None:
        if checkpoint:
            self.checkpoint()
        self.close()
        checkpointed = self.disk.checkpoint_size
        if look:
            self.look_at_it_read_only()
        self.open(chosen)
        report, size = self.disk.recovery, len(self.leaves)
        assert (report.created, report.clean, report.repaired) == (False, True, ())
        assert (report.torn_bytes, report.torn_leaves) == (0, 0)
        assert report.checkpoint_size == self.disk.checkpoint_size == checkpointed
        assert report.replayed_leaves == size - checkpointed
        assert self.disk.durable_size == size
        assert (self.tree.n, self.tree.hasher.name) == (self.n, "blake3")

    def close(self) -> None:
        """Close the tree: all is durable, nothing but snapshots can be used, again is nothing."""
        self.disk.close()
        self.disk.close()
        assert self.disk.closed
        self.durable()
        if isinstance(self.chosen.checkpoint, CheckpointPolicy.OnClose):
            assert self.disk.checkpoint_size == len(self.leaves)
        for call in (self.disk.snapshot, self.disk.flush, lambda: self.disk.append(bytes(32))):
            with pytest.raises(ClosedError):
                call()
        for snapshot, head in self.held:
            self.check_held(snapshot, head, 0.3)

    def look_at_it_read_only(self) -> None:
        """Two readers at once see the same tree and change nothing."""
        with (
            RotorTree.open(self.path, read_only=True) as tree,
            RotorTree.open(self.path, read_only=True, tiering=TieringConfig(0)) as other,
        ):
            assert tree.head == other.head == self.head_at(len(self.leaves))
            with pytest.raises(ReadOnlyError):
                _ = tree.append(bytes(32))

    @invariant()
    def what_is_durable_is_in_order(self) -> None:
        if self.n:
            # Read in this order, because threads may be at work.
            checkpointed, durable = self.disk.checkpoint_size, self.disk.durable_size
            assert checkpointed <= durable <= len(self.leaves)
            assert self.acknowledged <= durable

    def teardown(self) -> None:
        """Close; the snapshots are read once more after the directory is gone."""
        try:
            if self.n:
                self.close()
        finally:
            shutil.rmtree(self.path)
        super().teardown()
