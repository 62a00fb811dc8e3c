"""The process dies, or the power fails, at every call that the engine makes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest

import rotortree_model as model
from rotortree import StorageError
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import KINDS, Died
from tests.storage.disk import CRASHES, after_crash, after_crashes, go_wrong
from tests.storage.lives import (
    SCRIPT,
    N,
    WatchedTree,
    check_recovered,
    die_at,
    fault_free_calls,
    run_until_death,
)
from tests.storage.trees import (
    abandon,
    leaves_of,
    model_root,
    open_tree,
)


def test_there_is_something_to_fail() -> None:
    """The script makes every kind of call of the seam, and some hundreds."""
    counts = Counter(call.kind for call in fault_free_calls())
    assert set(counts) == set(KINDS) - {"truncate"}  # it is for failures, and zeros ahead
    assert counts.total() > 200
    assert counts["sync"] > 10


@pytest.mark.evidence("crash", "DURABLE-1", "DURABLE-2", "DURABLE-3", "DURABLE-4")
@pytest.mark.parametrize(
    ("record", "zeros_ahead"),
    [(False, 0), (True, 0), (False, 700)],
    ids=["plain", "record", "zeros ahead"],
)
def test_a_crash_at_any_call_loses_nothing_that_was_acknowledged(
    record: bool, zeros_ahead: int
) -> None:
    """Every call of the script × what the disk keeps of names and bytes that were not synced.

    The first of the six crashes is a killed process, the others are power cuts at their extremes.
    Equal states after equal histories are checked once.
    """
    states = list(crash_states(record, zeros_ahead))
    sizes = {check_recovered(left, history) for left, history in states}
    assert sizes >= {0, 1, 4, 12, 13, 17, 18, 19, 26, 27, 28}
    assert len(states) > 140


def crash_states(
    record: bool = False, zeros_ahead: int = 0
) -> Iterator[tuple[SimulatedDisk, model.History]]:
    """Every different state that a crash of the script leaves, with its history."""
    seen = set()
    for number in range(len(fault_free_calls(record, zeros_ahead=zeros_ahead))):
        disk = SimulatedDisk()
        die_at(disk, number)
        history = run_until_death(disk, record=record, zeros_ahead=zeros_ahead)
        for left in after_crashes(disk):
            state = (frozenset(left.files().items()), history)
            if state not in seen:
                seen.add(state)
                yield left, history


def killed_and_opened(life: WatchedTree) -> None:
    """The process is killed again, between two calls, and the tree opened."""
    assert life.tree is not None
    abandon(life.tree)
    life.disk.restart()
    life.open()


@pytest.mark.evidence("crash", "FORMAT-70", "DURABLE-5", "DURABLE-30")
def test_what_a_killed_process_left_in_the_cache_is_not_taken_for_durable() -> None:
    """Killed at every call of the script, opened, killed, opened, and only then the power goes.

    What the open showed and what was flushed after it is there, though the killed process had not
    synced it, its names, or their directories.  Half-way through a sync means that it failed, and
    that the process ended before it could do anything about it.
    """
    seen = set()
    for number, call in enumerate(fault_free_calls()):
        disk = SimulatedDisk()
        life = WatchedTree(disk)
        die_at(disk, number)
        if number % 2 and call.kind == "sync":
            go_wrong(disk, "xD", number)
        with contextlib.suppress(Died, StorageError):
            for step in SCRIPT:
                step(life)
        assert disk.faults.hits
        if life.tree is not None:
            abandon(life.tree)
        disk.restart()
        promises = (
            WatchedTree.open,
            killed_and_opened,
            (WatchedTree.checkpoint, WatchedTree.flush)[number % 2],
        )
        for promise in promises:
            promise(life)
            for left in after_crashes(disk, (CRASHES[1], CRASHES[-1])):
                state = (frozenset(left.files().items()), life.history)
                if state not in seen:
                    seen.add(state)
                    check_recovered(left, life.history)
            life.insert(3)  # the last of them stay pending
        assert life.tree is not None
        abandon(life.tree)


@pytest.mark.long
def test_a_crash_in_recovery_changes_nothing() -> None:
    """Every crash state of the script × every call of the open that follows: depth 2.

    The second crash, a kill or a power cut in turn, leaves the same leaves, wherever it happens.
    """
    nested = 0
    for left, history in crash_states():
        outcomes = set()
        for number in range(1_000_000):
            again = after_crash(left)
            die_at(again, number)
            try:
                tree = open_tree(again, N)
            except Died:
                nested += 1
                with open_tree(after_crash(again, CRASHES[number % len(CRASHES)]), N) as tree:
                    recovered = leaves_of(tree)
                    assert model.allowed(history, recovered)
                    assert tree.root == model_root(len(recovered), N)
                    outcomes.add(len(recovered))
            else:
                again.faults.rules.clear()
                outcomes.add(tree.size)
                tree.close()
                break
        assert len(outcomes) == 1
    assert nested > 1000
