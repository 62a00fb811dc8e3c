"""What is damaged and can be made right again is made right, on disk too, and reported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rotortree import DataCorruptionError, RotorTree, TieringConfig, WalCorruptedError
from rotortree.geometry import complete_count, depth
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import after_crash, disk_of, flip
from tests.storage.trees import PATH, check_goes_on, check_tree, leaves, log_path, open_tree

HEADER = 128
"""Bytes before the nodes of a level file."""


def files_of(n: int, size: int, *, logged: int = 0) -> dict[str, bytes]:
    """The files of a closed tree whose last checkpoint has all but ``logged`` leaves."""
    disk = SimulatedDisk()
    with open_tree(disk, n) as tree:
        tree.insert_many(leaves(0, size - logged))
        tree.checkpoint()
        if logged:
            tree.insert_many(leaves(size - logged, size))
    return disk.files()


def stored_nodes(n: int, size: int) -> Iterator[tuple[int, int, str, int]]:
    """Every node of a checkpoint: level, index, file and offset."""
    for level in range(depth(size, n) + 1):
        for index in range(complete_count(size, n, level)):
            shard, place = divmod(index, 2 * n)
            path = f"{PATH}/levels/{level}/{shard:08d}.nodes"
            yield level, index, path, HEADER + 32 * place


def check_repaired(
    disk: SimulatedDisk, n: int, size: int, path: str, tiering: TieringConfig
) -> None:
    """The first open repairs and reports it, and the second has nothing to repair."""
    with open_tree(disk_of(disk.files()), read_only=True, tiering=tiering) as tree:
        assert any(path in entry for entry in tree.recovery.repaired)
        check_tree(tree, n, size)
    with open_tree(disk, tiering=tiering) as tree:
        assert any(path in entry for entry in tree.recovery.repaired)
        assert not tree.recovery.clean
        check_tree(tree, n, size)
    with open_tree(disk, tiering=tiering) as tree:
        assert tree.recovery.repaired == ()
        assert tree.recovery.clean
        check_tree(tree, n, size)


@pytest.mark.evidence("damage", "FORMAT-61", "FORMAT-71")
@pytest.mark.parametrize("pinned", [None, 0, 1])
@pytest.mark.parametrize(("n", "size"), [(2, 21), (3, 31)])
def test_a_damaged_upper_node_is_repaired(n: int, size: int, pinned: int | None) -> None:
    """Every stored node above the leaves, one bit each: recomputed, reported, right on disk."""
    files = files_of(n, size)
    repaired = 0
    for level, _, path, offset in stored_nodes(n, size):
        if level > 0:
            disk = disk_of(flip(files, path, offset + 5))
            check_repaired(disk, n, size, path, TieringConfig(pinned))
            assert {name: data for name, data in disk.files().items() if "levels" in name} == {
                name: data for name, data in files.items() if "levels" in name
            }
            repaired += 1
    assert repaired >= 13


@pytest.mark.evidence("damage", "FORMAT-61")
@pytest.mark.parametrize(("n", "size"), [(2, 21), (3, 31)])
def test_a_missing_or_short_upper_file_is_repaired(n: int, size: int) -> None:
    """Every file above the leaves, deleted, empty, or without its last node."""
    files = files_of(n, size)
    for path in [name for name in files if "/levels/" in name and "/levels/0/" not in name]:
        without = {name: data for name, data in files.items() if name != path}
        for damaged in (without, {**files, path: b""}, {**files, path: files[path][:-1]}):
            check_repaired(disk_of(damaged), n, size, path, TieringConfig())


@pytest.mark.evidence("damage", "FORMAT-61", "FORMAT-62")
@pytest.mark.parametrize(("n", "size"), [(2, 21), (3, 31)])
def test_a_damaged_header_of_a_level_file_is_repaired(n: int, size: int) -> None:
    """Of leaves, too: the header says nothing that is not known."""
    files = files_of(n, size)
    for path in [name for name in files if "/levels/" in name]:
        check_repaired(disk_of(flip(files, path, 70)), n, size, path, TieringConfig())


@pytest.mark.evidence("damage", "FORMAT-64")
@pytest.mark.parametrize(("n", "size"), [(2, 21), (3, 31)])
def test_a_damaged_leaf_is_reported_with_its_range(n: int, size: int) -> None:
    """Each stored leaf: DataCorruptionError names its file, and at most its group of n leaves."""
    files = files_of(n, size)
    for level, index, path, offset in stored_nodes(n, size):
        if level == 0:
            disk = disk_of(flip(files, path, offset))
            with pytest.raises(DataCorruptionError) as caught:
                open_tree(disk)
            error = caught.value
            assert error.path == path
            assert error.leaves is not None
            start, stop = error.leaves
            assert start <= index < stop <= start + n
            assert offset - 32 * n < error.offset <= offset


@pytest.mark.evidence("damage", "FORMAT-71")
@pytest.mark.parametrize("logged", [0, 4])
def test_a_damaged_commit_record_is_rebuilt(logged: int) -> None:
    """Each byte of COMMIT, after the log was cut: the same tree, and the record as it was.

    Its ``last_segment`` may be another: the recovery began one.  Not the version, in bytes 8 and 9:
    a record of another one is refused.
    """
    files = files_of(3, 31, logged=logged)
    path = f"{PATH}/COMMIT"
    for offset in set(range(len(files[path]))) - {8, 9}:
        disk = disk_of(flip(files, path, offset))
        check_repaired(disk, 3, 31, path, TieringConfig())
        assert disk.files()[path][:64] == files[path][:64]


@pytest.mark.evidence("damage", "FORMAT-60")
def test_a_missing_commit_record_is_rebuilt_only_from_proven_level_files() -> None:
    """COMMIT gone and the log cut: the leaves prove themselves, or opening is refused.

    Even if verification was not asked for, and for a damage of every stored node.
    """
    files = files_of(3, 31, logged=2)
    del files[f"{PATH}/COMMIT"]
    for verify in (True, False):
        disk = disk_of(files)
        with open_tree(disk, verify_checkpoint=verify) as tree:
            check_tree(tree, 3, 31)
            assert tree.checkpoint_size == 29
        assert f"{PATH}/COMMIT" in disk.files()
        check_goes_on(disk, 3, 31)
        for level, _, path, offset in stored_nodes(3, 29):
            disk = disk_of(flip(files, path, offset))
            if level == 0:
                with pytest.raises(DataCorruptionError, match=path):
                    open_tree(disk, verify_checkpoint=verify)
            else:
                with open_tree(disk, verify_checkpoint=verify) as tree:
                    check_tree(tree, 3, 31)


@pytest.mark.evidence("damage", "FORMAT-54", "FORMAT-63")
def test_a_cut_log_is_never_replayed_into_an_empty_tree() -> None:
    """COMMIT and every level file gone: refused, never 2 leaves at index 0."""
    files = files_of(3, 31, logged=2)
    log = {path: data for path, data in files.items() if "/wal/" in path}
    disk = disk_of(log)
    with pytest.raises(DataCorruptionError) as caught:
        open_tree(disk)
    assert caught.value.leaves == (0, 1)
    assert disk.files() == {**log, f"{PATH}/LOCK": b""}


@pytest.mark.evidence("damage", "DURABLE-41")
def test_damage_between_flushes_is_not_torn() -> None:
    """A leaf of an earlier flush flipped, uncleanly ended: WalCorruptedError with file and offset.

    The same damage to the last flush is dropped as torn, and reported as such.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    ends = []
    for index in range(4):
        tree.insert(leaves(index, index + 1)[0])
        tree.flush()
        ends.append(len(disk.files()[log_path(disk.files())]))
    files = after_crash(disk).files()
    tree.close()
    path = log_path(files)
    for index, end in enumerate(ends[:-1]):
        damaged = disk_of(flip(files, path, end - 1))
        with pytest.raises(WalCorruptedError) as caught:
            open_tree(damaged)
        assert (caught.value.path, caught.value.offset) == (path, end - 160)
        assert caught.value.leaves == (index, index + 1)
    disk = disk_of(flip(files, path, ends[-1] - 1))
    with open_tree(disk) as tree:
        assert tree.size == 3
        assert tree.recovery.torn_bytes == 160
        assert not tree.recovery.clean
    check_goes_on(disk, 2, 3)


@pytest.mark.evidence("example", "DURABLE-9")
def test_opening_reports_what_it_found() -> None:
    """Created; closed cleanly; not closed, with a torn flush of which two frames are whole.

    And what is repaired, in COMMIT and above the leaves, with file and offset.
    """
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        assert report(tree) == (True, True, 0, 0, (), 0, 0)
        tree.insert_many(leaves(0, 5))
        tree.checkpoint()
        tree.insert_many(leaves(5, 7))
    for read_only in (True, False):
        with open_tree(disk, read_only=read_only) as tree:
            assert report(tree) == (False, True, 0, 0, (), 2, 5)
    tree = open_tree(disk)
    tree.insert(leaves(7, 8)[0])
    tree.flush()
    path = log_path(disk.files())
    end = len(disk.files()[path])
    tree.insert_many(leaves(8, 16))
    tree.flush()
    files = after_crash(disk).files()
    tree.close()
    torn = {**files, path: files[path][: end + 2 * (128 + 3 * 32) + 130]}
    torn = flip(torn, f"{PATH}/levels/1/00000000.nodes", HEADER + 32)
    damaged = flip(torn, f"{PATH}/COMMIT", 100)
    for read_only in (True, False):
        with open_tree(disk_of(damaged), read_only=read_only) as tree:
            created, clean, torn_bytes, torn_leaves, repaired, replayed, stored = report(tree)
            assert (created, clean, replayed, stored) == (False, False, 3, 5)
            assert (torn_bytes, torn_leaves) == (2 * (128 + 3 * 32) + 130, 6)
            assert len(repaired) == 2
            assert repaired[0].startswith(f"{PATH}/COMMIT, offset 160: ")
            assert repaired[1].startswith(f"{PATH}/levels/1/00000000.nodes, offset {HEADER + 32}: ")
            check_tree(tree, 2, 8)


def report(tree: RotorTree) -> tuple[bool, bool, int, int, tuple[str, ...], int, int]:
    """All that opening reports, but for the time that it took."""
    found = tree.recovery
    return (
        *(found.created, found.clean, found.torn_bytes, found.torn_leaves, found.repaired),
        *(found.replayed_leaves, found.checkpoint_size),
    )
