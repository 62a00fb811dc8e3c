"""RotorTree: the durable tree."""

from __future__ import annotations

import threading
import warnings
import weakref
from dataclasses import replace
from pathlib import PurePath
from types import TracebackType
from typing import Self

from rotortree.config import (
    AnyCheckpointPolicy,
    AnyFlushPolicy,
    RotorTreeConfig,
    TieringConfig,
)
from rotortree.durable.engine import Engine
from rotortree.durable.opening import RecoveryReport, open_tree
from rotortree.durable.watermark import DurabilityToken, Settled, Watch
from rotortree.hashing import Hasher
from rotortree.leaves import Leaf, LeafBatch, leaf_row
from rotortree.storage import calls
from rotortree.storage.environment import Environment
from rotortree.tree.accumulator import Accumulator
from rotortree.tree.lean_imt import TreeReads

__all__ = ["RotorTree"]


class RotorTree(TreeReads):
    """An append-only N-ary lean incremental Merkle tree in a directory.

    Any number of threads may read without locks; insertions from several threads are done one
    after the other.  One process at a time may have the tree open for writing.  After a fork, the
    tree belongs to the parent; in the child every use raises ClosedError.  A signal handler or
    finalizer may use the tree; where it would wait for what it interrupted (an insert, a flush),
    the call raises ReentrantError and changes nothing.

    The tree is the directory that was opened, wherever it is moved to.  Where files of it are
    removed or replaced while it is open, changes raise DetachedError, and nothing else is touched.

    What an insertion added is *durable*, would survive a power failure, when its token says so, or
    when ``flush``, ``checkpoint`` or ``close`` returned after it.
    """

    __slots__ = (
        "__weakref__",
        "_engine",
        "_engine_add",
        "_finalizer",
        "_recovery",
        "_tree_append",
        "_tree_insert",
    )

    def __init__(self, engine: Engine, recovery: RecoveryReport) -> None:
        self._engine = engine
        self._recovery = recovery
        # Bound once, because looking up these methods would be a large part of inserting one leaf.
        self._engine_add = engine.add
        self._tree_append, self._tree_insert = engine.tree.append, engine.tree.insert
        self._finalizer = weakref.finalize(self, _close_forgotten, engine)

    @classmethod
    def open(
        cls,
        config: str | PurePath | RotorTreeConfig,
        *,
        n: int | None = None,
        max_depth: int | None = None,
        hasher: Hasher | None = None,
        flush_policy: AnyFlushPolicy | None = None,
        checkpoint_policy: AnyCheckpointPolicy | None = None,
        tiering: TieringConfig | None = None,
        verify_checkpoint: bool | None = None,
        create: bool | None = None,
        read_only: bool | None = None,
        record_acknowledgements: bool | None = None,
        environment: Environment | None = None,
    ) -> Self:
        """Open the tree of a directory, recovering what a crash left, or create it.

        Takes the directory's path or a `RotorTreeConfig`, which explains the keywords; a keyword
        that is given replaces the config's value.

        Raises InvalidConfigError; ConfigMismatchError when the tree was made with other
        parameters; FileLockedError at once when it is open elsewhere; TreeNotFoundError,
        NotATreeError; WalCorruptedError, ChecksumMismatchError, DataCorruptionError when
        acknowledged data is damaged; UnsupportedFormatError; IoFailedError; DetachedError when
        files were moved or replaced meanwhile; RuntimeError when a background thread cannot be
        started.  After an error the next open finds the same tree.
        """
        if not isinstance(config, RotorTreeConfig):
            path = config if isinstance(config, str) else str(PurePath(config))  # "" is not "."
            config = RotorTreeConfig(path)
        given = {
            "n": n,
            "max_depth": max_depth,
            "hasher": hasher,
            "flush_policy": flush_policy,
            "checkpoint_policy": checkpoint_policy,
            "tiering": tiering,
            "verify_checkpoint": verify_checkpoint,
            "create": create,
            "read_only": read_only,
            "record_acknowledgements": record_acknowledgements,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        config = replace(config, **changes)  # type: ignore[arg-type]  # it checks its values itself
        environment = Environment() if environment is None else environment
        config = replace(config, path=calls.absolute(environment.files, config.path))
        opened, report = open_tree(config, environment)
        engine = None
        try:
            engine = Engine(config, environment, opened)
            return cls(engine, report)
        except BaseException:
            opened.release() if engine is None else engine.close()
            raise

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._engine.tree.size} leaves"
        return f"<RotorTree {self.path!r}, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _readable(self) -> Accumulator:
        self._engine.state.check_readable()
        return self._engine.tree

    # What is known of it.

    @property
    def path(self) -> str:
        """The tree's directory, an absolute path."""
        return self._engine.config.path

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._engine.state.closed

    @property
    def recovery(self) -> RecoveryReport:
        """What opening found and did."""
        return self._recovery

    @property
    def durable_size(self) -> int:
        """How many leaves would survive a power failure now; read-only: what the tree holds."""
        return self._engine.durable.value

    @property
    def checkpoint_size(self) -> int:
        """How many leaves the last committed checkpoint holds."""
        return self._engine.checkpoint_size

    # Insertion.

    def insert(self, leaf: Leaf) -> tuple[bytes, DurabilityToken]:
        """Append a leaf of 32 bytes; return the root with it and a token of its durability.

        Raises InvalidLeafError, MaxDepthExceededError, CapacityExceededError; ClosedError,
        ReadOnlyError; FlushFailedError once the tree is failed.  Then nothing changed.
        """
        size, root = self._engine_add(self._tree_insert, leaf)
        return root, DurabilityToken(self, size)

    def insert_many(self, leaves: LeafBatch) -> tuple[bytes, DurabilityToken]:
        """Append a batch; return the root with it and a token of its durability.

        All of it or nothing, in memory and across a crash, whatever its size.  ``leaves`` is a
        contiguous buffer of 32·k bytes (bytes, memoryview, NumPy array of shape (k, 32)), or k
        leaves in order.  Raises EmptyBatchError and what `insert` raises.
        """
        row = leaf_row(leaves)  # may be a generator, which is asked before a lock is taken
        size, root = self._engine_add(self._engine.tree.insert_many, row)
        return root, DurabilityToken(self, size)

    def insert_durable(self, leaf: Leaf) -> bytes:
        """Append a leaf and return the root with it once it is durable.

        Threads that do so at the same time share one fsync.  Raises what `insert` and `flush` do;
        after FlushFailedError(retryable=True) the leaf is in the tree, and pending.
        """
        self._engine.check_may_wait()  # before anything is inserted
        size, root = self._engine_add(self._tree_insert, leaf)
        self._engine.flush(size)
        return root

    def append(self, leaf: Leaf) -> DurabilityToken:
        """Append a leaf without computing the root.  Raises what `insert` raises."""
        size, _ = self._engine_add(self._tree_append, leaf)
        return DurabilityToken(self, size)

    def extend(self, leaves: LeafBatch) -> DurabilityToken:
        """Append a batch without computing the root.  Raises what `insert_many` raises."""
        size, _ = self._engine_add(self._engine.tree.extend, leaf_row(leaves))
        return DurabilityToken(self, size)

    # Durability.

    def _wait(self, size: int, timeout: float | None) -> None:
        # A method of this object, not of the engine: a token that somebody holds keeps it open.
        self._engine.wait_durable(size, timeout)

    def _watch(self, size: int, settled: Settled) -> Watch:
        return self._engine.watch_durable(size, settled)

    def _forget(self, watch: Watch) -> None:
        self._engine.durable.forget(watch)

    def flush(self) -> None:
        """Return when every leaf inserted before the call is durable.

        Raises FlushFailedError, caused by what the disk or a hasher raised.  If it is
        ``retryable``, the leaves are still pending and the next flush tries again; otherwise the
        tree is failed, and only opening it anew recovers.
        """
        self._engine.flush()

    def checkpoint(self) -> None:
        """Write all complete nodes to the level files, commit them, and cut the log.

        Insertions, flushes and reads go on meanwhile.  When it returns, everything inserted before
        the call is durable, and opening the tree need not replay it.  Raises FlushFailedError, and
        CheckpointFailedError: the tree and its log are then as before, and it may be tried again.
        """
        self._engine.checkpoint()

    def wait_for_checkpoint(self, timeout: float | None = None) -> bool:
        """Wait until no checkpoint is due or running; False if that took over ``timeout`` seconds.

        Raises the error of a background checkpoint that failed since the last call.
        """
        return self._engine.wait_for_checkpoint(timeout)

    def close(self) -> None:
        """Make every leaf durable, record a clean end, release the lock.  Idempotent.

        Snapshots stay valid.  Raises FlushFailedError, CheckpointFailedError, or IoFailedError when
        only the record of the clean end could not be written; the tree is closed then all the same,
        and tokens of leaves that are not durable raise.
        """
        self._engine.close()
        self._finalizer.detach()


def _close_forgotten(engine: Engine) -> None:
    """Close a tree that nobody closed: it became garbage, or the interpreter ends."""
    if engine.state.is_foreign:
        return
    if engine.runs_here():
        # The garbage collector may run anywhere, here within a flush that holds a lock.
        threading.Thread(target=_close_forgotten, args=(engine,), name="rotortree-close").start()
        return
    was_closed = engine.state.ended  # and raised
    try:
        engine.close()
    finally:
        if not was_closed:
            warnings.warn(
                f"{engine.config.path} was not closed; it is now", ResourceWarning, stacklevel=2
            )
