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
from rotortree_faultinject.explorer import Exploration, Failure
from rotortree_faultinject.finding import Finding
from rotortree_faultinject.profiles import Profile
from rotortree_faultinject.report import states_per_second

if TYPE_CHECKING:
    from rotortree_faultinject.tree.fuzz import Trial

__all__ = ["fuzz"]


def fuzz(
    seconds: Seconds = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    profile: Profiles = None,
    findings: Findings = None,
) -> None:
    """Live random lives of a tree, with crashes and failing calls, for ever or for --seconds.

    A life belongs to a seed: the first to --seed, each next one to the number after it.  Every
    violation is a line on stdout.
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
        self._lives = 0
        self._states = 0
        self._outputs = outputs
        self._saves = saves
        self._started = time.monotonic()

    def run(self, seed: int, seconds: float | None, profiles: Sequence[Profile], jobs: int) -> None:
        """Live for so long; without an end, until an interrupt."""
        with pool(jobs) as executor, Monitor() as monitor:
            monitor.begin("random lives")
            lives = itertools.product(itertools.count(seed), profiles)
            for trial, profile in _trials(lives, executor, 2 * jobs):
                self._lives += 1
                self._states += trial.states
                if trial.failure is not None:
                    self._report(trial, trial.failure, profile)
                elapsed = time.monotonic() - self._started
                monitor.show(self._states, elapsed)
                if seconds is not None and elapsed >= seconds:
                    return

    def _report(self, trial: "Trial", failure: Failure, profile: Profile) -> None:
        from rotortree_faultinject.tree.fuzz import BOUNDS

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
            f"{self._lives} random lives, {self.violations} with violations: {self._states:,}"
            f" recoveries in {seconds:.1f} s, {states_per_second(self._states, seconds)}"
        )


def _trials(
    lives: Iterator[tuple[int, Profile]], executor: Executor | None, ahead: int
) -> Iterator[tuple["Trial", Profile]]:
    """What becomes of each life, in order; a pool of processes is that far ahead."""
    from rotortree_faultinject.tree.fuzz import trial

    waiting: deque[tuple[Future[Trial], Profile]] = deque()
    for seed, profile in lives:
        if executor is None:
            yield trial(seed, profile), profile
            continue
        waiting.append((executor.submit(trial, seed, profile), profile))
        if len(waiting) > ahead:
            future, known = waiting.popleft()
            yield future.result(), known
