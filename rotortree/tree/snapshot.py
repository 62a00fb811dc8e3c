"""A tree at one size: immutable, O(1) to take, safe from any thread, valid for ever."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import SupportsIndex

from rotortree.errors import IndexOutOfRangeError
from rotortree.geometry import (
    NODE_BYTES,
    complete_count,
    consistency_groups,
    depth,
    level_length,
)
from rotortree.proof import ConsistencyProof, InclusionProof, InclusionProofs, TreeHead
from rotortree.tree.accumulator import Accumulator

__all__ = ["Snapshot", "check_range"]


def check_range(what: str, value: SupportsIndex, stop: int) -> int:
    """The integer that ``value`` is.

    Raises IndexOutOfRangeError unless 0 <= value < stop, TypeError for what is no integer; a
    boolean is none.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
    index = operator.index(value)
    if not 0 <= index < stop:
        raise IndexOutOfRangeError(what, index, stop)
    return index


class Snapshot:
    """A tree as it was when it had ``size`` leaves.

    It stays valid and unchanged while the tree grows, is checkpointed and after it is closed.
    Every method is safe from any thread and takes no lock.
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
        # Two threads may both compute it: they compute the same.
        if self._edge_cache is None:
            self._edge_cache = self._tree.edge(self.size)
        return self._edge_cache

    @property
    def depth(self) -> int:
        """The level of the root: the least d with n ** d >= size."""
        return depth(self.size, self._tree.n)

    @property
    def root(self) -> bytes | None:
        """The root, 32 bytes; None when there is no leaf."""
        return self.get_node(self.depth, 0) if self.size else None

    @property
    def head(self) -> TreeHead:
        """What a verifier needs: size, root, arity and scheme."""
        return TreeHead(self.size, self.root, self._tree.n, self._tree.hasher.name)

    def level_len(self, level: SupportsIndex) -> int:
        """How many nodes a level has, the right edge included; 0 above the root."""
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
        return self._members(level, index, index + 1)

    def _members(self, level: int, start: int, stop: int) -> bytes:
        """Nodes [start, stop) of a level, of which only the very last may be incomplete."""
        complete = complete_count(self.size, self._tree.n, level)
        nodes = b"".join(self._tree.views(level, start, max(start, min(stop, complete))))
        if complete < stop:
            nodes += self._edge[level * NODE_BYTES : (level + 1) * NODE_BYTES]
        return nodes

    def leaves(self, start: SupportsIndex = 0, stop: SupportsIndex | None = None) -> bytes:
        """Leaves [start, stop) as one row of 32·(stop - start) bytes."""
        stop = check_range("stop", self.size if stop is None else stop, self.size + 1)
        start = check_range("start", start, stop + 1)
        return b"".join(self._tree.views(0, start, stop))

    def prove(self, index: SupportsIndex) -> InclusionProof:
        """That leaf ``index`` is in this tree.  Raises IndexOutOfRangeError."""
        edge = self._edge_cache or self._edge
        try:
            return self._tree.prove(self.size, edge, index, InclusionProof)  # type: ignore[arg-type]
        except (IndexError, OverflowError, TypeError):  # out of range, or no int
            index = check_range("leaf", index, self.size)
        return self._tree.prove(self.size, edge, index, InclusionProof)

    def prove_many(self, indices: Iterable[SupportsIndex]) -> InclusionProofs:
        """The proofs of many leaves, in the order of ``indices``; all of them or none.

        They are one row of bytes, `InclusionProofs.encoded`; each is decoded when it is asked for.
        Raises as `prove` does.
        """
        places = [*indices]
        found = self._tree.prove_many(self.size, self._edge, places)  # type: ignore[arg-type]
        if found is None:  # one of them is no integer, or out of range
            checked = [check_range("leaf", place, self.size) for place in places]
            found = self._tree.prove_many(self.size, self._edge, checked)
            assert found is not None
        encoded, ends = found
        return InclusionProofs(encoded, memoryview(ends).cast("Q"))

    def prove_consistency(self, old_size: SupportsIndex) -> ConsistencyProof:
        """That this tree begins with the one that had ``old_size`` leaves.

        Raises IndexOutOfRangeError unless 0 <= old_size <= size.
        """
        old_size = check_range("old size", old_size, self.size + 1)
        parts: list[bytes] = []
        for group, straddles in consistency_groups(old_size, self.size, self._tree.n):
            members = self._members(group.level, group.start, group.stop)
            at = (group.own - group.start) * NODE_BYTES
            parts += (members[:at], members[at + NODE_BYTES * straddles :])
        return ConsistencyProof(self._tree.n, self.size, old_size, b"".join(parts))
