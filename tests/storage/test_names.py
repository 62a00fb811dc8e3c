"""Names that change under a writer: it goes on in its own tree, or says that it cannot.

Every event of `tests.storage.names` strikes before every call that a workload makes of the file
system, on the simulated disk and on the real one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rotortree import DetachedError, FlushPolicy, RotorTree, StorageError
from tests.storage.names import (
    EVENTS,
    LAST_SIZE,
    TREE,
    Event,
    Machine,
    RealMachine,
    SimulatedMachine,
    contents,
    count_calls,
    lives_through,
    prepare,
)
from tests.storage.trees import leaves

EVERY_CALL = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)


def check_event(machine: Machine, event: Event, number: int) -> None:
    """What must be true after an event before a call of the workload."""
    lived = lives_through(machine, event, number)
    where = f"{event.name}, before call {number}: {lived}"
    assert not lived.touched, where
    if not event.detaches:
        assert event.place is not None
        assert not lived.errors, where
        assert contents(machine, event.place) == leaves(0, LAST_SIZE), where
        return
    if event.place is None:  # no more was acknowledged than before, unless it is there
        assert lived.durable <= max(lived.at_event, _kept(machine)), where
    else:
        assert lived.durable <= _kept(machine), where
    if lived.durable < LAST_SIZE:
        assert any(isinstance(error, DetachedError) for error in lived.errors), where


def _kept(machine: Machine) -> int:
    """How many of the leaves the next process finds at the tree's path."""
    try:
        found = contents(machine, TREE)
    except StorageError:
        return 0
    return len(found) if found == leaves(0, len(found)) else 0


@EVERY_CALL
@pytest.mark.usefixtures("unread")  # the independent reader takes as long again
@pytest.mark.evidence("example", "FORMAT-75", "DURABLE-57", "DURABLE-58")
def test_every_event_before_every_call_on_the_real_disk(event: Event, scratch: Path) -> None:
    """Other directories stay byte for byte as they are; the tree goes on where it is.

    Where it cannot, because it is not whole, it says so, and acknowledges nothing more that the
    next process would not find.
    """
    prepared = RealMachine(_folder(scratch / "prepared"))
    prepare(prepared)
    machines = 0

    def make() -> Machine:
        nonlocal machines
        machines += 1
        folder = scratch / str(machines)
        shutil.copytree(scratch / "prepared", folder, symlinks=True)
        return RealMachine(folder)

    check_every_call(event, make)


@EVERY_CALL
@pytest.mark.usefixtures("unread")
@pytest.mark.evidence("example", "FORMAT-75", "DURABLE-57", "DURABLE-58")
def test_every_event_before_every_call_on_the_simulated_disk(event: Event) -> None:
    """The same, where every call is seen."""
    prepared = SimulatedMachine()
    prepare(prepared)
    image = prepared.disk.image
    check_every_call(event, lambda: SimulatedMachine(image))


@pytest.mark.evidence("example", "DURABLE-58")
@pytest.mark.parametrize("name", ["levels", "levels/0"])
def test_a_checkpoint_looks_for_the_levels_that_were_read(name: str) -> None:
    """They are removed, or replaced by a copy: it commits nothing, and the tree is failed."""
    for replaced in (False, True):
        machine = SimulatedMachine()
        prepare(machine)
        tree = RotorTree.open(
            machine.path(TREE),
            environment=machine.environment(lambda: None),
            flush_policy=FlushPolicy.Manual(),
        )
        path = f"{TREE}/{name}"
        if replaced:
            machine.copy(path, "copy")
        machine.remove(path)
        if replaced:
            machine.move("copy", path)
        tree.insert_many(leaves(3, 9))
        with pytest.raises(DetachedError, match="levels/0"):
            tree.checkpoint()
        with pytest.raises(DetachedError):
            tree.flush()
        assert tree.checkpoint_size == 3
        with pytest.raises(DetachedError):
            tree.close()


def check_every_call(event: Event, make: Callable[[], Machine]) -> None:
    """Check an event before each call of the workload, each on a machine of its own."""
    count = count_calls(make())
    assert count > 50
    for number in range(count):
        check_event(make(), event, number)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
