"""Planted faults of the write path: fsyncs, names, and the order of things."""

from __future__ import annotations

from rotortree.durable.checkpointing import Checkpointer
from rotortree.storage import calls
from rotortree.storage import log as logs
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["ORDER"]

_SYNCS = (
    PlantedFault(
        "no fsync of the log",
        "a flush is acknowledged without fsync",
        (Edit(Log._append, "segment.file.sync()", "pass"),),
    ),
    PlantedFault(
        "no fsync of a new segment",
        "a new segment, with its header and its leaves, is not synced before it gets its name",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, path)",
                "path.endswith('.wal.tmp') or sync_file(file, path)",
            ),
        ),
    ),
    PlantedFault(
        "no fsync of COMMIT.tmp",
        "the commit record is renamed into place without being synced",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, path)",
                "path.endswith('COMMIT.tmp') or sync_file(file, path)",
            ),
        ),
    ),
    PlantedFault(
        "no fsync of level files",
        "a checkpoint commits level files that are not synced",
        (Edit(LevelWriter._write_durably, "calls.sync_file(file, path)", "pass"),),
    ),
    PlantedFault(
        "no fsync of leaves",
        "a checkpoint syncs all level files but those of the leaves",
        (
            Edit(
                LevelWriter._write_durably,
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
                LevelWriter._write_durably,
                "calls.sync_file(file, path)",
                "offset or calls.sync_file(file, path)",
            ),
        ),
    ),
)

_NAMES = (
    PlantedFault(
        "no sync of wal/ for a new segment",
        "a new segment is written to before its name is durable",
        (Edit(Log._begin_at, "calls.sync_directory(self._wal)", "pass"),),
    ),
    PlantedFault(
        "no sync of wal/ by a roll",
        "a flush that rolls writes to the new segment before its name is durable",
        (
            Edit(
                Log._begin_at,
                "calls.sync_directory(self._wal)",
                "getattr(self, 'rolls', False) or calls.sync_directory(self._wal)",
            ),
            Edit(
                Log._writable,
                "if segment.end.offset >= self._environment.segment_bytes:",
                "self.rolls = segment.end.offset >= self._environment.segment_bytes\n"
                "    if self.rolls:",
            ),
        ),
    ),
    PlantedFault(
        "no sync of wal/ by a checkpoint",
        "a checkpoint begins a new segment, and does not make its name durable",
        (
            Edit(
                Log._begin_at,
                "calls.sync_directory(self._wal)",
                "getattr(self, 'switches', False) or calls.sync_directory(self._wal)",
            ),
            Edit(
                Log.switch,
                "segment = self._begin(root)",
                "self.switches = True\n"
                "            segment = self._begin(root)\n"
                "            self.switches = False",
            ),
        ),
    ),
    PlantedFault(
        "no sync of levels/",
        "the directory of a new level is not made durable",
        (
            Edit(
                LevelWriter._write,
                "calls.sync_directory(self._directory(directory))",
                "directory == LEVELS or calls.sync_directory(self._directory(directory))",
            ),
        ),
    ),
    PlantedFault(
        "no sync of levels/k",
        "the name of a new level file is not made durable",
        (
            Edit(
                LevelWriter._write,
                "calls.sync_directory(self._directory(directory))",
                "'/' in directory or calls.sync_directory(self._directory(directory))",
            ),
        ),
    ),
    PlantedFault(
        "no sync of the root directory for levels/",
        "a checkpoint does not make the name of levels/ durable",
        (
            Edit(
                LevelWriter._write,
                "calls.sync_directory(self._directory(directory))",
                "directory == '' or calls.sync_directory(self._directory(directory))",
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
                LevelWriter._write,
                'names[f"{directory}/{shard_file(shard)}"] = directory',
                'if calls.open_file(self._root, f"{directory}/{shard_file(shard)}") is None:\n'
                '                names[f"{directory}/{shard_file(shard)}"] = directory',
            ),
        ),
    ),
    PlantedFault(
        "no directory sync after the commit",
        "segments are deleted before the commit record's name is durable",
        (Edit(calls.replace_file, "    sync_directory(directory)\n", ""),),
    ),
)

_RENAMED = """\
        with calls.syncing(path, "rename"):
            self._wal.rename(name + calls.TEMPORARY, name)
"""
_SYNCED = "        calls.sync_directory(self._wal)\n"

_ORDER = (
    PlantedFault(
        "fsync before the write",
        "the log is synced, then written to",
        (
            Edit(Log._append, "segment.file.sync()", "pass"),
            Edit(Log._append, "self._write(segment,", "segment.file.sync(); self._write(segment,"),
        ),
    ),
    PlantedFault(
        "rename before fsync",
        "the commit record is renamed into place, then synced",
        (
            Edit(
                calls.replace_file,
                "close(write_temporary(directory, name, [contents]))",
                "file = directory.open_writable(name + TEMPORARY, create=True)\n"
                "    write_all(file, name, [contents], 0)",
            ),
            Edit(
                calls.replace_file,
                "sync_directory(directory)",
                "sync_file(file, name)\n    sync_directory(directory)",
            ),
        ),
    ),
    PlantedFault(
        "directory sync before the rename",
        "the directory is synced, then the commit record is renamed into place",
        (
            Edit(
                calls.replace_file,
                "publish(directory, name)\n    sync_directory(directory)",
                "sync_directory(directory)\n    publish(directory, name)",
            ),
        ),
    ),
    PlantedFault(
        "wal/ synced before the new segment's rename",
        "wal/ is synced, then the new segment gets its name",
        (Edit(Log._begin_at, _RENAMED + _SYNCED, _SYNCED + _RENAMED),),
    ),
    PlantedFault(
        "segment published before its header is synced",
        "a new segment gets its name, then its header is synced",
        (
            Edit(
                calls.write_temporary,
                "sync_file(file, path)",
                "path.endswith('.wal.tmp') or sync_file(file, path)",
            ),
            Edit(Log._begin_at, _RENAMED, _RENAMED + "        file.sync()\n"),
        ),
    ),
    PlantedFault(
        "commit in place",
        "the commit record is written over, not replaced",
        (
            Edit(
                calls.replace_file,
                "close(write_temporary(directory, name, [contents]))\n    publish(directory, name)",
                "file = directory.open_writable(name, create=True)\n"
                "    write_all(file, name, [contents], 0)\n"
                "    sync_file(file, name)",
            ),
        ),
    ),
    PlantedFault(
        "commit before the level files",
        "the checkpoint is committed, then its level files are written",
        (
            Edit(
                Checkpointer._commit,
                "levels.writer.write(self._tree, self._log.checkpoint.head.size, stop.head.size)",
                "old = self._log.checkpoint.head.size",
            ),
            Edit(
                Checkpointer._commit,
                "self._log.commit(durable, root, to=stop, check=self._state.check_not_failed)",
                "self._log.commit(durable, root, to=stop, check=self._state.check_not_failed)\n"
                "    levels.writer.write(self._tree, old, stop.head.size)",
            ),
        ),
    ),
    PlantedFault(
        "segments deleted before the commit",
        "a checkpoint deletes the segments that it makes useless, then commits",
        (
            Edit(
                Log.commit,
                "if commit != self._commit:",
                "for number in range(1, checkpoint.first_segment):\n"
                "            calls.unlink(self._wal, segment_name(number))\n"
                "        if commit != self._commit:",
            ),
        ),
    ),
    PlantedFault(
        "segments deleted before the directory sync",
        "segments are deleted when the commit record is renamed, not when that is durable",
        (
            Edit(
                Log.commit,
                "calls.replace_file(self._root, COMMIT, commit.encode())",
                "calls.close(calls.write_temporary(self._root, COMMIT, [commit.encode()]))\n"
                "            calls.publish(self._root, COMMIT)\n"
                "            for number in range(1, checkpoint.first_segment):\n"
                "                calls.unlink(self._wal, segment_name(number))\n"
                "            calls.sync_directory(self._root)",
            ),
        ),
    ),
    PlantedFault(
        "one segment too many deleted",
        "a checkpoint deletes the segment that it has just begun",
        (Edit(Log.tidy, "number < last and number not in kept", "number <= last"),),
    ),
    PlantedFault(
        "segments never deleted",
        "a checkpoint leaves the old log where it is",
        (Edit(Log.tidy, "number < last and number not in kept", "number < 0"),),
    ),
    PlantedFault(
        "replaced segments deleted before the commit",
        "an open deletes the segments that it replaced while the commit record still names them",
        (
            Edit(
                logs.resume_log,
                "if acknowledged is None or goes",
                "log.tidy()\n        if acknowledged is None or goes",
            ),
        ),
    ),
    PlantedFault(
        "unfinished files deleted under no lock",
        "a checkpoint deletes the file of the segment that a flush is about to begin",
        (Edit(Log.tidy, "with self._appending:", "if True:"),),
    ),
    PlantedFault(
        "level files mapped before the commit",
        "memory is given back for a checkpoint that is not committed",
        (
            Edit(
                Checkpointer._commit,
                "durable = self._flusher.durable.value",
                "durable = self._flusher.durable.value\n"
                "    levels.files.map_segments(self._tree, stop.head.size, levels.tiering)",
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
                Checkpointer._commit,
                "self._log.checkpoint.head.size, stop.head.size",
                "self._log._recorded, stop.head.size",
            ),
        ),
    ),
    PlantedFault(
        "a step commits with the first one's segment",
        "of a checkpoint of several segments, the second step names the first one's segment",
        (
            Edit(
                Checkpointer._checkpoint,
                "self._commit(stop)",
                "self._commit(Checkpoint(stop.head, stops[0].first_segment))",
            ),
        ),
    ),
    PlantedFault(
        "one complete node too few",
        "off by one: each checkpoint leaves out the first node of a level that is new",
        (
            Edit(
                LevelWriter._write,
                "old = complete_count(old_size, n, level)",
                "old = complete_count(old_size, n, level); old += 0 < old < count",
            ),
        ),
    ),
    PlantedFault(
        "nodes in the wrong level file",
        "the second file of a level is written over the first",
        (
            Edit(
                LevelWriter._write,
                "self._write_nodes(tree, level, shard, start, stop)",
                "self._write_nodes(tree, level, 0, start, stop)",
            ),
        ),
    ),
    PlantedFault(
        "level files' leftovers trusted",
        "nodes are not written where a crashed checkpoint left a file that is long enough",
        (
            Edit(
                LevelWriter._write_durably,
                "calls.write_all(file, path, buffers, offset)",
                "if calls.file_size(file, path) < offset + sum(map(len, buffers)):\n"
                "            calls.write_all(file, path, buffers, offset)",
            ),
            Edit(
                LevelWriter._write_durably,
                "calls.check_written(file, path, buffers, offset)",
                "pass",
            ),
        ),
    ),
    PlantedFault(
        "level files not read back",
        "a write to a level file that was lost is not noticed before the log that has it goes",
        (
            Edit(
                LevelWriter._write_durably,
                "calls.check_written(file, path, buffers, offset)",
                "pass",
            ),
        ),
    ),
)

_LOG = (
    PlantedFault(
        "MORE not written",
        "the frames of a flush count one by one",
        (Edit(logs._unit, "more=behind < stop", "more=False"),),
    ),
    PlantedFault(
        "no promises",
        "frames do not say what was durable before them",
        (Edit(logs._unit, "promise=end.offset", "promise=0"),),
    ),
    PlantedFault(
        "promise of the flush under way",
        "a flush's second frame promises its first one",
        (
            Edit(
                logs._unit,
                "promise=end.offset",
                "promise=end.offset + sum(map(len, buffers))",
            ),
        ),
    ),
    PlantedFault(
        "a segment promises too much",
        "off by one header: a new segment's promise ends behind its leaves",
        (
            Edit(
                Log._begin_at,
                "promise = SEGMENT_BYTES + _unit_bytes",
                "promise = SEGMENT_BYTES + FRAME_BYTES + _unit_bytes",
            ),
        ),
    ),
    PlantedFault(
        "a segment promises nothing",
        "a new segment does not say that the leaves that it was begun with are durable",
        (
            Edit(
                Log._begin_at,
                "SegmentHeader(self.identity, number, base, salt, promise)",
                "SegmentHeader(self.identity, number, base, salt, SEGMENT_BYTES)",
            ),
        ),
    ),
)

_ZEROS = (
    PlantedFault(
        "zeros over the unit",
        "off by one leaf: the zeros begin before the end of the unit",
        (
            Edit(
                Log._write,
                "self._write_zeros(segment, stop)",
                "self._write_zeros(segment, stop - NODE_BYTES)",
            ),
        ),
    ),
    PlantedFault(
        "a flush into zeros is not synced",
        "only a flush that makes the log longer is synced",
        (
            Edit(Log._append, "segment.file.sync()", "fits or segment.file.sync()"),
            Edit(
                Log._append,
                "self._segment, self._interrupted = None, segment\n",
                "self._segment, self._interrupted = None, segment\n"
                "    fits = end.offset <= segment.written\n",
            ),
        ),
    ),
    PlantedFault(
        "a leaf cut off with the zeros",
        "off by one leaf: close cuts the log back to before its end",
        (
            Edit(
                Log.cut_zeros,
                "segment.cut(segment.end.offset)",
                "segment.cut(segment.end.offset - NODE_BYTES)",
            ),
        ),
    ),
    PlantedFault(
        "zeros cut off within a flush",
        "what lies behind the flush before is cut off when the next one is written, not synced",
        (
            Edit(
                Log._append,
                "segment.file.sync()",
                "segment.cut(segment.end.offset); segment.file.sync()",
            ),
        ),
    ),
)

ORDER = (*_SYNCS, *_NAMES, *_ORDER, *_LEVELS, *_LOG, *_ZEROS)
"""Faults of what is written, when, and how it gets to the disk."""
