"""Recovering: from one state of a disk, and from every crash on the way.

This is the part of an exploration that takes the time, and that other processes can do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.image import Image, fingerprint
from rotortree_faultinject.disk.operations import Operation
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.exploring.results import Bounds, Crash, describe_error
from rotortree_faultinject.subjects.subject import Checker

__all__ = ["End", "Outcome", "Recovery", "Start", "recover_all"]


class Start(NamedTuple):
    """Where a recovery starts: a power failure's image, or a killed process's log after one."""

    image: Image
    log: tuple[Operation, ...] | None = None


Outcome: TypeAlias = tuple[Hashable] | None
"""What `Subject.recover` returned, or None if it raised."""


class End(NamedTuple):
    """The outcome of crashes during a recovery.

    ``crashes``: those after the first.  ``expected``: what the outcome must be the same as; None if
    any legal one will do.
    """

    crashes: tuple[Crash, ...]
    expected: Outcome
    outcome: Outcome
    error: str


class Recovery(NamedTuple):
    """The outcome of one recovery, and the different outcomes of crashes during it."""

    outcome: Outcome
    error: str
    progress_error: str
    ends: tuple[End, ...]
    nested: int
    recoveries: int


class _Recoverer:
    """Recovers from states, each different one once, and crashes within.  Runs in workers."""

    def __init__(self, checker: Checker, profile: Profile, bounds: Bounds) -> None:
        self._checker = checker
        self._profile = profile
        self._bounds = bounds
        self._seen: dict[bytes, tuple[Outcome, str, int]] = {}
        self._recoveries = 0

    def recover(self, start: Start) -> Recovery:
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
                self._checker.go_on(disk, outcome[0])
            except Exception as caught:
                progress_error = describe_error(caught)
        depth = bounds.depth - 1
        if start.log is None:
            self._seen[fingerprint(start.image)] = outcome, error, depth
        else:
            depth = max(depth, 1)
        ends: dict[tuple[Outcome, Outcome, str], End] = {}
        nested = 0
        for found in self._within(disk, start, end, depth, outcome):
            ends.setdefault(found[1:], found)
            nested += 1
        recoveries, self._recoveries = self._recoveries, 0
        return Recovery(outcome, error, progress_error, tuple(ends.values()), nested, recoveries)

    def _attempt(self, disk: SimulatedDisk) -> tuple[Outcome, str]:
        self._recoveries += 1
        try:
            return (self._checker.recover(disk),), ""
        except Exception as caught:
            return None, describe_error(caught)

    def _within(
        self, disk: SimulatedDisk, start: Start, end: int, depth: int, outcome: Outcome
    ) -> Iterator[End]:
        """The outcomes of power failures in a recovery whose log goes up to ``end``, and after it.

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
        self, state: Unsynced, point: int, new: int, depth: int, expected: Outcome
    ) -> Iterator[End]:
        bounds = self._bounds
        for choice in state.enumerate(bounds.nested_per_point, bounds.seed + point, new).choices:
            crash = Crash(point, choice)
            for found in self._nested(state.image(choice), depth, expected):
                yield found._replace(crashes=(crash, *found.crashes))

    def _nested(self, image: Image, depth: int, expected: Outcome) -> Iterator[End]:
        """The end of recovering from an image, and those of the crashes within that."""
        mark = fingerprint(image)
        known = self._seen.get(mark)
        if known is not None and known[2] >= depth - 1:
            yield End((), expected, known[0], known[1])
            return
        disk = SimulatedDisk(image, sector_bytes=self._bounds.sector_bytes)
        outcome, error = self._attempt(disk)
        self._seen[mark] = outcome, error, depth - 1
        yield End((), expected, outcome, error)
        yield from self._within(disk, Start(image), len(disk.log), depth - 1, outcome)


def recover_all(
    checker: Checker, profile: Profile, bounds: Bounds, starts: Sequence[Start]
) -> list[Recovery]:
    """Recover from a batch of starts.  Module-level, so that processes can be sent it."""
    recoverer = _Recoverer(checker, profile, bounds)
    return [recoverer.recover(start) for start in starts]
