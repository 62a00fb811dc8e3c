"""Damage where less is promised, and on a real file system.

Every damage of every file, opened as usual, is the matter of `tests/faultinject/test_damage.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rotortree import DataCorruptionError, RotorTree, UnsupportedFormatError, WalCorruptedError
from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES, SegmentHeader
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.subjects.tree.damage_kinds import KINDS
from rotortree_faultinject.subjects.tree.specimens import prepare
from tests.storage.disk import after_crash, disk_of
from tests.storage.logs import LOG, Written, log_of
from tests.storage.trees import (
    PATH,
    abandon,
    check_tree,
    environment,
    head,
    leaf,
    leaves,
    leaves_of,
    log_path,
    model_root,
    open_tree,
)

TYPED = (DataCorruptionError, UnsupportedFormatError)
"""What opening a damaged directory may raise.  Both have the attribute ``path``."""

UNIT = FRAME_BYTES + 32
"""Bytes of a flush of one leaf."""

SPECIMEN = "closed, n = 2"
CHECKPOINT = 11
"""Leaves in the level files of the specimen: three shards, the last group not complete."""


def check_quickly(tree: RotorTree, n: int, size: int) -> None:
    """Leaves and root; proofs are a matter of `check_tree`."""
    assert tree.size == size
    assert leaves_of(tree) == leaves(0, size)
    assert tree.root == model_root(size, n)


def check_refusal(error: DataCorruptionError | UnsupportedFormatError, image: Image) -> None:
    """It names a file (or a directory) of this tree and an offset in the file."""
    assert error.path.startswith(f"{PATH}/")
    if isinstance(error, DataCorruptionError):
        assert 0 <= error.offset <= len(image.get(error.path) or b"")
        assert error.path in str(error)


@pytest.mark.evidence("damage", "FORMAT-59", "DURABLE-45")
@pytest.mark.parametrize(
    "kind",
    ["byte xor 0x01", "byte xor 0xff", "cut", "missing", "32 bytes zeroed", "bytes appended"],
)
def test_without_verification_the_root_is_still_right(kind: str) -> None:
    """verify_checkpoint=False: the root and every leaf of the log are right, or a typed error.

    Weaker than with it: what lies in the level files below the nodes that the root is folded from,
    leaves and inner nodes alike, is believed.  A damaged one shows when a proof does not verify.
    """
    specimen = prepare(SPECIMEN)
    size = specimen.size
    outcomes = Counter[str]()
    for path, words, image in KINDS[kind](specimen):
        disk = SimulatedDisk(image)
        try:
            tree = open_tree(disk, verify_checkpoint=False)
        except TYPED as error:
            check_refusal(error, image)
            outcomes["refused"] += 1
            continue
        with tree:
            assert (tree.size, tree.root) == (size, model_root(size, 2)), (path, words)
            assert leaves_of(tree)[CHECKPOINT:] == leaves(CHECKPOINT, size)
            tree.insert(leaf(size))
            assert tree.root == model_root(size + 1, 2)
            outcomes["same"] += 1
        if "/levels/" not in path:
            with open_tree(disk, read_only=True) as tree:
                check_quickly(tree, 2, size + 1)
    assert outcomes["same"]
    assert outcomes["refused"] or kind == "bytes appended"


@pytest.mark.evidence("damage", "FORMAT-65", "DURABLE-44")
def test_files_of_the_operating_system_are_read_without_a_signal(tmp_path: Path) -> None:
    """Every length of every file of a closed tree (n = 2), mapped for real: no SIGBUS.

    Read-only, so that nothing is synced 2,000 times.
    """
    specimen = prepare(SPECIMEN)
    files = {path: data for path, data in specimen.image.items() if data is not None}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    outcomes = Counter[str]()
    for path, data in files.items():
        for length in reversed(range(len(data))):
            with (tmp_path / path).open("r+b") as file:
                file.truncate(length)
            try:
                tree = RotorTree.open(tmp_path / PATH, read_only=True)
            except TYPED as error:
                outcomes["refused" if str(tmp_path) in error.path else "nameless"] += 1
            else:
                with tree:
                    check_quickly(tree, 2, specimen.size)
                outcomes["same"] += 1
        (tmp_path / path).write_bytes(data)
    assert set(outcomes) == {"same", "refused"}
    assert outcomes.total() > 2000
    with RotorTree.open(tmp_path / PATH, read_only=True) as tree:
        check_tree(tree, 2, specimen.size)
        assert tree.head == head(specimen.size, 2)


def test_a_tree_whose_only_segment_is_lost_is_not_taken_for_none() -> None:
    """Flushed, never closed, no checkpoint, its log file gone: refused, for writing and reading.

    The discrimination matrix showed that a new, empty tree was created in its place.  The record
    that is written when a tree is created tells the two apart.
    """
    specimen = prepare("killed, no checkpoint")
    segment = f"{PATH}/wal/00000001.wal"
    assert specimen.image[segment]
    left = {path: data for path, data in specimen.image.items() if path != segment}
    for read_only in (False, True):
        disk = SimulatedDisk(left)
        with pytest.raises(DataCorruptionError, match="every log segment is missing"):
            open_tree(disk, read_only=read_only)
        assert disk.image == {**left, f"{PATH}/LOCK": left.get(f"{PATH}/LOCK")}


@pytest.mark.evidence("damage", "FORMAT-27", "FORMAT-54", "FORMAT-70", "DURABLE-41")
@pytest.mark.parametrize("fold_leaves", [0, 2048])
def test_of_an_unclosed_tree_the_end_of_the_log_may_be_lost_and_nothing_else(
    fold_leaves: int,
) -> None:
    """Two killed lives, flushed after each leaf: every place where the last segment may end.

    It is the flushes before that place.  What the second life recovered it wrote into a segment of
    its own, whose header promises that it was durable before the segment had its name: that is
    missed.  So is that segment as a whole if it replaced the first one, which is gone; if it did
    not, what is left is what the first one still has: all but the leaf that went into the second.
    """
    disk = SimulatedDisk()
    for life in (range(3), range(3, 8)):
        world = replace(environment(disk), fold_leaves=fold_leaves)
        tree = open_tree(disk, 2, environment=world)
        for index in life:
            tree.insert_durable(leaf(index))
        abandon(tree)
        disk = after_crash(disk)
    files = disk.files()
    path = log_path(files)
    data = files.pop(path)
    if fold_leaves:
        with pytest.raises(DataCorruptionError, match="every log segment is missing"):
            open_tree(disk_of(files))
    else:
        with open_tree(disk_of(files)) as tree:
            check_tree(tree, 2, 2)
    header = SegmentHeader.decode(data, path)
    assert header.base.size == (0 if fold_leaves else 2)
    promise = SEGMENT_BYTES + FRAME_BYTES + (3 - header.base.size) * 32
    assert header.promise == promise
    sizes = Counter[int]()
    for length in range(SEGMENT_BYTES, len(data)):
        cut = disk_of({**files, path: data[:length]})
        if length < promise:
            with pytest.raises(WalCorruptedError) as caught:
                open_tree(cut)
            assert (caught.value.path, caught.value.offset) == (path, SEGMENT_BYTES)
            continue
        with open_tree(cut) as tree:
            check_quickly(tree, 2, 3 + (length - promise) // UNIT)
            sizes[tree.size] += 1
    assert sizes == dict.fromkeys(range(3, 8), UNIT)


@pytest.mark.evidence("example", "FORMAT-26", "FORMAT-58")
def test_of_the_roots_in_frames_only_the_last_is_compared() -> None:
    """A sealed frame with a root that is not the tree's: of the last unit it is an error."""
    wrong, right = Written(), Written(root=model_root(2, 2) or b"")
    with open_tree(disk_of({LOG: log_of(wrong, right)})) as tree:
        check_tree(tree, 2, 2)
    with pytest.raises(DataCorruptionError, match="root") as caught:
        open_tree(disk_of({LOG: log_of(right, wrong)}))
    assert (caught.value.path, caught.value.offset) == (LOG, SEGMENT_BYTES)
