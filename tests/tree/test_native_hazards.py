"""What the native tree meets: forbidden pages, and every wrong call."""

from __future__ import annotations

import gc
import random
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from rotortree import EmptyBatchError, InvalidLeafError, MaxDepthExceededError
from tests.tree.hazards import guarded, read_only
from tests.tree.native import (
    all_nodes,
    installed,
    lanes_here,
    native_module,
    native_tree,
    proof_of,
    same,
    twin_with,
)

_native = native_module()

by_lanes = pytest.mark.parametrize("lanes", lanes_here(_native))


# Forbidden pages.


@pytest.mark.parametrize("at_the_end", [True, False], ids=["at the end", "at the beginning"])
@by_lanes
def test_nothing_beside_the_leaves_is_read(lanes: int, at_the_end: bool) -> None:
    """Batches around every multiple of the lanes, and of those that settle at once."""
    for n in (2, 3, 4, 16, 31):
        for count in (*range(1, 40), 127, 4095, 4096, 4096 + n, 5000):
            row = random.Random(count).randbytes(32 * count)
            tree = native_tree(_native, n, lanes=lanes, threads=2, segment=5 * n)
            with guarded(32 * count, at_the_end=at_the_end) as leaves:
                leaves[:] = row
                tree.extend(leaves)
                tree.append(leaves[-32:])
                tree.append(leaves[:32])
            assert same(tree, twin_with(n, row + row[-32:] + row[:32]))


@contextmanager
def mapped(nodes: list[bytes]) -> Iterator[list[memoryview]]:
    """Rows of nodes as views of pages that nobody may write, each before a forbidden one."""
    with ExitStack() as stack:
        yield [stack.enter_context(read_only(row)) if row else memoryview(b"") for row in nodes]


@by_lanes
def test_installed_segments_are_neither_written_nor_read_beyond_their_ends(lanes: int) -> None:
    """Roots, edges, proofs at many sizes, and then the tree goes on, from within any group."""
    for n in (2, 3, 4, 31):
        for segment in (n, 4 * n, None):
            for size in (1, n, n * n + 1, 5 * n - 1, 64):
                row = random.Random(size).randbytes(32 * (size + 500))
                twin = twin_with(n, row[: 32 * size])
                with mapped(all_nodes(twin, size)) as nodes:
                    tree = native_tree(_native, n, lanes=lanes, segment=segment)
                    installed(tree, nodes, size)
                    for past in {1, size, *range(size % 7 + 1, size, 7)}:
                        edge = tree.edge(past)
                        assert (tree.root(past), edge) == (twin.root(past), twin.edge(past))
                        indices = sorted({0, past // 2, past - 1})
                        proofs = [proof_of(twin, past, edge, index) for index in indices]
                        assert [proof_of(tree, past, edge, index) for index in indices] == proofs
                        found = tree.prove_many(past, edge, indices)
                        assert found is not None
                        assert found[0] == b"".join(proofs)
                    for at in range(size, size + 500, 100):
                        tree.extend(row[32 * at : 32 * (at + 100)])
                    assert same(tree, twin_with(n, row))
                    del tree


def test_what_is_pending_is_never_written_into_what_is_installed() -> None:
    """Nodes are hashed into memory before views of read-only pages take its place."""
    for n in (2, 3):
        row = random.Random(n).randbytes(32 * 600)
        twin = twin_with(n, row)
        nodes = all_nodes(twin, 600)
        with mapped(nodes) as views:
            for level in range(len(nodes)):
                tree = native_tree(_native, n, segment=n)
                tree.extend(row)  # pending, all of them
                if views[level]:
                    tree.install(level, 0, views[level])
                assert same(tree, twin)
                del tree


# Wrong calls.

SIZE = 75
ROW = random.Random(7).randbytes(32 * SIZE)
OTHER = bytes(32)
STRIDED = memoryview(bytes(64))[::2]


def released() -> memoryview:
    """A view that nobody can read."""
    view = memoryview(bytes(32))
    view.release()
    return view


def edge_of(tree: Any) -> bytes:
    """The edge of the present size."""
    found: bytes = tree.edge(tree.size)
    return found


def called(name: str, argument: object, tree: Any) -> object:
    """What a method of that name returns."""
    return getattr(tree, name)(argument)


LEAF_ERRORS: dict[str, tuple[type[Exception], Any]] = {
    "31 bytes": (InvalidLeafError, bytes(31)),
    "33 bytes": (InvalidLeafError, bytes(33)),
    "text": (InvalidLeafError, "0" * 32),
    "None": (InvalidLeafError, None),
    "a number": (InvalidLeafError, 32),
    "every second byte": (InvalidLeafError, STRIDED),
    "released": (InvalidLeafError, released()),
    "of four bytes each": (InvalidLeafError, array("i", [0] * 8)),
}

CALLS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    **{
        f"{name}: {what}": (error, partial(called, name, leaf))
        for name in ("append", "insert", "extend", "insert_many")
        for what, (error, leaf) in LEAF_ERRORS.items()
    },
    "append: nothing": (InvalidLeafError, lambda tree: tree.append(b"")),
    "append: two leaves": (InvalidLeafError, lambda tree: tree.append(bytes(64))),
    "extend: no leaves": (EmptyBatchError, lambda tree: tree.extend(b"")),
    "extend: an empty list": (EmptyBatchError, lambda tree: tree.insert_many([])),
    "extend: a bad one in a list": (
        InvalidLeafError,
        lambda tree: tree.extend([OTHER, OTHER, bytes(31)]),
    ),
    "append: no argument": (TypeError, lambda tree: tree.append()),
    "append: two arguments": (TypeError, lambda tree: tree.append(OTHER, OTHER)),
    "extend: too many": (MaxDepthExceededError, lambda tree: tree.extend(bytes(32 * 200))),
    "insert_many: too many": (
        MaxDepthExceededError,
        lambda tree: tree.insert_many(bytearray(32 * (243 - SIZE + 1))),
    ),
    "root: beyond": (IndexError, lambda tree: tree.root(SIZE + 1)),
    "root: negative": (OverflowError, lambda tree: tree.root(-1)),
    "root: 2**64": (OverflowError, lambda tree: tree.root(2**64)),
    "root: 2**63": (IndexError, lambda tree: tree.root(2**63)),
    "root: -2**80": (OverflowError, lambda tree: tree.root(-(2**80))),
    "root: text": (TypeError, lambda tree: tree.root("1")),
    "root: a fraction": (TypeError, lambda tree: tree.root(1.0)),
    "root: nothing": (TypeError, lambda tree: tree.root()),
    "edge: beyond": (IndexError, lambda tree: tree.edge(SIZE + 1)),
    "edge: negative": (OverflowError, lambda tree: tree.edge(-1)),
    "edge: None": (TypeError, lambda tree: tree.edge(None)),
    "views: beyond": (IndexError, lambda tree: tree.views(0, 0, SIZE + 1)),
    "views: beyond, of a level": (IndexError, lambda tree: tree.views(1, 0, SIZE // 3 + 1)),
    "views: backwards": (IndexError, lambda tree: tree.views(0, 3, 2)),
    "views: level 64": (IndexError, lambda tree: tree.views(64, 0, 0)),
    "views: level -1": (OverflowError, lambda tree: tree.views(-1, 0, 0)),
    "views: from -1": (OverflowError, lambda tree: tree.views(0, -1, 0)),
    "views: above the root": (IndexError, lambda tree: tree.views(63, 0, 1)),
    "views: two arguments": (TypeError, lambda tree: tree.views(0, 1)),
    "views: four arguments": (TypeError, lambda tree: tree.views(0, 1, 2, 3)),
    "views: text": (TypeError, lambda tree: tree.views(0, "0", 1)),
    "prove: no leaf": (IndexError, lambda tree: proof_of(tree, SIZE, edge_of(tree), SIZE)),
    "prove: leaf -1": (OverflowError, lambda tree: proof_of(tree, SIZE, edge_of(tree), -1)),
    "prove: of none": (IndexError, lambda tree: proof_of(tree, 0, tree.edge(0), 0)),
    "prove: beyond": (IndexError, lambda tree: proof_of(tree, SIZE + 1, edge_of(tree), 0)),
    "prove: another edge": (ValueError, lambda tree: proof_of(tree, SIZE, tree.edge(2), 0)),
    "prove: a longer edge": (ValueError, lambda tree: proof_of(tree, 2, edge_of(tree), 0)),
    "prove: an edge cut short": (
        ValueError,
        lambda tree: proof_of(tree, SIZE, edge_of(tree)[1:], 0),
    ),
    "prove: no edge": (ValueError, lambda tree: proof_of(tree, SIZE, None, 0)),
    "prove: an edge of a bytearray": (
        ValueError,
        lambda tree: proof_of(tree, SIZE, bytearray(edge_of(tree)), 0),
    ),
    "prove: text": (TypeError, lambda tree: proof_of(tree, SIZE, edge_of(tree), "0")),
    "prove: three arguments": (TypeError, lambda tree: tree.prove(SIZE, edge_of(tree), 0)),
    "prove_many: a tuple": (TypeError, lambda tree: tree.prove_many(SIZE, edge_of(tree), (0,))),
    "prove_many: another edge": (ValueError, lambda tree: tree.prove_many(SIZE, b"", [0])),
    "prove_many: beyond": (IndexError, lambda tree: tree.prove_many(SIZE + 1, b"", [0])),
    "prove_many: one argument": (TypeError, lambda tree: tree.prove_many(SIZE)),
    "restore: less": (ValueError, lambda tree: tree.restore(SIZE - 1)),
    "restore: what is only reserved": (ValueError, lambda tree: tree.restore(SIZE + 1)),
    "restore: nodes that are not there": (ValueError, lambda tree: tree.restore(200)),
    "restore: beyond the capacity": (IndexError, lambda tree: tree.restore(244)),
    "restore: 2**63": (IndexError, lambda tree: tree.restore(2**63)),
    "restore: 2**64": (OverflowError, lambda tree: tree.restore(2**64)),
    "restore: negative": (OverflowError, lambda tree: tree.restore(-1)),
    "restore: text": (TypeError, lambda tree: tree.restore("75")),
    "install: nothing": (ValueError, lambda tree: tree.install(0, 0, memoryview(b""))),
    "install: no whole segment": (ValueError, lambda tree: tree.install(0, 0, ROW[: 32 * 8])),
    "install: within a segment": (ValueError, lambda tree: tree.install(0, 3, ROW[32 * 3 :])),
    "install: behind a hole": (ValueError, lambda tree: tree.install(0, 9 * 10, ROW)),
    "install: half a node": (ValueError, lambda tree: tree.install(0, 0, ROW + bytes(16))),
    "install: level 64": (IndexError, lambda tree: tree.install(64, 0, ROW)),
    "install: level -1": (OverflowError, lambda tree: tree.install(-1, 0, ROW)),
    "install: far beyond": (ValueError, lambda tree: tree.install(0, 9 * 2**50, ROW)),
    "install: at 2**63": (IndexError, lambda tree: tree.install(0, 2**63, ROW)),
    "install: at -9": (OverflowError, lambda tree: tree.install(0, -9, ROW)),
    "install: rows": (
        ValueError,
        lambda tree: tree.install(0, 0, memoryview(ROW).cast("B", (SIZE, 32))),
    ),
    "install: numbers": (ValueError, lambda tree: tree.install(0, 0, memoryview(ROW).cast("Q"))),
    "install: every second byte": (
        BufferError,
        lambda tree: tree.install(0, 0, memoryview(ROW + ROW)[::2]),
    ),
    "install: released": (ValueError, lambda tree: tree.install(0, 0, released())),
    "install: text": (TypeError, lambda tree: tree.install(0, 0, "0" * 320)),
    "install: two arguments": (TypeError, lambda tree: tree.install(0, 0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_raises_and_changes_nothing(name: str) -> None:
    """Each with the exception that Python or `rotortree` has for it."""
    error, call = CALLS[name]
    tree = native_tree(_native, 3, segment=9, max_depth=5)
    tree.extend(ROW)
    with pytest.raises(error) as caught:
        call(tree)
    assert str(caught.value)
    twin = twin_with(3, ROW)
    assert same(tree, twin)
    assert tree.insert(OTHER) == twin.insert(OTHER)
    assert same(tree, twin)


def test_what_is_no_index_is_none() -> None:
    """prove_many then returns None, for whoever can say what is wrong with it."""
    tree = native_tree(_native, 3)
    tree.extend(ROW)
    wrong: list[Any] = [SIZE, -1, 2**63, 2**64, -(2**64), 2**70, True, "0", None, 1.0, [0]]
    for index in wrong:
        assert tree.prove_many(SIZE, edge_of(tree), [0, index, 1]) is None
    assert tree.prove_many(SIZE, edge_of(tree), []) == (b"", b"")
    assert tree.prove_many(0, tree.edge(0), []) == (b"", b"")
    assert tree.prove_many(0, tree.edge(0), [0]) is None


SHAPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "n = 1": (ValueError, (1, 20, None, True, 4, 1, 1, 1)),
    "n = 32, tagged": (ValueError, (32, 20, None, True, 4, 1, 32, 32)),
    "n = 33, plain": (ValueError, (33, 20, None, False, 4, 1, 33, 33)),
    "n = -2": (ValueError, (-2, 20, None, True, 4, 1, 2, 2)),
    "n = 2**40": (OverflowError, (2**40, 20, None, True, 4, 1, 2, 2)),
    "5 lanes": (ValueError, (2, 20, None, True, 5, 1, 2, 2)),
    "no threads": (ValueError, (2, 20, None, True, 4, 0, 2, 2)),
    "no capacity that fits": (ValueError, (2, 20, None, True, 4, 1, 2**63, 2)),
    "a segment of none": (ValueError, (2, 20, None, True, 4, 1, 2, 0)),
    "a segment of half a group": (ValueError, (3, 20, None, True, 4, 1, 2, 4)),
    "a segment of 2**40": (ValueError, (2, 20, None, True, 4, 1, 2, 2**40)),
    "a segment of -2": (ValueError, (2, 20, None, True, 4, 1, 2, -2)),
    "text": (TypeError, ("2", 20, None, True, 4, 1, 2, 2)),
    "too few": (TypeError, (2, 20, None)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_raises(name: str) -> None:
    """ValueError, or what Python has for wrong types."""
    error, arguments = SHAPES[name]
    with pytest.raises(error):
        _native.Accumulator(*arguments, None, None, None)


def test_nothing_is_restored_but_what_was_installed() -> None:
    """Neither what was only reserved, nor where a level has a hole or too few nodes."""
    row = random.Random(1).randbytes(32 * 27)
    twin = twin_with(3, row)
    nodes = all_nodes(twin, 27)
    for missing in range(len(nodes)):
        tree = native_tree(_native, 3, segment=9)
        for level, content in enumerate(nodes):
            if level != missing:
                tree.install(level, 0, memoryview(content))
            elif len(content) > 32:
                tree.install(level, 0, memoryview(content)[:-32])
        with pytest.raises(ValueError, match="no nodes"):
            tree.restore(27)
        tree.install(missing, 0, memoryview(nodes[missing]))
        tree.restore(27)
        assert same(tree, twin)
    tree = native_tree(_native, 3, segment=9)
    tree.install(0, 0, memoryview(row)[: 32 * 5])
    with pytest.raises(ValueError, match="not segments"):
        tree.install(0, 9, memoryview(row)[32 * 9 :])
    tree = native_tree(_native, 3)
    tree.append(row[:32])
    with pytest.raises(ValueError, match="no nodes"):
        tree.restore(2)


def test_restoring_the_size_that_there_is_changes_nothing() -> None:
    """Nodes that are pending then are not taken for hashed ones."""
    row = random.Random(3).randbytes(32 * 100)
    tree, twin = native_tree(_native, 3), twin_with(3, row)
    tree.extend(row)
    tree.restore(100)
    assert same(tree, twin)
    assert tree.insert_many(row) == twin.insert_many(row)


def test_what_was_installed_and_not_restored_is_not_used() -> None:
    """The tree goes on where it was, with other leaves, in memory of its own."""
    row, other = (random.Random(seed).randbytes(32 * 300) for seed in (5, 6))
    nodes = all_nodes(twin_with(2, row), 300)
    for before in (0, 1, 5, 64):
        for only in (None, *range(len(nodes) - 1)):
            for segment in (8, 1024):
                with mapped(nodes) as views:
                    tree = native_tree(_native, 2, segment=segment)
                    if before:
                        tree.extend(other[: 32 * before])
                    for level, view in enumerate(views[:-1]):
                        if only in (None, level):
                            follow_on(tree, level, view, before >> level, segment)
                    for at in range(before, 100):
                        tree.append(other[32 * at : 32 * at + 32])
                    tree.extend(other[32 * 100 :])
                    assert same(tree, twin_with(2, other))
                    del tree


def follow_on(tree: Any, level: int, nodes: memoryview, valid: int, segment: int) -> None:
    """Install these nodes behind the segments that have valid ones."""
    start = -(-valid // segment) * segment
    if valid % segment == 0 and len(nodes) > 32 * start:
        tree.install(level, start, nodes[32 * start :])


def test_a_proof_needs_no_edge_where_all_nodes_are_complete() -> None:
    """Whoever has never asked for the edge gets a proof of nodes that are hashed."""
    for n, levels in ((2, 5), (3, 3), (31, 1)):
        size = n**levels
        row = random.Random(n).randbytes(32 * size)
        twin, edge = twin_with(n, row), bytes(32 * (levels + 1))
        for many in (False, True):
            tree = native_tree(_native, n)
            tree.extend(row)
            expected = proof_of(twin, size, edge, 1)
            if many:
                assert tree.prove_many(size, edge, [1]) == (
                    expected,
                    len(expected).to_bytes(8, "little"),
                )
            else:
                assert proof_of(tree, size, edge, 1) == expected


def test_segments_behind_what_is_installed_are_given_up() -> None:
    """A tail in the middle of what was reserved: nothing is read behind its end, or written."""
    row = random.Random(2).randbytes(32 * 200)
    tree = native_tree(_native, 2, segment=8)
    nodes = all_nodes(twin_with(2, row), 200)
    for level, content in enumerate(nodes[:-1]):
        tree.install(level, 0, memoryview(content))
    with mapped(all_nodes(twin_with(2, row[: 32 * 50]), 50)) as views:
        for level, view in enumerate(views[:-1]):
            tree.install(level, 0, view)
        with pytest.raises(ValueError, match="no nodes"):
            tree.restore(60)
        tree.restore(50)
        for at in range(50, 200, 10):
            tree.extend(row[32 * at : 32 * (at + 10)])
        assert same(tree, twin_with(2, row))
        del tree


def test_no_reference_is_leaked() -> None:
    """To leaves, nodes and indices, by calls that succeed and by calls that raise."""
    leaf, indices = bytearray(32), [1, 2, 3]
    tree = native_tree(_native, 3, segment=9, max_depth=9)
    tree.extend(ROW)
    edge, calls = edge_of(tree), 3000
    nodes = memoryview(bytearray(b"".join(tree.views(0, 0, 72))))
    given = (leaf, indices, edge, nodes)
    tree.install(0, 0, nodes)
    held = [sys.getrefcount(value) for value in given]
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(calls):
        proof_of(tree, SIZE, edge, 5)
        tree.prove_many(SIZE, edge, indices)
        tree.views(0, 0, 60)
        tree.install(0, 0, nodes)
        for name in CALLS:
            if name.startswith(("install", "prove", "views", "restore", "append")):
                try:
                    CALLS[name][1](tree)
                except Exception:
                    continue
                raise AssertionError(name)
    gc.collect()
    assert sys.getallocatedblocks() - before < calls // 10
    assert [sys.getrefcount(value) for value in given] == held
    leaf.append(0)
