"""The minimiser: makes a finding smaller while the same check still fails.

First a smaller workload, then fewer and earlier crashes, then the simplest choice, with as few
exceptions as can be from "all was lost" or "all was kept".  It is greedy and bounded, and comes to
the same for the same finding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rotortree_faultinject.disk.profiles import profile_named
from rotortree_faultinject.exploring.explorer import Bounds, Crash, Exploration, Failure, explore
from rotortree_faultinject.exploring.finding import Finding, FindingError, make_subject, replay
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["TRIALS", "minimise"]

TRIALS = 20_000
"""How many recoveries a finding is worth, unless told otherwise; about how many are done."""

_BOUNDS = Bounds(per_point=128, nested_per_point=16, states=1024, failures=64)
"""A small exploration: wide enough to see a failure again, if not every one."""


def minimise(finding: Finding, trials: int = TRIALS) -> Finding:
    """A finding of the same check that is as small as about ``trials`` recoveries make it.

    It is the one that was given if that does not fail any more.  Raises FindingError if it cannot
    be replayed.
    """
    failure = replay(finding)
    if failure is None or failure.check != finding.check:
        return finding
    return _Minimiser(finding, failure, trials).minimise()


class _Minimiser:
    def __init__(self, finding: Finding, failure: Failure, trials: int) -> None:
        self._found = replace(finding, crashes=failure.crashes, message=failure.message)
        self._trials = trials

    def minimise(self) -> Finding:
        while any(self._explore(smaller, _LATEST) for smaller in self._subject().smaller()):
            pass
        while self._explore(self._subject(), _order(self._found.crashes)):
            pass
        for number in range(len(self._found.crashes)):
            self._simpler_choice(number)
        return self._found

    def _subject(self) -> Subject:
        return make_subject(self._found.subject, self._found.parameters)

    def _explore(self, subject: Subject, before: tuple[int, ...]) -> bool:
        """Whether a small exploration sees the same check fail, with crashes that come ``before``.

        The first of its findings is taken if so.
        """
        if self._trials <= 0:
            return False
        found = self._found
        profile = profile_named(found.profile)
        bounds = replace(
            _BOUNDS,
            depth=max(1, len(found.crashes)),
            kills=any(crash.choice is None for crash in found.crashes),
            seed=found.seed,
            sector_bytes=found.sector_bytes,
        )
        if not found.crashes:  # the workload itself fails: there is nothing to explore
            failure = Failure((), found.check, found.message)
            candidate = Finding.of(Exploration(subject, profile, bounds), failure)
            return before == _LATEST and self._try(candidate)
        exploration = explore(subject, profile, bounds)
        self._trials -= exploration.statistics.recoveries + 1
        same = [failure for failure in exploration.failures if failure.check == found.check]
        first = min(same, key=lambda failure: _order(failure.crashes), default=None)
        if first is None or _order(first.crashes) >= before:
            return False
        return self._try(Finding.of(exploration, first))

    def _try(self, candidate: Finding) -> bool:
        """Whether a candidate fails as it should; it is taken if so, with its choices legal."""
        self._trials -= 1 + len(candidate.crashes)
        try:
            failure = replay(candidate)
        except FindingError:
            return False  # an operation fewer, and a later crash point is none
        if failure is None or failure.check != self._found.check:
            return False
        self._found = replace(candidate, crashes=failure.crashes, message=failure.message)
        return True

    # The simplest choice.

    def _simpler_choice(self, number: int) -> None:
        """Of what everything lost and everything kept lead to, keep the simpler finding."""
        start = self._found
        reached = []
        for usual in "k-":
            self._found = start
            while self._one_step(number, usual):
                pass
            choice = self._found.crashes[number].choice
            reached.append((_odd(choice or "", usual), self._found))
        self._found = min(reached, key=lambda pair: pair[0])[1]

    def _one_step(self, number: int, usual: str) -> bool:
        """Make fewer letters of a choice unusual; False if no more can be."""
        crash = self._found.crashes[number]
        now = _odd(crash.choice or "", usual)
        for choice in _simpler(crash, usual):
            if self._trials <= 0:
                return False
            crashes = self._found.crashes
            changed = (*crashes[:number], Crash(crash.point, choice), *crashes[number + 1 :])
            tried = self._try(replace(self._found, crashes=changed))
            if tried and _odd(self._found.crashes[number].choice or "", usual) < now:
                return True  # else the profile made of it what it was before
        return False


_LATEST = (sys.maxsize,)


def _order(crashes: Sequence[Crash]) -> tuple[int, ...]:
    """What findings are sorted by: few crashes first, then early ones."""
    return len(crashes), *(crash.point for crash in crashes)


def _odd(choice: str, usual: str) -> tuple[int, int]:
    """How unusual a choice is: torn letters first, then those that are not ``usual``."""
    return sum(letter not in "k-" for letter in choice), sum(letter != usual for letter in choice)


def _simpler(crash: Crash, usual: str) -> Iterator[str]:
    """The choices with fewer unusual letters: none at all, then one fewer."""
    if crash.choice is None:
        return
    yield usual * len(crash.choice)
    for at, letter in enumerate(crash.choice):
        others = [usual] if letter in "k-" else [usual, "k" if usual == "-" else "-"]
        for other in others:
            if letter != other:
                yield crash.choice[:at] + other + crash.choice[at + 1 :]
