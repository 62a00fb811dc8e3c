"""When the background is to flush and to make checkpoints, by a clock that a test moves."""

from __future__ import annotations

import errno
import time

import pytest

import rotortree_model as model
from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
)
from rotortree.config import AnyCheckpointPolicy
from rotortree.storage.environment import Environment
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.clocks import Clock
from tests.storage.disk import go_wrong
from tests.storage.threads import SOON, Gate, open_threaded, until
from tests.storage.trees import check_goes_on, check_tree, leaf, leaves, open_tree


@pytest.mark.evidence("example", "DURABLE-18")
@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (FlushPolicy.Interval(), 0.01),
        (FlushPolicy.Interval(0.5), 0.5),
        (FlushPolicy.Interval(0), 0),
    ],
)
def test_leaves_are_durable_s_seconds_after_the_first(
    policy: FlushPolicy.Interval, seconds: float
) -> None:
    """Of those that are pending, be they inserted before a flush or while one runs; 0.01 s if none.

    Those that come later are durable with the first, and the next flush counts from the next first.
    """
    disk, clock = SimulatedDisk(), Clock()
    environment = Environment(files=disk, scheduler=clock)
    with open_tree(disk, 2, flush_policy=policy, environment=environment) as tree:
        for _ in range(3):
            first = tree.insert(leaf(tree.size))[1]
            clock.wait(seconds * 0.7)
            later = tree.insert(leaf(tree.size))[1]
            clock.wait(seconds * 0.3)
            assert first.is_durable
            assert later.is_durable
            clock.wait(seconds * 5)

        def on_call(call: Call) -> None:
            if call.kind == "sync":
                disk.on_call = None
                tree.insert(leaf(tree.size))

        disk.on_call = on_call
        tree.insert(leaf(tree.size))
        clock.wait(seconds)
        assert tree.size == 8
        clock.wait(seconds)
        assert tree.durable_size == 8


@pytest.mark.evidence("fault", "DURABLE-18")
def test_the_background_flushes_again_after_a_retryable_failure() -> None:
    """As often as it takes, without a call; it fails three times."""
    disk, clock = SimulatedDisk(), Clock()
    environment = Environment(files=disk, scheduler=clock)
    policy = FlushPolicy.Interval(0.01)
    with open_tree(disk, 2, flush_policy=policy, environment=environment) as tree:
        token = tree.insert(leaf(0))[1]
        go_wrong(disk, "xxx", kind="pwritev", code=errno.ENOSPC)
        clock.wait(0.01)
        assert disk.faults.hits == 1
        assert not token.is_durable
        clock.wait(10)
        assert disk.faults.hits == 3
        assert token.is_durable


def tree_of(policy: AnyCheckpointPolicy, n: int = 2) -> tuple[RotorTree, Clock]:
    """A tree whose checkpointer runs when a test says so."""
    disk, clock = SimulatedDisk(), Clock()
    environment = Environment(files=disk, scheduler=clock)
    return open_tree(disk, n, checkpoint_policy=policy, environment=environment), clock


@pytest.mark.evidence("example", "DURABLE-24")
@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_checkpoint_is_made_when_n_leaves_came_since_the_last(count: int) -> None:
    """With the n-th and not before, whether they came alone or together, and whoever made it."""
    tree, clock = tree_of(CheckpointPolicy.EveryNEntries(count))
    with tree:
        for at in range(5):
            last = tree.size
            for _ in range(count - 1):
                tree.insert(leaf(tree.size))
                assert clock.run_due() == 0
            if at == 3:
                tree.checkpoint()
                last = tree.size
                for _ in range(count - 1):
                    tree.insert(leaf(tree.size))
            assert tree.checkpoint_size == last
            tree.insert_many(leaves(tree.size, tree.size + 1 + at % 2))
            assert clock.run_due() == 1
            assert tree.checkpoint_size == tree.size


def bytes_of(n: int, size: int) -> int:
    """What the nodes of a tree take, those that are not complete included."""
    rows = model.levels(leaves(0, size), n, model.SCHEMES["blake3"])
    return 32 * sum(map(len, rows))


@pytest.mark.evidence("example", "DURABLE-24")
@pytest.mark.parametrize("limit", [640, 5000])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_checkpoint_is_made_when_the_nodes_take_b_bytes(n: int, limit: int) -> None:
    """Those that no checkpoint holds; exact but for a node of each level, and some of the edge."""
    tree, clock = tree_of(CheckpointPolicy.MemoryThreshold(limit), n)
    with tree:
        for _ in range(3):
            start = tree.size
            while not clock.run_due():
                tree.insert(leaf(tree.size))
            assert tree.checkpoint_size == tree.size
            took = bytes_of(n, tree.size) - bytes_of(n, start)
            assert abs(took - limit) <= 32 * (tree.depth + 2)


@pytest.mark.evidence("example", "DURABLE-24")
def test_no_checkpoint_is_made_where_the_policy_is_manual() -> None:
    """However many leaves come, nor when the tree is closed."""
    disk, clock = SimulatedDisk(), Clock()
    environment = Environment(files=disk, scheduler=clock)
    with open_tree(disk, 2, environment=environment) as tree:
        tree.insert_many(leaves(0, 1000))
        assert clock.run_due() == 0
        assert not any(task.is_due for task in clock.tasks)
    with open_tree(disk) as tree:
        assert (tree.recovery.checkpoint_size, tree.recovery.replayed_leaves) == (0, 1000)


# With real threads.


@pytest.mark.evidence("example", "DURABLE-18")
def test_the_flusher_flushes_by_itself() -> None:
    """Interval: one insert, nothing else, and it is durable soon; many share few fsyncs."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2, flush_policy=FlushPolicy.Interval(0.005)) as tree:
        token = tree.insert(leaf(0))[1]
        assert until(lambda: token.is_durable)
        before = disk.counts["sync"]
        for index in range(1, 500):
            token = tree.insert(leaf(index))[1]
        token.wait(SOON)
        assert disk.counts["sync"] - before < 250


@pytest.mark.evidence("fault", "DURABLE-18", "DURABLE-27")
def test_the_flusher_tries_again_when_there_is_space() -> None:
    """A full disk fails the waiters; what was pending becomes durable later, without a call."""
    disk = SimulatedDisk()
    full = True

    def on_call(call: Call) -> None:
        if full and call.kind == "pwritev":
            raise OSError(errno.ENOSPC, "full")

    with open_threaded(disk, 2, flush_policy=FlushPolicy.Interval(0.001)) as tree:
        disk.on_call = on_call
        token = tree.insert(leaf(0))[1]
        with pytest.raises(FlushFailedError) as caught:
            token.wait(SOON)
        assert caught.value.retryable
        full = False
        assert until(lambda: token.is_durable)


@pytest.mark.evidence("example", "DURABLE-10", "DURABLE-19")
def test_manual_does_nothing_by_itself() -> None:
    """No call of the disk until one is asked for."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        before = len(disk.calls)
        tree.insert_many(leaves(0, 100))
        time.sleep(0.05)
        assert len(disk.calls) == before
        assert tree.durable_size == 0


@pytest.mark.evidence("example", "DURABLE-23")
@pytest.mark.parametrize(
    "policy", [CheckpointPolicy.EveryNEntries(10), CheckpointPolicy.MemoryThreshold(640)]
)
def test_checkpoints_in_the_background_do_not_block_inserts(
    policy: CheckpointPolicy.EveryNEntries | CheckpointPolicy.MemoryThreshold,
) -> None:
    """While one hangs in a level file: inserts, flushes, reads go on; then it catches up."""
    disk = SimulatedDisk()
    gate = Gate("sync", "/levels/")
    with open_threaded(disk, 2, checkpoint_policy=policy) as tree:
        disk.on_call = gate
        for index in range(15):
            tree.insert(leaf(index))
        assert gate.is_reached()
        assert not tree.wait_for_checkpoint(0.01)
        for index in range(15, 60):
            tree.insert_durable(leaf(index))
        check_tree(tree, 2, 60)
        assert tree.checkpoint_size == 0
        gate.open()
        assert tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size > 50
    with open_tree(disk) as tree:
        assert tree.recovery.checkpoint_size > 50
        check_tree(tree, 2, 60)


@pytest.mark.evidence("fault", "DURABLE-25", "DURABLE-26")
def test_waiting_reports_a_background_checkpoint_that_failed() -> None:
    """Once; the tree goes on, and the next checkpoint has everything."""
    disk = SimulatedDisk()

    def broken(call: Call) -> None:
        if "levels" in call.path and call.kind == "sync":
            raise OSError(errno.EIO, "broken")

    with open_threaded(disk, 2, checkpoint_policy=CheckpointPolicy.EveryNEntries(4)) as tree:
        disk.on_call = broken
        tree.insert_many(leaves(0, 9))
        with pytest.raises(CheckpointFailedError):
            tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size == 0
        disk.on_call = None
        tree.insert(leaf(9))
        assert tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size >= 9
    check_goes_on(disk, 2, 10)


@pytest.mark.evidence("example", "DURABLE-25")
def test_waiting_for_no_checkpoint_returns_at_once() -> None:
    """True when none is due or running."""
    with open_tree(SimulatedDisk(), 2) as tree:
        tree.insert(leaf(0))
        assert tree.wait_for_checkpoint(0)


@pytest.mark.evidence("example", "DURABLE-24")
def test_on_close_checkpoints_when_the_tree_is_closed() -> None:
    """Not before; and the log is then cut."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2, checkpoint_policy=CheckpointPolicy.OnClose()) as tree:
        tree.insert_many(leaves(0, 20))
        tree.flush()
        assert tree.checkpoint_size == 0
    with open_tree(disk) as tree:
        assert tree.recovery.clean
        assert (tree.recovery.checkpoint_size, tree.recovery.replayed_leaves) == (20, 0)
