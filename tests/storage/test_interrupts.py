"""Interrupts (Ctrl-C) of every call that waits, at any moment: nothing is lost, all goes on."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import rotortree_model as model
from rotortree import (
    CheckpointPolicy,
    FileLockedError,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import CRASHES, INTERRUPTED, Moment, after_crashes, go_wrong
from tests.storage.interrupting import everywhere, interrupted_while
from tests.storage.lives import MOMENTS, SCRIPT, WatchedTree, check_recovered
from tests.storage.threads import (
    SOON,
    Gate,
    Running,
    abandon_threaded,
    has_ended,
    open_threaded,
    until,
    watches,
)
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    leaves_of,
    open_tree,
)

LATER = FlushPolicy.Interval(3600)
"""Nothing is flushed by itself while a test runs."""

WAITS: dict[str, Callable[[RotorTree], object]] = {
    "flush": lambda tree: tree.flush(),
    "insert_durable": lambda tree: tree.insert_durable(leaf(tree.size)),
    "token.wait": lambda tree: tree.append(leaf(tree.size)).wait(),
    "checkpoint": lambda tree: tree.checkpoint(),
    "wait_for_checkpoint": lambda tree: tree.wait_for_checkpoint(),
    "close": lambda tree: tree.close(),
}
"""The calls of an open tree that wait."""


def is_locked(disk: SimulatedDisk) -> bool:
    """Whether an open is refused now."""
    try:
        open_tree(disk, read_only=True).close()
    except FileLockedError:
        return True
    return False


def survives(disk: SimulatedDisk, acknowledged: int, place: str) -> None:
    """What was acknowledged is there after a kill and after a power cut."""
    for left in after_crashes(disk, (CRASHES[0], CRASHES[-1])):
        with open_tree(left) as again:
            assert again.size >= acknowledged, place
            check_tree(again, 2, again.size)


# At every call of the disk.


def interrupted(number: int, moment: Moment) -> tuple[SimulatedDisk, model.History]:
    """A life in which one call is interrupted, and which then goes on."""
    disk = SimulatedDisk()
    go_wrong(disk, INTERRUPTED[moment], number)
    life = WatchedTree(disk)
    for step in SCRIPT:
        try:
            step(life)
        except KeyboardInterrupt:
            if life.tree is None or life.tree.closed:
                disk.restart()
                life.open()
        except StorageError:
            assert disk.faults.hits
    if life.tree is not None:
        abandon(life.tree)
    return disk, life.history


@pytest.mark.evidence("fault", "DURABLE-34")
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_call_loses_nothing_that_was_acknowledged(moment: Moment) -> None:
    """Whichever thread makes the call; what is acknowledged afterwards survives a power cut."""
    for number in itertools.count():
        disk, history = interrupted(number, moment)
        if not disk.faults.hits:
            break
        for left in after_crashes(disk, (CRASHES[0], CRASHES[-1])):
            check_recovered(left, history)
    assert number > 200


# A real signal, while the main thread waits.


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-34", "DURABLE-46")
@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("flush", "sync", "/wal/"),
        ("flush", "pwritev", "/wal/"),
        ("insert_durable", "sync", "/wal/"),
        ("token.wait", "sync", "/wal/"),
        ("checkpoint", "sync", "/wal/"),
        ("checkpoint", "sync", "/levels/"),
        ("checkpoint", "rename", "COMMIT"),
        ("wait_for_checkpoint", "sync", "/levels/"),
        ("close", "sync", "/wal/"),
        ("close", "rename", "COMMIT"),
    ],
)
def test_a_wait_that_is_interrupted_ends_and_nothing_else_does(
    name: str, kind: str, part: str
) -> None:
    """The disk hangs, SIGINT comes, KeyboardInterrupt is raised.  Then the disk goes on.

    Who waits in another thread is told.  The tree is not failed: it flushes, makes checkpoints and
    is closed; after an interrupted close it is closed and unlocked by itself.
    """
    disk, gate = SimulatedDisk(), Gate(kind, part)
    policy = CheckpointPolicy.EveryNEntries(4) if name.startswith("wait") else None
    tree = open_threaded(disk, 2, flush_policy=LATER, checkpoint_policy=policy)
    token = tree.insert_many(leaves(0, 3))[1]
    other = Running(token.wait)
    disk.on_call = gate
    tree.insert(leaf(3))
    is_waiting = gate.is_reached
    if name == "token.wait":  # which asks for nothing where the policy is an interval
        is_waiting = partial(until, lambda: watches(tree) == 2)
    assert interrupted_while(partial(WAITS[name], tree), is_waiting)
    gate.open()
    if name == "close":
        assert until(lambda: tree.closed and not is_locked(disk))
    else:
        tree.flush()
        assert tree.insert_durable(leaf(tree.size)) == tree.root
        tree.checkpoint()
        assert tree.checkpoint_size == tree.size
    assert other.ends()
    assert other.error is None
    tree.close()
    assert (tree.durable_size, is_locked(disk)) == (tree._engine.tree.size, False)
    assert has_ended(tree)
    check_goes_on(disk, 2, tree.durable_size)


@pytest.mark.evidence("fault", "DURABLE-33", "DURABLE-34")
@pytest.mark.parametrize(("kind", "part"), [("pread", "/wal/"), ("sync", "/wal/")])
def test_an_open_that_is_interrupted_while_the_disk_hangs_leaves_nothing_locked(
    kind: str, part: str
) -> None:
    """Nor any thread; the next open has all that was there."""
    disk, gate = SimulatedDisk(), Gate(kind, part)
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 4))
    tree.flush()
    abandon(tree)
    disk.restart()
    disk.on_call = gate
    before = threading.enumerate()
    assert interrupted_while(partial(open_threaded, disk), gate.is_reached)
    disk.on_call = None
    assert not is_locked(disk)
    assert threading.enumerate() == before
    check_goes_on(disk, 2, 4)


# At every place of a call.


class _Busy:
    """A tree with its background tasks, and a thread that waits for a token of it.

    The disk takes its time, so that whoever waits does so.
    """

    def __init__(self, flush_policy: FlushPolicy.Interval | FlushPolicy.Manual) -> None:
        self.disk = SimulatedDisk()
        self.tree = open_threaded(
            self.disk,
            2,
            flush_policy=flush_policy,
            checkpoint_policy=CheckpointPolicy.EveryNEntries(3),
        )
        self.tree.insert_many(leaves(0, 4))
        self.token = self.tree.insert(leaf(4))[1]
        self.waiter = Running(self.token.wait)

    def check(self, place: str, *, may_be_closed: bool) -> None:
        """The tree goes on, or is closed; nobody waits for ever; nothing is lost."""
        other = Running(lambda: self.tree.insert_durable(leaf(self.tree.size)))
        assert other.ends(), place
        if may_be_closed and (other.error is not None or self.tree._engine._checkpointer._closing):  # type: ignore[union-attr]
            assert until(lambda: self.tree.closed and not is_locked(self.disk)), place
        else:
            assert other.error is None, place
            size = self.tree.size
            token = self.tree.insert_many(leaves(size, size + 4))[1]
            assert Running(self.tree.checkpoint).ends(), place
            assert self.tree.wait_for_checkpoint(SOON), place
            assert self.tree.checkpoint_size == size + 4, place
            assert token.is_durable, place
        assert self.waiter.ends(), place
        assert self.waiter.error is None, place
        closing = Running(self.tree.close)
        assert closing.ends(), place
        assert closing.error is None, place
        assert not is_locked(self.disk), place
        assert has_ended(self.tree), place
        abandon(self.tree)
        least = self.tree.durable_size
        assert least == self.tree._engine.tree.size, place
        with open_tree(self.disk) as again:
            assert again.size >= least, place
            check_tree(again, 2, again.size)


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-18", "DURABLE-34")
@pytest.mark.parametrize("policy", [FlushPolicy.Manual(), FlushPolicy.Interval(0.001)])
@pytest.mark.parametrize("name", WAITS)
def test_an_interrupt_anywhere_leaves_a_tree_that_goes_on_or_is_closed(
    name: str, policy: FlushPolicy.Interval | FlushPolicy.Manual
) -> None:
    """In this library's code and the standard library's, with other threads present.

    Tokens are settled, checkpoints made, the lock is given back; the tree is never failed.
    """
    busy: list[_Busy] = []

    def prepare() -> Callable[[], object]:
        busy[:] = [_Busy(policy)]
        return partial(WAITS[name], busy[0].tree)

    places = list[str]()
    for place in everywhere(prepare):
        places.append(place)
        busy[0].check(place, may_be_closed=name == "close")
    busy[0].check("the end", may_be_closed=name == "close")
    assert any(name.rpartition(".")[2] in place for place in places)


@pytest.mark.evidence("fault", "DURABLE-34")
def test_what_is_acknowledged_after_an_interrupted_flush_survives_a_power_cut() -> None:
    """Wherever it came: another thread's insert_durable returns afterwards."""
    trees: list[tuple[SimulatedDisk, RotorTree]] = []

    def prepare() -> Callable[[], object]:
        disk = SimulatedDisk()
        tree = open_threaded(disk, 2)
        tree.insert(leaf(0))
        trees[:] = [(disk, tree)]
        return partial(tree.insert_durable, leaf(1))

    places = list[str]()
    for place in everywhere(prepare):
        places.append(place)
        disk, tree = trees[0]
        size = tree.size
        other = Running(partial(tree.insert_durable, leaf(size)))
        assert other.ends(), place
        assert other.error is None, place
        assert tree.durable_size == size + 1, place
        abandon_threaded(tree)
        survives(disk, size + 1, place)
    abandon_threaded(trees[0][1])
    assert len(places) > 20
    assert any("flush" in place for place in places)


@pytest.mark.evidence("fault", "DURABLE-18", "DURABLE-24", "DURABLE-25", "DURABLE-34")
def test_an_interrupt_anywhere_in_an_insert_stops_neither_of_the_background_threads() -> None:
    """Its leaf is in the tree or not.  If it is, it becomes durable by itself, like later ones.

    A checkpoint that is due is made, and no wait for it lasts for ever.
    """
    tree = open_threaded(
        SimulatedDisk(),
        2,
        flush_policy=FlushPolicy.Interval(0),
        checkpoint_policy=CheckpointPolicy.EveryNEntries(1),
    )

    def prepare() -> Callable[[], object]:
        tree.checkpoint()
        assert tree.wait_for_checkpoint(SOON)
        return lambda: tree.append(leaf(tree.size))

    count = 0
    for place in everywhere(prepare):
        count += 1
        assert until(lambda: tree.durable_size == tree.size), place
        waiting = Running(tree.wait_for_checkpoint)
        assert waiting.ends(), place
        assert tree.checkpoint_size == tree.size, place
        tree.append(leaf(tree.size)).wait(SOON)
        waiting = Running(tree.wait_for_checkpoint)
        assert waiting.ends(), place
        assert waiting.error is None, place
        assert tree.checkpoint_size == tree.size, place
    assert count > 10
    assert leaves_of(tree) == tuple(map(leaf, range(tree.size)))
    tree.close()


def interrupted_opens(path: Path) -> Iterator[str]:
    """Interrupt an open of a tree of three leaves at each place in turn; yield the place.

    What it opened, when the interrupt came behind its end, is closed.  The last one opens.
    """
    with RotorTree.open(path, n=2) as tree:
        tree.insert_many(leaves(0, 3))
    opened: list[RotorTree] = []

    def prepare() -> Callable[[], object]:
        def run() -> None:
            with contextlib.suppress(RuntimeError):  # by `threading`, interrupted where it waits
                opened.append(RotorTree.open(path))

        return run

    for place in everywhere(prepare):
        while opened:
            opened.pop().close()
        yield place
    with opened.pop() as tree:
        check_tree(tree, 2, 3)


@pytest.mark.evidence("fault", "DURABLE-33", "DURABLE-34")
@pytest.mark.filterwarnings("ignore:.* was not closed:ResourceWarning")
def test_an_interrupt_anywhere_in_an_open_leaves_the_directory_unlocked(tmp_path: Path) -> None:
    """Then another open has all that was there."""
    count = 0
    for place in interrupted_opens(tmp_path / "tree"):
        count += 1
        try:
            RotorTree.open(tmp_path / "tree", read_only=True).close()
        except FileLockedError:
            raise AssertionError(place) from None
    assert count > 200


def running() -> int:
    """How many threads run.  One that was never started, for an interrupt, may be listed."""
    return sum(thread.is_alive() for thread in threading.enumerate())


@pytest.mark.evidence("fault", "DURABLE-34")
@pytest.mark.filterwarnings("ignore:.* was not closed:ResourceWarning")
def test_an_interrupt_anywhere_in_an_open_leaves_no_thread(tmp_path: Path) -> None:
    """What it started ends when the exception is forgotten."""
    before = running()
    for place in interrupted_opens(tmp_path / "tree"):
        end = time.monotonic() + 1
        while running() > before and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)
        assert running() <= before, place


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
    """Wherever it comes: no later call acknowledges what the disk does not have.

    The tree is failed then, or what that sync covered was written anew.
    """
    trees: list[tuple[SimulatedDisk, RotorTree]] = []
    failed: list[str] = []

    def prepare() -> Callable[[], object]:
        disk = SimulatedDisk()
        tree = open_threaded(disk, 2, record_acknowledgements=part == PATH)
        tree.insert_many(leaves(0, 4))
        failed.clear()
        trees[:] = [(disk, tree)]

        def fail_once(call: Call) -> None:
            if call.kind == kind and part in call.path and not failed:
                failed.append(call.path)
                go_wrong(disk, "x", kind=kind)

        disk.on_call = fail_once

        def run() -> None:
            with contextlib.suppress(StorageError):
                getattr(tree, name)()

        return run

    count = 0
    for place in everywhere(prepare):
        disk, tree = trees[0]
        count += bool(failed)
        for change in (getattr(tree, name), partial(tree.insert_durable, leaf(4)), tree.checkpoint):
            calling = Running(change)
            assert calling.ends(), place
            if tree._engine.state.failure is not None:
                assert isinstance(calling.error, FlushFailedError), place
                assert not calling.error.retryable, place
        assert failed, place
        acknowledged = tree.durable_size
        abandon_threaded(tree)
        survives(disk, acknowledged, place)
    abandon_threaded(trees[0][1])
    assert count > 3


# What a thread cannot do.


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-18", "DURABLE-27")
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "full")])
def test_the_background_outlives_an_error(error: Exception) -> None:
    """A write fails, also for lack of memory; a later token is settled all the same."""
    disk = SimulatedDisk()
    failing = [error]

    def fail_once(call: Call) -> None:
        if call.kind == "pwritev" and failing:
            raise failing.pop()

    with open_threaded(disk, 2, flush_policy=FlushPolicy.Interval(0.001)) as tree:
        disk.on_call = fail_once
        token = tree.extend(leaves(0, 2))
        with contextlib.suppress(FlushFailedError):  # it may have become durable before
            token.wait(SOON)
        tree.extend(leaves(2, 4)).wait(SOON)
        assert token.is_durable
        assert failing == []
