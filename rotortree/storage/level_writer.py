"""Writing level files: what a checkpoint adds, and what was found damaged."""

from __future__ import annotations

from rotortree.errors import DetachedError
from rotortree.geometry import complete_count
from rotortree.storage import calls
from rotortree.storage.directory import WritableDirectory
from rotortree.storage.format import (
    LEVELS,
    SHARD_BYTES,
    Identity,
    shard_file,
    shard_header,
)
from rotortree.storage.level_files import WrongPlace, level_counts, node_offset, shards
from rotortree.tree.accumulator import Accumulator

__all__ = ["LevelWriter"]


class LevelWriter:
    """Writes the level files of one open tree.  Only one thread at a time may use it.

    Their directories are opened when they are first written to, and stay the same until `close`.
    """

    def __init__(self, root: WritableDirectory, identity: Identity) -> None:
        self._root = root
        self._identity = identity
        self._directories: dict[str, WritableDirectory] = {"": root}
        self._durable_names: set[str] = set()
        self._durable_size = 0

    def write(self, tree: Accumulator, old_size: int, size: int) -> None:
        """Write the nodes that ``size`` leaves complete and ``old_size`` did not, durably.

        Syncs every file, then every directory in which a name may be new: in the first checkpoint
        of a process that is each one, because a process that was killed may have left names behind
        that were never synced.  After a success these nodes are never rewritten, even if the commit
        then failed: the record may be on disk, and rewriting could tear what it counts.

        Raises IoFailedError: all is written again next time; SyncFailedError when the sync of a
        directory failed, DetachedError when files of the tree were moved or replaced.
        """
        with calls.owning():
            self._write(tree, max(old_size, self._durable_size), size)

    def _write(self, tree: Accumulator, old_size: int, size: int) -> None:
        n = self._identity.n
        names = {LEVELS: ""}
        self._directory(LEVELS)
        for level, count in level_counts(size, n):
            old = complete_count(old_size, n, level)
            if old == count:
                break
            directory = f"{LEVELS}/{level}"
            names[directory] = LEVELS
            for shard, start, stop in shards(self._identity, old, count):
                names[f"{directory}/{shard_file(shard)}"] = directory
                self._write_nodes(tree, level, shard, start, stop)
        new = {name: above for name, above in names.items() if name not in self._durable_names}
        for directory in sorted(set(new.values())):
            calls.sync_directory(self._directory(directory))
        self._durable_names.update(new)
        self._durable_size = size

    def repair(self, tree: Accumulator, size: int, wrong: tuple[WrongPlace, ...]) -> None:
        """Write again, durably, every level file that was found damaged.  Raises as `write` does.

        Of level 0 only headers are repaired: no leaf is ever written over.
        """
        for level, shard in sorted({(place.level, place.shard) for place in wrong}):
            if level == 0:
                header = shard_header(self._identity, level, shard)
                self._write_durably(f"{LEVELS}/0", shard, [header], 0)
            else:
                start = shard * self._identity.shard_nodes
                count = complete_count(size, self._identity.n, level)
                stop = min(count, start + self._identity.shard_nodes)
                self._write_nodes(tree, level, shard, start, stop)
                calls.sync_directory(self._directory(f"{LEVELS}/{level}"))
        calls.sync_directory(self._directory(LEVELS))
        calls.sync_directory(self._root)

    def _directory(self, path: str) -> WritableDirectory:
        """The directory at a path below the root, made if it is missing."""
        if path not in self._directories:
            above, _, name = path.rpartition("/")
            self._directories[path] = calls.make_directory(self._directory(above), name)
        return self._directories[path]

    def _write_nodes(
        self, tree: Accumulator, level: int, shard: int, start: int, stop: int
    ) -> None:
        """Write nodes [start, stop) of one level file, with the header if they are its first."""
        buffers: list[bytes | memoryview] = list(tree.views(level, start, stop))
        offset = node_offset(self._identity, start)
        if offset == SHARD_BYTES:
            buffers.insert(0, shard_header(self._identity, level, shard))
            offset = 0
        self._write_durably(f"{LEVELS}/{level}", shard, buffers, offset)

    def _write_durably(
        self, directory: str, shard: int, buffers: list[bytes | memoryview], offset: int
    ) -> None:
        handle, name = self._directory(directory), shard_file(shard)
        path = calls.path_of(handle, name)
        calls.check_named(self._root, directory, calls.identity_of(handle))
        file = calls.open_writable(handle, name, create=not offset)
        try:
            if calls.file_size(file, path) < offset:
                raise DetachedError(path, "was replaced by a shorter file")
            calls.write_all(file, path, buffers, offset)
            calls.sync_file(file, path)
            # The log that also has these leaves goes, and the memory is given up for the file.
            calls.check_written(file, path, buffers, offset)
            calls.check_named(self._root, f"{directory}/{name}", file.identity)
        finally:
            calls.close(file)

    def close(self) -> None:
        """Release the directories.  Idempotent."""
        for directory in self._directories.values():
            if directory is not self._root:
                calls.close(directory)
