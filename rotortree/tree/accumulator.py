"""The tree in memory: it appends leaves to level arrays, and completes the nodes above them.

Only leaves and complete nodes are stored.  At most one node of a level is incomplete, the right
edge.  `rotortree.tree.reading` folds it on demand from complete nodes, for any past size alike.

There are two implementations of `Accumulator`: a native one in C, for the schemes that the native
kernel hashes, and `PortableAccumulator` in Python, for every scheme.  Both have the same nodes,
roots and proofs.  `new_accumulator` chooses.
"""

from __future__ import annotations

import functools
import threading
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import NoReturn, Protocol, TypeVar

from rotortree import kernel
from rotortree.encoding import inclusion_header
from rotortree.errors import CapacityExceededError, MaxDepthExceededError, ReentrantError
from rotortree.geometry import (
    MAX_SIZE,
    NODE_BYTES,
    capacity,
    complete_count,
)
from rotortree.hashing import Hasher
from rotortree.leaves import Leaf, LeafBatch, leaf_row, one_leaf
from rotortree.tree import reading
from rotortree.tree.levels import LevelArray, segment_nodes

__all__ = ["Accumulator", "PortableAccumulator", "new_accumulator"]

_Proof = TypeVar("_Proof", bound=kernel.Encoded)


class Accumulator(Protocol):
    """An append-only tree in memory, for any number of threads.

    Writers wait for each other.  Readers take no lock: a writer publishes ``size`` last, so that a
    reader of ``size`` may read all nodes that are complete at that size.  A call that raises
    changes nothing (TREE-26).
    """

    @property
    def n(self) -> int:
        """The arity: the number of children of a complete node."""

    @property
    def max_depth(self) -> int:
        """The largest depth that the tree may reach, in levels."""

    @property
    def hasher(self) -> Hasher:
        """The hash scheme of the tree."""

    @property
    def size(self) -> int:
        """The number of leaves in the tree."""

    def append(self, leaf: Leaf, /) -> None:
        """Append a leaf of 32 bytes.

        Raises InvalidLeafError, MaxDepthExceededError or CapacityExceededError.
        """

    def extend(self, leaves: LeafBatch, /) -> None:
        """Append a batch as a whole or not at all (TREE-23).

        Raises as `append` does, and EmptyBatchError.
        """

    def insert(self, leaf: Leaf, /) -> bytes:
        """Append a leaf of 32 bytes; return the new root.  Raises as `append` does."""

    def insert_many(self, leaves: LeafBatch, /) -> bytes:
        """Append a batch; return the new root.  Raises as `extend` does."""

    def root(self, size: int, /) -> bytes:
        """The root of the first ``size`` leaves, 32 bytes; zeros if there is no leaf (TREE-12).

        Requires 0 <= size <= the size of the tree.
        """

    def edge(self, size: int, /) -> bytes:
        """The edge row of the first ``size`` leaves; see `rotortree.tree.reading`.

        It is the incomplete node of each level up to the root's, 32 bytes a level, zeros where a
        level has none.  Requires 0 <= size <= the size of the tree.
        """

    def views(self, level: int, start: int, stop: int, /) -> Sequence[memoryview]:
        """Complete nodes [start, stop) of a level: one view for each segment, without copying.

        Requires that all these nodes are complete at the size of the tree.
        """

    def install(self, level: int, start: int, nodes: memoryview, /) -> None:
        """Replace the segments of a level from node ``start`` on by views of ``nodes``.

        The tree then reads these nodes from the memory of ``nodes``, for example from a mapped
        file.  Requires that ``start`` is the first node of a segment, and that ``nodes`` equals the
        nodes it replaces, or continues after the level's last node.
        """

    def restore(self, size: int, /) -> None:
        """Set the size of the tree to ``size`` leaves.

        Requires that these leaves and all nodes complete at that size were installed.
        """

    def prove(self, size: int, edge: bytes, index: int, kind: type[_Proof], /) -> _Proof:
        """The inclusion proof of leaf ``index`` in the tree of the first ``size`` leaves.

        ``edge`` is the edge row of that size.  The proof is a new object of class ``kind``, made
        without calling ``__init__``; only its encoding is set.
        Raises TypeError if the index is not an int, IndexError or OverflowError if it is not in
        [0, size).
        """

    def prove_many(
        self, size: int, edge: bytes, indices: list[int], /
    ) -> tuple[bytes, bytes] | None:
        """The encoded inclusion proofs of many leaves in one row, in the order of ``indices``.

        Returns the row, and the offset in bytes at which each proof ends, as native 64-bit
        integers.  Returns None if an index is not an int in [0, size).
        """


def new_accumulator(
    n: int, max_depth: int, hasher: Hasher, nodes_per_segment: int | None = None
) -> Accumulator:
    """An empty tree: a native one if the kernel has the scheme and arity, else a portable one.

    ``nodes_per_segment`` is by default `segment_nodes` of ``n``; another one must be a multiple of
    ``n``, so that no group is split.
    """
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
    """An `Accumulator` in Python, for every hash scheme.

    Reads go through `rotortree.tree.reading`; `_read` is what it asks for nodes.
    """

    __slots__ = ("_levels", "_lock", "_segment_nodes", "hasher", "max_depth", "n", "size")

    def __init__(self, n: int, max_depth: int, hasher: Hasher, nodes_per_segment: int) -> None:
        self.n = n
        self.max_depth = max_depth
        self.hasher = hasher
        self.size = 0
        self._lock = threading.RLock()  # which knows its owner
        self._segment_nodes = nodes_per_segment
        self._levels = [LevelArray(nodes_per_segment)]

    def append(self, leaf: Leaf, /) -> None:
        """See `Accumulator.append`."""
        row = one_leaf(leaf)
        with self._writing():
            self.size = self._store(row)

    def extend(self, leaves: LeafBatch, /) -> None:
        """See `Accumulator.extend`."""
        row = leaf_row(leaves)
        with self._writing():
            self.size = self._store(row)

    def insert(self, leaf: Leaf, /) -> bytes:
        """See `Accumulator.insert`."""
        return self._insert(one_leaf(leaf))

    def insert_many(self, leaves: LeafBatch, /) -> bytes:
        """See `Accumulator.insert_many`."""
        return self._insert(leaf_row(leaves))

    def _insert(self, row: memoryview) -> bytes:
        with self._writing():
            new_size = self._store(row)
            root = self.root(new_size)
            self.size = new_size
        return root

    def _writing(self) -> AbstractContextManager[object]:
        """The lock of all writers.

        Raises ReentrantError where the caller interrupted a writer of its own thread: a signal
        handler, a finalizer, a hasher.
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]  # typeshed does not know it
            raise ReentrantError(
                "called by what interrupted an insert of the same thread"
                " (a signal handler, a finalizer or a hasher)"
            )
        return self._lock

    def _level(self, level: int) -> LevelArray:
        """The array of a level, made when a writer first asks for it.

        Requires that the calling thread holds the lock.
        """
        while level >= len(self._levels):
            self._levels.append(LevelArray(self._segment_nodes))
        return self._levels[level]

    def _store(self, row: memoryview) -> int:
        """Write leaves, and the nodes that they complete, beyond the size; return the new size.

        The caller publishes the new size.  Requires that the calling thread holds the lock.
        """
        count = len(row) // NODE_BYTES
        if self.size + count > capacity(self.n, self.max_depth):
            _no_room(self.n, self.max_depth, self.size, count)
        new_size = self.size + count
        self._levels[0].write(self.size, row)
        self._complete_nodes(new_size)
        return new_size

    def _complete_nodes(self, new_size: int) -> None:
        """Write, level by level, the nodes that become complete at ``new_size`` leaves."""
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
        return reading.root(self.n, size, self.hasher, self._read)

    def edge(self, size: int, /) -> bytes:
        """See `Accumulator.edge`."""
        return reading.edge(self.n, size, self.hasher, self._read)

    def _read(self, level: int, start: int, stop: int) -> bytes:
        """Complete nodes [start, stop) of a level: a `reading.Read`."""
        return self._levels[level].read(start, stop)

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
        header = inclusion_header(self.n, size, index)
        return header + reading.inclusion_hashes(self.n, size, edge, self._read, index)

    def prove_many(
        self, size: int, edge: bytes, indices: list[int], /
    ) -> tuple[bytes, bytes] | None:
        """See `Accumulator.prove_many`."""
        if not all(type(index) is int and 0 <= index < size for index in indices):
            return None
        proofs = [self._proof(size, edge, index) for index in indices]
        return b"".join(proofs), array("Q", accumulate(map(len, proofs))).tobytes()
