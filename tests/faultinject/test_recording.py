"""A recorded log is explored as a program is, though no program ran."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from rotortree_faultinject import (
    PROFILES,
    Bounds,
    Checker,
    Finding,
    FindingError,
    Profile,
    Recording,
    SimulatedDisk,
    explore,
    explore_recording,
)
from rotortree_faultinject.disk.operations import ROOT, Name, Operation, Sector, Size
from rotortree_faultinject.exploring.explorer import Crash, Failure
from tests.faultinject.subjects import Register

POSIX = PROFILES["posix"]
NOTE = b"note"


class Reader(Checker):
    """Reads a note, and knows when it was promised."""

    name = "reader"

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """The note, nothing if it is missing."""
        if "note" not in disk.listdir("."):
            return b""
        file = disk.open("note", "read")
        file.sync()
        disk.sync_directory(".")
        return file.pread(file.size(), 0)

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """Once promised it is there."""
        return "the note is lost" if "promised" in marks and outcome != NOTE else None


def recorded(*, sync: bool = True, sync_directory: bool = True) -> Recording:
    """A note is written by hand: no disk and no program had a part in it."""
    name = Name(0, ROOT, "note", "note", 0, 0)
    sector = Sector(1, 0, 0, NOTE, 0, 4, 0, b"")
    log = [
        Operation("create", "note", 0, (name,)),
        Operation("write", "note", 0, (sector, Size(2, 0, 4)), (0, 4)),
        *([Operation("sync", "note", 0)] if sync else []),
        *([Operation("sync_directory", ".", ROOT)] if sync_directory else []),
        Operation("mark", "", value="promised"),
    ]
    return Recording({}, log)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_log_made_by_hand_is_explored(profile: Profile) -> None:
    """A note that was synced before it was promised is there, wherever power fails."""
    bounds = Bounds(depth=2, kills=True)
    result = explore_recording(recorded(), Reader(), profile, bounds)
    assert result.failures == []
    assert result.complete
    assert result.statistics.operations == 5
    assert result.statistics.points == 6
    assert result.statistics.kills > 0
    assert result.statistics.nested > 0


@pytest.mark.parametrize(("sync", "sync_directory"), [(False, True), (True, False)])
def test_a_sync_that_is_missing_in_a_log_is_found(sync: bool, sync_directory: bool) -> None:
    """The failure says that power failed after the promise, and that the note is lost then."""
    recording = recorded(sync=sync, sync_directory=sync_directory)
    result = explore_recording(recording, Reader(), POSIX)
    assert [(found.check, found.message) for found in result.failures] == [
        ("judge", "the note is lost")
    ]
    (crash,) = result.failures[0].crashes
    assert crash.point == len(recording.log)


def test_the_marks_of_an_earlier_time_count() -> None:
    """A promise that was made before the log began is to be kept from its first point on."""
    recording = Recording({}, recorded().log, carried=["promised"])
    result = explore_recording(recording, Reader(), POSIX)
    assert result.failures == [Failure((Crash(0, ""),), "judge", "the note is lost")]


def test_sectors_are_those_of_the_recording() -> None:
    """Whatever the bounds say: the numbers in its log are meant in them."""
    disk = SimulatedDisk({"note": b"....."}, sector_bytes=2)
    disk.open("note", "write").pwritev([NOTE], 0)
    recording = Recording.of_disk(disk)
    result = explore_recording(recording, Reader(), PROFILES["xfs"], Bounds(sector_bytes=512))
    assert result.bounds.sector_bytes == 2
    assert result.statistics.distinct == 4


@pytest.mark.parametrize("flaw", ["", "judge", "same", "go on"])
def test_a_program_and_its_recording_come_to_the_same(flaw: str) -> None:
    """Running the workload is one way to a recording; an executor changes nothing."""
    subject, bounds = Register(flaw), Bounds(depth=2, kills=True, failures=5)
    ran = explore(subject, POSIX, bounds)
    with ThreadPoolExecutor(2) as executor:
        recording = Recording.of(subject)
        again = explore_recording(recording, subject, POSIX, bounds, executor=executor)
    assert again.failures == ran.failures
    assert bool(ran.failures) == bool(flaw)
    ran.statistics.seconds = again.statistics.seconds = 0
    assert again.statistics == ran.statistics


def test_a_recording_without_its_program_is_no_finding() -> None:
    """It could not be replayed, and whoever asks for it is told so."""
    result = explore_recording(recorded(sync=False), Reader(), POSIX)
    with pytest.raises(FindingError, match="reader has no workload"):
        Finding.of(result, result.failures[0])
    with pytest.raises(TypeError, match="reader has no workload"):
        _ = result.subject
