"""Laws of names that change under a writer, and of locks that somebody takes away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from rotortree import DetachedError, FileLockedError, FlushPolicy, RotorTree
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.subjects.tree.life import PATH, Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import row
from tests.storage.names import (
    EVENTS,
    OTHER,
    TREE,
    Event,
    SimulatedMachine,
    contents,
    count_calls,
    lives_through,
    prepare,
)
from tests.storage.trees import leaves

__all__ = ["LAWS_OF_LOCKS", "names_that_change"]

_OTHERS = leaves(1000, 1009)
"""What `prepare` puts in the other tree."""


def names_that_change() -> Iterator[str | None]:
    """Every event before every call of a workload: what is wrong then, if anything."""
    prepared = SimulatedMachine()
    prepare(prepared)
    image = prepared.disk.image
    count = count_calls(SimulatedMachine(image))
    for event in EVENTS:
        for number in range(count):
            message = _wrong(image, event, number)
            yield message and f"{event.name}, before call {number}: {message}"


def _wrong(image: Image, event: Event, number: int) -> str | None:
    machine = SimulatedMachine(image)
    lived = lives_through(machine, event, number)
    if contents(machine, OTHER) != _OTHERS:
        return "another tree was changed"
    if "another one made at its path" in event.name and contents(machine, TREE) != _OTHERS:
        return "a tree at the same path was changed"
    if event.place is not None:
        found = contents(machine, event.place)
        if found != leaves(0, len(found)) or len(found) < lived.durable or lived.errors:
            return f"{lived}, and {len(found)} leaves are found"
        return None
    if lived.durable > max(lived.at_event, _kept(machine)):
        return f"{lived}, and {_kept(machine)} leaves are found"
    is_told = any(isinstance(error, DetachedError) for error in lived.errors)
    return None if is_told or lived.durable >= 15 else f"nobody was told: {lived}"


def _kept(machine: SimulatedMachine) -> int:
    """How many leaves the directory at the tree's path still gives, if it gives any of the tree."""
    with suppress(Exception):
        found = contents(machine, TREE)
        return len(found) if found == leaves(0, len(found)) else 0
    return 0


# Locks.


def _deleted_lock_still_locks() -> str | None:
    """Nobody else can open a tree whose LOCK was deleted: on the real disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tree")
        with RotorTree.open(path, flush_policy=FlushPolicy.Manual()):
            Path(path, "LOCK").unlink()
            with suppress(FileLockedError):
                RotorTree.open(path, flush_policy=FlushPolicy.Manual()).close()
                return "LOCK was deleted, and somebody else opened the tree"
    return None


def _loss_of_lock_is_noticed() -> str | None:
    """Where only LOCK is locked, a writer that lost it acknowledges nothing any more."""
    disk = SimulatedDisk()
    disk.can_lock_directories = False
    tree = open_tree(disk, Options())
    for number in range(2):  # the first leaf is promised, so that its segment stays
        tree.insert_durable(row(number, number + 1))
    disk.unlink(f"{PATH}/LOCK")
    other = open_tree(disk, Options())
    with suppress(DetachedError):
        tree.insert_durable(row(2, 3))
        return "two writers acknowledge"
    other.insert_durable(row(3, 4))
    abandon(tree)
    abandon(other)
    return None


def _lock_is_held_to_the_end() -> str | None:
    """As long as close works on the disk, nobody else can open the tree."""
    disk = SimulatedDisk()
    tree = open_tree(disk, Options())
    _ = tree.append(row(0, 1))
    opened = []

    def before(call: Call) -> None:
        disk.on_call = None
        with suppress(FileLockedError):
            abandon(open_tree(disk, Options(), read_only=True))
            opened.append(call)
        disk.on_call = before

    disk.on_call = before
    tree.close()
    disk.on_call = None
    return f"the tree could be opened before {opened[0]}" if opened else None


LAWS_OF_LOCKS: Mapping[str, Callable[[], str | None]] = MappingProxyType(
    {
        law.__name__.strip("_").replace("_", " "): law
        for law in (_deleted_lock_still_locks, _loss_of_lock_is_noticed, _lock_is_held_to_the_end)
    }
)
"""Every law of locks by its name; read-only."""
