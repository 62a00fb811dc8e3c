"""The minimiser: what it returns fails in the same way, and could not easily be smaller."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.exploring.explorer import Bounds, Crash, Exploration, explore
from rotortree_faultinject.exploring.finding import Finding, replay
from rotortree_faultinject.exploring.minimise import minimise
from rotortree_faultinject.subjects.subject import Subject
from rotortree_faultinject.subjects.toy import STEPS, ToyLog
from tests.faultinject.notes import Counting, Notes

NOTES = "tests.faultinject.notes:Notes"

LONG = (
    *("put a", "sync a", "ack a", "put b", "sync b", "ack b", "put c"),
    *("put d", "sync d", "ack d", "ack c", "put e", "sync e", "ack e"),
)
"""Notes of which all but c are synced before they are acknowledged."""


def findings(subject: Subject, profile: str, bounds: Bounds) -> list[Finding]:
    """What an exploration finds."""
    result = explore(subject, PROFILES[profile], bounds)
    return [Finding.of(result, failure) for failure in result.failures]


def notes(*steps: str, crash: Crash, wrong: str = "missing", profile: str = "posix") -> Finding:
    """A finding about notes, with one crash."""
    parameters = {"steps": list(steps), "wrong": wrong, "endless": False}
    return Finding(NOTES, parameters, profile, 512, 0, (crash,), "judge", "")


class Counted(Notes):
    """Notes that count how often they were recovered."""

    recoveries = 0

    def recover(self, disk: SimulatedDisk) -> object:
        """As always."""
        Counted.recoveries += 1
        return super().recover(disk)


@pytest.mark.parametrize("profile", PROFILES)
def test_only_the_steps_that_matter_are_left(profile: str) -> None:
    """Of fourteen steps two: the note that is written, and acknowledged too early."""
    for finding in findings(Notes(LONG), profile, Bounds(failures=3)):
        smaller = minimise(finding)
        assert smaller.parameters["steps"] == ["put c", "ack c"]
        assert smaller.message == "missing: c"
        assert [crash.point for crash in smaller.crashes] == [3]
        assert set(smaller.crashes[0].choice or "") == {"-"}


@pytest.mark.parametrize("step", STEPS)
def test_it_fails_as_before_and_is_no_larger(step: str) -> None:
    """Whatever the finding: the same check fails, with no more crashes and no more records."""
    bounds = Bounds(depth=3, kills=True, failures=10_000)
    for finding in findings(ToyLog(step), "posix", bounds)[::7]:
        smaller = minimise(finding, 500)
        failure = replay(smaller)
        assert failure is not None
        assert (failure.check, failure.message) == (finding.check, smaller.message)
        assert len(smaller.crashes) <= len(finding.crashes)
        assert minimise(finding, 500) == smaller


def test_crashes_that_are_not_needed_are_left_out() -> None:
    """A missing sync needs no crash of recovery; one that recovery forgets needs that, and more.

    A recovery that goes wrong the third time needs three.
    """
    bounds = Bounds(depth=2, kills=True, failures=10_000)
    found = findings(ToyLog("sync", 1), "posix", bounds)
    deep = [finding for finding in found if len(finding.crashes) == 2]
    assert {len(minimise(finding).crashes) for finding in deep} == {1}
    for finding in findings(ToyLog("recovery_sync"), "posix", bounds):
        smaller = minimise(finding)
        assert (len(smaller.crashes), smaller.parameters["records"]) == (2, 1)
    bounds = Bounds(depth=3)
    (finding,) = findings(Counting(["put a", "sync a", "put b"]), "posix", bounds)
    smaller = minimise(finding)
    assert (len(smaller.crashes), smaller.parameters["steps"]) == (3, [])


class Both(Notes):
    """Notes of which a is wrong, and a and b together keep the program from going on."""

    def judge(self, marks: object, outcome: object) -> str | None:
        """Note a is wrong."""
        assert isinstance(outcome, tuple)
        return "a" if "a" in outcome[0] else None

    def go_on(self, disk: SimulatedDisk, outcome: object) -> None:
        """Raises if both are there."""
        if {"a", "b"} <= set(disk.files()):
            raise RuntimeError("both")


def test_another_failure_is_no_substitute() -> None:
    """The check stays the same, though an easier one fails at every crash before."""
    bounds = Bounds(failures=1000)
    found = findings(Both(["put c", "put a", "put b"]), "ext4-ordered", bounds)
    finding = [one for one in found if one.check == "go on"][-1]
    smaller = minimise(finding)
    assert smaller.parameters["steps"] == ["put a", "put b"]
    failure = replay(smaller)
    assert failure is not None
    assert failure.check == "go on"


class Either(Notes):
    """Notes of which one must be there, and whole to go on."""

    def judge(self, marks: object, outcome: object) -> str | None:
        """Nothing there is wrong."""
        return None if outcome != ((), ()) else "nothing"

    def go_on(self, disk: SimulatedDisk, outcome: object) -> None:
        """Raises if a note is torn."""
        assert isinstance(outcome, tuple)
        if outcome[1]:
            raise RuntimeError("torn")


@pytest.mark.usefixtures("unexplored")
def test_a_simpler_choice_must_fail_the_same_check() -> None:
    """Losing everything is simpler and wrong, too, but it is another failure."""
    torn = notes("put a", crash=Crash(2, "k-kk"))
    finding = replace(torn, subject=f"{__name__}:Either", check="go on")
    assert minimise(finding).crashes == (Crash(2, "k-kk"),)


def test_the_size_of_sectors_stays() -> None:
    """It decides what can be torn."""
    result = explore(Notes(LONG), PROFILES["xfs"], Bounds(sector_bytes=64, seed=5))
    smaller = minimise(Finding.of(result, result.failures[0]))
    assert (smaller.sector_bytes, smaller.seed) == (64, 5)
    assert smaller.parameters["steps"] == ["put c", "ack c"]


def test_the_earliest_crash_is_taken() -> None:
    """Of a workload that cannot be smaller."""
    steps = ["put a", "ack a"]
    late = notes(*steps, "put z", crash=Crash(5, "-kkkkkkk"))
    assert minimise(late).crashes == (Crash(3, "----"),)


@pytest.fixture
def unexplored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explorations of the minimiser find nothing: only the choice is left to be simpler."""

    def explored(subject: Subject, profile: Profile, bounds: Bounds) -> Exploration:
        return Exploration(subject, profile, bounds)

    module = importlib.import_module("rotortree_faultinject.exploring.minimise")
    monkeypatch.setattr(module, "explore", explored)


@pytest.mark.usefixtures("unexplored")
@pytest.mark.parametrize("rest", ["kkkk", "----", "gk-k", "-kzs"])
@pytest.mark.parametrize("torn", ["k-kk", "kg-k", "kgzk", "kzsk", "k--k"])
def test_one_loss_is_the_simplest_choice(torn: str, rest: str) -> None:
    """A torn note: all was kept but one sector of it, and that is lost, not zeros nor else."""
    finding = notes("put a", "put b", crash=Crash(4, torn + rest), wrong="torn")
    assert sorted(minimise(finding).crashes[0].choice or "") == sorted("-kkkkkkk")


@pytest.mark.usefixtures("unexplored")
@pytest.mark.parametrize("choice", ["kkk-kkkk", "k---kkkk", "gzs-k-kg", "kg-kk---", "-kkkkkkk"])
def test_losing_everything_is_simpler_still(choice: str) -> None:
    """A missing note: what else survived does not matter, and so does not survive."""
    finding = notes("put a", "ack a", "put b", crash=Crash(5, choice))
    assert minimise(finding).crashes[0].choice == "--------"


@pytest.mark.usefixtures("unexplored")
def test_every_choice_of_a_finding_is_made_simpler() -> None:
    """Also those of later crashes; a killed process has none."""
    parameters = {"steps": ["put a", "ack a"]}
    crashes = (Crash(3, None), Crash(3, "gzk-"))
    finding = Finding(NOTES, parameters, "posix", 512, 0, crashes, "judge", "")
    assert minimise(finding).crashes == (Crash(3, None), Crash(3, "----"))


def test_a_failing_workload_is_made_smaller() -> None:
    """No crash is needed, and only the failing step."""
    (finding,) = findings(Notes(["put a", "ack a", "fail", "put b"]), "posix", Bounds())
    assert finding.check == "workload"
    smaller = minimise(finding)
    assert (smaller.parameters["steps"], smaller.crashes) == (["fail"], ())


def test_a_failing_workload_is_not_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller ones that do not fail are left at that."""
    monkeypatch.setattr(Counted, "recoveries", 0)
    (finding,) = findings(Counted([*LONG, "fail"]), "posix", Bounds())
    assert minimise(finding).parameters["steps"] == ["fail"]
    assert Counted.recoveries == 0


def test_it_ends_when_there_is_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the trials are spent."""
    monkeypatch.setattr(Counted, "recoveries", 0)
    (finding,) = findings(Counted(["put a", "ack a"]), "posix", Bounds())
    assert minimise(finding).crashes == (Crash(3, "----"),)
    assert Counted.recoveries < 500


@pytest.mark.usefixtures("unexplored")
@pytest.mark.parametrize(("trials", "choice"), [(0, "kkk-kkkk"), (12, "--------")])
def test_choices_are_trials_too(trials: int, choice: str) -> None:
    """Of which losing everything is the first."""
    finding = notes("put a", "ack a", "put b", crash=Crash(5, "kkk-kkkk"))
    assert minimise(finding, trials).crashes == (Crash(5, choice),)


def test_what_does_not_fail_is_returned_as_it_is() -> None:
    """Nothing can be said of a finding that is none any more, or that is another one now."""
    right = notes("put a", "sync a", "ack a", crash=Crash(2, "kkkk"))
    assert minimise(right) is right
    other = replace(notes("put a", "ack a", crash=Crash(3, "k---")), check="same")
    assert minimise(other) is other


@pytest.mark.parametrize("trials", [0, 30, 300, 3000])
def test_it_stops_after_so_many_recoveries(trials: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give or take one small exploration; also if there is always something smaller to try."""
    monkeypatch.setattr(Counted, "recoveries", 0)
    parameters = {"steps": list(LONG), "wrong": "missing", "endless": True}
    finding = Finding(
        f"{__name__}:Counted", parameters, "posix", 512, 0, (Crash(22, ""),), "judge", ""
    )
    smaller = minimise(finding, trials)
    assert 0 < Counted.recoveries <= 1.1 * trials + 1200
    assert smaller.message == "missing: c"


def test_more_trials_make_it_smaller() -> None:
    """The bound is what ended the search above."""
    finding = notes(*LONG, crash=Crash(22, ""))
    sizes = [len(str(minimise(finding, trials).parameters)) for trials in (0, 500, 20_000)]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.usefixtures("unexplored")
def test_a_choice_is_made_simpler_for_as_long_as_there_are_trials() -> None:
    """Letter by letter, where losing everything, or keeping it, is not the failure."""
    steps = ("put a", "put b", "put c", "put d")
    finding = notes(*steps, crash=Crash(8, "k--k------------"), wrong="torn")
    choices = [minimise(finding, trials).crashes[0].choice for trials in (0, 20, 2000)]
    assert [(choice or "").count("-") for choice in choices] == [14, 14, 1]
