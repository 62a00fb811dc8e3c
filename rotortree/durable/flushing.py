"""Flushing: the thread that writes pending leaves to the log, for everybody who waits.

All I/O on the open log happens on this one thread.  A call that needs durability asks for a flush
and waits for the watermark.  While one flush runs, others may ask; the next flush then serves all
of them with one sync (group commit).  An interrupt (Ctrl-C) ends the wait, never the I/O.
"""

from __future__ import annotations

import contextlib
import copy
from functools import partial

from rotortree.config import FlushPolicy, RotorTreeConfig
from rotortree.durable.state import TreeState
from rotortree.durable.watermark import Watermark
from rotortree.errors import (
    DetachedError,
    FlushFailedError,
    IoFailedError,
    StorageError,
    SyncFailedError,
)
from rotortree.scheduler import Scheduler
from rotortree.storage.log import Log
from rotortree.tree.accumulator import Accumulator

__all__ = ["RETRY_SECONDS", "Flusher"]

RETRY_SECONDS = 1.0
"""How long the background waits after a failure before it tries again."""


class _HasherError(Exception):
    """A hasher raised; the message is what."""


def _nothing_forbids() -> None:
    """A watermark that will rise."""


class Flusher:
    """Makes leaves durable.  ``durable`` is the watermark: how many are."""

    def __init__(
        self,
        config: RotorTreeConfig,
        scheduler: Scheduler,
        state: TreeState,
        tree: Accumulator,
        log: Log,
    ) -> None:
        self.durable = Watermark(tree.size, state.why_not_durable)
        self._state = state
        self._tree = tree
        self._log = log
        self._leaves = partial(tree.views, 0)
        self._record = config.record_acknowledgements
        policy = config.flush_policy
        self._seconds = policy.seconds if isinstance(policy, FlushPolicy.Interval) else None
        self._is_scheduled = self._seconds is None
        self._ending = False
        self._ended = Watermark(0, _nothing_forbids)
        self._last_error: StorageError | None = None
        self._task = scheduler.task("rotortree-flusher", self._step)

    def leaves_came(self) -> None:
        """Leaves were added: the background flushes them in time, where that is the policy."""
        if not self._is_scheduled:
            assert self._seconds is not None  # else it counts as scheduled for ever
            self._task.schedule(self._seconds)
            self._is_scheduled = True

    def request(self) -> None:
        """Have everything flushed that is in the tree now."""
        self._task.request()

    def flush(self, target: int) -> None:
        """Return when ``target`` leaves are durable; raise why they did not become so."""
        if self.durable.value < target:
            self.durable.wait(target, None, self.request)

    def runs_here(self) -> bool:
        """Whether the caller is the thread that flushes."""
        return self._task.runs_here()

    def _step(self) -> None:
        self._is_scheduled = self._seconds is None  # before the size is read: see `leaves_came`
        if self._state.ended or self._ending:
            self._end()
        elif self._state.failure is None:
            self._attempt(self._tree.size)

    def _attempt(self, stop: int) -> StorageError | None:
        """Make ``stop`` leaves durable; return the error if that failed."""
        try:
            if self._log.size < stop:
                self._log.append(stop, self._leaves, self._root)
            if self._record and self.durable.value < stop:
                self._commit(stop)
        except Exception as error:
            return self._failed(stop, error)
        except BaseException as error:  # nothing that this library knows of
            self._state.fail(error)
            self.durable.end()
            raise
        self.durable.rise(stop)
        return None

    def _root(self, size: int) -> bytes:
        """The root, by a hasher that may be anybody's.  Nothing was written yet."""
        try:
            return self._tree.root(size)
        except BaseException as error:
            raise _HasherError(f"{type(error).__name__}: {error}") from error

    def _commit(self, acknowledged: int) -> None:
        self._log.commit(acknowledged, self._root, check=self._state.check_not_failed)

    def _failed(self, stop: int, error: Exception) -> StorageError:
        """An attempt failed: fail the tree, or tell those who wait, and try again later."""
        if isinstance(error, (SyncFailedError, DetachedError)):
            self._state.fail(error)
        if (failure := self._state.failure) is not None:
            self.durable.end()
            return copy.copy(failure)
        is_plain = isinstance(error, (IoFailedError, _HasherError))
        shown = str(error) if is_plain else f"{type(error).__name__}: {error}"
        message = f"{stop - self.durable.value} leaves stay pending: {shown}"

        def failed() -> FlushFailedError:
            failure = FlushFailedError(message, retryable=True)
            failure.__cause__ = error
            return failure

        self.durable.fail(stop, failed)
        if self._seconds is not None:
            self._is_scheduled = True
            self._task.schedule(RETRY_SECONDS)
        return failed()

    # The end.

    def end(self) -> StorageError | None:
        """Flush once more, record the clean end; return the error if that failed.

        Then nothing becomes durable any more.  Called when no more leaves come.
        """
        self._ending = True
        self._ended.wait(1, None, self.request)
        return self._last_error

    def _end(self) -> None:
        if not self._state.ended:
            try:
                self._last_error = self._flush_last()
            finally:
                self._state.ended = True
                self.durable.end()
        self._ended.rise(1)

    def _flush_last(self) -> StorageError | None:
        if self._state.failure is not None:
            is_pending = self.durable.value < self._tree.size
            return copy.copy(self._state.failure) if is_pending else None
        error = self._attempt(self._tree.size)
        if error is not None:
            return error
        try:
            self._commit(self.durable.value)
        except StorageError as failure:
            return failure
        with contextlib.suppress(IoFailedError):  # nothing depends on it
            self._log.cut_zeros()
        return None

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._task.stop()
