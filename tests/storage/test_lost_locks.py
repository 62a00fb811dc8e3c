"""Two writers, when somebody deletes or replaces the lock file of the first one.

The lock of the directory itself keeps the second one out.  Where directories cannot be locked, as
on NFS, the first one notices at its next flush, before it acknowledges anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import portalocker
import pytest

from rotortree import (
    DetachedError,
    DurabilityToken,
    FileLockedError,
    FlushFailedError,
    RotorTree,
    StorageError,
)
from rotortree.scheduler import ThreadScheduler
from rotortree.storage.directory import FileSystem
from rotortree.storage.os_directory import OsFileSystem
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    environment,
    leaf,
    leaves,
    leaves_of,
    open_tree,
)


class Place:
    """A tree's directory, on whatever disk, and what somebody does to its lock file."""

    def __init__(self, files: FileSystem, path: str, remove: Callable[[str], object]) -> None:
        self.files = files
        self.path = path
        self._remove = remove

    def open(self, **keywords: Any) -> RotorTree:
        """Open the tree, with manual flushes."""
        return open_tree(self.files, 2, path=self.path, **keywords)

    def delete(self) -> None:
        """The lock file is removed, as a stale one."""
        self._remove(f"{self.path}/LOCK")

    def replace(self) -> None:
        """There is another lock file: say, of a backup that was copied into the directory."""
        self.delete()
        root = self.files.directory(self.path)
        root.open_writable("LOCK", create=True).close()
        root.close()


def simulated(*, can_lock_directories: bool) -> Place:
    """On a simulated disk."""
    disk = SimulatedDisk()
    disk.can_lock_directories = can_lock_directories
    return Place(disk, PATH, disk.remove_tree)


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A directory that can be locked."""
    if request.param == "real":
        return Place(OsFileSystem(), str(tmp_path / "tree"), os.unlink)
    return simulated(can_lock_directories=True)


@pytest.fixture(params=["real", "simulated"])
def nfs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A directory that cannot be locked: the system says so as NFS does."""
    if request.param == "simulated":
        yield simulated(can_lock_directories=False)
        return
    lock = portalocker.lock

    def refusing(file: Any, flags: portalocker.LockFlags) -> None:
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise portalocker.LockException from OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(file, flags)

    monkeypatch.setattr(portalocker, "lock", refusing)
    yield Place(OsFileSystem(), str(tmp_path / "tree"), os.unlink)


WHAT_HAPPENS = pytest.mark.parametrize("happen", [Place.delete, Place.replace])


@WHAT_HAPPENS
@pytest.mark.evidence("example", "FORMAT-6", "DURABLE-46", "DURABLE-59")
def test_a_second_writer_is_refused_whatever_becomes_of_the_lock_file(
    place: Place, happen: Callable[[Place], None]
) -> None:
    """So is a reader; and a writer, while a reader has the tree open.  The first one goes on."""
    with place.open() as tree:
        tree.insert_durable(leaf(0))
        happen(place)
        for read_only in (False, True):
            with pytest.raises(FileLockedError) as caught:
                place.open(read_only=read_only)
            assert caught.value.path == f"{place.path}/LOCK"
        tree.insert_durable(leaf(1))
        tree.checkpoint()
        tree.insert(leaf(2))
    with place.open(read_only=True) as tree:
        check_tree(tree, 2, 3)
        if happen is not Place.delete or _has_lock_file(place):
            happen(place)
        with pytest.raises(FileLockedError):
            place.open()
        with place.open(read_only=True) as other:
            check_tree(other, 2, 3)


def _has_lock_file(place: Place) -> bool:
    """Whether there is one still: a reader makes none."""
    root = place.files.directory(place.path)
    with contextlib.closing(root):
        return "LOCK" in root.listdir()


@pytest.mark.evidence("example", "FORMAT-6", "DURABLE-46")
def test_the_lock_file_alone_guards_a_directory_that_cannot_be_locked(nfs: Place) -> None:
    """For as long as nobody touches it, the same holds: one writer, or many readers."""
    with nfs.open() as tree:
        tree.insert_durable(leaf(0))
        for read_only in (False, True):
            with pytest.raises(FileLockedError):
                nfs.open(read_only=read_only)
    with nfs.open(read_only=True), nfs.open(read_only=True) as tree:
        check_tree(tree, 2, 1)
        with pytest.raises(FileLockedError):
            nfs.open()


USES: tuple[Callable[[RotorTree], object], ...] = (
    RotorTree.flush,
    RotorTree.checkpoint,
    lambda tree: tree.insert_durable(leaf(tree.size)),
    lambda tree: tree.insert(leaf(tree.size))[1].wait(),
)


@WHAT_HAPPENS
@pytest.mark.evidence("example", "FORMAT-6", "FORMAT-34", "DURABLE-58", "DURABLE-59")
@pytest.mark.parametrize("number", range(len(USES)))
@pytest.mark.parametrize("does_second_open", [False, True])
@pytest.mark.parametrize("is_closed_before", [False, True])
def test_a_writer_whose_lock_file_is_gone_acknowledges_nothing_more(
    nfs: Place,
    happen: Callable[[Place], None],
    number: int,
    does_second_open: bool,
    is_closed_before: bool,
) -> None:
    """Its next use fails with DetachedError, whatever it is; and it is failed for good.

    A second writer may have opened the tree meanwhile.  All that either acknowledged is there: if
    the tree was closed before, both have the same segment open, and its end is the second one's.
    """
    first = nfs.open()
    first.insert_many(leaves(0, 10))
    first.flush()
    if is_closed_before:
        first.close()
        first = nfs.open()
    pending = first.insert(leaf(10))[1]
    happen(nfs)
    second = None
    if does_second_open:
        second = nfs.open()
        check_tree(second, 2, 10)
        second.insert_durable(leaf(10))
    with pytest.raises(DetachedError):
        USES[number](first)
    check_failed(first, pending)
    if second is None:
        second = nfs.open()
        check_tree(second, 2, 10)
        second.insert_durable(leaf(10))
    second.insert_durable(leaf(11))
    second.checkpoint()
    second.close()
    with nfs.open(read_only=True) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 12)


@WHAT_HAPPENS
@pytest.mark.evidence("example", "DURABLE-59")
def test_a_checkpoint_of_a_writer_whose_lock_file_is_gone_begins_no_segment(
    nfs: Place, happen: Callable[[Place], None]
) -> None:
    """Everything is flushed; its next segment would have the name of the second writer's."""
    first = nfs.open()
    first.insert_many(leaves(0, 10))
    first.flush()
    happen(nfs)
    with nfs.open() as second:
        second.insert_durable(leaf(10))
        with pytest.raises(DetachedError):
            first.checkpoint()
        second.insert_durable(leaf(11))
    with pytest.raises(DetachedError):
        first.close()
    with nfs.open(read_only=True) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 12)


def check_failed(tree: RotorTree, pending: DurabilityToken) -> None:
    """Every change of the tree raises, reads go on, and nothing is acknowledged."""
    durable = tree.durable_size
    for use in USES:
        with pytest.raises(FlushFailedError) as caught:
            use(tree)
        assert not caught.value.retryable
    with pytest.raises(FlushFailedError):
        pending.wait()
    assert leaves_of(tree)[:11] == leaves(0, 11)
    with pytest.raises(DetachedError):
        tree.close()
    assert (tree.durable_size, pending.is_durable) == (durable, False)


@WHAT_HAPPENS
@pytest.mark.evidence("example", "FORMAT-34", "DURABLE-59")
@pytest.mark.parametrize("kind", ["pwritev", "sync"])
@pytest.mark.parametrize("fold_leaves", [0, 2048])
def test_a_lock_file_that_goes_during_a_flush_is_missed_before_it_is_acknowledged(
    happen: Callable[[Place], None], kind: str, fold_leaves: int
) -> None:
    """A second writer comes while the first one writes or syncs: it alone acknowledges.

    Whether it removes the segment of the first one, or leaves it there.
    """
    place = simulated(can_lock_directories=False)
    disk = place.files
    assert isinstance(disk, SimulatedDisk)
    first = place.open()
    for start in (0, 5):
        first.insert_many(leaves(start, start + 5))
        first.flush()
    world = replace(environment(disk), fold_leaves=fold_leaves)
    opened = list[RotorTree]()

    def on_call(call: Call) -> None:
        if call.kind == kind and call.path.endswith(".wal"):
            disk.on_call = None
            happen(place)
            opened.append(place.open(environment=world))
            check_tree(opened[0], 2, 11 if kind == "sync" else 10)  # what is in the cache
            opened[0].insert_many(leaves(opened[0].size, 12))
            opened[0].flush()

    disk.on_call = on_call
    with pytest.raises(DetachedError):
        first.insert_durable(leaf(10))
    (second,) = opened
    second.insert_durable(leaf(12))
    second.close()
    with pytest.raises(DetachedError):
        first.close()
    check_goes_on(disk, 2, 13)


@pytest.mark.evidence("example", "DURABLE-59")
def test_a_checkpoint_of_a_writer_that_lost_its_lock_does_not_replace_the_record() -> None:
    """Not even while another thread of it flushes, and nobody knows where its log ends."""
    place = simulated(can_lock_directories=False)
    disk = place.files
    assert isinstance(disk, SimulatedDisk)
    world = replace(environment(disk), scheduler=ThreadScheduler())
    first = place.open(environment=world)
    first.insert_many(leaves(0, 10))
    flushing, may_go_on = threading.Event(), threading.Event()
    errors = list[StorageError]()

    def flush() -> None:
        try:
            first.insert_durable(leaf(10))
        except StorageError as error:
            errors.append(error)

    flusher = threading.Thread(target=flush)
    second = list[RotorTree]()

    def on_call(call: Call) -> None:
        if call.path.endswith("levels/0/00000000.nodes") and call.kind == "sync" and not second:
            flusher.start()
            assert flushing.wait(20)
            place.delete()
            second.append(place.open())
            second[0].insert_many(leaves(second[0].size, 14))
            second[0].close()
        elif second or call.kind != "sync" or not call.path.endswith(".wal"):
            return
        elif threading.current_thread() is flusher:
            flushing.set()
            assert may_go_on.wait(20)

    disk.on_call = on_call
    with pytest.raises(FlushFailedError):
        first.checkpoint()
    may_go_on.set()
    flusher.join(20)
    disk.on_call = None
    assert [type(error) for error in errors] == [DetachedError]
    with contextlib.suppress(StorageError):
        first.close()
    abandon(first)
    check_goes_on(disk, 2, 14)
