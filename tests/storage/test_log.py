"""The log by itself: where it goes on, what it asks of the disk, and what its errors say."""

from __future__ import annotations

import errno
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from rotortree import DetachedError, FlushFailedError, IoFailedError, RotorTree, StorageError
from rotortree.durable import opening
from rotortree.errors import SyncFailedError
from rotortree.storage import recovery
from rotortree.storage.log import Leaves, Log
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from tests.storage.disk import disk_of, go_wrong, record
from tests.storage.names import Machine, RealMachine, SimulatedMachine
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    environment,
    leaf,
    leaves,
    model_root,
    open_tree,
)

FIRST, SECOND = (f"{PATH}/wal/{number:08d}.wal" for number in (1, 2))


def open_log(tree: RotorTree) -> Log:
    """The log of an open tree."""
    log = tree._engine._opened.log
    assert log is not None
    return log


def root(size: int) -> bytes:
    """The root of the first so many leaves, as logs store it."""
    return model_root(size, 2) or bytes(32)


def pending(tree: RotorTree) -> Leaves:
    """The leaves of a tree, as logs take them."""
    return partial(tree._engine.tree.views, 0)


def segments(disk: SimulatedDisk) -> list[str]:
    """The log's files."""
    return sorted(path for path in disk.files() if path.startswith(f"{PATH}/wal/"))


@pytest.mark.evidence("fault", "FORMAT-35")
@pytest.mark.parametrize(("kind", "script"), [("pwritev", "x"), ("identify", "xx")])
def test_a_flush_that_may_be_repeated_goes_on_in_the_same_segment(kind: str, script: str) -> None:
    """The write failed, or after the sync the disk would not say whether the segment is named."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
        tree.insert_many(leaves(1, 3))
        go_wrong(disk, script, kind=kind)
        with pytest.raises(FlushFailedError) as caught:
            tree.flush()
        assert caught.value.retryable
        tree.flush()
        assert segments(disk) == [FIRST]
        check_tree(tree, 2, 3)


@pytest.mark.evidence("fault", "FORMAT-37", "DURABLE-29")
@pytest.mark.parametrize(
    ("kind", "error"), [("sync", SyncFailedError), ("identify", DetachedError)]
)
def test_a_log_that_cannot_be_trusted_does_nothing_any_more(
    kind: str, error: type[Exception]
) -> None:
    """The sync of a unit failed, or its segment has no name: each later call raises that again."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))
    log = open_log(tree)
    tree.insert(leaf(1))
    code = errno.EIO if kind == "sync" else errno.ENOENT
    disk.faults.rules[:] = [Rule(kind, FIRST, "X", code)]
    calls: tuple[Callable[[], object], ...] = (
        lambda: log.append(2, pending(tree), root),
        lambda: log.switch(root),
        lambda: log.commit(1, root),
    )
    with pytest.raises(error) as first:
        calls[0]()
    disk.faults.rules.clear()
    before = len(disk.calls)
    for call in calls:
        with pytest.raises(error) as again:
            call()
        assert str(again.value) == str(first.value)
    assert len(disk.calls) == before
    abandon(tree)


def test_a_failed_sync_says_of_which_file() -> None:
    """And that it was one: of the leaves, and of the directory in which a segment got its name."""
    for kind, path, words in (
        ("sync", FIRST, f"{FIRST}: fsync failed"),
        ("rename", SECOND, f"{SECOND}: rename failed"),
    ):
        disk = SimulatedDisk()
        tree = open_tree(disk, 2)
        tree.insert(leaf(0))
        disk.faults.rules[:] = [Rule(kind, path, "x"), Rule(kind, f"{path}.tmp", "x")]
        with pytest.raises(FlushFailedError) as caught:
            tree.checkpoint()
        assert str(caught.value).startswith(f"the tree is failed: {words}: ")
        abandon(tree)


@pytest.mark.evidence("example", "FORMAT-76")
@pytest.mark.parametrize(("limit", "count"), [(320, 2), (321, 1), (480, 1), (481, 1)])
def test_a_segment_that_has_its_limit_is_not_appended_to(limit: int, count: int) -> None:
    """One of exactly that length has it: a header of 160 bytes, and a unit of one leaf."""
    disk = SimulatedDisk()
    world = replace(environment(disk), segment_bytes=limit)
    with open_tree(disk, 2, environment=world) as tree:
        tree.insert_durable(leaf(0))
        assert len(disk.files()[FIRST]) == 320
        tree.insert_durable(leaf(1))
        assert len(segments(disk)) == count


@pytest.mark.evidence("example", "DURABLE-58")
def test_a_flush_asks_once_whether_its_segment_is_named() -> None:
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
        disk.calls.clear()
        tree.insert_durable(leaf(1))
        assert [call for call in disk.calls if call.kind == "identify"] == [Call("identify", FIRST)]


@pytest.mark.evidence("example", "FORMAT-45", "FORMAT-44")
def test_a_record_is_written_while_another_thread_appends() -> None:
    """It asks for the log's directory then, for nobody knows what the segment holds."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))
    log, seen = open_log(tree), list[int]()
    original: Callable[..., object] = log._write

    def write(*arguments: object) -> None:
        log.commit(1, root)
        seen.append(record(disk).acknowledged.size)
        original(*arguments)

    log._write = write  # type: ignore[method-assign,assignment]  # one moment of an append
    tree.insert(leaf(1))
    log.append(2, pending(tree), root)
    assert seen == [1]
    abandon(tree)


@pytest.mark.evidence("fault", "DURABLE-58")
def test_an_open_whose_log_goes_says_so() -> None:
    """It was there to be read, and is gone when it is to be written to."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert(leaf(0))
    opening = Call("open_directory", f"{PATH}/wal")
    counted, disk = disk_of(disk.files()), disk_of(disk.files())
    abandon(open_tree(counted))
    times = counted.calls.count(opening)

    def remove(call: Call) -> None:
        if disk.calls.count(opening) == times:
            disk.on_call = None
            disk.move(f"{PATH}/wal", "elsewhere")

    disk.on_call = remove
    with pytest.raises(DetachedError) as caught:
        open_tree(disk)
    assert str(caught.value) == f"the tree is failed: {PATH}/wal was removed or moved"


@pytest.mark.evidence("fault", "DURABLE-57", "DURABLE-58")
@pytest.mark.parametrize("what", ["segment", "log"])
def test_what_is_replaced_between_reading_and_opening_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The last segment, by a file of somebody else's; the log's directory, by a copy."""
    path = tmp_path / "tree"
    with RotorTree.open(path, n=2) as tree:
        tree.insert_many(leaves(0, 3))
    segment, away = path / "wal" / "00000001.wal", tmp_path / "away"
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious" * 1000)

    def replace_it(*arguments: Any, **keywords: Any) -> Any:
        loaded = load(*arguments, **keywords)
        if what == "segment":
            segment.rename(away)
            segment.hardlink_to(precious)
        else:
            segment.parent.rename(away)
            shutil.copytree(away, segment.parent)
        return loaded

    load = recovery.load
    monkeypatch.setattr(opening, "load", replace_it)
    with pytest.raises(DetachedError, match="was replaced by another"):
        RotorTree.open(path)
    monkeypatch.undo()
    assert precious.read_bytes() == b"precious" * 1000
    if what == "segment":
        away.replace(segment)
    else:
        shutil.rmtree(segment.parent)
        away.rename(segment.parent)
    with RotorTree.open(path) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 3)


@pytest.mark.evidence("fault", "FORMAT-75", "DURABLE-57")
@pytest.mark.parametrize("real", [True, False], ids=["real", "simulated"])
@pytest.mark.parametrize("name", ["wal", "levels", "levels/0"])
def test_no_directory_is_written_through_a_link(tmp_path: Path, name: str, real: bool) -> None:
    """It may be another tree's: nothing is acknowledged there, and nothing is changed."""
    machine: Machine = RealMachine(tmp_path) if real else SimulatedMachine()
    world = machine.environment(lambda: None)
    for place in ("tree", "other"):
        with open_tree(world.files, 2, path=machine.path(place), environment=world) as tree:
            tree.insert_many(leaves(0, 3))
            if name == "levels/0" or place == "other":
                tree.checkpoint()
            tree.insert(leaf(3))
    machine.remove(f"tree/{name}")
    machine.link(f"{tmp_path if real else ''}/other/{name}", f"tree/{name}")
    before = machine.files("other")

    def write() -> None:
        with open_tree(world.files, path=machine.path("tree"), environment=world) as tree:
            tree.insert(leaf(4))
            tree.checkpoint()

    with pytest.raises(StorageError):  # at the open, or when it is written to
        write()
    assert machine.files("other") == before


@pytest.mark.evidence("fault", "DURABLE-54", "FORMAT-4", "FORMAT-80")
def test_a_name_that_cannot_be_removed_keeps_no_other_one(tmp_path: Path) -> None:
    """A directory whose name ends as that of an unfinished file."""
    path = tmp_path / "tree"
    with RotorTree.open(path, n=2) as tree:
        (path / "wal" / "00000000.tmp").mkdir()
        for index in range(5):
            tree.insert(leaf(index))
            tree.checkpoint()
        assert len(list((path / "wal").glob("*.wal"))) == 1


@pytest.mark.evidence("example", "FORMAT-40", "DURABLE-54")
def test_behind_an_interrupted_append_the_old_segment_is_cut_off() -> None:
    """Where the next one begins is where it ends, and what it holds behind that is given back."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))
    end = len(disk.files()[FIRST])
    tree.insert_many(leaves(1, 3))
    go_wrong(disk, "q", kind="pwritev")
    with pytest.raises(KeyboardInterrupt):
        tree.flush()
    assert len(disk.files()[FIRST]) > end
    tree.flush()
    assert len(disk.files()[FIRST]) == end
    assert segments(disk) == [FIRST, SECOND]
    check_tree(tree, 2, 3)
    tree.close()


@pytest.mark.evidence("example", "FORMAT-77", "FORMAT-50")
def test_a_segment_that_replaces_another_is_checkpointed_in_its_place() -> None:
    """Two flushes in a row were interrupted: the segment that the second one began is replaced."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_durable(leaf(0))
    tree.insert(leaf(1))
    for number in (0, 1):  # of the unit; then that of the new segment is the first one
        go_wrong(disk, "q", number, kind="pwritev")
        with pytest.raises(KeyboardInterrupt):
            tree.flush()
    tree.flush()
    stops = [(stop.head.size, stop.first_segment) for stop in open_log(tree).switch(root)]
    assert stops == [(1, 3), (2, 4)]
    tree.close()


@pytest.mark.evidence("example", "FORMAT-43", "FORMAT-44")
def test_a_record_acknowledges_what_is_checkpointed_and_what_any_record_did() -> None:
    """Whatever it is told to acknowledge: another thread may know less, or later."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 2))
    tree.flush()
    log = open_log(tree)
    (stop,) = log.switch(root)
    log.commit(0, root, to=stop)
    found = record(disk)
    assert (found.checkpoint.size, found.acknowledged.size, found.first_segment) == (2, 2, 2)
    tree.insert_durable(leaf(2))
    log.commit(3, root)
    log.commit(2, root)
    assert record(disk).acknowledged.size == 3
    abandon(tree)


@pytest.mark.evidence("fault", "DURABLE-59")
def test_a_lock_file_that_cannot_be_looked_at_is_an_error() -> None:
    """Where it is all that guards the tree."""
    disk = SimulatedDisk()
    disk.can_lock_directories = False
    with open_tree(disk, 2) as tree:
        tree.insert(leaf(0))
    disk.faults.rules[:] = [Rule("identify", f"{PATH}/LOCK", "x", errno.EACCES)]
    with pytest.raises(IoFailedError) as caught:
        open_tree(disk)
    assert (caught.value.path, caught.value.operation) == (f"{PATH}/LOCK", "stat")


@pytest.mark.evidence("example", "FORMAT-70", "DURABLE-5", "DURABLE-7")
@pytest.mark.parametrize("fold_leaves", [0, 2048])
@pytest.mark.parametrize("said", range(6))
def test_an_acknowledged_head_within_a_unit_is_as_good_as_any(said: int, fold_leaves: int) -> None:
    """A unit of five leaves, of which the record acknowledges the first so many.

    The format allows it.  The new segment begins where a unit ends: a tree that was opened and
    written to can be opened again.
    """
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 5))
    files = disk.files()
    data = bytearray(files[f"{PATH}/COMMIT"])
    data[104:144] = struct.pack("<Q", said) + (model_root(said, 2) or bytes(32))
    data[160:176] = blake3(bytes(data[:160])).digest(16)
    disk = disk_of({**files, f"{PATH}/COMMIT": bytes(data)})
    with open_tree(disk, read_only=True) as tree:
        assert tree.recovery.clean == (said == 5)
        check_tree(tree, 2, 5)
    world = replace(environment(disk), fold_leaves=fold_leaves)
    with open_tree(disk, environment=world) as tree:
        check_tree(tree, 2, 5)
        tree.insert_durable(leaf(5))
    for read_only in (True, False):
        with open_tree(disk, read_only=read_only) as tree:
            check_tree(tree, 2, 6)
    check_goes_on(disk, 2, 6)
