"""A durable tree that grows to hundreds of millions of leaves: ``python benchmarks/scale.py``.

The program inserts and flushes batches one after the other, and makes a checkpoint now and then.
Levels are mapped, which is the default.  Leaves are the output of BLAKE3, seeded by the number of
the batch, so any leaf can be made again.  Making leaves is not timed.  In the end the program
closes the tree, opens it with and without verification, proves and verifies random leaves, and
deletes the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As a script, Python looks for modules in this folder; they are in a package beside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from blake3 import blake3
from rich.console import Console

from benchmarks import machine
from benchmarks.leaves import LEAF_BYTES
from benchmarks.measure import Spread
from benchmarks.plots import draw
from benchmarks.tables import shown
from benchmarks.workers import Unavailable
from rotortree import RotorTree, TreeHead, verify_inclusion

__all__ = ["Course", "leaf_of", "leaves_of", "main", "space_needed"]

_FORMAT = 1

_SEED = 20_240_229

_TENTHS = 10

_SPARE_BYTES = 64 * 1024 * 1024
"""Room on the disk for files that are not counted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """After a batch: the size, the seconds of its insert and flush, and resident bytes."""

    size: int
    seconds: float
    anonymous: int
    mapped: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """After a checkpoint: its seconds, seconds of a proof, resident bytes, bytes on disk."""

    size: int
    seconds: float
    proof_median: float
    proof_p99: float
    anonymous: int
    mapped: int
    disk: int


@dataclass(frozen=True, slots=True)
class End:
    """Seconds of the steps after the last leaf.  ``peak``: the most resident bytes of all kinds."""

    close: float
    open_verified: float
    open_unverified: float
    first_proof: float
    proven: int
    peak: int


@dataclass(slots=True)
class Course:
    """The record of one run."""

    leaves: int
    n: int
    machine: dict[str, str]
    batches: list[Batch] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    end: End | None = None

    def throughput(self, start: float = 0.0, stop: float = 1.0) -> float:
        """Leaves per second in a part of the run, with inserts, flushes and checkpoints."""
        low, high = start * self.leaves, stop * self.leaves
        inside = [batch for batch in self.batches if low < batch.size <= high]
        seconds = sum(batch.seconds for batch in inside)
        seconds += sum(found.seconds for found in self.checkpoints if low < found.size <= high)
        before = max((batch.size for batch in self.batches if batch.size <= low), default=0)
        return (inside[-1].size - before) / seconds

    def summary(self) -> dict[str, str]:
        """The results of the run, as text by name."""
        first, last = self.throughput(0.0, 0.1), self.throughput(0.9, 1.0)
        anonymous = [batch.anonymous for batch in self.batches]
        tenth = [batch.anonymous for batch in self.batches if batch.size <= self.leaves / 10]
        checkpoints = Spread.of([found.seconds for found in self.checkpoints])
        early, late = self.checkpoints[0], self.checkpoints[-1]
        found = {
            "leaves": f"{self.leaves:,}, n = {self.n}",
            "durable throughput": (
                f"{shown(self.throughput(), 'per second')}, insertion, flush and checkpoints"
            ),
            "last tenth against first": (
                f"{shown(last, 'per second')} against {shown(first, 'per second')}:"
                f" {last / first:.2f} ×"
            ),
            "memory without a file behind it, at most": (
                f"{_mebibytes(max(anonymous))}; in the first tenth {_mebibytes(max(tenth))}"
            ),
            "resident pages of mapped files, at most": (
                f"{_mebibytes(max(batch.mapped for batch in self.batches))}, which the system takes"
                " back when it needs them"
            ),
            "checkpoint": (
                f"{shown(checkpoints.median, 'seconds')} (median),"
                f" {shown(checkpoints.high, 'seconds')} (longest)"
            ),
            "prove, random leaf": (
                f"{shown(early.proof_median, 'seconds')} at {early.size:,} leaves,"
                f" {shown(late.proof_median, 'seconds')} at {late.size:,} (medians);"
                f" p99 {shown(early.proof_p99, 'seconds')} and {shown(late.proof_p99, 'seconds')}"
            ),
            "on disk": f"{late.disk / late.size:.1f} bytes per leaf",
        }
        if self.end is not None:
            found |= {
                "close": shown(self.end.close, "seconds"),
                "open, every node verified": shown(self.end.open_verified, "seconds"),
                "open, unverified": (
                    f"{shown(self.end.open_unverified, 'seconds')}, the first proof"
                    f" {shown(self.end.first_proof, 'seconds')} later"
                ),
                "resident at most, all kinds": _mebibytes(self.end.peak),
                "proven and verified after both": f"{self.end.proven:,} random leaves each",
            }
        return found

    def as_json(self) -> dict[str, Any]:
        """The whole record, as a value for `json`."""
        return {"format": _FORMAT, "summary": self.summary(), **asdict(self)}


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _generator(batch: int) -> blake3:
    return blake3(b"%d %d" % (_SEED, batch))


def leaves_of(batch: int, count: int) -> bytes:
    """The leaves of a batch as one row of pseudo-random bytes."""
    return _generator(batch).digest(length=LEAF_BYTES * count)


def leaf_of(index: int, per_batch: int) -> bytes:
    """One leaf of the tree, made again."""
    batch, at = divmod(index, per_batch)
    return _generator(batch).digest(length=LEAF_BYTES, seek=LEAF_BYTES * at)


def space_needed(leaves: int, n: int, between: int) -> int:
    """Bytes that the tree needs on disk: all levels, and twice the log between checkpoints."""
    nodes = leaves * n // (n - 1)
    return LEAF_BYTES * (nodes + 2 * between) + _SPARE_BYTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Grow a tree; print and write the record.  Returns the exit status."""
    options = _parser().parse_args(arguments)
    batches, left = divmod(options.leaves, options.batch)
    if left or batches < _TENTHS or options.checkpoint_every % options.batch:
        print(
            "--leaves must be ten batches or more, and --leaves and --checkpoint-every must be"
            " multiples of --batch",
            file=sys.stderr,
        )
        return 2
    folder = Path(options.directory or tempfile.gettempdir())
    needed = space_needed(options.leaves, options.n, options.checkpoint_every)
    free = shutil.disk_usage(folder).free
    if free < needed:
        print(
            f"{folder} has {free / 1e9:,.1f} GB free; this needs {needed / 1e9:,.1f} GB:"
            f" {(needed - free) / 1e9:,.1f} GB are missing",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="rotortree-scale-", dir=folder) as name:
        course = Course(options.leaves, options.n, machine.describe(Path(name)))
        _run(course, Path(name, "tree"), options)
    _report(course, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/scale.py", description="Grow a durable tree, and see what becomes of it."
    )
    parser.add_argument("--leaves", type=int, default=100_000_000, help="how many: 100 million")
    parser.add_argument("--batch", type=int, default=1_000_000, help="leaves at a time: a million")
    parser.add_argument(
        "--checkpoint-every", type=int, default=10_000_000, help="leaves between: 10 million"
    )
    parser.add_argument("--n", type=int, default=4, help="arity: 4")
    parser.add_argument("--proofs", type=int, default=1_000, help="at each checkpoint: 1,000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all records to FILE")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw PNG and SVG into FOLDER")
    parser.add_argument("--directory", type=Path, help="where the tree is made, and deleted")
    return parser


def _run(course: Course, path: Path, options: argparse.Namespace) -> None:
    head, closed = _grow(course, path, options)
    verified, _ = _open(path, head, options, verify=True)
    unverified, first_proof = _open(path, head, options, verify=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    course.end = End(closed, verified, unverified, first_proof, options.proofs, peak)


def _grow(course: Course, path: Path, options: argparse.Namespace) -> tuple[TreeHead, float]:
    """Grow the tree.  Returns its head and the seconds that closing it took."""
    progress = Console(stderr=True, quiet=not Console(stderr=True).is_terminal)
    with RotorTree.open(path, n=course.n, max_depth=40) as tree:
        for number in range(course.leaves // options.batch):
            course.batches.append(_insert(tree, number, options.batch))
            if tree.size % options.checkpoint_every == 0 or tree.size == course.leaves:
                course.checkpoints.append(_checkpoint(tree, path, options.proofs))
                rate = shown(course.throughput(), "per second")
                progress.print(f"{tree.size:,} leaves, {rate}", highlight=False)
        head = tree.head
        started = time.perf_counter()
    return head, time.perf_counter() - started


def _insert(tree: RotorTree, number: int, count: int) -> Batch:
    row = leaves_of(number, count)
    started = time.perf_counter()
    tree.insert_many(row)
    tree.flush()
    seconds = time.perf_counter() - started
    return Batch(tree.size, seconds, *machine.resident())


def _checkpoint(tree: RotorTree, path: Path, proofs: int) -> Checkpoint:
    started = time.perf_counter()
    tree.checkpoint()
    seconds = time.perf_counter() - started
    resident = machine.resident()
    choice = random.Random(tree.size)
    snapshot, times = tree.snapshot(), []
    for _ in range(proofs):
        at = choice.randrange(tree.size)
        started = time.perf_counter()
        snapshot.prove(at)
        times.append(time.perf_counter() - started)
    times.sort()
    median, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return Checkpoint(tree.size, seconds, median, p99, *resident, _disk(path))


def _disk(path: Path) -> int:
    """Bytes that a folder's files take; files that a checkpoint deletes meanwhile are left out."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total


def _open(
    path: Path, head: TreeHead, options: argparse.Namespace, *, verify: bool
) -> tuple[float, float]:
    """Open the tree and prove leaves; every proof must verify against the old head.

    Returns the seconds of opening and of the first proof.
    """
    started = time.perf_counter()
    tree = RotorTree.open(path, verify_checkpoint=verify)
    seconds = time.perf_counter() - started
    with tree:
        started = time.perf_counter()
        tree.snapshot().prove(head.size // 2)
        first_proof = time.perf_counter() - started
        choice = random.Random(_SEED)
        snapshot = tree.snapshot()
        for _ in range(options.proofs):
            at = choice.randrange(head.size)
            verify_inclusion(head, at, leaf_of(at, options.batch), snapshot.prove(at))
    return seconds, first_proof


def _report(course: Course, options: argparse.Namespace) -> None:
    console = Console()
    console.print(f"[bold]A tree of {course.leaves:,} leaves[/]", highlight=False)
    lines = {**course.summary(), **course.machine}
    for key, value in lines.items():
        console.print(f"  {key}: {value}", highlight=False, soft_wrap=True, markup=False)
    if options.json is not None:
        text = json.dumps(course.as_json(), indent=1, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plots is not None:
        try:
            _draw(course, options.plots)
        except Unavailable as error:
            print(error)


def _draw(course: Course, folder: Path) -> None:
    sizes = [batch.size / 1e6 for batch in course.batches]
    at = [found.size / 1e6 for found in course.checkpoints]

    def throughput(axes: Any) -> None:
        before = [0, *(batch.size for batch in course.batches)]
        rates = [
            (batch.size - old) / batch.seconds / 1e6
            for old, batch in zip(before, course.batches, strict=False)
        ]
        axes.plot(sizes, rates, label="each batch, on disk when it ends", linewidth=0.8)
        edges = [part / _TENTHS for part in range(_TENTHS + 1)]
        tenths = [course.throughput(low, high) / 1e6 for low, high in pairwise(edges)]
        places = [course.leaves / 1e6 * (low + high) / 2 for low, high in pairwise(edges)]
        axes.plot(places, tenths, "o-", label="each tenth, checkpoints included")
        axes.set_ylabel("million leaves per second")

    def memory(axes: Any) -> None:
        for name, values in (
            ("no file behind it", [batch.anonymous for batch in course.batches]),
            ("mapped files", [batch.mapped for batch in course.batches]),
        ):
            axes.plot(sizes, [value / 2**20 for value in values], label=name)
        axes.set_ylabel("resident MiB")

    def latency(axes: Any) -> None:
        for name, values in (
            ("proof, median", [found.proof_median * 1e6 for found in course.checkpoints]),
            ("proof, p99", [found.proof_p99 * 1e6 for found in course.checkpoints]),
            ("checkpoint", [found.seconds * 1e6 for found in course.checkpoints]),
        ):
            axes.plot(at, values, "o-", label=name)
        axes.set_yscale("log")
        axes.set_ylabel("microseconds")

    for name, paint in (("throughput", throughput), ("memory", memory), ("latency", latency)):

        def painted(axes: Any, paint: Any = paint) -> None:
            paint(axes)
            axes.set_xlabel("million leaves")
            axes.set_ylim(bottom=None if axes.get_yscale() == "log" else 0)
            axes.legend(fontsize="x-small")

        draw(folder, f"scale-{name}", f"{course.leaves:,} leaves, n = {course.n}", painted)


if __name__ == "__main__":
    sys.exit(main())
