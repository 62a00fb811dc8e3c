"""The fuzz command."""

import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import typer

from rotortree_faultinject.cli.errors import FOUND
from rotortree_faultinject.cli.options import (
    Findings,
    Jobs,
    Profiles,
    Seconds,
    Seed,
    chosen_profiles,
)
from rotortree_faultinject.cli.output import Monitor, Outputs
from rotortree_faultinject.cli.pools import pool
from rotortree_faultinject.cli.replaying import smaller
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.exploring.explorer import Exploration, Failure
from rotortree_faultinject.exploring.finding import Finding

if TYPE_CHECKING:
    from rotortree_faultinject.subjects.tree.fuzz import Trial

__all__ = ["fuzz", "trials"]


def fuzz(
    seconds: Seconds = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    profile: Profiles = None,
    findings: Findings = None,
) -> None:
    """Live random lives of a tree, with crashes and failing calls, for ever or for --seconds.

    A life belongs to a seed: the first to --seed, each next one to the number after it.  After
    --seconds no more lives begin.  Every violation is a line on stdout.
    """
    profiles = chosen_profiles(profile)
    with Outputs(findings=findings) as outputs:
        fuzzer = _Fuzzer(outputs, saves=findings is not None)
        try:
            fuzzer.run(seed, seconds, profiles, jobs)
        finally:
            print(fuzzer.summary())
    if fuzzer.violations:
        raise typer.Exit(FOUND)


class _Fuzzer:
    """One run of the command, and what it has come to."""

    def __init__(self, outputs: Outputs, *, saves: bool) -> None:
        self.violations = 0
        self._count = 0
        self._recoveries = 0
        self._outputs = outputs
        self._saves = saves
        self._started = time.monotonic()

    def run(self, seed: int, seconds: float | None, profiles: Sequence[Profile], jobs: int) -> None:
        """Live for so long; without an end, until an interrupt."""
        with pool(jobs) as executor, Monitor() as monitor:
            monitor.begin("random lives")
            for trial, profile in trials(self._lives(seed, seconds, profiles), executor, jobs):
                self._count += 1
                self._recoveries += trial.states
                if trial.failure is not None:
                    self._report(trial, trial.failure, profile)
                monitor.show(self._recoveries, time.monotonic() - self._started)

    def _lives(
        self, seed: int, seconds: float | None, profiles: Sequence[Profile]
    ) -> Iterator[tuple[int, Profile]]:
        """Seeds and profiles, until time is up."""
        for at in itertools.count(seed):
            for profile in profiles:
                if seconds is not None and time.monotonic() - self._started >= seconds:
                    return
                yield at, profile

    def _report(self, trial: "Trial", failure: Failure, profile: Profile) -> None:
        from rotortree_faultinject.subjects.tree.fuzz import BOUNDS

        self.violations += 1
        finding = Finding.of(Exploration(trial.subject, profile, BOUNDS), failure)
        file = ""
        if self._saves:
            file = f" ({self._outputs.save(smaller(finding), trial.subject.name)})"
        print(
            f"{trial.subject.name} × {profile.name}: {failure.check}: {failure.message}{file}",
            flush=True,
        )

    def summary(self) -> str:
        """All of it in one line."""
        seconds = time.monotonic() - self._started
        return (
            f"{self._count} random lives, {self.violations} with violations:"
            f" {self._recoveries:,} recoveries in {seconds:.1f} s"
        )


def trials(
    lives: Iterator[tuple[int, Profile]], executor: Executor | None, ahead: int
) -> Iterator[tuple["Trial", Profile]]:
    """The result of each life, in order.  A pool of processes works ahead of the reader."""
    from rotortree_faultinject.subjects.tree.fuzz import trial

    waiting: deque[tuple[Future[Trial], Profile]] = deque()
    for seed, profile in lives:
        if executor is None:
            yield trial(seed, profile), profile
            continue
        waiting.append((executor.submit(trial, seed, profile), profile))
        if len(waiting) > ahead:
            yield _result(*waiting.popleft())
    while waiting:
        yield _result(*waiting.popleft())


def _result(future: "Future[Trial]", profile: Profile) -> tuple["Trial", Profile]:
    return future.result(), profile
