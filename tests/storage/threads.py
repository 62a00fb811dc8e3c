"""Threads of tests, what came of them, and how they are held at a call of the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rotortree import RotorTree
from rotortree.scheduler import ThreadScheduler
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.trees import abandon, environment, open_tree

__all__ = [
    "SOON",
    "Gate",
    "Running",
    "abandon_threaded",
    "has_ended",
    "open_threaded",
    "until",
    "watches",
    "within",
]

SOON = 20.0
"""Seconds after which something that should have happened is taken for lost."""


def open_threaded(disk: SimulatedDisk, n: int | None = None, **keywords: Any) -> RotorTree:
    """Open a tree on a simulated disk, with real threads in the background."""
    shape = replace(environment(disk, n or 2), scheduler=ThreadScheduler())
    return open_tree(disk, n, environment=shape, **keywords)


def has_ended(tree: RotorTree) -> bool:
    """Whether the background threads of a tree end soon."""
    engine = tree._engine
    tasks: list[Any] = [
        part._task for part in (engine._flusher, engine._checkpointer) if part is not None
    ]
    return until(lambda: not any(task._thread.is_alive() for task in tasks))


def until(is_true: Callable[[], bool]) -> bool:
    """Return whether it becomes true soon."""
    end = time.monotonic() + SOON
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def within(disk: SimulatedDisk, kind: str, end: str, act: Callable[[], object]) -> None:
    """Have something done within the next call of a kind on a path that ends so, once."""

    def on_call(call: Call) -> None:
        if call.kind == kind and call.path.endswith(end):
            disk.on_call = None
            act()

    disk.on_call = on_call


class Running:
    """A function in a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._function = function
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self.error = error

    def ends(self) -> bool:
        """Whether it does, soon."""
        self.thread.join(SOON)
        return not self.thread.is_alive()


class Gate:
    """Holds calls of a kind on paths with some part, each until `let`, or all until `open`.

    Calls that were held then raise ``error``, if there is one.
    """

    def __init__(self, kind: str, part: str = "", error: BaseException | None = None) -> None:
        self._which = kind, part
        self._error = error
        self._reached = threading.Semaphore(0)
        self._allowed = threading.Semaphore(0)
        self._is_open = False

    def __call__(self, call: Call) -> None:
        """What a disk does before a call: its ``on_call``."""
        kind, part = self._which
        if call.kind != kind or part not in call.path or self._is_open:
            return
        self._reached.release()
        assert self._allowed.acquire(timeout=SOON)
        if self._error is not None:
            raise self._error

    def is_reached(self) -> bool:
        """Return whether another call comes to the gate, soon."""
        return self._reached.acquire(timeout=SOON)

    def let(self) -> None:
        """Let one call go on."""
        self._allowed.release()

    def open(self) -> None:
        """Let all calls go on, from now on."""
        self._is_open = True
        self._allowed.release()


def abandon_threaded(tree: RotorTree) -> None:
    """Let a tree be forgotten without being closed, and end its threads."""
    abandon(tree)
    engine = tree._engine
    for part in (engine._flusher, engine._checkpointer):
        if part is not None:
            part.stop()


def watches(tree: RotorTree) -> int:
    """How many waits for durability the tree knows of."""
    return len(tree._engine.durable._watches)
