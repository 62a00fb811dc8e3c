"""LeanIMT: the tree in memory, with the reads that the durable tree shares."""

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
    """What can be read of a tree at any time, from any thread, without a lock."""

    __slots__ = ()

    def _readable(self) -> Accumulator:
        raise NotImplementedError

    @property
    def n(self) -> int:
        """The arity: how many children a complete node has."""
        return self._readable().n

    @property
    def max_depth(self) -> int:
        """The largest depth; the capacity is n ** max_depth leaves."""
        return self._readable().max_depth

    @property
    def hasher(self) -> Hasher:
        """The hash scheme."""
        return self._readable().hasher

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._readable().size

    @property
    def depth(self) -> int:
        """The level of the root: the least d with n ** d >= size."""
        return self.snapshot().depth

    @property
    def root(self) -> bytes | None:
        """The root, 32 bytes; None when there is no leaf."""
        tree = self._readable()
        size = tree.size
        return tree.root(size) if size else None

    @property
    def head(self) -> TreeHead:
        """What a verifier needs: size, root, arity and scheme, of one moment."""
        return self.snapshot().head

    def root_at(self, size: SupportsIndex) -> bytes | None:
        """The root that the tree had at a past size.  Raises IndexOutOfRangeError."""
        tree = self._readable()
        size = check_range("size", size, tree.size + 1)
        return tree.root(size) if size else None

    def snapshot(self, size: SupportsIndex | None = None) -> Snapshot:
        """The tree at its present or at a past size, in O(1).  Raises IndexOutOfRangeError."""
        tree = self._readable()
        now = tree.size
        if size is None:
            return Snapshot(tree, now)
        return Snapshot(tree, check_range("size", size, now + 1))


class LeanIMT(TreeReads):
    """An append-only N-ary lean incremental Merkle tree in memory.

    ``n`` is 2 to 255 children, ``max_depth`` 1 to 255 levels.  Reads take no lock; inserts from
    several threads are done one after the other.  A call that raises changes nothing, but for what
    a signal handler raises (KeyboardInterrupt): that may come when the leaves are in.  A signal
    handler or finalizer must not insert: where it interrupts an insertion of its own thread, it
    waits for ever.  So does a child process that inserts if another thread did when it was forked.
    """

    __slots__ = ("_append", "_extend", "_insert", "_insert_many", "_tree")

    def __init__(self, n: int = 4, max_depth: int = 20, hasher: Hasher | None = None) -> None:
        check_parameters(n, max_depth)
        hasher = Blake3Hasher() if hasher is None else hasher
        check_hasher(hasher)
        self._tree = tree = new_accumulator(n, max_depth, hasher)
        # What is inserted one by one should not have to look for the method each time.
        self._append, self._extend = tree.append, tree.extend
        self._insert, self._insert_many = tree.insert, tree.insert_many

    def __repr__(self) -> str:
        return f"LeanIMT(n={self.n}, max_depth={self.max_depth}, hasher={self.hasher!r})"

    def _readable(self) -> Accumulator:
        return self._tree

    def insert(self, leaf: Leaf) -> bytes:
        """Append a leaf of 32 bytes; return the root with it.

        Raises InvalidLeafError, MaxDepthExceededError, CapacityExceededError.
        """
        insert = self._insert  # CPython 3.11 loads an attribute faster than a method
        return insert(leaf)

    def insert_many(self, leaves: LeafBatch) -> bytes:
        """Append a batch, all of it or nothing; return the root with it.

        ``leaves`` is a contiguous buffer of 32·k bytes (bytes, memoryview, NumPy array of shape
        (k, 32)), or k leaves in order.  Raises EmptyBatchError and what `insert` raises.
        """
        return self._insert_many(leaves)

    def append(self, leaf: Leaf) -> None:
        """Append a leaf of 32 bytes without computing the root.  Raises as `insert` does."""
        append = self._append
        append(leaf)

    def extend(self, leaves: LeafBatch) -> None:
        """Append a batch without computing the root.  Raises as `insert_many` does."""
        self._extend(leaves)
