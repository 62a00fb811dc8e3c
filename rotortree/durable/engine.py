"""The engine of the durable tree: who may insert, and what an open tree is made of.

Three parts change a tree, each on its own:

===============  =================================================================================
any thread       appends leaves in memory, under the insert lock, which is never held during I/O
`Flusher`        writes the log: one thread at a time, in a call that waits or in the background
`Checkpointer`   its thread writes level files and the commit record, and closes the tree
===============  =================================================================================

Reads take no lock at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rotortree.config import FlushPolicy, RotorTreeConfig
from rotortree.durable.checkpointing import Checkpointer, Levels
from rotortree.durable.flushing import Flusher
from rotortree.durable.state import TreeState
from rotortree.durable.watermark import Settled, Watch, Watermark
from rotortree.errors import ReadOnlyError, ReentrantError, StorageError
from rotortree.storage import calls
from rotortree.storage.directory import Directory, Lock
from rotortree.storage.environment import Environment
from rotortree.storage.format import Head
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log
from rotortree.tree.accumulator import Accumulator

__all__ = ["Engine", "OpenedTree"]

_T = TypeVar("_T")
_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class OpenedTree:
    """What opening a directory yields.  ``log`` and ``writer`` are None if it is read-only."""

    root: Directory
    lock: Lock
    tree: Accumulator
    levels: LevelFiles
    checkpoint: Head
    log: Log | None
    writer: LevelWriter | None

    def release(self) -> None:
        """Close and unlock everything.  Idempotent."""
        for part in (self.log, self.writer, self.levels):
            if part is not None:
                part.close()
        calls.release_lock(self.lock)
        calls.close(self.root)


class Engine:
    """One open tree.  Every method is safe from any thread of the process that opened it."""

    def __init__(
        self, config: RotorTreeConfig, environment: Environment, opened: OpenedTree
    ) -> None:
        self.config = config
        self.tree = opened.tree
        self.state = TreeState(config.path)
        self._opened = opened
        self._is_manual = isinstance(config.flush_policy, FlushPolicy.Manual)
        self._insert_lock = threading.RLock()  # never held while waiting
        self._is_inserting: Callable[[], bool] = self._insert_lock._is_owned  # type: ignore[attr-defined]
        self._flusher: Flusher | None = None
        self._checkpointer: Checkpointer | None = None
        if opened.log is None or opened.writer is None:
            self.durable = Watermark(opened.tree.size, self.state.why_not_durable)
            return
        scheduler, parts = environment.scheduler, (self.state, opened.tree, opened.log)
        levels = Levels(opened.writer, opened.levels, config.tiering)
        self._flusher = Flusher(config, scheduler, *parts)
        self.durable = self._flusher.durable
        try:
            self._checkpointer = Checkpointer(
                config, scheduler, *parts, levels, self._flusher, self._end
            )
        except BaseException:
            self._flusher.stop()
            raise

    @property
    def checkpoint_size(self) -> int:
        """How many leaves the last committed checkpoint holds."""
        log = self._opened.log
        return self._opened.checkpoint.size if log is None else log.checkpoint.head.size

    # Whether it can be changed.

    def _check_writable(self) -> tuple[Flusher, Checkpointer]:
        self.state.home.has_left()  # asks the system, and is right from a child's first moment on
        self.state.check_readable()
        if self._flusher is None or self._checkpointer is None:
            raise ReadOnlyError(self.config.path)
        self.state.check_not_failed()
        return self._flusher, self._checkpointer

    def check_may_wait(self) -> None:
        """Raise ReentrantError where waiting might never end.

        Within an insert, too: what would be waited for may itself wait to insert.
        """
        self._check_not_inserting()
        flusher, checkpointer = self._flusher, self._checkpointer
        if (flusher is not None and flusher.is_mine()) or (
            checkpointer is not None and checkpointer.runs_here()
        ):
            raise ReentrantError(
                f"{self.config.path}: called by what interrupted a flush or a checkpoint of the"
                " same thread, for which it would wait"
            )

    def _check_not_inserting(self) -> None:
        if self._is_inserting():
            raise ReentrantError(
                f"{self.config.path}: called by what interrupted an insert of the same thread"
                " (a signal handler, a finalizer or a hasher)"
            )

    # Insertion.

    def add(self, store: Callable[[_Given], _T], leaves: _Given) -> tuple[int, _T]:
        """Append leaves by ``store``, a method of the tree in memory; have them flushed in time.

        Returns the size with these leaves, and what ``store`` returned.  Raises what it raises.
        """
        if self._is_inserting():
            self._check_not_inserting()
        state, flusher, checkpointer = self.state, self._flusher, self._checkpointer
        if state.home.left:
            state.check_readable()  # before taking a lock that a thread of the parent may hold
        with self._insert_lock:
            if state.closed or state.failure is not None or flusher is None or checkpointer is None:
                flusher, checkpointer = self._check_writable()
            try:
                result = store(leaves)
                size = self.tree.size
                flusher.leaves_came()
                checkpointer.leaves_came()
            except BaseException:  # an interrupt may come when the leaves are in the tree
                flusher.leaves_came()
                checkpointer.leaves_came()
                raise
        return size, result

    # Durability.

    def flush(self, target: int | None = None) -> None:
        """Make ``target`` leaves durable, or all.  See `RotorTree.flush`."""
        flusher = self._flusher
        if target is None or flusher is None:
            flusher, _ = self._check_writable()
            target = self.tree.size
        if self.durable.value < target:
            self.check_may_wait()
            flusher.flush(target)

    def wait_durable(self, target: int, timeout: float | None) -> None:
        """Return when ``target`` leaves are durable.  See `DurabilityToken.wait`."""
        self._check_same_process()
        self.check_may_wait()
        if timeout is None and self._flushes_when_asked():
            self.flush(target)
        self.durable.wait(target, timeout, self._ask)

    def watch_durable(self, target: int, settled: Settled) -> Watch:
        """Have ``settled`` called when ``target`` leaves are durable, or never will be."""
        self._check_same_process()
        watch = self.durable.watch(target, settled)
        self._ask()
        return watch

    def _check_same_process(self) -> None:
        if self.state.is_foreign:
            self.state.check_readable()  # nobody flushes here

    def _flushes_when_asked(self) -> bool:
        """Whether the policy is manual, so that whoever waits must cause the flush."""
        return self._is_manual and self._flusher is not None and not self.state.closed

    def _ask(self) -> None:
        """Called when somebody waits: with the manual policy, have the background flush now."""
        if self._flusher is not None and self._flushes_when_asked():
            self._flusher.request()

    # Checkpoint.

    def checkpoint(self) -> None:
        """Write complete nodes to the level files, commit them, cut the log."""
        _, checkpointer = self._check_writable()
        self.check_may_wait()
        checkpointer.checkpoint()

    def wait_for_checkpoint(self, timeout: float | None) -> bool:
        """Wait until no checkpoint is due or running.  See `RotorTree.wait_for_checkpoint`."""
        self.state.check_readable()
        self.check_may_wait()
        return self._checkpointer is None or self._checkpointer.wait_until_idle(timeout)

    # Close.

    def close(self) -> None:
        """Flush, record what is durable, release everything.  In a forked child: nothing.

        The background does it, so that an interrupt of the caller stops nothing half-way.
        """
        if self.state.is_foreign:
            return
        self.check_may_wait()
        if self._flusher is None or self._checkpointer is None:
            self._end()
            return
        try:
            self._checkpointer.close()
        finally:
            if self.state.ended:
                self._flusher.stop()
                self._checkpointer.stop()

    def _end(self) -> StorageError | None:
        """Refuse every use from now on, flush for the last time, release everything."""
        try:
            with self._insert_lock:
                self.state.closed = True
            return None if self._flusher is None else self._flusher.end()
        finally:
            self.state.closed = self.state.ended = True
            self._opened.release()

    def runs_here(self) -> bool:
        """Whether the caller is one of this tree's own background threads."""
        flusher, checkpointer = self._flusher, self._checkpointer
        return (flusher is not None and (flusher.runs_here() or flusher.is_mine())) or (
            checkpointer is not None and checkpointer.runs_here()
        )
