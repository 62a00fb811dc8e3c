"""Zeros that are written ahead in the log."""

from __future__ import annotations

import itertools

import pytest

from rotortree import FlushFailedError, IoFailedError, RotorTree
from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES
from tests.storage.disk import after_crash, disk_of, go_wrong
from tests.storage.trees import (
    abandon,
    check_goes_on,
    check_tree,
    environment,
    leaf,
    leaves,
    log_path,
    open_tree,
)

UNIT = FRAME_BYTES + 32
"""Bytes that the flush of one leaf writes."""


def opened(disk: SimulatedDisk, zeros_ahead: int = 1000, *, read_only: bool = False) -> RotorTree:
    """The tree on the disk, of arity 2."""
    shape = environment(disk, zeros_ahead=zeros_ahead)
    return open_tree(disk, 2, environment=shape, read_only=read_only or None)


def closed(count: int = 4, zeros_ahead: int = 1000) -> SimulatedDisk:
    """A disk with a closed tree of so many flushes of a leaf, whose zeros ahead were not cut off.

    Close cuts them off without a sync, so that a crash behind it may bring them back.
    """
    disk = SimulatedDisk()
    with opened(disk, zeros_ahead) as tree:
        for index in range(count):
            tree.insert_durable(leaf(index))
        disk.on_call = broken_truncation
    disk.on_call = None
    return disk


def broken_truncation(call: Call) -> None:
    """A disk that cannot cut a file."""
    if call.kind == "truncate":
        raise OSError(5, "broken")


@pytest.mark.evidence("example", "FORMAT-34", "FORMAT-38")
def test_a_flush_into_zeros_leaves_the_length_as_it_is() -> None:
    """The log grows at some flushes, to hold at most as much again and at most so many zeros."""
    disk = SimulatedDisk()
    lengths = []
    with opened(disk) as tree:
        for index in range(60):
            tree.insert_durable(leaf(index))
            length = len(disk.files()[log_path(disk.files())])
            used = SEGMENT_BYTES + (index + 1) * UNIT
            assert used <= length <= min(2 * used, used + 1000)
            lengths.append(length)
    assert len(set(lengths)) < 15
    check_goes_on(disk, 2, 60)


@pytest.mark.evidence("example", "FORMAT-38")
def test_zeros_that_are_used_up_are_renewed_by_the_next_flush() -> None:
    """Zeros for one unit: every second flush fits exactly, and makes no new ones."""
    disk = SimulatedDisk()
    lengths = []
    with opened(disk, UNIT) as tree:
        for index in range(5):
            tree.insert_durable(leaf(index))
            lengths.append((len(disk.files()[log_path(disk.files())]) - SEGMENT_BYTES) // UNIT)
    assert lengths == [2, 2, 4, 4, 6]


@pytest.mark.evidence("example", "FORMAT-38")
def test_close_cuts_nothing_where_there_are_no_zeros() -> None:
    """A log without zeros, and one whose zeros are used up: no call of the system."""
    for zeros_ahead, count in ((0, 3), (UNIT, 2)):
        disk = SimulatedDisk()
        with opened(disk, zeros_ahead) as tree:
            for index in range(count):
                tree.insert_durable(leaf(index))
        assert disk.counts["truncate"] == 0


def test_zeros_that_cannot_be_cut_off_end_an_open_for_writing() -> None:
    """The error says at which call, of which file."""
    disk = closed()
    path = log_path(disk.files())
    disk.on_call = broken_truncation
    with pytest.raises(IoFailedError) as caught:
        opened(disk)
    assert (caught.value.path, caught.value.operation) == (path, "truncate")


@pytest.mark.evidence("example", "FORMAT-38")
def test_close_cuts_zeros_off() -> None:
    """A closed log ends where its last unit does, and then goes on as any other."""
    for count in (0, 1, 4, 30):
        disk = SimulatedDisk()
        with opened(disk) as tree:
            for index in range(count):
                tree.insert_durable(leaf(index))
            tree.insert_many(leaves(count, count + 2))
        length = SEGMENT_BYTES + count * UNIT + FRAME_BYTES + 64
        assert len(disk.files()[log_path(disk.files())]) == length
        check_goes_on(disk, 2, count + 2)


def test_zeros_that_cannot_be_cut_off_do_not_fail_a_close() -> None:
    """Everything is durable by then; the next open finds a closed tree."""
    disk = closed(4)
    assert len(disk.files()[log_path(disk.files())]) > SEGMENT_BYTES + 4 * UNIT
    with opened(disk, read_only=True) as tree:
        assert tree.recovery.clean


@pytest.mark.evidence("example", "FORMAT-37", "FORMAT-38")
def test_close_does_not_touch_the_log_of_a_failed_tree() -> None:
    """Only a new open can tell what the disk holds."""
    disk = SimulatedDisk()
    tree = opened(disk)
    tree.insert_durable(leaf(0))

    def fail_sync(call: Call) -> None:
        if call.kind == "sync":
            raise OSError(5, "broken")

    tree.insert(leaf(1))
    disk.on_call = fail_sync
    with pytest.raises(FlushFailedError):
        tree.flush()
    disk.on_call = None
    before = disk.counts["truncate"], disk.files()
    with pytest.raises(FlushFailedError):
        tree.close()
    assert (disk.counts["truncate"], disk.files()) == before


@pytest.mark.evidence("example", "FORMAT-32", "FORMAT-46", "FORMAT-69")
def test_zeros_are_neither_torn_nor_an_unclean_end() -> None:
    """Closed: clean, for writers and readers, with and without zeros of their own."""
    for zeros_ahead, again in itertools.product((0, 1000), repeat=2):
        disk = closed(4, zeros_ahead)
        before = disk.files()
        for read_only in (True, False):
            with opened(disk, again, read_only=read_only) as tree:
                assert tree.recovery.clean
                assert tree.recovery.torn_bytes == 0
                check_tree(tree, 2, 4)
            if read_only:
                assert disk.files() == before
        check_goes_on(disk, 2, 4)


@pytest.mark.evidence("exhaustive", "FORMAT-33")
def test_a_torn_flush_in_zeros_is_torn_by_what_is_not_zero() -> None:
    """Killed in a write that stopped after any number of bytes: counted exactly, and dropped."""
    for length in range(UNIT):
        disk = SimulatedDisk()
        tree = opened(disk)
        tree.insert_durable(leaf(0))
        abandon(tree)
        files = after_crash(disk).files()
        path = log_path(files)
        data = files[path]
        end = SEGMENT_BYTES + UNIT
        frame = b"RtFr" + b"\1" * (UNIT - 4)
        torn = data[:end] + frame[:length] + data[end + length :]
        with opened(disk_of({**files, path: torn})) as tree:
            assert (tree.recovery.torn_bytes, tree.recovery.torn_leaves) == (length, 0)
            check_tree(tree, 2, 1)


@pytest.mark.evidence("damage", "FORMAT-32", "FORMAT-33")
def test_damage_to_zeros_is_harmless() -> None:
    """Of a closed tree: each byte of them flipped, and the log cut at each: the same tree."""
    files = closed().files()
    path = log_path(files)
    data = files[path]
    end = SEGMENT_BYTES + 4 * UNIT
    assert len(data) > end + 200
    for at in range(end, len(data)):
        flipped = data[:at] + b"\x40" + data[at + 1 :]
        with opened(disk_of({**files, path: flipped})) as tree:
            assert not tree.recovery.clean
            assert tree.recovery.torn_bytes == at + 1 - end
            check_tree(tree, 2, 4)
        with opened(disk_of({**files, path: data[:at]})) as tree:
            assert tree.recovery.clean
            check_tree(tree, 2, 4)


@pytest.mark.evidence("example", "FORMAT-69")
def test_a_writer_cuts_zeros_off_and_goes_on_in_the_segment() -> None:
    """After a clean close, before it writes anything behind them."""
    disk = closed()
    path = log_path(disk.files())
    with opened(disk) as tree:
        assert len(disk.files()[path]) == SEGMENT_BYTES + 4 * UNIT
        tree.insert_durable(leaf(4))
        assert log_path(disk.files()) == path
    check_goes_on(disk, 2, 5)


@pytest.mark.evidence("crash", "FORMAT-69", "DURABLE-5")
def test_what_was_cut_off_before_a_kill_does_not_come_back() -> None:
    """A flush was written and reported as failed, and cut off; killed; opened: that is what counts.

    Then power fails, and the unit may be on the disk without the cut: every subset of what was not
    synced.
    """
    disk = closed(2, 0)
    tree = opened(disk, 0)
    tree.insert(leaf(2))
    go_wrong(disk, "a", kind="pwritev")
    with pytest.raises(FlushFailedError):
        tree.flush()
    abandon(tree)
    after = disk.restarted()
    tree = opened(after, 0)
    assert tree.size == 2
    state = after.unsynced(PROFILES["posix"])
    listing = state.enumerate(1 << 12)
    assert listing.exhaustive
    for choice in listing.choices:
        with opened(SimulatedDisk(state.image(choice)), 0) as left:
            assert left.size == 2
    tree.close()


@pytest.mark.evidence("example", "FORMAT-33")
def test_leaves_of_zeros_are_leaves() -> None:
    """A unit whose last bytes are zeros is not shortened by the zeros behind it."""
    disk = SimulatedDisk()
    with opened(disk) as tree:
        tree.insert_durable(bytes(32))
        tree.insert_many(bytes(32) * 7)
        root = tree.root
    for read_only in (True, False):
        with opened(disk, read_only=read_only) as tree:
            assert tree.recovery.clean
            assert (tree.size, tree.root) == (8, root)


@pytest.mark.evidence("example", "FORMAT-38")
@pytest.mark.parametrize("spare", [0, 1, 50, 319])
def test_zeros_need_no_room(spare: int) -> None:
    """A flush that just fits succeeds, and what is left of the room stays free."""
    disk = SimulatedDisk()
    tree = opened(disk)
    tree.insert(leaf(0))
    disk.room = disk.used() + UNIT + spare
    tree.flush()
    assert tree.durable_size == 1
    assert len(disk.files()[log_path(disk.files())]) == SEGMENT_BYTES + UNIT
    disk.room = None
    tree.insert_durable(leaf(1))
    assert len(disk.files()[log_path(disk.files())]) > SEGMENT_BYTES + 2 * UNIT
    tree.close()
    check_goes_on(disk, 2, 2)


@pytest.mark.evidence("fault", "FORMAT-35", "FORMAT-36")
def test_a_flush_that_failed_in_zeros_is_written_again() -> None:
    """Half of it was written over zeros; it is cut off, and the next one is as long as it must."""
    disk = SimulatedDisk()
    tree = opened(disk)
    tree.insert_durable(leaf(0))
    tree.insert_many(leaves(1, 3))
    disk.most = 50
    calls = disk.counts["pwritev"]

    def fail_late(call: Call) -> None:
        if call.kind == "pwritev" and disk.counts["pwritev"] == calls + 3:
            raise OSError(5, "broken")

    disk.on_call = fail_late
    with pytest.raises(Exception, match="stay pending"):
        tree.flush()
    disk.on_call, disk.most = None, None
    assert len(disk.files()[log_path(disk.files())]) == SEGMENT_BYTES + UNIT
    tree.flush()
    tree.close()
    check_goes_on(disk, 2, 3)
