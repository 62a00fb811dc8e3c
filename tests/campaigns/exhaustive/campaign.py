"""The campaign: all shapes and all histories up to these bounds, on all cores.

Numbers that have a closed form are compared with it, so that nothing can silently be left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rotortree import kernel
from rotortree_faultinject.subjects.tree.life import Options
from tests.campaigns.exhaustive.histories import ALPHABET, Explored, History, Step, expand, explore
from tests.campaigns.exhaustive.shapes import ARITIES, Counts, check_shapes, summed
from tests.campaigns.trace.records import FOLDER, Inputs, Record, write_records

__all__ = [
    "FULL",
    "HISTORIES_ARE_EVIDENCE_OF",
    "QUIET",
    "SHAPES_ARE_EVIDENCE_OF",
    "SHORT",
    "WRITES",
    "Bounds",
    "campaign",
    "check_counts",
    "expand_in_parallel",
]

SHAPES_ARE_EVIDENCE_OF = (
    *("TREE-3", "TREE-4", "TREE-5", "TREE-7", "TREE-8", "TREE-9", "TREE-10", "TREE-11", "TREE-12"),
    *(
        "TREE-22",
        "TREE-28",
        "PROOF-7",
        "PROOF-8",
        "PROOF-9",
        "PROOF-10",
        "PROOF-13",
        "PROOF-14",
        "PROOF-15",
    ),
    *("PROOF-16", "PROOF-18", "PROOF-20", "PROOF-21"),
)
"""What `tests.campaigns.exhaustive.shapes` compares."""

HISTORIES_ARE_EVIDENCE_OF = (
    *("DURABLE-1", "DURABLE-2", "DURABLE-3", "DURABLE-4", "DURABLE-5", "DURABLE-6", "DURABLE-7"),
    *("DURABLE-8", "DURABLE-10", "DURABLE-15", "DURABLE-16", "DURABLE-19", "DURABLE-21"),
    *("DURABLE-22", "DURABLE-50", "FORMAT-54", "FORMAT-58", "FORMAT-67", "FORMAT-72", "FORMAT-77"),
    *("TREE-20", "TREE-21", "TREE-26"),
)
"""What `tests.campaigns.exhaustive.histories` checks."""

QUIET = ("insert", "batch", "reject")
"""Letters after which the disk is as it was."""

WRITES = tuple(letter for letter in ALPHABET if letter not in QUIET)
"""Letters that must have written something in some history, and so have crash points."""

_INPUTS = ("faultinject", "model", "rotortree", "tests/campaigns/exhaustive")


class Bounds(NamedTuple):
    """How far to go: shapes up to ``size``, their updates up to ``updates``, histories by name."""

    size: int
    updates: int
    histories: Mapping[str, tuple[Options, int]]


FULL = Bounds(
    size=256,
    updates=100,
    histories=MappingProxyType(
        {
            "n = 2": (Options(n=2), 6),
            "n = 3": (Options(n=3), 5),
            "n = 2, acknowledgements recorded": (Options(n=2, record=True), 5),
            "n = 2, zeros ahead": (Options(n=2, zeros_ahead=400), 5),
            "n = 2, segments that are replaced": (Options(n=2, fold_leaves=2), 5),
            "n = 2, small segments": (Options(n=2, segment_bytes=200, fold_leaves=1), 5),
        }
    ),
)
"""What `make exhaustive` tries."""

SHORT = Bounds(
    size=91,
    updates=48,
    histories=MappingProxyType(
        {name: (options, length - 2) for name, (options, length) in FULL.histories.items()}
    ),
)
"""What `make test` tries."""


def campaign(bounds: Bounds, jobs: int, say: Callable[[str], None], root: Path | None) -> bool:
    """Try everything; tell about it; whether all was right.

    ``root``: the project, whose evidence is written, or None.
    """
    path = None if root is None else root / FOLDER / "exhaustive.jsonl"
    inputs = None
    if root is not None and path is not None:
        path.unlink(missing_ok=True)
        inputs = Inputs.now(root, _INPUTS, kernel.NAME)
    with ProcessPoolExecutor(jobs) as executor:
        records = list(_records(bounds, executor, jobs, say))
    if path is not None and inputs is not None:
        write_records(path, inputs, records)
    return all(record.outcome == "passed" for record in records)


def _records(
    bounds: Bounds, executor: Executor, jobs: int, say: Callable[[str], None]
) -> Iterator[Record]:
    shapes = partial(_shapes, bounds, executor)
    source = "tests/campaigns/exhaustive/shapes.py::check_shapes"
    yield _record(source, SHAPES_ARE_EVIDENCE_OF, f"n = {_arities()}", shapes, say)
    source = "tests/campaigns/exhaustive/histories.py::explore"
    for name, (options, length) in bounds.histories.items():
        histories = partial(_histories, options, length, executor, jobs)
        yield _record(source, HISTORIES_ARE_EVIDENCE_OF, name, histories, say)


def _record(
    source: str,
    requirements: tuple[str, ...],
    name: str,
    check: Callable[[], str],
    say: Callable[[str], None],
) -> Record:
    """Run a check, and tell what came of it."""
    started = time.monotonic()
    try:
        outcome, told = "passed", check()
    except Exception as error:
        outcome, told = "failed", f"{type(error).__name__}: {error}"
    say(f"{name}: {told} ({time.monotonic() - started:.0f} s)")
    return Record("exhaustive", source, requirements, outcome)


def _arities() -> str:
    return f"{ARITIES[0]} to {ARITIES[-1]}"


def _shapes(bounds: Bounds, executor: Executor) -> str:
    size, updates = bounds.size, bounds.updates
    check = partial(check_shapes, size=size, updates=updates)
    counts = summed(executor.map(check, ARITIES))
    expected = summed(Counts.expected(n, size, updates) for n in ARITIES)
    assert counts == expected, f"{counts}, and there are {expected}"
    return (
        f"{counts.shapes:,} shapes of up to {size} leaves, {counts.nodes:,} nodes,"
        f" {counts.proofs:,} proofs, {counts.pairs:,} pairs of sizes,"
        f" {counts.updates:,} updates (up to {updates} leaves)"
    )


def _histories(options: Options, length: int, executor: Executor, jobs: int) -> str:
    found = explore(options, length, partial(expand_in_parallel, executor, jobs))
    check_counts(found, length)
    return (
        f"{sum(found.histories):,} histories of up to {length} operations with"
        f" {sum(found.crashes):,} crashes; {found.states:,} states, {found.transitions:,}"
        f" transitions, {found.images:,} different disks to recover from"
    )


def check_counts(found: Explored, length: int) -> None:
    """Every history was explored, and every letter crashed that does anything to the disk."""
    expected = [len(ALPHABET) ** number for number in range(1, length + 1)]
    assert found.histories == expected, f"{found.histories} histories, and there are {expected}"
    assert all(found.crashes), f"crashes by length: {found.crashes}"
    by_letter = found.disk_operations
    silent = [letter for letter in WRITES if not by_letter[letter]] if length > 1 else []
    assert not silent, f"nothing was written, and so nothing was crashed, by {silent}"
    loud = [letter for letter in QUIET if by_letter[letter]]
    assert not loud, f"the disk was changed by {loud}"


def expand_in_parallel(
    executor: Executor, jobs: int, options: Options, histories: Sequence[History]
) -> list[list[Step]]:
    """As `expand`, in several processes."""
    each = max(1, min(256, -(-len(histories) // jobs)))
    parts = [histories[at : at + each] for at in range(0, len(histories), each)]
    return list(chain.from_iterable(executor.map(partial(expand, options), parts)))
