"""Append-only node arrays: in memory, mapped from files, or some of each.

::

    nodes    0 ........... S ........... 2S ........... 3S ........
             segment 0     segment 1     segment 2      segment 3
             mapped        mapped        memory         memory, the last one partly filled

A `LevelArray` has no length of its own.  How much of it is valid follows from the tree's size
alone (`geometry.complete_count`), so that an append that fails half-way leaves nothing to undo:
what it wrote lies beyond the size, and is written again.

Readers need no lock: a node is written before the size that makes it valid is published, and never
changes afterwards.  A segment is replaced (grown, or swapped for a mapped one) by storing another
view of the same bytes; whoever holds the older view goes on reading it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rotortree.geometry import NODE_BYTES

__all__ = ["LevelArray", "segment_nodes"]

_SEGMENT_NODES = 65536
"""Nodes in a segment, about: 2 MiB, the size of a huge page."""

_FIRST_BYTES = 32 * NODE_BYTES
"""What a level's first segment starts with; it doubles until it is a whole segment."""


def segment_nodes(n: int) -> int:
    """Nodes per segment: the largest multiple of n that is at most 65536, so no group straddles."""
    return _SEGMENT_NODES - _SEGMENT_NODES % n


class LevelArray:
    """The nodes of one level, written once each, in order.  One writer, any number of readers."""

    __slots__ = ("_segment_bytes", "_segments")

    def __init__(self, nodes_per_segment: int) -> None:
        self._segment_bytes = nodes_per_segment * NODE_BYTES
        self._segments: list[memoryview] = []

    def views(self, start: int, stop: int) -> Iterator[memoryview]:
        """Nodes [start, stop), all valid, as one view per segment, without copying."""
        at, end = start * NODE_BYTES, stop * NODE_BYTES
        while at < end:
            number, offset = divmod(at, self._segment_bytes)
            length = min(end - at, self._segment_bytes - offset)
            yield self._segments[number][offset : offset + length]
            at += length

    def read(self, start: int, stop: int) -> bytes:
        """Nodes [start, stop), all valid, as 32·(stop - start) bytes."""
        number, offset = divmod(start * NODE_BYTES, self._segment_bytes)
        end = offset + (stop - start) * NODE_BYTES
        if end <= self._segment_bytes and start < stop:  # as good as always: one copy
            return bytes(self._segments[number][offset:end])
        return b"".join(self.views(start, stop))

    def write(self, start: int, nodes: memoryview) -> None:
        """Store nodes from ``start`` on, where everything before ``start`` is valid."""
        at = start * NODE_BYTES
        while nodes:
            number, offset = divmod(at, self._segment_bytes)
            part = nodes[: self._segment_bytes - offset]
            end = offset + len(part)
            self._writable(number, offset, end)[offset:end] = part
            at += len(part)
            nodes = nodes[len(part) :]

    def _writable(self, number: int, valid: int, end: int) -> memoryview:
        """Segment ``number``, in memory and of at least ``end`` bytes, its first ``valid`` kept."""
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
        """Let the segments from ``start`` on (a segment's first node) be views of ``nodes``.

        The nodes are the same as those that were there, or follow the last valid one.
        """
        number = start * NODE_BYTES // self._segment_bytes
        while nodes:
            part, nodes = nodes[: self._segment_bytes], nodes[self._segment_bytes :]
            if number < len(self._segments):
                self._segments[number] = part
            else:
                self._segments.append(part)
            number += 1
