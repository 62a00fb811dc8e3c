"""What open and close do and refuse, beside recovery: records, names, paths, calls that fail."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rotortree import (
    CheckpointFailedError,
    InvalidConfigError,
    IoFailedError,
    RotorTree,
    StorageError,
)
from rotortree.storage.environment import Environment
from rotortree.storage.files import File, Lock, OpenMode, OsFileSystem
from rotortree.storage.format import (
    COMMIT,
    MAX_SEGMENT,
    Commit,
    SegmentHeader,
    segment_name,
)
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import disk_of
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    log_path,
    open_tree,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer


@pytest.mark.evidence("fault", "DURABLE-5", "DURABLE-20", "DURABLE-42", "FORMAT-71")
def test_what_open_shows_is_recorded_where_acknowledgements_are() -> None:
    """A life that did not record was killed; the next one records, and is killed: nothing is lost.

    Its log cut behind the header is an error then, and no shorter tree.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 3))
    tree.flush()
    abandon(tree)
    disk.restart()
    tree = open_tree(disk, record_acknowledgements=True)
    tree.flush()
    assert tree.durable_size == 3
    abandon(tree)
    files = disk.files()
    assert Commit.decode(files[f"{PATH}/{COMMIT}"], COMMIT).acknowledged.size == 3
    newest = log_path(files)
    with pytest.raises(StorageError):
        open_tree(disk_of({**files, newest: files[newest][:160]}))
    check_goes_on(disk_of(files), 2, 3)


class _BadFile:
    """A file whose close fails when it was done."""

    def __init__(self, file: File) -> None:
        self._file = file

    def size(self) -> int:
        return self._file.size()

    def pread(self, length: int, offset: int) -> bytes:
        return self._file.pread(length, offset)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        return self._file.pwritev(buffers, offset)

    def truncate(self, length: int) -> None:
        self._file.truncate(length)

    def sync(self) -> None:
        self._file.sync()

    def map(self, length: int) -> memoryview:
        return self._file.map(length)

    def close(self) -> None:
        self._file.close()
        raise OSError(errno.EIO, "close failed")


class _BadLock:
    """A lock that fails when it was given back."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def release(self) -> None:
        self._lock.release()
        raise OSError(errno.EIO, "unlock failed")


class _NothingCloses(OsFileSystem):
    """A file system on which every close and every unlock fails."""

    def open(self, path: str, mode: OpenMode) -> File:
        return _BadFile(super().open(path, mode))

    def lock(self, path: str, *, shared: bool) -> Lock:
        return _BadLock(super().lock(path, shared=shared))


@pytest.mark.evidence("fault", "DURABLE-31", "DURABLE-38")
def test_a_close_of_the_system_that_fails_fails_nothing(tmp_path: Path) -> None:
    """Everything that counts was synced before: the tree works, closes, and opens again."""
    environment = Environment(files=_NothingCloses())
    for size in (3, 6):
        with RotorTree.open(tmp_path / "tree", n=2, environment=environment) as tree:
            tree.insert_many(leaves(size - 3, size))
            tree.checkpoint()
    with RotorTree.open(tmp_path / "tree", environment=environment, read_only=True) as tree:
        check_tree(tree, 2, 6)


@pytest.mark.evidence("example", "DURABLE-31")
def test_a_relative_path_in_a_removed_working_directory_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IoFailedError, not the FileNotFoundError of the operating system."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(IoFailedError, match="getcwd"):
            RotorTree.open("log")
    finally:
        os.chdir(tmp_path)


def test_an_empty_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is given; it is not the working directory."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfigError):
        RotorTree.open("")
    assert list(tmp_path.iterdir()) == []


def _renumbered(disk: SimulatedDisk, number: int) -> SimulatedDisk:
    """The disk with another number of its only segment."""
    files = disk.files()
    first = f"{PATH}/wal/{segment_name(1)}"
    header = SegmentHeader.decode(files.pop(first), first)._replace(number=number)
    commit = Commit.decode(files[f"{PATH}/{COMMIT}"], COMMIT)
    commit = commit._replace(first_segment=number, last_segment=number)
    files[f"{PATH}/{COMMIT}"] = commit.encode()
    files[f"{PATH}/wal/{segment_name(number)}"] = header.encode()
    return disk_of(files)


@pytest.mark.evidence("example", "FORMAT-40")
def test_behind_the_largest_segment_number_there_is_no_segment() -> None:
    """A checkpoint fails and the tree goes on; a writer's open fails and a reader's does not."""
    disk = SimulatedDisk()
    open_tree(disk, 2).close()
    disk = _renumbered(disk, MAX_SEGMENT - 1)
    with open_tree(disk) as tree:
        tree.insert_many(leaves(0, 2))
        tree.checkpoint()
        assert log_path(disk.files()) == f"{PATH}/wal/{segment_name(MAX_SEGMENT)}"
        tree.insert(leaf(2))
        with pytest.raises(CheckpointFailedError, match=r": no number is left$"):
            tree.checkpoint()
        tree.insert_durable(leaf(3))
    tree = open_tree(disk)
    check_tree(tree, 2, 4)
    tree.insert_durable(leaf(4))
    abandon(tree)
    disk.restart()
    before = disk.files()
    with pytest.raises(IoFailedError) as caught:
        open_tree(disk)
    assert (caught.value.operation, caught.value.errno) == ("create", errno.EOVERFLOW)
    assert disk.files() == before
    with open_tree(disk, read_only=True) as tree:
        check_tree(tree, 2, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(("frame_leaves", "shard_nodes"), (0, -4, 2**32, 1.0, True)),
        *itertools.product(("zeros_ahead",), (-1, 2**32, 0.0, False)),
    ],
)
def test_sizes_that_no_file_can_have_are_refused(name: str, value: object) -> None:
    """Before there is a directory: InvalidConfigError, which names it."""
    with pytest.raises(InvalidConfigError) as caught:
        Environment(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.parameter, caught.value.value) == (name, value)


def test_a_level_file_holds_whole_groups() -> None:
    """Nodes that are no multiple of n: InvalidConfigError, and no directory is left."""
    disk = SimulatedDisk()
    with pytest.raises(
        InvalidConfigError, match="shard_nodes is 6, but it must be a multiple of 4"
    ):
        RotorTree.open("tree", n=4, environment=Environment(files=disk, shard_nodes=6))
    assert disk.files() in ({}, {"tree/LOCK": b""})
