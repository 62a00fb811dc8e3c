"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.limits import LIMIT
from benchmarks.measure import Result, Spread, Unit, ratios
from benchmarks.operations import OPERATIONS
from benchmarks.ours import our_column
from benchmarks.plan import Scale
from benchmarks.theirs import COMPARED, PYMERKLE

__all__ = ["Report"]

_FORMAT = 1
_WIDTH = 128
_DASH = "[dim]–[/]"


@dataclass(frozen=True, slots=True)
class Report:
    """One run.  ``missing``: why there is no pymerkle, in two words, or None."""

    scale: Scale
    arities: tuple[int, ...]
    machine: Mapping[str, str]
    load: Mapping[str, float | None]
    notes: Sequence[str]
    missing: str | None
    results: Mapping[int, Sequence[Result]]

    def print(self, console: Console) -> None:
        """A table for each size, then what was measured, on what, and the notes."""
        if not console.is_terminal:
            console.width = max(console.width, _WIDTH)
        for size in self.results:
            console.print(self._table(size))
        console.print("[bold]What is measured[/]")
        for operation, meaning in OPERATIONS.items():
            console.print(f"  {operation}: {meaning}", highlight=False, soft_wrap=True)
        console.print("[bold]Machine[/]")
        for key, value in self.machine.items():
            console.print(f"  {key}: {value}", highlight=False, soft_wrap=True, markup=False)
        before, after = self.load["before"], self.load["after"]
        console.print(
            f"  load: {before} when it began, {after} when it ended",
            highlight=False,
            soft_wrap=True,
        )
        console.print("[bold]Notes[/]")
        for note in self.notes:
            console.print(f"  {note}", highlight=False, soft_wrap=True, markup=False)

    def _table(self, size: int) -> Table:
        cells = {(found.case.operation, found.case.column): found for found in self.results[size]}
        theirs = [
            found.case.leaves for found in self.results[size] if found.case.column == PYMERKLE
        ]
        table = Table(
            title=f"rotortree, {size:,} leaves: median (min–max) of {self.scale.rounds} rounds",
            box=box.SIMPLE,
            padding=(0, 1),
        )
        table.add_column("operation", overflow="fold")
        for n in self.arities:
            table.add_column(our_column(n), justify="right", overflow="fold")
        at = f"{theirs[0]:,} leaves" if theirs else (self.missing or "")
        table.add_column(f"{PYMERKLE}\n{at}", justify="right", overflow="fold")
        table.add_column("n = 2 ÷\npymerkle", justify="right", overflow="fold")
        table.add_column(LIMIT, justify="right", overflow="fold")
        for operation in OPERATIONS:
            table.add_row(operation, *self._row(operation, cells))
        return table

    def _row(self, operation: str, cells: Mapping[tuple[str, str], Result]) -> list[str]:
        row = [_cell(cells.get((operation, our_column(n)))) for n in self.arities]
        ours = cells.get((operation, our_column(2)))
        theirs = cells.get((operation, PYMERKLE))
        row.append(self.missing if self.missing and operation in COMPARED else _cell(theirs))
        row.append(_DASH if ours is None or theirs is None else _ratio(ratios(ours, theirs)))
        row.append(_cell(cells.get((operation, LIMIT))))
        return row

    def as_json(self) -> dict[str, object]:
        """Everything, every sample included, as what `json` can write."""
        return {
            "format": _FORMAT,
            "scale": asdict(self.scale),
            "arities": self.arities,
            "machine": dict(self.machine),
            "load": dict(self.load),
            "notes": list(self.notes),
            "unavailable": {PYMERKLE: self.missing} if self.missing else {},
            "operations": dict(OPERATIONS),
            "results": [
                _result(size, result)
                for size, results in self.results.items()
                for result in results
            ],
        }


def _result(size: int, result: Result) -> dict[str, object]:
    case, spread = result.case, result.spread
    return {
        "size": size,
        "operation": case.operation,
        "column": case.column,
        "leaves": case.leaves,
        "unit": case.unit,
        "median": spread.median,
        "min": spread.low,
        "max": spread.high,
        "samples": [sample._asdict() for sample in result.samples],
    }


def _cell(result: Result | None) -> str:
    if result is None:
        return _DASH
    spread = result.spread
    factor, name = _scaled(spread.median, result.case.unit)
    median, low, high = (_digits(value / factor) for value in spread)
    return f"{median} {name}\n[dim]{low}–{high}[/]"


def _ratio(spread: Spread) -> str:
    median, low, high = map(_digits, spread)
    return f"{median} ×\n[dim]{low}–{high}[/]"


def _scaled(value: float, unit: Unit) -> tuple[float, str]:
    """The factor and the name of the unit in which to print a value."""
    steps = ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s"))
    if unit == "seconds":
        steps = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
    return next((step for step in steps if value >= step[0]), steps[-1])


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
