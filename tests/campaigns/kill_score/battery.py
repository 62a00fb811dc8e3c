"""The battery: all that is asked of a tree to find out whether a fault is planted in it.

Checks are asked the cheapest first, until one notices something.  A check is a function that yields
one `Trial` after the other; an exception that leaves it is noticed, too.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from rotortree import ClosedError
from rotortree_faultinject.disk import Call, FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.image import fingerprint
from rotortree_faultinject.disk.operations import Operation
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.disk.schedule import Decision, Interleaver, schedules
from rotortree_faultinject.exploring.explorer import Bounds, explore
from rotortree_faultinject.subjects.tree.damage import VIOLATIONS, Judge
from rotortree_faultinject.subjects.tree.damage_kinds import KINDS
from rotortree_faultinject.subjects.tree.interleaving import CONCURRENT, explore_schedules
from rotortree_faultinject.subjects.tree.life import Life, Options, abandon
from rotortree_faultinject.subjects.tree.specimens import SPECIMENS, prepare
from rotortree_faultinject.subjects.tree.workloads import WORKLOADS, TreeSubject, workload
from tests.campaigns.kill_score.laws import LAWS
from tests.campaigns.kill_score.laws_of_names import LAWS_OF_NAMES, names_that_change
from tests.campaigns.kill_score.laws_of_space import LAWS_OF_SPACE
from tests.campaigns.kill_score.subjects import Busy, Damaged, Lookalikes

__all__ = ["BATTERY", "Check", "Trial"]


class Trial(NamedTuple):
    """How many states, recoveries or lives were looked at, and what is wrong with one of them."""

    states: int
    message: str | None


Check: TypeAlias = Callable[[], Iterator[Trial]]
"""Looks at something from many sides."""

_POSIX = PROFILES["posix"]
_FIRST = Bounds(per_point=12)
_BUSY = Bounds(per_point=12, go_on=False)
_DEEP = Bounds(per_point=16, depth=2, nested_per_point=3, kills=True, go_on=False)


def _laws(laws: Mapping[str, Callable[[], str | None]]) -> Iterator[Trial]:
    for name, law in laws.items():
        message = law()
        yield Trial(1, None if message is None else f"{name}: {message}")


def _names() -> Iterator[Trial]:
    """Somebody removes, moves or replaces files and directories of an open tree."""
    for message in names_that_change():
        yield Trial(1, message)


def _lives() -> Iterator[Trial]:
    """Every workload, and work after it, when nothing goes wrong."""
    for name in WORKLOADS:
        for n in (2, 3):
            subject = workload(name, n)
            disk = SimulatedDisk()
            subject.run(disk)
            disk.restart()
            subject.go_on(disk, subject.recover(disk))
            yield Trial(1, None)


# Crashes.


def _explored(subject: TreeSubject, bounds: Bounds) -> Iterator[Trial]:
    result = explore(subject, _POSIX, bounds)
    failure = result.failures[0] if result.failures else None
    message = None if failure is None else f"{subject.name}: {failure.check}: {failure.message}"
    yield Trial(result.statistics.recoveries, message)


def _crashes(bounds: Bounds, names: Iterable[str]) -> Iterator[Trial]:
    for name in names:
        yield from _explored(workload(name), bounds)


def _long() -> Iterator[Trial]:
    yield from _explored(workload("long"), Bounds(per_point=12, go_on=False))


def _busy() -> Iterator[Trial]:
    """Inserting goes on while a flush or a checkpoint waits for the disk."""
    steps = ["open", "insert 2", "flush", "insert", "checkpoint", "insert", "flush", "checkpoint"]
    yield from _explored(Busy(steps, name="busy"), _BUSY)
    yield from _explored(Busy(steps, {"record": True}, name="busy, recorded"), _BUSY)


def _schedules(*names: str, preemptions: int = 1) -> Iterator[Trial]:
    for name in names:
        found = explore_schedules(CONCURRENT[name], preemptions)
        failures = [failure for one in found.failed for failure in one.failures]
        yield Trial(found.distinct, f"{name}: {failures[0]}" if failures else None)


def _closing() -> Iterator[Trial]:
    """When close returns, another process may have the tree: nobody touches the disk any more."""
    for step, record in itertools.product(("flush", "checkpoint"), (False, True)):
        options, messages = Options(record=record), list[str]()

        def run(
            choices: tuple[int, ...],
            step: str = step,
            options: Options = options,
            messages: list[str] = messages,
        ) -> Sequence[Decision]:
            interleaver = Interleaver(choices)
            life = Life(options, SimulatedDisk(), interleaver)
            life.live(["open", "insert 2", "flush", "insert"])
            touched = _close_meanwhile(life, interleaver, step)
            if touched:
                messages.append(f"after close, {step} did {touched[0]}")
            return interleaver.decisions

        for _ in schedules(run, 1):
            yield Trial(1, messages[0] if messages else None)


def _close_meanwhile(life: Life, interleaver: Interleaver, step: str) -> Sequence[Operation]:
    """Close a tree while another thread does a step; what that did to the disk afterwards."""
    tree, disk = life.tree, life.disk
    assert tree is not None  # it is open
    closed = []

    def work() -> None:
        with contextlib.suppress(ClosedError):
            getattr(tree, step)()

    def close() -> None:
        tree.close()
        closed.append(len(disk.log))

    interleaver.add(step, work)
    interleaver.add("close", close)
    disk.on_call = lambda call: interleaver.switch()
    try:
        interleaver.run()
    finally:
        disk.on_call = None
        abandon(tree)
    return disk.log[closed[0] :]


# Failing calls.

_LIVES = (
    ("open, insert 2, flush, checkpoint, insert, flush, checkpoint", Options(record=True)),
    ("open, insert 3, close, open, checkpoint, durable, close, open, durable", Options()),
)
_LONGER_LIFE = (
    "open, insert 3, flush, append 5, checkpoint, close, open, insert 4, checkpoint, durable",
    Options(),
)


def _failing(lives: Iterable[tuple[str, Options]]) -> Iterator[Trial]:
    """Every call of a life fails once; what is then left, and left of what is left, is judged."""
    for text, options in lives:
        steps = text.split(", ")
        disk = SimulatedDisk()
        life = Life(options, disk)
        life.do(steps[0])
        created = len(disk.calls)
        life.live(steps[1:])
        if life.tree is not None:
            abandon(life.tree)
        seen: set[tuple[bytes, bytes, int]] = set()
        for number, call in enumerate(disk.calls):
            uncovered = number < created or ("/levels" in call.path and "close" in steps)
            for letter, failure in _ways(call, uncovered=uncovered):
                changes = {**options.changes(), "fsync_failure": failure}
                fault = f"fault * * {'w' * number}{letter} {'ENOSPC' if number % 2 else 'EIO'}"
                name = f"call {number}, {call.kind} of {call.path}, {letter}, {failure}"
                yield Trial(1, _failed(TreeSubject([fault, *steps], changes, name), seen))


def _ways(call: Call, *, uncovered: bool) -> Iterator[tuple[str, FsyncFailure]]:
    """How a call may fail: the letter of a rule, and what a failed fsync leaves.

    ``uncovered``: if names were lost while they are cached, the tree could not know it.
    """
    changing = call.kind in ("rename", "sync", "sync_directory", "unlink", "pwritev")
    letters = {"pwritev": "xhae", "unlink": "x"}.get(call.kind, "xak")
    dirty = uncovered and call.kind == "sync_directory"
    for letter in letters if changing else "x":
        yield letter, "dirty" if dirty else "clean"
    if call.kind == "sync":
        yield from (("x", "dirty"), ("x", "reverted"))


def _failed(subject: TreeSubject, seen: set[tuple[bytes, bytes, int]]) -> str | None:
    """Live on after a failure, then look at all that may be left."""
    disk = SimulatedDisk()
    life = Life(subject.options, disk)
    for step in subject.steps:
        life.do(step)
        if life.tree is None and disk.faults.hits and step != "close":
            life.do("open")
    if life.tree is not None:
        abandon(life.tree)
    least = disk.crash()
    state = fingerprint(disk.image), fingerprint(least.image), life.history.acknowledged
    if state in seen:
        return None
    seen.add(state)
    return _after_failure(subject, disk, least)


def _after_failure(subject: TreeSubject, disk: SimulatedDisk, least: SimulatedDisk) -> str | None:
    """Power fails with nothing or everything kept; or the process is killed, then power fails."""
    marks = disk.marks()
    for left in (least, disk.crash("k" * 99)):
        if message := subject.judge(marks, subject.recover(left)):
            return f"{subject.name}, and a crash: {message}"
    killed = disk.restarted()
    shown = subject.recover(killed)
    if message := subject.judge(marks, shown):
        return f"{subject.name}, and the process is killed: {message}"
    for opens in range(2):
        killed.restart()
        found = subject.recover(killed.crash())
        if found != shown or subject.recover(killed) != shown:
            return f"{subject.name}, opened {opens + 1} times: {shown}, and after a crash {found}"
    subject.go_on(killed, shown)
    return None


# Damage.


def _damage(kinds: tuple[str, ...], specimens: tuple[str, ...], step: int = 1) -> Iterator[Trial]:
    for name in specimens:
        specimen = prepare(name)
        judge = Judge(specimen)
        for kind in kinds:
            for path, words, image in itertools.islice(KINDS[kind](specimen), 0, None, step):
                verdict = judge.judge(image)
                wrong = verdict.outcome in VIOLATIONS
                yield Trial(1, f"{name}: {kind}, {path}, {words}: {verdict}" if wrong else None)


def _damaged() -> Iterator[Trial]:
    """Power fails while recovery repairs what was damaged."""
    for path, offset in (
        ("COMMIT", 70),
        ("levels/1/00000000.nodes", 130),
        ("levels/0/00000000.nodes", 70),
    ):
        yield from _explored(Damaged(path, offset), _DEEP)


def _lookalikes() -> Iterator[Trial]:
    subject = Lookalikes((), {"frame_leaves": 100}, "leaves that look like frames")
    yield from _explored(subject, _FIRST)


_LIGHT = (
    "missing",
    "32 bytes zeroed",
    "sector zeroed",
    "sector of garbage",
    "files swapped",
    "file of an older copy",
    "file of another tree",
    "directory missing",
)

_FLIPS = "byte xor 0xff", "bit of a small file", "bytes appended"
_SHORT = tuple(name for name in WORKLOADS if name not in ("pinned", "long"))
_KILLED = ("create", "two-frames", "second-checkpoint", "torn-tail", "killed", "recorded")
_FEW = ("closed, n = 2", "killed", "killed, no checkpoint", "killed in a checkpoint")

BATTERY: Mapping[str, Check] = MappingProxyType(
    {
        "laws": partial(_laws, LAWS),
        "laws of names": partial(_laws, LAWS_OF_NAMES),
        "laws of space": partial(_laws, LAWS_OF_SPACE),
        "lives": _lives,
        "leaves like frames": _lookalikes,
        "inserting during a flush": _busy,
        "closing": _closing,
        "damage": partial(_damage, _LIGHT, tuple(SPECIMENS)),
        "failing calls": partial(_failing, _LIVES),
        "crashes": partial(_crashes, _FIRST, _SHORT),
        "schedules of two preemptions": partial(
            _schedules, "two flushes and a close", preemptions=2
        ),
        "schedules": partial(
            _schedules,
            "close during a checkpoint",
            "recorded acknowledgements and a checkpoint",
            "checkpoint and flush",
            "three flushes",
            "three flushes, and one more",
            "a background flush and two others",
            "rolls and a checkpoint",
            "close during inserts",
        ),
        "failing calls of a longer life": partial(_failing, [_LONGER_LIFE]),
        "flipped bytes": partial(_damage, _FLIPS, _FEW, 11),
        "crashes while repairing": _damaged,
        "kills, and crashes in recovery": partial(_crashes, _DEEP, _KILLED),
        "the long life": _long,
        "names that change": _names,
    }
)
"""Every check by its name, the cheapest first; read-only."""
