"""Draws pictures of a run, as PNG and SVG.  Needs matplotlib, which the extra ``bench`` has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.durable import QUANTILES
from benchmarks.measure import Result, Spread
from benchmarks.operations import PLAIN, SIDES, TAGGED
from benchmarks.plan import ARITIES
from benchmarks.report import Report
from benchmarks.workers import Unavailable

__all__ = ["draw", "draw_report", "pyplot"]

_EXAMPLE = 4

_Axes = Any
"""The type of matplotlib's axes, which may not be installed."""


def pyplot() -> Any:
    """The module matplotlib.pyplot, set to draw into files.  Raises Unavailable."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        matplotlib.rcParams["svg.hashsalt"] = "rotortree"  # the same picture from the same figures
        from matplotlib import pyplot as found
    except ImportError:
        raise Unavailable(
            "not installed",
            "matplotlib is not installed, so there are no plots: pip install 'rotortree[bench]'",
        ) from None
    return found


def draw(folder: Path, name: str, title: str, paint: Callable[[_Axes], None]) -> list[Path]:
    """Draw one picture as PNG and SVG; ``paint`` fills its axes.  Raises Unavailable."""
    found = pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = found.subplots(figsize=(8, 4.5), layout="constrained")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    paint(axes)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=120, metadata=metadata)
    found.close(figure)
    return paths


def draw_report(report: Report, folder: Path) -> list[Path]:
    """Draw throughput over the arity, growth with size, and latencies, if they were measured."""
    paths: list[Path] = []
    for name, title, paint in _pictures(report):
        paths += draw(folder, name, title, paint)
    return paths


def _pictures(report: Report) -> Iterator[tuple[str, str, Callable[[_Axes], None]]]:
    batches = [found for found in report.results if found.cell.operation == "insert_many"]
    large = [found for found in batches if found.cell.size == report.scale.large]
    of_arity = [found for found in batches if found.cell.n == _EXAMPLE]
    grown = [one for _, line, _ in _lines(of_arity) if len(line) > 1 for one in line]
    latencies = [found for found in report.results if "p99" in found.samples[0].figures]
    if large:
        title = f"insert_many of {report.scale.large:,} leaves"
        yield "throughput", title, lambda axes: _throughput(axes, large)
    if grown:
        title = f"insert_many into a new tree, n = {_EXAMPLE}"
        yield "growth", title, lambda axes: _growth(axes, grown)
    if latencies:
        title = "latency of a durable insertion that does not wait"
        yield "latency", title, lambda axes: _latency(axes, latencies)


def _lines(results: Sequence[Result]) -> Iterator[tuple[str, list[Result], str]]:
    """For each side and scheme: the label of its line, its results, and the style of the line."""
    for side in SIDES:
        for scheme, style in ((TAGGED, "-"), (PLAIN, "--")):
            found = [
                result
                for result in results
                if (result.cell.side, result.cell.scheme) == (side, scheme)
            ]
            if found:
                yield f"{side} ({scheme})", found, style


def _throughput(axes: _Axes, results: Sequence[Result]) -> None:
    for label, found, style in _lines(results):
        found = sorted(found, key=lambda result: result.cell.n)
        _errors(axes, [result.cell.n for result in found], found, label, style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ARITIES, [str(n) for n in ARITIES])
    axes.set_xlabel("arity n")
    _finish(axes)


def _growth(axes: _Axes, results: Sequence[Result]) -> None:
    for label, found, style in _lines(results):
        found = sorted(found, key=lambda result: result.cell.size)
        _errors(axes, [result.cell.size for result in found], found, label, style)
    axes.set_xscale("log")
    axes.set_xlabel("leaves")
    _finish(axes)


def _errors(axes: _Axes, x: list[int], results: Sequence[Result], label: str, style: str) -> None:
    spreads = [result.spread for result in results]
    y = [spread.median / 1e6 for spread in spreads]
    below = [(spread.median - spread.low) / 1e6 for spread in spreads]
    above = [(spread.high - spread.median) / 1e6 for spread in spreads]
    axes.errorbar(x, y, (below, above), label=label, linestyle=style, marker="o", capsize=3)


def _finish(axes: _Axes) -> None:
    axes.set_ylabel("million leaves per second")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="x-small")


def _latency(axes: _Axes, results: Sequence[Result]) -> None:
    for result in results:
        cell = result.cell
        meanwhile = ", checkpoint runs" if cell.operation == "latency_checkpoint" else ""
        medians = [Spread.of(result.values(name)).median * 1e6 for name in QUANTILES]
        label = f"{cell.side} ({cell.scheme}){meanwhile}"
        axes.plot(
            list(QUANTILES), medians, label=label, marker="o", linestyle="--" if meanwhile else "-"
        )
    axes.set_yscale("log")
    axes.set_ylabel("microseconds")
    axes.legend(fontsize="x-small")
