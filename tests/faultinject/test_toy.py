"""The toy log: right under every profile, and wrong where a step that matters is left out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import Bounds, Exploration, explore
from rotortree_faultinject.subjects.toy import STEPS, ToyLog, append, read, record

REORDERING = ("ext4-ordered", "ext4-writeback", "posix")
"""The profiles in which a file's size survives without its data."""

CAUGHT: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sync": ("judge", tuple(PROFILES)),
    "sync_directory": ("judge", ("posix",)),
    "checksum": ("judge", REORDERING),
    "cut": ("go on", REORDERING),
    "recovery_sync": ("same", tuple(PROFILES)),
}
"""The check that catches a forgotten step, and the profiles under which it does."""


def explored(forgets: str, profile: str) -> Exploration:
    """Crashes of storing two records, of recovery, and of recovery from those; and kills."""
    return explore(ToyLog(forgets), PROFILES[profile], Bounds(depth=3, kills=True))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_toy_log_survives(profile: str) -> None:
    """No crash and no kill, to depth 3, loses or invents a record: all states were checked."""
    found = explored("", profile)
    assert found.failures == []
    assert found.statistics.exhaustive
    assert found.statistics.kills > 0
    assert found.statistics.nested > 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", STEPS)
def test_a_forgotten_step_is_caught_where_it_matters(step: str, profile: str) -> None:
    """By the check that is about it, under exactly the profiles that it protects against."""
    check, profiles = CAUGHT[step]
    checks = [failure.check for failure in explored(step, profile).failures]
    assert checks == ([check] if profile in profiles else [])


def test_a_record_can_be_torn() -> None:
    """It covers more than one sector; else no checksum would be missed."""
    disk = SimulatedDisk()
    append(disk, record(0))
    assert len(disk.files()["log"]) > disk.sector_bytes


def test_short_writes_are_continued() -> None:
    """A call may write less than it was given."""
    disk = SimulatedDisk()
    disk.most = 100
    append(disk, record(0))
    disk.most = None
    assert read(disk) == (record(0),)


def test_the_judge_knows_right_from_wrong() -> None:
    """All acknowledged records and at most one more, in order and as they were stored."""
    subject = ToyLog()
    records = tuple(map(record, range(3)))
    assert [subject.judge([0], records[:count]) is None for count in range(4)] == [
        False,
        True,
        True,
        False,
    ]
    assert subject.judge([0], (record(1),)) == "a record that was never stored"


def test_parameters_make_the_same_subject_again() -> None:
    """As findings need it; smaller ones have a record less, and forget the same."""
    subject = ToyLog("cut", 2)
    assert subject.parameters() == {"forgets": "cut", "records": 2}
    (smaller,) = subject.smaller()
    assert smaller.parameters() == {"forgets": "cut", "records": 1}
    assert smaller.smaller() == []
    with pytest.raises(ValueError, match="no step 'lunch': there are sync, "):
        ToyLog("lunch")
