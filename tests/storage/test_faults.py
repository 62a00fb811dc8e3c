"""Calls that fail, and what the engine and its next open make of it."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rotortree import (
    CheckpointFailedError,
    FlushFailedError,
    IoFailedError,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import (
    CRASHES,
    FAILING,
    after_crash,
    after_crashes,
    disk_of,
    go_wrong,
    spare_creation,
)
from tests.storage.lives import (
    MOMENTS,
    SCRIPT,
    N,
    Step,
    WatchedTree,
    check_recovered,
    fault_free_calls,
)
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    open_tree,
)


def live_through(life: WatchedTree, outcome: Counter[str]) -> None:
    """Run the script; where a step fails, check what the error promises, and try it again."""
    for step in SCRIPT:
        try:
            step(life)
        except StorageError as error:
            outcome[type(error).__name__] += 1
            if not recover_from(life, step, error, outcome):
                return
    assert life.tree is not None
    assert life.tree.closed


def recover_from(life: WatchedTree, step: Step, error: StorageError, outcome: Counter[str]) -> bool:
    """Check the promises of an error; whether the life goes on with the next step."""
    if life.tree is None or step is WatchedTree.open:
        assert isinstance(error, IoFailedError)
        life.open()
        return True
    if step is WatchedTree.close:
        assert life.tree.closed
        if isinstance(error, FlushFailedError) and not error.retryable:
            return False
        life.open()
        life.close()
        return True
    check_tree(life.tree, N, life.size)  # reads go on
    if isinstance(error, FlushFailedError) and not error.retryable:
        outcome["fatal"] += 1
        check_failed_for_good(life)
        return False
    if isinstance(error, FlushFailedError):
        outcome["retryable"] += 1
        assert life.tree.durable_size < life.size or life.record
        life.flush()
    else:
        assert isinstance(error, CheckpointFailedError)
        life.checkpoint()
    assert life.tree.durable_size == life.size
    assert all(token.is_durable for token in life.tokens)
    return True


def check_failed_for_good(life: WatchedTree) -> None:
    """Every change and every token raises, reads go on, closing ends it."""
    tree = life.tree
    assert tree is not None
    size = life.size
    for change in (
        lambda: tree.insert(leaf(size)),
        lambda: tree.insert_many(leaves(size, size + 2)),
        lambda: tree.insert_durable(leaf(size)),
        tree.flush,
        tree.checkpoint,
        *(token.wait for token in life.tokens if not token.is_durable),
    ):
        with pytest.raises(FlushFailedError) as caught:
            change()
        assert not caught.value.retryable
    check_tree(tree, N, size)
    if tree.durable_size < size:
        with pytest.raises(FlushFailedError):
            tree.close()
    else:
        tree.close()
    assert tree.closed


def faults(calls: Sequence[Call]) -> Iterator[tuple[str, int, int]]:
    """Every call, failing before, half-way and after it did its work: letter, number, error."""
    codes = itertools.cycle((errno.EIO, errno.ENOSPC))
    for number, call in enumerate(calls):
        for moment in MOMENTS:
            possible = {"half": call.kind == "pwritev", "after": call.kind != "lock"}  # it is held
            if possible.get(moment, True):
                yield FAILING[moment], number, next(codes)


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(
            pytest.param(options, marks=pytest.mark.long)
            for options in ({"record": True}, {"on_close": True}, {"zeros_ahead": 700})
        ),
    ],
    ids=["plain", "record", "on-close", "zeros ahead"],
)
def test_a_failing_call_fails_its_operation_or_nothing(options: dict[str, Any]) -> None:
    """One failing call, each of the script's, before, half-way and after it did its work.

    The operation raises a typed error or succeeds; a retryable one succeeds when tried again; after
    a failed fsync of the log everything but reads raises; then the process ends, or power fails and
    takes everything that was not synced, and the oracle holds.  A failed sync loses its pages.
    """
    outcome = Counter[str]()
    seen = set()
    for letter, number, code in faults(fault_free_calls(**options)):
        disk = SimulatedDisk()
        spare_creation(disk)
        go_wrong(disk, letter, number, code=code)
        life = WatchedTree(disk, **options)
        live_through(life, outcome)
        assert disk.faults.hits
        outcome["runs"] += 1
        disk.faults.rules.clear()
        assert life.tree is not None
        if not life.tree.closed:
            abandon(life.tree)
        for left in after_crashes(disk, (CRASHES[0], CRASHES[-1])):
            state = (frozenset(left.files().items()), life.history)
            if state not in seen:
                seen.add(state)
                check_recovered(left, life.history)
    assert outcome["fatal"] > 10
    assert outcome["retryable"] > 10
    assert outcome["CheckpointFailedError"] > 10
    assert outcome["IoFailedError"] > 100


@pytest.mark.evidence("fault", "FORMAT-70", "DURABLE-30")
@pytest.mark.parametrize("closed", [False, True])
def test_what_a_failed_fsync_left_in_the_cache_alone_is_not_believed(closed: bool) -> None:
    """Fsync fails and its pages stay readable, clean and not on disk, as ext4 and xfs have it.

    The next open, without a reboot, must not build on what it reads there: what it shows survives
    a power cut.
    """
    disk = SimulatedDisk()
    life = WatchedTree(disk)
    life.open()
    life.insert(3)
    life.flush()
    life.insert(2)
    go_wrong(disk, "x", kind="sync")
    assert life.tree is not None
    with pytest.raises(FlushFailedError):
        life.flush()
    if closed:
        with pytest.raises(FlushFailedError):
            life.close()
    else:
        abandon(life.tree)
        disk.restart()
    life.open()
    abandon(life.tree)
    check_recovered(after_crash(disk, CRASHES[-1]), life.history)


@pytest.mark.evidence("fault", "DURABLE-32")
@pytest.mark.parametrize("most", [1, 7, 31, 32, 33, 100, 300])
def test_short_reads_and_writes_are_finished(most: int) -> None:
    """At most so many bytes per call: the same files as without a limit."""
    whole, short = SimulatedDisk(), SimulatedDisk()
    short.most = most
    for disk in (whole, short):
        life = WatchedTree(disk)
        for step in SCRIPT:
            step(life)
    assert short.counts["pwritev"] > whole.counts["pwritev"]
    assert short.files() == whole.files()


def test_a_write_that_moves_nothing_is_an_error() -> None:
    """A file system that writes 0 bytes for ever ends in a retryable error, not in a loop."""
    disk = SimulatedDisk()
    with open_tree(disk, N) as tree:
        tree.insert(leaf(0))
        disk.most = 0
        with pytest.raises(FlushFailedError) as caught:
            tree.flush()
        assert caught.value.retryable
        disk.most = None
        tree.flush()
    check_goes_on(disk, N, 1)


@pytest.mark.parametrize("kind", ["pwritev", "sync", "rename", "sync_directory"])
@pytest.mark.parametrize("number", range(3))
def test_a_disk_that_stays_broken_loses_nothing(kind: str, number: int) -> None:
    """From one of the first calls of a kind on, every one fails: typed errors, and the oracle."""
    disk = SimulatedDisk()
    life = WatchedTree(disk)
    life.open()
    seen = disk.counts[kind] + number

    def broken(call: Call) -> None:
        if call.kind == kind and disk.counts[kind] > seen:
            raise OSError(errno.EIO, "broken")

    disk.on_call = broken
    errors = 0
    for step in SCRIPT[1:13]:
        try:
            step(life)
        except StorageError:
            errors += 1
    assert errors
    assert life.tree is not None
    check_tree_if_open(life.tree, life.size)
    with contextlib.suppress(StorageError):
        life.close()
    disk.on_call = None
    check_recovered(after_crash(disk), life.history)


def check_tree_if_open(tree: RotorTree, size: int) -> None:
    """Reads go on unless the script came to the close."""
    if not tree.closed:
        check_tree(tree, N, size)


@pytest.mark.evidence("fault", "FORMAT-66")
def test_opening_fails_typed_and_unlocks() -> None:
    """Each call of an open fails once: IoFailedError, or no effect; the next open has everything.

    Both for a clean tree and for one that needs recovery and repair.
    """
    disk = SimulatedDisk()
    life = WatchedTree(disk)
    for step in SCRIPT[:13]:
        step(life)
    assert life.tree is not None
    unclean = after_crash(disk)
    life.close()
    clean = after_crash(disk)
    files = unclean.files()
    files[f"{PATH}/levels/1/00000000.nodes"] = b"nothing"
    for start, size in ((clean, 18), (unclean, 17), (disk_of(files), 17)):
        count = 0
        refused = 0
        while True:
            again = after_crash(start)
            go_wrong(again, "x", count)
            try:
                tree = open_tree(again)
            except IoFailedError as error:
                refused += error.path.startswith(PATH) and error.errno == errno.EIO
                tree = open_tree(again)
            again.faults.rules.clear()
            with tree:
                check_tree(tree, N, size)
            if not again.faults.hits:
                break
            count += 1
        assert refused > 15
