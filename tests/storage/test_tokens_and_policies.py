"""Tokens, shared fsyncs, and what runs in the background."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    ClosedError,
    DurabilityToken,
    FlushFailedError,
    FlushPolicy,
    ReadOnlyError,
    RotorTree,
    WalCorruptedError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import after_crash, disk_of
from tests.storage.trees import (
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    leaves_of,
    log_path,
    open_tree,
)

SOON = 20.0
"""Seconds after which something that should have happened is taken for lost."""


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true soon."""
    end = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


class Gate:
    """Holds calls of a kind, and maybe of paths with some part, until it is opened."""

    def __init__(self, kind: str, part: str = "") -> None:
        self.kind = kind
        self.part = part
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, call: Call) -> None:
        if call.kind == self.kind and self.part in call.path:
            self.reached.set()
            assert self.opened.wait(SOON)


def broken_sync(call: Call) -> None:
    """Every fsync fails."""
    if call.kind == "sync":
        raise OSError(errno.EIO, "broken")


# Tokens.


@pytest.mark.evidence("example", "DURABLE-11", "DURABLE-12")
def test_a_token_is_settled_by_anybodys_flush() -> None:
    """flush, checkpoint, insert_durable, close, or waiting for a later token."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    settle: list[Callable[[], object]] = [
        tree.flush,
        tree.checkpoint,
        lambda: tree.insert_durable(leaf(tree.size)),
        lambda: tree.append(leaf(tree.size)).wait(),
        tree.close,
    ]
    for action in settle:
        token = tree.insert(leaf(tree.size))[1]
        assert (token.size, token.is_durable) == (tree.size, False)
        action()
        assert token.is_durable
        token.wait()
    check_goes_on(disk, 2, 7)


@pytest.mark.evidence("example", "DURABLE-19")
def test_waiting_flushes_where_the_policy_is_manual() -> None:
    """And only if the leaves are not durable yet: one fsync for all of them."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tokens = [tree.insert(leaf(index))[1] for index in range(10)]
        before = disk.counts["sync"]
        for token in tokens:
            token.wait(0)
        assert disk.counts["sync"] == before + 1


@pytest.mark.evidence("example", "DURABLE-13")
def test_waiting_times_out_and_goes_on_later() -> None:
    """TimeoutError while the flusher is slow; the same token is durable once it is through."""
    disk = SimulatedDisk()
    gate = Gate("sync", "wal")
    with open_tree(disk, 2, flush_policy=FlushPolicy.Interval(0)) as tree:
        disk.on_call = gate
        token = tree.insert(leaf(0))[1]
        assert gate.reached.wait(SOON)
        with pytest.raises(TimeoutError):
            token.wait(0.01)
        assert not token.is_durable
        gate.opened.set()
        token.wait(SOON)
        assert token.is_durable


def test_tokens_can_be_awaited() -> None:
    """``await token`` does not block the loop, and raises what ``wait`` raises."""
    disk = SimulatedDisk()
    gate = Gate("sync", "wal")
    tree = open_tree(disk, 2, flush_policy=FlushPolicy.Interval(0))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            if ticks == 20:
                gate.opened.set()
            await asyncio.sleep(0.0005)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        tokens = [tree.insert(leaf(index))[1] for index in range(5)]

        async def waiter(token: DurabilityToken) -> None:
            await token

        await asyncio.gather(*map(waiter, tokens))
        assert all(token.is_durable for token in tokens)
        await tokens[0]
        ticking.cancel()
        disk.on_call = broken_sync
        failing = tree.insert(leaf(5))[1]
        with pytest.raises(FlushFailedError):
            await failing

    disk.on_call = gate
    asyncio.run(main())
    assert ticks >= 20
    with pytest.raises(FlushFailedError):
        tree.close()


@pytest.mark.evidence("fault", "DURABLE-13")
def test_a_token_raises_when_its_tree_was_closed_without_it() -> None:
    """The last flush fails with a full disk: close raises, and so does the token, at once.

    While the tree is failed for good, tokens of what is durable still say so.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    durable = tree.insert(leaf(0))[1]
    tree.flush()
    token = tree.insert(leaf(1))[1]

    def full(call: Call) -> None:
        if call.kind == "pwritev":
            raise OSError(errno.ENOSPC, "full")

    disk.on_call = full
    with pytest.raises(FlushFailedError):
        tree.close()
    disk.on_call = None
    with pytest.raises(ClosedError):
        token.wait()
    durable.wait()
    assert not token.is_durable
    assert durable.is_durable
    check_goes_on(disk, 2, 1)


@pytest.mark.evidence("example", "DURABLE-14")
def test_a_waiting_thread_learns_that_the_tree_closed() -> None:
    """Closing settles a wait without a timeout, one way or the other."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2, flush_policy=FlushPolicy.Interval(3600))
    token = tree.insert(leaf(0))[1]
    thread = threading.Thread(target=token.wait)
    thread.start()
    tree.close()
    thread.join(SOON)
    assert not thread.is_alive()
    assert token.is_durable


@pytest.mark.evidence("example", "DURABLE-17")
def test_threads_share_fsyncs() -> None:
    """Of 16 threads, 15 call insert_durable while the first one's fsync runs: one more, for all."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        started = threading.Event()

        def wait_for_the_others(call: Call) -> None:
            if call.kind == "sync" and not started.is_set():
                started.set()
                end = time.monotonic() + 30
                while tree.size < 16 and time.monotonic() < end:
                    time.sleep(0.001)

        disk.on_call = wait_for_the_others
        before = disk.counts["sync"]
        threads = [
            threading.Thread(target=tree.insert_durable, args=(leaf(index),)) for index in range(16)
        ]
        threads[0].start()
        assert started.wait(30)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
        assert disk.counts["sync"] - before == 2
        assert tree.durable_size == 16
        assert sorted(leaves_of(tree)) == sorted(leaves(0, 16))


# Policies.


@pytest.mark.evidence("example", "DURABLE-18")
def test_the_flusher_flushes_by_itself() -> None:
    """Interval: one insert, nothing else, and it is durable soon; many share few fsyncs."""
    disk = SimulatedDisk()
    with open_tree(disk, 2, flush_policy=FlushPolicy.Interval(0.005)) as tree:
        token = tree.insert(leaf(0))[1]
        assert eventually(lambda: token.is_durable)
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

    with open_tree(disk, 2, flush_policy=FlushPolicy.Interval(0.001)) as tree:
        disk.on_call = on_call
        token = tree.insert(leaf(0))[1]
        with pytest.raises(FlushFailedError) as caught:
            token.wait(SOON)
        assert caught.value.retryable
        full = False
        assert eventually(lambda: token.is_durable)


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
    gate = Gate("sync", "levels")
    with open_tree(disk, 2, checkpoint_policy=policy) as tree:
        disk.on_call = gate
        for index in range(15):
            tree.insert(leaf(index))
        assert gate.reached.wait(SOON)
        assert not tree.wait_for_checkpoint(0.01)
        for index in range(15, 60):
            tree.insert_durable(leaf(index))
        check_tree(tree, 2, 60)
        assert tree.checkpoint_size == 0
        gate.opened.set()
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

    with open_tree(disk, 2, checkpoint_policy=CheckpointPolicy.EveryNEntries(4)) as tree:
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
    with open_tree(disk, 2, checkpoint_policy=CheckpointPolicy.OnClose()) as tree:
        tree.insert_many(leaves(0, 20))
        tree.flush()
        assert tree.checkpoint_size == 0
    with open_tree(disk) as tree:
        assert tree.recovery.clean
        assert (tree.recovery.checkpoint_size, tree.recovery.replayed_leaves) == (20, 0)


@pytest.mark.evidence("damage", "DURABLE-41", "DURABLE-42")
def test_recorded_acknowledgements_report_a_damaged_last_flush() -> None:
    """Unclosed, the last flush damaged: dropped as torn without, WalCorruptedError with."""
    for record in (False, True):
        disk = SimulatedDisk()
        tree = open_tree(disk, 2, record_acknowledgements=record)
        for index in range(3):
            tree.insert(leaf(index))
            tree.flush()
        files = after_crash(disk).files()
        tree.close()
        path = log_path(files)
        for damaged in (files[path][:-1] + b"?", files[path][:-1], files[path][:-160]):
            left = disk_of({**files, path: damaged})
            if record:
                with pytest.raises(WalCorruptedError) as caught:
                    open_tree(left)
                assert caught.value.leaves == (2, 3)
            else:
                with open_tree(left) as tree:
                    check_tree(tree, 2, 2)


@pytest.mark.evidence("example", "DURABLE-50")
def test_read_only_trees_refuse_changes(tmp_path: Path) -> None:
    """ReadOnlyError; nothing is written, not even by close."""
    RotorTree.open(tmp_path / "tree", n=2).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with RotorTree.open(tmp_path / "tree", read_only=True) as tree:
        for change in (lambda: tree.insert(leaf(0)), tree.flush, tree.checkpoint):
            with pytest.raises(ReadOnlyError):
                change()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
