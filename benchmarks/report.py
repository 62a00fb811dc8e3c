"""The report of one run: prints tables for people, and writes and reads JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.goals import Comparison, Verdict, all_goals, compare, judge
from benchmarks.measure import Cell, Result, Sample
from benchmarks.operations import OPERATIONS, SIDES
from benchmarks.plan import Scale
from benchmarks.tables import (
    Table,
    figure_table,
    goal_table,
    latency_table,
    losses,
    ratio_table,
    score,
)

__all__ = ["Report"]

_FORMAT = 2

_WIDTH = 190


@dataclass(frozen=True, slots=True)
class Report:
    """One run.  ``missing``: the sides that could not be measured, each with the reason."""

    scale: Scale
    machine: Mapping[str, str]
    load: Mapping[str, float | None]
    notes: Sequence[str]
    missing: Mapping[str, str]
    results: Sequence[Result]

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on all goals whose operation this run measured."""
        measured = {result.cell.operation for result in self.results}
        goals = [goal for goal in all_goals(self.scale) if goal.ours.operation in measured]
        return judge(goals, self.results)

    @property
    def comparisons(self) -> list[Comparison]:
        """Ours against every other side that did the same."""
        return compare(self.results)

    @property
    def tables(self) -> list[Table]:
        """The tables of goals, ratios, figures and latencies, without empty ones."""
        tables = [
            goal_table(self.verdicts, self.missing),
            ratio_table(self.comparisons),
            figure_table(self.results, self.missing),
            latency_table(self.results),
        ]
        return [table for table in tables if table.rows]

    @property
    def facts(self) -> list[tuple[str, list[str]]]:
        """Headings with lines that explain the tables."""
        operations = [f"{found.label}: {found.meaning}" for found in OPERATIONS.values()]
        machine = [f"{key}: {value}" for key, value in self.machine.items()]
        load = f"load: {self.load['before']} when it began, {self.load['after']} when it ended"
        return [
            ("Losses", losses(self.comparisons) or ["none"]),
            ("What is measured", operations),
            ("Who is measured", [f"{side}: {meaning}" for side, meaning in SIDES.items()]),
            ("Machine", [*machine, load]),
            ("Notes", list(self.notes)),
        ]

    def print(self, console: Console) -> None:
        """Print the tables, then what was measured, the machine and the notes."""
        if not console.is_terminal:
            console.width = max(console.width, _WIDTH)
        for table in self.tables:
            console.print(_rich(table))
        console.print(f"[bold]{score(self.verdicts)}[/]", highlight=False)
        for heading, lines in self.facts:
            console.print(f"[bold]{heading}[/]")
            for line in lines:
                console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)

    def as_json(self) -> dict[str, object]:
        """The whole report, with every sample, as a value for `json`."""
        return {
            "format": _FORMAT,
            "scale": asdict(self.scale),
            "machine": dict(self.machine),
            "load": dict(self.load),
            "notes": list(self.notes),
            "unavailable": dict(self.missing),
            "operations": {name: found.label for name, found in OPERATIONS.items()},
            "results": [_result(result) for result in self.results],
            "goals": [_goal(verdict) for verdict in self.verdicts],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read a value of `as_json`; goals are judged again."""
        if data["format"] != _FORMAT:
            raise ValueError(f"a report of format {data['format']}, not {_FORMAT}")
        scale = {**data["scale"], "growth": tuple(data["scale"]["growth"])}
        results = [
            Result(
                Cell(*(found[name] for name in Cell._fields)),
                found["unit"],
                [Sample(**sample) for sample in found["samples"]],
            )
            for found in data["results"]
        ]
        return cls(
            Scale(**scale),
            data["machine"],
            data["load"],
            data["notes"],
            data["unavailable"],
            results,
        )


def _result(result: Result) -> dict[str, object]:
    median, low, high = result.spread
    return {
        **result.cell._asdict(),
        "unit": result.unit,
        "median": median,
        "min": low,
        "max": high,
        "samples": [sample._asdict() for sample in result.samples],
    }


def _goal(verdict: Verdict) -> dict[str, object]:
    goal, spread = verdict.goal, verdict.spread
    return {
        "title": goal.title,
        **goal.ours._asdict(),
        "kind": goal.kind,
        "wanted": goal.wanted,
        "against": verdict.against,
        "measured": None if spread is None else spread._asdict(),
        "reached": verdict.reached,
    }


def _rich(table: Table) -> RichTable:
    found = RichTable(title=table.title, box=box.SIMPLE, padding=(0, 1))
    for header in table.headers:
        numbers = header.startswith(("n =", "any", "p", "max"))
        found.add_column(header, justify="right" if numbers else "left", overflow="fold")
    for row in table.rows:
        found.add_row(*(cell.replace(" (", "\n(") for cell in row))
    return found
