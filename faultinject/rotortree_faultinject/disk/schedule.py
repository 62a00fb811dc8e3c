"""Schedules: background tasks and threads that take turns as they are told to.

`StepScheduler` has no threads: its tasks run when the test says so.  `Interleaver` runs several
*actors*, each in a thread of its own, of which exactly one moves at any time.  Before every call of
the disk, and where an actor has to wait for a lock, a list of numbers decides who goes on; so a
schedule is data, can be enumerated, and does the same every time.

Both have what a program's scheduler seam asks for: a clock that stands still, tasks, and locks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NamedTuple

from rotortree.scheduler import Mutex, ThreadScheduler

__all__ = ["Deadlock", "Decision", "Interleaver", "StepScheduler", "StepTask", "schedules"]


class StepTask:
    """A background task that runs when the test says so, or when somebody requests it.

    ``lock`` is held while the step runs; by default a real one, as where there is one thread.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        lock: AbstractContextManager[bool] | None = None,
    ) -> None:
        self.name = name
        self._step = step
        self._lock = threading.Lock() if lock is None else lock
        self._due = False
        self._stopped = False
        self._runner: threading.Thread | None = None

    @property
    def is_due(self) -> bool:
        """Whether somebody scheduled the task since it last began."""
        return self._due

    def schedule(self, delay: float) -> None:
        """Let the task be due, whatever the delay: the clock stands still."""
        assert delay >= 0
        self._due = not self._stopped

    def request(self) -> None:
        """Run the step now, from its beginning; nothing if the task was stopped.

        An actor that requests it while another one runs it waits, and runs it then.  The step
        itself cannot wait for its own end: if it requests itself, the task is due again.
        """
        self.schedule(0)
        self.run()

    def stop(self) -> None:
        """The task will not run again."""
        self._stopped, self._due = True, False

    def runs_here(self) -> bool:
        """Whether the caller is the step, or something that the step called."""
        return self._runner is threading.current_thread()

    def run(self) -> bool:
        """Run the step if it is due; whether it was.  Never within the step itself."""
        if not self._due or self.runs_here():
            return False
        with self._lock:
            if not self.is_due:
                return False  # while this one waited, another one ran it, or stopped it
            self._due, self._runner = False, threading.current_thread()
            try:
                self._step()
            finally:
                self._runner = None
        return True


class StepScheduler:
    """A scheduler without threads; its clock stands still."""

    def __init__(self) -> None:
        self.tasks: list[StepTask] = []

    def now(self) -> float:
        """Always 0 seconds."""
        return 0.0

    def task(self, name: str, step: Callable[[], None]) -> StepTask:
        """A task that is not due yet."""
        self.tasks.append(StepTask(name, step, self.lock()))
        return self.tasks[-1]

    def lock(self) -> Mutex:
        """A real lock: nobody waits where there is one thread."""
        return ThreadScheduler().lock()

    def run_due(self, name: str = "") -> int:
        """Run each task that is due, and whose name ends so, once; how many were."""
        return sum(task.run() for task in self.tasks if task.name.endswith(name))


class Deadlock(Exception):
    """Every actor that is left waits for a lock."""


class Decision(NamedTuple):
    """A point at which several actors could go on.

    ``actors`` in the order in which choices number them; if ``preempts``, the first one is the
    actor that was running, and any other choice takes its turn away.
    """

    actors: tuple[str, ...]
    preempts: bool


class _Actor:
    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.name = name
        self.function = function
        self.turn = threading.Semaphore(0)
        self.waits_for: _TurnLock | None = None
        self.done = False
        self.error: BaseException | None = None


class _TurnLock:
    """A lock whose waiters the interleaver knows."""

    def __init__(self, interleaver: Interleaver) -> None:
        self._interleaver = interleaver
        self.holder: object = None

    def _is_owned(self) -> bool:
        return self.holder is threading.current_thread()

    def __enter__(self) -> bool:
        while self.holder is not None:
            self._interleaver.wait_for(self)
        self.holder = threading.current_thread()
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.holder = None


class Interleaver(StepScheduler):
    """Lets actors take turns.

    ``choices[k]`` numbers the actor that goes on at the k-th decision; where it ends, and where a
    number is too large, the first one does: whoever was running, else the one added first.
    """

    def __init__(self, choices: Sequence[int] = ()) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self._choices = choices
        self._actors: list[_Actor] = []
        self._current: _Actor | None = None
        self._finished = threading.Semaphore(0)
        self._is_over = False

    def lock(self) -> _TurnLock:
        """A lock for which actors wait in turns."""
        return _TurnLock(self)

    def add(self, name: str, function: Callable[[], None]) -> None:
        """Add an actor, to be run by `run`."""
        self._actors.append(_Actor(name, function))

    def run(self) -> None:
        """Run all actors to their ends; raise what the first of them raised, or Deadlock."""
        threads = [
            threading.Thread(target=self._live, args=(actor,), daemon=True)
            for actor in self._actors
        ]
        for thread in threads:
            thread.start()
        self._pass_turn()
        self._finished.acquire()
        self._current = None
        errors = [actor.error for actor in self._actors if actor.error is not None]
        waiting = [actor for actor in self._actors if not actor.done]
        self._is_over = True
        for actor in waiting:
            actor.turn.release()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        if waiting:
            names = ", ".join(actor.name for actor in waiting)
            raise Deadlock(f"all that are left wait for locks: {names}")

    def switch(self) -> None:
        """A point at which another actor may go on.  Does nothing outside of `run`."""
        if self._current is not None:
            self._pause(self._current)

    def wait_for(self, lock: _TurnLock) -> None:
        """Return when the running actor may try again to get a lock."""
        actor = self._current
        if actor is None:
            raise Deadlock("a lock is held, and there is nobody else")
        actor.waits_for = lock
        self._pause(actor)
        actor.waits_for = None
        if self._is_over:
            raise Deadlock(f"{actor.name} waits for ever")

    def _live(self, actor: _Actor) -> None:
        actor.turn.acquire()
        try:
            actor.function()
        except BaseException as error:
            actor.error = error
        actor.done = True
        if not self._is_over:
            self._pass_turn()

    def _pause(self, actor: _Actor) -> None:
        if self._pass_turn() is not actor:
            actor.turn.acquire()

    def _pass_turn(self) -> _Actor | None:
        """Let the actor that is chosen go on."""
        before = self._current
        ready = [actor for actor in self._actors if self._is_ready(actor)]
        if not ready:
            self._finished.release()
            return None
        preempts = before in ready
        if preempts:
            ready.sort(key=lambda actor: actor is not before)
        at = 0
        if len(ready) > 1:
            number = len(self.decisions)
            choice = self._choices[number] if number < len(self._choices) else 0
            at = choice if choice < len(ready) else 0
            self.decisions.append(Decision(tuple(actor.name for actor in ready), preempts))
        chosen = self._current = ready[at]
        if chosen is not before:
            chosen.turn.release()
        return chosen

    @staticmethod
    def _is_ready(actor: _Actor) -> bool:
        waits_for = actor.waits_for
        return not actor.done and (waits_for is None or waits_for.holder is None)


def schedules(
    run: Callable[[tuple[int, ...]], Sequence[Decision]], preemptions: int
) -> Iterator[tuple[int, ...]]:
    """Every schedule with at most so many preemptions, each run once.

    ``run`` runs one and returns the decisions that came up.  Choices where nobody is preempted are
    free.  Bounded preemptions find most bugs in few schedules (Musuvathi and Qadeer, PLDI 2007).
    """
    stack: list[tuple[tuple[int, ...], int]] = [((), preemptions)]
    while stack:
        choices, left = stack.pop()
        decisions = run(choices)
        yield choices
        for at in range(len(decisions) - 1, len(choices) - 1, -1):
            cost = 1 if decisions[at].preempts else 0
            if cost > left:
                continue
            start = choices + (0,) * (at - len(choices))
            stack += [
                ((*start, choice), left - cost) for choice in range(1, len(decisions[at].actors))
            ]
