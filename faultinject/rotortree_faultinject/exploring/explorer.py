"""The explorer: every crash point × what may have survived × crashes in recovery.

It walks along a recorded log, and at every point lets a checker recover from the states that the
profile allows.  Recovery runs on a simulated disk, so it can crash as well, and so can the recovery
after that.  Equal states are recovered once, whatever led to them.

Everything is decided by the arguments: two runs with the same ones find the same, in the same
order, whatever executor does the work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from rotortree_faultinject.disk.crashes import Enumeration, Unsynced
from rotortree_faultinject.disk.image import fingerprint
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.exploring.recording import Recording
from rotortree_faultinject.exploring.recovering import End, Recovery, Start, recover_all
from rotortree_faultinject.exploring.results import (
    DEFAULT_BOUNDS,
    Bounds,
    Crash,
    Exploration,
    Failure,
    Statistics,
    describe_error,
)
from rotortree_faultinject.subjects.subject import Checker, Subject

__all__ = [
    "Bounds",
    "Crash",
    "Exploration",
    "Failure",
    "Known",
    "Statistics",
    "describe_error",
    "explore",
    "explore_recording",
]

Known: TypeAlias = dict[bytes, Recovery | None]
"""What came of the recovery from each image, by its fingerprint; None while it is under way."""


_STARTS = 64
_CHECKS = 4096
"""Of each at the most, in one piece of work."""

_AHEAD = 4
"""Pieces that an executor has at once."""


class _Check(NamedTuple):
    """One judgement to make: of the recovery from a start, for a crash after so many marks.

    ``key`` names the start: an image's fingerprint, or the point at which the process was killed.
    """

    key: bytes | int
    crash: Crash
    marks: int


class _Piece(NamedTuple):
    """A piece of work: what to recover from, what to judge then, and the statistics until here."""

    starts: dict[bytes | int, Start]
    checks: list[_Check]
    statistics: Statistics


_Submitted: TypeAlias = tuple[_Piece, Future[list[Recovery]] | None]


def explore(
    subject: Subject,
    profile: Profile,
    bounds: Bounds = DEFAULT_BOUNDS,
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
    try:
        recording = Recording.of(subject, bounds.sector_bytes)
    except Exception as caught:
        failure = Failure((), "workload", describe_error(caught))
        return Exploration(subject, profile, bounds, failures=[failure])
    return explore_recording(
        recording, subject, profile, bounds, executor=executor, progress=progress, known=known
    )


def explore_recording(
    recording: Recording,
    checker: Checker,
    profile: Profile,
    bounds: Bounds = DEFAULT_BOUNDS,
    *,
    executor: Executor | None = None,
    progress: Callable[[Statistics], None] | None = None,
    known: Known | None = None,
) -> Exploration:
    """Explore what crashes lead to that come while what was recorded is done.

    Whoever did it need not be there any more: ``checker`` recovers, and judges by the marks in the
    log.  Sectors are those of the recording, whatever the bounds say.  The rest as for `explore`.
    """
    bounds = replace(bounds, sector_bytes=recording.sector_bytes)
    result = Exploration(checker, profile, bounds)
    explorer = _Explorer(recording, result, executor, progress)
    explorer.known = {} if known is None else known
    return explorer.explore()


class _Explorer:
    def __init__(
        self,
        recording: Recording,
        result: Exploration,
        executor: Executor | None,
        progress: Callable[[Statistics], None] | None,
    ) -> None:
        self.result = result
        self.known: Known = {}
        self._recording = recording
        self._marks = recording.marks()
        self._executor = executor
        self._progress = progress
        self._started = time.monotonic()
        self._killed: dict[int, Recovery] = {}

    def explore(self) -> Exploration:
        result = self.result
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

    def _submit(self, piece: _Piece) -> Future[list[Recovery]] | None:
        if self._executor is None:
            return None
        result = self.result
        job = result.checker, result.profile, result.bounds, list(piece.starts.values())
        return self._executor.submit(recover_all, *job)

    # What there is to do.

    def _pieces(self) -> Iterator[_Piece]:
        counted = Statistics(operations=len(self._recording.log))
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

    def _checks(self, counted: Statistics) -> Iterator[tuple[_Check, Start]]:
        """All that is to be judged, in order, and where to start the recovery from."""
        bounds, recording = self.result.bounds, self._recording
        state = Unsynced(recording.start, self.result.profile, bounds.sector_bytes)
        marks, new = len(recording.carried), 0
        for point in range(len(recording.log) + 1):
            if point:
                operation = recording.log[point - 1]
                state.apply(operation)
                marks += operation.kind == "mark"
                new = len(operation.micro)
            listing = state.enumerate(bounds.per_point, bounds.seed + point, new)
            _count(counted, listing)
            for choice in listing.choices:
                counted.checked += 1
                image = state.image(choice)
                yield _Check(fingerprint(image), Crash(point, choice), marks), Start(image)
            if bounds.kills and state.micro:
                counted.kills += 1
                start = Start(recording.start, tuple(recording.log[:point]))
                yield _Check(point, Crash(point, None), marks), start

    # What came of it.

    def _finish(self, piece: _Piece, future: Future[list[Recovery]] | None) -> None:
        result, before = self.result, self.result.statistics
        starts = list(piece.starts.values())
        if future is None:
            found = recover_all(result.checker, result.profile, result.bounds, starts)
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
        self._judge_end(End((), None, found.outcome, found.error), crash, count)
        if found.progress_error:
            self._fail((crash,), "go on", found.progress_error)
        for end in found.ends:
            self._judge_end(end, crash, count)

    def _judge_end(self, end: End, crash: Crash, marks: int) -> None:
        crashes = (crash, *end.crashes)
        if end.outcome is None:
            self._fail(crashes, "recover", end.error)
        elif end.expected is not None and end.outcome != end.expected:
            self._fail(crashes, "same", f"{end.outcome[0]!r}, and before: {end.expected[0]!r}")
        else:
            message = self.result.checker.judge(self._marks[:marks], end.outcome[0])
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
