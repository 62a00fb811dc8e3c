"""LeanIMT, the tree in memory, and the reads that it shares with the durable tree."""

from __future__ import annotations

from typing import SupportsIndex

from rotortree.geometry import check_parameters
from rotortree.hashing import Blake3Hasher, Hasher, check_hasher
from rotortree.leaves import Leaf, LeafBatch
from rotortree.proofs import TreeHead
from rotortree.tree.accumulator import Accumulator, new_accumulator
from rotortree.tree.snapshot import Snapshot, check_range

__all__ = ["LeanIMT", "TreeReads"]


class TreeReads:
    """The reads of a tree: they may be called at any time, from any thread, and take no lock."""

    __slots__ = ()

    def _readable(self) -> Accumulator:
        raise NotImplementedError

    @property
    def n(self) -> int:
        """The arity: the number of children of a complete node."""
        return self._readable().n

    @property
    def max_depth(self) -> int:
        """The largest depth in levels; the capacity is min(n ** max_depth, 2 ** 63 - 1) leaves."""
        return self._readable().max_depth

    @property
    def hasher(self) -> Hasher:
        """The hash scheme of the tree."""
        return self._readable().hasher

    @property
    def size(self) -> int:
        """The number of leaves in the tree."""
        return self._readable().size

    @property
    def depth(self) -> int:
        """The level of the root: the least d with n ** d >= size (TREE-3)."""
        return self.snapshot().depth

    @property
    def root(self) -> bytes | None:
        """The root, 32 bytes; None if the tree has no leaf (TREE-12)."""
        tree = self._readable()
        size = tree.size
        return tree.root(size) if size else None

    @property
    def head(self) -> TreeHead:
        """The head that a verifier trusts: size, root, arity and scheme, all of one moment."""
        return self.snapshot().head

    def root_at(self, size: SupportsIndex) -> bytes | None:
        """The root that the tree had at ``size`` leaves, 32 bytes; None for 0 (TREE-28).

        Raises IndexOutOfRangeError unless 0 <= size <= the present size.
        """
        tree = self._readable()
        size = check_range("size", size, tree.size + 1)
        return tree.root(size) if size else None

    def snapshot(self, size: SupportsIndex | None = None) -> Snapshot:
        """The tree at a past size, or by default at its present size; taken in O(1).

        Raises IndexOutOfRangeError unless 0 <= size <= the present size.
        """
        tree = self._readable()
        now = tree.size
        if size is None:
            return Snapshot(tree, now)
        return Snapshot(tree, check_range("size", size, now + 1))


class LeanIMT(TreeReads):
    """An append-only N-ary lean incremental Merkle tree in memory.

    ``n`` is 2 to 255 children, ``max_depth`` is 1 to 255 levels, ``hasher`` is by default
    `Blake3Hasher`.  Raises InvalidConfigError for any other value.

    Reads take no lock; inserts from several threads are done one after the other.  A call that
    raises changes nothing, with one exception: after a KeyboardInterrupt, or another error that a
    signal handler raises, the leaves may be in the tree (TREE-26).

    A signal handler, a finalizer or a hasher may read.  If it inserts, and interrupted an insertion
    of its own thread, it gets ReentrantError, and changes nothing.  A child process must not insert
    if another thread was inserting when the process was forked: it would wait for ever.
    """

    __slots__ = ("_append", "_extend", "_insert", "_insert_many", "_tree")

    def __init__(self, n: int = 4, max_depth: int = 20, hasher: Hasher | None = None) -> None:
        check_parameters(n, max_depth)
        hasher = Blake3Hasher() if hasher is None else hasher
        check_hasher(hasher)
        self._tree = tree = new_accumulator(n, max_depth, hasher)
        # Bound once, because looking up the method would be a large part of inserting one leaf.
        self._append, self._extend = tree.append, tree.extend
        self._insert, self._insert_many = tree.insert, tree.insert_many

    def __repr__(self) -> str:
        return f"LeanIMT(n={self.n}, max_depth={self.max_depth}, hasher={self.hasher!r})"

    def _readable(self) -> Accumulator:
        return self._tree

    def insert(self, leaf: Leaf) -> bytes:
        """Append a leaf of 32 bytes; return the new root, 32 bytes.

        Raises InvalidLeafError, MaxDepthExceededError or CapacityExceededError.
        """
        insert = self._insert  # CPython 3.11 loads an attribute faster than a method
        return insert(leaf)

    def insert_many(self, leaves: LeafBatch) -> bytes:
        """Append a batch as a whole or not at all (TREE-23); return the new root, 32 bytes.

        ``leaves`` is a contiguous buffer of 32·k bytes (bytes, memoryview, NumPy array of shape
        (k, 32)), or k leaves in order.  Raises EmptyBatchError if k is 0, and as `insert` does.
        """
        return self._insert_many(leaves)

    def append(self, leaf: Leaf) -> None:
        """Append a leaf of 32 bytes without computing the root.  Raises as `insert` does."""
        append = self._append
        append(leaf)

    def extend(self, leaves: LeafBatch) -> None:
        """Append a batch without computing the root.  Raises as `insert_many` does."""
        self._extend(leaves)
