"""The scheduler seam: what runs in the background, and when.

The flusher and the checkpointer are step functions.  In production a thread runs each of them; a
test or a simulation drives them itself, with a clock of its own, in any interleaving.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Scheduler", "Task", "ThreadScheduler"]


class Task(Protocol):
    """A step function that runs when it is due."""

    @property
    def is_due(self) -> bool:
        """Whether the step will run without being scheduled again.

        Whatever was done before this was read, the step will see.
        """

    def schedule(self, delay: float) -> None:
        """Run the step in ``delay`` seconds, or earlier if it was due earlier already."""

    def stop(self) -> None:
        """Return when the step does not run and will not run again.  Idempotent."""

    def runs_here(self) -> bool:
        """Whether the caller is the thread that runs the step."""


class Scheduler(Protocol):
    """Where tasks come from."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """A task that is not due yet.  The step must not raise.

        Raises RuntimeError when there is nothing that could run it.
        """


class _ThreadTask:
    """A daemon thread that sleeps until the task is due."""

    def __init__(self, name: str, step: Callable[[], None], now: Callable[[], float]) -> None:
        self._step = step
        self._now = now
        self._condition = threading.Condition()
        self._due: float | None = None
        self._stopped = False
        # Started now, where it may fail, so that scheduling never does.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_due(self) -> bool:
        return self._due is not None

    def schedule(self, delay: float) -> None:
        due = self._now() + delay
        with self._condition:
            if self._stopped or (self._due is not None and self._due <= due):
                return
            self._due = due
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if not self.runs_here():
            self._thread.join()

    def runs_here(self) -> bool:
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        while self._wait_until_due():
            self._step()

    def _wait_until_due(self) -> bool:
        with self._condition:
            while not self._stopped:
                left = None if self._due is None else self._due - self._now()
                if left is not None and left <= 0:
                    self._due = None
                    return True
                self._condition.wait(left)
        return False


class ThreadScheduler:
    """Real threads and the real clock."""

    def now(self) -> float:
        """See `Scheduler.now`."""
        return time.monotonic()

    def task(self, name: str, step: Callable[[], None]) -> Task:
        """See `Scheduler.task`."""
        return _ThreadTask(name, step, self.now)
