"""Pure shape arithmetic: where nodes are, which of them are complete, what a proof holds.

Everything is a function of three numbers: ``size`` (leaves), ``n`` (arity) and a level or an index.

::

    level 2                  (2,0)                     n = 3, size = 7, depth = 2
                 ┌─────────────┼─────────────┐
    level 1    (1,0)         (1,1)         (1,2)       (1,0), (1,1) are complete;
             ┌───┼───┐     ┌───┼───┐         │         (1,2), (2,0) are the right edge:
    level 0  0   1   2     3   4   5         6         (1,2) has one child and equals it
"""

from __future__ import annotations

from typing import NamedTuple

from rotortree.errors import IndexOutOfRangeError, InvalidConfigError

__all__ = [
    "MAX_ARITY",
    "MAX_DEPTH",
    "MAX_SIZE",
    "NODE_BYTES",
    "Group",
    "capacity",
    "check_parameters",
    "complete_count",
    "consistency_groups",
    "depth",
    "inclusion_groups",
    "level_length",
]

NODE_BYTES = 32
"""Every leaf and every node is a value of 32 bytes."""

MAX_ARITY = 255
"""The number of children is hashed as one byte."""

MAX_DEPTH = 255
"""The maximal depth is stored as one byte."""

MAX_SIZE = 2**63 - 1
"""No tree holds more leaves than this, whatever its arity and maximal depth."""


def check_parameters(n: int, max_depth: int) -> None:
    """Raise InvalidConfigError unless 2 <= n <= 255 and 1 <= max_depth <= 255."""
    for name, value, low, high in (
        ("n", n, 2, MAX_ARITY),
        ("max_depth", max_depth, 1, MAX_DEPTH),
    ):
        if type(value) is not int or not low <= value <= high:
            raise InvalidConfigError(name, value, f"it must be an integer from {low} to {high}")


def capacity(n: int, max_depth: int) -> int:
    """The largest number of leaves that a tree can hold."""
    return int(min(n**max_depth, MAX_SIZE))


def depth(size: int, n: int) -> int:
    """The level of the root: the least d with n ** d >= size; 0 for no leaf and for one."""
    level, width = 0, 1
    while width < size:
        level, width = level + 1, width * n
    return level


def level_length(size: int, n: int, level: int) -> int:
    """How many nodes a level has, the right edge included; 0 above the root."""
    if level > depth(size, n):
        return 0
    return -(-size // int(n**level))


def complete_count(size: int, n: int, level: int) -> int:
    """How many nodes of a level are complete: all the n ** level leaves below them exist."""
    return size // int(n**level)


class Group(NamedTuple):
    """Siblings under one parent: nodes [start, stop) of ``level``; ``own`` is on the path."""

    level: int
    start: int
    own: int
    stop: int


def inclusion_groups(size: int, n: int, index: int) -> tuple[Group, ...]:
    """The groups on the way from leaf ``index`` to the root, lowest first, lone children left out.

    An inclusion proof is, group by group, every member but ``own``.  Requires 0 <= index < size.
    """
    if not 0 <= index < size:
        raise IndexOutOfRangeError("leaf", index, size)
    groups = []
    level, last = 0, size - 1
    while last:
        parent = index // n
        start = parent * n
        stop = start + n if parent < last // n else last + 1
        if stop - start > 1:
            groups.append(Group(level, start, index, stop))
        index = parent
        last //= n
        level += 1
    return tuple(groups)


def consistency_groups(old_size: int, size: int, n: int) -> tuple[tuple[Group, bool], ...]:
    """The groups along the boundary between old and new leaves, lowest first.

    ``own`` is the node of the level that holds leaf ``old_size``: members before it are complete
    in the old tree, members behind it are new.  The flag tells whether ``own`` itself straddles
    the boundary (it holds old leaves, too): then its two values are those of the groups below, and
    it is not part of the proof; otherwise it is new and is part of it.  Groups whose parent does
    not straddle are left out; there is none where the sizes are equal or the old one is 0.
    Requires 0 <= old_size <= size.
    """
    if old_size in (0, size):
        return ()
    groups = []
    level, own, straddles, last = 0, old_size, False, size - 1
    while last:
        start = own - own % n
        stop = min(start + n, last + 1)
        if straddles or own > start:
            groups.append((Group(level, start, own, stop), straddles))
            straddles = True
        own //= n
        last //= n
        level += 1
    return tuple(groups)
