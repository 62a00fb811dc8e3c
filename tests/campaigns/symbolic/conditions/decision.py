"""The decision of recovery: `rotortree.storage.recovery` against `rotortree_model.directory`.

Both get the same log: segments of units, told as what was found in them.  Sizes are unknowns
without a bound, and a root is 0 or 1, for roots are only compared.  Units lie 160 bytes apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

from rotortree.errors import ChecksumMismatchError, DataCorruptionError
from rotortree.storage.format import Commit, Head, Identity, SegmentHeader
from rotortree.storage.log_reader import SegmentScan, Unit
from rotortree.storage.recovery import Survey, decide
from rotortree_model import directory, durability, layouts
from tests.campaigns.symbolic.conditions.shape import known

__all__ = [
    "a_commit_record_means_the_same",
    "a_log_of_two_segments_means_the_same",
    "damaged_and_foreign_headers_mean_the_same",
    "nothing_acknowledged_is_dropped",
    "replaced_segments_mean_the_same",
    "the_end_of_a_log_means_the_same",
    "what_a_crash_leaves_is_a_legal_outcome",
    "without_a_log_both_find_the_same",
]

OURS = Identity(2, 20, 4, b"ours" * 4, "blake3")
FOREIGN = OURS._replace(tree_id=b"else" * 4)
"""Of this tree, which has room for 2^20 leaves, and of another one."""


class Found(NamedTuple):
    """A segment as a survey finds it: its units are numbers of leaves."""

    number: int
    base: int
    units: tuple[int, ...]
    root: Any = 0
    """Of the base; the units' are 0."""
    promise: int = 0
    begun: int = 160
    torn: int = 0
    damaged: bool = False
    foreign: bool = False

    @property
    def path(self) -> str:
        """In the directory."""
        return f"wal/{self.number:08d}.wal"

    @property
    def end(self) -> int:
        """Behind the last unit."""
        return 160 + 160 * len(self.units)

    @property
    def identity(self) -> Identity:
        """Of the tree, or of another one."""
        return FOREIGN if self.foreign else OURS

    def stops(self) -> list[int]:
        """The sizes of the tree behind each unit."""
        return [self.base + sum(self.units[: at + 1]) for at in range(len(self.units))]

    def scan(self) -> SegmentScan:
        """For production."""
        if self.damaged:
            error = ChecksumMismatchError(f"/{self.path}", 144, "damaged")
            return SegmentScan(self.number, f"/{self.path}", 160, None, error)
        units = tuple(
            Unit(160 + 160 * at, 320 + 160 * at, stop - self.units[at], self.units[at], root(0), ())
            for at, stop in enumerate(self.stops())
        )
        base = Head(self.base, self.root)
        header = SegmentHeader(self.identity, self.number, base, b"", self.begun)
        used = self.end + self.torn
        return SegmentScan(
            self.number, f"/{self.path}", used, header, None, units, self.end, 0, self.promise, used
        )

    def segment(self) -> layouts.Segment:
        """For the model."""
        if self.damaged:
            raise layouts.DamagedError("ChecksumMismatchError", self.path, 144)
        units = tuple(
            layouts.Unit(320 + 160 * at, layouts.Head(stop, root(0)), ())
            for at, stop in enumerate(self.stops())
        )
        return layouts.Segment(
            self.path,
            self.number,
            layouts.Identity(*self.identity),
            layouts.Head(self.base, self.root),
            self.begun,
            units,
            self.end,
            self.end + self.torn,
            self.promise,
        )


def root(value: int) -> Any:
    """A number in the place of a root."""
    return value


def commit_record(
    checkpoint: tuple[int, int], acknowledged: tuple[int, int], first: int, last: int
) -> Commit:
    """A commit record; heads are sizes and roots."""
    (size, value), (more, another) = checkpoint, acknowledged
    return Commit(OURS, Head(size, root(value)), Head(more, root(another)), first, last)


def production_says(log: tuple[Found, ...], commit: Commit | None) -> tuple[object, ...]:
    """The error, its file and offset; or what tree there is."""
    scans = tuple(found.scan() for found in log)
    try:
        decision = decide(Survey("", commit, None, scans, False))
    except DataCorruptionError as error:
        return type(error).__name__, error.path[1:], error.offset
    assert decision is not None  # there are segments
    units = sum(len(link.units) for link in decision.links)
    end = (decision.head, decision.base.size, units, decision.durable_size)
    return (*end, decision.clean, decision.torn_bytes)


def model_commit(commit: Commit | None) -> layouts.Commit | None:
    """A commit record for the model."""
    if commit is None:
        return None
    checkpoint, acknowledged = layouts.Head(*commit.checkpoint), layouts.Head(*commit.acknowledged)
    identity = layouts.Identity(*commit.identity)
    return layouts.Commit(identity, checkpoint, acknowledged, *commit[3:])


def model_says(log: tuple[Found, ...], commit: Commit | None) -> tuple[object, ...]:
    """The same of the model."""
    read = {found.path: found for found in log}
    stored = model_commit(commit)
    with mock.patch.multiple(
        directory,
        segment=lambda path, data, number: read[path].segment(),
        commit_record=lambda files: stored,
    ):
        try:
            numbers = {found.number: found.path for found in log}
            verdict = directory.decide({found.path: b"" for found in log}, numbers)
        except layouts.DamagedError as error:
            return error.kind, error.file, error.offset
    rows = directory.Rows(2, lambda children: b"", ((),))
    tree = directory.contents({}, verdict, rows, ())
    torn = tree.torn[2] - tree.torn[1] if tree.torn else 0
    return verdict.end, tree.checkpoint, len(verdict.units), tree.durable, tree.closed, torn


def a_log_of_two_segments_means_the_same(
    base: int, units: tuple[int, int], following: int, following_root: int, number: int, last: int
) -> bool:
    """Without a commit record: which units count, what must meet, and what is missing.

    Requirements: FORMAT-42, FORMAT-54, FORMAT-57.

    pre: base >= 0 and units[0] > 0 and units[1] > 0 and following >= 0 and last > 0
    pre: following_root in (0, 1)
    pre: number in (2, 3)
    post: _
    """
    number = known(number, (2, 3))
    log = (Found(1, base, units), Found(number, following, (last,), root(following_root)))
    return production_says(log, None) == model_says(log, None)


def replaced_segments_mean_the_same(
    bases: tuple[int, int, int], units: tuple[int, int, int], root_of_first: int
) -> bool:
    """Which of three segments count, by where they begin, and that all these must meet.

    What is replaced may have another root.

    Requirements: FORMAT-42, FORMAT-54, FORMAT-77.

    pre: all(base >= 0 for base in bases) and all(unit > 0 for unit in units)
    pre: root_of_first in (0, 1)
    post: _
    """
    roots = (root(root_of_first), root(0), root(0))
    log = tuple(Found(at + 1, bases[at], (units[at],), roots[at]) for at in range(3))
    return production_says(log, None) == model_says(log, None)


def a_commit_record_means_the_same(
    checkpoint: tuple[int, int], acknowledged: tuple[int, int], first: int, last: int, base: int
) -> bool:
    """Which segments are live, what the checkpoint must be, what must have been reached.

    Requirements: FORMAT-42, FORMAT-46, FORMAT-54, FORMAT-57, FORMAT-70.

    pre: 0 <= checkpoint[0] <= acknowledged[0] and base >= 0
    pre: checkpoint[1] in (0, 1) and acknowledged[1] in (0, 1)
    pre: 1 <= first <= last <= 4
    post: _
    """
    first, last = known(first, range(1, 5)), known(last, range(1, 5))
    log = (Found(2, base, (3,)), Found(3, base + 3, (2,)))
    commit = commit_record(checkpoint, acknowledged, first, last)
    return production_says(log, commit) == model_says(log, commit)


def damaged_and_foreign_headers_mean_the_same(
    damaged: tuple[bool, bool], foreign: tuple[bool, bool, bool], first: int, present: bool
) -> bool:
    """Which header is reported, which tree it is, and that those below the first do not matter.

    Requirements: FORMAT-14, FORMAT-54, FORMAT-55.

    pre: first in (1, 2)
    post: _
    """
    log = (
        Found(1, 0, (2,), damaged=damaged[0], foreign=foreign[0]),
        Found(2, 2, (2,), damaged=damaged[1], foreign=foreign[1]),
    )
    first = known(first, (1, 2))
    commit = commit_record((2 * first - 2, 0), (4, 0), first, 2)
    commit = commit._replace(identity=FOREIGN if foreign[2] else OURS)
    stored = commit if present else None
    return production_says(log, stored) == model_says(log, stored)


def the_end_of_a_log_means_the_same(
    base: int,
    units: tuple[int, int],
    promise: int,
    begun: int,
    torn: int,
    acknowledged: int,
    present: bool,
) -> bool:
    """Torn or corrupt, clean or not, and how much is known to be durable.

    An acknowledged size may be one at which no unit ends.  Without a commit record the segment's
    name may not be durable.

    Requirements: FORMAT-33, FORMAT-46, FORMAT-54, FORMAT-70.

    pre: base >= 0 and units[0] > 0 and units[1] > 0 and acknowledged >= base
    pre: promise >= begun >= 160 and torn >= 0
    post: _
    """
    log = (Found(1, base, units, promise=promise, begun=begun, torn=torn),)
    commit = commit_record((base, 0), (acknowledged, 0), 1, 1) if present else None
    return production_says(log, commit) == model_says(log, commit)


def without_a_log_both_find_the_same(present: bool, damaged: bool, level_files: bool) -> bool:
    """Without a segment there was never a tree, or all of the log is missing.

    Requirements: FORMAT-9, FORMAT-54.

    post: _
    """
    error = ChecksumMismatchError("/COMMIT", 160, "damaged") if present and damaged else None
    commit = commit_record((0, 0), (0, 0), 1, 1) if present and not damaged else None
    files = {"COMMIT": b""} if present else {}
    files |= {"levels/0/00000000.nodes": b""} if level_files else {}
    try:
        directory.check_never_created(files)
    except layouts.DamagedError:
        model_refuses = True
    else:
        model_refuses = False
    try:
        decided = decide(Survey("", commit, error, (), level_files))
    except DataCorruptionError:
        return model_refuses
    return decided is None and not model_refuses


def nothing_acknowledged_is_dropped(
    base: int, units: tuple[int, int], following: int, promise: int, acknowledged: int
) -> bool:
    """A tree that is found has all that a commit record, a base or a promise says was durable.

    Requirements: DURABLE-2, FORMAT-54.

    pre: base >= 0 and units[0] > 0 and units[1] > 0 and following >= 0
    pre: promise >= 0 and acknowledged >= base
    post: _
    """
    log = (Found(1, base, units[:1]), Found(2, following, units[1:], promise=promise))
    commit = commit_record((base, 0), (acknowledged, 0), 1, 2)
    scans = tuple(found.scan() for found in log)
    try:
        decision = decide(Survey("", commit, None, scans, False))
    except DataCorruptionError:
        return True
    assert decision is not None  # there are segments
    size, last = decision.head.size, log[1]
    return size >= acknowledged and size >= following and (promise <= last.end)


def what_a_crash_leaves_is_a_legal_outcome(
    batches: tuple[int, int, int], left: int, acknowledged: int, torn: int
) -> bool:
    """Of a log whose end is lost, recovery makes what the durability model allows, or refuses.

    It refuses nothing of which all that was acknowledged is left.

    Requirements: DURABLE-1, DURABLE-2, FORMAT-54.

    pre: all(batch in (1, 2) for batch in batches)
    pre: 0 <= left <= 3 and 0 <= acknowledged <= 3
    pre: torn >= 0
    post: _
    """
    sizes = [known(batch, (1, 2)) for batch in batches]
    left, acknowledged = known(left, range(4)), known(acknowledged, range(4))
    leaves = iter(bytes([at]) * 32 for at in range(sum(sizes)))
    issued = tuple(tuple(next(leaves) for _ in range(size)) for size in sizes)
    history = durability.History(issued, sum(sizes[:acknowledged]))
    commit = commit_record((0, 0), (history.acknowledged, 0), 1, 1)
    scan = Found(1, 0, tuple(sizes[:left]), torn=torn).scan()
    try:
        decision = decide(Survey("", commit, None, (scan,), False))
    except DataCorruptionError:
        return left < acknowledged
    assert decision is not None  # there is a segment
    recovered = durability.issued_leaves(history)[: decision.head.size]
    return durability.allowed(history, recovered)
