"""Shape arithmetic and level arrays: against the model at any size, and byte for byte."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import rotortree_model as model
from rotortree.errors import IndexOutOfRangeError, InvalidConfigError
from rotortree.geometry import (
    MAX_SIZE,
    Group,
    capacity,
    check_parameters,
    complete_count,
    consistency_groups,
    depth,
    inclusion_groups,
    level_length,
)
from rotortree.tree.levels import LevelArray, segment_nodes

relaxed = settings(max_examples=300)
arities = st.integers(2, 255)
powers = st.builds(
    lambda n, k, by: (n, min(MAX_SIZE, max(0, n**k + by))),
    arities,
    *(st.integers(0, 62), st.integers(-2, 2)),
)
shapes = powers | st.tuples(arities, st.integers(0, MAX_SIZE) | st.integers(0, 10**6))
"""(n, size), often beside a power of n, where shapes change."""


@pytest.mark.evidence("property", "TREE-3", "TREE-4", "TREE-25")
@relaxed
@given(shape=shapes)
@example(shape=(2, MAX_SIZE))
@example(shape=(255, MAX_SIZE))
@example(shape=(3, 3**39))
@example(shape=(10, 10**18))
def test_depth_and_level_lengths_are_the_models(shape: tuple[int, int]) -> None:
    """Sizes up to 2**63 - 1, n to 255, every level and two above the root; capacity as well."""
    n, size = shape
    top = depth(size, n)
    assert top == model.depth(size, n)
    for level in range(top + 3):
        assert level_length(size, n, level) == model.level_length(size, n, level)
        count = complete_count(size, n, level)
        assert count == 0 or model.is_complete(size, n, level, count - 1)
        assert not model.is_complete(size, n, level, count)
    assert capacity(n, max(1, top)) == model.capacity(n, max(1, top))


@pytest.mark.evidence("property", "PROOF-7", "PROOF-8")
@relaxed
@given(shape=shapes, data=st.data())
def test_inclusion_groups_name_the_models_nodes(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    """Sizes up to 2**63 - 1: the members but ``own``, group by group, in the model's order."""
    n, size = shape
    if size == 0:
        with pytest.raises(IndexOutOfRangeError):
            inclusion_groups(0, n, 0)
        return
    ends = st.sampled_from(sorted({0, size // 2, size - 1, max(0, size - n)}))
    index = data.draw(ends | st.integers(0, size - 1))
    groups = inclusion_groups(size, n, index)
    named = [(g.level, i) for g in groups for i in range(g.start, g.stop) if i != g.own]
    assert tuple(named) == model.inclusion_coordinates(size, n, index)
    assert all(g.own == index // n**g.level for g in groups)
    for outside in (-1, size, size + 1):
        with pytest.raises(IndexOutOfRangeError) as caught:
            inclusion_groups(size, n, outside)
        error = caught.value
        assert (error.what, error.value, error.stop) == ("leaf", outside, size)


@pytest.mark.evidence("property", "PROOF-14")
@relaxed
@given(shape=shapes, data=st.data())
def test_consistency_groups_name_the_models_nodes(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    """Sizes up to 2**63 - 1: the members but straddling ones, in the model's order."""
    n, size = shape
    ends = st.sampled_from(sorted({0, size // 2, size, max(0, size - 1), max(0, size - n)}))
    aligned = st.integers(0, 62).map(lambda k: min(size, n**k))
    old_size = data.draw(ends | aligned | st.integers(0, size))
    groups = consistency_groups(old_size, size, n)
    named = [
        (group.level, i)
        for group, straddles in groups
        for i in range(group.start, group.stop)
        if not (straddles and i == group.own)
    ]
    assert tuple(named) == model.consistency_coordinates(old_size, size, n)


def test_groups_of_small_trees_name_the_models_nodes() -> None:
    """All index < size <= 30 and old <= size <= 30, n = 2 to 6."""
    for n in range(2, 7):
        for size in range(31):
            for number in range(size + 1):
                if number < size:
                    assert tuple(
                        (g.level, i)
                        for g in inclusion_groups(size, n, number)
                        for i in range(g.start, g.stop)
                        if i != g.own
                    ) == model.inclusion_coordinates(size, n, number)
                straddling = consistency_groups(number, size, n)
                assert tuple(
                    (g.level, i)
                    for g, straddles in straddling
                    for i in range(g.start, g.stop)
                    if not straddles or i != g.own
                ) == model.consistency_coordinates(number, size, n)


def test_groups_of_the_drawing() -> None:
    """The tree drawn in the module, n = 3 and 7 leaves: lone nodes make no group."""
    assert inclusion_groups(7, 3, 4) == (Group(0, 3, 4, 6), Group(1, 0, 1, 3))
    assert inclusion_groups(7, 3, 6) == (Group(1, 0, 2, 3),)
    assert inclusion_groups(1, 3, 0) == ()


@pytest.mark.evidence("example", "TREE-1", "TREE-24")
@pytest.mark.parametrize("value", [1, 0, -1, 256, 2.0, True, "2", None, 2**70])
def test_parameters_out_of_range_are_refused(value: object) -> None:
    """n is an int of 2 to 255 and max_depth one of 1 to 255; the error names which."""
    with pytest.raises(InvalidConfigError) as caught:
        check_parameters(value, 20)  # type: ignore[arg-type]
    assert caught.value.parameter == "n"
    if value == 1 and type(value) is int:
        check_parameters(2, value)
    else:
        with pytest.raises(InvalidConfigError) as caught:
            check_parameters(2, value)  # type: ignore[arg-type]
        assert caught.value.parameter == "max_depth"
        assert caught.value.value is value
        assert str(caught.value).endswith(", but it must be an integer from 1 to 255")


@pytest.mark.evidence("example", "TREE-1", "TREE-24")
def test_the_least_and_the_largest_parameters_are_taken() -> None:
    """n of 2 and of 255, max_depth of 1 and of 255."""
    check_parameters(2, 1)
    check_parameters(255, 255)


# Level arrays.


def row(start: int, stop: int) -> bytes:
    """The values of nodes [start, stop) in these tests."""
    return b"".join(i.to_bytes(32, "big") for i in range(start, stop))


def check_reads(array: LevelArray, count: int) -> None:
    """Every node, and every range near segment borders and of any length, reads back."""
    assert array.read(0, count) == row(0, count)
    for i in range(count):
        assert array.read(i, i + 1) == row(i, i + 1)
    for start in range(0, count + 1, max(1, count // 7)):
        for stop in range(start, count + 1, max(1, count // 11)):
            assert array.read(start, stop) == row(start, stop)
            views = list(array.views(start, stop))
            assert b"".join(views) == row(start, stop)
            assert all(len(view) for view in views)


@relaxed
@given(
    segment=st.integers(1, 40),
    parts=st.lists(st.integers(0, 90), max_size=8),
)
def test_what_is_written_is_read_across_segments(segment: int, parts: list[int]) -> None:
    """Segments of 1 to 40 nodes, written in parts of up to 90, read after each part."""
    array = LevelArray(segment)
    for start, stop in pairwise(accumulate(parts, initial=0)):
        array.write(start, memoryview(row(start, stop)))
        check_reads(array, stop)


@relaxed
@given(
    segment=st.integers(1, 40),
    parts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
def test_views_taken_before_growth_stay_what_they_were(segment: int, parts: list[int]) -> None:
    """Views of everything written, taken after each part, hold after all later parts."""
    array = LevelArray(segment)
    held: list[tuple[int, list[memoryview]]] = []
    for start, stop in pairwise(accumulate(parts, initial=0)):
        array.write(start, memoryview(row(start, stop)))
        held.append((stop, list(array.views(0, stop))))
    for stop, views in held:
        assert b"".join(views) == row(0, stop)


@relaxed
@given(
    segment=st.integers(1, 40),
    held=st.integers(0, 150),
    installed=st.integers(0, 150),
    more=st.lists(st.integers(1, 60), max_size=5),
)
def test_installed_views_are_read_and_copied_on_write(
    segment: int, held: int, installed: int, more: list[int]
) -> None:
    """Read-only views in the place of what was written, then writes: the file is not changed."""
    array = LevelArray(segment)
    array.write(0, memoryview(row(0, held)))
    before = list(array.views(0, held))
    count = installed if installed >= held else installed // segment * segment
    mapped = row(0, count)
    array.install(0, memoryview(mapped))
    check_reads(array, max(held, count))
    size = max(held, count)
    for part in more:
        array.write(size, memoryview(row(size, size + part)))
        size += part
        check_reads(array, size)
    assert mapped == row(0, count)
    assert b"".join(before) == row(0, held)


@relaxed
@given(segment=st.integers(1, 12), shards=st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_views_installed_shard_by_shard_follow_each_other(segment: int, shards: list[int]) -> None:
    """Whole segments per shard, the last one partly filled, then a write within it."""
    array = LevelArray(segment)
    stops = [0, *accumulate(count * segment for count in shards)]
    stops[-1] -= segment // 2
    for start, stop in pairwise(stops):
        array.install(start, memoryview(row(start, stop)))
    check_reads(array, stops[-1])
    array.write(stops[-1], memoryview(row(stops[-1], stops[-1] + 3 * segment)))
    check_reads(array, stops[-1] + 3 * segment)


def test_nodes_beyond_the_size_are_written_again() -> None:
    """What a failed append left behind is replaced, across segments."""
    array = LevelArray(4)
    array.write(0, memoryview(row(0, 6)))
    array.write(6, memoryview(b"x" * 32 * 9))
    array.write(6, memoryview(row(6, 20)))
    check_reads(array, 20)


@pytest.mark.parametrize("n", [2, 3, 5, 7, 16, 254, 255])
def test_a_segment_holds_whole_groups(n: int) -> None:
    """The largest multiple of n up to 65536."""
    assert segment_nodes(n) % n == 0
    assert 65536 - n < segment_nodes(n) <= 65536


class Published(list[memoryview]):
    """Segments of which each replacement is checked at the moment when readers can see it."""

    valid = b""
    replaced = 0

    def __setitem__(self, number: Any, view: Any) -> None:
        before = b"".join(self[:number])
        held = self.valid[len(before) : len(before) + len(self[number])]
        assert view[: len(held)] == held
        self.replaced += 1
        super().__setitem__(number, view)


def test_a_segment_is_replaced_by_one_that_holds_its_nodes_already() -> None:
    """Growth, installing and copying on write: no reader ever sees a node missing."""
    for segment in (100, 1000):
        array = LevelArray(segment)
        array._segments = watched = Published()
        for start, stop in pairwise(range(0, 400, 7)):
            array.write(start, memoryview(row(start, stop)))
            watched.valid = row(0, stop)
            if stop % 5 == 0:
                array.install(0, memoryview(row(0, stop)))
        assert watched.replaced > 5
        check_reads(array, 399)


@relaxed
@given(
    segment=st.integers(1, 20),
    installed=st.integers(1, 60),
    place=st.floats(0, 1),
    count=st.integers(1, 60),
)
def test_no_write_reaches_an_installed_view(
    segment: int, installed: int, place: float, count: int
) -> None:
    """Written again from any node on, inside of it, too: an array of its own takes the place."""
    array = LevelArray(segment)
    mapped, start = row(0, installed), int(place * installed)
    array.install(0, memoryview(mapped))
    array.write(start, memoryview(b"x" * 32 * count))
    assert array.read(0, start + count) == row(0, start) + b"x" * 32 * count
    assert mapped == row(0, installed)
