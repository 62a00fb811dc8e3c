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
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, cast

__all__ = ["Mutex", "Scheduler", "Task", "ThreadScheduler"]


_NEVER, _AT_ONCE = math.inf, -math.inf
"""Times at which a task is due."""


class Mutex(Protocol):
    """What `threading.RLock` makes, as far as it is used here.

    It is taken by ``with`` only, and it is written in C: no interrupt comes between taking it and
    entering the block that gives it back.  Nobody takes it twice.
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
    """A daemon thread that sleeps until the task is due.

    The thread does not keep the task: it ends when nobody else does, because an interrupt came
    between starting the thread and keeping the task.
    """

    def __init__(self, name: str, step: Callable[[], None], now: Callable[[], float]) -> None:
        self._now = now
        self.step = step
        self.is_stopped = False
        # One put both sets the time and wakes the thread, so no interrupt can separate the two.
        self._calls = SimpleQueue[float]()
        # Starting a thread may fail; started here, scheduling cannot fail.
        self._thread = threading.Thread(
            target=_live, args=(weakref.ref(self), self._calls, now), name=name, daemon=True
        )
        self._thread.start()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # an interrupt came before even this had a queue
            self._calls.put(_AT_ONCE)

    def schedule(self, delay: float) -> None:
        self._calls.put(self._now() + delay)

    def request(self) -> None:
        self.schedule(0)

    def stop(self) -> None:
        self.is_stopped = True
        self._calls.put(_AT_ONCE)
        if not self.runs_here():
            self._thread.join()
            self.step = _nothing  # the step refers to its owner, and the owner to this task

    def runs_here(self) -> bool:
        thread = self._thread  # another one may have its number when it has ended
        return thread.ident == threading.get_ident() and thread.is_alive()


def _live(
    find: Callable[[], _ThreadTask | None], calls: SimpleQueue[float], now: Callable[[], float]
) -> None:
    """What a task's thread does: run the step when it is due, until the task is stopped or gone."""
    due = _NEVER
    while True:
        while not calls.empty():  # one run serves all who asked before it begins
            due = min(due, calls.get())
        left = due - now()
        if left > 0:
            with contextlib.suppress(Empty):
                due = min(due, calls.get(timeout=min(left, threading.TIMEOUT_MAX)))
            continue
        due = _NEVER
        task = find()
        if task is None or task.is_stopped:
            return
        try:
            task.step()
        except BaseException:  # it must not; but those who wait need the thread
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
        del task


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
