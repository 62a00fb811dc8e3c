"""How a writer goes on with what was recovered: each step, in its order, whatever was found.

The steps are those of FORMAT-68 to FORMAT-80: names, a place to write, repair, record, space.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest

from rotortree import IoFailedError, RotorTree
from rotortree.storage.format import (
    FRAME_BYTES,
    SEGMENT_BYTES,
    Frame,
    SegmentHeader,
    segment_number,
)
from rotortree_faultinject import PROFILES
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import Died, Rule
from tests.storage.disk import after_crashes, disk_of, flip, go_wrong, record
from tests.storage.logs import Written, log_of
from tests.storage.taken import WRITE_COMMIT, taken, write_segment
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

FIRST, SECOND, THIRD, FOURTH, FIFTH = (f"wal/{number:08d}.wal" for number in range(1, 6))

NAMES = ["sync_directory wal", "sync_directory ."]
"""Step 1, where there was a commit record."""


def opened(
    disk: SimulatedDisk,
    *,
    fold_leaves: int = 2048,
    record_acknowledgements: bool = False,
    segment_bytes: int = 1 << 20,
) -> RotorTree:
    """Open the tree for writing."""
    world = replace(environment(disk), fold_leaves=fold_leaves, segment_bytes=segment_bytes)
    return open_tree(disk, 2, environment=world, record_acknowledgements=record_acknowledgements)


def closed() -> dict[str, bytes]:
    """The files of a closed tree of two leaves, one unit in the first segment."""
    disk = SimulatedDisk()
    with opened(disk) as tree:
        tree.insert_many(leaves(0, 2))
    return disk.files()


def flushed(disk: SimulatedDisk) -> dict[str, bytes]:
    """The files after a life that added a leaf, of which the record does not know, and a kill."""
    tree = opened(disk)
    tree.insert_durable(leaf(tree.size))
    abandon(tree)
    return disk.files()


def killed() -> dict[str, bytes]:
    """Three leaves, two of them known to be durable; the first segment has both units."""
    return flushed(disk_of(closed()))


def checkpointed() -> dict[str, bytes]:
    """The same, but that two leaves are in level files, and the third in the second segment."""
    disk = SimulatedDisk()
    with opened(disk) as tree:
        tree.insert_many(leaves(0, 2))
        tree.checkpoint()
    return flushed(disk)


def several() -> dict[str, bytes]:
    """Four segments of a leaf each, of which the commit record names the first.

    Whether the last leaf is durable is not known.
    """
    disk = SimulatedDisk()
    tree = opened(disk, segment_bytes=SEGMENT_BYTES + 1)
    for index in range(4):
        tree.insert_durable(leaf(index))
    abandon(tree)
    return disk.files()


def changed(
    make: Callable[[], dict[str, bytes]], path: str, change: Callable[[bytes], bytes]
) -> Callable[[], dict[str, bytes]]:
    """The same files, one of them changed."""

    def files() -> dict[str, bytes]:
        found = make()
        return {**found, f"{PATH}/{path}": change(found.get(f"{PATH}/{path}", b""))}

    return files


def without_record() -> dict[str, bytes]:
    """Three leaves, and no commit record."""
    return {path: data for path, data in killed().items() if not path.endswith("COMMIT")}


def damaged_level(make: Callable[[], dict[str, bytes]]) -> Callable[[], dict[str, bytes]]:
    """A node above the leaves is wrong."""
    path = f"{PATH}/levels/1/00000000.nodes"
    return lambda: flip(make(), path, 130)


def closed_behind_a_checkpoint() -> dict[str, bytes]:
    """Two leaves in level files, a clean close."""
    disk = SimulatedDisk()
    with opened(disk) as tree:
        tree.insert_many(leaves(0, 2))
        tree.checkpoint()
    return disk.files()


class Situation(NamedTuple):
    """What a writer finds, all of it durable, and the calls that it makes."""

    name: str
    files: Callable[[], dict[str, bytes]]
    size: int
    calls: list[str]
    fold_leaves: int = 2048
    record: bool = False


REPAIR = [
    "mkdir levels",  # they are there
    "mkdir levels/1",
    "pwritev levels/1/00000000.nodes",
    "sync levels/1/00000000.nodes",
    "sync_directory levels/1",
    "sync_directory levels",
    "sync_directory .",
]


def begun(name: str) -> list[str]:
    """A new segment, durable under its name."""
    return [*write_segment(name), "sync_directory wal"]


SITUATIONS = (
    Situation("closed", closed, 2, [*NAMES, f"sync {FIRST}"]),
    Situation(
        "closed, zeros ahead were not cut off",
        changed(closed, FIRST, lambda data: data + bytes(64)),
        2,
        [*NAMES, f"truncate {FIRST}", f"sync {FIRST}"],
    ),
    Situation(
        "a unit of which nobody knows whether it is durable; the segment is replaced",
        killed,
        3,
        [*NAMES, *begun(SECOND), *WRITE_COMMIT, f"unlink {FIRST}"],
    ),
    Situation(
        "such a unit; the segment stays",
        killed,
        3,
        [*NAMES, *begun(SECOND), f"truncate {FIRST}"],
        fold_leaves=1,
    ),
    Situation(
        "such a unit, acknowledgements are recorded; the segment stays",
        killed,
        3,
        [*NAMES, *begun(SECOND), *WRITE_COMMIT, f"truncate {FIRST}"],
        fold_leaves=1,
        record=True,
    ),
    Situation(
        "torn bytes; the segment is replaced",
        changed(closed, FIRST, lambda data: data + b"torn"),
        2,
        [*NAMES, *begun(SECOND), *WRITE_COMMIT, f"unlink {FIRST}"],
    ),
    Situation(
        "torn bytes; the segment stays",
        changed(closed, FIRST, lambda data: data + b"torn"),
        2,
        [*NAMES, *begun(SECOND), f"truncate {FIRST}"],
        fold_leaves=1,
    ),
    Situation(
        "torn bytes, acknowledgements are recorded, and were",
        changed(closed, FIRST, lambda data: data + b"torn"),
        2,
        [*NAMES, *begun(SECOND), f"truncate {FIRST}"],
        fold_leaves=1,
        record=True,
    ),
    Situation(
        "a unit behind a checkpoint",
        checkpointed,
        3,
        [*NAMES, *begun(THIRD), *WRITE_COMMIT, f"unlink {SECOND}"],
        fold_leaves=0,  # there is nothing to copy
    ),
    Situation(
        "a checkpoint did not remove the segment below it, nor a file of no name",
        changed(
            changed(checkpointed, FIRST, lambda _: log_of(Written(2))),
            f"{THIRD}.tmp",
            lambda _: b"begun",
        ),
        3,
        [*NAMES, *begun(THIRD), *WRITE_COMMIT, f"unlink {FIRST}", f"unlink {SECOND}"],
    ),
    *(
        Situation(
            f"several segments, {fold} leaves may be copied",
            several,
            4,
            [
                *NAMES,
                *begun(FIFTH),
                *(f"unlink {name}" for name in (SECOND, THIRD, FOURTH)[max(2 - fold, 0) :]),
                *WRITE_COMMIT,
                *(f"unlink {name}" for name in (FIRST,)[3 - fold :]),
            ],
            fold_leaves=fold,
        )
        for fold in range(4)
    ),
    Situation(
        "no commit record",
        without_record,
        3,
        [*NAMES, "sync_directory ..", *begun(SECOND), f"unlink {FIRST}", *WRITE_COMMIT],
    ),
    Situation(
        "a damaged commit record",
        changed(killed, "COMMIT", lambda data: data[:-1]),
        3,
        [*NAMES, "sync_directory ..", *begun(SECOND), *WRITE_COMMIT, f"unlink {FIRST}"],
    ),
    Situation(
        "a damaged level file, a clean close",
        damaged_level(closed_behind_a_checkpoint),
        2,
        [*NAMES, f"sync {SECOND}", *REPAIR],
    ),
    Situation(
        "a damaged level file, a unit",
        damaged_level(checkpointed),
        3,
        [*NAMES, *begun(THIRD), *REPAIR, *WRITE_COMMIT, f"unlink {SECOND}"],
    ),
)

EVERY_SITUATION = pytest.mark.parametrize(
    "situation", SITUATIONS, ids=lambda situation: situation.name
)


def resumed(disk: SimulatedDisk, situation: Situation) -> RotorTree:
    """The tree, opened as the situation says."""
    return opened(
        disk,
        fold_leaves=situation.fold_leaves,
        record_acknowledgements=situation.record,
    )


def segments(files: Mapping[str, bytes]) -> dict[int, SegmentHeader]:
    """The headers of the log's segments, by number."""
    found = {}
    for path, data in files.items():
        number = segment_number(path.removeprefix(f"{PATH}/wal/"))
        if number is not None:
            found[number] = SegmentHeader.decode(data, path)
    return found


@EVERY_SITUATION
@pytest.mark.evidence(
    "example",
    "FORMAT-19",
    "FORMAT-40",
    "FORMAT-41",
    "FORMAT-45",
    "FORMAT-68",
    "FORMAT-69",
    "FORMAT-70",
    "FORMAT-71",
    "FORMAT-78",
    "FORMAT-79",
    "FORMAT-80",
)
def test_a_writer_makes_its_calls_in_this_order(situation: Situation) -> None:
    """Exactly these, and no other that changes the disk; then the tree is whole, and goes on."""
    disk = disk_of(situation.files())
    with resumed(disk, situation) as tree:
        assert taken(disk) == situation.calls
        check_tree(tree, 2, situation.size)
        files = disk.files()
        if any("COMMIT" in call for call in situation.calls):
            check_record(disk, situation.size)
    new = {path: data for path, data in files.items() if f"rename {path[5:]}" in situation.calls}
    for path, data in new.items():
        if "/wal/" in path:
            check_new_segment(path, data, situation.size)
    check_goes_on(disk, 2, situation.size)


def check_record(disk: SimulatedDisk, size: int) -> None:
    """The record acknowledges what was recovered, and names the segments that are there."""
    found, there = record(disk), segments(disk.files())
    assert (found.acknowledged.size, found.acknowledged.root) == (size, model_root(size, 2))
    assert (found.first_segment, found.last_segment) == (min(there), max(there))
    assert found.checkpoint == there[found.first_segment].base


def check_new_segment(path: str, data: bytes, size: int) -> None:
    """One unit of what was recovered behind the base, which the header promises; no other bytes."""
    header = SegmentHeader.decode(data, path)
    assert header.base.root == (model_root(header.base.size, 2) or bytes(32))
    assert header.promise == len(data)
    at, first = SEGMENT_BYTES, header.base.size
    while first < size:
        frame = Frame.decode(data[at:], header.key())
        assert frame is not None
        assert (frame.first, frame.more) == (first, first + frame.leaves < size)
        at, first = at + FRAME_BYTES + 32 * frame.leaves, first + frame.leaves
    assert (at, first) == (len(data), size)


@pytest.mark.evidence("example", "FORMAT-69")
def test_a_process_that_was_killed_with_nothing_new_leaves_a_closed_tree() -> None:
    """However often: no segment is begun, no record is replaced."""
    disk = disk_of(closed())
    before = disk.files()
    for _ in range(3):
        taken(disk)
        tree = opened(disk)
        assert tree.recovery.clean
        assert taken(disk) == SITUATIONS[0].calls
        abandon(tree)
        disk.restart()
        assert {path: data for path, data in disk.files().items() if data} == {
            path: data for path, data in before.items() if data
        }


@EVERY_SITUATION
@pytest.mark.evidence("crash", "FORMAT-72", "FORMAT-70", "DURABLE-6", "DURABLE-33")
def test_a_crash_between_any_two_steps_leads_to_the_same_leaves(situation: Situation) -> None:
    """Before each call of the open, a kill or any extreme of a power cut, then the next open."""
    files = situation.files()
    for number in itertools.count():
        disk = disk_of(files)
        disk.faults.rules[:] = [Rule("*", "*", "w" * number + "d")]
        try:
            tree = resumed(disk, situation)
        except Died:
            for left in after_crashes(disk):
                with resumed(left, situation) as again:
                    check_tree(again, 2, situation.size)
                check_goes_on(left, 2, situation.size)
        else:
            abandon(tree)
            break
    assert number > 10


@EVERY_SITUATION
@pytest.mark.evidence("fault", "FORMAT-72", "FORMAT-80", "DURABLE-33")
def test_a_failure_at_any_step_changes_nothing_that_the_next_open_does_not_do(
    situation: Situation,
) -> None:
    """Each call fails, half-way or after its work: an error or none, then all calls work.

    Steps 1 to 4 end the open; in step 5, which frees space, the open goes on.
    """
    files = situation.files()
    failed = 0
    for number in itertools.count():
        hit = False
        for letter in "xha":
            disk = disk_of(files)
            disk.faults.rules[:] = [Rule("*", "*", "w" * number + letter)]
            try:
                abandon(resumed(disk, situation))
            except IoFailedError:
                failed += 1
            hit = hit or bool(disk.faults.hits)
            disk.restart()
            with resumed(disk, situation) as tree:
                check_tree(tree, 2, situation.size)
            check_goes_on(disk, 2, situation.size)
        if not hit:
            break
    assert failed > 10


@EVERY_SITUATION
@pytest.mark.evidence("crash", "FORMAT-70", "DURABLE-5", "DURABLE-30")
def test_what_is_shown_after_a_directory_could_not_be_synced_survives(situation: Situation) -> None:
    """Each sync of a directory fails in one open; the next one shows the tree; power fails.

    The names that the failed sync covered count as clean: no later sync makes them durable.  Every
    subset of what may survive is opened.
    """
    for number in itertools.count():
        disk = disk_of(situation.files())
        go_wrong(disk, "x", number, kind="sync_directory")
        try:
            abandon(resumed(disk, situation))
        except IoFailedError:
            disk.restart()
        else:
            assert not disk.faults.hits
            break
        disk.faults.rules.clear()
        abandon(resumed(disk, situation))
        choices = disk.unsynced(PROFILES["posix"]).enumerate(200)
        assert choices.subsets
        for choice in choices.choices:
            check_goes_on(disk.crash(choice, PROFILES["posix"]), 2, situation.size)
    assert number >= len(NAMES)


@pytest.mark.evidence("fault", "FORMAT-80")
@pytest.mark.parametrize("how", ["killed", "checkpoint"])
def test_what_could_not_be_removed_is_removed_the_next_time(how: str) -> None:
    """A segment that was replaced, and the tail of one that stays: the open succeeds without.

    The next open that begins a segment does it, and so does the next checkpoint.
    """
    disk = disk_of(changed(several, FIRST, lambda data: data + b"tail")())
    disk.faults.rules[:] = [Rule("unlink", "*.wal", "X"), Rule("truncate", "*", "X")]
    tree = opened(disk, fold_leaves=1)
    check_tree(tree, 2, 4)
    # Two in step 2, the same two and the tail in step 5.
    assert disk.faults.hits == 5
    assert sorted(segments(disk.files())) == [1, 2, 3, 4, 5]
    disk.faults.rules.clear()
    tree.insert_durable(leaf(4))
    if how == "checkpoint":
        tree.checkpoint()
        assert sorted(segments(disk.files())) == [6]
        tree.close()
    else:
        abandon(tree)
        disk.restart()
        with opened(disk, fold_leaves=1) as tree:
            check_tree(tree, 2, 5)
            assert sorted(segments(disk.files())) == [1, 2, 5, 6]
            assert not disk.files()[f"{PATH}/{FIRST}"].endswith(b"tail")
    check_goes_on(disk, 2, 5)


@pytest.mark.evidence("crash", "FORMAT-77")
def test_replaced_segments_that_are_left_mean_nothing() -> None:
    """Any of those that were replaced may be there still, whatever it holds behind its header."""
    before = several()
    disk = disk_of(before)
    abandon(opened(disk, fold_leaves=2))
    after = disk.files()
    gone = [path for path in before if path not in after]
    assert [path[5:] for path in gone] == [SECOND, THIRD, FOURTH]
    for count in range(4):
        for left in itertools.combinations(gone, count):
            for behind in (b"", b"RtFr" + b"\xff" * 999):
                found = {path: before[path][:SEGMENT_BYTES] + behind for path in left}
                again = disk_of({**after, **found})
                for read_only in (True, False):
                    with open_tree(again, read_only=read_only) as tree:
                        check_tree(tree, 2, 4)
                check_goes_on(again, 2, 4)
