"""Shape: `rotortree.geometry` against `rotortree_model.shape` and `rotortree_model.proofs`."""

from __future__ import annotations

from rotortree import geometry
from rotortree.errors import IndexOutOfRangeError, InvalidConfigError
from rotortree_model import proofs, shape

__all__ = [
    "a_group_is_the_children_of_one_node",
    "an_inclusion_group_outside_the_tree_is_refused",
    "capacity_is_that_of_the_model",
    "complete_count_counts_the_complete_nodes",
    "consistency_groups_are_those_of_the_model",
    "depth_is_that_of_the_model",
    "inclusion_groups_are_those_of_the_model",
    "level_length_is_that_of_the_model",
    "parameters_are_checked_as_the_text_says",
    "the_depth_is_the_least_that_has_room",
]

ARITIES = (2, 3, 4, 5, 16, 255)
"""Of a multiplication by an unknown a solver knows little, so arities are these."""

SIZES = geometry.MAX_SIZE
"""Sizes are all that there may be."""


def known(value: int, values: range | tuple[int, ...]) -> int:
    """The same number, of these in ascending order, as one that is no unknown: a path for each."""
    while len(values) > 1:
        half = len(values) // 2
        values = values[:half] if value < values[half] else values[half:]
    return values[0]


def depth_is_that_of_the_model(size: int, n: int) -> bool:
    """Production and model find the same depth.

    Requirements: TREE-3.

    pre: n in ARITIES
    pre: 0 <= size <= SIZES
    post: _
    """
    n = known(n, ARITIES)
    return geometry.depth(size, n) == shape.depth(size, n)


def the_depth_is_the_least_that_has_room(size: int, n: int) -> bool:
    """The depth is the least d with n^d >= size.

    Requirements: TREE-3.

    pre: n in ARITIES
    pre: 0 <= size <= SIZES
    post: _
    """
    n = known(n, ARITIES)
    found = geometry.depth(size, n)
    return n**found >= size and (found == 0 or n ** (found - 1) < size)


def level_length_is_that_of_the_model(size: int, n: int, level: int) -> bool:
    """Production and model find the same length of a level, above the root as well.

    Requirements: TREE-4.

    pre: n in (2, 3, 255)
    pre: 0 <= size <= 2**20
    pre: 0 <= level <= 5
    post: _
    """
    n, level = known(n, ARITIES), known(level, range(6))
    return geometry.level_length(size, n, level) == shape.level_length(size, n, level)


def complete_count_counts_the_complete_nodes(size: int, n: int, level: int, index: int) -> bool:
    """The nodes before the count are complete, and no others are.

    Requirements: TREE-6, FORMAT-48.

    pre: n in ARITIES
    pre: 0 <= size <= SIZES
    pre: 0 <= level <= 5
    pre: 0 <= index <= SIZES
    post: _
    """
    n, level = known(n, ARITIES), known(level, range(6))
    counted = index < geometry.complete_count(size, n, level)
    return counted == shape.is_complete(size, n, level, index)


def capacity_is_that_of_the_model(n: int, max_depth: int) -> bool:
    """The capacity is the model's.

    Requirements: TREE-25.

    pre: n in ARITIES
    pre: 1 <= max_depth <= 9 or max_depth in (62, 63, 64, 255)
    post: _
    """
    n, max_depth = known(n, ARITIES), known(max_depth, (*range(1, 10), 62, 63, 64, 255))
    return geometry.capacity(n, max_depth) == shape.capacity(n, max_depth)


def parameters_are_checked_as_the_text_says(n: int, max_depth: int) -> bool:
    """Arity and maximal depth are refused exactly outside of 2 to 255 and 1 to 255.

    Requirements: TREE-1, TREE-24.

    post: _
    """
    try:
        geometry.check_parameters(n, max_depth)
    except InvalidConfigError:
        return not (2 <= n <= 255 and 1 <= max_depth <= 255)
    return 2 <= n <= 255 and 1 <= max_depth <= 255


def inclusion_groups_are_those_of_the_model(size: int, n: int, index: int) -> bool:
    """The members of the groups but the path's own are the model's nodes, in that order.

    Requirements: PROOF-7, PROOF-8.

    pre: n in (2, 3, 4)
    pre: 0 <= index < size <= 16
    post: _
    """
    n = known(n, (2, 3, 4))
    found = tuple(
        (group.level, node)
        for group in geometry.inclusion_groups(size, n, index)
        for node in range(group.start, group.stop)
        if node != group.own
    )
    return found == proofs.inclusion_coordinates(size, n, index)


def a_group_is_the_children_of_one_node(size: int, n: int, index: int) -> bool:
    """Each group of a path is all children that one node of the next level has, two at least.

    Requirements: TREE-5, PROOF-7, PROOF-8.

    pre: n in (2, 3, 5)
    pre: 0 <= index < size <= n**3
    post: _
    """
    n = known(n, (2, 3, 5))
    return all(
        start == own // n * n
        and own == index // n**level
        and stop == min(start + n, geometry.level_length(size, n, level))
        and stop - start >= 2
        for level, start, own, stop in geometry.inclusion_groups(size, n, index)
    )


def an_inclusion_group_outside_the_tree_is_refused(size: int, n: int, index: int) -> bool:
    """There are groups exactly for a leaf of the tree.

    Requirements: PROOF-9, PROOF-11.

    pre: n in (2, 3)
    pre: 0 <= size <= 6
    post: _
    """
    try:
        geometry.inclusion_groups(size, known(n, (2, 3)), index)
    except IndexOutOfRangeError:
        return not 0 <= index < size
    return 0 <= index < size


def consistency_groups_are_those_of_the_model(old_size: int, size: int, n: int) -> bool:
    """The members of the groups but a straddling one are the model's nodes, in that order.

    Requirements: PROOF-14, PROOF-15.

    pre: n in (2, 3, 4)
    pre: 0 <= old_size <= size <= 16
    post: _
    """
    n = known(n, (2, 3, 4))
    found = tuple(
        (group.level, node)
        for group, straddles in geometry.consistency_groups(old_size, size, n)
        for node in range(group.start, group.stop)
        if not (straddles and node == group.own)
    )
    return found == proofs.consistency_coordinates(old_size, size, n)
