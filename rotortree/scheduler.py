"""The scheduler seam: what runs in the background, when, and who waits for whom.

The flusher and the checkpointer are step functions.  In production a thread runs each of them; a
test or a simulation drives them itself, with a clock of its own, in any interleaving.  The locks
that are held while the disk works come from here, too, so that a simulation knows who is blocked.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol

__all__ = ["Mutex", "Scheduler", "Task", "ThreadScheduler"]


_NEVER = math.inf


class Mutex(Protocol):
    """What `threading.Lock` makes, as far as it is used here."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Get the lock; False if that took over ``timeout`` seconds (-1: wait for ever)."""

    def release(self) -> None:
        """Give the lock back."""

    def __enter__(self) -> bool:
        """Get the lock."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give the lock back."""


class Task(Protocol):
    """A step function that runs when it is due."""

    @property
    def is_due(self) -> bool:
        """Whether the step will run without being scheduled again.

        Whatever was done before this was read, the step will see.
        """

    def schedule(self, delay: float) -> None:
        """Run the step in ``delay`` seconds, or earlier if it was due earlier already."""

    def request(self) -> None:
        """Have the step run once more, from its beginning, as soon as it can.

        In production another thread runs it, and this call does not wait for that.  A simulation
        may run it before this call returns.
        """

    def stop(self) -> None:
        """Return when the step does not run and will not run again.  Idempotent.

        Called by the step itself, it returns at once.
        """

    def runs_here(self) -> bool:
        """Whether the caller is the thread that runs the step."""


class Scheduler(Protocol):
    """Where tasks and locks come from."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """A task that is not due yet.  The step must not raise.

        Raises RuntimeError when there is nothing that could run it.
        """

    def lock(self) -> Mutex:
        """A new lock."""


class _ThreadTask:
    """A daemon thread that sleeps until the task is due."""

    def __init__(self, name: str, step: Callable[[], None], now: Callable[[], float]) -> None:
        self._step = step
        self._now = now
        # Putting something there both says when and wakes the thread: no interrupt comes between.
        self._calls = SimpleQueue[float]()
        self._due = _NEVER
        self._stopped = False
        # Started now, where it may fail, so that scheduling never does.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except BaseException:  # an interrupt: it may have been started
            self._stopped = True
            self._calls.put(_NEVER)
            raise

    @property
    def is_due(self) -> bool:
        return self._due != _NEVER or not self._calls.empty()

    def schedule(self, delay: float) -> None:
        self._calls.put(self._now() + delay)

    def request(self) -> None:
        self.schedule(0)

    def stop(self) -> None:
        self._stopped = True
        self._calls.put(_NEVER)
        if not self.runs_here():
            self._thread.join()
            self._step = _nothing  # it may hold much: what it belongs to holds this task

    def runs_here(self) -> bool:
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        while self._wait_until_due():
            try:
                self._step()
            except BaseException:  # it must not; but those who wait need the thread
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))

    def _wait_until_due(self) -> bool:
        while not self._stopped:
            left = self._due - self._now()
            if left <= 0:
                self._due = _NEVER
                return True
            with contextlib.suppress(Empty):
                due = self._calls.get(timeout=min(left, threading.TIMEOUT_MAX))
                self._due = min(due, self._due)
        return False


def _nothing() -> None:
    """The step of a task that was stopped."""


class ThreadScheduler:
    """Real threads and the real clock."""

    def now(self) -> float:
        """See `Scheduler.now`."""
        return time.monotonic()

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """See `Scheduler.task`."""
        return _ThreadTask(name, step, self.now)

    def lock(self) -> Mutex:
        """See `Scheduler.lock`."""
        return threading.Lock()
