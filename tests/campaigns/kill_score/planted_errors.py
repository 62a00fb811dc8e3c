"""Planted faults of the write path: acknowledgements, failing calls, locks."""

from __future__ import annotations

from rotortree.durable.engine import Engine
from rotortree.durable.opening import open_tree
from rotortree.durable.rotor_tree import RotorTree
from rotortree.durable.state import Life
from rotortree.storage import calls
from rotortree.storage.wal import SegmentWriter
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["ERRORS"]

_ACKNOWLEDGEMENTS = (
    PlantedFault(
        "acknowledged before the write",
        "the watermark rises before anything is written",
        (
            Edit(
                Engine._flush,
                "self._calls = 0",
                "self._calls = 0\n        self.durable.rise(stop)",
            ),
        ),
    ),
    PlantedFault(
        "acknowledged before the fsync",
        "the watermark rises between write and fsync",
        (Edit(Engine._write_unit, "log.sync()", "self.durable.rise(stop); log.sync()"),),
    ),
    PlantedFault(
        "acknowledged before it is recorded",
        "with recorded acknowledgements, the watermark rises before the record is durable",
        (
            Edit(
                Engine._flush,
                "            self._write_commit(stop)",
                "            self.durable.rise(stop)\n            self._write_commit(stop)",
            ),
        ),
    ),
    PlantedFault(
        "acknowledgements not recorded",
        "record_acknowledgements is ignored",
        (Edit(Engine._flush, "if self.config.record_acknowledgements and", "if False and"),),
    ),
    PlantedFault(
        "everything acknowledged after a flush",
        "the watermark rises to the tree's size, which grew during the fsync",
        (Edit(Engine._flush, "self.durable.rise(stop)", "self.durable.rise(self.tree.size)"),),
    ),
    PlantedFault(
        "checkpoint at the tree's size",
        "a checkpoint takes its head from the tree, which grew after the flush, not from the log",
        (
            Edit(
                Engine._checkpoint,
                "head = log.head(self.tree.root)",
                "size = self.tree.size; head = Head(size, self.tree.root(size))",
            ),
        ),
    ),
    PlantedFault(
        "insert_durable waits for the leaf before",
        "off by one: the flush's target is the size without the leaf",
        (Edit(RotorTree.insert_durable, "flush(size)", "flush(size - 1)"),),
    ),
    PlantedFault(
        "close without a record",
        "close does not record what is durable",
        (Edit(Engine._last_flush, "self._write_commit(self.durable.value)", "pass"),),
    ),
)

_ERRORS = (
    PlantedFault(
        "failed fsync repeated",
        "an fsync that failed is tried again, and believed",
        (
            Edit(
                calls.sync_file,
                "        file.sync()\n",
                "        try:\n"
                "            file.sync()\n"
                "        except OSError:\n"
                "            file.sync()\n",
            ),
        ),
    ),
    PlantedFault(
        "failed directory sync repeated",
        "an fsync of a directory that failed is tried again, and believed",
        (
            Edit(
                calls.sync_directory,
                "        fs.sync_directory(path)\n",
                "        try:\n"
                "            fs.sync_directory(path)\n"
                "        except OSError:\n"
                "            fs.sync_directory(path)\n",
            ),
        ),
    ),
    PlantedFault(
        "failed fsync ignored",
        "a flush whose fsync failed is acknowledged",
        (Edit(Engine._write_unit, "raise self._fail(error) from error", "pass"),),
    ),
    PlantedFault(
        "failed fsync retryable",
        "a tree whose fsync failed goes on, and writes the unit again",
        (Edit(Engine._write_unit, "raise self._fail(error) from error", "raise"),),
    ),
    PlantedFault(
        "failed fsync told to one only",
        "the flush whose fsync failed raises, later ones do not",
        (Edit(Life.check_not_failed, "if self.failure is not None:", "if False:"),),
    ),
    PlantedFault(
        "failed directory sync retryable",
        "a tree whose fsync of a directory failed goes on",
        (
            Edit(Engine._flush, "error.operation == calls.SYNC_DIRECTORY", "False"),
            Edit(Engine._checkpoint, "error.operation == calls.SYNC_DIRECTORY", "False"),
        ),
    ),
    PlantedFault(
        "failed new segment ignored",
        "if a new segment cannot be made durable, the log goes on in the old one",
        (
            Edit(
                Engine._next_segment,
                "self.life.failure = error\n        failure = self._fail(error)",
                "failure = CheckpointFailedError(str(error))",
            ),
        ),
    ),
    PlantedFault(
        "interrupt in a new segment ignored",
        "a Ctrl-C between a new segment's name and its first use does not fail the tree",
        (
            Edit(
                Engine._next_segment,
                "except BaseException as error:",
                "except IoFailedError as error:",
            ),
        ),
    ),
    PlantedFault(
        "failed write ignored",
        "a flush whose write failed is acknowledged",
        (
            Edit(
                Engine._write_unit,
                "log.cut_back()\n        raise",
                "log.cut_back()\n        return",
            ),
        ),
    ),
    PlantedFault(
        "no cut back",
        "a unit that could not be written stays behind the end of the log",
        (Edit(Engine._write_unit, "log.cut_back()", "pass"),),
        redundant="Every profile: what is pending only grows, so the next unit begins at the same"
        " offset and is at least as long; frames that were whole are written as the same bytes.",
    ),
    PlantedFault(
        "no room for zeros fails a flush",
        "a flush fails that fits on the disk, because the zeros behind it do not",
        (Edit(SegmentWriter._write_zeros, "except IoFailedError:", "except AssertionError:"),),
    ),
    PlantedFault(
        "zeros take the last of the room",
        "zeros that were written in part stay where there is no room for more",
        (Edit(SegmentWriter._write_zeros, "self._cut(start)", "pass"),),
    ),
    PlantedFault(
        "zeros that stay fail a close",
        "close raises when it could do everything but cut off the zeros ahead",
        (Edit(Engine._last_flush, "suppress(IoFailedError)", "suppress()"),),
    ),
    PlantedFault(
        "appended behind a torn unit",
        "after a failed write the log goes on behind what was written of the unit",
        (
            Edit(
                Engine._write_unit,
                "log.cut_back()",
                "log._offset = calls.file_size(log._file, log.path)",
            ),
        ),
    ),
    PlantedFault(
        "pending leaves dropped",
        "after a retryable error, the leaves of the failed flush are not written again",
        (Edit(Engine._write_unit, "log.cut_back()", "log.stop = stop; log.cut_back()"),),
    ),
    PlantedFault(
        "tokens wait for ever after a failure",
        "a tree that fails does not tell those who wait",
        (Edit(Life.why_not_durable, "if self.failure is not None:", "if False:"),),
    ),
    PlantedFault(
        "tokens wait for ever after close",
        "close does not tell those who wait",
        (Edit(Life.why_not_durable, "if self.ended:", "if False:"),),
    ),
    PlantedFault(
        "flusher gives up",
        "the background flusher does not try again after a retryable error",
        (Edit(Engine._flush_step, "if error.retryable:", "if False:"),),
    ),
)

_THREADS = (
    PlantedFault(
        "flush without its lock",
        "two threads write to the log at the same time",
        (Edit(Engine.flush, "with self._flush_lock:", "if True:"),),
    ),
    PlantedFault(
        "no rounds",
        "threads that wait for the same flush do not wait for each other",
        (Edit(Engine.flush, "with self._round:", "if True:"),),
        redundant="Every profile: they wait for the flush lock then, and longer, but each looks"
        " under it whether its leaves are durable before it flushes them.",
    ),
    PlantedFault(
        "late comers trust the flush under way",
        "who comes during a flush waits for its end, and takes its own leaves for durable",
        (
            Edit(
                Engine.flush,
                "with self._round:\n        if self.durable.value < target:\n",
                "waited = bool(getattr(self._round, 'holder', None))\n"
                "    with self._round:\n"
                "        if not waited and self.durable.value < target:\n",
            ),
            Edit(Engine.flush, "self._round = self._environment.scheduler.lock()", "pass"),
        ),
    ),
    PlantedFault(
        "checkpoint without its lock",
        "two threads write level files at the same time",
        (Edit(Engine.checkpoint, "with self._checkpoint_lock:", "if True:"),),
    ),
    PlantedFault(
        "commit without its lock",
        "a checkpoint and a flush that is recorded write the commit record at the same time",
        (Edit(Engine._write_commit, "with self._commit_lock:", "if True:"),),
    ),
    PlantedFault(
        "new segment without the flush lock",
        "a flush may write to the old segment while a checkpoint begins the new one",
        (
            Edit(
                Engine._checkpoint,
                "        if log.header.base != head:\n"
                "            log = self._next_segment(log, head)\n",
                "    if log.header.base != head:\n        log = self._next_segment(log, head)\n",
            ),
        ),
    ),
    PlantedFault(
        "close without the flush lock",
        "close flushes while another thread does",
        (Edit(Engine._close, "with self._flush_lock:", "if True:"),),
    ),
    PlantedFault(
        "close without the checkpoint lock",
        "close releases everything while a checkpoint is under way",
        (Edit(Engine.close, "with self._checkpoint_lock:", "if True:"),),
    ),
)

_LOCKS = (
    PlantedFault(
        "no lock",
        "the tree is opened without locking it",
        (
            Edit(
                open_tree,
                "lock = calls.take_lock(environment.files, path, shared=config.read_only)",
                "lock = None",
            ),
        ),
    ),
    PlantedFault(
        "shared lock",
        "a writer takes the lock of a reader",
        (
            Edit(
                open_tree,
                "shared=config.read_only",
                "shared=bool(environment.files.open(path, 'create'))",
            ),
        ),
    ),
    PlantedFault(
        "lock kept after a failed open",
        "an open that fails does not give its lock back",
        (Edit(open_tree, "calls.release_lock(lock)", "pass"),),
    ),
    PlantedFault(
        "lock kept after close",
        "close does not give the lock back",
        (Edit(Engine._release, "self._lock)", "None)"),),
    ),
)

ERRORS = (*_ACKNOWLEDGEMENTS, *_ERRORS, *_THREADS, *_LOCKS)
"""Faults of what the tree says, and of what it does when a call fails."""
