"""What the tests of the native kernel share: the module, the lanes of this machine, its trees."""

from __future__ import annotations

import os
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from rotortree import Blake3Hasher, Blake3PlainHasher, Hasher
from rotortree.geometry import capacity, complete_count, depth
from rotortree.leaves import leaf_row, one_leaf
from rotortree.tree.accumulator import Accumulator, PortableAccumulator, _no_room
from rotortree.tree.levels import segment_nodes

if TYPE_CHECKING:
    from rotortree.kernel._native import Accumulator as NativeAccumulator


def native_module() -> Any:
    """The native kernel; where it was not built the tests are skipped, unless it is required.

    Then importing `rotortree` fails already, except with ROTORTREE_NATIVE=off.
    """
    try:
        import rotortree.kernel._native as native
    except ModuleNotFoundError:
        if os.environ.get("ROTORTREE_REQUIRE_NATIVE", "0") not in ("", "0"):
            raise
        pytest.skip("the native kernel was not built", allow_module_level=True)
    assert isinstance(native, ModuleType)
    return native


def lanes_here(native: Any) -> tuple[int, ...]:
    """Every number of lanes that this machine has."""
    return tuple(lanes for lanes in (4, 8, 16) if native.machine_has(lanes))


MOST = {True: 31, False: 32}
"""The largest arity of each scheme that the kernel knows: tagged or not."""

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Whether these tests run with a sanitizer, which takes memory and time of its own."""


def scheme_of(tagged: bool) -> Hasher:
    """The scheme that is tagged or not."""
    return Blake3Hasher() if tagged else Blake3PlainHasher()


def proof_of(tree: Any, size: Any, edge: Any, index: Any) -> bytes:
    """What a tree, native or not, proves."""
    found: bytes = tree.prove(size, edge, index, native_module().Encoded)._encoded
    return found


def native_tree(
    native: Any,
    n: int,
    *,
    tagged: bool = True,
    lanes: int = 4,
    threads: int = 1,
    segment: int | None = None,
    max_depth: int = 255,
) -> NativeAccumulator:
    """An empty native tree of this shape."""
    tree: NativeAccumulator = native.Accumulator(
        n,
        max_depth,
        scheme_of(tagged),
        tagged,
        lanes,
        threads,
        capacity(n, max_depth),
        segment or segment_nodes(n),
        one_leaf,
        leaf_row,
        partial(_no_room, n, max_depth),
    )
    return tree


def twin_of(n: int, *, tagged: bool = True, max_depth: int = 255) -> PortableAccumulator:
    """An empty tree in Python, of the default segments: how they are cut shows nowhere."""
    return PortableAccumulator(n, max_depth, scheme_of(tagged), segment_nodes(n))


def nodes_of(tree: Accumulator, level: int, count: int) -> bytes:
    """The first nodes of a level as one row."""
    return b"".join(tree.views(level, 0, count))


def all_nodes(tree: Accumulator, size: int) -> list[bytes]:
    """The complete nodes of the first ``size`` leaves, level by level."""
    counts = [complete_count(size, tree.n, level) for level in range(depth(size, tree.n) + 1)]
    return [nodes_of(tree, level, count) for level, count in enumerate(counts)]


def installed(tree: Accumulator, nodes: list[Any], size: int) -> None:
    """Let an empty tree have these nodes."""
    for level, row in enumerate(nodes):
        if len(row):
            tree.install(level, 0, memoryview(row).toreadonly())
    tree.restore(size)


def twin_with(n: int, row: bytes) -> PortableAccumulator:
    """The twin with these leaves."""
    twin = twin_of(n)
    twin.extend(row)
    return twin


def same(tree: Any, twin: PortableAccumulator) -> bool:
    """Whether all nodes, the root and the edge are equal."""
    size = twin.size
    return (
        tree.size == size
        and all_nodes(tree, size) == all_nodes(twin, size)
        and tree.root(size) == twin.root(size)
        and tree.edge(size) == twin.edge(size)
    )
