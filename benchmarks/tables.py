"""Makes tables of text from results, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.goals import Comparison, Goal, Verdict
from benchmarks.measure import Cell, Result, Spread, Unit
from benchmarks.operations import OPERATIONS, SIDES
from benchmarks.plan import ARITIES

__all__ = [
    "Table",
    "figure_table",
    "goal_table",
    "latency_table",
    "losses",
    "ratio_table",
    "score",
    "shown",
]

_DASH = "–"

_MARKS: Mapping[bool | None, str] = {True: "✓", False: "✗", None: "not measured"}

_COLUMNS = (*ARITIES, 0)

_HEADERS = (*(f"n = {n}" for n in ARITIES), "any n")


class Table(NamedTuple):
    """A title, the headers of the columns, and rows of as many cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def score(verdicts: Iterable[Verdict]) -> str:
    """A sentence that says how many goals were reached."""
    found = [verdict.reached for verdict in verdicts]
    return (
        f"{found.count(True)} of {len(found)} goals reached, {found.count(False)} not reached,"
        f" {found.count(None)} not measured"
    )


def goal_table(verdicts: Sequence[Verdict], missing: Mapping[str, str]) -> Table:
    """A row for each goal, the arities side by side: measured, wanted, reached or not."""
    rows: dict[tuple[str, str, str, str], dict[int, str]] = {}
    for verdict in verdicts:
        goal = verdict.goal
        key = (goal.title, _leaves(goal.ours.size), _who(goal.ours), _against(goal))
        rows.setdefault(key, {})[goal.ours.n] = _verdict(verdict, missing)
    headers = ("goal", "leaves", "ours", "against", *_HEADERS[:-1])
    table = [[*key, *(cells.get(n, _DASH) for n in ARITIES)] for key, cells in rows.items()]
    return Table("Goals: the median of the rounds, what is wanted, (least–most)", headers, table)


def _leaves(size: int) -> str:
    for step, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if size >= step and size % step == 0:
            return f"{size // step} {name}"
    return f"{size:,}"


def _who(cell: Cell) -> str:
    side = cell.side.removeprefix("ours, ") if cell.side != "ours" else ""
    return f"{cell.scheme}, {side}" if side else cell.scheme


def _against(goal: Goal) -> str:
    if not goal.against:
        return "a limit"
    first = goal.against[0]
    if first.operation == goal.ours.operation:
        return first.side + (", or 1 thread if faster" if len(goal.against) > 1 else "")
    return f"{first.side}: {OPERATIONS[first.operation].label}"


def _verdict(verdict: Verdict, missing: Mapping[str, str]) -> str:
    if verdict.spread is None:
        return missing.get(verdict.against, _MARKS[None])
    goal, sign = verdict.goal, "≥" if verdict.goal.kind == "speed" else "≤"
    mark = _MARKS[verdict.reached]
    if goal.kind == "limit":
        unit: Unit = "bytes" if goal.unit == "bytes" else "seconds"
        median, low, high = (shown(value, unit) for value in verdict.spread)
        return f"{median} {sign} {shown(goal.wanted, unit)} {mark} ({low}–{high})"
    median, low, high = map(_digits, verdict.spread)
    return f"{median} {sign} {goal.wanted:g} {mark} ({low}–{high})"


def ratio_table(comparisons: Sequence[Comparison]) -> Table:
    """A row for each operation, size and other side; the arities side by side."""
    rows: dict[tuple[str, str, str, str], dict[int, str]] = {}
    for found in comparisons:
        label = OPERATIONS[found.theirs.operation].label
        key = (label, _leaves(found.ours.size), _who(found.ours), found.theirs.side)
        median, low, high = map(_digits, found.spread)
        rows.setdefault(key, {})[found.theirs.n] = f"{median} ({low}–{high})"
    headers = ("operation", "leaves", "ours", "than", *_HEADERS[:-1])
    table = [[*key, *(cells.get(n, _DASH) for n in ARITIES)] for key, cells in rows.items()]
    return Table("How many times faster ours is: median (least–most)", headers, table)


def losses(comparisons: Sequence[Comparison]) -> list[str]:
    """Lines for the cases in which another side was faster or took less memory, by the median."""
    return [
        f"{OPERATIONS[found.theirs.operation].label}, n = {found.theirs.n},"
        f" {_leaves(found.ours.size)} leaves, {_who(found.ours)}:"
        f" {found.theirs.side} is {_digits(1 / found.spread.median)} × better"
        for found in comparisons
        if found.spread.median < 1
    ]


def figure_table(results: Sequence[Result], missing: Mapping[str, str]) -> Table:
    """A row for each operation, size, scheme and side; the arities side by side."""
    rows: dict[tuple[str, int, str, str], dict[int, str]] = {}
    for result in results:
        operation, side, scheme, n, size = result.cell
        key = (operation, size, scheme, side)
        rows.setdefault(key, {})[n] = _cell(result.spread, result.unit)
    table = [
        [
            OPERATIONS[name].label,
            _leaves(size),
            scheme,
            side,
            *(found.get(n, _DASH) for n in _COLUMNS),
        ]
        for (name, size, scheme, side), found in rows.items()
    ]
    table += [
        ["all", _DASH, _DASH, side, *[missing[side]] * len(_COLUMNS)]
        for side in SIDES
        if side in missing
    ]
    headers = ("operation", "leaves", "scheme", "side", *_HEADERS)
    return Table("All figures: median (least–most)", headers, table)


def latency_table(results: Sequence[Result]) -> Table:
    """The distribution of latencies: for each quantile, the median of the rounds."""
    found = [result for result in results if "p99" in result.samples[0].figures]
    names = list(found[0].samples[0].figures) if found else []
    rows = [
        [
            OPERATIONS[result.cell.operation].label,
            result.cell.side,
            result.cell.scheme,
            *(shown(Spread.of(result.values(name)).median, "seconds") for name in names),
        ]
        for result in found
    ]
    return Table("Latency of single insertions", ("operation", "side", "scheme", *names), rows)


def _cell(spread: Spread, unit: Unit) -> str:
    median, low, high = (shown(value, unit) for value in spread)
    return f"{median} ({low}–{high})"


def shown(value: float, unit: Unit) -> str:
    """A value with three digits and a unit of fitting size."""
    steps: tuple[tuple[float, str], ...] = ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s"))
    if unit == "seconds":
        steps = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    elif unit == "bytes":
        steps = ((0.0, "B"),)
    factor, name = next((step for step in steps if value >= step[0]), steps[-1])
    return f"{_digits(value / (factor or 1.0))} {name}"


def _digits(value: float) -> str:
    """A number with three digits, or with all digits before the point if they are more."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}" if value >= 0.1 else f"{value:.3f}"
