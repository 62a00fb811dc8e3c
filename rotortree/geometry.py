"""Pure shape arithmetic: where nodes are, which are complete, and which nodes a proof consists of.

Every function takes the same few numbers: ``size`` (leaves), ``n`` (arity), a level, or an index.
Its requirements are in specs/tree.md, section 1, and specs/proofs.md, sections 2 and 3.

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
"""Length of every leaf and every node, in bytes (TREE-8)."""

MAX_ARITY = 255
"""The largest arity: hash schemes encode the number of children in one byte (TREE-1)."""

MAX_DEPTH = 255
"""The largest value of max_depth: file headers store it in one byte (TREE-24)."""

MAX_SIZE = 2**63 - 1
"""The most leaves that any tree holds, whatever its arity and maximal depth (TREE-25)."""


def check_parameters(n: int, max_depth: int) -> None:
    """Raise InvalidConfigError unless 2 <= n <= 255 and 1 <= max_depth <= 255."""
    for name, value, low, high in (
        ("n", n, 2, MAX_ARITY),
        ("max_depth", max_depth, 1, MAX_DEPTH),
    ):
        if type(value) is not int or not low <= value <= high:
            raise InvalidConfigError(name, value, f"it must be an integer from {low} to {high}")


def capacity(n: int, max_depth: int) -> int:
    """The largest number of leaves that a tree can hold: min(n ** max_depth, MAX_SIZE)."""
    return int(min(n**max_depth, MAX_SIZE))


def depth(size: int, n: int) -> int:
    """The level of the root: the least d with n ** d >= size; 0 for no leaf and one (TREE-3)."""
    level, width = 0, 1
    while width < size:
        level, width = level + 1, width * n
    return level


def level_length(size: int, n: int, level: int) -> int:
    """The number of nodes of a level, the right edge included (TREE-4); 0 above the root."""
    if level > depth(size, n):
        return 0
    return -(-size // int(n**level))


def complete_count(size: int, n: int, level: int) -> int:
    """The number of complete nodes of a level: those whose n ** level leaves all exist (TREE-6)."""
    return size // int(n**level)


class Group(NamedTuple):
    """The children of one parent: nodes [start, stop) of ``level``.  ``own`` is one of them.

    It is the node on the path to the root.
    """

    level: int
    start: int
    own: int
    stop: int


def inclusion_groups(size: int, n: int, index: int) -> tuple[Group, ...]:
    """The groups on the path from leaf ``index`` to the root, lowest first (PROOF-7).

    An inclusion proof is, group by group, every member but ``own``.  A level where the path's node
    is a lone child has no group here (PROOF-8).  Raises IndexOutOfRangeError unless
    0 <= index < size.
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
    """The groups along the boundary between old and new leaves, lowest first (PROOF-14).

    ``own`` is the node above leaf ``old_size``, the first new leaf.  Members before it are complete
    in the old tree; members after it are new.  The flag says whether ``own`` straddles the
    boundary, that is, has old leaves below it, too.  If it straddles, the group below gives its old
    and its new value, and it is not part of the proof.  If it does not, it is new, and is part of
    the proof.  A group whose parent does not straddle is left out.  There is no group if the sizes
    are equal or ``old_size`` is 0 (PROOF-15).
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
