"""The command line: what to measure, and where to put what came out."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.limits import limit_cases
from benchmarks.measure import Case, Result, interleave, processor_share
from benchmarks.operations import OPERATIONS
from benchmarks.ours import our_cases
from benchmarks.plan import FULL, QUICK, TINY, Scale
from benchmarks.report import Report
from benchmarks.theirs import COMPARED, Unavailable, pymerkle_cases, pymerkle_version

__all__ = ["ARITIES", "main"]

ARITIES = (2, 4, 8, 16)

_UNDISTURBED = 0.95
"""The least share of processor time that is not worth a note."""

_NOTES = (
    "All cases are run once per round, in turn. The ÷ column is of the ratios within a round.",
    (
        "Input is random bytes. Before every sample, freed memory is given back: new memory is paid"
        " for, page faults included, in every round. Nothing is subtracted."
    ),
    (
        "n = … is the default scheme, blake3; pymerkle is its InmemoryTree, binary, SHA-256, which"
        " also hashes every entry. It appends one by one, and keeps the root up to date."
    ),
    (
        "bare, all on one thread: BLAKE3 of the leaves as one message; the leaves written to a"
        " file, fdatasync; 192 bytes written, fdatasync, again and again."
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write.  Returns the exit status."""
    options = _parser().parse_args(arguments)
    scale = _scale(options)
    progress = Console(stderr=True, quiet=not Console(stderr=True).is_terminal)
    with ExitStack() as stack:
        if options.json is not None:  # refuse now, not after minutes
            output = stack.enter_context(open(options.json, "w", encoding="utf-8"))
        else:
            output = None
        report = _measure(scale, options.directory, progress)
        report.print(Console())
        if output is not None:
            json.dump(report.as_json(), output, indent=1, ensure_ascii=False)
            output.write("\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measure rotortree, and pymerkle beside it, in interleaved rounds.",
    )
    scales = parser.add_mutually_exclusive_group()
    scales.add_argument("--quick", action="store_true", help="small sizes: a minute")
    scales.add_argument("--tiny", action="store_true", help="that it runs; measures nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument(
        "--sizes", type=_size, nargs="+", metavar="LEAVES", help="of our trees: a table for each"
    )
    parser.add_argument(
        "--pymerkle-size", type=_size, metavar="LEAVES", help="of pymerkle's trees, at most"
    )
    parser.add_argument("--rounds", type=_count, help="samples of every case")
    parser.add_argument(
        "--directory",
        type=Path,
        help="where durable trees are made, in a folder that is removed (default: for temporaries)",
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _size(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return value


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else TINY if options.tiny else FULL
    return replace(
        scale,
        sizes=tuple(dict.fromkeys(options.sizes or scale.sizes)),
        pymerkle_size=options.pymerkle_size or scale.pymerkle_size,
        rounds=options.rounds or scale.rounds,
    )


def _measure(scale: Scale, directory: Path | None, progress: Console) -> Report:
    load = {"before": machine.load()}
    results: dict[int, list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="rotortree-bench-", dir=directory) as name:
        described = machine.describe(Path(name))
        for size in scale.sizes:
            results[size] = _measure_size(size, scale, Path(name, str(size)), progress)
    load["after"] = machine.load()
    computing = [
        result
        for found in results.values()
        for result in found
        if result.case.operation in COMPARED
    ]
    missing, notes = _notes(scale, described, processor_share(computing))
    return Report(scale, ARITIES, described, load, notes, missing, results)


def _measure_size(size: int, scale: Scale, directory: Path, progress: Console) -> list[Result]:
    with ExitStack() as stack:
        cases: list[Case] = []
        for n in ARITIES:
            cases += our_cases(n, size, scale, directory / str(n), stack)
        cases += limit_cases(size, scale, directory)
        with contextlib.suppress(Unavailable):  # noted for the whole run
            cases += pymerkle_cases(min(size, scale.pymerkle_size), scale)
        # By rows: what is compared is measured one after the other.
        order = list(OPERATIONS)
        cases.sort(key=lambda case: order.index(case.operation))
        started = time.monotonic()

        def finished(number: int) -> None:
            seconds = time.monotonic() - started
            progress.print(f"{size:,} leaves: round {number} of {scale.rounds}, {seconds:.0f} s")

        return interleave(cases, scale.rounds, finished)


def _notes(scale: Scale, described: dict[str, str], share: float) -> tuple[str | None, list[str]]:
    """Why there is no pymerkle, if there is none, and what to know when reading the figures."""
    notes = list(_NOTES)
    missing = None
    try:
        pymerkle_version()
    except Unavailable as error:
        missing = error.short
        notes.append(str(error))
    if described["file system"] in machine.IN_MEMORY:
        kind = described["file system"]
        notes.append(f"{kind} is in memory: the durable rows say nothing. Use --directory.")
    if share < _UNDISTURBED:
        notes.append(
            "Others were at work on this machine: cases that only compute had a processor"
            f" {share:.0%} of the time. The figures are noisy, and too low."
        )
    if scale.name == "tiny" or scale.rounds < 5:
        notes.append("This was no measurement: too few samples, or too small.")
    return missing, notes
