"""Lives as subjects of the explorer, and the built-in workloads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType

from rotortree import RotorTree
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.subjects.subject import Subject
from rotortree_faultinject.subjects.tree.life import (
    PATH,
    Life,
    Options,
    abandon,
    history_of,
    open_tree,
    verdict,
)
from rotortree_faultinject.subjects.tree.oracle import (
    OracleError,
    RecoveredTree,
    check_checkpoint,
    check_proofs,
    check_root,
    row,
)

__all__ = ["WORKLOADS", "TreeSubject", "workload"]

_LATER = 1 << 20
"""Leaves that are inserted after recovery have numbers from here on."""


class TreeSubject(Subject):
    """A life without crashes, which the explorer lets crash everywhere."""

    def __init__(
        self,
        steps: Sequence[str],
        options: Mapping[str, object] = MappingProxyType({}),
        name: str = "",
    ) -> None:
        self.steps = tuple(steps)
        self.options = Options.of(options)
        self.name = name or "; ".join(steps)

    def run(self, disk: SimulatedDisk) -> None:
        """Live the life to its end."""
        life = Life(self.options, disk)
        try:
            life.live(self.steps)
        finally:
            life.end()

    def recover(self, disk: SimulatedDisk) -> RecoveredTree:
        """Open what is left; its root must be that of its leaves."""
        tree = open_tree(disk, self.options)
        abandon(tree)
        return check_root(tree)

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The leaves acknowledged, or more of those issued, no batch split; by the model."""
        assert isinstance(outcome, RecoveredTree)
        return verdict(history_of(marks), outcome)

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """Opened again it is the same, every proof verifies, and it can be worked with."""
        assert isinstance(outcome, RecoveredTree)
        leaves = outcome.leaves
        disk.restart()
        tree = self._reopen(disk, leaves)
        check_proofs(tree, leaves)
        leaves += self._work(tree)
        tree.close()
        tree = self._reopen(disk, leaves)
        if not tree.recovery.clean:
            raise OracleError("closed, and the next open did not find it clean")
        check_proofs(tree, leaves)
        tree.checkpoint()
        check_checkpoint(disk.image, PATH, leaves, tree.checkpoint_size)
        tree.close()

    def _reopen(self, disk: SimulatedDisk, leaves: bytes) -> RotorTree:
        tree = open_tree(disk, self.options)
        found = check_root(tree)
        if found.leaves != leaves:
            abandon(tree)
            raise OracleError(f"{found!r} at the next open, and before {RecoveredTree(leaves)!r}")
        return tree

    def _work(self, tree: RotorTree) -> bytes:
        """Insert one leaf, then a batch; return both."""
        one, batch = row(_LATER, _LATER + 1), row(_LATER + 1, _LATER + 5)
        tree.insert_durable(one)
        tree.insert_many(batch)
        tree.flush()
        return one + batch

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        return {"steps": list(self.steps), "options": self.options.changes(), "name": self.name}

    def smaller(self) -> Sequence[Subject]:
        """Lives with fewer steps, or with smaller batches."""
        return [TreeSubject(steps, self.options.changes()) for steps in _smaller(self.steps)]


def _smaller(steps: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    length = len(steps) // 2
    while length:
        for at in range(0, len(steps), length):
            yield steps[:at] + steps[at + length :]
        length //= 2
    for at, step in enumerate(steps):
        name, _, argument = step.partition(" ")
        if name in ("insert", "append") and argument not in ("", "1"):
            yield (*steps[:at], f"{name} {int(argument) // 2}", *steps[at + 1 :])


_STEPS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "create": ("open, close", {}),
        "first-flush": ("open, insert, flush", {}),
        "flushes": ("open, insert, flush, insert 2, insert, flush, insert 3, flush", {}),
        "two-frames": ("open, insert 5, flush, insert 2, flush", {}),
        "checkpoint": ("open, insert 3, checkpoint, insert, flush", {}),
        "second-checkpoint": ("open, insert 3, checkpoint, insert 4, checkpoint, durable", {}),
        "close-reopen": ("open, insert 2, close, open, insert 2, flush, close", {}),
        "checkpoint-on-close": (
            "open, insert 3, close, open, wait, close",
            {"checkpoint": "close"},
        ),
        "torn-tail": (
            (
                "open, insert 2, flush, append 5, fault pwritev *.wal e, flush, crash kkkkkk,"
                " open, insert, flush, close"
            ),
            {},
        ),
        "killed": ("open, insert 2, flush, kill, open, durable, kill, open, checkpoint", {}),
        "killed-behind-a-cut": (
            (
                "open, insert 2, close, open, append, fault pwritev *.wal a, flush, kill, open,"
                " background, durable"
            ),
            {},
        ),
        "killed-between-frames": (
            "open, insert, close, open, append 6, fault pwritev *.wal e, flush, open, durable",
            {},
        ),
        "killed-checkpoint": (
            "open, insert 3, fault sync *.nodes wd, checkpoint, open, checkpoint, durable",
            {},
        ),
        "background": (
            (
                "open, insert 2, background flusher, insert 3, background checkpointer, insert 2,"
                " background flusher, background checkpointer, close"
            ),
            {"flush": "interval", "checkpoint": "every 3"},
        ),
        "uncertain-commit": (
            (
                "open, insert 3, checkpoint, insert 3, fault sync_directory tree x, checkpoint,"
                " kill, open, insert, flush, kill, open"
            ),
            {},
        ),
        "recorded": ("open, insert 2, flush, insert, checkpoint, insert, flush", {"record": True}),
        "pinned": ("open, insert 5, checkpoint, insert 4, checkpoint, close", {"pin": 1}),
        "zeros-ahead": (
            (
                "open, insert, flush, insert, flush, close, open, insert 2, flush, append 3,"
                " fault pwritev *.wal h, flush, flush, insert, flush"
            ),
            {"zeros_ahead": 400},
        ),
        "killed-in-zeros": (
            "open, insert, close, open, insert 2, flush, kill, open, insert, flush, kill, open",
            {"zeros_ahead": 400},
        ),
        "rolled": (
            "open, insert 2, flush, insert 2, flush, insert 3, flush, checkpoint, insert, flush",
            {"segment_bytes": 200},
        ),
        "rolled-and-killed": (
            (
                "open, insert 2, flush, insert, flush, kill, open, insert, flush, durable, kill,"
                " open, checkpoint, durable"
            ),
            {"segment_bytes": 200, "record": True},
        ),
        "rolled-and-folded": (
            (
                "open, insert, flush, insert, flush, insert, flush, kill, open, durable, insert,"
                " flush, insert, flush, kill, open, checkpoint"
            ),
            {"segment_bytes": 200, "fold_leaves": 3},
        ),
        "folded": (
            (
                "open, insert, flush, kill, open, durable, kill, open, insert 2, flush, durable,"
                " kill, open, durable, kill, open"
            ),
            {"fold_leaves": 3},
        ),
        "folded-onto-a-checkpoint": (
            (
                "open, insert 3, checkpoint, insert, flush, kill, open, insert 4, flush, kill,"
                " open, checkpoint, durable"
            ),
            {"fold_leaves": 3, "record": True},
        ),
        "removals-fail": (
            (
                "open, insert 3, fault unlink *.wal X, checkpoint, insert, checkpoint, insert 4,"
                " flush, durable, kill, fault unlink *.wal X, open, durable, kill,"
                " fault unlink *.wal X, open, durable, kill, open, checkpoint"
            ),
            {"fold_leaves": 3},
        ),
        "long": (
            (
                "open, insert, flush, insert 2, insert, flush, insert 8, flush, checkpoint, wait,"
                " insert 4, checkpoint, insert, close, open, insert, flush, insert 7, checkpoint,"
                " insert, checkpoint, insert, close"
            ),
            {},
        ),
    }
)


def workload(name: str, n: int = 2) -> TreeSubject:
    """A built-in workload with trees of arity n.  Raises ValueError, which lists the names."""
    if name not in _STEPS:
        raise ValueError(f"no workload {name!r}: there are {', '.join(_STEPS)}")
    steps, options = _STEPS[name]
    return TreeSubject(steps.split(", "), {"n": n, **options}, f"{name}, n = {n}")


WORKLOADS: Mapping[str, Callable[[], TreeSubject]] = MappingProxyType(
    {name: functools.partial(workload, name) for name in _STEPS}
)
"""Every built-in workload, for n = 2, by its name; read-only."""
