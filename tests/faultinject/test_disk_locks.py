"""Locks of the simulated disk: whom they keep out, and who cannot take them away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rotortree.storage.directory import Directory
from rotortree.storage.os_directory import OsFileSystem
from rotortree_faultinject.disk import SimulatedDisk


def lock_results(directory: Directory) -> list[object]:
    """What some ways to take locks come to."""
    found: list[object] = []

    def attempt(shared: bool) -> Callable[[], None]:
        try:
            lock = directory.lock("lock", shared=shared)
        except OSError as error:
            found.append(type(error))
            return lambda: None
        found.append((shared, lock.guards_directory))
        return lock.release

    attempt(True)()
    release = attempt(False)
    attempt(False)
    attempt(True)
    release()
    release()
    readers = [attempt(True), attempt(True)]
    attempt(False)
    for release in readers:
        attempt(False)
        release()
    attempt(False)()
    return found


def test_locks_exclude_each_other_as_the_real_ones_do(tmp_path: Path) -> None:
    """Shared ones only exclude exclusive ones; releasing twice is releasing once."""
    found = lock_results(SimulatedDisk().directory("."))
    assert found == lock_results(OsFileSystem().directory(str(tmp_path)))
    assert found.count(BlockingIOError) == 5


def test_a_directorys_lock_cannot_be_taken_away_with_its_file() -> None:
    """Whoever removes the lock file, or puts another one in its place, is kept out all the same."""
    disk = SimulatedDisk({"d": None, "d/other": b""})
    directory = disk.directory("d")
    lock = directory.lock("lock", shared=False)
    directory.rename("other", "lock")
    with pytest.raises(BlockingIOError):
        directory.lock("lock", shared=True)
    directory.unlink("lock")
    with pytest.raises(BlockingIOError):
        disk.directory("d").lock("lock", shared=False)
    assert "d/lock" not in disk.image
    lock.release()
    directory.lock("lock", shared=False)


def test_the_lock_of_a_directory_goes_with_it() -> None:
    """After a rename it is locked under its new name, and another one at the old path is not."""
    disk = SimulatedDisk({"d": None})
    disk.directory("d").lock("lock", shared=False)
    disk.move("d", "e")
    disk.mkdir("d")
    disk.directory("d").lock("lock", shared=False)
    with pytest.raises(BlockingIOError):
        disk.directory("e").lock("other", shared=True)


def test_where_directories_cannot_be_locked_the_file_is() -> None:
    """As on NFS: the lock says that it does not guard the directory, and removing it shows so."""
    disk = SimulatedDisk()
    disk.can_lock_directories = False
    root = disk.directory(".")
    assert not root.lock("lock", shared=True).guards_directory  # of nothing: there is no file
    assert not root.lock("lock", shared=False).guards_directory
    with pytest.raises(BlockingIOError):
        root.lock("lock", shared=True)
    root.unlink("lock")
    root.lock("lock", shared=False)
    assert not disk.crash().can_lock_directories
    assert not disk.restarted().can_lock_directories


def test_a_lock_that_is_refused_is_not_taken_by_half() -> None:
    """Where the file cannot be locked, the directory is free again."""
    disk = SimulatedDisk()
    disk.lock("lock", shared=False)
    root = disk.directory(".")
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            root.lock("lock", shared=False)
    root.lock("other", shared=False)


def test_a_lock_belongs_to_a_file_and_not_to_its_name() -> None:
    """Whoever puts another file in the place of a locked one has no protection."""
    disk = SimulatedDisk()
    disk.lock("lock", shared=False)
    disk.open("other", "create")
    disk.rename("other", "lock")
    disk.lock("lock", shared=False)


def test_a_dead_process_takes_its_locks_with_it() -> None:
    """And what it does to them later is nothing any more."""
    disk = SimulatedDisk()
    old = disk.lock("lock", shared=False)
    disk.restart()
    disk.lock("lock", shared=False)
    old.release()
    with pytest.raises(BlockingIOError):
        disk.lock("lock", shared=True)


def test_a_dead_process_has_no_locks_of_what_was_removed() -> None:
    """A directory that has no name any more can still be open, and is free."""
    disk = SimulatedDisk({"d": None})
    directory = disk.directory("d")
    directory.lock("lock", shared=False)
    disk.remove_tree("d")
    disk.restart()
    directory.identify(".")
    with pytest.raises(FileNotFoundError):  # and not BlockingIOError: nothing can be made there
        directory.lock("lock", shared=False)
