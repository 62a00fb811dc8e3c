"""Group commit: threads that wait for durability at the same time share syncs."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from rotortree import FlushFailedError, RotorTree
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.threads import SOON, Gate, Running, abandon_threaded, open_threaded
from tests.storage.trees import leaf, leaves, leaves_of


def waiting(tree: RotorTree, size: int) -> None:
    """Return when the tree has so many leaves, and who inserted them had time to wait."""
    end = time.monotonic() + SOON
    while tree.size < size and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.02)


def all_end(threads: list[Running]) -> bool:
    """Whether they all do, soon."""
    return all(thread.ends() for thread in threads)


def test_a_thread_does_not_wait_for_a_flush_after_its_own() -> None:
    """Its leaf is durable with the second flush: it returns though the third one hangs."""
    disk, syncs = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_threaded(disk, 2)
    disk.on_call = syncs
    first = Running(partial(tree.insert_durable, leaf(0)))
    assert syncs.is_reached()
    second = [Running(partial(tree.insert_durable, leaf(index))) for index in range(1, 6)]
    waiting(tree, 6)
    syncs.let()
    assert syncs.is_reached()
    third = [Running(partial(tree.insert_durable, leaf(index))) for index in range(6, 9)]
    waiting(tree, 9)
    syncs.let()
    assert syncs.is_reached()
    assert first.ends()
    assert all_end(second)
    assert tree.durable_size == 6
    assert all(running.thread.is_alive() for running in third)
    syncs.let()
    assert all_end(third)
    assert tree.durable_size == 9
    disk.on_call = None
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-28")
@pytest.mark.parametrize("kind", ["pwritev", "sync"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "broken"), MemoryError()])
def test_when_the_first_of_a_round_fails_the_others_do_not_wait_for_ever(
    kind: str, error: BaseException
) -> None:
    """Interrupted, or failing: the next one flushes, or the tree is failed and all learn it."""
    disk, syncs = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_threaded(disk, 2)
    disk.on_call = syncs
    first = Running(partial(tree.insert_durable, leaf(0)))
    assert syncs.is_reached()
    others = [Running(partial(tree.insert_durable, leaf(index))) for index in range(1, 6)]
    waiting(tree, 6)
    failing = threading.Semaphore(1)

    def fail_once(call: Call) -> None:
        if call.kind == kind and failing.acquire(blocking=False):
            raise error

    disk.on_call = fail_once
    syncs.let()
    assert first.ends()
    assert all_end(others)
    assert tree.durable_size == (1 if kind == "sync" and isinstance(error, OSError) else 6)
    abandon_threaded(tree)


@pytest.mark.evidence("example", "DURABLE-17")
def test_flushing_what_is_durable_does_not_wait() -> None:
    """While another thread's fsync hangs."""
    disk, syncs = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_threaded(disk, 2)
    token = tree.insert(leaf(0))[1]
    tree.flush()
    disk.on_call = syncs
    others = [Running(partial(tree.insert_durable, leaf(index))) for index in range(1, 5)]
    assert syncs.is_reached()
    waiting(tree, 5)
    assert Running(partial(tree._engine.flush, 1)).ends()
    token.wait(0)
    syncs.open()
    syncs.let()
    assert all_end(others)
    disk.on_call = None
    tree.close()


@pytest.mark.evidence("fault", "DURABLE-13", "DURABLE-27")
def test_a_full_disk_fails_everybody_who_waits_and_nobody_later() -> None:
    """Each of six threads gets FlushFailedError(retryable=True); then there is room."""
    disk = SimulatedDisk()
    tree = open_threaded(disk, 2)
    disk.room = disk.used()
    errors: list[FlushFailedError] = []

    def insert(index: int) -> None:
        try:
            tree.insert_durable(leaf(index))
        except FlushFailedError as error:
            errors.append(error)

    threads = [Running(partial(insert, index)) for index in range(6)]
    assert all_end(threads)
    assert [error.retryable for error in errors] == [True] * 6
    disk.room = None
    tree.flush()
    assert tree.durable_size == 6
    tree.close()


@pytest.mark.evidence("example", "DURABLE-17")
def test_threads_share_fsyncs() -> None:
    """Of 16 threads, 15 call insert_durable while the first one's fsync runs: one more, for all."""
    disk = SimulatedDisk()
    with open_threaded(disk, 2) as tree:
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
