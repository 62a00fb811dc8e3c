"""Append-only node arrays, whose segments are in memory or mapped from files.

::

    nodes    0 ........... S ........... 2S ........... 3S ........
             segment 0     segment 1     segment 2      segment 3
             mapped        mapped        memory         memory, the last one partly filled

A `LevelArray` stores no length.  The number of valid nodes follows from the tree's size alone
(`geometry.complete_count`).  So an append that fails half-way leaves nothing to undo: what it wrote
lies beyond the size, and the next append writes it again.

Readers take no lock.  The writer writes a node before it publishes the size that makes the node
valid, and never changes the node afterwards.  The writer replaces a segment (by a larger one, or by
a mapped one) by storing another view of equal bytes; a reader that holds the older view goes on
reading it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rotortree.geometry import NODE_BYTES

__all__ = ["LevelArray", "segment_nodes"]

_SEGMENT_NODES = 65536
"""The largest number of nodes in a segment: 2 MiB of them, the size of a huge page."""

_FIRST_BYTES = 32 * NODE_BYTES
"""Initial size of a level's first segment, in bytes; it doubles until it has its full size."""


def segment_nodes(n: int) -> int:
    """Nodes per segment: the largest multiple of n up to 65536, so that no group is split."""
    return _SEGMENT_NODES - _SEGMENT_NODES % n


class LevelArray:
    """The nodes of one level, each written once, in order, by one writer for any number of readers.

    ``nodes_per_segment`` is the number of nodes of every segment but the last.
    """

    __slots__ = ("_segment_bytes", "_segments")

    def __init__(self, nodes_per_segment: int) -> None:
        self._segment_bytes = nodes_per_segment * NODE_BYTES
        self._segments: list[memoryview] = []

    def views(self, start: int, stop: int) -> Iterator[memoryview]:
        """Nodes [start, stop), one view for each segment, without copying.

        Requires that all these nodes are valid.
        """
        at, end = start * NODE_BYTES, stop * NODE_BYTES
        while at < end:
            number, offset = divmod(at, self._segment_bytes)
            length = min(end - at, self._segment_bytes - offset)
            yield self._segments[number][offset : offset + length]
            at += length

    def read(self, start: int, stop: int) -> bytes:
        """Nodes [start, stop) as 32·(stop - start) bytes.  Requires that they are valid."""
        number, offset = divmod(start * NODE_BYTES, self._segment_bytes)
        end = offset + (stop - start) * NODE_BYTES
        if end <= self._segment_bytes and start < stop:  # nearly always: one copy
            return bytes(self._segments[number][offset:end])
        return b"".join(self.views(start, stop))

    def write(self, start: int, nodes: memoryview) -> None:
        """Store the row ``nodes`` from node ``start`` on.

        Requires that all nodes before ``start`` are valid.
        """
        at = start * NODE_BYTES
        while nodes:
            number, offset = divmod(at, self._segment_bytes)
            part = nodes[: self._segment_bytes - offset]
            end = offset + len(part)
            self._writable(number, offset, end)[offset:end] = part
            at += len(part)
            nodes = nodes[len(part) :]

    def _writable(self, number: int, valid: int, end: int) -> memoryview:
        """Segment ``number`` as writable memory of at least ``end`` bytes.

        Makes or replaces the segment if necessary, and keeps its first ``valid`` bytes.
        """
        old = self._segments[number] if number < len(self._segments) else memoryview(b"")
        if len(old) >= end and not old.readonly:
            return old
        capacity = self._segment_bytes
        if number == 0:
            capacity = min(capacity, max(end, 2 * len(old), _FIRST_BYTES))
        new = memoryview(bytearray(capacity))
        new[:valid] = old[:valid]
        if number < len(self._segments):
            self._segments[number] = new
        else:
            self._segments.append(new)
        return new

    def install(self, start: int, nodes: memoryview) -> None:
        """Replace the segments from node ``start`` on by views of ``nodes``, without copying.

        Requires that ``start`` is the first node of a segment, and that ``nodes`` equals the nodes
        it replaces, or continues after the last valid node.
        """
        number = start * NODE_BYTES // self._segment_bytes
        while nodes:
            part, nodes = nodes[: self._segment_bytes], nodes[self._segment_bytes :]
            if number < len(self._segments):
                self._segments[number] = part
            else:
                self._segments.append(part)
            number += 1
