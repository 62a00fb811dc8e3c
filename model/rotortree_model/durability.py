"""Durability: the leaves that a tree may hold after a crash, given those issued and acknowledged.

A history is the batches issued, in order, and the number of leaves acknowledged as durable.
After a crash the tree holds the first `size` leaves issued, for some batch boundary `size` in
[acknowledged, issued]: no acknowledged leaf is lost, none is invented, and no batch is split.
"""

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TypeAlias

Leaves: TypeAlias = tuple[bytes, ...]
"""Leaves in insertion order, 32 bytes each."""


@dataclass(frozen=True)
class History:
    """Batches issued, in order (a single insert is a batch of one), and leaves acknowledged."""

    issued: tuple[Leaves, ...] = ()
    acknowledged: int = 0


def issued_leaves(history: History) -> Leaves:
    """All leaves issued, in order."""
    return tuple(chain.from_iterable(history.issued))


def boundaries(history: History) -> tuple[int, ...]:
    """The sizes at which no batch is split, ascending: 0 and the size after each batch.

    Requirements: DURABLE-4.
    """
    return tuple(accumulate((len(batch) for batch in history.issued), initial=0))


def issue(history: History, batch: Leaves) -> History:
    """The history after one more batch was handed to the tree; ValueError if the batch is empty.

    Requirements: DURABLE-4.
    """
    if not batch:
        raise ValueError("a batch has at least one leaf")
    return History((*history.issued, batch), history.acknowledged)


def acknowledge(history: History, size: int) -> History:
    """The history after the tree acknowledged its first `size` leaves: they survive any crash.

    An acknowledgement is never taken back, so a smaller size than before changes nothing.
    ValueError if size is not a batch boundary, which includes any size larger than was issued.
    Requirements: DURABLE-16.
    """
    if size not in boundaries(history):
        raise ValueError(f"{size} leaves is not at the end of a batch")
    return History(history.issued, max(history.acknowledged, size))


def allowed_sizes(history: History) -> frozenset[int]:
    """The sizes, in leaves, that a tree may have after a crash; never empty.

    Requirements: DURABLE-2, DURABLE-4.
    """
    return frozenset(size for size in boundaries(history) if size >= history.acknowledged)


def allowed(history: History, recovered: Leaves) -> bool:
    """Whether a tree that holds exactly these leaves is a legal outcome of a crash.

    Requirements: DURABLE-2, DURABLE-3, DURABLE-4.
    """
    size = len(recovered)
    return size in allowed_sizes(history) and recovered == issued_leaves(history)[:size]


def after_crash(history: History, recovered: Leaves) -> History:
    """The history that goes on after a crash, once an open for writing returned these leaves.

    The lost batches count as never issued. The recovered leaves are acknowledged: the open showed
    them, so a second open, after any crash, must show them again.
    ValueError if the recovered leaves are not allowed.
    Requirements: DURABLE-5, DURABLE-7.
    """
    if not allowed(history, recovered):
        raise ValueError(f"{len(recovered)} leaves are not a legal outcome of this history")
    size = len(recovered)
    ends = boundaries(history)[1:]
    kept = tuple(batch for batch, end in zip(history.issued, ends, strict=True) if end <= size)
    return History(kept, size)
