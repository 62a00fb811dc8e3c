"""The tree itself: level arrays of complete nodes, appended to in bulk, and the right edge folded.

Only leaves and complete nodes are stored.  At most one node of each level is not complete, the
right edge; it is folded on demand from the complete nodes left of it, for any past size alike.

There are two that do the same: one in C, for the schemes that it can hash, and
`PortableAccumulator`, which shows how it is done.  `new_accumulator` chooses.
"""

from __future__ import annotations

import functools
import threading
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import NoReturn, Protocol, TypeVar

from rotortree import kernel
from rotortree.encoding import inclusion_header
from rotortree.errors import CapacityExceededError, MaxDepthExceededError
from rotortree.geometry import (
    MAX_SIZE,
    NODE_BYTES,
    capacity,
    complete_count,
    depth,
    inclusion_groups,
)
from rotortree.hashing import Hasher
from rotortree.leaves import Leaf, LeafBatch, leaf_row, one_leaf
from rotortree.tree.levels import LevelArray, segment_nodes

__all__ = ["Accumulator", "PortableAccumulator", "new_accumulator"]

_Proof = TypeVar("_Proof", bound=kernel.Encoded)


class Accumulator(Protocol):
    """An append-only tree in memory.  Any number of threads: writers wait for each other.

    Readers need no lock: ``size`` is published last, and whoever reads it may read everything
    below it.  A call that raises changes nothing.
    """

    @property
    def n(self) -> int:
        """The arity."""

    @property
    def max_depth(self) -> int:
        """The largest depth."""

    @property
    def hasher(self) -> Hasher:
        """The hash scheme."""

    @property
    def size(self) -> int:
        """How many leaves there are."""

    def append(self, leaf: Leaf, /) -> None:
        """Append a leaf.

        Raises InvalidLeafError, MaxDepthExceededError or CapacityExceededError.
        """

    def extend(self, leaves: LeafBatch, /) -> None:
        """Append a batch, all of it or nothing.  Raises as `append` does, and EmptyBatchError."""

    def insert(self, leaf: Leaf, /) -> bytes:
        """Append a leaf; return the root with it.  Raises as `append` does."""

    def insert_many(self, leaves: LeafBatch, /) -> bytes:
        """Append a batch; return the root with it.  Raises as `extend` does."""

    def root(self, size: int, /) -> bytes:
        """The root of the first ``size`` leaves; 32 zero bytes, as files have it, for none."""

    def edge(self, size: int, /) -> bytes:
        """For each level up to the root's, the node that ``size`` leaves leave incomplete.

        One row: 32 bytes for each level, zeros where it has no such node.
        """

    def views(self, level: int, start: int, stop: int, /) -> Sequence[memoryview]:
        """Complete nodes [start, stop) of a level, one view for each segment, without copying."""

    def install(self, level: int, start: int, nodes: memoryview, /) -> None:
        """Let the segments of a level from node ``start`` on be views of ``nodes``.

        ``start`` is a segment's first node.  The nodes are the same as those that were there, or
        follow the last one.
        """

    def restore(self, size: int, /) -> None:
        """Have ``size`` leaves: they, and the nodes that they complete, were installed."""

    def prove(self, size: int, edge: bytes, index: int, kind: type[_Proof], /) -> _Proof:
        """The inclusion proof of a leaf in the first ``size`` ones; ``edge`` is theirs.

        It is an object of class ``kind``, of which nothing is set but its encoding.
        Raises TypeError if the index is no int, IndexError or OverflowError if out of range.
        """

    def prove_many(
        self, size: int, edge: bytes, indices: list[int], /
    ) -> tuple[bytes, bytes] | None:
        """Such proofs one behind the other, and where each ends, as 64-bit numbers.

        None if one of the indices is not an integer in [0, size).
        """


def new_accumulator(
    n: int, max_depth: int, hasher: Hasher, nodes_per_segment: int | None = None
) -> Accumulator:
    """An empty tree."""
    segment = nodes_per_segment or segment_nodes(n)
    no_room = functools.partial(_no_room, n, max_depth)
    room = capacity(n, max_depth)
    native = kernel.new_native(n, max_depth, hasher, room, segment, one_leaf, leaf_row, no_room)
    return native or PortableAccumulator(n, max_depth, hasher, segment)


def _no_room(n: int, max_depth: int, size: int, count: int) -> NoReturn:
    room = capacity(n, max_depth)
    if room == MAX_SIZE:
        raise CapacityExceededError(size, count, room, "no tree can hold more")
    raise MaxDepthExceededError(size, count, room, f"n = {n}, max_depth = {max_depth}")


class PortableAccumulator:
    """An `Accumulator` in Python, for every scheme."""

    __slots__ = ("_levels", "_lock", "_segment_nodes", "hasher", "max_depth", "n", "size")

    def __init__(self, n: int, max_depth: int, hasher: Hasher, nodes_per_segment: int) -> None:
        self.n = n
        self.max_depth = max_depth
        self.hasher = hasher
        self.size = 0
        self._lock = threading.Lock()
        self._segment_nodes = nodes_per_segment
        self._levels = [LevelArray(nodes_per_segment)]

    def append(self, leaf: Leaf, /) -> None:
        """See `Accumulator.append`."""
        row = one_leaf(leaf)
        with self._lock:
            self.size = self._store(row)

    def extend(self, leaves: LeafBatch, /) -> None:
        """See `Accumulator.extend`."""
        row = leaf_row(leaves)
        with self._lock:
            self.size = self._store(row)

    def insert(self, leaf: Leaf, /) -> bytes:
        """See `Accumulator.insert`."""
        return self._insert(one_leaf(leaf))

    def insert_many(self, leaves: LeafBatch, /) -> bytes:
        """See `Accumulator.insert_many`."""
        return self._insert(leaf_row(leaves))

    def _insert(self, row: memoryview) -> bytes:
        with self._lock:
            new_size = self._store(row)
            root = self.root(new_size)
            self.size = new_size
        return root

    def _level(self, level: int) -> LevelArray:
        """The array of a level, made when it is first asked for.  For writers only."""
        while level >= len(self._levels):
            self._levels.append(LevelArray(self._segment_nodes))
        return self._levels[level]

    def _store(self, row: memoryview) -> int:
        """Write leaves, and the nodes that they complete, behind the size; return the new size."""
        count = len(row) // NODE_BYTES
        if self.size + count > capacity(self.n, self.max_depth):
            _no_room(self.n, self.max_depth, self.size, count)
        new_size = self.size + count
        self._levels[0].write(self.size, row)
        self._complete_nodes(new_size)
        return new_size

    def _complete_nodes(self, new_size: int) -> None:
        """Write, level by level, the nodes that the leaves up to ``new_size`` complete."""
        level = 0
        while True:
            start = complete_count(self.size, self.n, level + 1)
            stop = complete_count(new_size, self.n, level + 1)
            if start == stop:
                return
            children, parents = self._levels[level], self._level(level + 1)
            for group_row in children.views(start * self.n, stop * self.n):
                nodes = kernel.hash_groups(self.hasher, group_row, self.n)
                parents.write(start, memoryview(nodes))
                start += len(nodes) // NODE_BYTES
            level += 1

    def root(self, size: int, /) -> bytes:
        """See `Accumulator.root`."""
        if size == 0:
            return bytes(NODE_BYTES)
        top = depth(size, self.n)
        return self._fold(size)[top] or self._levels[top].read(0, 1)

    def edge(self, size: int, /) -> bytes:
        """See `Accumulator.edge`."""
        return b"".join([node or bytes(NODE_BYTES) for node in self._fold(size)])

    def _fold(self, size: int) -> list[bytes | None]:
        """For each level up to the root's, the node that ``size`` leaves leave incomplete."""
        edge: list[bytes | None] = [None]
        complete = size
        for level in range(depth(size, self.n)):
            first = complete - complete % self.n
            children = self._levels[level].read(first, complete) + (edge[level] or b"")
            if len(children) > NODE_BYTES:
                edge.append(kernel.hash_group(self.hasher, children))
            else:
                edge.append(children or None)  # a lone child is lifted
            complete //= self.n
        return edge

    def views(self, level: int, start: int, stop: int, /) -> list[memoryview]:
        """See `Accumulator.views`."""
        return list(self._levels[level].views(start, stop)) if start < stop else []

    def install(self, level: int, start: int, nodes: memoryview, /) -> None:
        """See `Accumulator.install`."""
        with self._lock:
            self._level(level).install(start, nodes)

    def restore(self, size: int, /) -> None:
        """See `Accumulator.restore`."""
        with self._lock:
            self.size = size

    def prove(self, size: int, edge: bytes, index: int, kind: type[_Proof], /) -> _Proof:
        """See `Accumulator.prove`."""
        proof = kind.__new__(kind)
        proof._encoded = self._proof(size, edge, index)
        return proof

    def _proof(self, size: int, edge: bytes, index: int) -> bytes:
        if type(index) is not int:
            raise TypeError("a leaf's index must be an int")
        if not 0 <= index < size:
            raise IndexError(f"leaf must be below {size}, not {index}")
        parts = [inclusion_header(self.n, size, index)]
        for level, start, own, stop in inclusion_groups(size, self.n, index):
            complete = complete_count(size, self.n, level)
            for first, last in ((start, own), (own + 1, stop)):
                parts.append(self._levels[level].read(first, max(first, min(last, complete))))
            if own < complete < stop:
                parts.append(edge[level * NODE_BYTES : (level + 1) * NODE_BYTES])
        return b"".join(parts)

    def prove_many(
        self, size: int, edge: bytes, indices: list[int], /
    ) -> tuple[bytes, bytes] | None:
        """See `Accumulator.prove_many`."""
        if not all(type(index) is int and 0 <= index < size for index in indices):
            return None
        proofs = [self._proof(size, edge, index) for index in indices]
        return b"".join(proofs), array("Q", accumulate(map(len, proofs))).tobytes()
