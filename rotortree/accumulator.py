"""The tree itself: level arrays of complete nodes, appended to in bulk, and the right edge folded.

Only leaves and complete nodes are stored.  At most one node of each level is not complete, the
right edge; it is folded on demand from the complete nodes left of it, for any past size alike.
"""

from __future__ import annotations

from rotortree import kernel
from rotortree.errors import CapacityExceededError, MaxDepthExceededError
from rotortree.geometry import MAX_SIZE, NODE_BYTES, capacity, complete_count, depth
from rotortree.hashing import Hasher
from rotortree.levels import LevelArray, segment_nodes

__all__ = ["Accumulator"]


class Accumulator:
    """An append-only tree in memory.  One writer at a time, any number of readers without locks.

    ``size`` is published last: whoever reads it may read everything below it.
    """

    __slots__ = ("_segment_nodes", "hasher", "levels", "max_depth", "n", "size")

    def __init__(
        self, n: int, max_depth: int, hasher: Hasher, nodes_per_segment: int | None = None
    ) -> None:
        self.n = n
        self.max_depth = max_depth
        self.hasher = hasher
        self.size = 0
        self._segment_nodes = nodes_per_segment or segment_nodes(n)
        self.levels: list[LevelArray] = [LevelArray(self._segment_nodes)]

    def level(self, level: int) -> LevelArray:
        """The array of a level, made when it is first asked for.  For the writer only."""
        while level >= len(self.levels):
            self.levels.append(LevelArray(self._segment_nodes))
        return self.levels[level]

    def check_room(self, count: int) -> None:
        """Raise MaxDepthExceededError or CapacityExceededError unless ``count`` leaves fit."""
        room = capacity(self.n, self.max_depth)
        if self.size + count <= room:
            return
        if room == MAX_SIZE:
            raise CapacityExceededError(self.size, count, room, "no tree can hold more")
        raise MaxDepthExceededError(
            self.size, count, room, f"n = {self.n}, max_depth = {self.max_depth}"
        )

    def extend(self, leaves: memoryview) -> None:
        """Append k leaves, given as 32·k bytes, or change nothing and raise."""
        self.size = self._store(leaves)

    def insert(self, leaves: memoryview) -> bytes:
        """Append k leaves and return the root with them, or change nothing and raise."""
        new_size = self._store(leaves)
        root = self.root(new_size)
        self.size = new_size
        return root

    def _store(self, leaves: memoryview) -> int:
        """Write leaves, and the nodes that they complete, behind the size; return the new size."""
        count = len(leaves) // NODE_BYTES
        self.check_room(count)
        new_size = self.size + count
        self.level(0).write(self.size, leaves)
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
            children, parents = self.levels[level], self.level(level + 1)
            for group_row in children.views(start * self.n, stop * self.n):
                end = start + len(group_row) // (self.n * NODE_BYTES)
                kernel.hash_groups_into(self.hasher, group_row, self.n, parents.room(start, end))
                start = end
            level += 1

    def right_edge(self, size: int) -> list[bytes | None]:
        """For each level from 0 to the root's, the node that ``size`` leaves leave incomplete.

        None where the level has no such node.  Requires what `root` does.
        """
        edge: list[bytes | None] = [None]
        complete = size
        for level in range(depth(size, self.n)):
            first = complete - complete % self.n
            children = self.levels[level].read(first, complete) + (edge[level] or b"")
            if len(children) > NODE_BYTES:
                edge.append(kernel.hash_group(self.hasher, children))
            else:
                edge.append(children or None)  # a lone child is lifted
            complete //= self.n
        return edge

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` leaves; 32 zero bytes, as files have it, if there is none.

        Requires that the leaves and the nodes that they complete are written.
        """
        if size == 0:
            return bytes(NODE_BYTES)
        top = depth(size, self.n)
        return self.right_edge(size)[top] or self.levels[top].node(0)
