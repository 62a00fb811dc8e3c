"""Level files: the complete nodes of a checkpoint, and how they are proven on open.

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
from rotortree.storage.files import File, FileSystem
from rotortree.storage.format import (
    LEVELS,
    SHARD_BYTES,
    Head,
    Identity,
    shard_header,
    shard_name,
)
from rotortree.storage.parallel import count_passing
from rotortree.tree.accumulator import Accumulator, new_accumulator
from rotortree.tree.levels import segment_nodes

__all__ = ["Damage", "LevelFiles", "default_shard_nodes", "nodes_per_segment"]

_SEGMENTS_PER_SHARD = 512


def default_shard_nodes(n: int) -> int:
    """Nodes per level file of a new tree: about 33 million, 1 GiB; few enough files to open all."""
    return segment_nodes(n) * _SEGMENTS_PER_SHARD


def nodes_per_segment(identity: Identity) -> int:
    """Nodes per segment in memory: the most of which a shard holds whole ones, for it is mapped."""
    most = min(segment_nodes(identity.n), identity.shard_nodes)
    return next(size for size in range(most, 0, -identity.n) if identity.shard_nodes % size == 0)


class Damage(NamedTuple):
    """A place in a level file that is wrong, and that the leaves suffice to repair."""

    level: int
    shard: int
    path: str
    offset: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}, offset {self.offset}: {self.message}"


class LevelFiles:
    """The level files of one tree.  Only one thread at a time may load, write, map or repair."""

    def __init__(self, fs: FileSystem, directory: str, identity: Identity) -> None:
        self._fs = fs
        self._root = directory
        self._directory = f"{directory}/{LEVELS}"
        self._identity = identity
        self._segment_nodes = nodes_per_segment(identity)
        self._durable_names: set[str] = set()
        self._durable_size = 0
        self._mapped: dict[int, int] = {}
        self._read: dict[int, list[tuple[int, memoryview]]] = {}

    # Where nodes are.

    def _path(self, level: int, shard: int) -> str:
        return f"{self._directory}/{shard_name(level, shard)}"

    def _shards(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The shards that hold nodes [start, stop), each with its part of that range."""
        while start < stop:
            shard = start // self._identity.shard_nodes
            end = min(stop, (shard + 1) * self._identity.shard_nodes)
            yield shard, start, end
            start = end

    def _offset(self, index: int) -> int:
        return SHARD_BYTES + index % self._identity.shard_nodes * NODE_BYTES

    def _counts(self, size: int) -> Iterator[tuple[int, int]]:
        """Each level that has complete nodes, and how many."""
        for level in range(depth(size, self._identity.n) + 1):
            if count := complete_count(size, self._identity.n, level):
                yield level, count

    # Writing.

    def write(self, tree: Accumulator, old_size: int, size: int) -> None:
        """Write the nodes that ``size`` leaves complete and ``old_size`` did not, durably.

        Fsync of every file, then of every directory in which a name may be new: in the first
        checkpoint of a process that is each one, because a process that was killed may have left
        names behind that were never synced.  Raises IoFailedError; all is written again next time.
        After a success it is not, whether a commit of it failed or not: the record may have reached
        the disk all the same, and writing what it counts could tear it.
        """
        old_size = max(old_size, self._durable_size)
        names = {self._directory: self._root}
        calls.make_directory(self._fs, self._directory)
        for level, count in self._counts(size):
            directory = f"{self._directory}/{level}"
            old = complete_count(old_size, self._identity.n, level)
            if old == count:
                break
            names[directory] = self._directory
            calls.make_directory(self._fs, directory)
            for shard, start, stop in self._shards(old, count):
                names[self._path(level, shard)] = directory
                self._write_shard(tree, level, shard, start, stop)
        new = {name: parent for name, parent in names.items() if name not in self._durable_names}
        for directory in sorted(set(new.values())):
            calls.sync_directory(self._fs, directory)
        self._durable_names.update(new)
        self._durable_size = size

    def _write_shard(
        self, tree: Accumulator, level: int, shard: int, start: int, stop: int
    ) -> None:
        """Write nodes [start, stop) of one shard, with the header if they are its first."""
        buffers: list[bytes | memoryview] = list(tree.views(level, start, stop))
        offset = self._offset(start)
        if offset == SHARD_BYTES:
            buffers.insert(0, shard_header(self._identity, level, shard))
            offset = 0
        self._write_durably(self._path(level, shard), buffers, offset)

    def _write_durably(self, path: str, buffers: list[bytes | memoryview], offset: int) -> None:
        file = calls.open_file(self._fs, path, "create")
        assert file is not None  # "create" does
        try:
            calls.write_all(file, path, buffers, offset)
            calls.sync_file(file, path)
            # The log that also has these leaves goes, and the memory is given up for the file.
            calls.check_written(file, path, buffers, offset)
        finally:
            calls.close_file(file)

    def repair(self, tree: Accumulator, size: int, damages: tuple[Damage, ...]) -> None:
        """Write again, durably, every shard that was found damaged.  Raises IoFailedError.

        Of level 0 only headers are repaired: no leaf is ever written over.
        """
        if not damages:
            return
        calls.make_directory(self._fs, self._directory)
        for level, shard in sorted({(damage.level, damage.shard) for damage in damages}):
            if level == 0:
                header: list[bytes | memoryview] = [shard_header(self._identity, level, shard)]
                self._write_durably(self._path(level, shard), header, 0)
            else:
                start = shard * self._identity.shard_nodes
                count = complete_count(size, self._identity.n, level)
                stop = min(count, start + self._identity.shard_nodes)
                calls.make_directory(self._fs, f"{self._directory}/{level}")
                self._write_shard(tree, level, shard, start, stop)
                calls.sync_directory(self._fs, f"{self._directory}/{level}")
        calls.sync_directory(self._fs, self._directory)
        calls.sync_directory(self._fs, self._root)

    # Reading.

    def load(
        self, tree: Accumulator, head: Head, tiering: TieringConfig, *, verify: bool
    ) -> tuple[Damage, ...]:
        """Let an empty ``tree`` have the first ``head.size`` leaves; return what was repaired.

        Damaged nodes above the leaves are recomputed, in memory.  With ``verify`` every node is
        recomputed from the leaves and compared, otherwise only the root is.  Raises
        DataCorruptionError, which names the leaves that cannot be trusted, and IoFailedError.
        """
        damages: list[Damage] = []
        self._read = {}
        for level, count in self._counts(head.size):
            whole = True  # what lies behind a hole is only looked at: the level is rebuilt
            for shard, start, stop in self._shards(0, count):
                parts, found = self._load_shard(tiering, level, shard, start, stop)
                damages += found
                whole = whole and bool(parts)
                for first, nodes in parts if whole else ():
                    tree.install(level, first, nodes)
            self._mapped[level] = count - count % self._segment_nodes
        if not damages:
            tree.restore(head.size)
            if self._agrees(tree, head, every_node=verify):
                self._read = {}
                return ()
        damages += self._rebuild(tree, head, tuple(damages))
        self._read = {}
        tree.restore(head.size)
        return tuple(damages)

    def _load_shard(
        self, tiering: TieringConfig, level: int, shard: int, start: int, stop: int
    ) -> tuple[list[tuple[int, memoryview]], list[Damage]]:
        """Nodes [start, stop), each part with its first, and what is wrong; none: not there.

        Only whole segments are mapped.  In the last one is what the root is folded from, and what
        is copied when the tree grows: a sector that cannot be read is then an error, not a signal.
        """
        path = self._path(level, shard)
        length = self._offset(stop - 1) + NODE_BYTES
        damages = []
        file = calls.open_file(self._fs, path, "read")
        try:
            size = 0 if file is None else calls.file_size(file, path)
            if file is None or size < length:
                return [], [self._missing(level, shard, path, start, size)]
            header = calls.read_exactly(file, path, SHARD_BYTES, 0)
            if header != shard_header(self._identity, level, shard):
                message = "the header is damaged, or another file's"
                damages.append(Damage(level, shard, path, 0, message))
            whole = stop - stop % self._segment_nodes if tiering.is_mapped(level) else start
            parts = []
            if start < whole:
                parts.append((start, self._map(file, path, whole)))
            if whole < stop:
                at, length = self._offset(whole), (stop - whole) * NODE_BYTES
                nodes = calls.read_exactly(file, path, length, at)
                if len(nodes) < length:  # it became shorter, or the disk read something else
                    return [], [*damages, self._missing(level, shard, path, start, at + len(nodes))]
                parts.append((whole, memoryview(nodes)))
                self._read.setdefault(level, []).append(parts[-1])
            return parts, damages
        finally:
            if file is not None:
                calls.close_file(file)

    def _map(self, file: File, path: str, stop: int) -> memoryview:
        """The nodes of a shard below ``stop``, from its first on.

        Every map keeps a descriptor open: so there is only this one of each file.
        """
        with calls.translated(path, "map"):
            return file.map(self._offset(stop - 1) + NODE_BYTES)[SHARD_BYTES:]

    def _missing(self, level: int, shard: int, path: str, start: int, size: int) -> Damage:
        held = max(0, size - SHARD_BYTES) // NODE_BYTES
        message = f"the file ends at {size}: node {start + held} of level {level} is missing"
        if level == 0:
            raise DataCorruptionError(path, size, message, (start + held, start + held + 1))
        return Damage(level, shard, path, size, message)

    def _row(self, level: int, start: int, stop: int) -> bytes:
        """Nodes [start, stop), of one segment, as they are stored; fewer where the file ends.

        What was read to be used is not read again, which might give something else.  The rest is
        read, not mapped: a sector that cannot be read is then an error and not a signal.
        """
        for first, nodes in reversed(self._read.get(level, [])):
            if first <= start:
                return bytes(nodes[(start - first) * NODE_BYTES : (stop - first) * NODE_BYTES])
        path = self._path(level, start // self._identity.shard_nodes)
        file = calls.open_file(self._fs, path, "read")
        if file is None:
            return b""
        try:
            length = (stop - start) * NODE_BYTES
            return calls.read_exactly(file, path, length, self._offset(start))
        finally:
            calls.close_file(file)

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
        self, tree: Accumulator, head: Head, known: tuple[Damage, ...]
    ) -> Iterator[Damage]:
        """Recompute every node from the leaves, put right what differs, and yield it."""
        fresh = new_accumulator(tree.n, tree.max_depth, tree.hasher, self._segment_nodes)
        for start, stop in self._segments(head.size):
            row = self._row(0, start, stop)
            if len(row) < (stop - start) * NODE_BYTES:
                path = self._path(0, start // self._identity.shard_nodes)
                raise DataCorruptionError(path, self._offset(start), "the file became shorter")
            fresh.extend(row)
        if fresh.root(head.size) != head.root:
            raise self._bad_leaves(fresh, head)
        for level, count in self._counts(head.size):
            if level == 0:
                continue
            found = list(self._differences(fresh, level, count))
            if found or any(damage.level == level for damage in known):
                for start, stop in self._segments(count):
                    for nodes in fresh.views(level, start, stop):
                        tree.install(level, start, nodes)
                self._mapped[level] = 0
            shards = {damage.shard for damage in known if damage.level == level}
            yield from (damage for damage in found if damage.shard not in shards)

    def _differences(self, fresh: Accumulator, level: int, count: int) -> Iterator[Damage]:
        """For each stored row that is not what the leaves give, its first wrong node."""
        for start, stop in self._segments(count):
            row, right = self._row(level, start, stop), b"".join(fresh.views(level, start, stop))
            for at in range(0, len(right) if row != right else 0, NODE_BYTES):
                if row[at : at + NODE_BYTES] != right[at : at + NODE_BYTES]:
                    index = start + at // NODE_BYTES
                    shard = index // self._identity.shard_nodes
                    message = f"node {index} of level {level} is not the parent of its children"
                    path = self._path(level, shard)
                    yield Damage(level, shard, path, self._offset(index), message)
                    break

    def _bad_leaves(self, fresh: Accumulator, head: Head) -> DataCorruptionError:
        """Which leaves not to trust: a group whose stored parent says otherwise, or the last.

        Not for certain: it may be that parent, or the root, that is damaged, and leaves elsewhere.
        """
        n = self._identity.n
        start, stop = head.size - head.size % n, head.size
        for damage in self._differences(fresh, 1, complete_count(head.size, n, 1)):
            start = (damage.offset - SHARD_BYTES) // NODE_BYTES
            start = (start + damage.shard * self._identity.shard_nodes) * n
            stop = start + n
            break
        if start == stop:
            start = 0
        path = self._path(0, start // self._identity.shard_nodes)
        message = (
            f"the root is not the committed one: leaves {start} to {stop - 1} cannot be trusted"
        )
        return DataCorruptionError(path, self._offset(start), message, (start, stop))

    # Mapping.

    def map_segments(self, tree: Accumulator, size: int, tiering: TieringConfig) -> None:
        """Read whole segments below ``size`` through their files, which frees their memory.

        Raises IoFailedError; the segments then stay in memory until the next time.
        """
        for level, count in self._counts(size):
            whole = count - count % self._segment_nodes if tiering.is_mapped(level) else 0
            for shard, start, stop in self._shards(self._mapped.get(level, 0), whole):
                path = self._path(level, shard)
                file = calls.open_file(self._fs, path, "read")
                if file is None:
                    continue
                try:
                    nodes = self._map(file, path, stop)
                finally:
                    calls.close_file(file)
                # All of the shard, so that what was mapped of it before is given up.
                tree.install(level, start - start % self._identity.shard_nodes, nodes)
                self._mapped[level] = stop
