"""The explorer finds what is wrong, at every depth, and the same whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.exploring.explorer import (
    Bounds,
    Crash,
    Exploration,
    Failure,
    Known,
    Statistics,
    explore,
)
from rotortree_faultinject.subjects.subject import Subject
from rotortree_faultinject.subjects.toy import STEPS, ToyLog
from tests.faultinject.subjects import FLAWS, Journal, Reader, Register, Stair, Three, put

POSIX = PROFILES["posix"]
ORDERED = PROFILES["ext4-ordered"]
MANY = Bounds(failures=10_000)

SMALL = 128
"""Sectors so small that a record of the toy log is in many of them."""


def checks(found: Exploration) -> set[str]:
    """Which checks noticed something."""
    return {failure.check for failure in found.failures}


# What it finds.


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_right_programs_have_no_failures(profile: Profile) -> None:
    """To depth 3, with kills, all states of all points."""
    bounds = Bounds(depth=3, kills=True, failures=1000)
    subjects: list[Subject] = [Register(), Journal(), Reader()]
    for subject in subjects:
        found = explore(subject, profile, bounds)
        assert found.failures == []
        assert found.complete
        assert found.statistics.exhaustive


@pytest.mark.evidence("fault", "CRASH-39")
@pytest.mark.parametrize("flaw", FLAWS)
def test_each_check_notices_what_it_is_for(flaw: str) -> None:
    """A program with one bug fails by the check of that name, and no other."""
    found = explore(Register(flaw), ORDERED, replace(MANY, depth=2))
    assert checks(found) == {flaw}


def test_a_failure_says_what_is_wrong_and_after_which_crashes() -> None:
    """An exception with its place; outcomes as they are."""
    raised = explore(Register("recover"), ORDERED).failures[0]
    assert raised.message.startswith("ValueError: two is too much (recover, line ")
    assert [crash.choice is None for crash in raised.crashes] == [False]
    same = explore(Register("same"), ORDERED, Bounds(depth=2)).failures[0]
    assert same.message == "b'1', and before: b''"
    assert len(same.crashes) == 2
    assert explore(Register("workload"), ORDERED).failures[0].crashes == ()


@pytest.mark.evidence("example", "CRASH-41")
@pytest.mark.parametrize("flaw", ["judge", "recover"])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_every_failure_is_one(flaw: str, profile: Profile) -> None:
    """Crashing by hand as it says leads to a state that fails."""
    subject = Register(flaw)
    disk = SimulatedDisk()
    subject.run(disk)
    found = explore(subject, profile, MANY)
    assert (found.failures == []) == ((flaw, profile.name) == ("judge", "prefix"))
    for failure in found.failures:
        ((point, choice),) = failure.crashes
        assert choice is not None
        assert disk.unsynced(profile, point).legal(choice) == choice
        left = disk.crash(choice, profile, point)
        if failure.check == "recover":
            with pytest.raises(ValueError, match="two is too much"):
                subject.recover(left)
        else:
            assert subject.judge(disk.marks(point), subject.recover(left)) == failure.message


@pytest.mark.evidence("fault", "CRASH-36")
@pytest.mark.parametrize("flawed", [1, 2])
def test_bugs_in_recovery_are_found_at_their_depth_and_not_before(flawed: int) -> None:
    """A bug of the first recovery needs a crash in it, one of the second a crash in each."""
    for depth in (1, 2, 3):
        found = explore(Journal(flawed), ORDERED, replace(MANY, depth=depth))
        assert checks(found) == ({"same"} if depth > flawed else set())
        assert {len(failure.crashes) for failure in found.failures} <= {flawed + 1, 3}


def test_a_state_that_was_seen_at_the_last_depth_is_gone_into_when_it_comes_earlier() -> None:
    """What was not looked at within it the first time is looked at then."""
    assert explore(Stair(), POSIX, replace(MANY, depth=2)).failures == []
    found = explore(Stair(), POSIX, replace(MANY, depth=3, go_on=False))
    assert checks(found) == {"same"}
    assert {len(failure.crashes) for failure in found.failures} == {3}


@pytest.mark.evidence("fault", "CRASH-37")
def test_a_recovery_that_syncs_nothing_is_found_by_a_kill_and_a_power_failure() -> None:
    """What it read was in the cache only; without the kill nothing is wrong."""
    for depth in (1, 2, 3):
        assert explore(Reader("no sync"), ORDERED, Bounds(depth=depth)).failures == []
        found = explore(Reader("no sync"), ORDERED, replace(MANY, depth=depth, kills=True))
        assert checks(found) == {"same"}
        assert "b'old', and before: b'new'" in [failure.message for failure in found.failures]
        for failure in found.failures:
            killed, lost = failure.crashes[:2]
            assert killed.choice is None
            assert lost.point == killed.point
            assert lost.choice is not None


@pytest.mark.evidence("fault", "CRASH-40")
def test_after_a_kill_later_recoveries_must_agree_with_each_other() -> None:
    """A power failure in the first may change what is found; from then on nothing may."""
    assert explore(Reader("poison"), ORDERED, Bounds(depth=3)).failures == []
    assert explore(Reader("poison"), ORDERED, Bounds(depth=2, kills=True)).failures == []
    (failure,) = explore(Reader("poison"), ORDERED, Bounds(depth=3, kills=True)).failures
    assert failure.check == "same"
    assert failure.message == "b'bad', and before: b'old'"
    assert [crash.choice is None for crash in failure.crashes] == [True, False, False]


@pytest.mark.parametrize("step", STEPS)
def test_the_toy_log_needs_all_of_its_steps(step: str) -> None:
    """The adversary finds every one that is left out."""
    assert explore(ToyLog(step), POSIX, Bounds(depth=2, kills=True)).failures != []


class Carrier(Subject):
    """A workload that loses power itself: it goes on with what was left, and with its marks."""

    name = "carrier"

    def run(self, disk: SimulatedDisk) -> None:
        """Lose one value and store another."""
        put(disk, "kept", b"1")
        disk.mark("kept")
        put(disk, "lost", b"2", sync=False)
        disk.lose_power()
        put(disk, "later", b"3")
        disk.mark("later")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """The files."""
        disk.sync_directory(".")
        return tuple(sorted(disk.listdir(".")))

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The first is always there: its mark comes before every crash."""
        assert isinstance(outcome, tuple)
        missing = {*map(str, marks)} - {*outcome}
        return f"no {missing}" if missing or marks[:1] != ["kept"] else None


def test_what_a_workload_lost_itself_is_where_the_crashes_begin() -> None:
    """With all marks from before, and the files that were left."""
    found = explore(Carrier(), POSIX, Bounds(depth=2, kills=True, failures=1000))
    assert found.failures == []
    assert found.statistics.distinct > 1


class Observer(Register):
    """A register that notes what the explorer asks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """As a register."""
        self.asked.append(f"recover {id(disk)}")
        return super().recover(disk)

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """As a register."""
        self.asked.append(f"go on {id(disk)}")
        super().go_on(disk, outcome)


def test_going_on_comes_after_recovery_on_the_same_disk() -> None:
    """Once for every distinct state, and not at all if that is not wanted."""
    subject = Observer()
    found = explore(subject, POSIX)
    recovered, went = subject.asked[::2], subject.asked[1::2]
    assert [entry.replace("recover", "go on") for entry in recovered] == went
    assert len(went) == found.statistics.distinct
    subject.asked.clear()
    explore(subject, POSIX, Bounds(go_on=False))
    assert not [entry for entry in subject.asked if entry.startswith("go on")]


# Whoever does the work.

EXECUTORS: Sequence[Callable[[], Executor]] = (
    lambda: ThreadPoolExecutor(2),
    lambda: ProcessPoolExecutor(2),
)

WORK: Sequence[tuple[Subject, Bounds]] = (
    (ToyLog("sync", 3), Bounds(depth=2, kills=True, failures=30)),
    (ToyLog("checksum", 3), Bounds(failures=1, sector_bytes=SMALL)),
    (ToyLog("", 3), Bounds(depth=2, kills=True, states=200, sector_bytes=SMALL)),
    (ToyLog("cut", 3), Bounds(failures=5, per_point=400, seed=3, sector_bytes=SMALL)),
    (Journal(2), Bounds(depth=3, failures=1000)),
)


def summary(found: Exploration) -> tuple[list[Failure], Statistics, bool]:
    """All that must be the same; not how long it took."""
    return found.failures, replace(found.statistics, seconds=0.0), found.complete


@pytest.mark.evidence("example", "CRASH-38")
@pytest.mark.parametrize(("subject", "bounds"), WORK, ids=range(len(WORK)))
def test_the_result_does_not_depend_on_the_executor(subject: Subject, bounds: Bounds) -> None:
    """Failures in the same order, and the same statistics: here, in threads, in processes."""
    alone = summary(explore(subject, POSIX, bounds))
    assert summary(explore(subject, POSIX, bounds)) == alone
    for make in EXECUTORS:
        with make() as executor:
            assert summary(explore(subject, POSIX, bounds, executor=executor)) == alone


# Bounds.


@pytest.mark.evidence("example", "CRASH-38")
@pytest.mark.parametrize("states", [1, 63, 64, 65, 100])
def test_the_bound_of_states_is_kept(states: int) -> None:
    """Exactly so many are recovered from, and the exploration is not complete."""
    found = explore(ToyLog(), POSIX, Bounds(states=states, sector_bytes=SMALL))
    assert found.statistics.distinct == found.statistics.recoveries == states
    assert not found.complete


def test_a_bound_that_is_not_reached_changes_nothing() -> None:
    """The exploration is complete."""
    found = explore(ToyLog(), POSIX)
    assert found.complete
    again = explore(ToyLog(), POSIX, Bounds(states=found.statistics.distinct))
    assert summary(again) == summary(found)


@pytest.mark.parametrize("failures", [1, 2, 10])
def test_the_bound_of_failures_is_kept(failures: int) -> None:
    """They are the first ones of an exploration that finds more."""
    found = explore(ToyLog("checksum"), POSIX, Bounds(failures=failures, sector_bytes=SMALL))
    more = explore(ToyLog("checksum"), POSIX, replace(MANY, sector_bytes=SMALL))
    assert found.failures == more.failures[:failures]
    assert not found.complete
    assert found.statistics.recoveries <= more.statistics.recoveries


def test_the_bound_of_time_is_kept() -> None:
    """After each piece of work."""
    found = explore(ToyLog(), POSIX, Bounds(seconds=0.0, sector_bytes=SMALL))
    assert not found.complete
    assert 0 < found.statistics.recoveries <= 64


@pytest.mark.evidence("example", "CRASH-35", "CRASH-38")
def test_the_bound_of_choices_is_kept_at_every_point() -> None:
    """And told."""
    found = explore(ToyLog("", 3), POSIX, Bounds(per_point=4))
    statistics = found.statistics
    assert statistics.checked <= 4 * statistics.points
    assert not statistics.exhaustive


def test_nested_choices_are_bounded_as_well() -> None:
    """Fewer of them are fewer recoveries."""
    few = explore(ToyLog(), POSIX, Bounds(depth=3, nested_per_point=2)).statistics
    many = explore(ToyLog(), POSIX, Bounds(depth=3)).statistics
    assert few.nested < many.nested
    assert few.distinct == many.distinct


# Statistics.


@pytest.mark.evidence("example", "CRASH-35")
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kills", [False, True])
def test_the_statistics_add_up(depth: int, kills: bool) -> None:
    """Every recovery is of a distinct state, of a kill, or of a nested crash that is new."""
    found = explore(ToyLog(), POSIX, Bounds(depth=depth, kills=kills)).statistics
    assert found.exhaustive
    assert found.exact
    assert found.subsets
    assert found.existing == found.checked >= found.distinct > 0
    assert found.points == found.operations + 1
    least = found.distinct + found.kills
    assert least <= found.recoveries <= least + found.nested
    assert (found.kills > 0) == kills
    assert (found.nested > 0) == (depth > 1 or kills)
    assert f"{found.points} crash points, {found.existing} states" in str(found)
    assert "all of them" in str(found)


def test_recoveries_are_counted_as_they_are_made() -> None:
    """What was seen before is not recovered again, and not counted."""
    subject = Observer()
    found = explore(subject, POSIX, Bounds(depth=3, kills=True, go_on=False))
    assert found.statistics.recoveries == len(subject.asked)
    nothing_done = explore(Three(), POSIX, Bounds(depth=3)).statistics
    assert (nothing_done.recoveries, nothing_done.nested) == (8, 8)


def test_no_state_is_counted_at_two_points() -> None:
    """Unless nothing new could survive there: three names are eight states."""
    found = explore(Three(), POSIX).statistics
    assert found.existing == found.checked == found.distinct == 8


def test_statistics_of_huge_numbers_can_be_printed() -> None:
    """More states than a float holds."""
    found = Statistics(existing=3**3000, exact=False, exhaustive=False, subsets=False)
    assert "less than 2^4755 states" in str(found)
    assert "small sets and samples" in str(found)
    assert "every subset" in str(replace(found, subsets=True))


def test_progress_is_told_of_now_and_then() -> None:
    """Numbers only grow, and the last ones are those of the result."""
    told: list[Statistics] = []
    found = explore(ToyLog(), POSIX, Bounds(sector_bytes=SMALL), progress=told.append)
    assert len(told) > 2
    assert told[-1] == found.statistics
    assert [one.recoveries for one in told] == sorted(one.recoveries for one in told)


# What is known already.


def test_known_states_are_judged_and_not_recovered_again() -> None:
    """With the same failures."""
    known: Known = {}
    first = explore(ToyLog("checksum"), POSIX, MANY, known=known)
    second = explore(ToyLog("checksum"), POSIX, MANY, known=known)
    assert first.failures == second.failures != []
    assert (first.statistics.recoveries, second.statistics.recoveries) == (len(known), 0)


@pytest.mark.parametrize("executor", [None, *EXECUTORS], ids=["none", "threads", "processes"])
def test_what_was_not_finished_is_not_known(executor: Callable[[], Executor] | None) -> None:
    """An exploration that stopped early, or was interrupted, leaves only results behind."""
    known: Known = {}
    bounds = replace(MANY, per_point=400, sector_bytes=SMALL)
    with executor() if executor else nullcontext() as workers:
        explore(
            ToyLog("checksum"), POSIX, replace(bounds, failures=1), executor=workers, known=known
        )
        assert None not in known.values()

        def interrupt(statistics: Statistics) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            explore(
                ToyLog("checksum"), POSIX, bounds, executor=workers, progress=interrupt, known=known
            )
        assert None not in known.values()
        found = explore(ToyLog("checksum"), POSIX, bounds, executor=workers, known=known)
    assert found.complete
    assert found.failures == explore(ToyLog("checksum"), POSIX, bounds).failures


# Against a dumb explorer.


def dumb_failures(subject: Subject, depth: int) -> Iterator[tuple[tuple[Crash, ...], str]]:
    """All that recovering raises and judging finds, of every state of every point, by recursion."""
    disk = SimulatedDisk()
    subject.run(disk)
    for point in range(len(disk.log) + 1):
        yield from _dumb(subject, disk, point, disk.marks(point), depth)


def _dumb(
    subject: Subject, disk: SimulatedDisk, point: int, marks: Sequence[object], depth: int
) -> Iterator[tuple[tuple[Crash, ...], str]]:
    for choice in disk.unsynced(POSIX, point).enumerate(1 << 12).choices:
        crash = Crash(point, choice)
        left = disk.crash(choice, POSIX, point)
        try:
            message = subject.judge(marks, subject.recover(left))
        except ValueError:
            yield (crash,), "recover"
            continue
        if message is not None:
            yield (crash,), "judge"
        if depth > 1:
            for inner in range(len(left.log) + 1):
                for crashes, check in _dumb(subject, left, inner, marks, depth - 1):
                    yield (crash, *crashes), check


@pytest.mark.evidence("exhaustive", "CRASH-36", "CRASH-37", "CRASH-39")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("flaw", ["", "judge", "recover"])
def test_a_dumb_explorer_finds_nothing_more(flaw: str, depth: int) -> None:
    """Without de-duplication, dependencies on earlier points, or memory: the same first crashes."""
    subject = Register(flaw, values=2)
    found = explore(subject, POSIX, replace(MANY, depth=depth, nested_per_point=1 << 12))
    assert found.statistics.exhaustive
    expected = {check for _, check in dumb_failures(subject, depth)}
    assert checks(found) - {"same"} == expected
    expected_points = {crashes[0].point for crashes, _ in dumb_failures(subject, 1)}
    points = {one.crashes[0].point for one in found.failures if len(one.crashes) == 1}
    assert points <= expected_points
    assert min(points, default=0) == min(expected_points, default=0)
