"""Samples, rounds, goals and reports, on figures that are made up."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.command import main
from benchmarks.goals import Goal, Kind, all_goals, compare, judge
from benchmarks.measure import (
    Case,
    Cell,
    CheckFailed,
    Result,
    Sample,
    Spread,
    Stopwatch,
    Unit,
    interleave,
)
from benchmarks.operations import (
    BARE,
    OPERATIONS,
    OURS,
    OURS_ONE,
    PURE,
    PYMERKLE,
    RUST_15,
    RUST_15_ONE,
    RUST_19,
)
from benchmarks.plan import FULL, QUICK, TINY, Scale
from benchmarks.report import Report
from benchmarks.results import as_markdown
from benchmarks.tables import losses, shown

CELL = Cell("insert_many", OURS, "blake3", 4, 300)
"""A cell of ours."""

THEIRS = (CELL._replace(side=RUST_15), CELL._replace(side=RUST_19))
"""Two to compare it with."""


def sample(seconds: float, *, operations: int = 1, check: str = "") -> Sample:
    """A sample that took so long."""
    return Sample(operations, seconds, seconds, 0, 0, check, {})


def result(*seconds: float, cell: Cell = CELL, unit: Unit = "per second") -> Result:
    """The samples of a cell, one operation each."""
    return Result(cell, unit, [sample(value) for value in seconds])


def test_rounds_are_interleaved() -> None:
    """Case after case, round after round; each case has one sample per round."""
    order: list[str] = []

    def case(name: str) -> Case:
        def run() -> Sample:
            order.append(name)
            return sample(1, operations=7)

        return Case(CELL._replace(side=name), "per second", run)

    finished: list[int] = []
    results = interleave([case("a"), case("b")], 3, finished.append)
    assert order == ["a", "b"] * 3
    assert finished == [1, 2, 3]
    assert [[found.operations for found in each.samples] for each in results] == [[7] * 3] * 2


def test_results_that_disagree_end_the_run() -> None:
    """Whoever does the same to the same tree comes to the same, in every round."""

    def case(cell: Cell, *checks: str) -> Case:
        left = iter(checks)
        return Case(cell, "per second", lambda: sample(1, check=next(left)))

    other_tree = CELL._replace(n=8)
    agreeing = [case(CELL, "aa", "aa"), case(THEIRS[0], "aa", ""), case(other_tree, "bb", "bb")]
    assert interleave(agreeing, 2, lambda number: None)
    with pytest.raises(CheckFailed, match=f"bb, but {OURS} came to aa"):
        interleave([case(CELL, "aa"), case(THEIRS[0], "bb")], 1, lambda number: None)
    with pytest.raises(CheckFailed, match="bb, but"):
        interleave([case(CELL, "aa", "bb")], 2, lambda number: None)


def test_a_stopwatch_times_one_stretch() -> None:
    """A case that times nothing, or twice, is a mistake that is reported."""
    stopwatch = Stopwatch()
    with pytest.raises(AssertionError):
        stopwatch.sample(1)
    with stopwatch:
        pass
    assert stopwatch.sample(1).seconds > 0
    with pytest.raises(AssertionError), stopwatch:
        pass


@pytest.mark.parametrize("unit", ["per second", "seconds"])
@pytest.mark.parametrize(
    ("kind", "wanted", "reached"),
    [
        ("speed", 2.0, True),
        ("speed", 2.1, False),
        ("time", 0.5, True),
        ("time", 0.4, False),
        ("limit", 40.0, True),
        ("limit", 39.0, False),
    ],
)
def test_goals_are_judged_by_the_median_of_the_rounds(
    unit: Unit, kind: Kind, wanted: float, reached: bool
) -> None:
    """Ratios are taken within a round, for rates and for times alike; the bound is reached."""
    ours = result(4, 40, 400, unit=unit)
    theirs = result(8, 80, 80, cell=THEIRS[0], unit=unit)
    against = () if kind == "limit" else (THEIRS[0],)
    (verdict,) = judge([Goal("", kind, wanted, CELL, against)], [ours, theirs])
    spreads = {"speed": (2, 0.2, 2), "time": (0.5, 0.5, 5), "limit": (40, 4, 400)}
    assert verdict.spread == pytest.approx(spreads[kind])
    assert verdict.reached is reached


def test_the_fastest_of_several_counts() -> None:
    """Not the first; one that was not measured does not count."""
    goal = Goal("", "speed", 1, CELL, THEIRS)
    ours, slow, fast = result(1), result(3, cell=THEIRS[0]), result(2, cell=THEIRS[1])
    assert judge([goal], [ours, slow, fast])[0].spread == Spread(2, 2, 2)
    assert judge([goal], [ours, slow, fast])[0].against == RUST_19
    assert judge([goal], [ours, slow])[0].spread == Spread(3, 3, 3)


def test_a_goal_may_be_of_a_figure() -> None:
    """Then the figures are compared, not the values."""
    goal = Goal("", "time", 1, CELL, THEIRS[:1], "p99")
    ours = Result(CELL, "seconds", [Sample(1, 1, 1, 0, 0, "", {"p99": 10.0})])
    theirs = Result(THEIRS[0], "seconds", [Sample(1, 1, 1, 0, 0, "", {"p99": 5.0})])
    (verdict,) = judge([goal], [ours, theirs])
    assert verdict.spread == Spread(2, 2, 2)


@pytest.mark.parametrize("missing", [0, 1])
def test_what_was_not_measured_is_neither_reached_nor_not(missing: int) -> None:
    """Ours or theirs."""
    goal = Goal("", "speed", 1, CELL, THEIRS[:1])
    results = [result(1), result(1, cell=THEIRS[0])]
    del results[missing]
    (verdict,) = judge([goal], results)
    assert verdict.spread is None
    assert verdict.reached is None


@pytest.mark.parametrize("scale", [FULL, QUICK, TINY], ids=lambda scale: scale.name)
def test_goals_name_rows_that_there_are(scale: Scale) -> None:
    """And each goal is there once."""
    goals = all_goals(scale)
    assert {cell.operation for goal in goals for cell in (goal.ours, *goal.against)} <= set(
        OPERATIONS
    )
    assert len(set(goals)) == len(goals)


def test_others_are_compared_with_what_we_do_alike() -> None:
    """One thread with one thread, each scheme with itself; pymerkle with a tree that is larger."""
    others = [RUST_15, RUST_15_ONE, RUST_19, PURE, BARE]
    ours = [result(1), result(2, cell=CELL._replace(side=OURS_ONE)), result(4)]
    ours[2].cell = CELL._replace(size=100)
    theirs = [result(8, cell=CELL._replace(side=side)) for side in others]
    theirs.append(result(8, cell=Cell("insert_many", PYMERKLE, "sha256", 4, 200)))
    theirs.append(result(8, cell=CELL._replace(side=RUST_19, scheme="blake3-plain")))
    found = {one.theirs: (one.ours.side, one.spread.median) for one in compare(ours + theirs)}
    assert found == {
        CELL._replace(side=RUST_15): (OURS, 8),
        CELL._replace(side=RUST_15_ONE): (OURS_ONE, 4),
        CELL._replace(side=RUST_19): (OURS, 8),
        theirs[-2].cell: (OURS, 8),
    }


@pytest.mark.parametrize(("seconds", "lost"), [(1.0, 1), (2.0, 0), (3.0, 0)])
def test_a_loss_is_what_somebody_else_does_better(seconds: float, lost: int) -> None:
    """By the median; a draw is none."""
    theirs = result(seconds, seconds, 9, cell=THEIRS[0])
    comparisons = compare([result(2, 2, 2), theirs])
    assert len(comparisons) == 1
    found = losses(comparisons)
    assert len(found) == lost
    assert all(
        "insert_many, n = 4, 300 leaves, blake3: Rust 0.15 is 2.00 ×" in one for one in found
    )


def report() -> Report:
    """A report of a few figures: one goal is reached, one is not, others are open."""
    bare = CELL._replace(side="bare")
    results = [
        result(1e-6, 2e-6, cell=CELL._replace(side=PURE)),
        result(2e-6, 2e-6, cell=bare),
        result(3e-6, 3e-6, cell=CELL._replace(side=PURE, size=TINY.large)),
        result(1.0, 2.0, cell=CELL._replace(side=PURE, n=8)),
        result(0.5, 0.5, cell=bare._replace(n=8)),
    ]
    machine = {"processor": "abacus", "cores": "2", "memory": "1 GiB"}
    load = {"before": 0.1, "after": 0.2}
    missing = {RUST_15: "cargo: not installed"}
    return Report(TINY, machine, load, ["a note"], missing, results)


def test_a_report_survives_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reads it, prints the same, and writes the document from it."""
    path, document = tmp_path / "report.json", tmp_path / "RESULTS.md"
    path.write_text(json.dumps(report().as_json()), encoding="utf-8")
    assert main(["--read", str(path), "--results", str(document)]) == 0
    printed = capsys.readouterr().out
    report().print(Console())
    assert printed == capsys.readouterr().out
    assert Report.from_json(json.loads(path.read_text(encoding="utf-8"))) == report()
    text = document.read_text(encoding="utf-8")
    assert "abacus, 2 cores, 1 GiB" in text
    assert "least:\n\n- insert_many, pure Python, against a bare loop\n\n" in text
    assert "1.50 ≥ 1 ✓ (1.00–2.00)" in text
    assert "0.375 ≥ 1 ✗ (0.250–0.500)" in text
    assert "cargo: not installed" in text
    assert "- a note" in text


def test_the_document_names_what_was_not_reached() -> None:
    """And nothing that was."""
    whole = report()
    reached = replace(whole, results=[one for one in whole.results if one.cell.n == 4])
    missed = replace(whole, results=[one for one in whole.results if one.cell.n == 8])
    assert "Not reached" not in as_markdown(reached, None, [])
    assert "Not reached" in as_markdown(missed, None, [])


def test_plots_are_drawn_or_it_is_said_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """matplotlib is in the extra bench: without it everything else is written all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path, document = tmp_path / "report.json", tmp_path / "RESULTS.md"
    path.write_text(json.dumps(report().as_json()), encoding="utf-8")
    arguments = ["--read", str(path), "--plots", str(tmp_path), "--results", str(document)]
    assert main(arguments) == 0
    assert "matplotlib is not installed" in capsys.readouterr().out
    assert "![" not in document.read_text(encoding="utf-8")


def test_plots_are_in_the_document(tmp_path: Path) -> None:
    """Relative to it, as SVG; beside each there is a PNG."""
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra bench")
    path, document = tmp_path / "report.json", tmp_path / "RESULTS.md"
    path.write_text(json.dumps(report().as_json()), encoding="utf-8")
    plots = tmp_path / "plots"
    arguments = ["--read", str(path), "--plots", str(plots), "--results", str(document)]
    assert main(arguments) == 0
    names = sorted(found.name for found in plots.iterdir())
    assert names == ["growth.png", "growth.svg", "throughput.png", "throughput.svg"]
    assert "![growth](plots/growth.svg)" in document.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_345_678, "per second", "12.3 M/s"),
        (999, "per second", "999 /s"),
        (1.5e-8, "seconds", "15.0 ns"),
        (2.0, "seconds", "2.00 s"),
        (42.67, "bytes", "42.7 B"),
        (0.001, "bytes", "0.001 B"),
    ],
)
def test_values_are_shown_with_three_digits(value: float, unit: Unit, text: str) -> None:
    """In the largest unit of which there is one."""
    assert shown(value, unit) == text
