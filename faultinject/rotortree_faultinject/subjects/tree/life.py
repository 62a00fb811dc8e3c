"""A tree's life on a simulated disk: steps, one after the other, with the model beside them.

A step is a line of text, so that a life can be written down, found again, made shorter:

=====================  ========================================================================
``open``               open the tree, or create it
``insert K``           insert K leaves: ``insert`` for one, ``insert_many`` for more
``append K``           the same without computing the root
``durable``            ``insert_durable`` of one leaf
``wait``               insert one leaf and wait for its token
``flush``              flush
``checkpoint``         checkpoint
``background NAME``    run the ``flusher`` or the ``checkpointer`` if it is due
``prove SIZES``        prove all leaves, and one at each old size, with roots and consistency
``reject``             calls that must be refused, and change nothing
``close``              close the tree
``read``               open what is closed read-only, look, try to change it, close
``kill``               the process ends; what it wrote and did not sync is in the cache
``crash LETTERS``      power fails; the letters say what became of everything that was not synced
``fault RULE``         from now on calls go wrong by a rule of `rotortree_faultinject.disk.faults`
``room BYTES``         the disk has room for so many bytes in all
``mend``               no call goes wrong any more
=====================  ========================================================================

A step that makes no sense (inserting into a closed tree) does nothing, so that any part of a life
is a life.  What a step promises is checked after it; everything that is in the tree at every open,
and after ``prove``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

import rotortree_model as model
from rotortree import (
    CheckpointPolicy,
    DurabilityToken,
    EmptyBatchError,
    FlushFailedError,
    FlushPolicy,
    InvalidLeafError,
    ReadOnlyError,
    RotorTree,
    RotorTreeError,
    StorageError,
    TieringConfig,
    TreeNotFoundError,
)
from rotortree.config import AnyCheckpointPolicy
from rotortree.scheduler import Scheduler
from rotortree.storage.environment import Environment
from rotortree.storage.format import WAL
from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.faults import Died, Rule
from rotortree_faultinject.disk.image import fingerprint
from rotortree_faultinject.disk.profiles import profile_named
from rotortree_faultinject.disk.schedule import StepScheduler
from rotortree_faultinject.subjects.tree.oracle import (
    LEAF_BYTES,
    OracleError,
    RecoveredTree,
    check_checkpoint,
    check_proofs,
    check_root,
    row,
    split,
)

__all__ = [
    "LIES",
    "PATH",
    "Life",
    "Options",
    "abandon",
    "describe",
    "history_of",
    "open_tree",
    "verdict",
]

PATH = "tree"
"""Where the tree is on the disk."""

LIES = frozenset("lmr")
"""Letters of fault scripts by which a disk says something that is not so."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a tree is opened with, and on which disk.

    ``flush``: ``manual`` or ``interval``; ``checkpoint``: ``manual``, ``close``, ``every K`` or
    ``memory K``; ``pin``: the level from which on nodes stay in memory; ``record``: record
    acknowledgements.  Frames hold ``frame_leaves`` leaves, level files ``groups`` groups; the log
    has at most ``zeros_ahead`` zeros behind its last unit, and a flush that finds the open segment
    as long as ``segment_bytes`` begins another one.  An open after a crash copies at most
    ``fold_leaves`` leaves to replace small segments: by default none, so that segments stay, and
    there are more of them to be recovered from.
    """

    n: int = 2
    flush: str = "manual"
    checkpoint: str = "manual"
    pin: int | None = None
    record: bool = False
    verify: bool = True
    frame_leaves: int = 3
    zeros_ahead: int = 0
    segment_bytes: int = 1 << 20
    fold_leaves: int = 0
    groups: int = 2
    profile: str = "posix"
    fsync_failure: FsyncFailure = "clean"

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Options:
        """The options that `changes` gives.  Raises ValueError for what is none."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"no options: {', '.join(sorted(unknown))}")
        return cls(**values)  # type: ignore[arg-type]  # opening the tree checks the values

    def changes(self) -> dict[str, object]:
        """What is not as it is by default."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }

    @property
    def checkpoint_policy(self) -> AnyCheckpointPolicy:
        """As the tree takes it.  Raises ValueError."""
        kind, _, number = self.checkpoint.partition(" ")
        policies: dict[str, Callable[[], AnyCheckpointPolicy]] = {
            "manual": CheckpointPolicy.Manual,
            "close": CheckpointPolicy.OnClose,
            "every": lambda: CheckpointPolicy.EveryNEntries(int(number)),
            "memory": lambda: CheckpointPolicy.MemoryThreshold(int(number)),
        }
        if kind not in policies:
            raise ValueError(f"no checkpoint policy {self.checkpoint!r}")
        return policies[kind]()


def _random_bytes(seed: bytes) -> Callable[[int], bytes]:
    """Bytes that are the same whenever a tree is opened on the same disk, and else different."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.blake2b(
            seed + bytes([count & 0xFF, count >> 8]), digest_size=length
        ).digest()

    return draw


def open_tree(
    disk: SimulatedDisk,
    options: Options,
    scheduler: Scheduler | None = None,
    *,
    read_only: bool = False,
) -> RotorTree:
    """Open the tree at `PATH`, or create it if it is not ``read_only``."""
    return RotorTree.open(
        PATH,
        read_only=read_only,
        n=options.n,
        flush_policy=FlushPolicy.Manual() if options.flush == "manual" else FlushPolicy.Interval(),
        checkpoint_policy=options.checkpoint_policy,
        tiering=TieringConfig(options.pin),
        verify_checkpoint=options.verify,
        record_acknowledgements=options.record,
        environment=Environment(
            files=disk,
            scheduler=StepScheduler() if scheduler is None else scheduler,
            random_bytes=_random_bytes(fingerprint(disk.image)),
            frame_leaves=options.frame_leaves,
            zeros_ahead=options.zeros_ahead,
            segment_bytes=options.segment_bytes,
            fold_leaves=options.fold_leaves,
            shard_nodes=options.groups * options.n,
        ),
    )


def abandon(tree: RotorTree) -> None:
    """Let a tree be forgotten without being closed, as if its process had ended."""
    tree._finalizer.detach()


class Life:
    """One tree, or what crashes leave of it, and the history of what was issued and acknowledged.

    ``disk`` is the one it is on now.  The disk's log is marked with ``("issue", row)``,
    ``("reject",)``, ``("durable", size)`` and ``("open", row)``.
    """

    def __init__(
        self,
        options: Options,
        disk: SimulatedDisk | None = None,
        scheduler: StepScheduler | None = None,
    ) -> None:
        self.options = options
        self.disk = disk or SimulatedDisk(fsync_failure=options.fsync_failure)
        self.disk.fsync_failure = options.fsync_failure
        self.scheduler = scheduler or StepScheduler()
        self.tree: RotorTree | None = None
        self.history = model.History()
        self.tokens: list[DurabilityToken] = []
        self.issued = 0
        self.lied_to = False
        self._sound = 0
        self._truly_durable = 0
        self._created = False
        self._names_at_risk = False
        self._names_in_doubt = False

    # Steps.

    def live(self, steps: Iterable[str]) -> None:
        """Do the steps.  Raises OracleError, or whatever else the tree must not raise."""
        for step in steps:
            self.do(step)

    def do(self, step: str) -> None:
        """Do one step, and check what must be true after it."""
        name, _, argument = step.partition(" ")
        method = getattr(self, f"_step_{name}", None)
        if method is None:
            raise ValueError(f"no step {step!r}")
        hits = self.disk.faults.hits
        try:
            method(*([argument] if argument else []))
        except Died:
            self._step_kill()
        except KeyboardInterrupt:
            if self.disk.faults.hits == hits:
                raise
        except (StorageError, TimeoutError):  # the flush of a token may have failed before its wait
            if not self._may_fail(name, hits):
                raise
        self.acknowledge()

    def _may_fail(self, step: str, hits: int) -> bool:
        """Whether a step may raise.  ``hits`` calls had gone wrong before it.

        A tree may be failed by what went wrong since it was known to be sound.  But whatever
        happened before, opening it on a disk that works must succeed.
        """
        if self.lied_to:
            return True
        if step in ("open", "read"):
            may = self.disk.faults.hits > hits or self.disk.room is not None
            return may or self._names_in_doubt
        return self._is_troubled

    @property
    def _is_troubled(self) -> bool:
        return self.disk.faults.hits > self._sound

    def acknowledge(self) -> None:
        """Take note of what the tree says is durable, which every token below that says, too."""
        tree = self.tree
        if tree is None or tree.durable_size <= self.history.acknowledged:
            return
        size = tree.durable_size
        self.disk.mark(("durable", size))
        self.history = model.acknowledge(self.history, size)
        if not self.disk.faults.hits:
            self._truly_durable = size

    def _open_tree(self) -> RotorTree | None:
        return None if self.tree is None or self.tree.closed else self.tree

    def _step_open(self) -> None:
        if self._open_tree() is not None:
            return
        # Section 8 of specs/durability.md: what comes now may build on names that were lost, those
        # of level files, and while the tree is created any.
        failed = (entry for entry in self.disk.log if entry.kind == "failed_sync_directory")
        covered = (f"{PATH}/{WAL}", PATH) if self._created else ()
        self._names_at_risk |= any(entry.path not in covered for entry in failed)
        self.tree = open_tree(self.disk, self.options, self.scheduler)
        self._names_in_doubt = False
        self._created = True
        if self.disk.room is None:
            self._sound = self.disk.faults.hits
        self.tokens.clear()
        found = check_root(self.tree)
        if self.lied_to:  # what was promised since may be lost, but nothing may be wrong
            self.history = model.History(self.history.issued, self._truly_durable)
        self._judge(found)
        self.history = model.after_crash(self.history, split(found.leaves))
        self.disk.mark(("open", found.leaves))
        check_proofs(self.tree, found.leaves)

    def _judge(self, found: RecoveredTree) -> None:
        message = verdict(self.history, found)
        if message is not None:
            raise OracleError(message)

    def _issue(self, count: int, insert: Callable[[RotorTree, bytes], object]) -> None:
        tree = self._open_tree()
        if tree is None or count < 1:
            return
        leaves = row(self.issued, self.issued + count)
        self.issued += count
        before, size = self.history, tree.size
        self.history = model.issue(before, split(leaves))
        self.disk.mark(("issue", leaves))
        try:
            insert(tree, leaves)
        except StorageError:
            if tree.closed or tree.size == size:  # a rejected call changes nothing
                self.history = before
                self.disk.mark(("reject",))
            raise
        if tree.size != size + count:
            raise OracleError(f"{tree.size} leaves after inserting {count} behind {size}")

    def _step_insert(self, count: str = "1") -> None:
        def insert(tree: RotorTree, leaves: bytes) -> None:
            one = len(leaves) == LEAF_BYTES
            root, token = tree.insert(leaves) if one else tree.insert_many(leaves)
            self.tokens.append(token)
            if root != tree.root:
                raise OracleError("insert returned another root than the tree's")

        self._issue(int(count), insert)

    def _step_append(self, count: str = "1") -> None:
        self._issue(int(count), lambda tree, leaves: self.tokens.append(tree.extend(leaves)))

    def _step_durable(self) -> None:
        self._issue(1, RotorTree.insert_durable)
        self._promised()

    def _step_wait(self) -> None:
        def insert(tree: RotorTree, leaves: bytes) -> None:
            token = tree.append(leaves)
            self.tokens.append(token)
            if self.options.flush == "interval":
                self.scheduler.run_due("flusher")
            token.wait(0)

        self._issue(1, insert)
        self._promised()

    def _promised(self) -> None:
        """A call that promises durability returned: everything is durable."""
        tree = self._open_tree()
        if tree is None:
            return
        if tree.durable_size != tree.size or not all(token.is_durable for token in self.tokens):
            raise OracleError(f"{tree.durable_size} of {tree.size} leaves are durable")

    def _step_flush(self) -> None:
        tree = self._open_tree()
        if tree is not None:
            tree.flush()
            self._promised()

    def _step_checkpoint(self) -> None:
        tree = self._open_tree()
        if tree is None:
            return
        tree.checkpoint()
        self._promised()
        if not self.lied_to:
            leaves = b"".join(model.issued_leaves(self.history))
            check_checkpoint(self.disk.image, PATH, leaves, tree.checkpoint_size)

    def _step_background(self, name: str = "") -> None:
        if self._open_tree() is not None:
            self.scheduler.run_due(name)

    def _step_prove(self, sizes: str = "0") -> None:
        tree = self._open_tree()
        if tree is None:
            return
        leaves = b"".join(model.issued_leaves(self.history))
        old_sizes = {int(size) % (tree.size + 1) for size in sizes.split()}
        for old in old_sizes:
            if tree.snapshot(old).leaves() != leaves[: old * LEAF_BYTES]:
                raise OracleError(f"the tree of size {old} holds other leaves than it had then")
        check_proofs(tree, leaves, old_sizes)

    def _step_reject(self) -> None:
        tree = self._open_tree()
        if tree is None:
            return
        log, before = len(self.disk.log), check_root(tree)
        _refused(EmptyBatchError, tree.insert_many, [])
        _refused(InvalidLeafError, tree.insert, bytes(LEAF_BYTES - 1))
        _refused(InvalidLeafError, tree.insert_many, [bytes(LEAF_BYTES), b""])
        if check_root(tree) != before or len(self.disk.log) > log:
            raise OracleError("a refused call changed something")

    def _step_close(self) -> None:
        tree = self._open_tree()
        if tree is None:
            return
        size = tree.size
        try:
            tree.close()
        finally:
            self.end()
            if not tree.closed:
                raise OracleError("close raised, and the tree is not closed")
        if tree.durable_size != size:
            raise OracleError(f"closed, and {tree.durable_size} of {size} leaves are durable")

    def end(self) -> None:
        """The process is gone; what the tree acknowledged last is still promised."""
        self.acknowledge()
        if self.tree is not None:
            abandon(self.tree)
        self.tree = None
        self.scheduler.tasks.clear()

    def _step_read(self) -> None:
        if self._open_tree() is not None:
            return
        image = self.disk.image
        try:
            tree = open_tree(self.disk, self.options, self.scheduler, read_only=True)
        except TreeNotFoundError:
            if self.history.issued:
                raise
            return
        found = check_root(tree)
        check_proofs(tree, found.leaves)
        _refused(ReadOnlyError, tree.insert, bytes(LEAF_BYTES))
        tree.close()
        if self.disk.image != image:
            raise OracleError("a reader changed the disk")
        self._judge(found)

    def _step_kill(self) -> None:
        self.end()
        self.disk.restart()

    def _step_crash(self, letters: str = "") -> None:
        self.end()
        self._names_in_doubt, self._names_at_risk = self._names_at_risk, False
        self.disk.lose_power(letters, profile_named(self.options.profile))

    def _step_fault(self, text: str) -> None:
        rule = Rule.parse(text)
        self.disk.faults.rules.append(rule)
        self.lied_to = self.lied_to or bool(set(rule.script.lower()) & LIES)

    def _step_room(self, room: str) -> None:
        self.disk.room = int(room)
        self._sound = -1

    def _step_mend(self) -> None:
        """Calls work again; a tree that says it is failed for good must keep to that."""
        self.disk.faults.rules.clear()
        self.disk.room = None
        tree = self._open_tree()
        if tree is None or not self._is_troubled:
            return
        with contextlib.suppress(FlushFailedError):
            tree.flush()
            self._sound = self.disk.faults.hits


def _refused(error: type[RotorTreeError], call: Callable[..., object], *given: object) -> None:
    """Make a call that must raise this, and nothing else."""
    with contextlib.suppress(error):
        call(*given)
        raise OracleError(f"{call!r} of {given!r} was not refused")


def describe(history: model.History) -> str:
    """A history in a few words."""
    issued = sum(map(len, history.issued))
    return f"{history.acknowledged} leaves acknowledged, {issued} issued"


def history_of(marks: Iterable[object]) -> model.History:
    """The history that the marks of a life's disk tell."""
    history = model.History()
    for mark in marks:
        assert isinstance(mark, tuple)
        if mark[0] == "issue":
            history = model.issue(history, split(mark[1]))
        elif mark[0] == "reject":
            history = model.History(history.issued[:-1], history.acknowledged)
        elif mark[0] == "durable":
            history = model.acknowledge(history, mark[1])
        else:
            history = model.after_crash(history, split(mark[1]))
    return history


def verdict(history: model.History, found: RecoveredTree) -> str | None:
    """What is wrong with what a crash left; None if it is legal."""
    leaves = split(found.leaves)
    if model.allowed(history, leaves):
        return None
    return f"{found!r} after {describe(history)}"
