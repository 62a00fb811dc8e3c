"""Samples, and the interleaved rounds in which they are taken."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple

__all__ = [
    "Case",
    "Cell",
    "CheckFailed",
    "Result",
    "Sample",
    "Spread",
    "Stopwatch",
    "Unit",
    "interleave",
    "take_memory",
]

Unit = Literal["per second", "seconds", "bytes"]
"""The unit of a value: operations per second (more is better), seconds of one operation or bytes
per leaf (less is better)."""


class CheckFailed(Exception):
    """Two sides did the same and got different results, so the figures are worthless."""


class Cell(NamedTuple):
    """One thing to measure: an operation of a side on a tree.  ``n`` is 0 if there is no tree."""

    operation: str
    side: str
    scheme: str
    n: int
    size: int


class Sample(NamedTuple):
    """One timed run of a case: the number of operations and the time they took.

    ``check``: a result in hexadecimal on which all sides must agree, or nothing.  ``figures``:
    further values by name: seconds of one operation, or bytes per leaf.
    """

    operations: int
    seconds: float
    cpu_seconds: float
    minor_faults: int
    major_faults: int
    check: str = ""
    figures: Mapping[str, float] = {}

    def value(self, unit: Unit) -> float:
        """The sample in a unit."""
        if unit == "bytes":
            return self.figures["bytes per leaf"]
        if unit == "seconds":
            return self.figures.get("p50", self.seconds / self.operations)
        return self.operations / self.seconds


class Spread(NamedTuple):
    """Median, least and largest of some samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Stopwatch:
    """Times exactly the body of ``with stopwatch:``, once.

    Nothing is subtracted: page faults, garbage collection and the Python loop count.
    """

    def __init__(self) -> None:
        self._started = (0, 0, 0, 0)
        self._passed: tuple[int, int, int, int] | None = None

    @staticmethod
    def _now() -> tuple[int, int, int, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_minflt, used.ru_majflt, time.process_time_ns(), time.perf_counter_ns()

    def __enter__(self) -> None:
        assert self._passed is None, "a sample is one stretch of time"
        _level_ground()
        self._started = self._now()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        minor, major, cpu, wall = map(int.__sub__, self._now(), self._started)
        self._passed = minor, major, cpu, wall

    def sample(self, operations: int) -> Sample:
        """The time that was measured, as a sample of so many operations."""
        assert self._passed is not None, "nothing was timed"
        minor, major, cpu, wall = self._passed
        return Sample(operations, wall / 1e9, cpu / 1e9, minor, major)


@dataclass(frozen=True, slots=True)
class Case:
    """A cell, and the function that takes one sample of it."""

    cell: Cell
    unit: Unit
    measure: Callable[[], Sample]


@dataclass(slots=True)
class Result:
    """A cell and its samples, one per round."""

    cell: Cell
    unit: Unit
    samples: list[Sample] = field(default_factory=list)

    def values(self, figure: str | None = None) -> list[float]:
        """The samples in the case's unit, or one of their figures."""
        if figure is not None:
            return [sample.figures[figure] for sample in self.samples]
        return [sample.value(self.unit) for sample in self.samples]

    @property
    def spread(self) -> Spread:
        """Median, least and largest."""
        return Spread.of(self.values())


def interleave(cases: Sequence[Case], rounds: int, finished: Callable[[int], None]) -> list[Result]:
    """Run all cases once per round, in order; call ``finished`` with 1, 2, … after each round.

    A disturbance of the machine then affects all cases of a round alike.  Raises CheckFailed.
    """
    results = [Result(case.cell, case.unit) for case in cases]
    checks: dict[tuple[str, str, int, int], tuple[str, str]] = {}
    for number in range(1, rounds + 1):
        for case, result in zip(cases, results, strict=True):
            sample = case.measure()
            _agree(checks, case.cell, sample.check)
            result.samples.append(sample)
        finished(number)
    return results


def _agree(
    checks: dict[tuple[str, str, int, int], tuple[str, str]], cell: Cell, check: str
) -> None:
    """Raise CheckFailed if an earlier sample of the same work had another result."""
    if not check:
        return
    key = (cell.operation, cell.scheme, cell.n, cell.size)
    side, known = checks.setdefault(key, (cell.side, check))
    if check != known:
        raise CheckFailed(f"{cell}: {check}, but {side} came to {known}")


def _level_ground() -> None:
    """Collect garbage, hide old objects from the collector, and give freed memory to the system.

    So a case takes new memory, and pays its page faults, in every round and not only in the first.
    And no case pays for the objects of another one.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def take_memory(length: int) -> None:
    """Touch ``length`` bytes of new memory, in huge pages if possible, and give them back.

    The host of a virtual machine may have taken free memory back.  Then the next case would wait
    for the host to find memory, and the figures would measure the host.  Pages are huge because a
    tree uses huge pages, which are other memory than small ones.
    """
    with mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, length, mmap.PAGESIZE):
            memory[at] = 1
