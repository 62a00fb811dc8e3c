"""What each operation may leave under each profile, and how the profiles compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.operations import Name, Sector, Size
from rotortree_faultinject.disk.profiles import PROFILES, Profile, profile_named
from tests.faultinject.logs import (
    FILTERED,
    SECTOR,
    Steps,
    contents,
    disk_after,
    disk_with,
    enumerated_images,
    log_steps,
    names,
)

POSIX = PROFILES["posix"]
ORDERED = PROFILES["ext4-ordered"]

PLAIN = dataclasses.replace(POSIX, torn="")
"""The adversary without torn sectors."""

# Compared.

INCLUDED = [
    *[("prefix", name) for name in PROFILES if name != "prefix"],
    ("ext4-ordered", "ext4-writeback"),
    *[(name, "posix") for name in ("ext4-ordered", "xfs", "btrfs")],
]


@pytest.mark.evidence("property", "CRASH-19")
@pytest.mark.parametrize(("strict", "loose"), INCLUDED)
@settings(max_examples=150, suppress_health_check=FILTERED)
@given(steps=log_steps(6))
def test_what_a_strict_profile_allows_a_loose_one_allows(
    strict: str, loose: str, steps: Steps
) -> None:
    """prefix ⊆ everything, ext4-ordered ⊆ ext4-writeback, and everything without tears ⊆ posix."""
    disk = disk_after(steps)
    one, other = disk.unsynced(PROFILES[strict]), disk.unsynced(PROFILES[loose])
    assume(other.enumerate(1 << 12).exhaustive)
    assert enumerated_images(one) <= enumerated_images(other)


@pytest.mark.evidence("property", "CRASH-19")
@settings(max_examples=150, suppress_health_check=FILTERED)
@given(log_steps(6))
def test_writeback_is_posix_for_whole_sectors(steps: Steps) -> None:
    """In a sector across the old end of a file, posix tears all that was written."""
    disk = disk_after(steps, aligned=True)
    one, other = disk.unsynced(PROFILES["ext4-writeback"]), disk.unsynced(POSIX)
    assume(other.enumerate(1 << 12).exhaustive)
    assert enumerated_images(one) <= enumerated_images(other)


@pytest.mark.evidence("example", "CRASH-19")
def test_xfs_btrfs_and_ext4_are_not_ordered() -> None:
    """Each allows something that the others do not: the lists above are complete."""
    append = SimulatedDisk({"file": b""}, sector_bytes=SECTOR)
    append.open("file", "write").pwritev([b"x" * 8], 0)
    create = SimulatedDisk(sector_bytes=SECTOR)
    create.open("new", "create").pwritev([b"x"], 0)
    create.rename("new", "file")
    found = {
        name: (
            enumerated_images(append.unsynced(PROFILES[name])),
            enumerated_images(create.unsynced(PROFILES[name])),
        )
        for name in ("ext4-ordered", "xfs", "btrfs")
    }
    assert not found["ext4-ordered"][0] <= found["xfs"][0] | found["btrfs"][0]
    assert not found["xfs"][1] <= found["ext4-ordered"][1]
    assert not found["btrfs"][1] <= found["ext4-ordered"][1]


def test_an_unknown_profile_is_told_what_there_is() -> None:
    """By ValueError."""
    assert profile_named("posix") is POSIX
    with pytest.raises(ValueError, match="no profile 'ntfs': there are prefix, ext4-ordered"):
        profile_named("ntfs")


# Single operations.


@pytest.mark.evidence("example", "CRASH-2", "CRASH-12", "CRASH-17")
def test_an_overwritten_sector_is_old_or_new_or_torn() -> None:
    """Torn within what was written: zeros, garbage; stale bytes only after a removal."""
    disk = disk_with(b"abcdefgh")
    disk.open("file", "write").pwritev([b"XY"], 1)
    found = contents(disk)
    assert {b"abcdefgh", b"aXYdefgh", b"a\0\0defgh"} < found
    assert len(found) == 4
    assert contents(disk, ORDERED) == {b"abcdefgh", b"aXYdefgh"}


@pytest.mark.evidence("example", "CRASH-13")
def test_bytes_before_the_old_end_are_torn_in_place_only() -> None:
    """Where a write goes on behind the end, another profile than posix tears what is behind."""
    disk = disk_with(b"ab")
    disk.open("file", "write").pwritev([b"XY"], 1)
    found = contents(disk, PROFILES["ext4-writeback"])
    assert {content[:2] for content in found if content} == {b"ab", b"aX"}
    assert len({content[2:] for content in found if content}) == 4
    assert b"a\0\0" in contents(disk)


@pytest.mark.evidence("example", "CRASH-12")
def test_stale_bytes_are_those_of_a_removed_file() -> None:
    """A new block may have been one of its."""
    disk = SimulatedDisk({"secret": b"secret", "file": b""}, sector_bytes=SECTOR)
    disk.unlink("secret")
    disk.open("file", "write").pwritev([b"public"], 0)
    found = contents(disk, PROFILES["ext4-writeback"])
    assert {b"secret", b"publet", b"secric", b"public"} < found


@pytest.mark.evidence("example", "CRASH-7", "CRASH-17")
def test_a_grown_file_has_any_of_its_sectors_and_either_size() -> None:
    """What did not survive reads as zeros; xfs and btrfs write a size after its data only."""
    disk = disk_with(b"ab")
    disk.open("file", "write").pwritev([b"CDEFGH"], 2)
    assert contents(disk, ORDERED) == {
        b"ab",
        b"abCDEFGH",
        b"ab\0\0EFGH",
        b"abCD\0\0\0\0",
        b"ab\0\0\0\0\0\0",
    }
    for name in ("xfs", "btrfs", "prefix"):
        assert contents(disk, PROFILES[name]) == {b"ab", b"abCDEFGH"}


@pytest.mark.evidence("example", "CRASH-4")
def test_truncation_is_lost_or_kept_in_both_directions() -> None:
    """Down: the old length with the old bytes, or the new one.  Up: zeros, or the old length."""
    for profile in PROFILES.values():
        down = disk_with(b"abcdefgh")
        down.open("file", "write").truncate(3)
        assert contents(down, profile) == {b"abcdefgh", b"abc"}
        up = disk_with(b"abc")
        up.open("file", "write").truncate(6)
        assert contents(up, profile) == {b"abc", b"abc\0\0\0"}
        assert len(up.log[-1].micro) == 1  # bytes that were never there need no sectors


@pytest.mark.evidence("example", "CRASH-4", "CRASH-10")
def test_bytes_that_were_cut_off_may_come_back_when_a_file_grows_again() -> None:
    """Sector by sector, if the profile writes a size before the zeros; xfs never does."""
    disk = disk_with(b"abcdefgh")
    file = disk.open("file", "write")
    file.truncate(2)
    file.truncate(8)
    assert contents(disk, PLAIN) == {
        b"abcdefgh",
        b"ab",
        b"ab\0\0\0\0\0\0",
        b"abcd\0\0\0\0",
        b"ab\0\0efgh",
    }
    assert contents(disk, PROFILES["xfs"]) == {b"abcdefgh", b"ab", b"ab\0\0\0\0\0\0"}


@pytest.mark.evidence("example", "CRASH-5", "CRASH-6")
def test_names_are_lost_or_kept_in_both_directions() -> None:
    """A new file may be missing, a removed one may be back."""
    for profile in PROFILES.values():
        made = SimulatedDisk()
        made.open("file", "create")
        assert names(made, profile) == {(), ("file",)}
        gone = disk_with(b"")
        gone.unlink("file")
        assert names(gone, profile) == {(), ("file",)}


@pytest.mark.evidence("example", "CRASH-17", "CRASH-18")
def test_names_of_different_files_are_in_order_where_there_is_one_log() -> None:
    """Any of them may be missing elsewhere."""
    disk = SimulatedDisk()
    disk.open("a", "create")
    disk.open("b", "create")
    for name in ("prefix", "xfs"):
        assert names(disk, PROFILES[name]) == {(), ("a",), ("a", "b")}
    for name in ("ext4-ordered", "ext4-writeback", "btrfs", "posix"):
        assert names(disk, PROFILES[name]) == {(), ("a",), ("b",), ("a", "b")}


@pytest.mark.evidence("example", "CRASH-6")
def test_nothing_is_in_a_directory_that_is_not_there() -> None:
    """A file is found by its whole path only."""
    disk = SimulatedDisk()
    disk.mkdir("d")
    disk.open("d/file", "create")
    disk.sync_directory("d")
    assert names(disk, POSIX) == {(), ("d", "d/file")}


@pytest.mark.evidence("example", "CRASH-5", "CRASH-11")
def test_a_rename_is_atomic_but_under_posix() -> None:
    """Where it is two names: the file may have both, or none."""
    disk = SimulatedDisk({"a": b""})
    disk.rename("a", "b")
    for profile in PROFILES.values():
        both = {(), ("a", "b")} if profile is POSIX else set()
        assert names(disk, profile) == {("a",), ("b",)} | both


@pytest.mark.evidence("example", "CRASH-18", "CRASH-21", "CRASH-22")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_what_a_sync_covers(profile: Profile) -> None:
    """A file's: its content, its names but under posix, and all other names on xfs.

    A directory's: the names in it, all names on xfs; under prefix each covers everything.
    """
    disk = SimulatedDisk({"d": None}, sector_bytes=SECTOR)
    disk.mkdir("e")
    file = disk.open("d/file", "create")
    file.pwritev([b"data"], 0)
    disk.open("other", "create")
    by_file, by_directory = disk.restarted(), disk.restarted()
    by_file.open("d/file", "read").sync()
    by_directory.sync_directory("d")
    everything, all_names = profile.sync_covers_everything, profile.sync_covers_all_names
    left = {"other", "e"} if not (everything or all_names) else set()
    left |= {"d/file"} if profile is POSIX else set()
    assert {str(getattr(micro, "path", "")) for micro in by_file.unsynced(profile).micro} == left
    micro = by_directory.unsynced(profile).micro
    assert {one.path for one in micro if isinstance(one, Name)} == left - {"d/file"}
    assert any(isinstance(one, Sector) for one in micro) == (not everything)


@pytest.mark.evidence("example", "CRASH-2", "CRASH-3")
@pytest.mark.parametrize(
    ("sector_bytes", "offset", "length", "sectors", "sizes"),
    [
        (512, 0, 512, [(0, 512)], [512]),
        (512, 100, 512, [(100, 512), (0, 100)], [612]),
        (4096, 100, 512, [(100, 612)], [612]),
        (4096, 4000, 5000, [(4000, 4096), (0, 4096), (0, 808)], [4096, 8192, 9000]),
        (2048, 4000, 5000, [(1952, 2048), (0, 2048), (0, 2048), (0, 808)], [4096, 8192, 9000]),
        (8192, 4000, 5000, [(4000, 8192), (0, 808)], [8192, 9000]),
    ],
)
def test_a_write_is_its_sectors_and_a_size_for_each_page(
    sector_bytes: int,
    offset: int,
    length: int,
    sectors: Sequence[tuple[int, int]],
    sizes: Sequence[int],
) -> None:
    """Sizes only where the file grows; pages are 4096 bytes, or a sector if that is more."""
    disk = disk_with(b"", sector_bytes)
    file = disk.open("file", "write")
    file.pwritev([b"x" * length], offset)
    file.pwritev([b"y" * length], offset)
    first, second = disk.log
    found = [(one.start, one.stop) for one in first.micro if isinstance(one, Sector)]
    assert found == sectors
    assert [one.length for one in first.micro if isinstance(one, Size)] == sizes
    assert len(second.micro) == len(sectors)


@pytest.mark.evidence("example", "CRASH-3")
def test_a_write_that_begins_within_a_file_has_sizes_from_its_end_on() -> None:
    """No page before that makes the file longer."""
    disk = disk_with(b"x" * 5000, 4096)
    disk.open("file", "write").pwritev([b"y" * 9000], 0)
    assert [one.length for one in disk.log[0].micro if isinstance(one, Size)] == [8192, 9000]


@pytest.mark.evidence("example", "CRASH-3")
def test_a_long_write_may_end_at_any_page() -> None:
    """A program that relies on all or nothing of a write is told so."""
    disk = disk_with(b"", 4096)
    disk.open("file", "write").pwritev([b"x" * 9000], 0)
    for profile in PROFILES.values():
        lengths = {len(content or b"") for content in contents(disk, profile)}
        assert lengths == {0, 4096, 8192, 9000}
