"""Level files by themselves: what is read, mapped, written, found wrong, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from rotortree import (
    Blake3Hasher,
    DataCorruptionError,
    DetachedError,
    IoFailedError,
    TieringConfig,
)
from rotortree.geometry import complete_count, depth
from rotortree.storage import level_files
from rotortree.storage.directory import ReadableDirectory, ReadableFile
from rotortree.storage.format import Head, Identity
from rotortree.storage.level_files import LevelFiles, WrongPlace
from rotortree.storage.level_writer import LevelWriter
from rotortree.tree import accumulator
from rotortree.tree.accumulator import Accumulator, new_accumulator
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import disk_of, flip, go_wrong
from tests.storage.taken import Replaced
from tests.storage.trees import PATH, leaf, leaves, model_root

N = 2
SHARD = 4
"""Nodes of a level file, and so of a segment in memory."""

IDENTITY = Identity(n=N, max_depth=20, shard_nodes=SHARD, tree_id=b"ours" * 4, scheme="blake3")
IN_MEMORY = TieringConfig(0)
SIZES = [*range(1, 42), 64]

HEADER_IS_WRONG = "the header is damaged, or another file's"


def path_of(level: int, shard: int) -> str:
    return f"{PATH}/levels/{level}/{shard:08d}.nodes"


def empty_tree() -> Accumulator:
    return new_accumulator(N, IDENTITY.max_depth, Blake3Hasher(), SHARD)


def tree_of(size: int) -> Accumulator:
    tree = empty_tree()
    tree.extend(leaves(0, size))
    return tree


def head_of(size: int) -> Head:
    root = model_root(size, N)
    assert root is not None
    return Head(size, root)


def stored_on(disk: SimulatedDisk, identity: Identity = IDENTITY) -> LevelFiles:
    """The level files of the tree on a disk, to be read."""
    return LevelFiles(disk.directory(PATH), identity)


def written_on(disk: SimulatedDisk, identity: Identity = IDENTITY) -> LevelWriter:
    """The same, to be written."""
    return LevelWriter(disk.directory(PATH), identity)


def files_of(size: int) -> dict[str, bytes]:
    """The level files of a checkpoint."""
    disk = disk_of({f"{PATH}/LOCK": b""})
    written_on(disk).write(tree_of(size), 0, size)
    return {path: data for path, data in disk.files().items() if "/levels/" in path}


def load(
    files: dict[str, bytes] | SimulatedDisk | ReadableDirectory,
    head: Head,
    *,
    verify: bool = True,
    tiering: TieringConfig | None = None,
) -> tuple[WrongPlace, ...]:
    """What was repaired, after a look at all nodes that were loaded, and at the next leaf."""
    disk = disk_of(files) if isinstance(files, dict) else files
    root = disk.directory(PATH) if isinstance(disk, SimulatedDisk) else disk
    tree = empty_tree()
    stored = LevelFiles(root, IDENTITY)
    wrong = stored.load(tree, head, tiering or TieringConfig(), verify=verify)
    check_nodes(tree, head.size)
    assert tree.root(head.size) == head.root
    assert tree.insert(leaf(head.size)) == model_root(head.size + 1, N)
    return wrong


def check_nodes(tree: Accumulator, size: int) -> None:
    """Every complete node is right."""
    right = tree_of(size)
    for level in range(depth(size, N) + 1):
        count = complete_count(size, N, level)
        for start in range(0, count, SHARD):
            stop = min(count, start + SHARD)
            found = b"".join(tree.views(level, start, stop))
            assert found == b"".join(right.views(level, start, stop)), (level, start)


def maps(disk: SimulatedDisk) -> list[str]:
    """The files that were mapped, in order."""
    return [call.path for call in disk.calls if call.kind == "map"]


def full_shards(size: int, *, below: int = 99) -> list[str]:
    """The files of levels ``below`` another that a checkpoint fills."""
    return [
        path_of(level, shard)
        for level in range(min(below, depth(size, N) + 1))
        for shard in range(complete_count(size, N, level) // SHARD)
    ]


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("tiering", [TieringConfig(), TieringConfig(1), IN_MEMORY], ids=str)
def test_what_is_sound_is_neither_recomputed_nor_reported(
    tiering: TieringConfig, verify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of trees of all small sizes; recomputing would need another tree."""

    def recomputed(*_: object) -> Accumulator:
        raise AssertionError("recomputed")

    stored = {size: files_of(size) for size in SIZES}
    monkeypatch.setattr(level_files, "new_accumulator", recomputed)
    for size in SIZES:
        assert load(stored[size], head_of(size), verify=verify, tiering=tiering) == ()


@pytest.mark.parametrize("size", SIZES)
def test_whole_segments_are_mapped_and_the_rest_is_read(size: int) -> None:
    """Only of levels that are not kept in memory."""
    for tiering, below in ((TieringConfig(), 99), (TieringConfig(1), 1), (IN_MEMORY, 0)):
        disk = disk_of(files_of(size))
        load(disk, head_of(size), tiering=tiering)
        assert maps(disk) == full_shards(size, below=below)


@pytest.mark.parametrize("size", [7, 8, 21, 22, 23])
@pytest.mark.parametrize("tiering", [TieringConfig(), TieringConfig(1), IN_MEMORY], ids=str)
def test_after_a_checkpoint_what_is_new_and_whole_is_mapped(
    size: int, tiering: TieringConfig
) -> None:
    """Once; also by a tree that was never loaded; a file that is missing is passed over."""
    below = 99 if tiering.pin_above_level is None else tiering.pin_above_level
    disk = disk_of(files_of(size))
    tree = empty_tree()
    stored = stored_on(disk)
    stored.load(tree, head_of(size), tiering, verify=False)
    before = maps(disk)
    stored.map_segments(tree, size, tiering)
    assert maps(disk) == before
    tree.extend(leaves(size, size + 9))
    written_on(disk).write(tree, size, size + 9)
    stored.map_segments(tree, size + 9, tiering)
    assert sorted(maps(disk)) == sorted(full_shards(size + 9, below=below))

    missing = path_of(0, 0)
    disk = disk_of({path: data for path, data in files_of(size).items() if path != missing})
    tree = tree_of(size)
    stored_on(disk).map_segments(tree, size, tiering)
    assert maps(disk) == [path for path in full_shards(size, below=below) if path != missing]
    assert tree.insert(leaf(size)) == model_root(size + 1, N)


@pytest.mark.parametrize("at", [9, -32], ids=["another tree's", "another history's"])
def test_a_file_that_was_replaced_since_it_was_written_is_not_mapped(at: int) -> None:
    """Its header or its last node says so.  The segments stay in memory."""
    tree, path = tree_of(8), path_of(0, 1)
    disk = disk_of(flip(files_of(8), path, at % len(files_of(8)[path])))
    with pytest.raises(IoFailedError, match="not what was written at offset") as caught:
        stored_on(disk).map_segments(tree, 8, TieringConfig())
    assert caught.value.path == path
    assert maps(disk) == [path_of(0, 0)]
    check_nodes(tree, 8)


@pytest.mark.evidence("fault", "FORMAT-66")
@pytest.mark.parametrize(
    ("kind", "operation"), [("map", "map"), ("open", "open"), ("size", "stat")]
)
def test_a_call_that_fails_is_an_error_that_says_which(kind: str, operation: str) -> None:
    """And of which file: none is taken for a missing or a damaged one."""
    disk = disk_of(files_of(8))
    go_wrong(disk, "x", kind=kind)
    with pytest.raises(IoFailedError) as caught:
        load(disk, head_of(8))
    assert (caught.value.path, caught.value.operation) == (path_of(0, 0), operation)


def test_files_are_measured_and_read_in_parts_as_they_are() -> None:
    """One that is not there has no bytes; what was opened for that is closed again."""
    files, path = files_of(8), path_of(1, 0)
    disk, opened = disk_of(files), list[Any]()

    def remembered(original: ReadableDirectory) -> ReadableDirectory:
        def open_file(name: str) -> ReadableFile:
            opened.append(original.open(name))
            return opened[-1]  # type: ignore[no-any-return]  # it was opened just now

        found: Any = Replaced(
            original,
            open=open_file,
            directory=lambda name, **how: remembered(original.directory(name, **how)),
        )
        return found  # type: ignore[no-any-return]  # it is a directory, but for these methods

    stored = LevelFiles(remembered(disk.directory(PATH)), IDENTITY)
    assert stored.file_size(1, 0) == len(files[path])
    assert stored.read(1, 0, 40, 100) == files[path][100:140]
    assert stored.file_size(1, 7) == stored.file_size(5, 0) == 0
    assert stored.read(1, 7, 40, 100) == stored.read(5, 0, 40, 100) == b""
    assert [file._closed for file in opened] == [True, True]
    go_wrong(disk, "x", kind="size")
    with pytest.raises(IoFailedError) as caught:
        stored.file_size(1, 0)
    assert (caught.value.path, caught.value.operation) == (path, "stat")


def test_a_writer_makes_directories_of_levels_and_gives_them_back() -> None:
    """And no others; the tree's own directory is not its to close."""
    disk = disk_of({f"{PATH}/LOCK": b""})
    root: Any = disk.directory(PATH)
    writer = LevelWriter(root, IDENTITY)
    writer.write(tree_of(8), 0, 8)
    assert sorted(root.listdir()) == ["LOCK", "levels"]
    assert sorted(root.directory("levels").listdir()) == ["0", "1", "2", "3"]
    handles: list[Any] = [found for found in writer._directories.values() if found is not root]
    assert len(handles) == 5
    assert not any(handle._closed for handle in handles)
    writer.close()
    assert all(handle._closed for handle in handles)
    assert not root._closed


@pytest.mark.evidence("fault", "DURABLE-58")
def test_a_file_that_became_shorter_was_replaced() -> None:
    """It held all that a checkpoint counted."""
    path = path_of(0, 1)
    disk = disk_of({**files_of(7), path: files_of(7)[path][:150]})
    with pytest.raises(DetachedError) as caught:
        written_on(disk).write(tree_of(8), 7, 8)
    assert str(caught.value) == f"the tree is failed: {path} was replaced by a shorter file"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_damaged_header_is_found_in_these_words(level: int) -> None:
    for shard in range(complete_count(21, N, level) // SHARD):
        path = path_of(level, shard)
        found = load(flip(files_of(21), path, 9), head_of(21))
        assert found == (WrongPlace(level, shard, path, 0, HEADER_IS_WRONG),)
        assert str(found[0]) == f"{path}, offset 0: {HEADER_IS_WRONG}"


@pytest.mark.parametrize(("length", "held"), [(0, 0), (10, 0), (128, 0), (159, 0), (160, 1)])
@pytest.mark.parametrize(("level", "shard"), [(1, 0), (1, 1), (2, 0)])
def test_a_file_that_is_too_short_says_which_node_is_missing(
    length: int, held: int, level: int, shard: int
) -> None:
    files, path = files_of(21), path_of(level, shard)
    node = SHARD * shard + held
    message = f"the file ends at {length}: node {node} of level {level} is missing"
    cut = {**files, path: files[path][:length]}
    assert load(cut, head_of(21)) == (WrongPlace(level, shard, path, length, message),)
    if not length:
        del cut[path]
        assert load(cut, head_of(21)) == (WrongPlace(level, shard, path, length, message),)


@pytest.mark.parametrize(("length", "held"), [(0, 0), (129, 0), (192, 2)])
def test_a_file_of_leaves_that_is_too_short_is_an_error(length: int, held: int) -> None:
    files, path = files_of(21), path_of(0, 3)
    with pytest.raises(DataCorruptionError) as caught:
        load({**files, path: files[path][:length]}, head_of(21))
    message = f"the file ends at {length}: node {12 + held} of level 0 is missing"
    assert str(caught.value) == f"{path}, offset {length}: {message}"
    assert caught.value.leaves == (12 + held, 13 + held)


def wrong_node(level: int, index: int) -> WrongPlace:
    shard, place = divmod(index, SHARD)
    message = f"node {index} of level {level} is not the parent of its children"
    return WrongPlace(level, shard, path_of(level, shard), 128 + 32 * place, message)


@pytest.mark.parametrize(
    "wrong", [[(1, 0)], [(1, 5)], [(2, 4)], [(1, 2), (1, 9)], [(1, 1), (2, 0), (3, 1)]]
)
def test_each_wrong_node_is_found_where_it_is(wrong: Sequence[tuple[int, int]]) -> None:
    files = files_of(21)
    for level, index in wrong:
        files = flip(files, wrong_node(level, index).path, wrong_node(level, index).offset + 31)
    assert load(files, head_of(21)) == tuple(wrong_node(*node) for node in wrong)


def test_a_file_is_reported_once_and_others_are_still_looked_at() -> None:
    """A header and a node of one file, which are one repair; a node of the same shard elsewhere."""
    files = flip(files_of(21), path_of(1, 0), 3)
    files = flip(files, path_of(1, 0), 128)
    files = flip(files, path_of(2, 0), 128)
    header = WrongPlace(1, 0, path_of(1, 0), 0, HEADER_IS_WRONG)
    assert load(files, head_of(21)) == (header, wrong_node(2, 0))


@pytest.mark.parametrize("at", range(21))
def test_a_wrong_leaf_is_named_by_its_group(at: int) -> None:
    path = path_of(0, at // SHARD)
    with pytest.raises(DataCorruptionError) as caught:
        load(flip(files_of(21), path, 128 + at % SHARD * 32), head_of(21))
    start, stop = at - at % N, min(21, at - at % N + N)
    offset, message = 128 + start % SHARD * 32, untrusted(start, stop)
    assert str(caught.value) == f"{path}, offset {offset}: {message}"
    assert caught.value.leaves == (start, stop)


@pytest.mark.parametrize("size", [22, 24])
def test_leaves_that_agree_with_all_nodes_but_the_root_are_all_to_blame(size: int) -> None:
    with pytest.raises(DataCorruptionError) as caught:
        load(files_of(size), Head(size, bytes(31) + b"?"))
    assert str(caught.value) == f"{path_of(0, 0)}, offset 128: {untrusted(0, size)}"
    assert caught.value.leaves == (0, size)


def untrusted(start: int, stop: int) -> str:
    return f"the root is not the committed one: leaves {start} to {stop - 1} cannot be trusted"


def shortening(files: dict[str, bytes], path: str, held: int, times: int) -> ReadableDirectory:
    """A tree's directory where reads of nodes of one file end early, so many times, then work."""
    left = times

    def pread(file: ReadableFile, length: int, offset: int) -> bytes:
        nonlocal left
        if offset == 0 or left <= 0:
            return file.pread(length, offset)
        found = file.pread(max(0, min(length, 128 + held - offset)), offset)
        left -= not found
        return found

    def open_file(directory: ReadableDirectory, name: str) -> Any:
        file = directory.open(name)
        is_it = f"{directory.path}/{name}" == path
        return Replaced(file, pread=partial(pread, file)) if is_it else file

    def open_directory(name: str, **how: bool) -> Any:
        directory = root.directory(name, **how)
        return Replaced(directory, open=partial(open_file, directory))

    root: ReadableDirectory = disk_of(files).directory(PATH)
    shortened: Any = Replaced(root, directory=open_directory)
    found: ReadableDirectory = shortened
    return found


@pytest.mark.parametrize("held", [0, 32, 95])
def test_leaves_that_cannot_be_read_any_more_are_an_error(held: int) -> None:
    """The file has its length when it is opened, and a map of it; then a read ends early."""
    path = path_of(0, 3)
    with pytest.raises(DataCorruptionError) as caught:
        load(shortening(files_of(21), path, held, 9), head_of(21))
    assert str(caught.value) == f"{path}, offset 128: the file became shorter"


def test_nodes_that_could_not_be_read_once_are_in_the_tree_all_the_same() -> None:
    """The last segment of level 1 is read to be used; it is whole when it is looked at again."""
    path = path_of(1, 2)
    root = shortening(files_of(21), path, 32, 1)
    message = "the file ends at 160: node 9 of level 1 is missing"
    assert load(root, head_of(21)) == (WrongPlace(1, 2, path, 160, message),)


def test_without_verification_nodes_are_believed_and_not_read() -> None:
    """But for the last segments, which are used."""
    files = flip(files_of(24), path_of(0, 1), 128)
    files = flip(files, path_of(1, 0), 160)
    disk = disk_of(files)
    stored = stored_on(disk)
    assert stored.load(empty_tree(), head_of(24), TieringConfig(), verify=False) == ()
    read = [call.path for call in disk.calls if call.kind == "pread"]
    assert read.count(path_of(0, 1)) == read.count(path_of(1, 0)) == 1  # the header
    assert read.count(path_of(2, 1)) == 2


@pytest.mark.parametrize("step", [4, 5, 7, 12, 13])
def test_a_file_is_mapped_again_when_one_more_of_its_segments_is_whole(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in each checkpoint that fills some, and not otherwise; all nodes are right after each.

    Nodes of segments that were mapped before are read through the new map.
    """
    monkeypatch.setattr(level_files, "segment_nodes", lambda n: SHARD)
    identity = IDENTITY._replace(shard_nodes=4 * SHARD)
    disk, tree = disk_of({f"{PATH}/LOCK": b""}), empty_tree()
    stored, writer, old = stored_on(disk, identity), written_on(disk, identity), 0
    for new in range(step, 64, step):
        tree.extend(leaves(old, new))
        writer.write(tree, old, new)
        disk.calls.clear()
        stored.map_segments(tree, new, TieringConfig())
        expected = []
        for level in range(depth(new, N) + 1):
            before, after = (complete_count(size, N, level) // SHARD for size in (old, new))
            shards = {segment // 4 for segment in range(before, after)}
            expected += [path_of(level, shard) for shard in sorted(shards)]
        assert maps(disk) == expected
        check_nodes(tree, new)
        old = new


def test_recomputed_nodes_come_in_the_segments_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in those of another tree, which would be by default."""
    monkeypatch.setattr(accumulator, "segment_nodes", lambda n: SHARD + N)
    place = wrong_node(1, 1)
    assert load(flip(files_of(41), place.path, place.offset), head_of(41)) == (place,)
