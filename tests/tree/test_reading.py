"""Reading as pure functions: the native tree's and the model's bytes, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import pytest

import rotortree_model as model
from rotortree import Blake3Hasher, CustomHasher
from rotortree.geometry import NODE_BYTES, complete_count, depth
from rotortree.tree import reading
from tests.tree.native import MOST, native_module, native_tree, proof_of
from tests.tree.support import PARENT, make_leaves, model_levels, model_root

BOUNDS: Mapping[int, int] = {2: 70, 3: 85, 4: 70, 5: 130, 8: 70, 16: 70, 255: 258}
"""For each arity, the largest size: where levels begin, and where groups are whole, lies below."""

NATIVE = tuple(n for n in BOUNDS if n <= MOST[True])
"""The arities of which there is a native tree; `LeanIMT` uses `reading` itself for the others."""

HASHER = Blake3Hasher()
HEADER_BYTES = 24

Call: TypeAlias = tuple[int, int, int]
by_arity = pytest.mark.parametrize("n", BOUNDS)
by_native_arity = pytest.mark.parametrize("n", NATIVE)


class Recorder:
    """The complete nodes of the first ``size`` leaves, and every range that was asked for.

    Refuses empty ranges and nodes that are not complete: it does not have them.
    """

    def __init__(self, n: int, size: int) -> None:
        self._calls: list[Call] = []
        self._rows = [
            row[: complete_count(size, n, level)] for level, row in enumerate(model_levels(n, size))
        ]

    def __call__(self, level: int, start: int, stop: int) -> memoryview:
        assert 0 <= start < stop <= len(self._rows[level]), "an empty range, or incomplete nodes"
        self._calls.append((level, start, stop))
        return memoryview(b"".join(self._rows[level][start:stop]))

    def calls(self) -> list[Call]:
        """What was asked for since the last time that somebody looked."""
        calls, self._calls = self._calls, []
        return calls


def within(calls: list[Call], nodes: int, ranges: int, top: int) -> bool:
    """Whether each level has at most so many nodes and calls, all below level ``top``."""
    by_level = {level: [call for call in calls if call[0] == level] for level, _, _ in calls}
    return all(
        level < top
        and len(of_level) <= ranges
        and sum(stop - start for _, start, stop in of_level) <= nodes
        for level, of_level in by_level.items()
    )


def sizes_of(n: int) -> list[int]:
    """Every size up to the bound; of the largest arity a few, and those around one group."""
    return [*range(BOUNDS[n] + 1)] if n < 255 else [0, 1, 2, 3, 100, *range(253, BOUNDS[n] + 1)]


def numbers_of(n: int, stop: int) -> list[int]:
    """Every index or old size below ``stop``; of the largest arity those at the ends."""
    return [number for number in range(stop) if n < 255 or min(number, stop - 1 - number) < 4]


def values(n: int, size: int, coordinates: Iterable[tuple[int, int]]) -> bytes:
    """The model's values of nodes, in one row."""
    return b"".join([model_levels(n, size)[level][index] for level, index in coordinates])


@pytest.mark.evidence("exhaustive", "TREE-10", "TREE-12", "TREE-28")
@by_arity
def test_roots_and_nodes_are_the_models(n: int) -> None:
    """Every node of every size; those of the edge row cost no call, complete ones one."""
    for size in sizes_of(n):
        read, top = Recorder(n, size), depth(size, n)
        root = reading.root(n, size, HASHER, read)
        assert root == (model_root(n, size) or bytes(32))
        calls = read.calls()
        assert calls == [(top, 0, 1)] or within(calls, n - 1, 1, top)
        row = reading.edge(n, size, HASHER, read)
        assert len(row) == NODE_BYTES * (top + 1)
        assert within(read.calls(), n - 1, 1, top)
        for level, nodes in enumerate(model_levels(n, size)):
            for index, expected in enumerate(nodes):
                assert reading.node(n, size, row, read, level, index) == expected
                complete = model.is_complete(size, n, level, index)
                assert read.calls() == ([(level, index, index + 1)] if complete else [])


@pytest.mark.evidence("exhaustive", "PROOF-7", "PROOF-8", "PROOF-13")
@by_arity
def test_inclusion_hashes_are_the_models(n: int) -> None:
    """Every (index, size); at most n - 1 nodes of a level in two calls, beside the edge row."""
    for size in sizes_of(n):
        read, top = Recorder(n, size), depth(size, n)
        row = reading.edge(n, size, HASHER, read)
        read.calls()
        for index in numbers_of(n, size):
            found = reading.inclusion_hashes(n, size, row, read, index)
            assert found == values(n, size, model.inclusion_coordinates(size, n, index))
            assert within(read.calls(), n - 1, 2, top)


@pytest.mark.evidence("exhaustive", "PROOF-14", "PROOF-15")
@by_arity
def test_consistency_hashes_are_the_models(n: int) -> None:
    """Every (old size, size); n nodes in one call on the lowest level, n - 1 in two above it."""
    for size in sizes_of(n):
        read, top = Recorder(n, size), depth(size, n)
        row = reading.edge(n, size, HASHER, read)
        read.calls()
        for old in numbers_of(n, size + 1):
            found = reading.consistency_hashes(n, size, row, read, old)
            assert found == values(n, size, model.consistency_coordinates(old, size, n))
            calls = read.calls()
            assert within(calls[:1], n, 1, top)
            assert within(calls[1:], n - 1, 2, top)
            assert not {level for level, _, _ in calls[:1]} & {level for level, _, _ in calls[1:]}


@by_native_arity
def test_the_native_tree_has_the_same_edge_root_and_inclusion_proofs(n: int) -> None:
    """Every size and index up to the bound, as past sizes of one tree."""
    native = native_tree(native_module(), n)
    native.extend(b"".join(make_leaves(BOUNDS[n])))
    for size in sizes_of(n):
        read = Recorder(n, size)
        row = reading.edge(n, size, HASHER, read)
        assert row == native.edge(size)
        assert reading.root(n, size, HASHER, read) == native.root(size)
        for index in range(size):
            found = reading.inclusion_hashes(n, size, row, read, index)
            assert found == proof_of(native, size, row, index)[HEADER_BYTES:]


def test_what_a_read_raises_passes_through() -> None:
    """A reader of remote storage that fails is not taken for a wrong node."""

    def fails(level: int, start: int, stop: int) -> bytes:
        raise ConnectionError(level, start, stop)

    row = bytes(NODE_BYTES) * 3
    calls: list[Callable[[], bytes]] = [
        lambda: reading.edge(3, 7, HASHER, fails),
        lambda: reading.root(3, 9, HASHER, fails),
        lambda: reading.node(3, 7, row, fails, 1, 1),
        lambda: reading.inclusion_hashes(3, 7, row, fails, 0),
        lambda: reading.consistency_hashes(3, 7, row, fails, 4),
    ]
    for call in calls:
        with pytest.raises(ConnectionError):
            call()


def test_only_the_edge_row_is_hashed() -> None:
    """Proofs and nodes are read; one group of seven leaves is folded, and a lone child is not."""
    groups: list[int] = []

    def parent(children: Sequence[bytes]) -> bytes:
        groups.append(len(children))
        return PARENT(tuple(children))

    counted, read = CustomHasher("counted", parent), Recorder(3, 7)
    row = reading.edge(3, 7, counted, read)
    assert groups == [3]  # node (2, 0), of (1, 0), (1, 1) and (1, 2), which is leaf 6
    assert row == bytes(NODE_BYTES) + make_leaves(7)[6] + (model_root(3, 7) or b"")
    assert reading.root(3, 9, counted, Recorder(3, 9)) == model_root(3, 9)
    assert groups == [3]


@pytest.mark.parametrize("calls", [[(0, 0, 3)], [(0, 0, 1), (0, 1, 2)], [(1, 0, 1)]])
def test_the_bound_is_noticed_when_it_is_exceeded(calls: list[Call]) -> None:
    """A node too many, a call too many, a level too high."""
    assert not within(calls, 2, 1, 1)
    assert within([(0, 1, 3)], 2, 1, 1)


@pytest.mark.parametrize(("start", "stop"), [(1, 1), (2, 3)])
def test_the_recorder_refuses_what_a_reader_must_not_ask_for(start: int, stop: int) -> None:
    """No node at all, and node (1, 2) of seven leaves, which is not complete."""
    with pytest.raises(AssertionError, match="incomplete"):
        Recorder(3, 7)(1, start, stop)


def test_a_proof_from_nothing_takes_twice_the_nodes_of_a_level() -> None:
    """Its own siblings and the edge row: 2·(n - 1) nodes in three calls."""
    n, size = 4, 30
    for index in range(size):
        read = Recorder(n, size)
        row = reading.edge(n, size, HASHER, read)
        reading.inclusion_hashes(n, size, row, read, index)
        assert within(read.calls(), 2 * (n - 1), 3, depth(size, n))
