"""The command line: choose what to measure, and where to write the results."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine, rust
from benchmarks.cases import Workers, all_cases
from benchmarks.leaves import write_leaves
from benchmarks.measure import Result, interleave
from benchmarks.operations import (
    OPERATIONS,
    OURS_ONE,
    PURE,
    PYMERKLE,
    RUST_15,
    RUST_15_ONE,
    RUST_19,
    RUST_19_ONE,
)
from benchmarks.plan import FULL, QUICK, TINY, Scale
from benchmarks.plots import draw_report
from benchmarks.report import Report
from benchmarks.results import as_markdown
from benchmarks.theirs import pymerkle_version
from benchmarks.workers import Inputs, Unavailable

__all__ = ["main"]

_UNDISTURBED = 0.95
"""A run with a smaller share of processor time gets a note."""

_COMPUTING = ("insert_many", "insert_thousands", "insert", "append", "prove", "verify")

_ONE_THREAD = (OURS_ONE, PURE, RUST_15_ONE, RUST_19_ONE, PYMERKLE)

_NOTES = (
    "All cases are run once per round, in turn. Ratios are taken within a round.",
    (
        "Input is random bytes, the same for all. Before every sample, freed memory is given back:"
        " new memory is paid for, page faults included, in every round. Nothing is subtracted."
    ),
    "Roots agree: whoever did the same came to the same root, or the run would have ended.",
    (
        "Rust inserts large durable batches in parts of 2.5 million leaves, because more than"
        " 128 MiB in one make it panic."
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or read an earlier run; print and write the results.  Returns the exit status."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        if options.json is not None:  # a file that cannot be written is refused before measuring
            output = stack.enter_context(open(options.json, "w", encoding="utf-8"))
        else:
            output = None
        if options.read is not None:
            report = Report.from_json(json.loads(options.read.read_text(encoding="utf-8")))
        else:
            report = _measure(_scale(options), options)
        report.print(Console())
        if output is not None:
            json.dump(report.as_json(), output, indent=1, ensure_ascii=False)
            output.write("\n")
    _write_documents(report, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measure rotortree, and others beside it, in interleaved rounds.",
    )
    scales = parser.add_mutually_exclusive_group()
    scales.add_argument("--quick", action="store_true", help="small sizes: two minutes")
    scales.add_argument("--tiny", action="store_true", help="only check that it runs")
    scales.add_argument("--read", type=Path, metavar="FILE", help="read FILE instead of measuring")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write a Markdown document")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw PNG and SVG into FOLDER")
    parser.add_argument(
        "--scale", type=Path, metavar="FILE", help="JSON of scale.py, for the document"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(OPERATIONS), metavar="ROW", help=", ".join(OPERATIONS)
    )
    parser.add_argument("--rounds", type=_count, help="samples of every case")
    parser.add_argument(
        "--directory",
        type=Path,
        help="make durable trees in a new folder below this one (default: that of temporary files)",
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else TINY if options.tiny else FULL
    return replace(scale, rounds=options.rounds or scale.rounds)


def _measure(scale: Scale, options: argparse.Namespace) -> Report:
    progress = Console(stderr=True, quiet=not Console(stderr=True).is_terminal)
    before = machine.load()
    missing: dict[str, str] = {}
    notes = list(_NOTES)
    versions: dict[str, str] = {}
    program = _rust(missing, notes, versions, progress)
    try:
        versions["pymerkle"] = pymerkle_version()
    except Unavailable as error:
        missing[PYMERKLE] = error.short
        notes.append(str(error))
    with tempfile.TemporaryDirectory(prefix="rotortree-bench-", dir=options.directory) as name:
        described = {**machine.describe(Path(name)), **versions}
        inputs = Inputs(Path(name), Path(name, "leaves"), Path(name, "singles"))
        write_leaves(inputs.leaves, scale.large, 0)
        write_leaves(inputs.singles, max(scale.most_singles, scale.latencies), 1)
        with closing(Workers(inputs, program, PYMERKLE not in missing)) as workers:
            results = _interleave(scale, workers, options.only, progress)
    notes += _doubts(scale, described, results)
    load = {"before": before, "after": machine.load()}
    return Report(scale, described, load, notes, missing, results)


def _rust(
    missing: dict[str, str], notes: list[str], versions: dict[str, str], progress: Console
) -> Path | None:
    """The program of the original crate; None, with a note that says why, if it was not built."""
    try:
        progress.print("building the original crate, if it was not built before")
        program = rust.build()
        versions["Rust"] = rust.compiler()
        return program
    except Unavailable as error:
        missing.update(dict.fromkeys((RUST_15, RUST_15_ONE, RUST_19, RUST_19_ONE), error.short))
        notes.append(str(error))
        return None


def _interleave(
    scale: Scale, workers: Workers, only: Sequence[str] | None, progress: Console
) -> list[Result]:
    cases = all_cases(scale, workers)
    if only is not None:
        cases = [case for case in cases if case.cell.operation in only]
    started = time.monotonic()

    def finished(number: int) -> None:
        seconds = time.monotonic() - started
        progress.print(f"round {number} of {scale.rounds}, {seconds:.0f} s")

    return interleave(cases, scale.rounds, finished)


def _doubts(scale: Scale, described: dict[str, str], results: Sequence[Result]) -> list[str]:
    """Notes on reasons to doubt some figures."""
    doubts = []
    if described["file system"] in machine.IN_MEMORY:
        kind = described["file system"]
        doubts.append(f"{kind} is in memory: the durable rows say nothing. Use --directory.")
    share = _processor_share(results)
    if share < _UNDISTURBED:
        doubts.append(
            "Others were at work on this machine: cases that only compute had a processor"
            f" {share:.0%} of the time. The figures are noisy, and too low."
        )
    if scale.name == "tiny" or scale.rounds < 5:
        doubts.append("This was no measurement: too few samples, or too small.")
    return doubts


def _processor_share(results: Sequence[Result]) -> float:
    """The share of time in which cases that only compute had a processor; 1 if undisturbed."""
    samples = [
        sample
        for result in results
        if result.cell.side in _ONE_THREAD and result.cell.operation in _COMPUTING
        for sample in result.samples
    ]
    wall = sum(sample.seconds for sample in samples)
    return sum(sample.cpu_seconds for sample in samples) / wall if samples else 1.0


def _write_documents(report: Report, options: argparse.Namespace) -> None:
    plots: list[Path] = []
    if options.plots is not None:
        try:
            plots = draw_report(report, options.plots)
        except Unavailable as error:
            print(error)
    if options.results is not None:
        scale = None if options.scale is None else json.loads(options.scale.read_text("utf-8"))
        folder = options.results.resolve().parent
        pictures = [
            Path(os.path.relpath(plot.resolve(), folder)) for plot in plots if plot.suffix == ".svg"
        ]
        options.results.write_text(as_markdown(report, scale, pictures), encoding="utf-8")
