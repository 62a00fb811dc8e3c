"""Level files that are mapped: what is read through the map, and what that keeps open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rotortree import RotorTree
from rotortree.storage.environment import Environment
from rotortree.storage.format import Identity
from rotortree.storage.level_files import nodes_per_segment
from rotortree.tree.levels import segment_nodes
from tests.storage.processes import run_script
from tests.storage.trees import check_tree, leaves, open_tree

UNREADABLE = """
    import errno, itertools, mmap, os, shutil, sys
    from rotortree import IoFailedError, RotorTree
    from rotortree.storage.environment import Environment
    from rotortree.storage.os_directory import OsDirectory, OsFileSystem
    from tests.storage.trees import leaves

    path = sys.argv[1]
    PAGE = mmap.PAGESIZE
    FIRST_ON_ITS_PAGE = (PAGE - 128) // 32

    class Unreadable:
        # A file that cannot be read from its second page on: EIO, or the signal.
        def __init__(self, file, path):
            self.file, self.path = file, path

        def __getattr__(self, name):
            return getattr(self.file, name)

        def pread(self, length, offset):
            if offset >= PAGE:
                raise OSError(errno.EIO, "the page cannot be read")
            return self.file.pread(min(length, PAGE - offset), offset)

        def map(self, length):
            shutil.copy(self.path, path + ".copy")
            with open(path + ".copy", "r+b") as copy:
                mapped = mmap.mmap(copy.fileno(), length, access=mmap.ACCESS_READ)
                copy.truncate(PAGE)
            return memoryview(mapped)

    LEAVES = "levels/0/00000000.nodes"

    class Directory(OsDirectory):
        def directory(self, path, **keywords):
            found = super().directory(path, **keywords)
            return Directory(os.dup(found.fileno()), found.path)

        def open(self, path):
            file, whole = super().open(path), f"{self.path}/{path}"
            return Unreadable(file, whole) if whole.endswith(LEAVES) else file

    class Files(OsFileSystem):
        def directory(self, path):
            found = super().directory(path)
            return Directory(os.dup(found.fileno()), found.path)

    with RotorTree.open(path, n=4) as tree:
        tree.insert_many(leaves(0, FIRST_ON_ITS_PAGE + 1))
        tree.checkpoint()
        tree.insert_many(leaves(FIRST_ON_ITS_PAGE + 1, FIRST_ON_ITS_PAGE + 9))
    for verify, read_only in itertools.product((True, False), repeat=2):
        try:
            RotorTree.open(
                path, verify_checkpoint=verify, read_only=read_only,
                environment=Environment(files=Files()),
            )
        except IoFailedError as error:
            assert error.errno == errno.EIO
            print("EIO")
"""


@pytest.mark.evidence("fault", "DURABLE-44", "FORMAT-66")
def test_a_sector_that_cannot_be_read_is_an_error_and_no_signal(tmp_path: Path) -> None:
    """With and without verification, for reading and for writing: IoFailedError, not SIGBUS.

    The last leaf of the checkpoint has no complete group, and is alone on a page that is lost.
    """
    done = run_script(UNREADABLE, tmp_path / "tree")
    assert (done.returncode, done.stdout) == (0, "EIO\n" * 4)


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/dev/fd"))


def test_checkpoints_keep_no_descriptors(tmp_path: Path) -> None:
    """A level file is mapped once, however many checkpoints made it longer."""
    row = bytes(32 * segment_nodes(4))
    counts = []
    with RotorTree.open(tmp_path / "tree", n=4) as tree:
        for _ in range(3):
            tree.insert_many(row)
            tree.checkpoint()
            counts.append(open_descriptors())
        leaves = tree.snapshot().leaves()
    assert counts == [counts[0]] * 3
    assert leaves == row * 3


@pytest.mark.evidence("exhaustive", "FORMAT-12")
@pytest.mark.parametrize("n", [2, 3, 4, 7, 255])
def test_segments_in_memory_fit_into_every_length_of_level_files(n: int) -> None:
    """Any multiple of n: a file holds whole segments, they hold whole groups, and are no longer
    than those of a tree in memory, however long the file.
    """
    usual = segment_nodes(n)
    largest = (2**32 - 1) // n * n
    for shard_nodes in (*range(n, 40 * n, n), usual, usual + n, 512 * usual, largest, largest - n):
        segment = nodes_per_segment(Identity(n, 20, shard_nodes, bytes(16), "blake3"))
        assert shard_nodes % segment == segment % n == 0
        assert n <= segment <= usual
        if shard_nodes % usual == 0 or shard_nodes <= usual:
            assert segment == min(usual, shard_nodes)


@pytest.mark.evidence("example", "FORMAT-12")
@pytest.mark.parametrize("shard_nodes", [2**32 - 4, (65536 + 4) * 4])
def test_trees_open_whatever_the_length_of_their_level_files(
    tmp_path: Path, shard_nodes: int
) -> None:
    """Created, checkpointed, opened again, with the longest ones that the format has room for."""
    for size in (0, 9):
        with RotorTree.open(
            tmp_path / "tree", n=4, environment=Environment(shard_nodes=shard_nodes)
        ) as tree:
            check_tree(tree, 4, size)
            tree.insert_many(leaves(size, size + 9))
            tree.checkpoint()
    with open_tree(Environment().files, path=tmp_path / "tree") as tree:
        check_tree(tree, 4, 18)
