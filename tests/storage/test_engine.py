"""The engine by itself: what it asks of disk and clock, and what it says when it fails."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    ClosedError,
    CustomHasher,
    FlushFailedError,
    FlushPolicy,
    IoFailedError,
    RotorTree,
)
from rotortree.geometry import NODE_BYTES
from rotortree.storage.directory import File
from rotortree.storage.environment import Environment
from rotortree.storage.files import OpenMode
from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES, Commit, Frame, SegmentHeader
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.taken import WRITE_COMMIT, Replaced, taken, write_segment
from tests.storage.clocks import Clock
from tests.storage.disk import go_wrong
from tests.storage.threads import Running
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


def calls_counted(disk: SimulatedDisk) -> list[int]:
    """How many calls each frame of the newest segment says to hold the leaves of."""
    data = disk.files()[log_path(disk.files())]
    key, at, found = SegmentHeader.decode(data, "").key(), SEGMENT_BYTES, []
    while (frame := Frame.decode(data[at:], key)) is not None:
        found.append(frame.calls)
        at += FRAME_BYTES + NODE_BYTES * frame.leaves
    return found


class Failing:
    """A hasher of the caller's that can be told to fail."""

    def __init__(self) -> None:
        self.fails = False
        self.hasher = CustomHasher("failing", self._parent)

    def _parent(self, children: Sequence[bytes]) -> bytes:
        if self.fails:
            raise RuntimeError("no hash today")
        return children[0]


def within(disk: SimulatedDisk, kind: str, end: str, act: Callable[[], object]) -> None:
    """Have something done within the next call of a kind on a path that ends so, once."""

    def on_call(call: Call) -> None:
        if call.kind == kind and call.path.endswith(end):
            disk.on_call = None
            act()

    disk.on_call = on_call


def until(is_true: Callable[[], bool]) -> None:
    """Return when another thread made it true."""
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.001)


# Flush.


def test_a_frame_says_how_many_calls_it_acknowledges() -> None:
    """One each, whatever the number of leaves; again from none after each flush."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        for index in range(3):
            tree.insert(leaf(index))
        tree.flush()
        tree.insert_many(leaves(3, 6))
        tree.insert(leaf(6))
        tree.flush()
        assert calls_counted(disk) == [3, 0, 2]  # a frame of three leaves, and one of the last


@pytest.mark.parametrize("letter", ["x", "k"])
def test_calls_of_a_flush_that_failed_are_counted_with_those_that_came_meanwhile(
    letter: str,
) -> None:
    """The write fails, or is interrupted, and somebody inserts before that is known."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert(leaf(0))
        tree.insert(leaf(1))
        within(disk, "pwritev", ".wal", lambda: tree.insert(leaf(2)))
        go_wrong(disk, letter, kind="pwritev")
        with pytest.raises((FlushFailedError, KeyboardInterrupt)):
            tree.flush()
        tree.flush()
        assert calls_counted(disk) == [3]
        check_tree(tree, 2, 3)


def test_a_retryable_failure_says_how_many_leaves_are_pending_and_why() -> None:
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 4))
        tree.flush()
        tree.insert_many(leaves(4, 7))
        go_wrong(disk, "x", kind="pwritev", code=errno.ENOSPC)
        with pytest.raises(FlushFailedError, match=r"^3 leaves stay pending: tree/wal/0.*write"):
            tree.flush()


def test_a_token_that_is_durable_flushes_nothing() -> None:
    """Waiting for it is not waiting for what came later."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        token = tree.insert(leaf(0))[1]
        tree.flush()
        tree.insert(leaf(1))
        taken(disk)
        token.wait()
        assert (tree.durable_size, taken(disk)) == (1, [])


def test_a_flush_in_the_background_that_cannot_hash_tells_who_waits_and_tries_again() -> None:
    disk, clock, failing = SimulatedDisk(), Clock(), Failing()
    with timed(disk, clock, hasher=failing.hasher, flush_policy=FlushPolicy.Interval(1)) as tree:
        tree.insert_many(leaves(0, 2))
        token = tree.insert(leaf(2))[1]
        failing.fails = True
        waiting = Running(lambda: token.wait(20))
        until(lambda: bool(tree._engine.durable._bells._waiting))
        clock.wait(1)
        assert waiting.ends()
        assert isinstance(waiting.error, FlushFailedError)
        assert str(waiting.error) == "RuntimeError: no hash today"
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
        cause = caught.value.__cause__
        assert isinstance(cause, IoFailedError)
        assert str(caught.value) == f"the checkpoint was not committed: {cause}"
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
    within(disk, "sync", ".nodes", lambda: tree.insert_durable(leaf(1)))
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


def test_the_background_is_a_flusher_and_a_checkpointer_where_policies_want_them() -> None:
    every = CheckpointPolicy.EveryNEntries(4)
    for flush, checkpoint, names in (
        (FlushPolicy.Manual(), CheckpointPolicy.Manual(), []),
        (FlushPolicy.Interval(1), CheckpointPolicy.Manual(), ["rotortree-flusher"]),
        (FlushPolicy.Manual(), every, ["rotortree-checkpointer"]),
        (FlushPolicy.Interval(1), every, ["rotortree-flusher", "rotortree-checkpointer"]),
    ):
        clock = Clock()
        with timed(SimulatedDisk(), clock, flush_policy=flush, checkpoint_policy=checkpoint):
            assert [task.name for task in clock.tasks] == names


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
    until(lambda: bool(tree._engine._checkpoint_bells._waiting))
    tree.close()
    assert waiting.ends()
    assert settled == [True]


def test_who_waits_for_a_checkpoint_waits_for_one_that_runs_too() -> None:
    """Whoever called for it; so many seconds, and then it is not settled."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert(leaf(0))
        settled = list[bool]()
        within(disk, "open", ".nodes", lambda: settled.append(tree.wait_for_checkpoint(0)))
        tree.checkpoint()
        settled.append(tree.wait_for_checkpoint(0))
        assert settled == [False, True]


# Release.


class Counting(SimulatedDisk):
    """A disk that knows which of its files are open."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, path: str, mode: OpenMode) -> File:
        file = super().open(path, mode)
        self.opened.append(path)

        def close() -> None:
            with contextlib.suppress(ValueError):  # it was closed before
                self.opened.remove(path)
            file.close()

        counted: Any = Replaced(file, close=close)
        return cast(File, counted)


@pytest.mark.parametrize("read_only", [False, True])
def test_nothing_stays_open_when_a_tree_is_closed(read_only: bool) -> None:
    disk = Counting()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 9))
        tree.checkpoint()
        tree.insert(leaf(9))
        assert disk.opened == [f"{PATH}/wal/00000002.wal.tmp"]  # as it was called then
    assert disk.opened == []
    with open_tree(disk, read_only=read_only) as tree:
        assert len(disk.opened) == (not read_only)
    assert disk.opened == []


def test_nothing_stays_open_when_there_is_nothing_that_could_run_a_task() -> None:
    class Exhausted(Clock):
        """No more threads."""

        def task(self, name: str, step: Callable[[], None]) -> Any:
            raise RuntimeError("can't start new thread")

    disk = Counting()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        timed(disk, Exhausted(), flush_policy=FlushPolicy.Interval(1))
    assert disk.opened == []
    with open_tree(disk) as tree:
        check_tree(tree, 2, 0)
