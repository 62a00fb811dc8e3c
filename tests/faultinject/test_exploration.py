"""Every crash of the built-in workloads: what was acknowledged is there, and the tree goes on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pytest

from rotortree.storage.format import COMMIT, Commit
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import Bounds, explore
from rotortree_faultinject.subjects.tree.interleaving import (
    CONCURRENT,
    explore_schedules,
    sample_schedules,
)
from rotortree_faultinject.subjects.tree.life import PATH, Life, history_of
from rotortree_faultinject.subjects.tree.workloads import WORKLOADS, TreeSubject, workload
from tests.campaigns.kill_score.planted import PLANTED

SHORT = [name for name in WORKLOADS if name != "long"]
"""The workloads of which every state is checked."""

QUICK = ("create", "first-flush", "torn-tail")
"""Those of which crashes in the recovery from a crash in recovery take a few seconds."""

WITNESS = pytest.mark.evidence(
    "crash",
    *(f"DURABLE-{number}" for number in (1, 2, 3, 4, 7, 8, 15, 16, 21, 22)),
    *(f"FORMAT-{number}" for number in (34, 41, 48, 49, 50, 70)),
)
NESTED = pytest.mark.evidence("crash", "DURABLE-5", "DURABLE-6", "DURABLE-30", "FORMAT-72")
"""What an exploration is evidence of, without and with crashes in recovery."""


@pytest.mark.parametrize(
    "n",
    [
        pytest.param(2, marks=WITNESS),
        *(pytest.param(n, marks=pytest.mark.long) for n in (3, 4)),
    ],
)
@pytest.mark.parametrize("profile", ["posix", "ext4-ordered"])
@pytest.mark.parametrize("name", SHORT)
def test_every_crash_of_a_short_workload(name: str, profile: str, n: int) -> None:
    """Every crash point × every subset of what was not synced × every way to tear its sectors.

    Where that is over 8,192 at one point: every subset if those are up to 4,096, else all pairs,
    and samples of torn sectors.
    From each state: the leaves are what was acknowledged or more of what was issued; all proofs
    verify; a second open is the same; the tree works on, and its level files are the model's.
    """
    result = explore(workload(name, n), PROFILES[profile], Bounds(per_point=8192))
    assert result.failures == []
    assert result.complete
    assert result.statistics.subsets


@pytest.mark.parametrize("name", SHORT)
def test_crashes_in_recovery_change_nothing(name: str) -> None:
    """Crashes to depth 2, n = 2: in recovery, at every point, up to 8 states at each.

    Also after the process alone was killed, and its successor read what was not synced.  Every end
    is the same as without the nested crashes.  `make crash` goes deeper.
    """
    bounds = Bounds(per_point=64, depth=2, kills=True, go_on=False, nested_per_point=8)
    result = explore(workload(name), PROFILES["posix"], bounds)
    assert result.failures == []
    assert result.statistics.nested > result.statistics.distinct


@pytest.mark.parametrize("profile", ["posix", "ext4-ordered"])
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=NESTED) for name in QUICK),
        pytest.param("killed-between-frames", marks=pytest.mark.long),
    ],
)
def test_crashes_in_the_recovery_from_a_crash_in_recovery_change_nothing(
    name: str, profile: str
) -> None:
    """The same to depth 3, with up to 64 states at each point of a recovery."""
    bounds = Bounds(per_point=256, depth=3, kills=True, go_on=False)
    result = explore(workload(name), PROFILES[profile], bounds)
    assert result.failures == []
    assert result.statistics.nested > result.statistics.distinct


@pytest.mark.long
@pytest.mark.parametrize("profile", list(PROFILES))
def test_crashes_of_a_long_workload(profile: str) -> None:
    """A long workload under every profile, n = 3, with kills: all pairs and samples per point."""
    result = explore(workload("long", 3), PROFILES[profile], Bounds(per_point=256, kills=True))
    assert result.failures == []


@pytest.mark.parametrize("name", list(CONCURRENT))
def test_crashes_under_every_schedule_of_one_preemption(name: str) -> None:
    """Threads that take turns at every call of the disk: each schedule, and each crash of it."""
    found = explore_schedules(CONCURRENT[name], preemptions=1)
    assert found.failed == []
    assert found.schedules > 20
    assert found.distinct > 30


@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 4))])
@pytest.mark.parametrize("profile", ["posix", "ext4-ordered"])
def test_every_crash_of_a_checkpoint_beside_inserts_and_a_flush(profile: str, n: int) -> None:
    """Two preemptions: every schedule, every crash point, every subset, and working on from it."""
    subject = CONCURRENT["checkpoint and flush"].with_arity(n)
    bounds = Bounds(per_point=8192)
    found = explore_schedules(subject, 2, PROFILES[profile], bounds)
    assert found.failed == []
    assert found.schedules > 100


@pytest.mark.long
@pytest.mark.parametrize("name", list(CONCURRENT))
def test_crashes_under_random_schedules(name: str) -> None:
    """The same with any number of preemptions: 60 random schedules."""
    found = sample_schedules(CONCURRENT[name], 60)
    assert found.failed == []
    assert found.schedules == 60


class Recorded(TreeSubject):
    """A life with recorded acknowledgements, judged by what COMMIT says when power came back.

    What the tree acknowledges is noted before each call of the disk, not only after each step.
    """

    def run(self, disk: SimulatedDisk) -> None:
        """Live it."""
        life = Life(self.options, disk)
        disk.on_call = lambda call: life.acknowledge()
        try:
            life.live(self.steps)
        finally:
            disk.on_call = None
            life.end()

    def recover(self, disk: SimulatedDisk) -> Hashable:  # type: ignore[override]  # with a size
        """What is opened, and the acknowledged size of the record that was there before."""
        record = disk.files().get(f"{PATH}/{COMMIT}")
        said = Commit.decode(record, COMMIT).acknowledged.size if record else 0
        return super().recover(disk), said

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The record says at least what was acknowledged, and the leaves are right."""
        assert isinstance(outcome, tuple)
        found, said = outcome
        acknowledged = history_of(marks).acknowledged
        if said < acknowledged:
            return f"{COMMIT} says {said}, and {acknowledged} were acknowledged"
        return super().judge(marks, found)


RECORDED = Recorded(
    (
        *("open", "insert 2", "flush", "wait", "durable", "insert", "checkpoint", "insert 4"),
        *("background flusher", "insert", "close"),
    ),
    {"record": True, "flush": "interval"},
)


@pytest.mark.evidence("crash", "DURABLE-20", "FORMAT-39")
@pytest.mark.parametrize("profile", ["posix", "ext4-ordered"])
def test_what_was_acknowledged_is_in_the_record_after_every_crash(profile: str) -> None:
    """By a flush of anybody, a token, a checkpoint or a close: COMMIT says so before."""
    result = explore(RECORDED, PROFILES[profile], Bounds(per_point=512, go_on=False))
    assert result.failures == []
    assert result.statistics.distinct > 30


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "fault", ["acknowledgements not recorded", "acknowledged before it is recorded"]
)
def test_an_acknowledgement_that_is_not_recorded_is_seen(fault: str) -> None:
    """The record is behind at some crash."""
    with PLANTED[fault].apply():
        found = explore(RECORDED, PROFILES["posix"], Bounds(per_point=64, go_on=False))
    assert any(COMMIT in failure.message for failure in found.failures)
