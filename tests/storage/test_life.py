"""The life of an open tree: open, failed, closed; what interrupts and other threads do to it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    FileLockedError,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.interrupting import everywhere
from tests.storage.threads import SOON, Running
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    open_tree,
)


class Gate:
    """Holds calls of a kind on paths with some part, until it is opened; then they may fail."""

    def __init__(self, kind: str, part: str, error: OSError | None = None) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._which = kind, part
        self._error = error

    def __call__(self, call: Call) -> None:
        kind, part = self._which
        if call.kind == kind and part in call.path and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(SOON)
            if self._error is not None:
                raise self._error


class Interrupted:
    """A lock; waiting for it is interrupted."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def is_locked(disk: SimulatedDisk) -> bool:
    """Whether an open is refused now."""
    try:
        open_tree(disk, read_only=True).close()
    except FileLockedError:
        return True
    return False


# Interrupts.


@pytest.mark.evidence("fault", "DURABLE-34", "DURABLE-46")
@pytest.mark.parametrize("policy", [CheckpointPolicy.Manual(), CheckpointPolicy.OnClose()])
def test_a_close_that_is_interrupted_while_it_waits_leaves_the_tree_open_and_locked(
    policy: CheckpointPolicy.Manual | CheckpointPolicy.OnClose,
) -> None:
    """For the flush of another thread: that one is acknowledged, and the next close closes."""
    disk, gate = SimulatedDisk(), Gate("sync", "/wal/")
    tree = open_tree(disk, 2, checkpoint_policy=policy)
    engine = tree._engine
    disk.on_call = gate
    other = Running(partial(tree.insert_durable, leaf(0)))
    assert gate.reached.wait(SOON)
    lock = engine._flush_lock
    engine._flush_lock = Interrupted(lock)  # type: ignore[assignment, arg-type]
    with pytest.raises(KeyboardInterrupt):
        tree.close()
    engine._flush_lock = lock
    assert not tree.closed
    assert is_locked(disk)
    gate.opened.set()
    assert other.ends()
    assert other.error is None
    tree.insert(leaf(1))
    tree.close()
    assert not is_locked(disk)
    check_goes_on(disk, 2, 2)


class _Busy:
    """A tree with its background tasks, and a thread that waits for a token of it."""

    def __init__(self) -> None:
        self.disk = SimulatedDisk()
        self.tree = open_tree(
            self.disk,
            2,
            flush_policy=FlushPolicy.Interval(0.001),
            checkpoint_policy=CheckpointPolicy.EveryNEntries(3),
        )
        self.tree.insert_many(leaves(0, 4))
        self.token = self.tree.insert(leaf(4))[1]
        self.waiter = Running(self.token.wait)

    def check(self, place: str) -> None:
        """The tree goes on by itself, or is closed; nobody waits for ever; nothing is lost."""
        if not self.tree.closed:
            token = self.tree.insert_many(leaves(5, 9))[1]
            token.wait(SOON)
            assert self.tree.wait_for_checkpoint(SOON), place
            assert Running(self.tree.checkpoint).ends(), place
        else:
            assert not is_locked(self.disk), place
        assert self.waiter.ends(), place
        closing = Running(self.tree.close)
        assert closing.ends(), place
        assert closing.error is None, place
        assert not is_locked(self.disk), place
        abandon(self.tree)
        least = self.tree.durable_size
        with open_tree(self.disk) as again:
            assert again.size >= least, place
            check_tree(again, 2, again.size)


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-18", "DURABLE-34")
@pytest.mark.parametrize("name", ["close", "checkpoint", "wait_for_checkpoint"])
def test_an_interrupt_anywhere_leaves_a_tree_that_goes_on_or_can_be_closed(name: str) -> None:
    """With other threads present: tokens are settled, checkpoints made, the lock is given back."""
    busy: list[_Busy] = []

    def prepare() -> Callable[[], object]:
        busy[:] = [_Busy()]
        return partial(getattr(busy[0].tree, name))

    places = list[str]()
    for place in everywhere(prepare):
        places.append(place)
        busy[0].check(place)
    busy[0].check("the end")
    assert any(name in place for place in places)


@pytest.mark.evidence("fault", "DURABLE-24", "DURABLE-25", "DURABLE-34")
def test_an_interrupt_anywhere_in_an_insert_does_not_stop_the_checkpointer() -> None:
    """A checkpoint that is due is made, and no wait for it lasts for ever."""
    disk = SimulatedDisk()
    with open_tree(disk, 2, checkpoint_policy=CheckpointPolicy.EveryNEntries(1)) as tree:

        def prepare() -> Callable[[], object]:
            tree.checkpoint()
            return lambda: tree.append(leaf(tree.size))

        for place in everywhere(prepare):
            tree.insert(leaf(tree.size))
            assert tree.wait_for_checkpoint(SOON), place
            assert tree.checkpoint_size == tree.size, place


@pytest.mark.evidence("fault", "DURABLE-33", "DURABLE-34")
@pytest.mark.filterwarnings("ignore:.* was not closed:ResourceWarning")
def test_an_interrupt_anywhere_in_an_open_leaves_the_directory_unlocked(tmp_path: Path) -> None:
    """And no thread of its own running; then another open has all that was there."""
    path = tmp_path / "tree"
    with RotorTree.open(path, n=2) as tree:
        tree.insert_many(leaves(0, 3))
    opened: list[RotorTree] = []

    def prepare() -> Callable[[], object]:
        def run() -> None:
            with contextlib.suppress(RuntimeError):  # by `threading`, interrupted where it waits
                opened.append(RotorTree.open(path))

        return run

    count = 0
    for place in everywhere(prepare):
        count += 1
        while opened:  # it was interrupted behind its end
            opened.pop().close()
        try:
            RotorTree.open(path, flush_policy=FlushPolicy.Manual()).close()
        except FileLockedError:
            raise AssertionError(place) from None
    assert count > 200
    with opened.pop() as tree:
        check_tree(tree, 2, 3)


@pytest.mark.evidence("fault", "DURABLE-28", "DURABLE-29", "DURABLE-34", "FORMAT-53")
@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("flush", "sync", "/wal/"),
        ("checkpoint", "sync_directory", "/wal"),
        ("checkpoint", "sync_directory", "/levels"),
        ("flush", "sync_directory", PATH),  # of the commit record that it replaces
    ],
)
def test_an_interrupt_does_not_hide_that_a_sync_failed(name: str, kind: str, part: str) -> None:
    """Wherever it comes when the sync has failed: no later call acknowledges the leaves."""
    trees: list[RotorTree] = []
    failed: list[str] = []

    def prepare() -> Callable[[], object]:
        disk = SimulatedDisk()
        tree = open_tree(disk, 2, record_acknowledgements=part == PATH)
        tree.insert_many(leaves(0, 4))
        failed.clear()
        trees[:] = [tree]

        def fail_once(call: Call) -> None:
            if call.kind == kind and part in call.path and not failed:
                failed.append(call.path)
                raise OSError(errno.EIO, "broken")

        disk.on_call = fail_once

        def run() -> None:
            with contextlib.suppress(StorageError):
                getattr(tree, name)()

        return run

    count = 0
    for place in everywhere(prepare):
        tree, sync = trees[0], bool(failed)
        count += sync
        before = tree.durable_size
        if sync:
            for change in (tree.flush, partial(tree.insert_durable, leaf(4)), tree.checkpoint):
                with pytest.raises(FlushFailedError) as caught:
                    change()
                assert not caught.value.retryable, place
            assert tree.durable_size == before, place
        abandon(tree)
    abandon(trees[0])
    assert count > 10


# A failed tree.


@pytest.mark.evidence("fault", "DURABLE-28", "DURABLE-29", "FORMAT-37")
@pytest.mark.parametrize("name", ["checkpoint", "flush", "close"])
@pytest.mark.parametrize("policy", [CheckpointPolicy.Manual(), CheckpointPolicy.OnClose()])
def test_what_waited_for_a_flush_that_failed_acknowledges_nothing(
    name: str, policy: CheckpointPolicy.Manual | CheckpointPolicy.OnClose
) -> None:
    """It waits for the lock, the fsync fails, and it raises; nothing is written any more."""
    disk = SimulatedDisk()
    gate = Gate("sync", "/wal/", OSError(errno.EIO, "broken"))
    tree = open_tree(disk, 2, checkpoint_policy=policy)
    tree.insert_many(leaves(0, 4))
    disk.on_call = gate
    first = Running(tree.flush)
    assert gate.reached.wait(SOON)
    second = Running(getattr(tree, name))
    second._thread.join(0.05)
    before = disk.files()
    gate.opened.set()
    assert first.ends()
    assert second.ends()
    for error in (first.error, second.error):
        assert isinstance(error, FlushFailedError)
        assert not error.retryable
    assert tree.durable_size == 0
    assert disk.files() == before
    abandon(tree)


@pytest.mark.evidence("fault", "DURABLE-28", "FORMAT-37")
@pytest.mark.parametrize("part", ["/levels/0/", "/levels/1/"])
def test_a_checkpoint_is_not_committed_when_a_flush_fails_meanwhile(part: str) -> None:
    """While level files are written, a sync of the log fails: no record, no file removed."""
    disk, gate = SimulatedDisk(), Gate("sync", part)
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 4))
    disk.on_call = gate
    checkpoint = Running(tree.checkpoint)
    assert gate.reached.wait(SOON)

    def fail_log(call: Call) -> None:
        if call.kind == "sync" and "/wal/" in call.path:
            raise OSError(errno.EIO, "broken")

    disk.on_call = fail_log
    tree.insert(leaf(4))
    with pytest.raises(FlushFailedError):
        tree.flush()
    before = len(disk.calls)
    gate.opened.set()
    assert checkpoint.ends()
    assert isinstance(checkpoint.error, FlushFailedError)
    assert not checkpoint.error.retryable
    later = disk.calls[before:]
    assert not [call for call in later if call.kind in ("rename", "unlink", "truncate")]
    assert not [call for call in later if call.kind == "pwritev" and "/levels/" not in call.path]
    assert tree.checkpoint_size == 0
    abandon(tree)


@pytest.mark.evidence("example", "DURABLE-25")
def test_waiting_waits_for_a_checkpoint_that_was_asked_for() -> None:
    """False while it runs and the time is over, True when it has ended."""
    disk, gate = SimulatedDisk(), Gate("sync", "/levels/")
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 4))
        disk.on_call = gate
        checkpoint = Running(tree.checkpoint)
        assert gate.reached.wait(SOON)
        assert not tree.wait_for_checkpoint(0)
        gate.opened.set()
        assert tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size == 4
        assert checkpoint.ends()


@pytest.mark.evidence("fault", "DURABLE-25")
def test_the_error_of_a_background_checkpoint_outlives_the_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It failed, the retry did not: the next wait raises the error, the one after that nothing."""
    monkeypatch.setattr("rotortree.durable.engine._RETRY_SECONDS", 0.001)
    disk = SimulatedDisk()
    failures = itertools.count()

    def fail_once(call: Call) -> None:
        if call.kind == "sync" and "/levels/" in call.path and not next(failures):
            raise OSError(errno.EIO, "broken")

    with open_tree(disk, 2, checkpoint_policy=CheckpointPolicy.EveryNEntries(4)) as tree:
        disk.on_call = fail_once
        tree.insert_many(leaves(0, 4))
        Running(lambda: [None for _ in iter(lambda: tree.checkpoint_size, 4)]).ends()
        with pytest.raises(CheckpointFailedError):
            tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size == 4
        assert tree.wait_for_checkpoint(SOON)
