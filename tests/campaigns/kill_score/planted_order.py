"""Planted faults of the write path: fsyncs, names, and the order of things."""

from __future__ import annotations

from rotortree.durable.engine import Engine, remove_segments
from rotortree.storage import calls
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.wal import SegmentWriter
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["ORDER"]

_SYNCS = (
    PlantedFault(
        "no fsync of the log",
        "a flush is acknowledged without fsync",
        (Edit(SegmentWriter.sync, "calls.sync_file(self._file, self.path)", "pass"),),
    ),
    PlantedFault(
        "no fsync of a new segment",
        "the header of a new segment is not synced before it gets its name",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, temporary)",
                "temporary.endswith('.wal.tmp') or sync_file(file, temporary)",
            ),
        ),
    ),
    PlantedFault(
        "no fsync of COMMIT.tmp",
        "the commit record is renamed into place without being synced",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, temporary)",
                "temporary.endswith('COMMIT.tmp') or sync_file(file, temporary)",
            ),
        ),
    ),
    PlantedFault(
        "no fsync of level files",
        "a checkpoint commits level files that are not synced",
        (Edit(LevelFiles._write_durably, "calls.sync_file(file, path)", "pass"),),
    ),
    PlantedFault(
        "no fsync of leaves",
        "a checkpoint syncs all level files but those of the leaves",
        (
            Edit(
                LevelFiles._write_durably,
                "calls.sync_file(file, path)",
                "'/levels/0/' in path or calls.sync_file(file, path)",
            ),
        ),
    ),
    PlantedFault(
        "no fsync of old level files",
        "a level file is synced when it is created, not when it grows",
        (
            Edit(
                LevelFiles._write_durably,
                "calls.sync_file(file, path)",
                "offset or calls.sync_file(file, path)",
            ),
        ),
    ),
)

_NAMES = (
    PlantedFault(
        "no sync of wal/ by a checkpoint",
        "a new segment is written to before its name is durable",
        (Edit(Engine._next_segment, "calls.sync_directory(self._fs, directory)", "pass"),),
    ),
    PlantedFault(
        "no sync of levels/",
        "the directory of a new level is not made durable",
        (
            Edit(
                LevelFiles.write,
                "calls.sync_directory(self._fs, directory)",
                "directory == self._directory or calls.sync_directory(self._fs, directory)",
            ),
        ),
    ),
    PlantedFault(
        "no sync of levels/k",
        "the name of a new level file is not made durable",
        (
            Edit(
                LevelFiles.write,
                "calls.sync_directory(self._fs, directory)",
                "directory.startswith(f'{self._directory}/') or"
                " calls.sync_directory(self._fs, directory)",
            ),
        ),
    ),
    PlantedFault(
        "no sync of the root directory for levels/",
        "a checkpoint does not make the name of levels/ durable",
        (
            Edit(
                LevelFiles.write,
                "calls.sync_directory(self._fs, directory)",
                "directory == self._root or calls.sync_directory(self._fs, directory)",
            ),
        ),
        redundant="Every profile: creation makes the name durable before there is a segment, every"
        " open syncs the root directory again, and so does the commit itself.",
    ),
    PlantedFault(
        "names of a killed process are trusted",
        "a level file that is there is taken to have a durable name",
        (
            Edit(
                LevelFiles.write,
                "names[self._path(level, shard)] = directory",
                "if calls.open_file(self._fs, self._path(level, shard), 'read') is None:\n"
                "                names[self._path(level, shard)] = directory",
            ),
        ),
    ),
    PlantedFault(
        "no directory sync after the commit",
        "segments are deleted before the commit record's name is durable",
        (Edit(calls.replace_file, "    sync_directory(fs, directory)\n", ""),),
    ),
)

_ORDER = (
    PlantedFault(
        "fsync before the write",
        "the log is synced, then written to",
        (
            Edit(Engine._write_unit, "log.write(stop,", "log.sync(); log.write(stop,"),
            Edit(Engine._write_unit, "    log.sync()\n    except", "    pass\n    except"),
        ),
    ),
    PlantedFault(
        "rename before fsync",
        "the commit record is renamed into place, then synced",
        (
            Edit(
                calls.replace_file,
                "close_file(write_temporary(fs, path, contents))",
                "file = fs.open(path + TEMPORARY, 'create')\n"
                "    write_all(file, path, [contents], 0)",
            ),
            Edit(
                calls.replace_file,
                "sync_directory(fs, directory)",
                "sync_file(file, path)\n    sync_directory(fs, directory)",
            ),
        ),
    ),
    PlantedFault(
        "directory sync before the rename",
        "the directory is synced, then the commit record is renamed into place",
        (
            Edit(
                calls.replace_file,
                "publish(fs, path)\n    sync_directory(fs, directory)",
                "sync_directory(fs, directory)\n    publish(fs, path)",
            ),
        ),
    ),
    PlantedFault(
        "wal/ synced before the new segment's rename",
        "a checkpoint syncs wal/, then gives the new segment its name",
        (
            Edit(Engine._next_segment, "calls.publish(self._fs, new.path)", "pass"),
            Edit(
                Engine._next_segment,
                "calls.sync_directory(self._fs, directory)",
                "calls.sync_directory(self._fs, directory)\n"
                "        calls.publish(self._fs, new.path)",
            ),
        ),
    ),
    PlantedFault(
        "segment published before its header is synced",
        "a new segment gets its name, then its header is synced",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, temporary)",
                "temporary.endswith('.wal.tmp') or sync_file(file, temporary)",
            ),
            Edit(
                Engine._next_segment,
                "calls.publish(self._fs, new.path)",
                "calls.publish(self._fs, new.path)\n        new.sync()",
            ),
        ),
    ),
    PlantedFault(
        "commit in place",
        "the commit record is written over, not replaced",
        (
            Edit(
                calls.replace_file,
                "close_file(write_temporary(fs, path, contents))\n    publish(fs, path)",
                "file = fs.open(path, 'create')\n"
                "    write_all(file, path, [contents], 0)\n"
                "    sync_file(file, path)",
            ),
        ),
    ),
    PlantedFault(
        "commit before the level files",
        "the checkpoint is committed, then its level files are written",
        (
            Edit(
                Engine._checkpoint,
                "self._levels.write(self.tree, self.checkpoint_head.size, head.size)",
                "old = self.checkpoint_head.size",
            ),
            Edit(
                Engine._checkpoint,
                "self._write_commit(head.size, (head, log.header.number))",
                "self._write_commit(head.size, (head, log.header.number))\n"
                "        self._levels.write(self.tree, old, head.size)",
            ),
        ),
    ),
    PlantedFault(
        "segments deleted before the commit",
        "a checkpoint deletes the segments that it makes useless, then commits",
        (
            Edit(
                Engine._checkpoint,
                "self._write_commit(head.size, (head, log.header.number))",
                "remove_segments(self._environment, self.config.path, log.header.number)\n"
                "        self._write_commit(head.size, (head, log.header.number))",
            ),
        ),
    ),
    PlantedFault(
        "segments deleted before the directory sync",
        "segments are deleted when the commit record is renamed, not when that is durable",
        (
            Edit(
                Engine._write_commit,
                "calls.replace_file(self._fs, self.config.path, COMMIT, commit.encode())",
                "path = f'{self.config.path}/{COMMIT}'\n"
                "            calls.write_temporary(self._fs, path, commit.encode()).close()\n"
                "            calls.publish(self._fs, path)\n"
                "            remove_segments(self._environment, self.config.path, first)\n"
                "            calls.sync_directory(self._fs, self.config.path)",
            ),
        ),
    ),
    PlantedFault(
        "one segment too many deleted",
        "a checkpoint deletes the segment that it has just begun",
        (Edit(remove_segments, "number < first", "number <= first"),),
    ),
    PlantedFault(
        "segments never deleted",
        "a checkpoint leaves the old log where it is",
        (Edit(remove_segments, "number < first", "number < 0"),),
    ),
    PlantedFault(
        "level files mapped before the commit",
        "memory is given back for a checkpoint that is not committed",
        (
            Edit(
                Engine._checkpoint,
                "self._write_commit(head.size, (head, log.header.number))",
                "self._levels.map_segments(self.tree, head.size, self.config.tiering)\n"
                "        self._write_commit(head.size, (head, log.header.number))",
            ),
        ),
        redundant="Every profile: what is mapped was synced and never changes; if the commit fails,"
        " the next attempt writes the same bytes over themselves.",
    ),
)

_LEVELS = (
    PlantedFault(
        "checkpoint starts at what was acknowledged",
        "nodes between the last checkpoint and the acknowledged size are not written",
        (
            Edit(
                Engine._checkpoint,
                "self._levels.write(self.tree, self.checkpoint_head.size, head.size)",
                "self._levels.write(self.tree, recorded, head.size)",
            ),
            Edit(
                Engine._checkpoint,
                "with self._flush_lock:",
                "recorded = self._recorded\n    with self._flush_lock:",
            ),
        ),
    ),
    PlantedFault(
        "one complete node too few",
        "off by one: each checkpoint leaves out the first node of a level that is new",
        (
            Edit(
                LevelFiles.write,
                "old = complete_count(old_size, self._identity.n, level)",
                "old = complete_count(old_size, self._identity.n, level); old += old > 0",
            ),
        ),
    ),
    PlantedFault(
        "nodes in the wrong level file",
        "the second file of a level is written over the first",
        (
            Edit(
                LevelFiles.write,
                "self._write_shard(tree, level, shard, start, stop)",
                "self._write_shard(tree, level, 0, start, stop)",
            ),
        ),
    ),
    PlantedFault(
        "level files' leftovers trusted",
        "nodes are not written where a crashed checkpoint left a file that is long enough",
        (
            Edit(
                LevelFiles._write_durably,
                "calls.write_all(file, path, buffers, offset)",
                "if calls.file_size(file, path) < offset + sum(map(len, buffers)):\n"
                "            calls.write_all(file, path, buffers, offset)",
            ),
        ),
    ),
)

_LOG = (
    PlantedFault(
        "MORE not written",
        "the frames of a flush count one by one",
        (Edit(SegmentWriter.write, "more=end < stop", "more=False"),),
    ),
    PlantedFault(
        "no promises",
        "frames do not say what was durable before them",
        (Edit(SegmentWriter.write, "promise=self._offset", "promise=0"),),
    ),
    PlantedFault(
        "promise of the flush under way",
        "a flush's second frame promises its first one",
        (
            Edit(
                SegmentWriter.write,
                "promise=self._offset",
                "promise=self._offset + sum(map(len, buffers))",
            ),
        ),
    ),
)

_ZEROS = (
    PlantedFault(
        "zeros over the unit",
        "off by one header: the zeros are written from the end of the unit's own frame on",
        (
            Edit(
                SegmentWriter.write,
                "self._write_zeros(offset)",
                "self._write_zeros(offset - NODE_BYTES)",
            ),
        ),
    ),
    PlantedFault(
        "a flush into zeros is not synced",
        "only a flush that makes the log longer is synced",
        (
            Edit(
                SegmentWriter.sync,
                "calls.sync_file(self._file, self.path)",
                "if self._next[0] == self._allocated or self._zeros_ahead == 0:\n"
                "        calls.sync_file(self._file, self.path)",
            ),
        ),
    ),
    PlantedFault(
        "a leaf cut off with the zeros",
        "off by one leaf: close cuts the log back to before its end",
        (Edit(SegmentWriter.cut_zeros, "self.cut_back()", "self._cut(self._offset - NODE_BYTES)"),),
    ),
    PlantedFault(
        "zeros cut off within a flush",
        "what lies behind the flush before is cut off when the next one is written, not synced",
        (
            Edit(
                SegmentWriter.sync,
                "calls.sync_file(self._file, self.path)",
                "self.cut_zeros()\n    calls.sync_file(self._file, self.path)",
            ),
        ),
    ),
)

ORDER = (*_SYNCS, *_NAMES, *_ORDER, *_LEVELS, *_LOG, *_ZEROS)
"""Faults of what is written, when, and how it gets to the disk."""
