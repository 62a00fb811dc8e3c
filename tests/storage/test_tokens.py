"""Tokens: who settles them, who waits for them and how, and what they say when that fails."""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType

import pytest

from rotortree import (
    ClosedError,
    DurabilityToken,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
    StorageError,
)
from rotortree.config import AnyFlushPolicy
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import go_wrong
from tests.storage.taken import taken
from tests.storage.threads import (
    SOON,
    Gate,
    Running,
    abandon_threaded,
    open_threaded,
    until,
    watches,
)
from tests.storage.trees import check_goes_on, leaf, open_tree

LATER = FlushPolicy.Interval(3600)
"""Nothing is flushed by itself while a test runs."""


def full(call: Call) -> None:
    """The disk is full."""
    if call.kind == "pwritev":
        raise OSError(errno.ENOSPC, "full")


def broken(call: Call) -> None:
    """Every fsync fails."""
    if call.kind == "sync":
        raise OSError(errno.EIO, "broken")


class Settled:
    """What a token's callback was called with."""

    def __init__(self, token: DurabilityToken) -> None:
        self.errors: list[StorageError | None] = []
        self.threads: list[threading.Thread] = []
        token.when_settled(self)

    def __call__(self, error: StorageError | None) -> None:
        self.errors.append(error)
        self.threads.append(threading.current_thread())

    def once(self) -> bool:
        """Whether it was called, soon, with no error."""
        return until(lambda: bool(self.errors)) and self.errors == [None]


# Who settles them.


@pytest.mark.evidence("example", "DURABLE-11", "DURABLE-12", "DURABLE-52")
def test_a_token_is_settled_by_anybodys_flush() -> None:
    """By flush, checkpoint, insert_durable, close, or waiting for a later token."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2, flush_policy=LATER)
    settle: list[Callable[[], object]] = [
        tree.flush,
        tree.checkpoint,
        lambda: tree.insert_durable(leaf(tree.size)),
        tree.close,
    ]
    for action in settle:
        token = tree.insert(leaf(tree.size))[1]
        told = Settled(token)
        assert (token.size, token.is_durable, told.errors) == (tree.size, False, [])
        action()
        assert (token.is_durable, told.errors) == (True, [None])
        token.wait()
    check_goes_on(disk, 2, 5)
    with open_tree(disk) as tree:
        token = tree.insert(leaf(tree.size))[1]
        tree.append(leaf(tree.size)).wait()
        assert token.is_durable


@pytest.mark.evidence("example", "DURABLE-19")
def test_waiting_flushes_where_the_policy_is_manual() -> None:
    """And only if the leaves are not durable yet: one fsync for all of them."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tokens = [tree.insert(leaf(index))[1] for index in range(10)]
        before = disk.counts["sync"]
        tokens[0].wait(0)
        for token in tokens:
            token.wait(0)
        assert disk.counts["sync"] == before + 1


def test_a_token_that_is_durable_flushes_nothing() -> None:
    """Waiting for it, in any way, is not waiting for what came later."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        token = tree.insert(leaf(0))[1]
        tree.flush()
        tree.insert(leaf(1))
        taken(disk)
        token.wait()
        assert (tree.durable_size, taken(disk)) == (1, [])

        async def main() -> None:
            await token

        asyncio.run(main())
        assert (tree.durable_size, taken(disk)) == (1, [])


# Threads that wait.


@pytest.mark.evidence("example", "DURABLE-13")
def test_waiting_times_out_and_goes_on_later() -> None:
    """TimeoutError while the disk is slow; the same token is durable once it is through."""
    disk, gate = SimulatedDisk(), Gate("sync", "/wal/")
    with open_threaded(disk, 2, flush_policy=FlushPolicy.Interval(0)) as tree:
        disk.on_call = gate
        token = tree.insert(leaf(0))[1]
        assert gate.is_reached()
        with pytest.raises(TimeoutError):
            token.wait(0.01)
        assert not token.is_durable
        assert watches(tree) == 0
        gate.open()
        token.wait(SOON)
        assert token.is_durable


@pytest.mark.evidence("fault", "DURABLE-13", "DURABLE-52")
def test_a_token_raises_when_its_tree_was_closed_without_it() -> None:
    """The last flush fails with a full disk: close raises, and so does the token, at once.

    Its callback has the error of that flush; one that is registered later, that of waiting.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2, flush_policy=LATER)
    durable = tree.insert(leaf(0))[1]
    tree.flush()
    token = tree.insert(leaf(1))[1]
    told = Settled(token)
    disk.on_call = full
    with pytest.raises(FlushFailedError):
        tree.close()
    disk.on_call = None
    with pytest.raises(ClosedError):
        token.wait()
    durable.wait()
    assert (token.is_durable, durable.is_durable) == (False, True)
    assert [type(error) for error in told.errors] == [FlushFailedError]
    assert [type(error) for error in Settled(token).errors] == [ClosedError]
    assert Settled(durable).errors == [None]
    check_goes_on(disk, 2, 1)


@pytest.mark.evidence("example", "DURABLE-14")
def test_a_waiting_thread_learns_that_the_tree_closed() -> None:
    """Closing settles a wait without a timeout, be it with the leaves or without them."""
    for fails in (False, True):
        disk = SimulatedDisk()
        tree = open_threaded(disk, 2, flush_policy=LATER)
        token = tree.insert(leaf(0))[1]
        waiting = Running(token.wait)
        assert until(lambda tree=tree: watches(tree) == 1)  # type: ignore[misc]
        disk.on_call = full if fails else None
        closing = Running(tree.close)
        assert closing.ends()
        assert waiting.ends()
        assert token.is_durable != fails
        assert isinstance(waiting.error, FlushFailedError) == fails
        assert isinstance(closing.error, FlushFailedError) == fails


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-28", "DURABLE-52")
def test_whoever_waits_for_a_tree_that_is_failed_is_told() -> None:
    """A thread, a callback and an await, begun before the sync failed and after it."""
    disk = SimulatedDisk()
    tree = open_threaded(disk, 2, flush_policy=LATER)
    token = tree.insert(leaf(0))[1]
    before, waiting = Settled(token), Running(token.wait)
    assert until(lambda: watches(tree) == 2)
    disk.on_call = broken
    with pytest.raises(FlushFailedError):
        tree.flush()
    assert waiting.ends()
    later = Settled(token)

    async def main() -> None:
        await token

    with pytest.raises(FlushFailedError) as caught:
        asyncio.run(main())
    for error in (waiting.error, *before.errors, *later.errors, caught.value):
        assert isinstance(error, FlushFailedError)
        assert not error.retryable
    assert (len(before.errors), len(later.errors), watches(tree)) == (1, 1, 0)
    abandon_threaded(tree)


# Callbacks.


@pytest.mark.evidence("example", "DURABLE-19", "DURABLE-52")
@pytest.mark.parametrize("policy", [FlushPolicy.Manual(), FlushPolicy.Interval(0.001)])
def test_a_callback_needs_nobody_who_waits(policy: AnyFlushPolicy) -> None:
    """It is called once, in the background, by itself; where the policy is manual, it asks.

    The caller does not wait for the disk, which hangs here.
    """
    disk, gate = SimulatedDisk(), Gate("sync", "/wal/")
    with open_threaded(disk, 2, flush_policy=policy) as tree:
        disk.on_call = gate
        told = Settled(tree.insert(leaf(0))[1])
        assert gate.is_reached()
        assert told.errors == []
        gate.open()
        assert told.once()
        assert told.threads != [threading.current_thread()]
        tree.insert_durable(leaf(1))
        assert watches(tree) == 0
    assert told.errors == [None]


@pytest.mark.evidence("example", "DURABLE-52")
def test_a_callback_is_called_at_once_where_the_wait_is_over() -> None:
    """By the caller, when the leaves are durable."""
    with open_tree(SimulatedDisk(), 2) as tree:
        token = tree.insert(leaf(0))[1]
        tree.flush()
        told = Settled(token)
        assert (told.errors, told.threads) == ([None], [threading.current_thread()])


@pytest.mark.evidence("fault", "DURABLE-27", "DURABLE-52")
def test_a_callback_is_told_of_a_retryable_failure_once() -> None:
    """Then it may be registered again, as a wait may be repeated."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2) as tree:
        token = tree.insert(leaf(0))[1]
        disk.on_call = full
        told = Settled(token)
        assert until(lambda: bool(told.errors))
        disk.on_call = None
        (error,) = told.errors
        assert isinstance(error, FlushFailedError)
        assert error.retryable
        assert Settled(token).once()
        assert told.errors == [error]


class Reported:
    """What `sys.excepthook` was called with."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.kinds: list[type[BaseException]] = []
        patch.setattr(sys, "excepthook", self)

    def __call__(
        self,
        kind: type[BaseException],
        error: BaseException,
        traceback: TracebackType | None,
    ) -> None:
        self.kinds.append(kind)


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-52")
@pytest.mark.parametrize(
    "error", [ValueError("mine"), asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()]
)
def test_a_callback_that_raises_hurts_nobody_else(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises: the others are told, and the tree goes on; it is reported."""
    reported = Reported(monkeypatch)
    disk = SimulatedDisk()

    def callback(_: StorageError | None) -> None:
        raise error

    with open_threaded(disk, 2, flush_policy=LATER) as tree:
        token = tree.insert(leaf(0))[1]
        told = [Settled(token)]
        token.when_settled(callback)
        told.append(Settled(token))
        waiting = Running(token.wait)
        assert until(lambda: watches(tree) == 4)
        flushing = Running(tree.flush)
        assert waiting.ends()
        assert flushing.ends()
        assert waiting.error is None
        assert all(one.once() for one in told)
        # A KeyboardInterrupt may be the user's, of the thread that flushes: that one raises it.
        is_interrupt = isinstance(error, KeyboardInterrupt)
        assert flushing.error is (error if is_interrupt else None)
        assert reported.kinds == ([] if is_interrupt else [type(error)])
        tree.insert_durable(leaf(1))


# asyncio.


def test_tokens_can_be_awaited() -> None:
    """``await token`` does not block the loop, and raises what ``wait`` raises."""
    disk, gate = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_threaded(disk, 2, flush_policy=FlushPolicy.Interval(0))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            if ticks == 20:
                gate.open()
            await asyncio.sleep(0.0005)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        tokens = [tree.insert(leaf(index))[1] for index in range(5)]
        await asyncio.gather(*map(awaited, tokens))
        assert all(token.is_durable for token in tokens)
        await tokens[0]
        ticking.cancel()
        disk.on_call = broken
        failing = tree.insert(leaf(5))[1]
        with pytest.raises(FlushFailedError):
            await failing

    disk.on_call = gate
    asyncio.run(main())
    assert ticks >= 20
    with pytest.raises(FlushFailedError):
        tree.close()


async def awaited(token: DurabilityToken) -> None:
    """A coroutine that awaits a token."""
    await token


@pytest.mark.evidence("example", "DURABLE-52")
@pytest.mark.parametrize("policy", [FlushPolicy.Manual(), FlushPolicy.Interval(0.001)])
def test_ten_thousand_tasks_await_without_a_thread(policy: AnyFlushPolicy) -> None:
    """They share few flushes, and no thread is started for them."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2, flush_policy=policy) as tree:
        before, syncs = threading.enumerate(), disk.counts["sync"]
        most = 0

        async def main() -> None:
            nonlocal most
            tokens = [tree.append(leaf(index)) for index in range(10_000)]
            tasks = [asyncio.create_task(awaited(token)) for token in tokens]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0)
                most = max(most, len(threading.enumerate()))
            await asyncio.gather(*tasks)

        asyncio.run(main())
        assert most == len(before)
        assert set(threading.enumerate()) == set(before)
        assert disk.counts["sync"] - syncs < 1000
        assert (tree.durable_size, watches(tree)) == (10_000, 0)


def hanging(policy: AnyFlushPolicy = LATER) -> tuple[RotorTree, Gate, DurabilityToken]:
    """A tree whose next flush hangs, and a token of a leaf that it makes durable."""
    disk, gate = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_threaded(disk, 2, flush_policy=policy)
    disk.on_call = gate
    return tree, gate, tree.insert(leaf(0))[1]


@pytest.mark.evidence("example", "DURABLE-52")
def test_an_await_that_is_cancelled_leaves_nothing_behind() -> None:
    """Cancelled, or timed out; the others that await the same token are told."""
    tree, gate, token = hanging(FlushPolicy.Manual())

    async def main() -> None:
        tasks = [asyncio.create_task(awaited(token)) for _ in range(100)]
        await asyncio.sleep(0)
        assert gate.is_reached()
        assert watches(tree) == 100
        for task in tasks[:-1]:
            task.cancel()
        for task in tasks[:-1]:
            with pytest.raises(asyncio.CancelledError):
                await task
        assert watches(tree) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(token), 0.01)
        assert watches(tree) == 1
        gate.open()
        await tasks[-1]

    asyncio.run(main())
    assert (token.is_durable, watches(tree)) == (True, 0)
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-52")
def test_a_loop_that_was_closed_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tasks wait no more: that is no error, and whoever else waits is told."""
    reported = Reported(monkeypatch)
    tree, gate, token = hanging()
    loop = asyncio.new_event_loop()
    task = loop.create_task(awaited(token))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert watches(tree) == 1
    told, flushing = Settled(token), Running(tree.flush)
    assert gate.is_reached()
    gate.open()
    assert flushing.ends()
    assert flushing.error is None
    assert told.once()
    assert (reported.kinds, watches(tree)) == ([], 0)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the test's own fault
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-27", "DURABLE-52")
def test_an_await_raises_what_waiting_raises_and_may_be_repeated() -> None:
    """A retryable failure, of each of several tasks; then the same token is durable."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2) as tree:
        token = tree.insert(leaf(0))[1]
        disk.on_call = full

        async def main() -> None:
            errors = await asyncio.gather(
                *(awaited(token) for _ in range(3)), return_exceptions=True
            )
            for error in errors:
                assert isinstance(error, FlushFailedError)
                assert error.retryable
            disk.on_call = None
            await token

        asyncio.run(main())
        assert (token.is_durable, watches(tree)) == (True, 0)
    closed = tree

    async def later() -> None:
        await DurabilityToken(closed, 2)

    with pytest.raises(ClosedError):
        asyncio.run(later())


@pytest.mark.evidence("example", "DURABLE-14")
def test_awaits_end_when_the_tree_is_closed() -> None:
    """By another thread, with the leaves and without them."""
    for fails in (False, True):
        disk = SimulatedDisk()
        tree = open_threaded(disk, 2, flush_policy=LATER)
        token = tree.insert(leaf(0))[1]
        if fails:
            go_wrong(disk, "X", kind="pwritev")

        async def main(tree: RotorTree = tree, token: DurabilityToken = token) -> None:
            task = asyncio.create_task(awaited(token))
            await asyncio.sleep(0)
            closing = Running(partial(tree.close))
            try:
                await asyncio.wait_for(task, SOON)
            finally:
                assert closing.ends()

        if fails:
            with pytest.raises(FlushFailedError):
                asyncio.run(main())
        else:
            asyncio.run(main())
        assert token.is_durable != fails
