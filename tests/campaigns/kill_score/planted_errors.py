"""Planted faults of the write path: acknowledgements, failing calls, threads, locks."""

from __future__ import annotations

from rotortree.durable.checkpointing import Checkpointer
from rotortree.durable.engine import Engine, OpenedTree
from rotortree.durable.flushing import Flusher
from rotortree.durable.opening import open_tree
from rotortree.durable.rotor_tree import RotorTree
from rotortree.durable.state import TreeState
from rotortree.durable.watermark import Watermark
from rotortree.storage import calls
from rotortree.storage.log import Log
from rotortree.storage.os_directory import OsDirectory
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["ERRORS"]

_ACKNOWLEDGEMENTS = (
    PlantedFault(
        "acknowledged before the write",
        "the watermark rises before anything is written",
        (
            Edit(
                Flusher._attempt,
                "if self._log.size < stop:",
                "self.durable.rise(stop)\n        if self._log.size < stop:",
            ),
        ),
    ),
    PlantedFault(
        "acknowledged before the fsync",
        "the watermark rises between write and fsync",
        (
            Edit(
                Log._append,
                "segment.file.sync()",
                "root.__self__.durable.rise(stop); segment.file.sync()",
            ),
        ),
    ),
    PlantedFault(
        "acknowledged before it is recorded",
        "with recorded acknowledgements, the watermark rises before the record is durable",
        (
            Edit(
                Flusher._attempt,
                "self._commit(stop)",
                "self.durable.rise(stop); self._commit(stop)",
            ),
        ),
    ),
    PlantedFault(
        "acknowledgements not recorded",
        "record_acknowledgements is ignored",
        (Edit(Flusher._attempt, "if self._record and", "if False and"),),
    ),
    PlantedFault(
        "everything acknowledged after a flush",
        "the watermark rises to the tree's size, which grew during the fsync",
        (Edit(Flusher._attempt, "self.durable.rise(stop)", "self.durable.rise(self._tree.size)"),),
    ),
    PlantedFault(
        "checkpoint at the tree's size",
        "a checkpoint takes its head from the tree, which grew after the flush, not from the log",
        (
            Edit(
                Checkpointer._checkpoint,
                "for stop in stops:",
                "head = type(stops[-1].head)(self._tree.size, self._tree.root(self._tree.size))\n"
                "    for stop in (*stops[:-1], stops[-1]._replace(head=head)):",
            ),
        ),
    ),
    PlantedFault(
        "checkpoint acknowledges what is pending",
        "the record of a checkpoint says that all leaves of the tree are durable",
        (
            Edit(
                Checkpointer._commit,
                "durable = self._flusher.durable.value",
                "durable = self._tree.size",
            ),
        ),
    ),
    PlantedFault(
        "insert_durable waits for the leaf before",
        "off by one: the flush's target is the size without the leaf",
        (Edit(RotorTree.insert_durable, "flush(size)", "flush(size - 1)"),),
    ),
    PlantedFault(
        "waits end one leaf too early",
        "off by one: a wait ends when the leaf before is durable",
        (
            Edit(
                Watermark._look,
                "if self.value >= watch.target:",
                "if self.value >= watch.target - 1:",
            ),
        ),
    ),
    PlantedFault(
        "close without a record",
        "close does not record what is durable",
        (Edit(Flusher._flush_last, "self._commit(stop)", "pass"),),
    ),
)

_ERRORS = (
    PlantedFault(
        "failed fsync repeated",
        "an fsync of the log that failed is tried again, and believed",
        (
            Edit(
                Log._append,
                "        segment.file.sync()\n",
                "        try:\n"
                "            segment.file.sync()\n"
                "        except OSError:\n"
                "            segment.file.sync()\n",
            ),
        ),
    ),
    PlantedFault(
        "failed fsync of other files repeated",
        "an fsync of a level file or of a new file that failed is tried again, and believed",
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
                "        directory.sync()\n",
                "        try:\n"
                "            directory.sync()\n"
                "        except OSError:\n"
                "            directory.sync()\n",
            ),
        ),
    ),
    PlantedFault(
        "failed fsync ignored",
        "a flush whose fsync failed is acknowledged",
        (
            Edit(
                Log._append,
                'raise SyncFailedError(segment.path, "fsync", error) from error',
                "pass",
            ),
        ),
    ),
    PlantedFault(
        "failed fsync retryable",
        "a tree whose fsync failed goes on, and writes the unit again",
        (
            Edit(
                Flusher._failed,
                "isinstance(error, (SyncFailedError, DetachedError))",
                "isinstance(error, DetachedError)",
            ),
        ),
    ),
    PlantedFault(
        "failed fsync told to one only",
        "the flush whose fsync failed raises, later ones do not",
        (Edit(TreeState.check_not_failed, "if self.failure is not None:", "if False:"),),
    ),
    PlantedFault(
        "failed directory sync retryable",
        "a checkpoint whose fsync of a directory failed only fails itself",
        (
            Edit(
                Checkpointer._attempt,
                "except (SyncFailedError, DetachedError) as error:",
                "except DetachedError as error:",
            ),
        ),
    ),
    PlantedFault(
        "failed new segment ignored",
        "if a new segment's name cannot be made durable, the log goes on in the old one",
        (
            Edit(
                Log._begin_at,
                "except BaseException:\n        calls.close(file)\n        raise",
                "except OSError as error:\n"
                "        raise\n"
                "    except IoFailedError as error:\n"
                "        self._segment = before\n"
                "        raise IoFailedError(path, 'rename', OSError(5, str(error))) from error",
            ),
            Edit(
                Log._begin_at,
                "if before is not None:",
                "if before is not None and self._segment is not before:",
            ),
        ),
    ),
    PlantedFault(
        "interrupt in a flush ignored",
        "after an interrupt between write and fsync the log goes on where it was",
        (Edit(Log._append, "self._segment, self._interrupted = None, segment\n", "pass\n"),),
        redundant="Every profile: the next unit is written from the same offset on, and synced; it"
        " is at least as long, as what is pending only grows.",
    ),
    PlantedFault(
        "interrupt in a new segment ignored",
        "after an interrupt behind a new segment's name the log goes on in the old one",
        (
            Edit(
                Log._begin_at,
                "before, self._segment, self._number = self._segment, None, number",
                "before = None",
            ),
        ),
    ),
    PlantedFault(
        "number of an interrupted segment used again",
        "after an interrupt behind a new segment's name another one replaces it under that name",
        (
            Edit(
                Log._begin_at,
                "before, self._segment, self._number = self._segment, None, number",
                "before, self._segment = self._segment, None",
            ),
            Edit(
                Log._begin_at,
                "self._bases[number] = base",
                "self._number = number\n    self._bases[number] = base",
            ),
        ),
        redundant="Every profile: nothing was written to the segment that it replaces, which was"
        " begun at the same place; under either name stands a whole one.",
    ),
    PlantedFault(
        "failed write ignored",
        "a flush whose write failed is acknowledged",
        (Edit(Log._write, "(begin)\n        raise", "(begin)\n        return"),),
    ),
    PlantedFault(
        "no cut back",
        "a unit that could not be written stays behind the end of the log, and takes its space",
        (Edit(Log._write, "segment.cut(begin)", "pass"),),
    ),
    PlantedFault(
        "no room for zeros fails a flush",
        "a flush fails that fits on the disk, because the zeros behind it do not",
        (Edit(Log._write_zeros, "except IoFailedError:", "except AssertionError:"),),
    ),
    PlantedFault(
        "zeros take the last of the room",
        "zeros that were written in part stay where there is no room for more",
        (Edit(Log._write_zeros, "segment.cut(start)", "pass"),),
    ),
    PlantedFault(
        "zeros that stay fail a close",
        "close raises when it could do everything but cut off the zeros ahead",
        (Edit(Flusher._flush_last, "suppress(IoFailedError)", "suppress()"),),
    ),
    PlantedFault(
        "appended behind a torn unit",
        "after a failed write the log goes on behind what was written of the unit",
        (
            Edit(
                Log._write,
                "segment.cut(begin)",
                "size = calls.file_size(segment.file, segment.path)\n"
                "            segment.end = segment.end._replace(offset=size)",
            ),
        ),
    ),
    PlantedFault(
        "pending leaves dropped",
        "after a retryable error, the leaves of the failed flush are not written again",
        (
            Edit(
                Log._append,
                "self._segment = segment  # its end is where it was",
                "self._segment, self.size = segment, stop",
            ),
        ),
    ),
    PlantedFault(
        "tokens settled by a failure",
        "a flush that fails tells those who wait that it succeeded",
        (Edit(Watermark.fail, "self._settle(watch, _copy(error))", "self._settle(watch, None)"),),
    ),
    PlantedFault(
        "tokens wait for ever after a failure",
        "a tree that fails does not tell those who wait",
        (Edit(TreeState.why_not_durable, "if self.failure is not None:", "if False:"),),
    ),
    PlantedFault(
        "tokens wait for ever after close",
        "close does not tell those who wait",
        (Edit(TreeState.why_not_durable, "if self.ended:", "if False:"),),
    ),
    PlantedFault(
        "flusher gives up",
        "the background flusher does not try again after a retryable error",
        (Edit(Flusher._failed, "if self._seconds is not None:", "if False:"),),
    ),
)

_THREADS = (
    PlantedFault(
        "flush without its lock",
        "two threads write to the log at the same time",
        (
            Edit(Flusher.flush, "with self._round:", "if True:"),
            Edit(Flusher.flush, "with self._flushing:", "if True:"),
        ),
    ),
    PlantedFault(
        "background flush without the flush lock",
        "the background flushes while another thread does",
        (Edit(Flusher._step, "with self._flushing:", "if True:"),),
    ),
    PlantedFault(
        "no rounds",
        "threads that wait for the same flush do not wait for each other",
        (Edit(Flusher.flush, "with self._round:", "if True:"),),
        redundant="Every profile: they wait for the flush lock then, and longer, but each looks"
        " under it whether its leaves are durable before it flushes them.",
    ),
    PlantedFault(
        "late comers trust the flush under way",
        "who comes during a flush waits for its end, and takes its own leaves for durable",
        (
            Edit(
                Flusher.flush,
                "        with self._round:\n            if durable.value < target:\n",
                "        waited = bool(getattr(self._round, 'holder', None))\n"
                "        with self._round:\n"
                "            if not waited and durable.value < target:\n",
            ),
            Edit(Flusher.flush, "self._round = self._new_round()", "pass"),
        ),
    ),
    PlantedFault(
        "close without the flush lock",
        "close flushes while another thread does",
        (Edit(Flusher.end, "with self._flushing:", "if True:"),),
    ),
    PlantedFault(
        "append without its lock",
        "a flush writes while a checkpoint begins a new segment",
        (Edit(Log.append, "with self._appending:", "if True:"),),
    ),
    PlantedFault(
        "new segment without the append lock",
        "a checkpoint begins a new segment while a flush writes to the old one",
        (Edit(Log.switch, "with self._appending, self._noting():", "with self._noting():"),),
    ),
    PlantedFault(
        "commit without its lock",
        "a checkpoint and a flush that is recorded write the commit record at the same time",
        (Edit(Log.commit, "with self._committing, self._noting():", "with self._noting():"),),
    ),
    PlantedFault(
        "close beside a checkpoint",
        "close releases everything while a checkpoint is under way",
        (Edit(Engine.close, "self._checkpointer.close()", "self._end()"),),
    ),
    PlantedFault(
        "inserts go on while a tree is closed",
        "close flushes for the last time before it refuses inserts",
        (Edit(Engine._end, "    self.state.closed = True\n    ", "    pass\n    "),),
    ),
)

_LOCKS = (
    PlantedFault(
        "no lock",
        "the tree is opened without locking it",
        (
            Edit(
                open_tree,
                "lock = calls.take_lock(root, LOCK, shared=config.read_only)",
                "class NoLock:\n"
                "            guards_directory = True\n"
                "            release = lambda self: None\n"
                "        lock = NoLock()",
            ),
        ),
    ),
    PlantedFault(
        "shared lock",
        "a writer takes the lock of a reader",
        (Edit(open_tree, "shared=config.read_only", "shared=True"),),
    ),
    PlantedFault(
        "lock of the directory not taken",
        "only LOCK is locked, which somebody may delete",
        (
            Edit(
                OsDirectory.lock,
                "lock.take(own, shared=shared)\n"
                "            lock.guards_directory = _is_local(own.fileno())",
                "lock.guards_directory = True",
            ),
        ),
    ),
    PlantedFault(
        "loss of LOCK not noticed",
        "where directories cannot be locked, nobody looks whether LOCK is the file that is locked",
        (Edit(Log._check_lock, "if self._lock_file is not None:", "if False:"),),
    ),
    PlantedFault(
        "lock kept after a failed open",
        "an open that fails does not give its lock back",
        (Edit(open_tree, "calls.release_lock(lock)", "pass"),),
    ),
    PlantedFault(
        "lock kept after close",
        "close does not give the lock back",
        (Edit(OpenedTree.release, "calls.release_lock(self.lock)", "pass"),),
    ),
    PlantedFault(
        "lock released before the last flush",
        "close gives the lock back, then flushes and records the end",
        (
            Edit(
                Engine._end,
                "return None if self._flusher is None else self._flusher.end()",
                "calls.release_lock(self._opened.lock)\n"
                "        return None if self._flusher is None else self._flusher.end()",
            ),
        ),
    ),
)

ERRORS = (*_ACKNOWLEDGEMENTS, *_ERRORS, *_THREADS, *_LOCKS)
"""Faults of what the tree says, and of what it does when a call fails."""
