"""What is checked of the model within which bounds, and which requirements that is evidence for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.campaigns.protocol.mutants import Mutant
from tests.campaigns.protocol.spin import Found, search

__all__ = ["PROPERTIES", "SMALL", "Property", "Row", "check", "check_all"]

SMALL = {
    "BATCHES": 2,
    "SEGMENTS": 4,
    "BOOTS": 1,
    "FAULTS": 0,
    "WRITERS": 1,
    "RECORDING": 0,
    "ROLLING": 0,
    "FOLD": 1,
    "CHECKPOINTS": 1,
}
"""The usual bounds; properties and mutants say what they have instead."""

_ORACLE = ("DURABLE-1", "DURABLE-2", "DURABLE-3", "DURABLE-4", "DURABLE-22", "FORMAT-27")
_AGAIN = (*_ORACLE, "DURABLE-5", "DURABLE-6", "DURABLE-7", "FORMAT-72")
_FAILURES = ("DURABLE-28", "DURABLE-29", "FORMAT-35", "FORMAT-53", "FORMAT-73")
_TWICE = ("DURABLE-29", "DURABLE-30", "FORMAT-37", "FORMAT-69", "FORMAT-70")
_SPACE = ("FORMAT-50", "FORMAT-76", "FORMAT-77", "FORMAT-78", "FORMAT-79", "FORMAT-80")
_PROGRESS = ("DURABLE-11", "DURABLE-14")
_NO_DEADLOCK = ("DURABLE-14",)


@dataclass(frozen=True, slots=True)
class Property:
    """A search that must be complete and find nothing, and what it is evidence for."""

    name: str
    bounds: dict[str, int] = field(default_factory=dict)
    file: str = "log.pml"
    requirements: tuple[str, ...] = ()


PROPERTIES = (
    Property(
        "two crashes, and a call that fails",
        {"BOOTS": 2, "SEGMENTS": 5, "FAULTS": 1},
        requirements=(*_AGAIN, *_FAILURES),
    ),
    Property(
        "two crashes, of three batches, where flushes begin segments",
        {"BATCHES": 3, "BOOTS": 2, "SEGMENTS": 6, "ROLLING": 1, "FOLD": 0},
        requirements=(*_AGAIN, *_SPACE),
    ),
    Property(
        "two crashes, of three batches, where segments are replaced",
        {"BATCHES": 3, "BOOTS": 2, "SEGMENTS": 6, "ROLLING": 1},
        requirements=(*_AGAIN, *_SPACE, "DURABLE-8"),
    ),
    Property(
        "three crashes, where all segments are replaced",
        {"BOOTS": 3, "SEGMENTS": 6, "ROLLING": 1, "FOLD": 2},
        requirements=(*_AGAIN, *_SPACE),
    ),
    Property("a crash, and two calls that fail", {"FAULTS": 2}, requirements=_FAILURES),
    Property(
        "two crashes, and a flush that fails, where nothing is copied",
        {"FAULTS": 1, "BOOTS": 2, "CHECKPOINTS": 0, "FOLD": 0},
        requirements=_TWICE,
    ),
    Property(
        "two crashes, where nothing is copied",
        {"BOOTS": 2, "SEGMENTS": 5, "FOLD": 0},
        requirements=_AGAIN,
    ),
    Property(
        "a crash, and a call that fails, where flushes begin segments",
        {"BATCHES": 3, "SEGMENTS": 6, "FAULTS": 1, "ROLLING": 1, "FOLD": 0},
        requirements=(*_FAILURES, "FORMAT-76"),
    ),
    Property(
        "two crashes, where acknowledgements are recorded",
        {"RECORDING": 1, "BOOTS": 2, "SEGMENTS": 5},
        requirements=("DURABLE-20", "FORMAT-39", "FORMAT-44"),
    ),
    Property(
        "everything ends, with a call that fails",
        {"BATCHES": 1, "SEGMENTS": 2, "BOOTS": 0, "FAULTS": 1},
        "progress.pml",
        _PROGRESS,
    ),
    Property(
        "everything ends, with two writers",
        {"SEGMENTS": 2, "BOOTS": 0, "WRITERS": 2, "ROLLING": 1},
        "progress.pml",
        _PROGRESS,
    ),
    Property(
        "no deadlock, with two writers and a call that fails",
        {"SEGMENTS": 3, "BOOTS": 0, "FAULTS": 1, "WRITERS": 2},
        requirements=_NO_DEADLOCK,
    ),
)
"""What must hold, the largest first."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one search; ``is_good``: what had to."""

    item: Property | Mutant
    result: str
    is_good: bool
    found: Found


def check(item: Property | Mutant) -> Row:
    """Search once.  Raises ProtocolError."""
    bounds = SMALL | item.bounds
    if isinstance(item, Property):
        found = search(item.file, bounds)
        result = _readable(found.violated) or ("holds" if found.complete else "NOT COMPLETE")
        return Row(item, result, result == "holds", found)
    found = search(item.file, bounds, item.edits, backwards=item.backwards)
    is_good = item.violated in found.violated
    return Row(item, _readable(found.violated) or "SURVIVED", is_good, found)


def _readable(violated: str) -> str:
    """What Spin says, without what the macros in it stand for."""
    if "older" in violated:
        return "assertion violated: deleted, and a record may need it"
    return re.sub(r"assertion violated\s*", "assertion violated: ", violated)


def check_all(items: Sequence[Property | Mutant], jobs: int) -> Iterator[Row]:
    """Search ``jobs`` at a time; in the order of the items."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(check, items)
