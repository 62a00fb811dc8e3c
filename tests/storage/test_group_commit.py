"""Threads that wait for the same flush, and interrupts at every place where one may come."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rotortree import FlushFailedError, FlushPolicy, RotorTree, StorageError
from rotortree.durable.watermark import Watermark
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.schedule import Interleaver
from tests.storage.disk import CRASHES, after_crashes
from tests.storage.interrupting import everywhere
from tests.storage.trees import abandon, check_tree, environment, leaf, leaves_of, open_tree

SOON = 20.0
"""Seconds after which something that should have happened is taken for lost."""


def start(function: Callable[[], object]) -> threading.Thread:
    """Run it in a thread of its own; storage errors end that."""

    def run() -> None:
        with contextlib.suppress(StorageError, KeyboardInterrupt):
            function()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    """Whether it does, soon."""
    thread.join(SOON)
    return not thread.is_alive()


class Syncs:
    """Holds every fsync of the log until `let` was called for it."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._allowed = threading.Semaphore(0)

    def __call__(self, call: Call) -> None:
        if call.kind == "sync" and "/wal/" in call.path:
            self.begun.release()
            assert self._allowed.acquire(timeout=SOON)

    def let(self) -> None:
        """Let the next one go on."""
        self._allowed.release()


def waiting(tree: RotorTree, size: int) -> None:
    """Return when the tree has so many leaves, and who inserted them had time to wait."""
    end = time.monotonic() + SOON
    while tree.size < size and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.02)


def test_at_most_one_thread_waits_for_the_flush_lock() -> None:
    """However many flush, at every turn of many schedules: the others wait for that one's flush.

    Who waits for the lock waits for the next flush, too, when its own is done.
    """
    most = 0
    for choices in itertools.product((0, 1, 2), repeat=6):
        interleaver = Interleaver(choices * 10)
        disk = SimulatedDisk()
        shape = replace(environment(disk), scheduler=interleaver)
        tree = open_tree(disk, 2, environment=shape)
        lock = tree._engine._flush_lock

        def count(call: Call, interleaver: Interleaver = interleaver, lock: object = lock) -> None:
            nonlocal most
            waiting = sum(actor.waits_for is lock for actor in interleaver._actors)
            most = max(most, waiting)
            interleaver.switch()

        def insert(index: int, tree: RotorTree = tree) -> None:
            tree.insert_durable(leaf(index))

        for index in range(5):
            interleaver.add(str(index), partial(insert, index))
        disk.on_call = count
        interleaver.run()
        disk.on_call = None
        assert tree.durable_size == 5
        tree.close()
    assert most == 1


def test_a_thread_does_not_wait_for_a_flush_after_its_own() -> None:
    """Its leaf is durable with the second flush: it returns though the third one hangs."""
    disk, syncs = SimulatedDisk(), Syncs()
    tree = open_tree(disk, 2)
    disk.on_call = syncs
    first = start(partial(tree.insert_durable, leaf(0)))
    assert syncs.begun.acquire(timeout=SOON)
    second = [start(partial(tree.insert_durable, leaf(index))) for index in range(1, 6)]
    waiting(tree, 6)
    syncs.let()
    assert syncs.begun.acquire(timeout=SOON)
    third = [start(partial(tree.insert_durable, leaf(index))) for index in range(6, 9)]
    waiting(tree, 9)
    syncs.let()
    assert syncs.begun.acquire(timeout=SOON)
    assert ends(first)
    assert all(map(ends, second))
    assert tree.durable_size == 6
    assert all(thread.is_alive() for thread in third)
    syncs.let()
    assert all(map(ends, third))
    assert tree.durable_size == 9
    disk.on_call = None
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-28")
@pytest.mark.parametrize("kind", ["pwritev", "sync"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "broken")])
def test_when_the_first_of_a_round_fails_the_others_do_not_wait_for_ever(
    kind: str, error: BaseException
) -> None:
    """Interrupted, or failing: the next one flushes, or the tree is failed and all learn it."""
    disk, syncs = SimulatedDisk(), Syncs()
    tree = open_tree(disk, 2)
    disk.on_call = syncs
    first = start(partial(tree.insert_durable, leaf(0)))
    assert syncs.begun.acquire(timeout=SOON)
    others = [start(partial(tree.insert_durable, leaf(index))) for index in range(1, 6)]
    waiting(tree, 6)
    failing = threading.Semaphore(1)

    def fail_once(call: Call) -> None:
        if call.kind == kind and failing.acquire(blocking=False):
            raise error

    disk.on_call = fail_once
    syncs.let()
    assert ends(first)
    assert all(map(ends, others))
    assert tree.durable_size == (1 if kind == "sync" and isinstance(error, OSError) else 6)
    abandon(tree)


@pytest.mark.evidence("fault", "DURABLE-34")
def test_an_interrupt_anywhere_in_a_flush_leaves_no_lock_held_and_loses_nothing() -> None:
    """Another thread's insert_durable returns afterwards, or says that the tree is failed.

    What was acknowledged then survives a power cut.
    """
    trees: list[tuple[SimulatedDisk, RotorTree]] = []

    def prepare() -> Callable[[], object]:
        disk = SimulatedDisk()
        tree = open_tree(disk, 2)
        tree.insert(leaf(0))
        trees.append((disk, tree))
        return partial(tree.insert_durable, leaf(1))

    places = list[str]()
    for place in everywhere(prepare):
        places.append(place)
        disk, tree = trees[-1]
        size = tree.size
        other = start(partial(tree.insert_durable, leaf(size)))
        assert ends(other), place
        acknowledged = tree.durable_size
        assert acknowledged in (0, size, size + 1), place
        abandon(tree)
        for left in after_crashes(disk, (CRASHES[0], CRASHES[-1])):
            with open_tree(left) as again:
                assert again.size >= acknowledged, place
                check_tree(again, 2, again.size)
    abandon(trees[-1][1])
    assert len(places) > 60
    assert any("flush" in place for place in places)


@pytest.mark.evidence("fault", "DURABLE-34")
def test_an_interrupt_anywhere_in_an_insert_does_not_stop_the_flusher(tmp_path: Path) -> None:
    """Leaves that come after it become durable by themselves."""
    with RotorTree.open(tmp_path / "tree", n=2, flush_policy=FlushPolicy.Interval(0)) as tree:

        def prepare() -> Callable[[], object]:
            tree.flush()
            return lambda: tree.append(leaf(tree.size))

        count = 0
        for place in everywhere(prepare):
            count += 1
            token = tree.append(leaf(tree.size))
            try:
                token.wait(SOON)
            except TimeoutError:
                raise AssertionError(place) from None
        assert count > 10
        assert leaves_of(tree) == tuple(map(leaf, range(tree.size)))


def test_waiting_depends_on_no_notification() -> None:
    """The watermark rose, and a Ctrl-C came before anybody was told: a wait ends all the same."""
    watermark = Watermark(0)
    waiter = start(lambda: watermark.wait(5, None, lambda: None))
    time.sleep(0.02)
    watermark.value = 5
    assert ends(waiter)


@pytest.mark.parametrize("how", ["rise", "fail"])
def test_who_waits_is_told_at_once(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking without being told is for emergencies: here nobody does, and the wait ends."""
    monkeypatch.setattr("rotortree.durable.watermark._LOOK_AGAIN_SECONDS", 1000.0)
    watermark = Watermark(0)
    waiter = start(lambda: watermark.wait(5, None, lambda: None))
    time.sleep(0.02)
    if how == "rise":
        watermark.rise(5)
    else:
        watermark.fail(lambda: FlushFailedError("broken", retryable=True))
    assert ends(waiter)


@pytest.mark.evidence("example", "DURABLE-17")
def test_flushing_what_is_durable_does_not_wait() -> None:
    """While another thread's fsync hangs."""
    disk, syncs = SimulatedDisk(), Syncs()
    tree = open_tree(disk, 2)
    token = tree.insert(leaf(0))[1]
    tree.flush()
    disk.on_call = syncs
    others = [start(partial(tree.insert_durable, leaf(index))) for index in range(1, 5)]
    assert syncs.begun.acquire(timeout=SOON)
    waiting(tree, 5)
    assert ends(start(partial(tree._engine.flush, 1)))
    token.wait(0)
    syncs.let()
    syncs.let()
    assert all(map(ends, others))
    disk.on_call = None
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-13", "DURABLE-27")
def test_a_full_disk_fails_everybody_who_waits_and_nobody_later() -> None:
    """Each of six threads gets FlushFailedError(retryable=True); then there is room."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    disk.room = disk.used()
    errors: list[FlushFailedError] = []

    def insert(index: int) -> None:
        try:
            tree.insert_durable(leaf(index))
        except FlushFailedError as error:
            errors.append(error)

    threads = [start(partial(insert, index)) for index in range(6)]
    assert all(map(ends, threads))
    assert [error.retryable for error in errors] == [True] * 6
    disk.room = None
    tree.flush()
    assert tree.durable_size == 6
    tree.close()
