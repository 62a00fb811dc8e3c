"""A tree at one size: immutable, taken in O(1), safe from any thread, valid for ever."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import SupportsIndex

from rotortree.errors import IndexOutOfRangeError
from rotortree.geometry import complete_count, depth, level_length
from rotortree.proofs import ConsistencyProof, InclusionProof, InclusionProofs, TreeHead
from rotortree.tree import reading
from rotortree.tree.accumulator import Accumulator

__all__ = ["Snapshot", "check_range"]


def check_range(what: str, value: SupportsIndex, stop: int) -> int:
    """``value`` as an int, after checking that 0 <= value < stop.

    ``what`` names the value in error messages.  Raises IndexOutOfRangeError if the value is out of
    range, and TypeError if it is not an integer; a boolean is not one.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
    index = operator.index(value)
    if not 0 <= index < stop:
        raise IndexOutOfRangeError(what, index, stop)
    return index


class Snapshot:
    """A tree as it was when it had ``size`` leaves (TREE-28, TREE-29).

    A snapshot stays valid and unchanged while the tree grows, while it is checkpointed, and after
    it is closed.  Every method may be called from any thread, and takes no lock.
    """

    __slots__ = ("_edge_cache", "_tree", "size")

    def __init__(self, tree: Accumulator, size: int) -> None:
        self._tree = tree
        self._edge_cache: bytes | None = None
        self.size = size

    def __repr__(self) -> str:
        return f"<Snapshot of {self.size} leaves, n = {self._tree.n}>"

    @property
    def _edge(self) -> bytes:
        # Two threads may both compute the edge row; they get the same bytes.
        if self._edge_cache is None:
            self._edge_cache = self._tree.edge(self.size)
        return self._edge_cache

    @property
    def depth(self) -> int:
        """The level of the root: the least d with n ** d >= size."""
        return depth(self.size, self._tree.n)

    @property
    def root(self) -> bytes | None:
        """The root, 32 bytes; None if the tree has no leaf (TREE-12)."""
        return self.get_node(self.depth, 0) if self.size else None

    @property
    def head(self) -> TreeHead:
        """The head that a verifier trusts: size, root, arity and scheme (TREE-34)."""
        return TreeHead(self.size, self.root, self._tree.n, self._tree.hasher.name)

    def level_len(self, level: SupportsIndex) -> int:
        """The number of nodes of a level, the right edge included; 0 above the root.

        Raises IndexOutOfRangeError if the level is negative (TREE-30).
        """
        try:
            level = check_range("level", level, self.depth + 1)
        except IndexOutOfRangeError as error:
            if error.value < 0:
                raise
            return 0
        return level_length(self.size, self._tree.n, level)

    def get_node(self, level: SupportsIndex, index: SupportsIndex) -> bytes:
        """Node ``index`` of ``level`` (0: the leaves), 32 bytes.  Raises IndexOutOfRangeError."""
        level = check_range("level", level, self.depth + 1)
        index = check_range(f"node of level {level}:", index, self.level_len(level))
        n = self._tree.n
        # The edge row costs hashes: it is made for incomplete nodes only.
        edge_row = b"" if index < complete_count(self.size, n, level) else self._edge
        return reading.node(n, self.size, edge_row, self._read, level, index)

    def _read(self, level: int, start: int, stop: int) -> bytes:
        """Complete nodes [start, stop) of a level: a `reading.Read`."""
        return b"".join(self._tree.views(level, start, stop))

    def leaves(self, start: SupportsIndex = 0, stop: SupportsIndex | None = None) -> bytes:
        """Leaves [start, stop) as one row of 32·(stop - start) bytes; by default all leaves.

        Raises IndexOutOfRangeError unless 0 <= start <= stop <= size (TREE-31).
        """
        stop = check_range("stop", self.size if stop is None else stop, self.size + 1)
        start = check_range("start", start, stop + 1)
        return b"".join(self._tree.views(0, start, stop))

    def prove(self, index: SupportsIndex) -> InclusionProof:
        """The proof that leaf ``index`` is in this tree.

        Raises IndexOutOfRangeError unless 0 <= index < size (PROOF-9).
        """
        edge = self._edge_cache or self._edge
        try:
            return self._tree.prove(self.size, edge, index, InclusionProof)  # type: ignore[arg-type]
        except (IndexError, OverflowError, TypeError):  # out of range, or not an int
            index = check_range("leaf", index, self.size)
        return self._tree.prove(self.size, edge, index, InclusionProof)

    def prove_many(self, indices: Iterable[SupportsIndex]) -> InclusionProofs:
        """The inclusion proofs of many leaves, in the order of ``indices`` (PROOF-33).

        The proofs are one row of bytes, `InclusionProofs.encoded`; an item is decoded when it is
        asked for.  Raises as `prove` does; then there is no proof at all.
        """
        places = [*indices]
        found = self._tree.prove_many(self.size, self._edge, places)  # type: ignore[arg-type]
        if found is None:  # an index is not an integer, or out of range
            checked = [check_range("leaf", place, self.size) for place in places]
            found = self._tree.prove_many(self.size, self._edge, checked)
            assert found is not None
        encoded, ends = found
        return InclusionProofs(encoded, memoryview(ends).cast("Q"))

    def prove_consistency(self, old_size: SupportsIndex) -> ConsistencyProof:
        """The proof that this tree begins with the first ``old_size`` leaves.

        Raises IndexOutOfRangeError unless 0 <= old_size <= size (PROOF-15).
        """
        old_size = check_range("old size", old_size, self.size + 1)
        n = self._tree.n
        hashes = reading.consistency_hashes(n, self.size, self._edge, self._read, old_size)
        return ConsistencyProof(n, self.size, old_size, hashes)
