"""The explorer: every crash point × what may have survived × crashes in recovery.

It runs a subject's workload once, walks along the log, and at every point lets the subject recover
from the states that the profile allows.  Recovery runs on a simulated disk, too, so it can crash
as well, and so can the recovery after that.  Equal states are recovered once, whatever led to them.

Everything is decided by the arguments: two runs with the same ones find the same, in the same
order, whatever executor does the work.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.crashes import Enumeration, Unsynced
from rotortree_faultinject.disk.image import Image, fingerprint
from rotortree_faultinject.disk.operations import SECTOR_BYTES, Operation
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.subjects.subject import Subject

__all__ = [
    "Bounds",
    "Crash",
    "Exploration",
    "Failure",
    "Known",
    "Statistics",
    "describe_error",
    "explore",
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
    """The result.  ``complete``: nothing stopped it before all that the bounds allow was done."""

    subject: Subject
    profile: Profile
    bounds: Bounds
    statistics: Statistics = field(default_factory=Statistics)
    failures: list[Failure] = field(default_factory=list)
    complete: bool = True


class _Start(NamedTuple):
    """Where a recovery starts: a power failure's image, or a killed process's log after one."""

    image: Image
    log: tuple[Operation, ...] | None = None


_Outcome: TypeAlias = tuple[Hashable] | None
"""What `Subject.recover` returned, or None if it raised."""


class _End(NamedTuple):
    """What crashes in a recovery end in.

    ``crashes``: those after the first.  ``expected``: what the outcome must be the same as; None if
    any legal one will do.
    """

    crashes: tuple[Crash, ...]
    expected: _Outcome
    outcome: _Outcome
    error: str


class _Result(NamedTuple):
    """What came of one recovery, and every different end of crashes in it."""

    outcome: _Outcome
    error: str
    progress_error: str
    ends: tuple[_End, ...]
    nested: int
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
        self._seen: dict[bytes, tuple[_Outcome, str, int]] = {}
        self._recoveries = 0

    def recover(self, start: _Start) -> _Result:
        """Recover from a start, and from every crash in that."""
        bounds = self._bounds
        disk = SimulatedDisk(start.image, sector_bytes=bounds.sector_bytes)
        for operation in start.log or ():
            disk.replay(operation)
        outcome, error = self._attempt(disk)
        end = len(disk.log)
        progress_error = ""
        if outcome is not None and bounds.go_on:
            try:
                self._subject.go_on(disk, outcome[0])
            except Exception as caught:
                progress_error = describe_error(caught)
        depth = bounds.depth - 1
        if start.log is None:
            self._seen[fingerprint(start.image)] = outcome, error, depth
        else:
            depth = max(depth, 1)
        ends: dict[tuple[_Outcome, _Outcome, str], _End] = {}
        nested = 0
        for found in self._within(disk, start, end, depth, outcome):
            ends.setdefault(found[1:], found)
            nested += 1
        recoveries, self._recoveries = self._recoveries, 0
        return _Result(outcome, error, progress_error, tuple(ends.values()), nested, recoveries)

    def _attempt(self, disk: SimulatedDisk) -> tuple[_Outcome, str]:
        self._recoveries += 1
        try:
            return (self._subject.recover(disk),), ""
        except Exception as caught:
            return None, describe_error(caught)

    def _within(
        self, disk: SimulatedDisk, start: _Start, end: int, depth: int, outcome: _Outcome
    ) -> Iterator[_End]:
        """What power failures in a recovery that did the log up to ``end``, and after it, end in.

        Nobody knew the outcome before it returned.  But what a power failure left is all durable,
        so that recovery from it finds the same however often it is cut short.
        """
        begin = len(start.log or ())
        if depth <= 0 or outcome is None:
            return
        state = Unsynced(start.image, self._profile, self._bounds.sector_bytes)
        for operation in disk.log[:begin]:
            state.apply(operation)
        expected = outcome if start.log is None else None
        for point, operation in enumerate(disk.log[begin:end], begin + 1):
            state.apply(operation)
            if point < end:
                yield from self._power_failures(state, point, len(operation.micro), depth, expected)
        yield from self._power_failures(state, end, 0, depth, outcome)

    def _power_failures(
        self, state: Unsynced, point: int, new: int, depth: int, expected: _Outcome
    ) -> Iterator[_End]:
        bounds = self._bounds
        for choice in state.enumerate(bounds.nested_per_point, bounds.seed + point, new).choices:
            crash = Crash(point, choice)
            for found in self._nested(state.image(choice), depth, expected):
                yield found._replace(crashes=(crash, *found.crashes))

    def _nested(self, image: Image, depth: int, expected: _Outcome) -> Iterator[_End]:
        """The end of recovering from an image, and those of the crashes within that."""
        mark = fingerprint(image)
        known = self._seen.get(mark)
        if known is not None and known[2] >= depth - 1:
            yield _End((), expected, known[0], known[1])
            return
        disk = SimulatedDisk(image, sector_bytes=self._bounds.sector_bytes)
        outcome, error = self._attempt(disk)
        self._seen[mark] = outcome, error, depth - 1
        yield _End((), expected, outcome, error)
        yield from self._within(disk, _Start(image), len(disk.log), depth - 1, outcome)


def _work(
    subject: Subject, profile: Profile, bounds: Bounds, starts: Sequence[_Start]
) -> list[_Result]:
    """Recover from a batch of starts.  Module-level, so that processes can be sent it."""
    recoverer = _Recoverer(subject, profile, bounds)
    return [recoverer.recover(start) for start in starts]


_STARTS = 64
_CHECKS = 4096
"""Of each at the most, in one piece of work."""

_AHEAD = 4
"""Pieces that an executor has at once."""


class _Check(NamedTuple):
    """What came of a start is to be judged for a crash before which there were so many marks.

    ``key`` names the start: an image's fingerprint, or the point at which the process was killed.
    """

    key: bytes | int
    crash: Crash
    marks: int


class _Piece(NamedTuple):
    """A piece of work: what to recover from, what to judge then, and the statistics until here."""

    starts: dict[bytes | int, _Start]
    checks: list[_Check]
    statistics: Statistics


_Submitted: TypeAlias = tuple[_Piece, Future[list[_Result]] | None]


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
        self.known: Known = {}
        self._executor = executor
        self._progress = progress
        self._disk = SimulatedDisk(sector_bytes=bounds.sector_bytes)
        self._marks: list[object] = []
        self._started = time.monotonic()
        self._killed: dict[int, _Result] = {}

    def explore(self) -> Exploration:
        result = self.result
        try:
            result.subject.run(self._disk)
        except Exception as caught:
            result.failures.append(Failure((), "workload", describe_error(caught)))
            return result
        self._marks = self._disk.marks()
        try:
            with closing(self._submitted()) as submitted:
                for piece, future in submitted:
                    self._finish(piece, future)
                    if self._is_enough():
                        result.complete = False
                        break
        finally:
            for key in [key for key, found in self.known.items() if found is None]:
                del self.known[key]
        return result

    def _is_enough(self) -> bool:
        bounds, statistics = self.result.bounds, self.result.statistics
        if self._progress is not None:
            self._progress(statistics)
        return len(self.result.failures) >= bounds.failures or (
            bounds.seconds is not None and statistics.seconds >= bounds.seconds
        )

    def _submitted(self) -> Generator[_Submitted, None, None]:
        """The pieces in order, each with what an executor that works ahead makes of it."""
        pending: deque[_Submitted] = deque()
        try:
            for piece in self._pieces():
                pending.append((piece, self._submit(piece)))
                if len(pending) > (_AHEAD if self._executor else 0):
                    yield pending.popleft()
            while pending:
                yield pending.popleft()
        finally:
            for _, future in pending:
                if future is not None:
                    future.cancel()

    def _submit(self, piece: _Piece) -> Future[list[_Result]] | None:
        if self._executor is None:
            return None
        result, starts = self.result, list(piece.starts.values())
        return self._executor.submit(_work, result.subject, result.profile, result.bounds, starts)

    # What there is to do.

    def _pieces(self) -> Iterator[_Piece]:
        counted = Statistics(operations=len(self._disk.log))
        piece = _Piece({}, [], counted)
        listed: set[tuple[bytes | int, int]] = set()
        for check, start in self._checks(counted):
            if (check.key, check.marks) in listed:
                continue
            listed.add((check.key, check.marks))
            if isinstance(check.key, int) or check.key not in self.known:
                if counted.distinct == self.result.bounds.states:
                    self.result.complete = False
                    break
                piece.starts[check.key] = start
                if isinstance(check.key, bytes):
                    counted.distinct += 1
                    self.known[check.key] = None
            piece.checks.append(check)
            if len(piece.starts) == _STARTS or len(piece.checks) == _CHECKS:
                yield piece._replace(statistics=replace(counted))
                piece = _Piece({}, [], counted)
        yield piece

    def _checks(self, counted: Statistics) -> Iterator[tuple[_Check, _Start]]:
        """All that is to be judged, in order, and where to start the recovery from."""
        bounds, disk = self.result.bounds, self._disk
        state = Unsynced(disk.start, self.result.profile, bounds.sector_bytes)
        marks, new = len(disk.carried), 0
        for point in range(len(disk.log) + 1):
            if point:
                operation = disk.log[point - 1]
                state.apply(operation)
                marks += operation.kind == "mark"
                new = len(operation.micro)
            listing = state.enumerate(bounds.per_point, bounds.seed + point, new)
            _count(counted, listing)
            for choice in listing.choices:
                counted.checked += 1
                image = state.image(choice)
                yield _Check(fingerprint(image), Crash(point, choice), marks), _Start(image)
            if bounds.kills and state.micro:
                counted.kills += 1
                start = _Start(disk.start, tuple(disk.log[:point]))
                yield _Check(point, Crash(point, None), marks), start

    # What came of it.

    def _finish(self, piece: _Piece, future: Future[list[_Result]] | None) -> None:
        result, before = self.result, self.result.statistics
        starts = list(piece.starts.values())
        if future is None:
            found = _work(result.subject, result.profile, result.bounds, starts)
        else:
            found = future.result()
        for key, one in zip(piece.starts, found, strict=True):
            if isinstance(key, int):
                self._killed[key] = one
            else:
                self.known[key] = one
        result.statistics = replace(
            piece.statistics,
            recoveries=before.recoveries + sum(one.recoveries for one in found),
            nested=before.nested + sum(one.nested for one in found),
            seconds=time.monotonic() - self._started,
        )
        for check in piece.checks:
            self._judge(check)

    def _judge(self, check: _Check) -> None:
        key, crash, count = check
        found = self._killed[key] if isinstance(key, int) else self.known[key]
        assert found is not None  # pieces are finished in order
        self._judge_end(_End((), None, found.outcome, found.error), crash, count)
        if found.progress_error:
            self._fail((crash,), "go on", found.progress_error)
        for end in found.ends:
            self._judge_end(end, crash, count)

    def _judge_end(self, end: _End, crash: Crash, marks: int) -> None:
        crashes = (crash, *end.crashes)
        if end.outcome is None:
            self._fail(crashes, "recover", end.error)
        elif end.expected is not None and end.outcome != end.expected:
            self._fail(crashes, "same", f"{end.outcome[0]!r}, and before: {end.expected[0]!r}")
        else:
            message = self.result.subject.judge(self._marks[:marks], end.outcome[0])
            if message is not None:
                self._fail(crashes, "judge", message)

    def _fail(self, crashes: tuple[Crash, ...], check: str, message: str) -> None:
        if len(self.result.failures) < self.result.bounds.failures:
            self.result.failures.append(Failure(crashes, check, message))


def _count(counted: Statistics, listing: Enumeration) -> None:
    """Add a crash point to the statistics."""
    counted.points += 1
    counted.existing += listing.existing
    counted.exact &= listing.exact
    counted.exhaustive &= listing.exhaustive
    counted.subsets &= listing.subsets
