"""The durable watermark, and the tokens that wait for it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from rotortree.errors import InvalidConfigError, StorageError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Bells", "DurabilityToken", "Watermark", "checked_timeout"]

_LOOK_AGAIN_SECONDS = 0.25
"""How often whoever waits looks without being rung: a Ctrl-C may have come before that."""


def checked_timeout(timeout: float | None) -> float | None:
    """A timeout as threads take it: infinity is long.  Raises InvalidConfigError for no number."""
    if timeout is None:
        return None
    given: object = timeout
    if not isinstance(given, (int, float)) or given != given:
        raise InvalidConfigError("timeout", timeout, "it must be a number of seconds, or None")
    return min(max(timeout, 0.0), threading.TIMEOUT_MAX)


class Bells:
    """Wakes the threads that wait for something to become true.

    No `threading.Condition`: a Ctrl-C within one may leave its lock held, or those who wait asleep.
    Here there is no lock; to be rung makes a wait short, and nothing else depends on it.
    """

    def __init__(self) -> None:
        self._waiting: set[SimpleQueue[None]] = set()

    def ring(self) -> None:
        """Let all who wait look whether it is true."""
        for bell in list(self._waiting):
            if bell.empty():
                bell.put(None)

    def wait_until(self, is_true: Callable[[], bool], timeout: float | None) -> bool:
        """Return when it is true; False if that took over ``timeout`` seconds."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        bell = SimpleQueue[None]()
        self._waiting.add(bell)
        try:
            while not is_true():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                with contextlib.suppress(Empty):
                    bell.get(timeout=min(left, _LOOK_AGAIN_SECONDS))
            return True
        finally:
            self._waiting.discard(bell)


class Watermark:
    """How many leaves are durable, for many waiters.

    It only rises.  A wait ends when it is high enough, when a flush fails while waiting, or when
    it will not rise any more; so no wait outlasts what it waits for.
    """

    def __init__(self, value: int) -> None:
        self.value = value
        self._lock = threading.Lock()
        self._bells = Bells()
        self._failures = 0
        self._failure: Callable[[], StorageError] | None = None

    def rise(self, value: int) -> None:
        """Everything below ``value`` is durable."""
        with self._lock:
            self.value = max(self.value, value)
        self.ring()

    def fail(self, error: Callable[[], StorageError]) -> None:
        """A flush failed: raise in those who wait now."""
        with self._lock:
            self._failure = error
            self._failures += 1
        self.ring()

    def ring(self) -> None:
        """Let all who wait look, because it may not rise any more."""
        self._bells.ring()

    def wait(
        self, target: int, timeout: float | None, why_not: Callable[[], StorageError | None]
    ) -> None:
        """Return when ``target`` leaves are durable.

        ``why_not`` says why that will not be, None if it may.  Raises what it says, the error of a
        flush that failed meanwhile, and TimeoutError after ``timeout`` seconds.
        """
        failures = self._failures

        def is_settled() -> bool:
            return self.value >= target or self._failures != failures or why_not() is not None

        if not self._bells.wait_until(is_settled, timeout):
            raise TimeoutError(f"not durable after {timeout} seconds")
        error = why_not()
        if self.value < target:
            if error is None:
                assert self._failure is not None  # else it would not be settled
                error = self._failure()
            raise error


class _Tree(Protocol):
    """What a token needs of a tree."""

    @property
    def durable_size(self) -> int:
        """How many leaves are durable."""

    def _wait(self, size: int, timeout: float | None) -> None:
        """Return when so many are."""


class DurabilityToken:
    """A promise that the leaves of one insertion become durable.

    It is settled when they are: by the background flusher, by anybody's flush, or by waiting
    itself where the flush policy is manual.  ``await token`` is ``token.wait()`` without blocking
    the event loop.
    """

    __slots__ = ("_size", "_tree")

    def __init__(self, tree: _Tree, size: int) -> None:
        self._tree = tree  # kept open by whoever holds the token
        self._size = size

    def __repr__(self) -> str:
        return f"<DurabilityToken for size {self._size}{', durable' * self.is_durable}>"

    @property
    def size(self) -> int:
        """The tree's size with the insertion: durable when this many leaves are."""
        return self._size

    @property
    def is_durable(self) -> bool:
        """Whether the leaves would survive a power failure now."""
        return self._tree.durable_size >= self._size

    def wait(self, timeout: float | None = None) -> None:
        """Return when the leaves are durable.

        Raises FlushFailedError if a flush of them failed, ClosedError if the tree was closed
        without it, TimeoutError after ``timeout`` seconds.  Where the flush policy is manual, the
        caller flushes; the timeout does not interrupt that.
        """
        timeout = checked_timeout(timeout)
        if not self.is_durable:
            self._tree._wait(self._size, timeout)

    def __await__(self) -> Generator[Any, None, None]:
        if not self.is_durable:
            import asyncio  # whoever awaits has it; nobody else should pay for it

            yield from asyncio.to_thread(self.wait).__await__()
