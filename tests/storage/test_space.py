"""Space: whatever happens to a tree, and however often, its directory stays within a bound."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotortree import FlushFailedError, IoFailedError, RotorTree, StorageError
from rotortree.errors import CheckpointFailedError
from rotortree.storage.environment import Environment
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.trees import PATH, abandon, check_tree, leaf, leaves, open_tree, scheduler_for

ZEROS = 400
"""How many zeros ahead these trees write at most."""

UNBOUNDED = 1 << 40


def environment(disk: SimulatedDisk, fold_leaves: int = 4, segment_bytes: int = 900) -> Environment:
    """Small segments; level files as large as they are by default."""
    return Environment(
        files=disk,
        scheduler=scheduler_for(disk),
        frame_leaves=3,
        zeros_ahead=ZEROS,
        fold_leaves=fold_leaves,
        segment_bytes=segment_bytes,
    )


def opened(disk: SimulatedDisk, **keywords: int) -> RotorTree:
    """Open the tree for writing, with manual flushes."""
    return open_tree(disk, 2, environment=environment(disk, **keywords))


def kill(disk: SimulatedDisk, tree: RotorTree | None) -> None:
    """The process ends; what it wrote is in the cache."""
    if tree is not None:
        abandon(tree)
    disk.restart()


def bound(size: int, unfinished: int) -> int:
    """DURABLE-54, for ``size`` leaves, and ``unfinished`` ones of a flush that failed."""
    return 544 * (size + unfinished) + 2 * ZEROS + 4096


def open_and_close(disk: SimulatedDisk) -> None:
    """A process that does nothing else."""
    opened(disk).close()


def error_of(call: Callable[[], object]) -> StorageError | None:
    """What a call raises of ours."""
    try:
        call()
    except StorageError as error:
        return error
    return None


def size_of(disk: SimulatedDisk) -> int:
    """How many leaves the tree has that the next process finds."""
    with open_tree(disk.restarted(), read_only=True) as tree:
        return tree.size


@pytest.mark.evidence("example", "DURABLE-54", "FORMAT-78", "FORMAT-80")
def test_a_thousand_opens_after_kills_do_not_make_the_directory_grow() -> None:
    """Whatever the last process left: nothing, a flush, a batch of several frames, zeros ahead."""
    for count in (0, 1, 50):
        disk = SimulatedDisk()
        tree = opened(disk)
        if count:
            tree.insert_many(leaves(0, count))
            tree.flush()
        kill(disk, tree)
        kill(disk, opened(disk))
        used = disk.used()
        for _ in range(1000):
            kill(disk, opened(disk))
            assert disk.used() == used
        with opened(disk) as tree:
            check_tree(tree, 2, count)


@pytest.mark.evidence("example", "DURABLE-54")
@pytest.mark.parametrize("fold_leaves", [0, 3, 2048])
def test_a_process_that_is_killed_after_each_leaf_stays_within_the_bound(fold_leaves: int) -> None:
    """Each life adds a leaf; segments are replaced, so that their number is bounded, too."""
    disk = SimulatedDisk()
    for size in range(200):
        tree = opened(disk, fold_leaves=fold_leaves)
        tree.insert_durable(leaf(size))
        kill(disk, tree)
        assert disk.used() <= bound(size + 1, 0)
        segments = sum(path.endswith(".wal") for path in disk.files())
        assert segments <= 2 + size // (fold_leaves + 1), segments
    with opened(disk) as tree:
        check_tree(tree, 2, 200)


@pytest.mark.evidence("example", "DURABLE-54", "DURABLE-55")
def test_a_flush_that_is_killed_again_and_again_leaves_one_copy_at_most() -> None:
    """The process dies in the middle of a large write, and the next one repeats it."""
    disk = SimulatedDisk()
    with opened(disk) as tree:
        tree.insert_many(leaves(0, 20))
    sizes = []
    for _ in range(10):
        tree = opened(disk)
        tree.insert(leaf(20))
        tree.insert_many(leaves(21, 200))
        disk.room = disk.used() + 3000
        with pytest.raises(FlushFailedError):
            tree.flush()
        disk.room = None
        kill(disk, tree)
        sizes.append(disk.used())
    assert max(sizes) <= bound(20, 180)
    assert sizes[1:] == sizes[1:2] * 9, sizes


@pytest.mark.evidence("example", "DURABLE-54", "FORMAT-69")
def test_opens_that_find_no_room_for_the_commit_record_leave_one_segment_at_most() -> None:
    """The first has room for a new segment only; the next one replaces that segment by its own."""
    disk = SimulatedDisk()
    tree = opened(disk)
    tree.insert_durable(leaf(0))
    kill(disk, tree)
    refused = 0
    for _ in range(60):
        disk.room = disk.used() + 400
        refused += error_of(partial(open_and_close, disk)) is not None
        disk.restart()
        assert disk.used() <= bound(1, 0)
    assert refused == 1, "the second one frees the segment of the first"


STEPS = st.lists(
    st.sampled_from(
        ["insert 1", "insert 7", "flush", "checkpoint", "close", "kill", "crash", "full", "mend"]
    ),
    max_size=40,
)


class BoundedTree:
    """One directory through a list of steps, checked against the bound after each."""

    def __init__(self, fold_leaves: int) -> None:
        self.disk = SimulatedDisk()
        self.fold_leaves = fold_leaves
        self.tree: RotorTree | None = None
        self.issued = 0
        self.most_pending = 0

    def do(self, step: str, spare: int) -> None:
        """Do a step; whatever fails for lack of room may fail."""
        name, _, count = step.partition(" ")
        if name == "mend":
            self.disk.room = None
        elif name == "full":
            self.disk.room = self.disk.used() + spare
        elif name in ("kill", "crash"):
            self.end(lose_power=name == "crash")
        else:
            try:
                self._call(name, int(count or 0))
            except (CheckpointFailedError, FlushFailedError, IoFailedError):
                assert self.disk.room is not None
        if self.tree is not None and self.tree.closed:
            self.end()

    def _call(self, name: str, count: int) -> None:
        if self.tree is None:
            self.tree = opened(self.disk, fold_leaves=self.fold_leaves)
            self.issued = self.tree.size
        tree = self.tree
        if name == "insert":
            tree.insert_many(leaves(self.issued, self.issued + count))
            self.issued += count
            self.most_pending = max(self.most_pending, tree.size - tree.durable_size)
        else:
            calls: dict[str, Callable[[], object]] = {
                "flush": tree.flush,
                "checkpoint": tree.checkpoint,
                "close": tree.close,
            }
            calls[name]()

    def end(self, *, lose_power: bool = False) -> None:
        """The process is gone; check what it left."""
        kill(self.disk, self.tree)
        self.tree = None
        room, self.disk.room = self.disk.room, None
        if lose_power:
            self.disk.lose_power("k" * 100)
        if any(path.endswith(".wal") for path in self.disk.files()):
            used, size = self.disk.used(), size_of(self.disk)
            assert used <= bound(size, self.most_pending), (used, size, self.disk.files().keys())
        self.disk.room = room


@given(STEPS, st.integers(0, 3000), st.sampled_from([0, 4, 2048]))
@settings(max_examples=150)
@pytest.mark.usefixtures("unread")
@pytest.mark.evidence("property", "DURABLE-54", "DURABLE-55")
def test_any_history_stays_within_the_bound(steps: list[str], spare: int, fold: int) -> None:
    """Up to 40 inserts, flushes, checkpoints, kills, power failures and full disks."""
    life = BoundedTree(fold)
    for step in steps:
        life.do(step, spare)
    life.end()
    life.disk.room = None
    with opened(life.disk) as tree:
        size = tree.size
        check_tree(tree, 2, size)
        tree.insert_many(leaves(size, size + 3))
    used = life.disk.used()
    assert used <= bound(size + 3, life.most_pending)
    opened(life.disk).close()
    assert life.disk.used() <= used, "opening and closing made it larger"


@pytest.mark.evidence("example", "DURABLE-55")
def test_a_full_disk_can_be_read_and_a_writer_that_it_refuses_changes_nothing() -> None:
    """After a kill, with little room: a reader opens; a writer does, or no older file is changed.

    It may have written the next segment, and then found no room for the record.  Those that come
    later replace that segment.  When there is room again, a writer opens with everything, and frees
    all but its own.
    """
    disk = SimulatedDisk()
    tree = opened(disk)
    tree.insert_many(leaves(0, 30))
    tree.flush()
    kill(disk, tree)
    outcomes = Counter[str]()
    for room in range(0, 3000, 7):
        full = disk.restarted()
        full.room = full.used() + room
        with open_tree(full, read_only=True) as reader:
            check_tree(reader, 2, 30)
        files = {path: data for path, data in full.files().items() if data}
        for _ in range(6):
            error = error_of(partial(open_and_close, full))
            if error is None:
                outcomes["opened"] += 1
                break
            assert isinstance(error, IoFailedError)
            assert error.errno == errno.ENOSPC
            left = full.files()
            assert {path: left[path] for path in files} == files
            new = {path for path, data in left.items() if data} - files.keys()
            assert all(re.fullmatch(rf"{PATH}/wal/0000000[2-9]\.wal", path) for path in new)
            outcomes[f"refused, {len(new)} segments more"] += 1
        full.room = None
        full.restart()
        open_and_close(full)
        assert full.used() <= disk.used()
        with opened(full) as tree:
            check_tree(tree, 2, 30)
    assert sorted(outcomes) == [
        "opened",
        "refused, 0 segments more",
        "refused, 1 segments more",
    ]


@pytest.mark.evidence("example", "DURABLE-56", "FORMAT-76", "FORMAT-50")
def test_a_checkpoint_frees_one_segment_after_the_other() -> None:
    """A log of many small flushes on a disk with little room left becomes smaller."""
    disk = SimulatedDisk()
    tree = opened(disk)
    for index in range(100):
        tree.insert_durable(leaf(index))
    assert sum(path.endswith(".wal") for path in disk.files()) > 10
    used, most = disk.used(), 0
    disk.room = used + 1400

    def watch(call: object) -> None:
        nonlocal most
        del call
        most = max(most, disk.used())

    disk.on_call = watch
    tree.checkpoint()
    disk.on_call = None
    assert tree.checkpoint_size == 100
    assert most <= used + 1400
    assert disk.used() < used / 2
    tree.close()
    disk.room = None
    with opened(disk) as tree:
        check_tree(tree, 2, 100)


@pytest.mark.evidence("example", "DURABLE-26", "DURABLE-55")
def test_a_checkpoint_that_finds_no_room_can_be_repeated() -> None:
    """With little room it fails or not; with enough it succeeds, and is right."""
    for room in range(0, 4000, 41):
        disk = SimulatedDisk()
        tree = opened(disk)
        for index in range(20):
            tree.insert_durable(leaf(index))
        disk.room = disk.used() + room
        error = error_of(tree.checkpoint)
        assert error is None or isinstance(error, CheckpointFailedError)
        assert (error is not None) == (tree.checkpoint_size < 20)
        disk.room = None
        tree.insert_durable(leaf(20))
        tree.checkpoint()
        tree.close()
        with opened(disk) as tree:
            check_tree(tree, 2, 21)
        assert disk.used() <= bound(21, 0)
