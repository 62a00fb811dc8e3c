"""The goals: ratios against other sides in the same run, and a few absolute limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import Cell, Result, Spread
from benchmarks.operations import (
    BARE,
    OURS,
    OURS_ONE,
    PLAIN,
    PURE,
    PYMERKLE,
    RUST_15,
    RUST_15_ONE,
    RUST_19,
    RUST_19_ONE,
    TAGGED,
    THREADS,
)
from benchmarks.plan import ARITIES, SIMULATED_LEAVES, Scale

__all__ = ["Comparison", "Goal", "Kind", "Verdict", "all_goals", "compare", "judge"]

Kind = Literal["speed", "time", "limit"]
"""``speed``: our speed ÷ theirs must be at least ``wanted``.  ``time``: our time ÷ theirs must be
at most that.  ``limit``: our value must be at most that."""

_EXAMPLE = 4

_NANOSECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.  If ``against`` has several cells, the fastest counts.

    ``figure``: the figure to compare, if not the value of the cell.  ``unit``: that of a limit.
    """

    title: str
    kind: Kind
    wanted: float
    ours: Cell
    against: tuple[Cell, ...] = ()
    figure: str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and its measured ratio, or value for a limit, over the rounds; None: not measured.

    ``against``: the side that ours was compared with.
    """

    goal: Goal
    spread: Spread | None
    against: str

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the goal; None if it was not measured."""
        if self.spread is None:
            return None
        if self.goal.kind == "speed":
            return self.spread.median >= self.goal.wanted
        return self.spread.median <= self.goal.wanted


def judge(goals: Sequence[Goal], results: Sequence[Result]) -> list[Verdict]:
    """The verdicts on goals in a run."""
    by_cell = {result.cell: result for result in results}
    return [_verdict(goal, by_cell) for goal in goals]


def _verdict(goal: Goal, results: Mapping[Cell, Result]) -> Verdict:
    ours = results.get(goal.ours)
    candidates = [results[cell] for cell in goal.against if cell in results]
    named = goal.against[0].side if goal.against else ""
    if ours is None or (goal.against and not candidates):
        return Verdict(goal, None, named)
    if not goal.against:
        values = ours.values(goal.figure)
        if ours.unit == "per second" and goal.figure is None:
            values = [1 / value for value in values]
        return Verdict(goal, Spread.of(values), "")
    fastest = min(candidates, key=lambda found: Spread.of(_costs(found, goal.figure)).median)
    pairs = zip(_costs(ours, goal.figure), _costs(fastest, goal.figure), strict=True)
    ratios = [mine / theirs for mine, theirs in pairs]
    if goal.kind == "speed":
        ratios = [1 / ratio for ratio in ratios]
    return Verdict(goal, Spread.of(ratios), fastest.cell.side)


def _costs(result: Result, figure: str | None) -> list[float]:
    """The seconds or bytes of one operation, round by round."""
    values = result.values(figure)
    if result.unit == "per second" and figure is None:
        return [1 / value for value in values]
    return values


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times faster ours is than another side, over the rounds; below 1, it is slower."""

    theirs: Cell
    ours: Cell
    spread: Spread


def compare(results: Sequence[Result]) -> list[Comparison]:
    """Comparisons with every other side that did the same; the bare work is not compared."""
    by_cell = {result.cell: result for result in results}
    found = []
    for theirs in results:
        counterpart = _counterpart(theirs.cell, by_cell)
        ours = by_cell.get(counterpart) if counterpart else None
        if ours is not None:
            pairs = zip(_costs(ours, None), _costs(theirs, None), strict=True)
            spread = Spread.of([their / our for our, their in pairs])
            found.append(Comparison(theirs.cell, ours.cell, spread))
    return found


def _counterpart(cell: Cell, cells: Iterable[Cell]) -> Cell | None:
    """The cell of ours to compare with a cell of another side; None if there is none."""
    if cell.side in (RUST_15, RUST_19):
        return cell._replace(side=OURS)
    if cell.side in (RUST_15_ONE, RUST_19_ONE):
        return cell._replace(side=OURS_ONE)
    if cell.side == PYMERKLE:  # its tree is smaller, and the hash function another one
        same = cell._replace(side=OURS, scheme=TAGGED)
        larger = [other for other in cells if other == same._replace(size=other.size)]
        return min((one for one in larger if one.size >= cell.size), default=None)
    return None


def all_goals(scale: Scale) -> list[Goal]:
    """All goals, at the sizes of a run."""
    return [
        *_insert_many(scale),
        *_hashing(scale),
        *_one_by_one(scale),
        *_proofs(scale),
        *_durable(scale),
        *_opening(scale),
        *_memory(scale),
        *_crashes(),
        *_pure(scale),
    ]


def _by_arity(*wanted: float) -> Iterator[tuple[int, float]]:
    return zip(ARITIES, wanted, strict=True)


def _insert_many(scale: Scale) -> Iterator[Goal]:
    name = "insert_many"
    for size in (scale.size, scale.large):

        def goal(
            wanted: float, side: str, scheme: str, n: int, *others: tuple[str, str], at: int = size
        ) -> Goal:
            against = tuple(Cell(name, other, theirs, n, at) for other, theirs in others)
            return Goal(name, "speed", wanted, Cell(name, side, scheme, n, at), against)

        old, new = ((RUST_15, TAGGED), (RUST_15_ONE, TAGGED)), ((RUST_19, PLAIN),)
        newest = (*new, (RUST_19_ONE, PLAIN))
        for n, wanted in _by_arity(7, 6, 5, 4.5):
            yield goal(wanted, OURS_ONE, TAGGED, n, old[1])
            yield goal(wanted, OURS, TAGGED, n, *old)
        for n in ARITIES:
            yield goal(1.05, OURS_ONE, TAGGED, n, newest[1])
            yield goal(1.7, OURS, TAGGED, n, *newest)
        for n, wanted in _by_arity(1.5, 1.15, 1.4, 1.15):
            yield goal(wanted, OURS_ONE, PLAIN, n, newest[1])
            yield goal(2, OURS, PLAIN, n, *newest)


def _hashing(scale: Scale) -> Iterator[Goal]:
    for n in ARITIES:
        ours = Cell("hash_levels", OURS_ONE, TAGGED, n, scale.large)
        for operation, wanted in (("bulk_dram", 1.2), ("bulk_cache", 0.9)):
            against = (Cell(operation, BARE, TAGGED, 0, scale.large),)
            title = "hashing all levels, against BLAKE3 " + (
                "from memory" if operation == "bulk_dram" else "in cache"
            )
            yield Goal(title, "speed", wanted, ours, against)


def _same(
    title: str, operation: str, kind: Kind, wanted: tuple[float, float], n: int, size: int
) -> Iterator[Goal]:
    """Goals against both versions of the crate, each with the scheme that it has."""
    pairs = ((TAGGED, RUST_15, wanted[0]), (PLAIN, RUST_19, wanted[1]))
    for scheme, side, factor in pairs:
        ours, theirs = (Cell(operation, by, scheme, n, size) for by in (OURS, side))
        yield Goal(title, kind, factor, ours, (theirs,))


def _one_by_one(scale: Scale) -> Iterator[Goal]:
    batches = "insert_many of 1,000"
    yield from _same(batches, "insert_thousands", "speed", (5, 5), _EXAMPLE, scale.size)
    for n in ARITIES:
        yield from _same("insert, with root", "insert", "speed", (1.2, 1), n, scale.size)
    for n in ARITIES:
        cell = Cell("append", OURS, TAGGED, n, scale.size)
        yield Goal("append, no root", "limit", 60 * _NANOSECONDS, cell, unit="seconds")


def _proofs(scale: Scale) -> Iterator[Goal]:
    for n in ARITIES:
        yield from _same("prove", "prove", "time", (1, 1), n, scale.size)
    for n in ARITIES:
        for scheme, side in ((TAGGED, RUST_15), (PLAIN, RUST_19)):
            ours = Cell("prove_many", OURS, scheme, n, scale.size)
            one_by_one = (Cell("prove", side, scheme, n, scale.size),)
            yield Goal("prove_many, against one by one", "speed", 4, ours, one_by_one)
    for n in ARITIES:
        yield from _same("verify_inclusion", "verify", "time", (1, 1), n, scale.size)
    for n in ARITIES:
        cell = Cell("verify", PURE, TAGGED, n, scale.size)
        yield Goal("verify_inclusion, pure Python", "limit", 15e-6, cell, unit="seconds")


def _durable(scale: Scale) -> Iterator[Goal]:
    for n in ARITIES:
        yield from _same("durable insert", "durable_insert", "speed", (8, 8), n, scale.size)
    appended, overwritten = (
        (Cell(name, BARE, TAGGED, 0, scale.size),) for name in ("sync_append", "sync_overwrite")
    )
    for n in ARITIES:
        ours = Cell("insert_durable", OURS, TAGGED, n, scale.size)
        yield Goal(
            "insert_durable, against one fdatasync, growing file", "time", 1.1, ours, appended
        )
        yield Goal(
            "insert_durable, against one fdatasync, written file", "time", 1.1, ours, overwritten
        )
    for n in ARITIES:
        ours = Cell("insert_durable_threads", OURS, TAGGED, n, scale.size)
        title = f"insert_durable, {THREADS} threads, against one fdatasync, growing file"
        yield Goal(title, "speed", 8, ours, appended)
    title, size = "durable insert_many", scale.large
    for n in ARITIES:
        yield from _same(f"{title} (or the next)", "durable_insert_many", "speed", (3, 3), n, size)
    for n in ARITIES:
        ours = Cell("durable_insert_many", OURS, TAGGED, n, size)
        written = (Cell("write", BARE, TAGGED, 0, size),)
        yield Goal(f"{title}, against writing the leaves", "time", 1.1, ours, written)


def _opening(scale: Scale) -> Iterator[Goal]:
    size = scale.large
    yield from _same("open, verified", "open_verified", "time", (0.25, 0.25), _EXAMPLE, size)
    for operation, title, seconds in (
        ("open_unverified", "open, unverified", 5e-3),
        ("first_proof", "first proof after it", 1e-3),
    ):
        cell = Cell(operation, OURS, TAGGED, _EXAMPLE, size)
        yield Goal(title, "limit", seconds, cell, unit="seconds")
    yield from _same("open, log replay", "open_log", "time", (0.25, 0.25), _EXAMPLE, size)
    ours = Cell("latency_checkpoint", OURS, TAGGED, _EXAMPLE, size)
    alone = (Cell("latency", OURS, TAGGED, _EXAMPLE, size),)
    title = "insert while a checkpoint runs, p99, against without"
    yield Goal(title, "time", 2, ours, alone, "p99")


def _memory(scale: Scale) -> Iterator[Goal]:
    size, nodes = scale.large, 32 * _EXAMPLE / (_EXAMPLE - 1)
    cell = Cell("memory", OURS, TAGGED, _EXAMPLE, size)
    yield Goal("memory per leaf", "limit", 1.05 * nodes, cell, unit="bytes")
    cell = Cell("memory_mapped", OURS, TAGGED, _EXAMPLE, size)
    yield Goal("memory per leaf, mapped", "limit", 1, cell, unit="bytes")


def _crashes() -> Iterator[Goal]:
    cell = Cell("crash_states", OURS, TAGGED, _EXAMPLE, SIMULATED_LEAVES)
    yield Goal("a crash state explored", "limit", 1e-3, cell, unit="seconds")


def _pure(scale: Scale) -> Iterator[Goal]:
    for n in ARITIES:
        ours, bare = (Cell("insert_many", side, TAGGED, n, scale.size) for side in (PURE, BARE))
        title = "insert_many, pure Python, against a bare loop"
        yield Goal(title, "speed", 1, ours, (bare,))
