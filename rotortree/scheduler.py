"""The scheduler seam: background tasks, their clock, and the locks between threads.

The flusher and the checkpointer are step functions.  In production a thread runs each of them.  A
test or a simulation runs the steps itself, with its own clock and in any interleaving.  Locks that
are held during disk I/O come from here, too, so that a simulation knows which thread is blocked.
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
from typing import Protocol, cast

__all__ = ["Mutex", "Scheduler", "Task", "ThreadScheduler"]


_NEVER = math.inf


class Mutex(Protocol):
    """What `threading.RLock` makes, as far as it is used here.

    It is taken by ``with`` only, and it is written in C: no interrupt comes between taking it and
    being bound to give it back.  Nobody takes it twice.
    """

    def _is_owned(self) -> bool:
        """Whether the caller's thread holds the lock.

        Right at any moment, also in a signal handler, where a mark beside the lock could be wrong.
        """

    def __enter__(self) -> bool:
        """Take the lock."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Release the lock."""


class Task(Protocol):
    """A step function that runs when it is due."""

    def schedule(self, delay: float) -> None:
        """Run the step in ``delay`` seconds, or earlier if it is already due earlier."""

    def request(self) -> None:
        """Have the step run once more, from its beginning, as soon as it can.

        In production another thread runs it, and this call does not wait for that.  A simulation
        may run it before this call returns.
        """

    def stop(self) -> None:
        """Cancel the task, and return when the step is not running any more.  Idempotent.

        Called by the step itself, it returns at once.
        """

    def runs_here(self) -> bool:
        """Whether the caller's thread is the one that runs the step."""


class Scheduler(Protocol):
    """Makes tasks and locks, and has a clock."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """Make a task, which is not due until it is scheduled.  The step must not raise.

        Raises RuntimeError if nothing can run it.
        """

    def lock(self) -> Mutex:
        """Make a lock."""


class _ThreadTask:
    """A daemon thread that sleeps until the task is due."""

    def __init__(self, name: str, step: Callable[[], None], now: Callable[[], float]) -> None:
        self._step = step
        self._now = now
        # One put both sets the time and wakes the thread, so no interrupt can separate the two.
        self._calls = SimpleQueue[float]()
        self._due = _NEVER
        self._stopped = False
        # Starting a thread may fail; started here, scheduling cannot fail.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except BaseException:  # after an interrupt the thread may be running
            self._stopped = True
            self._calls.put(_NEVER)
            raise

    def schedule(self, delay: float) -> None:
        self._calls.put(self._now() + delay)

    def request(self) -> None:
        self.schedule(0)

    def stop(self) -> None:
        self._stopped = True
        self._calls.put(_NEVER)
        if not self.runs_here():
            self._thread.join()
            self._step = _nothing  # the step refers to its owner, and the owner to this task

    def runs_here(self) -> bool:
        thread = self._thread  # another one may have its number when it has ended
        return thread.ident == threading.get_ident() and thread.is_alive()

    def _run(self) -> None:
        while self._wait_until_due():
            self._due = _NEVER
            try:
                self._step()
            except BaseException:  # it must not; but those who wait need the thread
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))

    def _wait_until_due(self) -> bool:
        while not self._stopped:
            while not self._calls.empty():  # one run serves all who asked before it begins
                self._due = min(self._due, self._calls.get())
            left = self._due - self._now()
            if left <= 0:
                return True
            with contextlib.suppress(Empty):
                due = self._calls.get(timeout=min(left, threading.TIMEOUT_MAX))
                self._due = min(due, self._due)
        return False


def _nothing() -> None:
    """The step of a task that was stopped."""


class ThreadScheduler:
    """Runs each task in a thread of its own, by the system's monotonic clock."""

    def now(self) -> float:
        """See `Scheduler.now`."""
        return time.monotonic()

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """See `Scheduler.task`."""
        return _ThreadTask(name, step, self.now)

    def lock(self) -> Mutex:
        """See `Scheduler.lock`."""
        return cast(Mutex, threading.RLock())  # typeshed does not know _is_owned
