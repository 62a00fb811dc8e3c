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
from rotortree.storage.format import SegmentHeader
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.clocks import Clock
from tests.storage.disk import disk_of, go_wrong
from tests.storage.logs import Written, log_of
from tests.storage.taken import WRITE_COMMIT, taken, write_segment
from tests.storage.trees import PATH, abandon, check_tree, leaf, leaves, open_tree

FIRST = "wal/00000001.wal"


def test_a_new_tree_is_durable_before_it_is_used() -> None:
    """The names of its folders, the first segment, the name of that, then the commit record."""
    disk = SimulatedDisk()
    with open_tree(disk, 2):
        assert disk.calls[:5] == [
            ("open_directory", PATH),
            ("mkdir", PATH),
            ("open_directory", PATH),
            ("listdir", PATH),
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


def killed() -> SimulatedDisk:
    """What a process leaves that was killed after a flush that it did not record."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 2))
    tree = open_tree(disk)
    tree.insert(leaf(2))
    tree.flush()
    abandon(tree)
    return disk.restarted()


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


def test_opening_takes_so_long_by_the_clock() -> None:
    """From the first look at the directory to the end."""
    clock, disk = Clock(), SimulatedDisk()
    clock.time = 100.0

    def tick(call: Call) -> None:
        clock.time += 1.0 if call.kind == "rename" else 0.0

    disk.on_call = tick
    with open_tree(disk, 2, environment=Environment(files=disk, scheduler=clock)) as tree:
        assert tree.recovery.seconds == disk.counts["rename"] == 2


@pytest.mark.evidence("fault", "DURABLE-33")
@pytest.mark.parametrize("keywords", [{"read_only": True}, {"create": False}], ids=str)
@pytest.mark.parametrize("names", [[], ["LOCK"]], ids=str)
def test_where_no_tree_may_be_made_an_empty_directory_stays_as_it_is(
    keywords: dict[str, bool], names: list[str]
) -> None:
    """Nothing is locked, and no lock file is made."""
    disk = SimulatedDisk()
    disk.mkdir(PATH)
    for name in names:
        disk.directory(PATH).open_writable(name, create=True).close()
    disk.calls.clear()
    with pytest.raises(TreeNotFoundError):
        open_tree(disk, **keywords)
    assert disk.listdir(PATH) == names
    assert "lock" not in disk.counts


@pytest.mark.evidence("fault", "FORMAT-66")
@pytest.mark.parametrize(("kind", "operation"), [("mkdir", "mkdir"), ("open_directory", "open")])
def test_a_directory_that_cannot_be_made_or_opened_says_which(kind: str, operation: str) -> None:
    """The second open of it is that of what was made."""
    disk = SimulatedDisk()
    go_wrong(disk, "x", int(kind == "open_directory"), kind=kind)
    with pytest.raises(IoFailedError) as caught:
        open_tree(disk, 2)
    assert (caught.value.path, caught.value.operation) == (PATH, operation)


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
