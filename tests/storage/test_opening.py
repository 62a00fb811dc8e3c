"""What opening a tree asks of the disk, in this order, and what it makes of what it was given."""

from __future__ import annotations

import errno
import time
from typing import Any

import pytest

from rotortree import (
    Blake3PlainHasher,
    ConfigMismatchError,
    CustomHasher,
    DataCorruptionError,
    Hasher,
    IoFailedError,
    NotATreeError,
    RotorTree,
    Sha256Hasher,
    TreeNotFoundError,
)
from rotortree.storage.environment import Environment
from rotortree.storage.format import SEGMENT_BYTES, Frame, SegmentHeader
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.taken import WRITE_COMMIT, taken, write_segment
from tests.storage.disk import disk_of, go_wrong, record
from tests.storage.logs import Written, log_of
from tests.storage.trees import PATH, abandon, check_tree, leaf, leaves, open_tree

FIRST, SECOND, THIRD = (f"wal/{number:08d}.wal" for number in (1, 2, 3))


def test_a_new_tree_is_durable_before_it_is_used() -> None:
    """The names of its folders, the first segment, the name of that, then the commit record."""
    disk = SimulatedDisk()
    with open_tree(disk, 2):
        assert disk.calls[:3] == [
            ("listdir", PATH),
            ("mkdir", PATH),
            ("lock", f"{PATH}/LOCK"),
        ]
        assert taken(disk) == [
            "mkdir .",
            "mkdir wal",
            "mkdir levels",
            "sync_directory .",
            "sync_directory ..",
            *write_segment(FIRST),
            "sync_directory wal",
            "sync_directory .",
            "sync_directory ..",
            *WRITE_COMMIT,
        ]


def test_a_tree_that_was_closed_goes_on_in_its_segment() -> None:
    """What the log has is synced, in case that a process was killed; a new record is not needed."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert(leaf(0))
    for _ in range(2):
        taken(disk)
        with open_tree(disk) as tree:
            assert tree.recovery.clean
            assert taken(disk) == ["sync_directory wal", "sync_directory .", f"sync {FIRST}"]


def killed(*, checkpoint: bool = False) -> SimulatedDisk:
    """What a process leaves that was killed after a flush that it did not record."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 2))
        if checkpoint:
            tree.checkpoint()
    tree = open_tree(disk)
    tree.insert(leaf(2))
    tree.flush()
    abandon(tree)
    return disk.restarted()


def test_what_may_be_in_memory_only_is_written_anew_before_it_is_shown() -> None:
    """Into a segment with the next number, which has its name when it is durable."""
    for checkpoint, last, name in ((False, FIRST, SECOND), (True, SECOND, THIRD)):
        disk = killed(checkpoint=checkpoint)
        with open_tree(disk) as tree:
            assert not tree.recovery.clean
            assert taken(disk) == [
                "sync_directory wal",
                "sync_directory .",
                *write_segment(name, recovered=True),
                "sync_directory wal",
            ]
            check_tree(tree, 2, 3)
        files = disk.files()
        assert f"{PATH}/{last}" in files
        header = SegmentHeader.decode(files[f"{PATH}/{name}"], name)
        assert header.base.size == 2  # what the record says was durable


def test_a_recovered_unit_counts_no_call() -> None:
    """Whoever counts calls has counted them."""
    disk = killed()
    with open_tree(disk):
        data = disk.files()[f"{PATH}/{SECOND}"]
    header = SegmentHeader.decode(data, SECOND)
    frame = Frame.decode(data[SEGMENT_BYTES:], header.key())
    assert frame is not None
    assert (header.number, frame.first, frame.leaves, frame.calls) == (2, 2, 1, 0)


def test_a_recovered_tree_without_a_record_gets_one_and_its_parent_is_synced() -> None:
    """Nobody knows then whether its creation was finished.  What recovery found is acknowledged."""
    disk = killed()
    disk = disk_of({path: data for path, data in disk.files().items() if "COMMIT" not in path})
    with open_tree(disk):
        assert taken(disk) == [
            "sync_directory wal",
            "sync_directory .",
            "sync_directory ..",
            *write_segment(SECOND, recovered=True),
            "sync_directory wal",
            *WRITE_COMMIT,
        ]
        check_record(disk, checkpoint=0, first=1, last=2)


def check_record(disk: SimulatedDisk, *, checkpoint: int, first: int, last: int) -> None:
    """The record acknowledges all three leaves."""
    found = record(disk)
    assert (found.checkpoint.size, found.acknowledged.size) == (checkpoint, 3)
    assert (found.first_segment, found.last_segment) == (first, last)


def test_segments_that_are_of_no_more_use_go_when_a_new_record_is_durable() -> None:
    """A checkpoint was killed before it deleted them: its record may be in memory only."""
    disk = killed(checkpoint=True)
    old = log_of(Written(2))
    disk = disk_of({**disk.files(), f"{PATH}/{FIRST}": old})
    with open_tree(disk):
        assert taken(disk)[-len(WRITE_COMMIT) - 1 :] == [*WRITE_COMMIT, f"unlink {FIRST}"]
        check_record(disk, checkpoint=2, first=2, last=3)
    assert f"{PATH}/{FIRST}" not in disk.files()


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_record_is_replaced_where_acknowledgements_are_recorded_and_it_says_less(
    acknowledged: bool,
) -> None:
    """And then only; one that is right stays."""
    disk = killed()
    if acknowledged:  # a life that was killed behind its record
        with open_tree(disk, record_acknowledgements=True):
            pass
        files = disk.files()
        disk = disk_of({**files, f"{PATH}/{SECOND}": files[f"{PATH}/{SECOND}"] + b"torn"})
    taken(disk)
    with open_tree(disk, record_acknowledgements=True) as tree:
        assert not tree.recovery.clean
        last = THIRD if acknowledged else SECOND
        assert taken(disk) == [
            "sync_directory wal",
            "sync_directory .",
            *write_segment(last, recovered=not acknowledged),
            "sync_directory wal",
            *([] if acknowledged else WRITE_COMMIT),
        ]


def test_zeros_ahead_are_cut_off_before_more_is_written() -> None:
    """Nobody knows whether the disk has them."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 2))
    files = disk.files()
    path = f"{PATH}/{FIRST}"
    disk = disk_of({**files, path: files[path] + bytes(64)})
    with open_tree(disk) as tree:
        assert tree.recovery.clean
        assert f"truncate {FIRST}" in taken(disk)
    assert taken(disk) == []  # and the record is right: a close does not write it again
    assert disk.files()[path] == files[path]


def test_a_tree_is_created_as_it_was_asked_for() -> None:
    """By default n = 4, 20 levels, BLAKE3; each parameter by itself; 16 random bytes and a salt."""
    asked: tuple[tuple[dict[str, Any], tuple[int, int, str]], ...] = (
        ({}, (4, 20, "blake3")),
        ({"n": 7}, (7, 20, "blake3")),
        ({"max_depth": 9}, (4, 9, "blake3")),
        ({"hasher": Sha256Hasher()}, (4, 20, "sha256")),
        ({"hasher": Blake3PlainHasher(), "n": 2, "max_depth": 3}, (2, 3, "blake3-plain")),
    )
    for given, stored in asked:
        disk, lengths = SimulatedDisk(), list[int]()

        def random_bytes(length: int, lengths: list[int] = lengths) -> bytes:
            lengths.append(length)
            return bytes(length)

        fresh = Environment(files=disk, random_bytes=random_bytes)
        with RotorTree.open(PATH, environment=fresh, **given) as tree:
            assert (tree.n, tree.max_depth, tree.hasher.name) == stored
            assert tree.recovery.created
        header = SegmentHeader.decode(disk.files()[f"{PATH}/{FIRST}"], FIRST)
        identity = header.identity
        assert (identity.n, identity.max_depth, identity.scheme) == stored
        assert lengths == [16, 16]


@pytest.mark.evidence("example", "FORMAT-15")
@pytest.mark.parametrize(
    ("given", "parameter", "stored", "wanted"),
    [
        ({"n": 3}, "n", 2, 3),
        ({"max_depth": 7}, "max_depth", 20, 7),
        ({"hasher": Sha256Hasher()}, "scheme", "blake3", "sha256"),
    ],
)
def test_parameters_that_are_not_the_stored_ones_are_refused(
    given: dict[str, Any], parameter: str, stored: object, wanted: object
) -> None:
    """Each by itself; the error has both values, and nothing is changed."""
    disk = killed()
    files = disk.files()
    with pytest.raises(ConfigMismatchError) as caught:
        open_tree(disk, **given)
    error = caught.value
    assert (error.path, error.parameter) == (PATH, parameter)
    assert (error.stored, error.given) == (stored, wanted)
    assert disk.files() == files


def test_a_scheme_that_is_not_built_in_must_be_given_again() -> None:
    mine: Hasher = CustomHasher("mine", lambda children: bytes(32))
    disk = SimulatedDisk()
    with open_tree(disk, 2, hasher=mine) as tree:
        tree.insert_many(leaves(0, 3))
    with open_tree(disk, hasher=mine) as tree:
        assert (tree.size, tree.hasher) == (3, mine)
    with pytest.raises(ConfigMismatchError) as caught:
        open_tree(disk)
    error = caught.value
    assert (error.path, error.parameter) == (PATH, "scheme")
    assert (error.stored, error.given) == ("mine", "a built-in one")


NOT_THERE: tuple[dict[str, Any], ...] = (
    {"create": False},
    {"read_only": True},
    {"create": False, "read_only": True},
)


@pytest.mark.parametrize("directories", [(), ("",), ("", "/wal"), ("", "/wal", "/levels")], ids=str)
def test_a_tree_that_was_never_made_is_made_only_where_it_may_be(
    directories: tuple[str, ...],
) -> None:
    """Whatever of its folders is there."""
    for given in NOT_THERE:
        disk = SimulatedDisk()
        for name in directories:
            disk.mkdir(PATH + name)
        with pytest.raises(TreeNotFoundError) as caught:
            open_tree(disk, **given)
        assert caught.value.path == PATH
        assert taken(disk) == [f"mkdir {name.removeprefix('/') or '.'}" for name in directories]
    disk = SimulatedDisk()
    for name in directories:
        disk.mkdir(PATH + name)
    with open_tree(disk, 2) as tree:
        assert tree.recovery.created


def test_a_directory_of_something_else_is_refused() -> None:
    """One that holds a name that is not ours, unless it holds a log or a record, too."""
    segment = log_of(Written(1, root=leaf(0)))
    for ours, refused in (
        ({}, True),
        ({"wal/notes": b""}, True),
        ({"levels/0/00000000.nodes": b""}, True),
        ({FIRST: segment}, False),
    ):
        files = {f"{PATH}/{name}": data for name, data in {"notes": b"", **ours}.items()}
        if refused:
            with pytest.raises(NotATreeError, match=r": not a tree: the directory holds 'notes'$"):
                open_tree(disk_of(files))
        else:
            with open_tree(disk_of(files)) as tree:
                check_tree(tree, 2, 1)
    files = {f"{PATH}/notes": b"", f"{PATH}/COMMIT": b"?"}
    with pytest.raises(DataCorruptionError, match="every log segment is missing"):
        open_tree(disk_of(files))


@pytest.mark.usefixtures("unread")  # the reader is given a directory
def test_a_path_that_is_no_directory_is_no_tree_and_one_that_cannot_be_listed_is_an_error() -> None:
    disk = disk_of({PATH: b"a file"})
    with pytest.raises(NotATreeError, match=r": not a tree: it is not a directory$"):
        open_tree(disk)
    disk = killed()
    go_wrong(disk, "x", kind="listdir", code=errno.EACCES)
    with pytest.raises(IoFailedError) as caught:
        open_tree(disk)
    assert (caught.value.operation, caught.value.errno) == ("list", errno.EACCES)


def test_opening_takes_the_time_that_its_report_says() -> None:
    """Not more than it took from outside."""
    started = time.monotonic()
    with open_tree(killed()) as tree:
        assert 0 <= tree.recovery.seconds <= time.monotonic() - started
