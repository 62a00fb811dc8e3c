"""What a tree does to its lock file, and when it replaces its commit record."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from rotortree import CheckpointFailedError, RotorTree
from rotortree.storage.format import COMMIT, Head
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import after_crash, go_wrong, record
from tests.storage.trees import (
    PATH,
    abandon,
    check_tree,
    environment,
    leaf,
    leaves,
    model_root,
    open_tree,
)


@pytest.mark.evidence("example", "FORMAT-6")
def test_the_lock_is_a_flock_of_a_file_that_a_writer_makes(tmp_path: Path) -> None:
    """Exclusive for a writer, who makes the file, and shared for a reader; nobody waits."""
    path = tmp_path / "tree"
    RotorTree.open(path, n=2).close()
    (path / "LOCK").unlink()
    for read_only in (False, True):
        with RotorTree.open(path, read_only=read_only), (path / "LOCK").open() as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if read_only:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            else:
                with pytest.raises(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert (path / "LOCK").read_bytes() == b""


def records(disk: SimulatedDisk) -> int:
    """How many times the commit record was replaced."""
    return sum(call == Call("rename", f"{PATH}/{COMMIT}") for call in disk.calls)


STEPS = (
    *("", "insert", "insert flush", "checkpoint", "insert checkpoint"),
    *("insert checkpoint insert", "insert vain"),
)
"""What is done before a close; ``vain``: a checkpoint that begins a segment, and then fails."""


@pytest.mark.evidence("example", "FORMAT-45")
@pytest.mark.parametrize("kind", ["created", "closed", "killed"])
@pytest.mark.parametrize("steps", STEPS)
def test_a_close_replaces_a_record_that_says_something_else(steps: str, kind: str) -> None:
    """Afterwards it has all leaves and the last segment; where it had both, nothing is written."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    if kind != "created":
        tree.insert_many(leaves(0, 3))
        tree.flush()
        if kind == "closed":
            tree.close()
        else:
            abandon(tree)
            disk = after_crash(disk)
        tree = open_tree(disk)
    for step in steps.split():
        if step == "insert":
            tree.insert(leaf(tree.size))
        elif step == "vain":
            go_wrong(disk, "x", kind="rename", number=1)
            with pytest.raises(CheckpointFailedError):
                tree.checkpoint()
        else:
            getattr(tree, step)()
    before, count = record(disk), records(disk)
    size = tree.size
    tree.close()
    last = max(path for path in disk.files() if path.endswith(".wal"))
    acknowledged = Head(size, model_root(size, 2) or bytes(32))
    expected = before._replace(acknowledged=acknowledged, last_segment=int(last[-12:-4]))
    assert record(disk) == expected
    assert records(disk) - count == (expected != before)
    if steps.endswith(("insert", "flush", "vain")):
        assert expected != before
    with open_tree(disk) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, size)


@pytest.mark.evidence("example", "FORMAT-45")
def test_a_checkpoint_and_a_recorded_flush_replace_the_record() -> None:
    """Each that finds something new, and no other."""
    disk = SimulatedDisk()
    with open_tree(disk, 2, record_acknowledgements=True, environment=environment(disk)) as tree:
        for call, new in (
            ("flush", False),
            ("checkpoint", False),
            ("insert", False),
            ("flush", True),
            ("flush", False),
            ("checkpoint", True),
            ("checkpoint", False),
        ):
            count = records(disk)
            if call == "insert":
                tree.insert(leaf(tree.size))
            else:
                getattr(tree, call)()
            assert records(disk) - count == new, call
            assert call == "insert" or record(disk).acknowledged.size == tree.size
            if call == "checkpoint" and new:
                assert record(disk).checkpoint.size == tree.size
