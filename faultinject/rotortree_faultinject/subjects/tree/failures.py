"""Failing calls: every call of a workload goes wrong once, in every way, or stays broken.

An operation may fail, and must say so; it may never do, or return, something wrong.  After an
error the tree works on, or is failed for good; and whatever a crash then leaves, what was
acknowledged is there.  A disk that lies may cost what it lied about, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.exploring.explorer import describe_error
from rotortree_faultinject.subjects.tree.life import Life, Options
from rotortree_faultinject.subjects.tree.workloads import TreeSubject

__all__ = ["HONEST", "Sweep", "calls_of", "full_disks", "lives_with_a_fault", "sweep"]

HONEST = "xhasikjqdeX"
"""Ways to go wrong that are no lies; a capital letter: for ever."""

_ENDS = (
    ("mend", "close"),
    ("mend", "kill"),
    ("mend", "crash"),
    ("mend", "crash " + "k" * 200),
    ("mend", "checkpoint", "crash"),
    ("mend", "kill", "open", "crash"),
)


class Sweep(NamedTuple):
    """What came of a sweep: how many lives, in how many of them a call went wrong, and failures."""

    lives: int
    hit: int
    failures: tuple[tuple[TreeSubject, str], ...]


def calls_of(steps: Sequence[str], options: Options) -> int:
    """How many calls of the disk the steps behind the first make, when nothing goes wrong."""
    first, whole = _whole_life(steps[:1], options), _whole_life(steps, options)
    return len(whole.calls) - len(first.calls)


def _whole_life(
    steps: Sequence[str], options: Options, disk: SimulatedDisk | None = None
) -> SimulatedDisk:
    """The disk after the steps, by default one that was empty, on which nothing went wrong."""
    disk = disk or SimulatedDisk()
    life = Life(options, disk)
    life.live(steps)
    life.end()
    return disk


def _most_used(steps: Sequence[str], options: Options) -> int:
    """The bytes of all files together when they are most, where nothing goes wrong."""
    disk = SimulatedDisk()
    used = list[int]()
    disk.on_call = lambda call: used.append(disk.used())
    _whole_life(steps, options, disk)
    return max(used)


def lives_with_a_fault(
    steps: Sequence[str], options: Options, letters: str = HONEST
) -> Iterator[TreeSubject]:
    """Every call behind the first step × every letter; the ends in turn."""
    number = 0
    for call in range(calls_of(steps, options)):
        for letter in letters:
            number += 1
            turn, which = divmod(number, len(_ENDS))
            fault = f"fault * * {'w' * call}{letter} {'ENOSPC' if turn % 2 else 'EIO'}"
            end = _ENDS[which]
            life = (steps[0], fault, *steps[1:], *end, "open", "insert", "flush", "close", "open")
            yield TreeSubject(life, options.changes(), f"call {call}, {letter}")


def full_disks(steps: Sequence[str], options: Options, every: int = 1) -> Iterator[TreeSubject]:
    """Every number of bytes, or each that is a multiple, at which the disk could become full.

    Up to the most that the life ever takes, which may be more than what it leaves.
    """
    for number, room in enumerate(range(0, _most_used(steps, options), every)):
        end = _ENDS[number % len(_ENDS)]
        life = (f"room {room}", *steps, *end, "open", "insert", "flush", "close", "open")
        yield TreeSubject(life, options.changes(), f"room for {room} bytes")


def sweep(subjects: Iterator[TreeSubject]) -> Sweep:
    """Live every life."""
    lives = hit = 0
    failures = []
    for subject in subjects:
        disk = SimulatedDisk()
        lives += 1
        try:
            subject.run(disk)
        except Exception as error:
            failures.append((subject, describe_error(error)))
        hit += disk.faults.hits > 0
    return Sweep(lives, hit, tuple(failures))
