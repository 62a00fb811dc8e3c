"""Every history of a durable tree up to a number of operations, and every crash in each of them.

Histories share their beginnings: a crash in an earlier operation is a crash of a shorter history.
So each history is crashed in its last operation only, at every point of it that the profile
`prefix` knows: after every micro-operation. And histories that lead to the same state
(`tests.campaigns.exhaustive.state`) share their continuations: each state goes on once, with every
letter of the alphabet. How many histories that stands for is counted all the same, and has to come
out as letters to the power of length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import rotortree_model as model
from rotortree import TreeNotFoundError
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import Image, fingerprint
from rotortree_faultinject.disk.operations import Operation
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.subjects.tree.life import (
    PATH,
    Life,
    Options,
    abandon,
    history_of,
    open_tree,
    verdict,
)
from rotortree_faultinject.subjects.tree.oracle import RecoveredTree, check_proofs, check_root, leaf
from rotortree_model import layouts
from tests.campaigns.exhaustive.state import fingerprint_of

__all__ = [
    "ALPHABET",
    "CREATE",
    "Explored",
    "History",
    "Step",
    "Violation",
    "crash_states",
    "expand",
    "explore",
    "steps_of",
]

History: TypeAlias = tuple[str, ...]
"""Letters of the alphabet, the first one `CREATE`."""

CREATE = "create"
"""What every history begins with."""

ALPHABET: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "insert": ("insert",),
        "batch": ("insert {batch}",),
        "reject": ("reject",),
        "durable": ("durable",),
        "flush": ("flush",),
        "checkpoint": ("checkpoint",),
        "reopen": ("close", "open"),
        "read": ("close", "read", "open"),
        "kill": ("kill", "open"),
        "crash": ("crash", "open"),
    }
)
"""Every operation, as steps of a life; read-only.

A batch crosses the borders of groups and frames. After a crash nothing is left of what was not
synced; what else a crash may leave is looked at, and not gone on with.
"""

_PREFIX = PROFILES["prefix"]
_SECTOR_BYTES = 64
"""Smaller than a disk's, so that there are more points at which a flush may be torn."""

_ALL = 1 << 20
"""More crash states of one point than any short history has."""

_LATER = 1 << 20
"""The number of a leaf that no history inserts."""

_KEEPS_PENDING = ("insert", "batch", "reject")
"""After these what was pending is pending still, and the disk is as it was."""


class Violation(AssertionError):
    """A history that leads to something that must not be."""


class Step(NamedTuple):
    """What came of one more letter: the state, and every different disk that crashes in it leave.

    ``operations`` of the disk, ``crashes``: points and what survives, together.
    """

    letter: str
    state: bytes
    operations: int
    crashes: int
    images: frozenset[bytes]


@dataclass
class Explored:
    """What was explored.

    ``states`` of a tree between operations, ``transitions`` that were executed; ``histories`` and
    ``crashes`` that they stand for, by length; ``images``: different disks that were recovered
    from. ``disk_operations``: by letter.
    """

    histories: list[int] = field(default_factory=list)
    crashes: list[int] = field(default_factory=list)
    states: int = 0
    transitions: int = 0
    images: int = 0
    disk_operations: Counter[str] = field(default_factory=Counter)


class _Known(NamedTuple):
    """What was looked at: disks and what was recovered from them, and states of open trees."""

    recovered: dict[bytes, RecoveredTree]
    proved: set[bytes]


_Expand: TypeAlias = Callable[[Options, Sequence[History]], list[list[Step]]]


def explore(options: Options, length: int, expand_all: _Expand) -> Explored:
    """Explore every history of up to ``length`` operations after `CREATE`.

    ``expand_all`` is `expand`, or does the same in several processes. Raises `Violation`.
    """
    found, images = Explored(), set[bytes]()
    table: dict[bytes, list[Step]] = {}
    [[created]] = expand_all(options, [()])
    frontier: dict[bytes, tuple[History, int]] = {created.state: ((CREATE,), 1)}
    _count(found, images, [created])
    for _ in range(length):
        new = {state: history for state, (history, _) in frontier.items() if state not in table}
        steps = expand_all(options, list(new.values()))
        table.update(zip(new, steps, strict=True))
        for one in steps:
            _count(found, images, one)
        reached: dict[bytes, tuple[History, int]] = {}
        crashes = 0
        for state, (history, count) in frontier.items():
            for step in table[state]:
                before = reached.get(step.state, ((*history, step.letter), 0))
                reached[step.state] = before[0], before[1] + count
                crashes += count * step.crashes
        frontier = reached
        found.histories.append(sum(count for _, count in frontier.values()))
        found.crashes.append(crashes)
    found.states = len(table.keys() | frontier.keys())
    found.images = len(images)
    return found


def _count(found: Explored, images: set[bytes], steps: Iterable[Step]) -> None:
    for step in steps:
        found.transitions += 1
        found.disk_operations[step.letter] += step.operations
        images |= step.images


def expand(options: Options, histories: Sequence[History]) -> list[list[Step]]:
    """For each history, what every letter leads to; for the empty one, what creation does."""
    known = _Known({}, set())
    return [
        [_step(options, history, letter, known) for letter in (ALPHABET if history else [CREATE])]
        for history in histories
    ]


def steps_of(options: Options, history: History) -> list[str]:
    """The steps of a life that a history stands for."""
    return [
        step.format(batch=options.n + 2)
        for letter in history
        for step in (ALPHABET[letter] if letter != CREATE else ("open",))
    ]


def _step(options: Options, history: History, letter: str, known: _Known) -> Step:
    life = Life(options, SimulatedDisk(sector_bytes=_SECTOR_BYTES))
    life.disk.on_call = lambda call: life.acknowledge()  # what is said meanwhile is a promise, too
    try:
        life.live(steps_of(options, history))
        begin, start = len(life.disk.log), life.disk.start
        pending = _pending(life)
        life.live(steps_of(options, (letter,)))
        begin = begin if life.disk.start is start else 0  # power was lost: a new log
        _check_alive(life, letter, pending)
        state = fingerprint_of(life, _PREFIX)
        if state not in known.proved:
            _check_proofs(life)
            known.proved.add(state)
        crashes, images = _crash_everywhere(options, life.disk, begin, known)
        changes = sum(entry.kind != "mark" for entry in life.disk.log[begin:])
    except Exception as error:
        raise Violation(f"{', '.join((*history, letter))}: {error!r}") from error
    finally:
        life.end()
    return Step(letter, state, changes, crashes, images)


def _pending(life: Life) -> int:
    return life.tree.size - life.tree.durable_size if life.tree else 0


def _check_alive(life: Life, letter: str, pending: int) -> None:
    """The open tree is the model's in everything that can be asked, and durable to the leaf."""
    tree = life.tree
    assert tree is not None, "every letter ends with an open tree"
    found = check_root(tree)
    issued = model.issued_leaves(life.history)
    assert found.leaves == b"".join(issued), "other leaves than were issued"
    added = len(life.history.issued[-1]) if letter in ("insert", "batch") else 0
    expected = pending + added if letter in _KEEPS_PENDING else 0
    assert _pending(life) == expected, f"{_pending(life)} leaves are pending, not {expected}"
    assert tree.recovery.clean or letter not in ("reopen", "read"), "closed, and not found clean"
    if life.options.record:
        record = layouts.commit_record(_files(life.disk.image))
        recorded = record.acknowledged.size if record else 0
        assert recorded == tree.durable_size, f"{recorded} of {tree.durable_size} leaves recorded"


def _check_proofs(life: Life) -> None:
    """Every leaf's proof and, at each past size, a leaf's, the root, and the consistency."""
    assert life.tree is not None
    leaves = b"".join(model.issued_leaves(life.history))
    check_proofs(life.tree, leaves, range(life.tree.size + 1))


def _crash_everywhere(
    options: Options, disk: SimulatedDisk, begin: int, known: _Known
) -> tuple[int, frozenset[bytes]]:
    """Recover from every crash after ``begin`` operations, and judge; how many, and from what."""
    images, count = set(), 0
    for point, image in crash_states(disk, begin):
        key = fingerprint(image)
        if key not in known.recovered:
            known.recovered[key] = _recover(options, image)
        message = verdict(history_of(disk.marks(point)), known.recovered[key])
        if message is not None:
            raise AssertionError(f"a crash after {point} operations of the disk: {message}")
        images.add(key)
        count += 1
    expected = _crashes(disk.log, begin)
    assert count == expected, f"{count} crash states, and there are {expected}"
    return count, frozenset(images)


def crash_states(disk: SimulatedDisk, begin: int) -> Iterator[tuple[int, Image]]:
    """Every disk that a crash may leave after more than ``begin`` operations, and how many."""
    unsynced = disk.unsynced(_PREFIX, begin)
    for point, operation in enumerate(disk.log[begin:], begin + 1):
        unsynced.apply(operation)
        for choice in unsynced.enumerate(_ALL, new=len(operation.micro)).choices:
            yield point, unsynced.image(choice)


def _crashes(log: Sequence[Operation], begin: int) -> int:
    """How many crash states there are, in closed form.

    In strict order what survives is a number of the changes since the last sync. A rename is one
    change. What an operation adds is one state for each of its changes; an operation without any,
    such as an acknowledgement, lets all that there are be looked at again.
    """
    changes = [1 if entry.kind == "rename" else len(entry.micro) for entry in log]
    syncs = [entry.kind in ("sync", "sync_directory") for entry in log]
    pending = accumulate(
        zip(changes, syncs, strict=True),
        lambda before, now: 0 if now[1] else before + now[0],
        initial=0,
    )
    after = list(pending)[1:]
    return sum(added or left + 1 for added, left in list(zip(changes, after, strict=True))[begin:])


def _recover(options: Options, image: Image) -> RecoveredTree:
    """What readers and writers find; they, the next one, and the model's reader find the same.

    The tree then goes on: a leaf more, made durable, is there for the one after that.
    """
    found = _read(options, image)
    disk = SimulatedDisk(image)
    _write(options, disk, found, b"")
    _write(options, disk, found, leaf(_LATER))
    with open_tree(disk, options, read_only=True) as tree:
        assert check_root(tree).leaves == found.leaves + leaf(_LATER), "it goes on wrongly"
    return found


def _write(options: Options, disk: SimulatedDisk, found: RecoveredTree, more: bytes) -> None:
    """A process opens the tree, finds the same, makes a leaf durable if there is one, and dies."""
    tree = open_tree(disk, options)
    abandon(tree)
    written = check_root(tree)
    assert written == found, f"a writer finds {written!r}, and a reader {found!r}"
    check_proofs(tree, found.leaves)
    if more:
        tree.insert_durable(more)
    disk.restart()


def _read(options: Options, image: Image) -> RecoveredTree:
    disk = SimulatedDisk(image)
    try:
        tree = open_tree(disk, options, read_only=True)
    except TreeNotFoundError:
        found = RecoveredTree(b"")
    else:
        found = check_root(tree)
        check_proofs(tree, found.leaves)
        tree.close()
    assert disk.image == image, "a reader changed the disk"
    contents = model.read_directory(_files(image))
    by_model = b"".join(contents.leaves) if contents else b""
    assert found.leaves == by_model, f"{found!r}, and by the text {RecoveredTree(by_model)!r}"
    return found


def _files(image: Image) -> Mapping[str, bytes]:
    start = f"{PATH}/"
    return {
        path.removeprefix(start): data
        for path, data in image.items()
        if path.startswith(start) and isinstance(data, bytes)
    }
