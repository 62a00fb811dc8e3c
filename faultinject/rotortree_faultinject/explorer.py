"""The explorer: every crash point × what may have survived × crashes in recovery.

It runs a subject's workload once, walks along the log, and at every point lets the subject recover
from the states that the profile allows.  Recovery runs on a simulated disk, too, so it can crash
as well, and so can the recovery after that.  Equal states are recovered once, whatever led to them.

Everything is decided by the arguments: two runs with the same ones find the same, in the same
order, whatever executor does the work.
"""

from __future__ import annotations

import itertools
import time
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from rotortree_faultinject.crashes import Unsynced
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.image import Image, fingerprint
from rotortree_faultinject.operations import SECTOR_BYTES, Operation
from rotortree_faultinject.profiles import Profile
from rotortree_faultinject.subject import Subject

__all__ = ["Bounds", "Crash", "Exploration", "Failure", "Known", "Statistics", "explore"]


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
    """What was done.  ``existing`` is a bound where not ``exact``."""

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
        exists = f"{self.existing:,}" if self.exact else f"at most {self.existing:.3g}"
        if self.exhaustive:
            extent = "all of them"
        else:
            extent = "every subset" if self.subsets else "small sets and samples"
        return (
            f"{self.points} crash points, {exists} states, {self.checked:,} checked ({extent}),"
            f" {self.distinct:,} distinct, {self.recoveries:,} recoveries"
            f" ({self.nested:,} of nested crashes)"
        )


@dataclass(slots=True)
class Exploration:
    """The result: statistics, failures, and how often the subject reached what (`Counter`)."""

    subject: Subject
    profile: Profile
    bounds: Bounds
    statistics: Statistics = field(default_factory=Statistics)
    failures: list[Failure] = field(default_factory=list)
    complete: bool = True


class _Start(NamedTuple):
    """Where a recovery starts: a power failure's image, or a killed process's log."""

    image: Image
    log: tuple[Operation, ...] = ()


class _Result(NamedTuple):
    """What came of one recovery and of the crashes in it.

    ``outcome`` is what `recover` returned, in a tuple; ``error`` what it raised.  ``nested``: the
    same of every different end of the crashes in it, and whether recovery had returned before.
    """

    outcome: tuple[Hashable] | None
    error: str
    progress_error: str
    nested: tuple[tuple[tuple[Crash, ...], bool, tuple[Hashable] | None, str], ...]
    recoveries: int


Known: TypeAlias = dict[bytes, _Result | None]
"""What came of the recovery from each image, by its fingerprint; None while it is under way."""


def describe_error(error: BaseException) -> str:
    """An exception and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


class _Recoverer:
    """Recovers from states, each different one once, and crashes within.  Runs in workers."""

    def __init__(self, subject: Subject, profile: Profile, bounds: Bounds) -> None:
        self._subject = subject
        self._profile = profile
        self._bounds = bounds
        self._seen: dict[bytes, tuple[tuple[Hashable] | None, str, int]] = {}

    def recover(self, start: _Start) -> _Result:
        """Recover from a start, and from every crash in that."""
        bounds = self._bounds
        disk = self._disk(start)
        outcome, error = self._attempt(disk)
        end = len(disk.log)
        progress_error = ""
        if outcome is not None and bounds.go_on:
            try:
                self._subject.go_on(disk, outcome[0])
            except Exception as caught:
                progress_error = describe_error(caught)
        nested: dict[tuple[bool, tuple[Hashable] | None, str], tuple[Crash, ...]] = {}
        depth = max(bounds.depth - 1, 1 if start.log else 0)
        recoveries = 1
        for crashes, after, found, raised in self._within(disk, start, end, depth):
            nested.setdefault((after, found, raised), crashes)
            recoveries += 1
        ends = tuple((crashes, *end) for end, crashes in nested.items())
        return _Result(outcome, error, progress_error, ends, recoveries)

    def _disk(self, start: _Start) -> SimulatedDisk:
        disk = SimulatedDisk(start.image, sector_bytes=self._bounds.sector_bytes)
        for operation in start.log:
            disk.replay(operation)
        return disk

    def _attempt(self, disk: SimulatedDisk) -> tuple[tuple[Hashable] | None, str]:
        try:
            return (self._subject.recover(disk),), ""
        except Exception as caught:
            return None, describe_error(caught)

    def _within(
        self, disk: SimulatedDisk, start: _Start, end: int, depth: int
    ) -> Iterator[tuple[tuple[Crash, ...], bool, tuple[Hashable] | None, str]]:
        """Every different end of a crash within a recovery that did the log up to ``end``."""
        if depth <= 0:
            return
        state = Unsynced(start.image, self._profile, self._bounds.sector_bytes)
        for operation in disk.log[: len(start.log)]:
            state.apply(operation)
        for point in range(len(start.log), end):
            operation = disk.log[point]
            state.apply(operation)
            after = point + 1 == end
            new = 0 if after or not operation.micro else len(operation.micro)
            limit = self._bounds.nested_per_point
            for choice in state.enumerate(limit, self._bounds.seed + point, new).choices:
                crash = Crash(point + 1, choice)
                for crashes, _, outcome, error in self._nested(state.image(choice), depth):
                    yield (crash, *crashes), after, outcome, error

    def _nested(
        self, image: Image, depth: int
    ) -> Iterator[tuple[tuple[Crash, ...], bool, tuple[Hashable] | None, str]]:
        """The end of recovering from an image, and those of the crashes within that."""
        mark = fingerprint(image)
        known = self._seen.get(mark)
        if known is not None and known[2] >= depth:
            yield (), False, known[0], known[1]
            return
        disk = SimulatedDisk(image, sector_bytes=self._bounds.sector_bytes)
        outcome, error = self._attempt(disk)
        self._seen[mark] = outcome, error, depth
        yield (), False, outcome, error
        yield from self._within(disk, _Start(image), len(disk.log), depth - 1)


def _work(
    subject: Subject, profile: Profile, bounds: Bounds, starts: Sequence[_Start]
) -> list[_Result]:
    """Recover from a batch of starts.  Module-level, so that processes can be sent it."""
    recoverer = _Recoverer(subject, profile, bounds)
    return [recoverer.recover(start) for start in starts]


_BATCH = 64
"""Starts per piece of work."""


def explore(
    subject: Subject,
    profile: Profile,
    bounds: Bounds = Bounds(),
    *,
    executor: Executor | None = None,
    progress: Callable[[Statistics], None] | None = None,
    known: Known | None = None,
) -> Exploration:
    """Explore what crashes of a subject's workload lead to.

    ``executor`` runs the recoveries, in this process if it is None; the subject is pickled for it.
    ``progress`` is called now and then.  Stopping it with Ctrl-C raises KeyboardInterrupt as usual.
    ``known``: an empty dictionary, or that of earlier explorations with the same profile and bounds
    of subjects that recover in the same way; states in it are judged, not recovered again.
    """
    explorer = _Explorer(subject, profile, bounds, executor, progress)
    explorer.known = {} if known is None else known
    return explorer.explore()


class _Explorer:
    def __init__(
        self,
        subject: Subject,
        profile: Profile,
        bounds: Bounds,
        executor: Executor | None,
        progress: Callable[[Statistics], None] | None,
    ) -> None:
        self.result = Exploration(subject, profile, bounds)
        self._executor = executor
        self._progress = progress
        self._disk = SimulatedDisk(sector_bytes=bounds.sector_bytes)
        self._started = time.monotonic()
        self.known: Known = {}
        self._waiting: dict[bytes, list[tuple[Crash, int]]] = {}
        self._judged: set[tuple[bytes, int]] = set()

    def explore(self) -> Exploration:
        result, statistics = self.result, self.result.statistics
        try:
            result.subject.run(self._disk)
        except Exception as caught:
            result.failures.append(Failure((), "workload", describe_error(caught)))
            return result
        statistics.operations = len(self._disk.log)
        pieces = self._pieces()
        pending: list[tuple[list[tuple[bytes, _Start]], Future[list[_Result]] | None]] = []
        for piece in pieces:
            pending.append((piece, self._submit(piece)))
            while len(pending) > (4 if self._executor else 0):
                self._finish(*pending.pop(0))
            if self._is_enough():
                result.complete = False
                break
        for piece, future in pending:
            self._finish(piece, future)
        statistics.seconds = time.monotonic() - self._started
        return result

    def _is_enough(self) -> bool:
        bounds, statistics = self.result.bounds, self.result.statistics
        statistics.seconds = time.monotonic() - self._started
        if self._progress is not None:
            self._progress(statistics)
        return (
            len(self.result.failures) >= bounds.failures
            or (bounds.states is not None and statistics.distinct >= bounds.states)
            or (bounds.seconds is not None and statistics.seconds >= bounds.seconds)
        )

    def _submit(self, piece: list[tuple[bytes, _Start]]) -> Future[list[_Result]] | None:
        if self._executor is None:
            return None
        result = self.result
        starts = [start for _, start in piece]
        return self._executor.submit(_work, result.subject, result.profile, result.bounds, starts)

    # What there is to do.

    def _pieces(self) -> Iterator[list[tuple[bytes, _Start]]]:
        iterator = iter(self._starts())
        while piece := list(itertools.islice(iterator, _BATCH)):
            yield piece

    def _starts(self) -> Iterator[tuple[bytes, _Start]]:
        """Every start that was not seen before, and a name for it."""
        bounds = self.result.bounds
        statistics = self.result.statistics
        state = Unsynced(self._disk.start, self.result.profile, bounds.sector_bytes)
        marks = len(self._disk.carried)
        new = 0
        for point, operation in enumerate([None, *self._disk.log]):
            if operation is not None:
                state.apply(operation)
                marks += operation.kind == "mark"
                new = len(operation.micro)
                if not new and operation.kind not in ("mark", "sync", "sync_directory"):
                    continue  # a failed sync changes nothing by itself
            statistics.points += 1
            listing = state.enumerate(bounds.per_point, bounds.seed + point, new)
            statistics.existing += listing.existing
            statistics.exact &= listing.exact
            statistics.exhaustive &= listing.exhaustive
            statistics.subsets &= listing.subsets
            for choice in listing.choices:
                yield from self._start(state.image(choice), Crash(point, choice), marks)
            if bounds.kills and state.micro:
                statistics.kills += 1
                name = b"kill %d" % point
                self._waiting[name] = [(Crash(point, None), marks)]
                yield name, _Start(self._disk.start, tuple(self._disk.log[:point]))

    def _start(self, image: Image, crash: Crash, marks: int) -> Iterable[tuple[bytes, _Start]]:
        self.result.statistics.checked += 1
        name = fingerprint(image)
        if (name, marks) in self._judged:
            return
        self._judged.add((name, marks))
        if name not in self.known:
            self.known[name] = None
            self.result.statistics.distinct += 1
            self._waiting[name] = [(crash, marks)]
            yield name, _Start(image)
        elif (known := self.known[name]) is not None:
            self._judge(known, crash, marks)
        else:
            self._waiting[name].append((crash, marks))

    # What came of it.

    def _finish(
        self, piece: list[tuple[bytes, _Start]], future: Future[list[_Result]] | None
    ) -> None:
        result = self.result
        if future is None:
            starts = [start for _, start in piece]
            found = _work(result.subject, result.profile, result.bounds, starts)
        else:
            found = future.result()
        for (name, _), one in zip(piece, found, strict=True):
            self.known[name] = one
            result.statistics.recoveries += one.recoveries
            result.statistics.nested += one.recoveries - 1
            for crash, marks in self._waiting.pop(name):
                self._judge(one, crash, marks)

    def _judge(self, found: _Result, crash: Crash, count: int) -> None:
        marks = self._marks(count)
        first = (crash,)
        if found.outcome is None:
            self._fail(first, "recover", found.error)
            return
        self._judge_outcome(first, marks, found.outcome)
        if found.progress_error:
            self._fail(first, "go on", found.progress_error)
        for crashes, after, outcome, error in found.nested:
            path = first + crashes
            if outcome is None:
                self._fail(path, "recover", error)
                continue
            if outcome != found.outcome and (after or crash.choice is not None):
                self._fail(path, "same", f"{outcome[0]!r}, and before: {found.outcome[0]!r}")
            else:
                self._judge_outcome(path, marks, outcome)

    def _judge_outcome(
        self, crashes: tuple[Crash, ...], marks: Sequence[object], outcome: tuple[Hashable]
    ) -> None:
        message = self.result.subject.judge(marks, outcome[0])
        if message is not None:
            self._fail(crashes, "judge", message)

    def _marks(self, count: int) -> list[object]:
        return self._disk.marks()[:count]

    def _fail(self, crashes: tuple[Crash, ...], check: str, message: str) -> None:
        if len(self.result.failures) < self.result.bounds.failures:
            self.result.failures.append(Failure(crashes, check, message))


def coverage(explorations: Iterable[Exploration]) -> Counter[str]:
    """How many failures each check noticed, over several explorations."""
    return Counter(failure.check for one in explorations for failure in one.failures)
