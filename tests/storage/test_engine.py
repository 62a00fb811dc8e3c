"""The engine by itself: what it asks of disk and clock, and what it says when it fails."""

from __future__ import annotations

import contextlib
import errno
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    ClosedError,
    CustomHasher,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
)
from rotortree.storage.environment import Environment
from rotortree.storage.format import Commit
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.clocks import Clock
from tests.storage.disk import go_wrong
from tests.storage.taken import WRITE_COMMIT, taken, write_segment
from tests.storage.threads import Running, until, within
from tests.storage.trees import PATH, abandon, check_tree, leaf, leaves, log_path, open_tree

LEVEL = [
    "mkdir levels",
    "mkdir levels/0",
    "pwritev levels/0/00000000.nodes",
    "sync levels/0/00000000.nodes",
]


def timed(disk: SimulatedDisk, clock: Clock, n: int = 2, **keywords: Any) -> RotorTree:
    """A tree whose background runs when the clock is moved."""
    return open_tree(disk, n, environment=Environment(files=disk, scheduler=clock), **keywords)


class Failing:
    """A hasher of the caller's that can be told to fail."""

    def __init__(self) -> None:
        self.fails = False
        self.hasher = CustomHasher("failing", self._parent)

    def _parent(self, children: Sequence[bytes]) -> bytes:
        if self.fails:
            raise RuntimeError("no hash today")
        return children[0]


# Flush.


def test_a_retryable_failure_says_how_many_leaves_are_pending_and_why() -> None:
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 4))
        tree.flush()
        tree.insert_many(leaves(4, 7))
        go_wrong(disk, "x", kind="pwritev", code=errno.ENOSPC)
        with pytest.raises(FlushFailedError, match=r"^3 leaves stay pending: tree/wal/0.*write"):
            tree.flush()


def test_a_flush_in_the_background_that_cannot_hash_tells_who_waits_and_tries_again() -> None:
    disk, clock, failing = SimulatedDisk(), Clock(), Failing()
    with timed(disk, clock, hasher=failing.hasher, flush_policy=FlushPolicy.Interval(1)) as tree:
        tree.insert_many(leaves(0, 2))
        token = tree.insert(leaf(2))[1]
        failing.fails = True
        waiting = Running(lambda: token.wait(20))
        assert until(lambda: len(tree._engine.durable._watches) == 1)
        clock.wait(1)
        assert waiting.ends()
        assert isinstance(waiting.error, FlushFailedError)
        assert str(waiting.error) == "3 leaves stay pending: RuntimeError: no hash today"
        failing.fails = False
        clock.wait(1)
        assert token.is_durable


def test_a_failed_tree_takes_no_leaf_and_closes_without_error_if_all_are_durable() -> None:
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))
    go_wrong(disk, "x", kind="sync_directory")
    with pytest.raises(FlushFailedError):
        tree.checkpoint()
    with pytest.raises(FlushFailedError, match=r"^the tree is failed: "):
        tree.insert(leaf(1))
    with pytest.raises(FlushFailedError, match=r"^the tree is failed: "):
        tree.insert_many(leaves(1, 3))
    assert (tree.size, tree.durable_size) == (1, 1)
    tree.close()
    assert tree.closed


def test_the_last_flush_takes_no_more_leaves() -> None:
    """Who inserts while it writes is refused, and not forgotten."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert(leaf(0))
    refused = []

    def insert() -> None:
        with pytest.raises(ClosedError):
            tree.insert(leaf(1))
        refused.append(leaf(1))

    within(disk, "pwritev", "wal/00000001.wal", insert)
    tree.close()
    assert refused == [leaf(1)]
    with open_tree(disk) as tree:
        check_tree(tree, 2, 1)


# Checkpoint.


def test_a_checkpoint_makes_a_segment_then_nodes_then_the_record_then_room() -> None:
    """A flush of nothing writes nothing, and a second checkpoint does nothing at all."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
        taken(disk)
        tree.checkpoint()
        assert taken(disk) == [
            *write_segment("wal/00000002.wal"),
            "sync_directory wal",
            *LEVEL,
            "sync_directory .",
            "sync_directory levels",
            "sync_directory levels/0",
            *WRITE_COMMIT,
            "unlink wal/00000001.wal",
        ]
        tree.checkpoint()
        assert taken(disk) == []


def test_a_checkpoint_that_was_not_committed_says_so_and_is_made_the_next_time() -> None:
    """It does not begin another segment for that."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
        go_wrong(disk, "x", kind="rename", number=1)
        with pytest.raises(CheckpointFailedError) as caught:
            tree.checkpoint()
        assert re.match("the checkpoint was not committed: tree/COMMIT: rename", str(caught.value))
        assert tree.checkpoint_size == 0
        taken(disk)
        tree.checkpoint()
        assert tree.checkpoint_size == 1
        assert taken(disk)[-6:] == [*WRITE_COMMIT, "unlink wal/00000001.wal"]
        assert log_path(disk.files()) == f"{PATH}/wal/00000002.wal"


def test_a_checkpoint_deletes_old_segments_and_leftovers_and_nothing_else() -> None:
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        for name in ("00000009.wal.tmp", "notes"):
            disk.open(f"{PATH}/wal/{name}", "create").close()
        for size in (1, 2, 3):
            tree.insert(leaf(size - 1))
            tree.checkpoint()
            assert sorted(disk.listdir(f"{PATH}/wal")) == [f"{size + 1:08d}.wal", "notes"]


def test_a_record_acknowledges_all_that_is_durable_when_it_is_written() -> None:
    """Also what another thread made durable while the checkpoint wrote its nodes."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))

    def insert() -> None:
        assert Running(partial(tree.insert_durable, leaf(1))).ends()

    within(disk, "sync", ".nodes", insert)
    tree.checkpoint()
    commit = Commit.decode(disk.files()[f"{PATH}/COMMIT"], "")
    assert (commit.checkpoint.size, commit.acknowledged.size) == (1, 2)
    abandon(tree)


def test_no_record_acknowledges_less_than_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush recorded what it did not call durable yet when the checkpoint writes its record."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2, record_acknowledgements=True)
    tree.insert_durable(leaf(0))
    recorded, committed = threading.Event(), threading.Event()
    rise = tree._engine.durable.rise
    flushing: list[Running] = []

    def rise_later(value: int) -> None:
        recorded.set()
        assert committed.wait(20)
        rise(value)

    def flush() -> None:
        tree.insert(leaf(1))
        monkeypatch.setattr(tree._engine.durable, "rise", rise_later)
        flushing.append(Running(tree.flush))
        assert recorded.wait(20)

    within(disk, "sync", ".nodes", flush)
    tree.checkpoint()
    assert tree.durable_size == 1
    commit = Commit.decode(disk.files()[f"{PATH}/COMMIT"], "")
    assert (commit.checkpoint.size, commit.acknowledged.size) == (1, 2)
    committed.set()
    assert flushing[0].ends()
    assert tree.durable_size == 2
    abandon(tree)


# The background.


def test_the_background_is_a_flusher_and_a_checkpointer_whatever_the_policies() -> None:
    """A reader has none."""
    disk, clock = SimulatedDisk(), Clock()
    with timed(disk, clock):
        assert [task.name for task in clock.tasks] == [
            "rotortree-flusher",
            "rotortree-checkpointer",
        ]
    clock = Clock()
    with timed(disk, clock, read_only=True):
        assert clock.tasks == []


@pytest.mark.parametrize("n", [2, 7])
def test_the_smallest_threshold_is_reached_by_one_leaf(n: int) -> None:
    clock = Clock()
    policy = CheckpointPolicy.MemoryThreshold(1)
    with timed(SimulatedDisk(), clock, n, checkpoint_policy=policy) as tree:
        tree.insert(leaf(0))
        clock.wait(0)
        assert tree.checkpoint_size == 1


def test_a_checkpoint_for_which_leaves_came_meanwhile_is_followed_by_another_at_once() -> None:
    disk, clock = SimulatedDisk(), Clock()
    with timed(disk, clock, checkpoint_policy=CheckpointPolicy.EveryNEntries(2)) as tree:
        tree.insert_many(leaves(0, 2))
        within(disk, "open", ".nodes", lambda: tree.insert_many(leaves(2, 5)))
        assert clock.run_due() == 1
        assert tree.checkpoint_size == 2
        clock.wait(0)
        assert tree.checkpoint_size == 5


@pytest.mark.parametrize("kind", ["disk", "hasher"])
def test_a_checkpoint_in_the_background_that_fails_is_tried_again_later_and_told(kind: str) -> None:
    """Not at once, but in some seconds; `wait_for_checkpoint` raises it once."""
    disk, clock, failing = SimulatedDisk(), Clock(), Failing()
    policy = CheckpointPolicy.EveryNEntries(3)
    with timed(disk, clock, checkpoint_policy=policy, hasher=failing.hasher) as tree:
        tree.insert_many(leaves(0, 3))
        tree.flush()
        failing.fails = kind == "hasher"
        if kind == "disk":
            go_wrong(disk, "x", kind="rename", number=1)
        assert clock.run_due() == 1
        assert tree.checkpoint_size == 0
        text = "no hash today" if kind == "hasher" else "^the checkpoint was not committed: "
        with pytest.raises(CheckpointFailedError, match=text) as caught:
            tree.wait_for_checkpoint(0)
        if kind == "hasher":
            assert str(caught.value) == "RuntimeError: no hash today"
        failing.fails = False
        clock.wait(0)
        assert tree.checkpoint_size == 0
        clock.wait(10)
        assert tree.checkpoint_size == 3
        assert tree.wait_for_checkpoint(0)


def test_a_failed_tree_makes_no_checkpoint_in_the_background() -> None:
    disk, clock = SimulatedDisk(), Clock()
    tree = timed(disk, clock, checkpoint_policy=CheckpointPolicy.EveryNEntries(1))
    tree.insert(leaf(0))
    go_wrong(disk, "x", kind="sync_directory")
    assert clock.run_due() == 1
    with pytest.raises(FlushFailedError, match=r"^the tree is failed: "):
        tree.flush()
    assert tree.checkpoint_size == 0
    assert not any(task.is_due for task in clock.tasks)
    abandon(tree)


def test_who_waits_for_a_checkpoint_does_not_wait_for_ever_when_the_tree_is_closed() -> None:
    clock, settled = Clock(), list[bool]()
    tree = timed(SimulatedDisk(), clock, checkpoint_policy=CheckpointPolicy.EveryNEntries(1))
    tree.insert(leaf(0))  # due, and the clock stands still
    waiting = Running(lambda: settled.append(tree.wait_for_checkpoint(20)))
    checkpointer = tree._engine._checkpointer
    assert checkpointer is not None
    assert until(lambda: bool(checkpointer._finished._watches))
    tree.close()
    assert waiting.ends()
    assert settled == [True]


# Release.


class Counting:
    """A simulated disk, or a handle of one, that knows which of its handles are open."""

    def __init__(self, inner: object, opened: list[str]) -> None:
        self._inner = inner
        self.opened = opened

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name in ("close", "release"):
            with contextlib.suppress(ValueError):  # it was closed before
                self.opened.remove(self._name)
        if name not in ("directory", "parent", "open", "open_writable", "lock"):
            return value

        def call(path: str = "..", **keywords: Any) -> Counting:
            made = value(**keywords) if name == "parent" else value(path, **keywords)
            handle = Counting(made, self.opened)
            handle._name = path
            self.opened.append(path)
            return handle

        return call

    _name = ""


def counting() -> tuple[Any, list[str]]:
    """Such a disk, and the names by which its handles were opened."""
    opened = list[str]()
    return Counting(SimulatedDisk(), opened), opened


@pytest.mark.parametrize("read_only", [False, True])
def test_nothing_stays_open_when_a_tree_is_closed(read_only: bool) -> None:
    disk, opened = counting()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 9))
        tree.checkpoint()
        tree.insert(leaf(9))
        assert "00000002.wal.tmp" in opened  # as it was called then
    assert opened == []
    with open_tree(disk, read_only=read_only) as tree:
        assert ("wal/00000002.wal" in opened or "00000002.wal" in opened) != read_only
    assert opened == []


def test_nothing_stays_open_when_there_is_nothing_that_could_run_a_task() -> None:
    class Exhausted(Clock):
        """No more threads."""

        def task(self, name: str, step: Callable[[], None]) -> Any:
            raise RuntimeError("can't start new thread")

    disk, opened = counting()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        timed(disk, Exhausted(), flush_policy=FlushPolicy.Interval(1))
    assert opened == []
    with open_tree(disk) as tree:
        check_tree(tree, 2, 0)
