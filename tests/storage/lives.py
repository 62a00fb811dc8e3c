"""Lives of a tree on the simulated disk: a script of operations, its history, its ends."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import rotortree_model as model
from rotortree import (
    CheckpointPolicy,
    DurabilityToken,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Died
from tests.storage.disk import Moment, go_wrong
from tests.storage.trees import (
    abandon,
    check_goes_on,
    check_tree,
    environment,
    leaves,
    leaves_of,
    open_tree,
)

N = 2
MOMENTS: tuple[Moment, ...] = ("before", "half", "after")


class WatchedTree:
    """A tree on a disk, and the history of what was issued and acknowledged."""

    def __init__(
        self,
        disk: SimulatedDisk,
        *,
        record: bool = False,
        on_close: bool = False,
        zeros_ahead: int = 0,
    ) -> None:
        self.disk = disk
        self.history = model.History()
        self.record = record
        self.policy = CheckpointPolicy.OnClose() if on_close else CheckpointPolicy.Manual()
        self.zeros_ahead = zeros_ahead
        self.tree: RotorTree | None = None
        self.tokens: list[DurabilityToken] = []

    @property
    def size(self) -> int:
        """How many leaves were issued."""
        return len(model.issued_leaves(self.history))

    def open(self) -> None:
        """Open the tree; what it then has is acknowledged."""
        self.tree = open_tree(
            self.disk,
            N if self.size == 0 else None,
            record_acknowledgements=self.record,
            checkpoint_policy=self.policy,
            environment=environment(self.disk, N, zeros_ahead=self.zeros_ahead),
        )
        self.history = model.after_crash(self.history, leaves_of(self.tree))
        self.tokens = []

    def insert(self, count: int) -> None:
        """Insert a batch.  It is issued as soon as it is asked for."""
        assert self.tree is not None
        batch = leaves(self.size, self.size + count)
        before = self.history
        self.history = model.issue(self.history, batch)
        try:
            token = self.tree.insert_many(batch)[1]
        except StorageError:
            self.history = before  # a rejected call changes nothing
            raise
        self.tokens.append(token)

    def acknowledge(self) -> None:
        """Everything issued so far is durable: a call that promises it returned."""
        self.history = model.acknowledge(self.history, self.size)

    def flush(self) -> None:
        """Flush."""
        assert self.tree is not None
        self.tree.flush()
        self.acknowledge()

    def checkpoint(self) -> None:
        """Checkpoint."""
        assert self.tree is not None
        self.tree.checkpoint()
        self.acknowledge()

    def wait(self) -> None:
        """Insert a leaf and wait for its token."""
        self.insert(1)
        self.tokens[-1].wait()
        self.acknowledge()

    def close(self) -> None:
        """Close."""
        assert self.tree is not None
        self.tree.close()
        self.acknowledge()


Step = Callable[[WatchedTree], None]

SCRIPT: tuple[Step, ...] = (
    WatchedTree.open,
    lambda life: life.insert(1),
    WatchedTree.flush,
    lambda life: life.insert(2),
    lambda life: life.insert(1),
    WatchedTree.flush,
    lambda life: life.insert(8),  # three frames, and nodes in two shards
    WatchedTree.flush,
    WatchedTree.checkpoint,
    WatchedTree.wait,
    lambda life: life.insert(4),
    WatchedTree.checkpoint,
    lambda life: life.insert(1),
    WatchedTree.close,
    WatchedTree.open,
    lambda life: life.insert(1),
    WatchedTree.flush,
    lambda life: life.insert(7),
    WatchedTree.checkpoint,  # when an older commit record is durable
    lambda life: life.insert(1),
    WatchedTree.checkpoint,
    lambda life: life.insert(1),
    WatchedTree.close,
)


@functools.cache
def fault_free_calls(
    record: bool = False, on_close: bool = False, zeros_ahead: int = 0
) -> tuple[Call, ...]:
    """The calls that the script makes where nothing goes wrong."""
    disk = SimulatedDisk()
    life = WatchedTree(disk, record=record, on_close=on_close, zeros_ahead=zeros_ahead)
    for step in SCRIPT:
        step(life)
    calls = tuple(disk.calls)
    check_goes_on(disk, N, life.size)
    return calls


def check_recovered(disk: SimulatedDisk, history: model.History) -> int:
    """The oracle: opening succeeds, with a legal outcome, twice the same, and it goes on."""
    with open_tree(disk, N) as tree:
        recovered = leaves_of(tree)
        assert model.allowed(history, recovered)
        check_tree(tree, N, len(recovered))
    check_goes_on(disk, N, len(recovered))
    return len(recovered)


def run_until_death(
    disk: SimulatedDisk, *, record: bool = False, zeros_ahead: int = 0
) -> model.History:
    """Run the script on a disk that dies at some call; return what must be true of the rest."""
    life = WatchedTree(disk, record=record, zeros_ahead=zeros_ahead)
    with contextlib.suppress(Died):
        for step in SCRIPT:
            step(life)
    if life.tree is not None:
        abandon(life.tree)
    assert disk.dead
    return life.history


def die_at(disk: SimulatedDisk, number: int) -> None:
    """The process ends at this call: before it for even numbers, else half-way if it is a write."""
    go_wrong(disk, "e" if number % 2 else "d", number)
