"""A clock that a test moves, and the tasks that are due by it."""

from __future__ import annotations

import math
from collections.abc import Callable

from rotortree_faultinject.disk.schedule import StepScheduler, StepTask

__all__ = ["Clock", "Timed"]


class Timed(StepTask):
    """A task that is due at a time."""

    def __init__(self, name: str, step: Callable[[], None], now: Callable[[], float]) -> None:
        super().__init__(name, step)
        self._now = now
        self.time = math.inf

    def schedule(self, delay: float) -> None:
        """Be due then, or when it was due if that is earlier."""
        super().schedule(delay)
        self.time = min(self.time, self._now() + delay)

    def run(self) -> bool:
        """Run if it is due."""
        self.time = math.inf
        return super().run()


class Clock(StepScheduler):
    """Time passes when the test says so, and tasks run when they are due."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def now(self) -> float:
        """The time."""
        return self.time

    def task(self, name: str, step: Callable[[], None]) -> Timed:
        """A task that is not due yet."""
        made = Timed(name, step, self.now)
        self.tasks.append(made)
        return made

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.time + seconds
        while True:
            task = min((task for task in self.tasks if isinstance(task, Timed)), key=_time)
            if task.time > end + 1e-9:
                break
            self.time = max(self.time, task.time)
            task.run()
        self.time = end


def _time(task: Timed) -> float:
    return task.time
