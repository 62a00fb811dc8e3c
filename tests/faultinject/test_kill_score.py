"""The harness is judged, too: every fault that is planted in the tree must be noticed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest

from rotortree import FlushPolicy, RotorTree
from rotortree.durable.state import TreeState
from rotortree.storage import calls
from rotortree.storage.environment import Environment
from rotortree.storage.log import Log
from rotortree.storage.log_reader import SegmentScan, Unit
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.schedule import StepScheduler
from tests.campaigns.kill_score import judging
from tests.campaigns.kill_score.__main__ import main
from tests.campaigns.kill_score.battery import BATTERY, Trial
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.kill_score.judging import Row, ask, judge, kill_score, score
from tests.campaigns.kill_score.planted import NOTHING, PLANTED, read_noticed
from tests.campaigns.planting import Edit, PlantingError, planted

QUICK = "acknowledged before the write"
"""A fault that the laws notice at once."""


LAWS = [name for name in BATTERY if name.startswith("laws")]
"""The checks that take less than a second."""


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", [name for name, by in read_noticed().items() if by in LAWS])
def test_a_planted_fault_that_laws_notice_is_caught(name: str) -> None:
    """At once.  The kill score asks the whole battery of all faults, in `make kill-score`."""
    row = judge(name)
    assert (row.verdict, row.check in LAWS) == ("caught", True), row
    assert row.message
    assert row.states > 0


def test_laws_notice_nothing_where_nothing_is_planted() -> None:
    """A check that fails without a fault would be worth nothing."""
    assert ask({name: BATTERY[name] for name in LAWS})[:2] == ("", "")


def test_what_was_noticed_is_of_faults_and_checks_that_there_are() -> None:
    """And of all faults that are not redundant: the kill score was 100 % then."""
    noticed = read_noticed()
    assert noticed.keys() == {name for name, fault in PLANTED.items() if not fault.redundant}
    assert set(noticed.values()) <= BATTERY.keys()


def test_there_are_enough_faults_of_every_kind() -> None:
    """At least 45; all of them different edits; a redundant one says under which profile, and why.

    The kinds are those of the design, found by words of the descriptions and names.
    """
    assert len(PLANTED) >= 45
    assert len({fault.edits for fault in PLANTED.values()}) == len(PLANTED)
    assert all(fault.name == name and fault.description for name, fault in PLANTED.items())
    reasons = [fault.redundant for fault in PLANTED.values() if fault.redundant]
    assert all(re.match(r"Every profile: .{40,}\.$", reason, re.S) for reason in reasons)
    assert len(reasons) < len(PLANTED) / 8
    for words in (
        "no fsync",
        "no sync of",
        "before the",
        "acknowledged",
        "seal not checked",
        "chain",
        "MORE",
        "empty tree",
        "failed fsync",
        "deleted",
        "lock",
        "clean",
        "written anew",
        "promise",
        "replace",
        "name",
        "room",
    ):
        assert sum(words in name for name in PLANTED) >= 1, words


def test_an_unknown_fault_is_an_error_before_anything_is_done() -> None:
    """Whoever mistypes a name learns it at once, not from a score over fewer faults."""
    with pytest.raises(ValueError, match="no planted fault 'no such fault'"):
        kill_score(["no such fault"])
    with pytest.raises(ValueError, match="no planted fault 'no such fault'"):
        judge("no such fault")


def codes() -> list[object]:
    """The code of all functions that any fault edits."""
    found = []
    for fault in PLANTED.values():
        for edit in fault.edits:
            where = edit.where.fget if isinstance(edit.where, property) else edit.where
            where = getattr(where, "__func__", getattr(where, "__wrapped__", where))
            found.append(getattr(where, "__code__", None))
    assert None not in found
    return found


def test_a_fault_is_there_within_its_context_and_gone_after_it() -> None:
    """Each fault changes the code of some function, and an exception undoes it as well."""
    right = codes()
    for fault in PLANTED.values():
        with contextlib.suppress(ZeroDivisionError), fault.apply():
            assert (codes() != right) == (fault.name != NOTHING), fault.name
            raise ZeroDivisionError
        assert codes() == right, fault.name


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(Log.cut_zeros, "no such piece", "pass"), "0 times"),
        (Edit(Log._append, "stop", "pass"), "times, not once"),
        (Edit(Log.cut_zeros, "segment.cut", "("), "Log.cut_zeros"),
        (Edit(len, "x", "y"), "no function of rotortree"),
        (Edit(codes, "found", "lost"), "no function of rotortree"),
        (Edit(7, "x", "y"), "no function of rotortree"),
    ],
    ids=["gone", "several", "syntax", "built in", "of others", "nothing"],
)
def test_an_edit_that_does_not_fit_is_an_error(edit: Edit, message: str) -> None:
    """So that a fault cannot rot: the code changed, and the fault would be none any more.

    Nothing is planted then, also of the edits that fit.
    """
    right = codes()
    fits = Edit(calls.sync_file, "file.sync()", "pass")
    with pytest.raises(PlantingError, match=message), planted(fits, edit):
        raise AssertionError("it was planted")
    assert codes() == right


def test_two_edits_of_one_function_are_both_there() -> None:
    """And the function does as they say, a property included, until the context ends."""
    edits = Edit(SegmentScan.end, "self.units[-1].end", "7"), Edit(SegmentScan.end, "min(", "max(")
    scan = SegmentScan(1, "", 999, None, None)
    with planted(*edits):
        assert scan.end == 999
        assert scan._replace(units=(Unit(160, 320, 0, 1, b"", ()),)).end == 7
    assert scan.end == 160


def check(*trials: Trial, error: Exception | None = None) -> Callable[[], Iterator[Trial]]:
    """A check that yields these trials, and then raises."""

    def run() -> Iterator[Trial]:
        yield from trials
        if error is not None:
            raise error

    return run


def test_asking_stops_at_the_first_that_notices() -> None:
    """States are counted until then; an exception is noticed; later checks are not asked."""
    quiet, loud = check(Trial(2, None), Trial(3, None)), check(Trial(1, None), Trial(1, "wrong"))
    never = check(error=AssertionError("asked"))
    assert ask({"quiet": quiet}) == ("", "", 5)
    assert ask({"quiet": quiet, "loud": loud, "never": never}) == ("loud", "wrong", 7)
    name, message, states = ask({"quiet": quiet, "raising": check(error=KeyError("x"))})
    assert (name, states) == ("raising", 6)
    assert message.startswith("KeyError: 'x'")


def test_a_wait_that_does_not_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that waits for what nobody will do raises, after some seconds at the most."""
    monkeypatch.setattr(judging, "_FOR_EVER", 0.01)

    def waits() -> Iterator[Trial]:
        environment = Environment(files=SimulatedDisk(), scheduler=StepScheduler())
        policy = FlushPolicy.Interval()
        tree = RotorTree.open("tree", environment=environment, flush_policy=policy)
        tree.insert(bytes(32))[1].wait()
        yield Trial(1, None)

    name, message, _ = ask({"waits": waits})
    assert name == "waits"
    assert message.startswith("AssertionError: a wait does not end")


def row_of(verdict: str) -> Row:
    """A row with this verdict."""
    return Row("", "", verdict, "", "", 0, 0.0)  # type: ignore[arg-type]


def test_the_score_counts_what_is_not_redundant() -> None:
    """Caught ones among all but the redundant; one that is wrongly called so counts against it."""
    assert score([]) == 1.0
    assert score([row_of("redundant")]) == 1.0
    assert score([row_of("caught"), row_of("redundant")]) == 1.0
    assert score([row_of("caught"), row_of("SURVIVED")]) == 0.5
    assert score([row_of("caught"), row_of("NOT REDUNDANT"), row_of("redundant")]) == 0.5
    assert [row_of(verdict).is_good for verdict in ("caught", "SURVIVED")] == [True, False]


def test_a_fault_that_nothing_notices_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """It survived; and one that is called redundant and is noticed was called so wrongly."""
    caught = judge(QUICK)
    redundant = PlantedFault("r", "", PLANTED[QUICK].edits, redundant="Every profile: not so.")
    harmless = PlantedFault("h", "", (Edit(TreeState.fail, "the tree is failed", "failed"),))
    monkeypatch.setattr(judging, "PLANTED", {"r": redundant, "h": harmless})
    monkeypatch.setattr(judging, "ask", lambda battery: ("", "", 1))
    assert judge("h").verdict == "SURVIVED"
    monkeypatch.setattr(judging, "ask", lambda battery: (caught.check, caught.message, 1))
    assert judge("r").verdict == "NOT REDUNDANT"
    assert not judge("r").is_good


def test_processes_come_to_the_same() -> None:
    """In two processes: the same rows in the same order, but for the time."""
    names = [QUICK, "no lock", "chain ignored"]
    alone, together = list(kill_score(names)), list(kill_score(names, jobs=2))
    assert [row.fault for row in alone] == names
    for one, other in zip(alone, together, strict=True):
        assert (one.verdict, one.check, one.message, one.states) == (
            other.verdict,
            other.check,
            other.message,
            other.states,
        )


# The command

UNSYNCED = "no fsync of the log"
"""Another fault that is noticed at once."""


def run(*words: str, status: int = 0) -> None:
    """Run the command within this process; it must end with this exit status."""
    assert main(words) == status


def test_caught_faults_are_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each, however often it is named, with the check that noticed it."""
    run("--fault", UNSYNCED, "--fault", UNSYNCED)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("  ")[0] == UNSYNCED
    assert "caught" in lines[2]
    assert lines[-1] == "kill score: 100.0% of 1 planted faults"


def test_rows_are_in_the_order_of_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    """In processes of their own, too."""
    other = "fsync before the write"
    run("--fault", other, "--fault", UNSYNCED, "--jobs", "2")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == [other, UNSYNCED]


def test_the_command_fails_where_one_survives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where one that is said to do no harm is noticed; a redundant one has its reason."""
    verdicts = iter(["SURVIVED", "NOT REDUNDANT", "redundant"])
    names = list(PLANTED)[1:3] + [name for name in PLANTED if PLANTED[name].redundant][:1]

    def judged(name: str) -> Row:
        return Row(name, "described", next(verdicts), "", "said", 7, 0.5)  # type: ignore[arg-type]  # a verdict

    monkeypatch.setattr(judging, "judge", judged)
    run(*(word for name in names for word in ("--fault", name)), status=1)
    text = capsys.readouterr().out
    assert f"{names[0]} SURVIVED: described said\n" in text
    assert f"{names[1]} NOT REDUNDANT: described said\n" in text
    assert f"{names[2]} is redundant: {PLANTED[names[2]].redundant}\n" in text
    assert "kill score: 0.0% of 2 planted faults, beside 1 redundant ones" in text


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """One on each line."""
    run("--list")
    assert capsys.readouterr().out.splitlines() == list(PLANTED)


@pytest.mark.parametrize(
    "words",
    ["--fault nonsense", "--jobs 0", "--jobs two", "--nonsense", f"--accept --fault {NOTHING}"],
)
def test_a_wrong_request_does_nothing(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and nothing on stdout."""
    with pytest.raises(SystemExit, match="2"):
        run(*words.split())
    printed = capsys.readouterr()
    assert (printed.out, "error: " in printed.err) == ("", True)


def test_an_interrupt_prints_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C after one fault of all: its row, the score, exit status 130."""
    rows = iter([judge(QUICK)])

    def next_row(_: str) -> Row:
        for row in rows:
            return row
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "judge", next_row)
    run(status=130)
    assert "kill score: 100.0% of 1 planted faults" in capsys.readouterr().out
