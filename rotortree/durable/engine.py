"""The engine of the durable tree: flush, checkpoint, close, and what happens when they fail.

Five locks, always taken in this order:

=================  ==============================================================================
checkpoint lock    one checkpoint, or the close, at a time; guards the level files
round              the threads that wait for the same flush; each flush ends a round
flush lock         the log: one thread writes and syncs for all that wait
commit lock        the commit record
insert lock        the level arrays: held while leaves are appended in memory, never during I/O
=================  ==============================================================================

Reads take none of them.

A tree is open, and may be failed, until its last flush, which closes it (`state`); then it
releases its files and its lock.  Background tasks run until it is closed, and find nothing to do
then.  So a close that is interrupted before that leaves an open tree, as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rotortree.config import CheckpointPolicy, FlushPolicy, RotorTreeConfig
from rotortree.durable.state import Life
from rotortree.durable.watermark import Bells, Watermark, checked_timeout
from rotortree.errors import (
    CheckpointFailedError,
    ClosedError,
    FlushFailedError,
    IoFailedError,
    ReadOnlyError,
    StorageError,
)
from rotortree.geometry import NODE_BYTES
from rotortree.scheduler import Scheduler, Task
from rotortree.storage import calls
from rotortree.storage.environment import Environment
from rotortree.storage.files import Lock
from rotortree.storage.format import (
    COMMIT,
    SALT_BYTES,
    WAL,
    Commit,
    Head,
    Identity,
    SegmentHeader,
    segment_number,
)
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.wal import SegmentWriter, create_writer
from rotortree.tree.accumulator import Accumulator

__all__ = ["Engine", "OpenedTree", "remove_segments"]

_T = TypeVar("_T")
_Given = TypeVar("_Given")

_RETRY_SECONDS = 1.0
"""How long a background checkpoint that failed waits before it tries again."""


@dataclass(frozen=True, slots=True)
class OpenedTree:
    """What opening a directory yields.  ``log`` is None when it was opened read-only.

    ``commit`` is the record as it stands on disk; None if a reader found none.
    """

    lock: Lock | None
    identity: Identity
    tree: Accumulator
    levels: LevelFiles
    log: SegmentWriter | None
    commit: Commit | None
    checkpoint: Head
    first_segment: int

    def release(self) -> None:
        """Close and unlock everything."""
        _release(self.log, self.lock)


def _release(log: SegmentWriter | None, lock: Lock | None) -> None:
    try:
        if log is not None:
            log.close()
    finally:
        if lock is not None:
            calls.release_lock(lock)


class Engine:
    """One open tree.  Every method is safe from any thread of the process that opened it."""

    def __init__(
        self, config: RotorTreeConfig, environment: Environment, opened: OpenedTree
    ) -> None:
        self.config = config
        self.tree = opened.tree
        self.durable = Watermark(opened.tree.size)
        self.checkpoint_head = opened.checkpoint
        self._environment = environment
        self._fs = environment.files
        self._lock = opened.lock
        self._identity = opened.identity
        self._levels = opened.levels
        self._log = opened.log
        self._commit = opened.commit
        self._first_segment = opened.first_segment
        self._recorded = opened.commit.acknowledged.size if opened.commit else 0
        self.life = Life(config.path)
        self._calls = 0
        self._checkpoint_lock = environment.scheduler.lock()
        self._round = environment.scheduler.lock()
        self._flush_lock = environment.scheduler.lock()
        self._commit_lock = environment.scheduler.lock()
        self._insert_lock = environment.scheduler.lock()
        self._checkpoint_bells = Bells()
        self._checkpoint_due = False
        self._checkpointing = False
        self._checkpoint_error: StorageError | None = None
        self._checkpoint_every = _entries(config, opened.identity.n)
        self._flush_seconds = 0.0
        self._flusher: Task | None = None
        self._checkpointer: Task | None = None
        try:
            self._start_tasks(environment.scheduler)
        except BaseException:
            self._stop_tasks()
            raise

    def _start_tasks(self, scheduler: Scheduler) -> None:
        if self._log is None:
            return
        if isinstance(self.config.flush_policy, FlushPolicy.Interval):
            self._flush_seconds = self.config.flush_policy.seconds
            self._flusher = scheduler.task("rotortree-flusher", self._flush_step)
        if self._checkpoint_every is not None:
            self._checkpointer = scheduler.task("rotortree-checkpointer", self._checkpoint_step)

    def _stop_tasks(self) -> None:
        for task in (self._flusher, self._checkpointer):
            if task is not None:
                task.stop()

    # Whether it can be changed.

    def _check_writable(self) -> SegmentWriter:
        self.life.home.has_left()  # asks the system, and is right from a child's first moment on
        self.life.check_readable()
        if self._log is None:
            raise ReadOnlyError(self.config.path)
        self.life.check_not_failed()
        return self._log

    def _fail(self, cause: BaseException) -> FlushFailedError:
        self.life.fail(cause)
        self.durable.ring()
        return self.life.fatal()

    # Insertion.

    def add(self, store: Callable[[_Given], _T], leaves: _Given) -> tuple[int, _T]:
        """Append by a method of the tree; return the size with the leaves, and what it returned.

        The first leaves that are added since a flush began have the next one scheduled.
        """
        life = self.life
        if life.home.left:
            life.check_readable()  # before taking a lock that a thread of the parent may hold
        with self._insert_lock:
            if life.closed or life.failure is not None or self._log is None:
                self._check_writable()
            result = store(leaves)
            size = self.tree.size
            if not self._calls:
                # Before they are counted: interrupted in between, the next ones do it again.
                self._schedule_flush(self._flush_seconds)
            self._calls += 1
        if self._checkpoint_every is not None and not self._checkpoint_due:
            self._schedule_checkpoint(0)
        return size, result

    # Flush.

    def flush(self, target: int | None = None) -> None:
        """Make ``target`` leaves durable, or all; whoever comes first does it for all that wait.

        Whoever comes first in a round waits for the flush before, and then flushes; the others of
        the round wait for that, and find it done.  Who comes when the flush has begun is of the
        next round.  If the first one fails or is interrupted, the second is the first.
        """
        if target is None:
            self._check_writable()
            target = self.tree.size
        if self.durable.value >= target:
            return
        with self._round:
            if self.durable.value < target:
                with self._flush_lock:
                    self._round = self._environment.scheduler.lock()
                    if self.durable.value < target:
                        self._flush(self._check_writable())

    def _flush(self, log: SegmentWriter) -> None:
        with self._insert_lock:
            stop, count = self.tree.size, self._calls
            self._calls = 0
        try:
            if log.stop < stop:
                self._write_unit(log, stop, count)
            if self.config.record_acknowledgements and self.durable.value < stop:
                self._write_commit(stop)
        except IoFailedError as error:
            if error.operation == calls.SYNC_DIRECTORY:
                self.life.failure = error
                raise self._fail(error) from error
            with self._insert_lock:
                self._calls += count
            message = f"{stop - self.durable.value} leaves stay pending: {error}"
            raise self._flush_failed(message) from error
        except BaseException as error:
            self.life.fail_if_hidden(error)
            with self._insert_lock:
                self._calls += count
            raise
        self.durable.rise(stop)

    def _write_unit(self, log: SegmentWriter, stop: int, count: int) -> None:
        try:
            log.write(stop, count, partial(self.tree.views, 0), self.tree.root)
        except IoFailedError:
            # Only gives space back; what stays behind the end is torn, and is written over.
            with contextlib.suppress(IoFailedError):
                log.cut_back()
            raise
        try:
            log.sync()
        except IoFailedError as error:
            raise self._fail(error) from error
        log.advance()

    def _flush_failed(self, message: str) -> FlushFailedError:
        def error() -> FlushFailedError:
            return FlushFailedError(message, retryable=True)

        self.durable.fail(error)
        return error()

    def _schedule_flush(self, delay: float) -> None:
        if self._flusher is not None and not self._flusher.is_due:
            self._flusher.schedule(delay)

    def _flush_step(self) -> None:
        try:
            self.flush()
        except FlushFailedError as error:
            if error.retryable:
                self._schedule_flush(_RETRY_SECONDS)
        except ClosedError:
            pass
        except Exception as error:  # a hasher raised, or no memory; whoever waits must learn of it
            self._flush_failed(f"{type(error).__name__}: {error}")
            self._schedule_flush(_RETRY_SECONDS)

    def wait_durable(self, target: int, timeout: float | None) -> None:
        """Return when ``target`` leaves are durable.  See `DurabilityToken.wait`."""
        if self.life.is_foreign:
            self.life.check_readable()  # nobody flushes here
        if isinstance(self.config.flush_policy, FlushPolicy.Manual) and not self.life.closed:
            self.flush(target)
        self.durable.wait(target, timeout, self.life.why_not_durable)

    # Checkpoint.

    def checkpoint(self) -> None:
        """Write complete nodes to the level files, commit them, cut the log."""
        self._check_writable()
        with self._checkpoint_lock:
            self._run_checkpoint()

    def _run_checkpoint(self) -> None:
        self._checkpointing = True
        try:
            self._checkpoint(self._check_writable())
        finally:
            self._checkpointing = False
            self._checkpoint_bells.ring()

    def _checkpoint(self, log: SegmentWriter) -> None:
        with self._flush_lock:
            self.life.check_not_failed()  # by the flush that held the lock
            self._flush(log)
            head = log.head(self.tree.root)
            if head == self.checkpoint_head and self._first_segment == log.header.number:
                return
            if log.header.base != head:
                log = self._next_segment(log, head)
        try:
            self._levels.write(self.tree, self.checkpoint_head.size, head.size)
            self._write_commit(head.size, (head, log.header.number))
        except IoFailedError as error:
            if error.operation == calls.SYNC_DIRECTORY:
                self.life.failure = error
                raise self._fail(error) from error
            raise CheckpointFailedError(f"the checkpoint was not committed: {error}") from error
        except BaseException as error:
            self.life.fail_if_hidden(error)
            raise
        # The checkpoint is committed.  What fails from here on only keeps space, until next time.
        with contextlib.suppress(IoFailedError):
            remove_segments(self._environment, self.config.path, log.header.number)
        with contextlib.suppress(IoFailedError):
            self._levels.map_segments(self.tree, head.size, self.config.tiering)

    def _next_segment(self, log: SegmentWriter, head: Head) -> SegmentWriter:
        """Go on in a new segment that begins at ``head``, durable.

        Once its name exists, nothing may be written to the one before, because a recovery that
        sees the name reads that one only up to here; and nothing to the new one before its name is
        durable.  So whatever happens between the two, be it an interrupt, fails the tree.
        """
        salt = self._environment.random_bytes(SALT_BYTES)
        header = SegmentHeader(self._identity, log.header.number + 1, head, salt)
        directory = f"{self.config.path}/{WAL}"
        try:
            new = create_writer(self._environment, directory, header)
        except IoFailedError as error:
            raise CheckpointFailedError(f"no new log segment: {error}") from error
        try:
            calls.publish(self._fs, new.path)
            calls.sync_directory(self._fs, directory)
            self._log = new
        except BaseException as error:
            self.life.failure = error
            failure = self._fail(error)
            new.close()
            if isinstance(error, IoFailedError):
                raise failure from error
            raise
        log.close()
        return new

    def _write_commit(self, acknowledged: int, checkpoint: tuple[Head, int] | None = None) -> None:
        """Record the checkpoint, the last one if none is given, and what was acknowledged."""
        assert self._log is not None  # only a writable tree comes here
        with self._commit_lock:
            self.life.check_not_failed()
            head, first = checkpoint or (self.checkpoint_head, self._first_segment)
            size = max(acknowledged, self.durable.value, self._recorded)
            commit = Commit(
                identity=self._identity,
                checkpoint=head,
                acknowledged=Head(size, self.tree.root(size)),
                first_segment=first,
                last_segment=self._log.header.number,
            )
            if commit != self._commit:
                self._commit = None  # unknown until it is durable
                calls.replace_file(self._fs, self.config.path, COMMIT, commit.encode())
            self._commit, self._recorded = commit, size
            self.checkpoint_head, self._first_segment = head, first

    def _schedule_checkpoint(self, delay: float) -> None:
        if self._checkpoint_every is None:
            return
        if self.tree.size - self.checkpoint_head.size < self._checkpoint_every:
            return
        assert self._checkpointer is not None  # there is one where there is a number of entries
        self._checkpoint_due = True
        try:
            self._checkpointer.schedule(delay)
        except BaseException:  # an interrupt; but what is due must be scheduled
            self._checkpointer.schedule(delay)
            raise

    def _checkpoint_step(self) -> None:
        error: StorageError | None = None
        try:
            self.checkpoint()
        except ClosedError:
            pass
        except StorageError as failure:
            error = failure
        except Exception as failure:  # a custom hasher raised
            error = CheckpointFailedError(f"{type(failure).__name__}: {failure}")
        if error is not None:
            self._checkpoint_error = error
        self._checkpoint_due = False
        self._checkpoint_bells.ring()
        if not self.life.closed and self.life.failure is None:
            self._schedule_checkpoint(0 if error is None else _RETRY_SECONDS)

    def wait_for_checkpoint(self, timeout: float | None) -> bool:
        """Wait until no checkpoint is due or running.  See `RotorTree.wait_for_checkpoint`."""
        self.life.check_readable()

        def is_settled() -> bool:
            busy = self._checkpoint_due or self._checkpointing
            return not busy or self._checkpoint_error is not None

        if not self._checkpoint_bells.wait_until(is_settled, checked_timeout(timeout)):
            return False
        error, self._checkpoint_error = self._checkpoint_error, None
        if error is not None:
            raise error
        return True

    # Close.

    def close(self) -> None:
        """Flush, record what is durable, release everything.  In a forked child: nothing."""
        if self.life.is_foreign:
            return
        with self._checkpoint_lock:
            try:
                if not self.life.closed:
                    self._close()
            finally:
                if self.life.closed:
                    try:
                        self._release()
                    finally:
                        self._release()  # again: an interrupt may have ended the first
        self._stop_tasks()

    def _close(self) -> None:
        try:
            on_close = isinstance(self.config.checkpoint_policy, CheckpointPolicy.OnClose)
            if on_close and self._log is not None and self.life.failure is None:
                self._run_checkpoint()
        finally:
            with self._flush_lock:
                self._end()

    def _end(self) -> None:
        try:
            with self._insert_lock:
                self.life.closed = True
            self._last_flush()
        finally:
            self.life.closed = self.life.ended = True

    def _last_flush(self) -> None:
        if self._log is None:
            return
        if self.life.failure is None:
            self._flush(self._log)
            self._write_commit(self.durable.value)
            with contextlib.suppress(IoFailedError):  # nothing depends on it
                self._log.cut_zeros()
        elif self.durable.value < self.tree.size:
            raise self.life.fatal()

    def _release(self) -> None:
        """Give everything back.  Idempotent."""
        self._checkpoint_due = False
        self.durable.ring()
        self._checkpoint_bells.ring()
        _release(self._log, self._lock)

    def runs_here(self) -> bool:
        """Whether the caller is one of this tree's own background threads."""
        tasks = (self._flusher, self._checkpointer)
        return any(task is not None and task.runs_here() for task in tasks)


def _entries(config: RotorTreeConfig, n: int) -> int | None:
    """After how many leaves a checkpoint is due in the background; None: never."""
    policy = config.checkpoint_policy
    if isinstance(policy, CheckpointPolicy.EveryNEntries):
        return policy.n
    if isinstance(policy, CheckpointPolicy.MemoryThreshold):
        return max(1, policy.bytes * (n - 1) // (n * NODE_BYTES))
    return None


def remove_segments(environment: Environment, path: str, first: int) -> None:
    """Delete leftovers, and the log segments below ``first``, which a commit made useless."""
    directory = f"{path}/{WAL}"
    for name in calls.listdir(environment.files, directory):
        number = segment_number(name)
        if name.endswith(calls.TEMPORARY) or (number is not None and number < first):
            calls.unlink(environment.files, f"{directory}/{name}")
