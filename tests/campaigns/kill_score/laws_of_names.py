"""Laws of names that change under a writer, and of locks that somebody takes away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from rotortree import (
    DetachedError,
    FileLockedError,
    FlushPolicy,
    ReentrantError,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.subjects.tree.life import PATH, Life, Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import row
from tests.storage.names import (
    EVENTS,
    LAST_SIZE,
    TREE,
    Event,
    SimulatedMachine,
    contents,
    count_calls,
    lives_through,
    prepare,
)
from tests.storage.trees import leaves

__all__ = ["LAWS_OF_NAMES", "names_that_change"]


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
    if lived.touched:
        return f"other files were changed: {lived}"
    if not event.detaches:
        assert event.place is not None  # where the tree goes on
        whole = contents(machine, event.place) == leaves(0, LAST_SIZE)
        return None if whole and not lived.errors else f"it did not go on: {lived}"
    least = lived.at_event if event.place is None else 0
    if lived.durable > max(least, _kept(machine)):
        return f"{lived}, and {_kept(machine)} leaves are found"
    is_told = any(isinstance(error, DetachedError) for error in lived.errors)
    return None if is_told or lived.durable >= LAST_SIZE else f"nobody was told: {lived}"


def _kept(machine: SimulatedMachine) -> int:
    """How many of the leaves the next process finds at the tree's path."""
    with suppress(StorageError):
        found = contents(machine, TREE)
        return len(found) if found == leaves(0, len(found)) else 0
    return 0


# Files of an open tree.


_LEAVES = f"{PATH}/levels/0"


def _lost_level_files_are_noticed() -> str | None:
    """A checkpoint whose leaf files lose their directory before it is done with them fails."""
    calls, _ = _checkpoint_that_loses_leaves(None)
    last = max(at for at, call in enumerate(calls) if call.path.startswith(f"{_LEAVES}/"))
    for number in range(last + 1):
        calls, is_told = _checkpoint_that_loses_leaves(number)
        if not is_told:
            return f"the directory of the leaves was removed before {calls[number]}"
    return None


def _checkpoint_that_loses_leaves(number: int | None) -> tuple[list[Call], bool]:
    """The calls of a second checkpoint, before one of which that directory goes; whether it fails.

    Up to the commit: what is mapped then was looked at.  It begins a second file of leaves.
    """
    disk, calls = SimulatedDisk(), list[Call]()
    tree = open_tree(disk, Options())
    tree.insert_many(row(0, 4))
    tree.checkpoint()
    tree.insert_many(row(4, 5))

    def before(call: Call) -> None:
        if call.kind == "rename" and call.path == f"{PATH}/COMMIT":
            disk.on_call = None
            return
        calls.append(call)
        if len(calls) - 1 == number:
            disk.on_call = None
            disk.remove_tree(_LEAVES)
            disk.on_call = before

    disk.on_call = before
    is_told = True
    with suppress(StorageError):
        tree.checkpoint()
        is_told = False
    disk.on_call = None
    abandon(tree)
    return calls, is_told


def _close_of_a_lost_log_raises() -> str | None:
    """A close that has something to record says that the log is gone."""
    disk = SimulatedDisk()
    tree = open_tree(disk, Options())
    tree.insert_durable(row(0, 1))
    disk.remove_tree(f"{PATH}/wal")
    with suppress(DetachedError):
        tree.close()
        return "the log was removed, and close recorded its end"
    return None


_LOG = f"{PATH}/wal"


def _what_is_replaced_while_a_tree_opens_is_left_alone() -> str | None:
    """The last segment, or the log's directory, is another one when it is opened to be written.

    It goes on in the segment of a closed tree, and begins one behind that of a killed process.
    """
    for kind, path, end in (
        ("open", f"{_LOG}/00000001.wal", ("close",)),
        ("open_directory", _LOG, ("flush", "kill")),
    ):
        opened = _tree_of_three(end)
        abandon(open_tree(opened.disk, Options()))
        call = Call(kind, path)
        machine = _tree_of_three(end)
        times = opened.disk.calls.count(call)
        machine.disk.on_call = partial(_replace_before, machine, call, times)
        with suppress(DetachedError):
            abandon(open_tree(machine.disk, Options()))
            return f"{path} was replaced before it was opened to be written, and nobody was told"
        files = machine.disk.files()
        moved = {name.removeprefix("away") for name in files if name.startswith("away")}
        if any(files[path + name] != files[f"away{name}"] for name in moved):
            return f"{path} was replaced, and what took its place was changed"
    return None


def _tree_of_three(end: tuple[str, ...]) -> SimulatedMachine:
    life = Life(Options())
    life.live(["open", "insert 3", *end])
    return SimulatedMachine(life.disk.image)


def _replace_before(machine: SimulatedMachine, call: Call, times: int, _: Call) -> None:
    """At the last of these calls, move away what it is about, and put a copy there."""
    if machine.disk.calls.count(call) == times:
        machine.disk.on_call = None
        machine.move(call.path, "away")
        machine.copy("away", call.path)


def _nothing_is_written_through_a_link() -> str | None:
    """A directory of level files that leads into another tree."""
    disk = SimulatedDisk()
    abandon(open_tree(disk, Options()))
    disk.mkdir("elsewhere")
    disk.rmdir(f"{PATH}/levels")
    disk.symlink("/elsewhere", f"{PATH}/levels")
    tree = open_tree(disk.restarted(), Options())
    tree.insert_many(row(0, 3))
    try:
        with suppress(StorageError):
            tree.checkpoint()
            return "level files were written through a link"
    finally:
        abandon(tree)
    return None


def _nothing_waits_on_the_thread_of_a_checkpoint() -> str | None:
    """A flush that a checkpoint's thread calls while it begins a segment is refused."""
    disk, refused = SimulatedDisk(), []
    tree = open_tree(disk, Options())
    tree.insert_many(row(0, 3))

    def before(call: Call) -> None:
        if call.kind == "rename" and call.path.endswith("00000002.wal"):
            disk.on_call = None
            _ = tree.append(row(3, 4))
            with suppress(ReentrantError):
                tree.flush()
                return
            refused.append(call)

    disk.on_call = before
    tree.checkpoint()
    abandon(tree)
    return None if refused else "a flush on the thread of a checkpoint got through"


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


LAWS_OF_NAMES: Mapping[str, Callable[[], str | None]] = MappingProxyType(
    {
        law.__name__.strip("_").replace("_", " "): law
        for law in (
            _lost_level_files_are_noticed,
            _close_of_a_lost_log_raises,
            _what_is_replaced_while_a_tree_opens_is_left_alone,
            _nothing_is_written_through_a_link,
            _nothing_waits_on_the_thread_of_a_checkpoint,
            _deleted_lock_still_locks,
            _loss_of_lock_is_noticed,
            _lock_is_held_to_the_end,
        )
    }
)
"""Every law by its name; read-only."""
