"""Planted faults: names that change under a writer, and space that is not given back."""

from __future__ import annotations

from rotortree.durable.engine import Engine
from rotortree.storage import calls
from rotortree.storage import log as logs
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["NAMES"]

_DETACHED = (
    PlantedFault(
        "segment's name not checked",
        "a flush is acknowledged though its segment has lost its name meanwhile",
        (
            Edit(
                Log._check_named,
                "if not is_named:",
                "if False:",
            ),
        ),
    ),
    PlantedFault(
        "segment's name not checked after the fsync",
        "a flush does not look whether its segment still has its name",
        (Edit(Log._append, "self._check_named(segment)", "pass"),),
    ),
    PlantedFault(
        "segment's name not checked before a commit",
        "a record is written for a log whose open segment has lost its name",
        (Edit(Log.commit, "self._check_named(segment)", "pass"),),
    ),
    PlantedFault(
        "names of level files not checked",
        "a checkpoint is committed though its level files were replaced meanwhile",
        (
            Edit(
                LevelWriter._write_durably,
                'calls.check_named(self._root, f"{directory}/{name}", file.identity)',
                "pass",
            ),
        ),
    ),
    PlantedFault(
        "segment that was replaced is gone on in",
        "an open appends to the file that the last segment's name leads to, whichever that is",
        (Edit(logs._reopen, "if not _is_that(file, last):", "if False:"),),
    ),
    PlantedFault(
        "log that was replaced is gone on in",
        "an open writes to the directory that is called wal, whether or not it read that one",
        (Edit(logs.resume_log, "if calls.identity_of(wal) != found.wal:", "if False:"),),
    ),
    PlantedFault(
        "directories made through links",
        "a checkpoint follows a symbolic link in the place of a directory",
        (Edit(calls.make_directory, "follow=False", "follow=True"),),
    ),
    PlantedFault(
        "waits on the thread of a checkpoint",
        "a flush that a checkpoint's thread calls, in a finalizer, is not refused",
        (
            Edit(
                Engine.check_may_wait,
                "checkpointer is not None and checkpointer.runs_here()",
                "False",
            ),
        ),
    ),
    PlantedFault(
        "COMMIT found by path",
        "a commit record is written to the directory that the tree's path leads to now",
        (
            Edit(
                Log.commit,
                "calls.replace_file(self._root, COMMIT, commit.encode())",
                "root = self._environment.files.directory(self._root.path)\n"
                "            calls.replace_file(root, COMMIT, commit.encode())",
            ),
        ),
    ),
    PlantedFault(
        "segment found by path",
        "a flush opens the segment once more, in the directory that the tree's path leads to now",
        (
            Edit(
                Log._append,
                "self._segment, self._interrupted = None, segment\n",
                "self._segment, self._interrupted = None, segment\n"
                "    now = self._environment.files.directory(self._root.path)\n"
                "    segment.file = now.open_writable(segment.name)\n",
            ),
        ),
    ),
    PlantedFault(
        "lost directory of a level not noticed",
        "a checkpoint makes a level's directory anew where somebody removed it",
        (
            Edit(
                LevelWriter._write_durably,
                "calls.check_named(self._root, directory, calls.identity_of(handle))",
                "handle = calls.make_directory(self._root, directory)",
            ),
        ),
    ),
)

_SPACE = (
    PlantedFault(
        "nothing is replaced",
        "each open after a kill leaves a segment behind",
        (Edit(logs._where_to_begin, "while stay and", "while stay and False and"),),
    ),
    PlantedFault(
        "replaced segments kept",
        "an open does not remove the segments that it replaced",
        (Edit(logs.resume_log, "log.tidy()", "pass"),),
    ),
    PlantedFault(
        "torn tails kept",
        "what a flush that was killed wrote stays behind the end of a segment for ever",
        (Edit(logs.resume_log, "_cut_tails(log, decision.links[:stay])", "pass"),),
    ),
    PlantedFault(
        "zeros kept behind a full segment",
        "a segment that is followed by another one keeps its zeros ahead",
        (Edit(Log._begin, "self.cut_zeros()", "pass"),),
    ),
    PlantedFault(
        "no rolls",
        "the log is one segment between two checkpoints, however long it is",
        (
            Edit(
                Log._writable,
                "if segment.end.offset >= self._environment.segment_bytes:",
                "if False:",
            ),
        ),
    ),
    PlantedFault(
        "all segments checkpointed at once",
        "a checkpoint of several segments frees none of them before the last one is written",
        (
            Edit(
                Log.switch,
                "return [stop for stop in stops if stop.head.size > behind] or stops[-1:]",
                "return stops[-1:]",
            ),
        ),
    ),
    PlantedFault(
        "unfinished file kept after a failure",
        "where a new file cannot be written, what was written of it stays",
        (
            Edit(
                calls.write_temporary,
                "            unlink(directory, temporary)\n",
                "            pass\n",
            ),
        ),
    ),
)

NAMES = (*_DETACHED, *_SPACE)
"""Faults of names that somebody else changes, and of space."""
