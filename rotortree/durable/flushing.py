"""Flushing: who writes pending leaves to the log, for everybody who waits.

One thread at a time flushes: a call that needs durability, or the background where nobody calls.
Flushes form rounds.  The first thread of a round waits for the running flush, then flushes for
everyone in it (group commit); the rest wait and return.  Threads that arrive later join the next
round.

A thread may be interrupted anywhere (Ctrl-C), also while it flushes.  It gives back what it holds;
the next thread of the round does the work, and the log goes on in a new segment
(`rotortree.storage.log`).
"""

from __future__ import annotations

import contextlib
import copy
import threading
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
    """A hasher raised an exception, which is the cause; the message names it."""


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
        self._new_round = scheduler.lock
        self._round = scheduler.lock()
        self._flushing = scheduler.lock()
        self._task = scheduler.task("rotortree-flusher", self._step)

    def leaves_came(self) -> None:
        """Leaves were added: the background flushes them in time, where that is the policy."""
        if not self._is_scheduled:
            assert self._seconds is not None  # else it counts as scheduled for ever
            self._schedule(self._seconds)

    def _schedule(self, delay: float) -> None:
        self._is_scheduled = True  # first: the step may run at once, and take it back
        try:
            self._task.schedule(delay)
        except BaseException:  # an interrupt; it may have come before anything was scheduled
            self._task.schedule(delay)
            raise

    def request(self) -> None:
        """Have the background flush now everything that is in the tree."""
        self._task.request()

    def is_mine(self) -> bool:
        """Whether the caller's thread flushes, or waits for its turn to."""
        return self._flushing._is_owned() or self._round._is_owned()

    def flush(self, target: int) -> None:
        """Make ``target`` leaves durable; raise why they did not become so.

        Requires that the caller's thread is not in this call already (`is_mine`).
        """
        durable = self.durable
        if durable.value < target:
            with self._round:
                if durable.value < target:
                    with self._flushing:
                        self._round = self._new_round()
                        if durable.value < target:
                            self._flush()

    def _flush(self) -> None:
        error = self._state.why_not_durable()
        if error is not None:
            self.durable.end()  # an interrupt may have kept the one that failed from it
        else:
            error = self._attempt(self._tree.size)
        if error is not None:
            raise error

    def _step(self) -> None:
        # First: leaves that come from now on schedule another step, and none is missed.
        self._is_scheduled = self._seconds is None
        with self._flushing:
            if self._state.failure is None and not self._state.ended:
                stop = self._tree.size
                try:
                    self._attempt(stop)
                except Exception as error:  # nobody else would learn of it, out of memory say
                    self._failed(stop, error)
            else:
                self.durable.end()  # an interrupt may have kept the one that failed from it

    def _attempt(self, stop: int) -> StorageError | None:
        """Make ``stop`` leaves durable; return the error if that failed.

        Anything else that is raised came from outside: from a signal handler, say.
        """
        try:
            if self._log.size < stop:
                self._log.append(stop, self._leaves, self._root)
            if self._record and self.durable.value < stop:
                self._commit(stop)
        except (IoFailedError, DetachedError, _HasherError) as error:
            return self._failed(stop, error)
        self.durable.rise(stop)
        return None

    def _root(self, size: int) -> bytes:
        """The root, by a hasher that may be anybody's.  Nothing was written yet."""
        try:
            return self._tree.root(size)
        except BaseException as error:
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and not isinstance(error, Exception):
                raise  # a Ctrl-C of the user's, more likely
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
        failed = FlushFailedError(message, retryable=True)
        failed.__cause__ = error.__cause__ if isinstance(error, _HasherError) else error
        self.durable.fail(stop, failed)
        if self._seconds is not None:
            self._schedule(RETRY_SECONDS)
        return failed

    # The end.

    def end(self) -> StorageError | None:
        """Flush once more, record the clean end; return the error if that failed.

        Then nothing becomes durable any more.  Called once, when no more leaves come.
        """
        with self._flushing:
            try:
                return self._flush_last()
            finally:
                self._state.ended = True
                self.durable.end()

    def _flush_last(self) -> StorageError | None:
        failed = self._state.failure
        if failed is not None:
            is_pending = self.durable.value < self._tree.size
            is_told = is_pending or isinstance(failed, DetachedError)
            return copy.copy(failed) if is_told else None
        stop = self._tree.size
        try:
            error = self._attempt(stop)
            if error is None:
                self._commit(stop)
        except Exception as failure:
            error = failure if isinstance(failure, StorageError) else self._failed(stop, failure)
        if error is not None:
            return error
        with contextlib.suppress(IoFailedError):  # nothing depends on it
            self._log.cut_zeros()
        return None

    def runs_here(self) -> bool:
        """Whether the caller is the background's thread."""
        return self._task.runs_here()

    def stop(self) -> None:
        """Return when the background has ended."""
        self._task.stop()
