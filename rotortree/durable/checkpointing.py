"""Checkpointing: the thread that writes level files, commits them, frees the log; and closes.

A call of `checkpoint` asks for a run and waits for its end; the background asks for one when the
policy says so.  Closing a tree is the last run of this thread, so that it never meets a checkpoint.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from rotortree.config import CheckpointPolicy, RotorTreeConfig, TieringConfig
from rotortree.durable.flushing import RETRY_SECONDS, Flusher
from rotortree.durable.state import TreeState
from rotortree.durable.watermark import Watermark, checked_timeout
from rotortree.errors import (
    CheckpointFailedError,
    ClosedError,
    DetachedError,
    FlushFailedError,
    IoFailedError,
    StorageError,
    SyncFailedError,
)
from rotortree.geometry import NODE_BYTES
from rotortree.scheduler import Scheduler
from rotortree.storage import calls
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Checkpoint, Log
from rotortree.tree.accumulator import Accumulator

__all__ = ["Checkpointer", "Levels"]


class Levels:
    """The level files of an open tree: those who write them and map them."""

    def __init__(self, writer: LevelWriter, files: LevelFiles, tiering: TieringConfig) -> None:
        self.writer = writer
        self.files = files
        self.tiering = tiering


class Checkpointer:
    """Makes checkpoints, and closes the tree: ``end_tree`` flushes once more and releases all."""

    def __init__(
        self,
        config: RotorTreeConfig,
        scheduler: Scheduler,
        state: TreeState,
        tree: Accumulator,
        log: Log,
        levels: Levels,
        flusher: Flusher,
        end_tree: Callable[[], StorageError | None],
    ) -> None:
        self._on_close = isinstance(config.checkpoint_policy, CheckpointPolicy.OnClose)
        self._every = _entries(config, tree.n)
        self._state = state
        self._tree = tree
        self._log = log
        self._levels = levels
        self._flusher = flusher
        self._end_tree = end_tree
        self._closing = False
        self._is_last_run = False
        self._closed = Watermark(0, _nothing_forbids)
        self._last_error: StorageError | None = None
        self._begun = 0
        self._finished = Watermark(0, self._why_not)
        self._error: StorageError | None = None
        self._is_due = False
        self._is_running = False
        self._task = scheduler.task("rotortree-checkpointer", self._step)

    def runs_here(self) -> bool:
        """Whether the caller is the thread that makes checkpoints."""
        return self._task.runs_here()

    def checkpoint(self) -> None:
        """Return when a checkpoint that began after this call is committed; raise if it failed."""
        self._finished.wait(self._begun + 1, None, self._task.request)

    def leaves_came(self) -> None:
        """Leaves were added: the background checkpoints them, where that is the policy."""
        if self._every is not None and not self._is_due:
            self._schedule(0)

    def _schedule(self, delay: float) -> None:
        every = self._every
        if every is not None and self._tree.size - self._log.checkpoint.head.size >= every:
            self._is_due = True
            try:
                self._task.schedule(delay)
            except BaseException:  # an interrupt; it may have come before anything was scheduled
                self._task.schedule(delay)
                raise

    def wait_until_idle(self, timeout: float | None) -> bool:
        """See `RotorTree.wait_for_checkpoint`."""
        timeout = checked_timeout(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while self._error is None and (self._is_due or self._is_running):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            try:  # not for ever: the run may have ended since
                self._finished.wait(self._finished.value + 1, min(left or 0.25, 0.25))
            except ClosedError:
                break  # none runs any more
            except (StorageError, TimeoutError):
                pass  # a failure is kept in _error
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def _why_not(self) -> StorageError | None:
        """Why no checkpoint will finish any more."""
        return ClosedError(f"{self._state.path} is closed") if self._is_last_run else None

    def close(self) -> None:
        """Close the tree; return when that is done, and raise what went wrong, once."""
        self._closing = True
        try:
            self._closed.wait(1, None, self._task.request)
        except BaseException:  # an interrupt; it may have come before anything was requested
            self._task.request()
            if self._closed.value:
                self._last_error = None  # a simulation closes within the request: it is this one
            raise
        error, self._last_error = self._last_error, None
        if error is not None:
            raise error

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._task.stop()

    # On the thread.

    def _step(self) -> None:
        if self._closing:
            self._close_once()
            return
        self._begun += 1
        was_due, self._is_running = self._is_due, True
        self._is_due = False
        try:
            error = self._attempt()
        except BaseException as failure:  # nothing that this library knows of
            self._is_running = False
            self._finished.fail(self._begun, CheckpointFailedError(repr(failure)))
            raise
        if error is not None and was_due:
            self._error = error
        if self._state.failure is None:
            self._schedule(0 if error is None else RETRY_SECONDS)
        self._is_running = False
        if error is None:
            self._finished.rise(self._begun)
        else:
            self._finished.fail(self._begun, error)

    def _close_once(self) -> None:
        if not self._closed.value:
            # Whoever waits for a checkpoint may hold what closing waits for.
            self._is_last_run, self._is_due = True, False
            self._finished.end()
            try:
                error = None
                try:
                    if self._on_close and self._state.failure is None:
                        error = self._attempt()
                finally:  # also where an interrupt ended the checkpoint
                    self._last_error = self._end_tree() or error
            except BaseException as failure:  # nothing that this library knows of
                self._last_error = CheckpointFailedError(f"not closed cleanly: {failure!r}")
                raise
            finally:
                self._end_tree = _nothing_forbids  # it refers to the engine, and that to this
                self._closed.rise(1)

    def _attempt(self) -> StorageError | None:
        try:
            self._checkpoint()
        except (SyncFailedError, DetachedError) as error:
            self._state.fail(error)
            self._flusher.durable.end()
            return self._state.why_not_durable()
        except (FlushFailedError, CheckpointFailedError) as error:
            return error
        except IoFailedError as error:
            return CheckpointFailedError(f"the checkpoint was not committed: {error}")
        except Exception as error:  # a hasher's own, or no memory
            return CheckpointFailedError(f"{type(error).__name__}: {error}")
        return None

    def _checkpoint(self) -> None:
        self._state.check_not_failed()
        self._flusher.flush(self._tree.size)
        try:
            stops = self._log.switch(self._root)
        except SyncFailedError:
            raise
        except IoFailedError as error:
            raise CheckpointFailedError(f"no new log segment: {error}") from error
        for stop in stops:
            if stop != self._log.checkpoint:
                self._commit(stop)

    def _root(self, size: int) -> bytes:
        """The root, by a hasher that may be anybody's.  Raises CheckpointFailedError."""
        try:
            return self._tree.root(size)
        except BaseException as error:
            raise CheckpointFailedError(f"{type(error).__name__}: {error}") from error

    def _commit(self, stop: Checkpoint) -> None:
        """Write the level files up to where a segment begins, so that those before it can go.

        A log of several segments is checkpointed one by one: then the disk needs room for the nodes
        of one only before space is freed.
        """
        levels, root = self._levels, self._root
        with calls.owning():
            levels.files.check_named()
        levels.writer.write(self._tree, self._log.checkpoint.head.size, stop.head.size)
        durable = self._flusher.durable.value
        self._log.commit(durable, root, to=stop, check=self._state.check_not_failed)
        # The checkpoint is committed.  What fails from here on only keeps space, until next time.
        with contextlib.suppress(IoFailedError):
            self._log.tidy()
        with contextlib.suppress(IoFailedError):
            levels.files.map_segments(self._tree, stop.head.size, levels.tiering)


def _nothing_forbids() -> None:
    """A watermark that will rise."""


def _entries(config: RotorTreeConfig, n: int) -> int | None:
    """After how many leaves a checkpoint is due in the background; None: never."""
    policy = config.checkpoint_policy
    if isinstance(policy, CheckpointPolicy.EveryNEntries):
        return policy.n
    if isinstance(policy, CheckpointPolicy.MemoryThreshold):
        return max(1, policy.bytes * (n - 1) // (n * NODE_BYTES))
    return None
