"""Watermarks that only rise, and those who wait for them: threads, callbacks, tokens."""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rotortree.errors import InvalidConfigError, StorageError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["DurabilityToken", "Settled", "Watch", "Watermark", "checked_timeout"]

Settled: TypeAlias = Callable[[StorageError | None], object]
"""Called once when a wait ends: with None if the mark is high enough, or why it never will be."""


def checked_timeout(timeout: float | None) -> float | None:
    """A timeout as threads take it: infinity is long.  Raises InvalidConfigError for no number."""
    if timeout is None:
        return None
    given: object = timeout
    if not isinstance(given, (int, float)) or given != given:
        raise InvalidConfigError("timeout", timeout, "it must be a number of seconds, or None")
    return min(max(timeout, 0.0), threading.TIMEOUT_MAX)


class Watch:
    """One wait for a watermark, by a callback; or by a thread, which may have to be woken."""

    __slots__ = ("error", "is_settled", "is_told", "settled", "target")

    def __init__(self, target: int, settled: Settled | None) -> None:
        self.target = target
        self.settled = settled
        self.is_settled = False
        self.is_told = False
        self.error: StorageError | None = None


class Watermark:
    """A number that only rises, and those who wait for it.

    A wait ends when the number is high enough, when an attempt to raise it that far fails, or when
    it will not rise any more: `why_not` says so, and whoever makes that true calls `end`.  So no
    wait outlasts what it waits for.  Any number of threads may raise, fail, end and watch.

    There is no lock: a wait is in the dictionary before the number is looked at, so that one of the
    two sides sees the other; and whoever takes it out, settles it.
    """

    def __init__(self, value: int, why_not: Callable[[], StorageError | None]) -> None:
        self.value = value
        self._why_not = why_not
        self._watches: dict[Watch, None] = {}

    def watch(self, target: int, settled: Settled) -> Watch:
        """Have ``settled`` called once, by another thread or at once.  Exceptions are reported."""
        watch = Watch(target, settled)
        self._watches[watch] = None
        self._look(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """Take a wait back, if it is not settled yet."""
        watch.is_told = True
        self._watches.pop(watch, None)

    def rise(self, value: int) -> None:
        """Raise the number, unless it is higher already."""
        try:
            self.value = max(self.value, value)
            self._each(self._settle_reached)
        except BaseException:  # an interrupt may have come before anybody was told
            self._each(self._settle_reached)
            raise

    def fail(self, value: int, error: StorageError) -> None:
        """An attempt to rise to ``value`` failed: end the waits that it would have ended.

        Each gets a copy of the error, of the same cause: whoever raises one adds frames to it.
        """
        self._each(
            lambda watch: self._settle(watch, _copy(error)) if watch.target <= value else None
        )

    def end(self) -> None:
        """The number does not rise any more: end every wait."""
        self._each(self._look)

    def _each(self, settle: Callable[[Watch], None]) -> None:
        """Do it to every wait, also if an interrupt comes meanwhile, which then goes on.

        Those that may not have been told are told again: a callback may be called twice then, but
        never not at all.
        """
        watches: list[Watch] = []
        try:
            watches += self._watches
            for watch in watches:
                settle(watch)
        except BaseException:
            for watch in watches or list(self._watches):
                if not watch.is_told:
                    self._watches[watch] = None
                    with contextlib.suppress(BaseException):  # the first one is raised
                        settle(watch)
            raise

    def _settle_reached(self, watch: Watch) -> None:
        if watch.target <= self.value:
            self._settle(watch, None)

    def _look(self, watch: Watch) -> None:
        error = self._why_not()  # first: a rise before an end counts
        if self.value >= watch.target:
            self._settle(watch, None)
        elif error is not None:
            self._settle(watch, error)

    def _settle(self, watch: Watch, error: StorageError | None) -> None:
        if self._watches.pop(watch, watch) is None:  # nobody else took it
            watch.error = error
            watch.is_settled = True
            settled = watch.settled
            if settled is not None:
                try:
                    settled(error)
                except KeyboardInterrupt:
                    watch.is_told = True
                    raise  # the user's, of the thread that flushes
                except BaseException:  # it is another's: the thread that flushes goes on
                    sys.excepthook(*sys.exc_info())
            watch.is_told = True

    def wait(
        self, target: int, timeout: float | None, ask: Callable[[], object] | None = None
    ) -> None:
        """Return when the number is at least ``target``; ``ask`` is called when that is watched.

        Raises why it will not be, and TimeoutError after ``timeout`` seconds.
        """
        watch = Watch(target, None)
        self._watches[watch] = None
        try:
            self._look(watch)
            if ask is not None and not watch.is_settled:
                ask()
            if not watch.is_settled:
                _sleep(watch, timeout)
        finally:
            self.forget(watch)
        if watch.error is not None:
            raise watch.error
        if not watch.is_settled:
            raise TimeoutError(f"not durable after {timeout} seconds")


def _copy(error: StorageError) -> StorageError:
    other = copy.copy(error)
    other.__cause__ = error.__cause__
    return other


def _sleep(watch: Watch, timeout: float | None) -> None:
    """Return when a watch is settled, or after ``timeout`` seconds."""
    answer = SimpleQueue[StorageError | None]()
    watch.settled = answer.put  # from here on it is told; it may have been settled before
    if not watch.is_settled:
        with contextlib.suppress(Empty):
            answer.get(timeout=timeout)


class _Tree(Protocol):
    """What a token needs of a tree."""

    @property
    def durable_size(self) -> int:
        """How many leaves are durable."""

    def _wait(self, size: int, timeout: float | None) -> None:
        """Return when so many are."""

    def _watch(self, size: int, settled: Settled) -> Watch:
        """Have a function called when so many are."""

    def _forget(self, watch: Watch) -> None:
        """Do not call it any more."""


class DurabilityToken:
    """A promise that the leaves of one insertion become durable.

    It is settled when they are: by the background flusher, by anybody's flush, or by waiting itself
    where the flush policy is manual.  ``await token`` waits without a thread and without blocking
    the event loop; a cancelled await leaves nothing behind.
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
        without it, TimeoutError after ``timeout`` seconds; then it may be repeated.
        """
        timeout = checked_timeout(timeout)
        if not self.is_durable:
            self._tree._wait(self._size, timeout)

    def when_settled(self, callback: Settled) -> None:
        """Have ``callback`` called once: with None when the leaves are durable, or with the error.

        The errors are those of `wait`.  It is called by the thread that flushes, which waits for
        it, or at once; it must return soon, and may not wait for the tree (ReentrantError), nor
        for anything that waits for this one, such as a tree whose callback does.  An exception that
        it raises is reported by `sys.excepthook`.
        """
        self._tree._watch(self._size, callback)

    def __await__(self) -> Generator[Any, None, None]:
        if self.is_durable:
            return
        import asyncio  # whoever awaits has it; nobody else should pay for it

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: StorageError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        def settled(error: StorageError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(settle, error)

        watch = self._tree._watch(self._size, settled)
        try:
            yield from future.__await__()
        finally:
            self._tree._forget(watch)
