"""What is asked of an exploration, and what comes of it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import NamedTuple

from rotortree_faultinject.disk.operations import SECTOR_BYTES
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.subjects.subject import Checker, Subject

__all__ = [
    "DEFAULT_BOUNDS",
    "Bounds",
    "Crash",
    "Exploration",
    "Failure",
    "Statistics",
    "describe_error",
]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to go.

    ``per_point``: choices to check at one crash point; beyond that, small sets and samples.
    ``depth``: 1 for crashes of the workload, 2 for crashes in recovery from those, 3 for crashes in
    recovery from those again.  ``nested_per_point``: as ``per_point``, in recovery.  ``kills``:
    also kill the process without a power failure, and let power fail during recovery or after it.
    ``states``: distinct states to recover from at the most; ``seconds``: time to spend at the most
    (then the result depends on the machine).  ``failures``: stop after so many.  ``go_on``: let the
    subject work on after recovery from distinct states of depth 1.
    """

    per_point: int = 4096
    depth: int = 1
    nested_per_point: int = 64
    kills: bool = False
    states: int | None = None
    seconds: float | None = None
    failures: int = 1
    go_on: bool = True
    seed: int = 0
    sector_bytes: int = SECTOR_BYTES


DEFAULT_BOUNDS = Bounds()
"""Those of an exploration that is not told others."""


class Crash(NamedTuple):
    """One crash: after ``point`` operations; ``choice`` None if the process was only killed."""

    point: int
    choice: str | None


class Failure(NamedTuple):
    """Something that must not be: the crashes that lead to it, one in the next, and what is wrong.

    ``check`` names the check that noticed it: ``recover``, ``judge``, ``same``, ``go on`` or
    ``workload``.
    """

    crashes: tuple[Crash, ...]
    check: str
    message: str


@dataclass(slots=True)
class Statistics:
    """What was done.

    ``existing``: the states of all points, a bound where not ``exact``; ``checked`` of them are
    ``distinct`` for the first time.  ``nested``: crashes in recovery that were checked.
    ``recoveries``: how often the subject recovered; never twice from the same image if it is known
    what comes of it.
    """

    operations: int = 0
    points: int = 0
    existing: int = 0
    exact: bool = True
    exhaustive: bool = True
    subsets: bool = True
    checked: int = 0
    distinct: int = 0
    recoveries: int = 0
    nested: int = 0
    kills: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        bits = self.existing.bit_length()
        exists = f"{self.existing:,}" if self.exact else f"less than 2^{bits}"
        if self.exhaustive:
            extent = "all of them"
        else:
            extent = "every subset" if self.subsets else "small sets and samples"
        return (
            f"{self.points} crash points, {exists} states, {self.checked:,} checked ({extent}),"
            f" {self.distinct:,} distinct, {self.nested:,} crashes in recovery checked,"
            f" {self.recoveries:,} recoveries"
        )


@dataclass(slots=True)
class Exploration:
    """The result.

    ``checker`` recovered and judged.  ``complete``: nothing stopped it before all that the bounds
    allow was done.
    """

    checker: Checker
    profile: Profile
    bounds: Bounds
    statistics: Statistics = field(default_factory=Statistics)
    failures: list[Failure] = field(default_factory=list)
    complete: bool = True

    @property
    def subject(self) -> Subject:
        """The program that ran.  Raises TypeError if only a recording was explored."""
        if not isinstance(self.checker, Subject):
            raise TypeError(f"{self.checker.name} has no workload that could run again")
        return self.checker


def describe_error(error: BaseException) -> str:
    """An exception and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
