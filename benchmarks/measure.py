"""Samples, and the interleaved rounds in which they are taken."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple

__all__ = [
    "Case",
    "Result",
    "Sample",
    "Spread",
    "Stopwatch",
    "Unit",
    "interleave",
    "processor_share",
    "ratios",
]

Unit = Literal["per second", "seconds"]
"""What a value is: operations per second (more is better), or seconds of one operation."""


class Sample(NamedTuple):
    """One timed run of a case: so many operations took so long."""

    operations: int
    seconds: float
    cpu_seconds: float
    minor_faults: int
    major_faults: int

    def value(self, unit: Unit) -> float:
        """The sample in a unit."""
        if unit == "seconds":
            return self.seconds / self.operations
        return self.operations / self.seconds


class Spread(NamedTuple):
    """The median of samples, and the least and the largest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Stopwatch:
    """Times exactly what is inside of ``with stopwatch:``, once.

    Nothing is subtracted: page faults, garbage collection and the Python loop are all counted.
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
        """What was timed, as so many operations."""
        assert self._passed is not None, "nothing was timed"
        minor, major, cpu, wall = self._passed
        return Sample(operations, wall / 1e9, cpu / 1e9, minor, major)


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the table.

    ``run`` does what it must to prepare, the work within ``with stopwatch:``, and checks what came
    out; it returns how many operations the work was.  ``leaves`` is the size of the tree.
    """

    operation: str
    column: str
    leaves: int
    run: Callable[[Stopwatch], int]
    unit: Unit = "per second"


@dataclass(slots=True)
class Result:
    """A case and its samples, one per round."""

    case: Case
    samples: list[Sample] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """The samples in the case's unit."""
        return [sample.value(self.case.unit) for sample in self.samples]

    @property
    def spread(self) -> Spread:
        """Median, least and largest."""
        return Spread.of(self.values)


def ratios(ours: Result, theirs: Result) -> Spread:
    """How many times faster ours is: the spread of the ratios within each round."""
    pairs = zip(ours.values, theirs.values, strict=True)
    if ours.case.unit == "seconds":
        return Spread.of([their / our for our, their in pairs])
    return Spread.of([our / their for our, their in pairs])


def processor_share(results: Sequence[Result]) -> float:
    """The part of the time in which cases that only compute had a processor: 1 if undisturbed."""
    samples = [sample for result in results for sample in result.samples]
    wall = sum(sample.seconds for sample in samples)
    return sum(sample.cpu_seconds for sample in samples) / wall


def interleave(cases: Sequence[Case], rounds: int, finished: Callable[[int], None]) -> list[Result]:
    """Run every case once per round, in a row; call ``finished`` with 1, 2, … after each round.

    What disturbs the machine for a while then disturbs all cases of a round alike.
    """
    results = [Result(case) for case in cases]
    release = _memory_releaser()
    try:
        for number in range(1, rounds + 1):
            for result in results:
                _level_ground(release)
                stopwatch = Stopwatch()
                operations = result.case.run(stopwatch)
                result.samples.append(stopwatch.sample(operations))
            finished(number)
    finally:
        gc.unfreeze()
    return results


def _level_ground(release: Callable[[], None]) -> None:
    """No garbage, no old objects for the collector to look at, no freed memory to hand out again.

    So memory that a case takes is fresh, with its page faults, in every round and not in the first
    only; and a case does not pay for the objects of another one.
    """
    gc.collect()
    gc.freeze()
    release()


def _memory_releaser() -> Callable[[], None]:
    """What gives freed memory back to the system; nothing where the C library cannot."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            return lambda: trim(0)
    return lambda: None
