"""Reading level files: the complete nodes of a checkpoint, and how they are proven on open.

``levels/<level>/<shard>.nodes`` is a header of 128 bytes and up to ``shard_nodes`` nodes of 32.
Every byte is a pure function of the leaves, so a checkpoint that crashed left nothing wrong behind:
the next one writes the same bytes again.  How many nodes count is what COMMIT says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rotortree import kernel
from rotortree.config import TieringConfig
from rotortree.errors import DataCorruptionError
from rotortree.geometry import NODE_BYTES, complete_count, depth
from rotortree.storage import calls
from rotortree.storage.directory import ReadableDirectory, ReadableFile
from rotortree.storage.format import (
    LEVELS,
    SHARD_BYTES,
    Head,
    Identity,
    shard_file,
    shard_header,
    shard_name,
)
from rotortree.storage.parallel import count_passing
from rotortree.tree.accumulator import Accumulator, new_accumulator
from rotortree.tree.levels import segment_nodes

__all__ = [
    "LevelFiles",
    "WrongPlace",
    "default_shard_nodes",
    "level_counts",
    "node_offset",
    "nodes_per_segment",
    "shards",
]

_SEGMENTS_PER_SHARD = 512


def default_shard_nodes(n: int) -> int:
    """Nodes per level file of a new tree: about 33 million, 1 GiB; few enough files to open all."""
    return segment_nodes(n) * _SEGMENTS_PER_SHARD


def nodes_per_segment(identity: Identity) -> int:
    """Nodes per segment in memory: the largest size of which a level file holds whole ones."""
    most = min(segment_nodes(identity.n), identity.shard_nodes)
    return next(size for size in range(most, 0, -identity.n) if identity.shard_nodes % size == 0)


class WrongPlace(NamedTuple):
    """A place in a level file that is wrong, and that the leaves suffice to repair."""

    level: int
    shard: int
    path: str
    offset: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}, offset {self.offset}: {self.message}"


def shards(identity: Identity, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The shards that hold nodes [start, stop) of a level, each with its part of that range."""
    while start < stop:
        shard = start // identity.shard_nodes
        end = min(stop, (shard + 1) * identity.shard_nodes)
        yield shard, start, end
        start = end


def node_offset(identity: Identity, index: int) -> int:
    """The offset of a node in its level file."""
    return SHARD_BYTES + index % identity.shard_nodes * NODE_BYTES


def level_counts(size: int, n: int) -> Iterator[tuple[int, int]]:
    """Each level in which ``size`` leaves make complete nodes, and how many."""
    for level in range(depth(size, n) + 1):
        if count := complete_count(size, n, level):
            yield level, count


class LevelFiles:
    """The level files of one tree, to be read.  Only one thread at a time may load or map.

    Their directories are opened when they are first needed, and stay the same until `close`.
    """

    def __init__(self, root: ReadableDirectory, identity: Identity) -> None:
        self._root = root
        self._identity = identity
        self._segment_nodes = nodes_per_segment(identity)
        self._directories: dict[int, ReadableDirectory] = {}
        self._mapped: dict[int, int] = {}
        self._read: dict[int, list[tuple[int, memoryview]]] = {}

    # Where nodes are.

    def path(self, level: int, shard: int) -> str:
        """What messages call a level file."""
        return f"{self._root.path}/{LEVELS}/{shard_name(level, shard)}"

    def _open(self, level: int, shard: int) -> ReadableFile | None:
        """A level file; None if it, or its directory, is not there."""
        if level not in self._directories:
            directory = calls.open_directory(self._root, f"{LEVELS}/{level}")
            if directory is None:
                return None
            self._directories[level] = directory
        return calls.open_file(self._directories[level], shard_file(shard))

    def _shards(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        return shards(self._identity, start, stop)

    def _offset(self, index: int) -> int:
        return node_offset(self._identity, index)

    def _counts(self, size: int) -> Iterator[tuple[int, int]]:
        return level_counts(size, self._identity.n)

    def check_named(self) -> None:
        """Raise DetachedError unless the levels that were read are still where they were."""
        for level, directory in self._directories.items():
            calls.check_named(self._root, f"{LEVELS}/{level}", calls.identity_of(directory))

    def close(self) -> None:
        """Release the directories.  Idempotent."""
        for directory in self._directories.values():
            calls.close(directory)

    # Reading.

    def load(
        self, tree: Accumulator, head: Head, tiering: TieringConfig, *, verify: bool
    ) -> tuple[WrongPlace, ...]:
        """Let an empty ``tree`` have the first ``head.size`` leaves; return what was repaired.

        Damaged nodes above the leaves are recomputed, in memory.  With ``verify`` every node is
        recomputed from the leaves and compared, otherwise only the root is.  Raises
        DataCorruptionError, which names the leaves that cannot be trusted, and IoFailedError.
        """
        wrong: list[WrongPlace] = []
        self._read = {}
        for level, count in self._counts(head.size):
            whole = True  # what lies behind a hole is only looked at: the level is rebuilt
            for shard, start, stop in self._shards(0, count):
                parts, found = self._load_shard(tiering, level, shard, start, stop)
                wrong += found
                whole = whole and bool(parts)
                for first, nodes in parts if whole else ():
                    tree.install(level, first, nodes)
            self._mapped[level] = count - count % self._segment_nodes
        if not wrong:
            tree.restore(head.size)
            if self._agrees(tree, head, every_node=verify):
                self._read = {}
                return ()
        wrong += self._rebuild(tree, head, tuple(wrong))
        self._read = {}
        tree.restore(head.size)
        return tuple(wrong)

    def _load_shard(
        self, tiering: TieringConfig, level: int, shard: int, start: int, stop: int
    ) -> tuple[list[tuple[int, memoryview]], list[WrongPlace]]:
        """Nodes [start, stop), each part with its first, and what is wrong; none: not there.

        Only whole segments are mapped.  In the last one is what the root is folded from, and what
        is copied when the tree grows: a sector that cannot be read is then an error, not a signal.
        """
        path = self.path(level, shard)
        length = self._offset(stop - 1) + NODE_BYTES
        wrong = []
        file = self._open(level, shard)
        try:
            size = 0 if file is None else calls.file_size(file, path)
            if file is None or size < length:
                return [], [self._missing(level, shard, path, start, size)]
            header = calls.read_exactly(file, path, SHARD_BYTES, 0)
            if header != shard_header(self._identity, level, shard):
                message = "the header is damaged, or another file's"
                wrong.append(WrongPlace(level, shard, path, 0, message))
            whole = stop - stop % self._segment_nodes if tiering.is_mapped(level) else start
            parts = []
            if start < whole:
                parts.append((start, self._map(file, path, whole)))
            if whole < stop:
                at, length = self._offset(whole), (stop - whole) * NODE_BYTES
                nodes = calls.read_exactly(file, path, length, at)
                if len(nodes) < length:  # it became shorter, or the disk read something else
                    return [], [*wrong, self._missing(level, shard, path, start, at + len(nodes))]
                parts.append((whole, memoryview(nodes)))
                self._read.setdefault(level, []).append(parts[-1])
            return parts, wrong
        finally:
            if file is not None:
                calls.close(file)

    def _map(self, file: ReadableFile, path: str, stop: int) -> memoryview:
        """The nodes of a shard below ``stop``, from its first on.

        Every map keeps a descriptor open: so there is only this one of each file.
        """
        with calls.translated(path, "map"):
            return file.map(self._offset(stop - 1) + NODE_BYTES)[SHARD_BYTES:]

    def _missing(self, level: int, shard: int, path: str, start: int, size: int) -> WrongPlace:
        held = max(0, size - SHARD_BYTES) // NODE_BYTES
        message = f"the file ends at {size}: node {start + held} of level {level} is missing"
        if level == 0:
            raise DataCorruptionError(path, size, message, (start + held, start + held + 1))
        return WrongPlace(level, shard, path, size, message)

    def _row(self, level: int, start: int, stop: int) -> bytes:
        """Nodes [start, stop), of one segment, as they are stored; fewer where the file ends.

        What was read to be used is not read again, which might give something else.  The rest is
        read, not mapped: a sector that cannot be read is then an error and not a signal.
        """
        for first, nodes in reversed(self._read.get(level, [])):
            if first <= start:
                return bytes(nodes[(start - first) * NODE_BYTES : (stop - first) * NODE_BYTES])
        shard = start // self._identity.shard_nodes
        return self.read(level, shard, (stop - start) * NODE_BYTES, self._offset(start))

    def read(self, level: int, shard: int, length: int, offset: int) -> bytes:
        """Bytes of a level file; fewer where it ends, none if it is not there."""
        file = self._open(level, shard)
        if file is None:
            return b""
        try:
            return calls.read_exactly(file, self.path(level, shard), length, offset)
        finally:
            calls.close(file)

    def file_size(self, level: int, shard: int) -> int:
        """The length of a level file; 0 if it is not there."""
        file = self._open(level, shard)
        if file is None:
            return 0
        try:
            return calls.file_size(file, self.path(level, shard))
        finally:
            calls.close(file)

    def _segments(self, count: int) -> Iterator[tuple[int, int]]:
        """The first ``count`` nodes of a level in parts, each of one file and of whole groups."""
        for start in range(0, count, self._segment_nodes):
            yield start, min(count, start + self._segment_nodes)

    def _agrees(self, tree: Accumulator, head: Head, *, every_node: bool) -> bool:
        """Whether the loaded nodes lead to the root, and each is the parent of its children."""
        n = self._identity.n
        groups = [
            (level, start // n, stop // n)
            for level, _ in (self._counts(head.size) if every_node else ())
            for start, stop in self._segments(complete_count(head.size, n, level + 1) * n)
        ]

        def are_parents(group: tuple[int, int, int]) -> bool:
            level, start, stop = group
            children = self._row(level, start * n, stop * n)
            return len(children) == (stop - start) * n * NODE_BYTES and kernel.hash_groups(
                tree.hasher, children, n
            ) == self._row(level + 1, start, stop)

        passed = count_passing(are_parents, groups)
        return passed == len(groups) and tree.root(head.size) == head.root

    def _rebuild(
        self, tree: Accumulator, head: Head, known: tuple[WrongPlace, ...]
    ) -> Iterator[WrongPlace]:
        """Recompute every node from the leaves, put right what differs, and yield it."""
        fresh = new_accumulator(tree.n, tree.max_depth, tree.hasher, self._segment_nodes)
        for start, stop in self._segments(head.size):
            row = self._row(0, start, stop)
            if len(row) < (stop - start) * NODE_BYTES:
                path = self.path(0, start // self._identity.shard_nodes)
                raise DataCorruptionError(path, self._offset(start), "the file became shorter")
            fresh.extend(row)
        if fresh.root(head.size) != head.root:
            raise self._bad_leaves(fresh, head)
        for level, count in self._counts(head.size):
            if level == 0:
                continue
            found = list(self._differences(fresh, level, count))
            if found or any(place.level == level for place in known):
                for start, stop in self._segments(count):
                    for nodes in fresh.views(level, start, stop):
                        tree.install(level, start, nodes)
                self._mapped[level] = 0
            shards = {place.shard for place in known if place.level == level}
            yield from (place for place in found if place.shard not in shards)

    def _differences(self, fresh: Accumulator, level: int, count: int) -> Iterator[WrongPlace]:
        """For each stored row that is not what the leaves give, its first wrong node."""
        for start, stop in self._segments(count):
            row, right = self._row(level, start, stop), b"".join(fresh.views(level, start, stop))
            for at in range(0, len(right) if row != right else 0, NODE_BYTES):
                if row[at : at + NODE_BYTES] != right[at : at + NODE_BYTES]:
                    index = start + at // NODE_BYTES
                    shard = index // self._identity.shard_nodes
                    message = f"node {index} of level {level} is not the parent of its children"
                    path = self.path(level, shard)
                    yield WrongPlace(level, shard, path, self._offset(index), message)
                    break

    def _bad_leaves(self, fresh: Accumulator, head: Head) -> DataCorruptionError:
        """Which leaves not to trust: a group whose stored parent says otherwise, or the last.

        Not for certain: it may be that parent, or the root, that is damaged, and leaves elsewhere.
        """
        n = self._identity.n
        start, stop = head.size - head.size % n, head.size
        for place in self._differences(fresh, 1, complete_count(head.size, n, 1)):
            start = (place.offset - SHARD_BYTES) // NODE_BYTES
            start = (start + place.shard * self._identity.shard_nodes) * n
            stop = start + n
            break
        if start == stop:
            start = 0
        path = self.path(0, start // self._identity.shard_nodes)
        message = (
            f"the root is not the committed one: leaves {start} to {stop - 1} cannot be trusted"
        )
        return DataCorruptionError(path, self._offset(start), message, (start, stop))

    # Mapping.

    def map_segments(self, tree: Accumulator, size: int, tiering: TieringConfig) -> None:
        """Read whole segments below ``size`` through their files, which frees their memory.

        Raises IoFailedError, also where a file's name leads to another tree's file by now, or to
        one of another history of this tree; the segments then stay in memory until the next time.
        """
        for level, count in self._counts(size):
            whole = count - count % self._segment_nodes if tiering.is_mapped(level) else 0
            for shard, start, stop in self._shards(self._mapped.get(level, 0), whole):
                file = self._open(level, shard)
                if file is None:
                    continue
                path, last = self.path(level, shard), tree.views(level, stop - 1, stop)
                header = shard_header(self._identity, level, shard)
                try:
                    calls.check_written(file, path, [header], 0)
                    calls.check_written(file, path, last, self._offset(stop - 1))
                    nodes = self._map(file, path, stop)
                finally:
                    calls.close(file)
                # All of the shard, so that what was mapped of it before is given up.
                tree.install(level, start - start % self._identity.shard_nodes, nodes)
                self._mapped[level] = stop
