"""What open and close do and refuse, beside recovery: records, names, paths, calls that fail."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotortree import (
    CheckpointFailedError,
    ConfigMismatchError,
    CustomHasher,
    DataCorruptionError,
    InvalidConfigError,
    IoFailedError,
    NotATreeError,
    ReadOnlyError,
    RotorTree,
    StorageError,
    TreeNotFoundError,
    WalCorruptedError,
)
from rotortree.cli.dump import described
from rotortree.storage.audit import audit
from rotortree.storage.directory import FileSystem
from rotortree.storage.environment import Environment
from rotortree.storage.format import (
    COMMIT,
    MAX_SEGMENT,
    Commit,
    SegmentHeader,
    segment_name,
)
from rotortree.storage.os_directory import OsFileSystem
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import after_crash, disk_of
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    leaf,
    leaves,
    leaves_of,
    log_path,
    open_tree,
)


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


class _NothingCloses:
    """A real file system, directory, file or lock, of which every close and every unlock fails."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*given: Any, **keywords: Any) -> Any:
            result = value(*given, **keywords)
            if name in ("close", "release"):
                raise OSError(errno.EIO, f"{name} failed")
            is_handle = hasattr(result, "close") or hasattr(result, "release")
            is_ours = is_handle and not isinstance(result, memoryview)
            return _NothingCloses(result) if is_ours else result

        return call


@pytest.mark.evidence("fault", "DURABLE-31", "DURABLE-38")
def test_a_close_of_the_system_that_fails_fails_nothing(tmp_path: Path) -> None:
    """Everything that counts was synced before: the tree works, closes, and opens again."""
    files: FileSystem = _NothingCloses(OsFileSystem())
    environment = Environment(files=files)
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


@pytest.mark.evidence("example", "DURABLE-51")
def test_a_tree_stays_where_it_is_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened by a relative path, then chdir to where the same path is another tree."""
    for name, count in (("a", 4), ("b", 10)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with RotorTree.open("tree") as tree:
            tree.insert_many(leaves(0, count))
    monkeypatch.chdir(tmp_path / "a")
    with RotorTree.open("tree") as tree:
        tree.insert_many(leaves(4, 8))
        monkeypatch.chdir(tmp_path / "b")
        tree.checkpoint()
    for name, count in (("a", 8), ("b", 10)):
        with RotorTree.open(tmp_path / name / "tree", read_only=True) as tree:
            assert leaves_of(tree) == leaves(0, count)


def test_a_thread_that_cannot_be_started_leaves_no_tree_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RuntimeError from open, and the lock is free again."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            RotorTree.open(tmp_path)
    with RotorTree.open(tmp_path) as tree:
        tree.insert_durable(leaf(0))


@pytest.mark.evidence("example", "FORMAT-2", "FORMAT-4", "FORMAT-10", "FORMAT-66")
def test_stray_names_are_passed_over_or_named(tmp_path: Path) -> None:
    """Numbers of no segment, huge gaps, pipes, directories: the tree or a typed error, at once."""

    tree_path = tmp_path / "tree"
    with RotorTree.open(tree_path) as tree:
        tree.insert_many(leaves(0, 5))
    for name in ("99999999999999999999.wal", "00000000.wal", "1.wal", "x.wal"):
        (tree_path / "wal" / name).write_bytes(b"")
        with RotorTree.open(tree_path) as tree:
            assert tree.size == 5
        (tree_path / "wal" / name).unlink()
    huge = tree_path / "wal" / "100000000.wal"
    huge.write_bytes(b"")
    with pytest.raises(DataCorruptionError):
        RotorTree.open(tree_path)
    huge.unlink()
    os.mkfifo(huge)
    with pytest.raises(StorageError, match="not a regular file"):
        RotorTree.open(tree_path)
    huge.unlink()
    (tree_path / "wal" / "x.tmp").mkdir()
    with RotorTree.open(tree_path) as tree:
        assert tree.size == 5
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotATreeError):
        RotorTree.open(tmp_path / "file")
    with pytest.raises(InvalidConfigError):
        RotorTree.open("\ud800")


@pytest.mark.evidence("example", "FORMAT-66")
@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "name",
    ["COMMIT", "LOCK", "wal", "wal/00000002.wal", "levels/0/00000000.nodes"],
)
def test_a_link_to_nothing_is_no_missing_file(tmp_path: Path, name: str, read_only: bool) -> None:
    """What it should lead to is perhaps on a disk that is not mounted: IoFailedError."""
    with RotorTree.open(tmp_path / "tree") as tree:
        tree.insert_many(leaves(0, 5))
        tree.checkpoint()
        tree.insert_many(leaves(5, 7))
    (tmp_path / "tree" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "tree" / name).symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(IoFailedError) as caught:
        RotorTree.open(tmp_path / "tree", read_only=read_only)
    assert caught.value.path.startswith(str(tmp_path / "tree" / name))
    (tmp_path / "tree" / name).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "tree" / name)
    with RotorTree.open(tmp_path / "tree", read_only=read_only) as tree:
        assert leaves_of(tree) == leaves(0, 7)


@pytest.mark.evidence("example", "FORMAT-6", "FORMAT-66")
@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
def test_a_lock_file_that_is_none_is_refused_at_once(
    tmp_path: Path, kind: Callable[[Path], None], read_only: bool
) -> None:
    """A pipe, for which an open waits, and a directory, which can be locked, too."""
    RotorTree.open(tmp_path / "tree").close()
    (tmp_path / "tree" / "LOCK").unlink()
    kind(tmp_path / "tree" / "LOCK")
    with pytest.raises(IoFailedError, match="LOCK"):
        RotorTree.open(tmp_path / "tree", read_only=read_only)


@pytest.mark.evidence("example", "FORMAT-3", "FORMAT-4", "FORMAT-9")
@pytest.mark.parametrize("level", ["007", "00", "\u0663", "x", "0.tmp"])
def test_only_levels_have_names_of_levels(tmp_path: Path, level: str) -> None:
    """What else is in ``levels/``, be it a file or a directory with files, does not count."""
    path = tmp_path / "tree"
    (path / "levels" / level).mkdir(parents=True)
    (path / "levels" / level / "x").write_bytes(b"")
    with pytest.raises(TreeNotFoundError):
        RotorTree.open(path, read_only=True)
    with RotorTree.open(path) as tree:
        assert tree.recovery.created
        tree.insert_many(leaves(0, 5))
    (path / "levels" / level / "x").unlink()
    (path / "levels" / level).rmdir()
    (path / "levels" / level).write_bytes(b"")
    with RotorTree.open(path) as tree:
        assert leaves_of(tree) == leaves(0, 5)
    (finding,) = audit(OsFileSystem(), str(path))
    assert (finding.path, finding.severity) == (f"{path}/levels/{level}", "note")
    assert described(OsFileSystem(), str(path))["levels"] == []


def test_a_missing_levels_directory_is_made_again(tmp_path: Path) -> None:
    """As after a crash that lost its name, or a copy without empty directories."""
    with RotorTree.open(tmp_path / "tree") as tree:
        tree.insert_many(leaves(0, 9))
    (tmp_path / "tree" / "levels").rmdir()
    with RotorTree.open(tmp_path / "tree") as tree:
        tree.checkpoint()
        assert tree.checkpoint_size == 9
    with RotorTree.open(tmp_path / "tree") as tree:
        assert leaves_of(tree) == leaves(0, 9)


@pytest.mark.evidence("example", "FORMAT-15")
def test_a_custom_scheme_must_be_named_again(tmp_path: Path) -> None:
    """A stored scheme that is not built in needs its hasher; another one is refused."""
    scheme = CustomHasher("first-child", lambda children: children[0])
    with RotorTree.open(tmp_path, hasher=scheme) as tree:
        tree.insert_many(leaves(0, 5))
    for hasher in (None, CustomHasher("other", lambda children: children[0])):
        with pytest.raises(ConfigMismatchError):
            RotorTree.open(tmp_path, hasher=hasher)
    with RotorTree.open(tmp_path, hasher=scheme) as tree:
        assert tree.root == leaf(0)


@pytest.mark.evidence("damage", "DURABLE-41", "DURABLE-42")
def test_recorded_acknowledgements_report_a_damaged_last_flush() -> None:
    """Unclosed, the last flush damaged: dropped as torn without, WalCorruptedError with."""
    for record in (False, True):
        disk = SimulatedDisk()
        tree = open_tree(disk, 2, record_acknowledgements=record)
        for index in range(3):
            tree.insert(leaf(index))
            tree.flush()
        files = after_crash(disk).files()
        tree.close()
        path = log_path(files)
        for damaged in (files[path][:-1] + b"?", files[path][:-1], files[path][:-160]):
            left = disk_of({**files, path: damaged})
            if record:
                with pytest.raises(WalCorruptedError) as caught:
                    open_tree(left)
                assert caught.value.leaves == (2, 3)
            else:
                with open_tree(left) as tree:
                    check_tree(tree, 2, 2)


@pytest.mark.evidence("example", "DURABLE-50")
def test_read_only_trees_refuse_changes(tmp_path: Path) -> None:
    """ReadOnlyError; nothing is written, not even by close."""
    RotorTree.open(tmp_path / "tree", n=2).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with RotorTree.open(tmp_path / "tree", read_only=True) as tree:
        for change in (lambda: tree.insert(leaf(0)), tree.flush, tree.checkpoint):
            with pytest.raises(ReadOnlyError):
                change()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
