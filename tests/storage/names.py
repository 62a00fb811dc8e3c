"""Names that change under a writer: what somebody else does to its directory, call by call.

An *event* is a few commands of an administrator on a *machine*: the simulated disk, or the real
one.  `lives_through` runs a workload and lets the event happen before the k-th call that the tree
makes of the file system, whichever thread makes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rotortree import FlushPolicy, RotorTree, RotorTreeError, StorageError
from rotortree.storage.directory import FileSystem
from rotortree.storage.environment import Environment
from rotortree.storage.os_directory import OsDirectory, OsFileSystem
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import Image
from tests.storage.trees import environment, leaf, leaves, leaves_of

__all__ = [
    "EVENTS",
    "LAST_SIZE",
    "TREE",
    "Event",
    "Lived",
    "Machine",
    "RealMachine",
    "SimulatedMachine",
    "contents",
    "count_calls",
    "lives_through",
    "prepare",
]

TREE = "tree"
OTHER = "other"
"""Directories of the machine: the tree that a writer has open by way of the link ``current``, and
another tree with other leaves."""
CURRENT = "current"


class Machine(Protocol):
    """A disk, and what an administrator can do to it.  Paths are relative to its root."""

    def environment(self, before: Callable[[], None]) -> Environment:
        """Where trees live that call ``before`` before each call of the file system."""

    def path(self, name: str) -> str:
        """What a program calls a path."""

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""

    def files(self, directory: str) -> Mapping[str, bytes]:
        """Every file below a directory, by its path from there."""

    def link(self, target: str, name: str) -> None:
        """Let a symbolic link lead to ``target`` from now on, atomically."""

    def move(self, old: str, new: str) -> None:
        """Rename a file or directory."""

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with everything in it."""

    def copy(self, old: str, new: str) -> None:
        """Copy a file, or a directory with everything in it, to a new name."""


class RealMachine:
    """A folder of the operating system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def environment(self, before: Callable[[], None]) -> Environment:
        """See `Machine`."""
        hooked: FileSystem = _Hooked(OsFileSystem(), before)
        return environment(hooked)

    def path(self, name: str) -> str:
        """See `Machine`."""
        return f"{self._root}/{name}"

    def names(self, directory: str) -> list[str]:
        """See `Machine`."""
        return sorted(os.listdir(self._root / directory))

    def files(self, directory: str) -> Mapping[str, bytes]:
        """See `Machine`."""
        top = self._root / directory
        return {
            path.relative_to(top).as_posix(): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }

    def link(self, target: str, name: str) -> None:
        """See `Machine`."""
        (self._root / "new-link").symlink_to(target)
        os.replace(self._root / "new-link", self._root / name)

    def move(self, old: str, new: str) -> None:
        """See `Machine`."""
        os.rename(self._root / old, self._root / new)

    def remove(self, name: str) -> None:
        """See `Machine`."""
        path = self._root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def copy(self, old: str, new: str) -> None:
        """See `Machine`."""
        path = self._root / old
        shutil.copytree(path, self._root / new) if path.is_dir() else shutil.copy(
            path, self._root / new
        )


class _Hooked:
    """A real file system, directory or file; before each of its calls a function is called."""

    def __init__(self, inner: object, before: Callable[[], None]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value) or name == "close":
            return value

        def call(*given: Any, **keywords: Any) -> Any:
            self._before()
            result = value(*given, **keywords)
            is_handle = isinstance(result, OsDirectory) or hasattr(result, "pread")
            return _Hooked(result, self._before) if is_handle else result

        return call


class SimulatedMachine:
    """A simulated disk."""

    def __init__(self, image: Image | None = None) -> None:
        self.disk = SimulatedDisk(image)

    def environment(self, before: Callable[[], None]) -> Environment:
        """See `Machine`."""
        self.disk.on_call = lambda call: before()
        return environment(self.disk)

    def path(self, name: str) -> str:
        """See `Machine`."""
        return name

    def names(self, directory: str) -> list[str]:
        """See `Machine`."""
        start = f"{directory}/"
        image = self.disk.image
        return sorted(
            path.removeprefix(start)
            for path in image
            if path.startswith(start) and "/" not in path.removeprefix(start)
        )

    def files(self, directory: str) -> Mapping[str, bytes]:
        """See `Machine`."""
        start = f"{directory}/"
        return {
            path.removeprefix(start): data
            for path, data in self.disk.files().items()
            if path.startswith(start)
        }

    def link(self, target: str, name: str) -> None:
        """See `Machine`."""
        self.disk.symlink(target, "new-link")
        self.disk.move("new-link", name)

    def move(self, old: str, new: str) -> None:
        """See `Machine`."""
        self.disk.move(old, new)

    def remove(self, name: str) -> None:
        """See `Machine`."""
        self.disk.remove_tree(name)

    def copy(self, old: str, new: str) -> None:
        """See `Machine`."""
        data = self.disk.image[old]
        if isinstance(data, bytes):
            file = self.disk.open(new, "create")
            file.pwritev([data], 0)
            return
        self.disk.mkdir(new)
        for name in self.names(old):
            self.copy(f"{old}/{name}", f"{new}/{name}")


class Event(NamedTuple):
    """What somebody does to the tree's directory while a writer has it open.

    ``place``: where a tree with all that was acknowledged is afterwards; None where none is.
    ``detaches``: the writer's files are not those of a tree any more.  ``strangers``: directories
    that are not the writer's afterwards, and not to be touched.
    """

    name: str
    do: Callable[[Machine], None]
    place: str | None
    detaches: bool = False
    strangers: tuple[str, ...] = (OTHER,)


def _last(machine: Machine) -> str:
    """The path of the last log segment; the first one's before there is any."""
    try:
        names = [name for name in machine.names(f"{TREE}/wal") if name.endswith(".wal")]
    except OSError:
        names = []
    return f"{TREE}/wal/{max(names, default='00000001.wal')}"


def _exists(machine: Machine, path: str) -> bool:
    directory, _, name = path.rpartition("/")
    try:
        return name in machine.names(directory)
    except OSError:
        return False


def _flip(machine: Machine) -> None:
    machine.link(OTHER, CURRENT)


def _move(machine: Machine) -> None:
    machine.move(TREE, "moved")


def _move_and_make(machine: Machine) -> None:
    _move(machine)
    machine.copy(OTHER, TREE)


def _restore(machine: Machine) -> None:
    machine.copy(TREE, "backup")
    machine.move(TREE, "moved")
    machine.move("backup", TREE)


def _remove(machine: Machine) -> None:
    machine.remove(TREE)


def _remove_and_make(machine: Machine) -> None:
    machine.remove(TREE)
    machine.copy(OTHER, TREE)


def _remove_lock(machine: Machine) -> None:
    if _exists(machine, f"{TREE}/LOCK"):
        machine.remove(f"{TREE}/LOCK")


def _remove_record(machine: Machine) -> None:
    if _exists(machine, f"{TREE}/COMMIT"):
        machine.remove(f"{TREE}/COMMIT")


def _remove_log(machine: Machine) -> None:
    machine.remove(f"{TREE}/wal")


def _remove_segment(machine: Machine) -> None:
    if _exists(machine, _last(machine)):
        machine.remove(_last(machine))


def _move_segment(machine: Machine) -> None:
    if _exists(machine, _last(machine)):
        machine.move(_last(machine), "segment")


def _replace_segment(machine: Machine) -> None:
    last = _last(machine)
    if _exists(machine, last):
        machine.copy(last, "segment")
        machine.move("segment", last)


def _replace_log(machine: Machine) -> None:
    machine.copy(f"{TREE}/wal", "wal-copy")
    machine.remove(f"{TREE}/wal")
    machine.move("wal-copy", f"{TREE}/wal")


def _replace_levels(machine: Machine) -> None:
    machine.copy(f"{TREE}/levels", "levels-copy")
    machine.remove(f"{TREE}/levels")
    machine.move("levels-copy", f"{TREE}/levels")


EVENTS = (
    Event("a link to the tree is flipped to another tree", _flip, TREE),
    Event("the tree is moved", _move, "moved"),
    Event(
        "the tree is moved, and another put at its path",
        _move_and_make,
        "moved",
        strangers=(OTHER, TREE),
    ),
    Event(
        "the tree is moved, and a copy put at its path",
        _restore,
        "moved",
        strangers=(OTHER, TREE),
    ),
    Event("the tree is removed", _remove, None, detaches=True),
    Event(
        "the tree is removed, and another put at its path",
        _remove_and_make,
        None,
        detaches=True,
        strangers=(OTHER, TREE),
    ),
    Event("the lock file is removed", _remove_lock, TREE),
    Event("the commit record is removed", _remove_record, TREE),
    Event("the log is removed", _remove_log, None, detaches=True),
    Event("the open segment is removed", _remove_segment, None, detaches=True),
    Event("the open segment is moved away", _move_segment, None, detaches=True),
    Event("the open segment is replaced by a copy", _replace_segment, TREE, detaches=True),
    Event("the log is replaced by a copy", _replace_log, TREE, detaches=True),
    Event("the level files are replaced by a copy", _replace_levels, TREE, detaches=True),
)


class Lived(NamedTuple):
    """What came of a workload.

    ``at_event``: how many leaves were durable when the event happened; ``durable``: in the end.
    ``errors``: what its calls raised.  ``touched``: which strangers' files are others now.
    """

    at_event: int
    durable: int
    errors: tuple[RotorTreeError, ...]
    touched: tuple[str, ...]


LAST_SIZE = 15
"""How many leaves the tree has after all steps."""


def _insert_and_checkpoint(tree: RotorTree) -> None:
    tree.insert_many(leaves(tree.size, tree.size + 5))
    tree.checkpoint()


def _append_and_flush(tree: RotorTree) -> None:
    tree.insert(leaf(tree.size))
    tree.flush()


def _append_and_close(tree: RotorTree) -> None:
    tree.insert(leaf(tree.size))
    tree.close()


STEPS: tuple[Callable[[RotorTree], object], ...] = (
    lambda tree: tree.insert_durable(leaf(tree.size)),
    _insert_and_checkpoint,
    lambda tree: tree.insert_many(leaves(tree.size, tree.size + 4))[1].wait(),
    _append_and_flush,
    RotorTree.checkpoint,
    _append_and_close,
)


def prepare(machine: Machine) -> None:
    """Make the other tree, with leaves of its own, and the link to the one that is tested."""
    with RotorTree.open(machine.path(OTHER), environment=machine.environment(_nothing)) as tree:
        tree.insert_many(leaves(1000, 1007))
        tree.checkpoint()
        tree.insert_many(leaves(1007, 1009))
    environment = machine.environment(_nothing)
    with RotorTree.open(machine.path(TREE), n=2, environment=environment) as tree:
        tree.insert_many(leaves(0, 3))
        tree.checkpoint()
    machine.link(TREE, CURRENT)


def _nothing() -> None:
    """No event."""


class _Countdown:
    """Calls a function before the k-th call, counted from 0; counts on behind it."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self.count = 0
        self._number = number
        self._then = then
        self._is_inside = False

    def __call__(self) -> None:
        if self._is_inside:  # the event's own calls
            return
        self.count += 1
        if self.count == self._number + 1:
            self._is_inside = True
            self._then()
            self._is_inside = False


def lives_through(machine: Machine, event: Event, number: int) -> Lived:
    """Open the tree, let the event happen before call ``number``, do all steps; close.

    Requires a machine that was prepared.
    """
    at_event = 0
    before_it = dict[str, Mapping[str, bytes]]()
    tree: RotorTree

    def happen() -> None:
        nonlocal at_event
        at_event = tree.durable_size
        event.do(machine)
        before_it.update({place: machine.files(place) for place in event.strangers})

    countdown = _Countdown(number, happen)
    is_open = False

    def before() -> None:
        if is_open:
            countdown()

    errors = []
    manual = FlushPolicy.Manual()
    tree = RotorTree.open(
        machine.path(CURRENT), environment=machine.environment(before), flush_policy=manual
    )
    is_open = True
    for step in STEPS:
        try:
            step(tree)
        except StorageError as error:
            errors.append(error)
    if not tree.closed:
        try:
            tree.close()
        except StorageError as error:
            errors.append(error)
    touched = [place for place, files in before_it.items() if machine.files(place) != files]
    assert before_it, "the event did not happen"
    return Lived(at_event, tree.durable_size, tuple(errors), tuple(touched))


def count_calls(machine: Machine) -> int:
    """How many calls the workload makes where nothing happens.  Requires a prepared machine."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    environment = machine.environment(count)
    tree = RotorTree.open(
        machine.path(CURRENT), environment=environment, flush_policy=FlushPolicy.Manual()
    )
    calls = 0
    for step in STEPS:
        step(tree)
    return calls


def contents(machine: Machine, place: str) -> tuple[bytes, ...]:
    """The leaves of the tree at a place."""
    environment = machine.environment(_nothing)
    with RotorTree.open(
        machine.path(place), read_only=True, create=False, environment=environment
    ) as tree:
        return leaves_of(tree)
