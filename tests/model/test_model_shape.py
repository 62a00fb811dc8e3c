"""Shape: depth, level lengths, completeness and children, by hand and by law."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    MAX_ARITY,
    MAX_SIZE,
    MIN_ARITY,
    capacity,
    children,
    depth,
    is_complete,
    level_length,
)
from rotortree_model.shape import straddles

ARITIES = st.integers(2, 255)
SIZES = st.integers(0, 2**64)


@pytest.mark.parametrize(
    ("size", "n", "expected"),
    [
        *[(0, 2, 0), (1, 2, 0), (2, 2, 1), (3, 2, 2), (4, 2, 2), (5, 2, 3), (1024, 2, 10)],
        *[(1025, 2, 11), (4, 4, 1), (5, 4, 2), (16, 4, 2), (17, 4, 3), (255, 255, 1)],
        *[(256, 255, 2), (255**3, 255, 3), (255**3 + 1, 255, 4), (0, 255, 0), (1, 255, 0)],
    ],
)
def test_depth_by_hand(size: int, n: int, expected: int) -> None:
    """The depth of small trees and of trees one leaf either side of a power of n."""
    assert depth(size, n) == expected


@pytest.mark.parametrize(
    ("size", "n", "lengths"),
    [
        (0, 2, [0, 0]),
        (1, 2, [1, 0, 0]),
        (5, 2, [5, 3, 2, 1, 0]),
        (5, 3, [5, 2, 1, 0]),
        (10, 3, [10, 4, 2, 1, 0]),
        (16, 4, [16, 4, 1, 0, 0]),
        (17, 4, [17, 5, 2, 1, 0]),
    ],
)
def test_level_lengths_by_hand(size: int, n: int, lengths: list[int]) -> None:
    """Every level from the leaves to above the root, counted on paper."""
    assert [level_length(size, n, level) for level in range(len(lengths))] == lengths


@pytest.mark.evidence("example", "TREE-5", "TREE-6")
def test_children_and_completeness_by_hand() -> None:
    """The tree drawn in shape.py: arity 3, 5 leaves."""
    assert children(5, 3, 2, 0) == ((1, 0), (1, 1))
    assert children(5, 3, 1, 0) == ((0, 0), (0, 1), (0, 2))
    assert children(5, 3, 1, 1) == ((0, 3), (0, 4))
    assert children(4, 3, 1, 1) == ((0, 3),)
    assert is_complete(5, 3, 0, 4)
    assert not is_complete(5, 3, 0, 5)
    assert is_complete(5, 3, 1, 0)
    assert not is_complete(5, 3, 1, 1)
    assert is_complete(6, 3, 1, 1)
    assert not is_complete(5, 3, 2, 0)


@pytest.mark.evidence("property", "TREE-3")
@given(size=SIZES, n=ARITIES)
def test_depth_is_the_least_that_holds_the_size(size: int, n: int) -> None:
    """n^(d-1) < size <= n^d for sizes to 2^64, and d = 0 for sizes 0 and 1."""
    d = depth(size, n)
    assert size <= n**d
    assert d == 0 if size <= 1 else n ** (d - 1) < size


@pytest.mark.evidence("property", "TREE-4")
@given(size=st.integers(1, 2**64), n=ARITIES)
def test_each_level_is_the_one_below_in_groups_of_n(size: int, n: int) -> None:
    """From `size` leaves, ceil(length / n) a level, ending at one root; nothing above. To 2^64."""
    length = size
    for level in range(depth(size, n)):
        assert level_length(size, n, level) == length > 1
        length = -(-length // n)
    assert level_length(size, n, depth(size, n)) == length == 1
    assert level_length(size, n, depth(size, n) + 1) == 0


@pytest.mark.evidence("property", "TREE-5")
@given(size=st.integers(0, 300), n=st.integers(2, 9), level=st.integers(0, 9))
def test_children_partition_the_level_below(size: int, n: int, level: int) -> None:
    """The children of a level's nodes, in order, are the level below; sizes to 300, n to 9."""
    parents = range(level_length(size, n, level + 1))
    groups = [children(size, n, level + 1, index) for index in parents]
    flat = tuple(child for group in groups for child in group)
    expected = level_length(size, n, level) if parents else 0
    assert flat == tuple((level, index) for index in range(expected))
    assert all(1 <= len(group) <= n for group in groups)


@pytest.mark.evidence("property", "TREE-6")
@given(
    size=st.integers(0, 300), n=st.integers(2, 9), level=st.integers(0, 9), index=st.integers(0, 40)
)
def test_complete_means_that_the_last_leaf_below_exists(
    size: int, n: int, level: int, index: int
) -> None:
    """Sizes to 300, n to 9. A complete node at or below the root exists and stays complete."""
    last = index * n**level + n**level - 1
    assert is_complete(size, n, level, index) == (last < size)
    if is_complete(size, n, level, index):
        assert index < level_length(size, n, level)
        assert is_complete(size + 1, n, level, index)


@pytest.mark.evidence("exhaustive", "TREE-6")
def test_at_most_the_last_node_of_a_level_is_not_complete() -> None:
    """All sizes to 300, n to 9, every level up to the root's."""
    for n in range(2, 10):
        for size in range(301):
            for level in range(depth(size, n) + 1):
                length = level_length(size, n, level)
                assert all(is_complete(size, n, level, i) for i in range(length - 1))


@pytest.mark.evidence("property", "PROOF-14")
@given(n=st.integers(2, 9), sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_at_most_one_node_of_a_level_straddles(n: int, sizes: tuple[int, int]) -> None:
    """And if one does it is the one with leaf old_size; no leaf does. Sizes to 300, n to 9."""
    old_size, size = sorted(sizes)
    for level in range(depth(size, n) + 1):
        found = [
            index
            for index in range(level_length(size, n, level))
            if straddles(size, n, level, index, old_size)
        ]
        cut = 0 < old_size < size and old_size % n**level != 0
        top = 0 < old_size < size and level == depth(size, n)
        assert found == ([old_size // n**level] if cut or top else [])


@pytest.mark.evidence("property", "TREE-25")
@given(n=ARITIES, max_depth=st.integers(1, 255))
def test_capacity_is_the_largest_size_of_its_depth(n: int, max_depth: int) -> None:
    """So many leaves fit, and one more needs another level or cannot be counted in 63 bits."""
    most = capacity(n, max_depth)
    assert depth(most, n) <= max_depth
    assert depth(most + 1, n) == max_depth + 1 or most == 2**63 - 1


@pytest.mark.evidence("example", "TREE-25")
def test_a_capacity_is_a_power_of_the_arity_or_the_largest_size() -> None:
    """On both sides of 2^63, for two arities."""
    assert [capacity(2, depth) for depth in (1, 62, 63, 255)] == [2, 2**62, MAX_SIZE, MAX_SIZE]
    assert [capacity(3, depth) for depth in (2, 39, 40)] == [9, 3**39, MAX_SIZE]
    assert MAX_SIZE == 2**63 - 1


@pytest.mark.evidence("example", "TREE-1")
@pytest.mark.parametrize("n", [-2, 0, 1, 256, 1000])
def test_a_number_outside_2_to_255_is_no_arity(n: int) -> None:
    """Every function of a shape that takes n raises ValueError."""
    for call in (
        lambda: depth(0, n),
        lambda: level_length(0, n, 0),
        lambda: capacity(n, 1),
        lambda: is_complete(0, n, 0, 0),
        lambda: children(1, n, 1, 0),
    ):
        with pytest.raises(ValueError, match="arity"):
            call()


@pytest.mark.evidence("example", "TREE-1")
def test_the_smallest_and_largest_arity_are_arities() -> None:
    """2 and 255, the ends of the range, are in it."""
    assert capacity(2, 1) == 2
    assert capacity(255, 1) == 255
    assert (MIN_ARITY, MAX_ARITY) == (2, 255)


def test_negative_arguments_are_rejected() -> None:
    """A negative size, level or index is ValueError, and so is a maximal depth of 0 or 256."""
    for call in (
        lambda: depth(-1, 2),
        lambda: level_length(-1, 2, 0),
        lambda: level_length(1, 2, -1),
        lambda: capacity(2, 0),
        lambda: capacity(2, 256),
        lambda: is_complete(-1, 2, 0, 0),
        lambda: is_complete(1, 2, -1, 0),
        lambda: is_complete(1, 2, 0, -1),
        lambda: children(1, 2, 0, 0),
    ):
        with pytest.raises(ValueError, match=r"negative|not in 1"):
            call()
