"""Interrupts (Ctrl-C), and what else is no failing call, at every call; and moving processes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rotortree_model as model
from rotortree import (
    ConfigMismatchError,
    CustomHasher,
    DataCorruptionError,
    FlushPolicy,
    InvalidConfigError,
    IoFailedError,
    NotATreeError,
    RotorTree,
    StorageError,
    TreeNotFoundError,
)
from rotortree.cli.dump import described
from rotortree.storage.audit import audit
from rotortree.storage.files import OsFileSystem
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import CRASHES, INTERRUPTED, Moment, after_crashes, go_wrong
from tests.storage.lives import MOMENTS, SCRIPT, Life, check_recovered
from tests.storage.trees import abandon, leaf, leaves, leaves_of


def interrupted(number: int, moment: Moment) -> tuple[SimulatedDisk, model.History]:
    """A life in which one call is interrupted, and which then goes on as well as it can."""
    disk = SimulatedDisk()
    go_wrong(disk, INTERRUPTED[moment], number)
    life = Life(disk)
    for step in SCRIPT:
        try:
            step(life)
        except KeyboardInterrupt:
            if life.tree is None or life.tree.closed:
                disk.restart()
                life.open()
        except StorageError:
            assert disk.faults.hits
    if life.tree is not None:
        abandon(life.tree)
    return disk, life.history


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_call_loses_nothing_that_was_acknowledged(moment: Moment) -> None:
    """After it the tree goes on or refuses to; what it acknowledges then survives a power cut."""
    for number in itertools.count():
        disk, history = interrupted(number, moment)
        if not disk.faults.hits:
            break
        for left in after_crashes(disk, (CRASHES[0], CRASHES[-1])):
            check_recovered(left, history)
    assert number > 200


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


def test_the_flusher_outlives_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One MemoryError in the background; a later token is settled all the same."""
    with RotorTree.open(tmp_path, flush_policy=FlushPolicy.Interval(0.001)) as tree:
        real = tree._engine._write_unit
        failures = iter([MemoryError()])

        def fail_once(*arguments: Any) -> None:
            for failure in failures:
                raise failure
            real(*arguments)

        monkeypatch.setattr(tree._engine, "_write_unit", fail_once)
        token = tree.extend(leaves(0, 2))
        try:
            token.wait(10)
        except StorageError:
            token.wait(10)
        assert token.is_durable


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
