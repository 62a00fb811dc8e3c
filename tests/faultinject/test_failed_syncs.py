"""What a sync that fails leaves, and what later ones make of it."""

from __future__ import annotations

import dataclasses

import pytest

from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from tests.faultinject.logs import SECTOR, contents, names

POSIX = PROFILES["posix"]
ORDERED = PROFILES["ext4-ordered"]

PLAIN = dataclasses.replace(POSIX, torn="")
"""The adversary without torn sectors."""


def failing(failure: FsyncFailure, script: str = "x") -> SimulatedDisk:
    """A disk whose next sync fails, with a file that has new content."""
    disk = SimulatedDisk({"file": b"old "}, sector_bytes=SECTOR, fsync_failure=failure)
    disk.faults.rules.append(Rule("sync", "*", script))
    disk.open("file", "write").pwritev([b"new ", b"more"], 0)
    return disk


def sync_fails(disk: SimulatedDisk) -> bool:
    """Whether a sync of the file does."""
    try:
        disk.open("file", "read").sync()
    except OSError:
        return True
    return False


@pytest.mark.evidence("example", "CRASH-24", "CRASH-25")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_pages_marked_clean_are_not_written_by_later_syncs(profile: Profile) -> None:
    """The process sees the new content, the next sync succeeds, and it is lost nevertheless."""
    disk = failing("clean")
    assert sync_fails(disk)
    assert disk.files() == {"file": b"new more"}
    assert not sync_fails(disk)
    assert {b"old ", b"new more", b"new \0\0\0\0", b"old more"} <= contents(disk, profile)


@pytest.mark.evidence("example", "CRASH-26")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_what_is_written_again_after_a_failed_sync_is_durable(profile: Profile) -> None:
    """Of the sector that was, and of no other."""
    disk = failing("clean")
    assert sync_fails(disk)
    file = disk.open("file", "write")
    file.pwritev([b"more"], 4)
    file.sync()
    assert contents(disk, profile) >= {b"old more", b"new more"}
    assert all((content or b"").endswith(b" more") for content in contents(disk, PLAIN))
    file.pwritev([b"new "], 0)
    file.sync()
    assert contents(disk, profile) == {b"new more"}


@pytest.mark.evidence("example", "CRASH-24")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_pages_that_stay_dirty_are_written_by_the_next_sync(profile: Profile) -> None:
    """A failed sync that may be repeated."""
    disk = failing("dirty")
    assert sync_fails(disk)
    assert not sync_fails(disk)
    assert contents(disk, profile) == {b"new more"}


@pytest.mark.evidence("example", "CRASH-24", "CRASH-27")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_reverted_content_is_gone_for_the_process_and_the_disk(profile: Profile) -> None:
    """It is what the last sync wrote; names are not reverted."""
    disk = failing("reverted", "wx")
    assert not sync_fails(disk)
    disk.rename("file", "moved")
    disk.rename("moved", "file")
    disk.open("file", "write").pwritev([b"even more"], 8)
    assert sync_fails(disk)
    assert disk.files() == {"file": b"new more"}
    assert contents(disk, profile) - {None} == {b"new more"}
    again = failing("reverted")
    assert sync_fails(again)
    assert again.files() == again.restarted().files() == {"file": b"old "}


def test_a_restarted_process_reverts_to_what_the_killed_one_synced() -> None:
    """What was synced is a fact of the disk."""
    disk = failing("reverted", "w")
    assert not sync_fails(disk)
    disk.open("file", "write").pwritev([b"even more"], 8)
    again = disk.restarted()
    again.fsync_failure = "reverted"
    again.faults.rules.append(Rule("sync", "*", "x"))
    assert sync_fails(again)
    assert again.files() == {"file": b"new more"}


@pytest.mark.evidence("example", "CRASH-27")
def test_a_reverted_file_can_still_get_its_name() -> None:
    """The sync of its directory is another one."""
    disk = SimulatedDisk(fsync_failure="reverted", rules=[Rule("sync", "*", "x")])
    disk.open("file", "create").pwritev([b"x"], 0)
    assert sync_fails(disk)
    disk.sync_directory(".")
    for profile in PROFILES.values():
        assert contents(disk, profile) == {b""}


def test_a_strict_disk_reverts_what_another_sync_made_durable() -> None:
    """Under prefix a directory's sync covers the file; the process must not see less than that."""
    disk = failing("reverted")
    disk.sync_directory(".")
    assert sync_fails(disk)
    assert disk.files() == {"file": b"old "}
    assert contents(disk, PROFILES["prefix"]) == {b"old "}


@pytest.mark.evidence("example", "CRASH-24")
def test_an_error_may_come_one_sync_late() -> None:
    """The sync that lost the content succeeds, the next one of that file fails."""
    disk = failing("late")
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)
    assert sync_fails(disk)
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)


@pytest.mark.evidence("example", "CRASH-25")
def test_a_failed_sync_of_a_directory_loses_its_names() -> None:
    """They may be missing, whatever sync of it succeeds later; unless they may stay dirty."""
    for failure, left in (("clean", {(), ("file",)}), ("dirty", {("file",)})):
        disk = SimulatedDisk(rules=[Rule("sync_directory", "*", "x")])
        disk.fsync_failure = "clean" if failure == "clean" else "dirty"
        disk.open("file", "create")
        with pytest.raises(OSError, match="injected"):
            disk.sync_directory(".")
        disk.sync_directory(".")
        assert names(disk, POSIX) == left


@pytest.mark.evidence("example", "CRASH-28")
def test_a_lying_sync_makes_nothing_durable() -> None:
    """And says nothing."""
    disk = failing("clean", "L")
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)
