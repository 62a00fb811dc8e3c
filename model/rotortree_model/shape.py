"""Shape: all that depends on sizes alone and never on a hash.

A tree of arity 3 with 5 leaves; node (k, i) covers leaves [i * 3^k, min((i + 1) * 3^k, 5)):

    level 2             (2, 0)                  depth 2: the root
                      /        \\
    level 1       (1, 0)       (1, 1)           (1, 0) is complete, (1, 1) is not
                 /  |  \\       /  \\
    level 0     0   1   2     3    4            the leaves
"""

from typing import TypeAlias

MIN_ARITY = 2
"""Fewest children of a full node."""

MAX_ARITY = 255
"""Most children of a full node; schemes hash their number as one byte."""

MAX_DEPTH = 255
"""The largest maximal depth of a tree."""

MAX_SIZE = 2**63 - 1
"""The largest size of a tree, in leaves."""

Coordinate: TypeAlias = tuple[int, int]
"""The place of a node: (level, index in that level); the leaves are level 0."""


def check_arity(n: int) -> None:
    """Raise ValueError unless n is an arity: 2 <= n <= 255.

    Requirements: TREE-1.
    """
    if not MIN_ARITY <= n <= MAX_ARITY:
        raise ValueError(f"arity {n} is not in {MIN_ARITY}..{MAX_ARITY}")


def span(n: int, level: int) -> int:
    """The number of leaves below a complete node of this level: n^level."""
    return int(n**level)


def depth(size: int, n: int) -> int:
    """The level of the root: the least d with n^d >= size, so 0 for sizes 0 and 1.

    ValueError if n is not an arity or size is negative.
    Requirements: TREE-3.
    """
    check_arity(n)
    if size < 0:
        raise ValueError(f"size {size} is negative")
    level = 0
    while span(n, level) < size:
        level += 1
    return level


def level_length(size: int, n: int, level: int) -> int:
    """The number of nodes of a level: ceil(size / n^level) up to the depth, 0 above it.

    ValueError if n is not an arity, or size or level is negative.
    Requirements: TREE-4.
    """
    if level < 0:
        raise ValueError(f"level {level} is negative")
    if level > depth(size, n):
        return 0
    return (size + span(n, level) - 1) // span(n, level)


def capacity(n: int, max_depth: int) -> int:
    """The most leaves that a tree of arity n holds within max_depth levels.

    That is n^max_depth, or MAX_SIZE if that is less.
    ValueError if n is not an arity, or max_depth is not 1 to 255.
    Requirements: TREE-24, TREE-25.
    """
    check_arity(n)
    if not 1 <= max_depth <= MAX_DEPTH:
        raise ValueError(f"maximal depth {max_depth} is not in 1..{MAX_DEPTH}")
    return min(span(n, max_depth), MAX_SIZE)


def is_complete(size: int, n: int, level: int, index: int) -> bool:
    """Whether all n^level leaves below node (level, index) exist; the node then never changes.

    ValueError if n is not an arity, or size, level or index is negative.
    Requirements: TREE-6.
    """
    check_arity(n)
    if min(size, level, index) < 0:
        raise ValueError(f"size {size}, level {level} or index {index} is negative")
    return (index + 1) * span(n, level) <= size


def children(size: int, n: int, level: int, index: int) -> tuple[Coordinate, ...]:
    """The children of node (level, index), left to right: 1 to n coordinates of level - 1.

    ValueError if level < 1. Requires that the node exists.
    Requirements: TREE-5.
    """
    stop = min((index + 1) * n, level_length(size, n, level - 1))
    return tuple((level - 1, child) for child in range(index * n, stop))


def straddles(size: int, n: int, level: int, index: int, old_size: int) -> bool:
    """Whether node (level, index) covers both leaves < old_size and leaves >= old_size.

    At most one node of each level straddles, and no leaf does.
    Requirements: PROOF-14.
    """
    start = index * span(n, level)
    stop = min(start + span(n, level), size)
    return start < old_size < stop
