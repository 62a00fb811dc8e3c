"""The cases of rotortree: for one arity and one size."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks import operations as row
from benchmarks.measure import Case, Stopwatch, Unit
from benchmarks.plan import SEED, Scale, random_leaves, split
from rotortree import (
    ConsistencyProof,
    InclusionProof,
    LeanIMT,
    RotorTree,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)

__all__ = ["our_cases", "our_column"]

MAX_DEPTH = 32
"""Room for whatever is inserted; it does not change the work."""


def our_column(n: int) -> str:
    """The column of an arity."""
    return f"n = {n}"


def our_cases(n: int, size: int, scale: Scale, directory: Path, stack: ExitStack) -> list[Case]:
    """All cases of one arity and one size; ``stack`` closes what they keep open."""
    leaves = random_leaves(size, 0)
    singles = split(random_leaves(max(scale.singles, scale.durable), 1))
    memory = _InMemory(n, leaves, singles[: scale.singles])
    proofs = _Proofs(n, leaves, scale.proofs)
    durable = _Durable(n, leaves, singles[: scale.durable], scale.synced, directory, stack)
    opening = _Opening(n, leaves, directory)
    runs: dict[str, Callable[[Stopwatch], int]] = {
        row.BATCH: memory.batch,
        row.INSERT: memory.insert,
        row.APPEND: memory.append,
        row.DURABLE_BATCH: durable.batch,
        row.DURABLE_INSERT: durable.insert,
        row.INSERT_DURABLE: durable.insert_durable,
        row.INSERT_DURABLE_THREADS: durable.insert_durable_threads,
        row.PROVE: proofs.prove,
        row.PROVE_MANY: proofs.prove_many,
        row.VERIFY: proofs.verify,
        row.CONSISTENCY: proofs.prove_consistency,
        row.VERIFY_CONSISTENCY: proofs.verify_consistency,
        row.OPEN_VERIFIED: opening.verified,
        row.OPEN_UNVERIFIED: opening.unverified,
        row.OPEN_LOG: opening.log,
    }
    seconds = (row.OPEN_VERIFIED, row.OPEN_UNVERIFIED, row.OPEN_LOG)
    units: dict[str, Unit] = dict.fromkeys(seconds, "seconds")
    return [
        Case(operation, our_column(n), size, run, units.get(operation, "per second"))
        for operation, run in runs.items()
    ]


def _filled(n: int, leaves: bytes) -> LeanIMT:
    tree = LeanIMT(n, MAX_DEPTH)
    tree.extend(leaves)
    return tree


class _InMemory:
    """Insertion into trees in memory.  Every sample starts with a tree of the same size."""

    def __init__(self, n: int, leaves: bytes, singles: list[bytes]) -> None:
        self._n = n
        self._leaves = leaves
        self._singles = singles
        self._root = _filled(n, leaves).root
        self._last_root: bytes | None = None

    def batch(self, stopwatch: Stopwatch) -> int:
        with stopwatch:
            tree = LeanIMT(self._n, MAX_DEPTH)
            root = tree.insert_many(self._leaves)
        assert root == self._root
        return tree.size

    def insert(self, stopwatch: Stopwatch) -> int:
        tree = _filled(self._n, self._leaves)
        insert, root = tree.insert, None
        with stopwatch:
            for leaf in self._singles:
                root = insert(leaf)
        self._same_root(root)
        return len(self._singles)

    def append(self, stopwatch: Stopwatch) -> int:
        tree = _filled(self._n, self._leaves)
        append = tree.append
        with stopwatch:
            for leaf in self._singles:
                append(leaf)
        self._same_root(tree.root)
        return len(self._singles)

    def _same_root(self, root: bytes | None) -> None:
        """However the leaves came, the root is the same."""
        assert root is not None
        assert self._last_root in (None, root)
        self._last_root = root


class _Proofs:
    """Proofs from a snapshot of a tree in memory, and their verification."""

    def __init__(self, n: int, leaves: bytes, count: int) -> None:
        tree = _filled(n, leaves)
        size = tree.size
        choice = random.Random(SEED)
        self._snapshot = tree.snapshot()
        self._head = tree.head
        self._indices = [choice.randrange(size) for _ in range(count)]
        self._old_sizes = [choice.randrange(1, size) for _ in range(count)]
        self._included: list[tuple[int, bytes, InclusionProof]] = [
            (index, self._snapshot.leaves(index, index + 1), self._snapshot.prove(index))
            for index in self._indices
        ]
        self._extended: list[tuple[TreeHead, ConsistencyProof]] = [
            (tree.snapshot(old).head, self._snapshot.prove_consistency(old))
            for old in self._old_sizes
        ]

    def prove(self, stopwatch: Stopwatch) -> int:
        prove = self._snapshot.prove
        with stopwatch:
            for index in self._indices:
                prove(index)
        return len(self._indices)

    def prove_many(self, stopwatch: Stopwatch) -> int:
        with stopwatch:
            proofs = self._snapshot.prove_many(self._indices)
        return len(proofs)

    def verify(self, stopwatch: Stopwatch) -> int:
        head = self._head
        with stopwatch:
            for index, leaf, proof in self._included:
                verify_inclusion(head, index, leaf, proof)
        return len(self._included)

    def prove_consistency(self, stopwatch: Stopwatch) -> int:
        prove = self._snapshot.prove_consistency
        with stopwatch:
            for old_size in self._old_sizes:
                prove(old_size)
        return len(self._old_sizes)

    def verify_consistency(self, stopwatch: Stopwatch) -> int:
        head = self._head
        with stopwatch:
            for old_head, proof in self._extended:
                verify_consistency(old_head, head, proof)
        return len(self._extended)


class _Durable:
    """Insertion into durable trees; the one that is inserted into one by one grows all the time."""

    def __init__(
        self,
        n: int,
        leaves: bytes,
        singles: list[bytes],
        synced: int,
        directory: Path,
        stack: ExitStack,
    ) -> None:
        self._n = n
        self._leaves = leaves
        self._singles = singles
        self._synced = singles[:synced]
        self._fresh = directory / "fresh"
        directory.mkdir(parents=True)
        path = directory / "growing"
        self._tree = stack.enter_context(RotorTree.open(path, n=n, max_depth=MAX_DEPTH))
        self._tree.insert_many(leaves)
        self._tree.flush()

    def batch(self, stopwatch: Stopwatch) -> int:
        with RotorTree.open(self._fresh, n=self._n, max_depth=MAX_DEPTH) as tree:
            with stopwatch:
                tree.insert_many(self._leaves)
                tree.flush()
            size = tree.durable_size
        shutil.rmtree(self._fresh)
        return size

    def insert(self, stopwatch: Stopwatch) -> int:
        insert = self._tree.insert
        with stopwatch:
            for leaf in self._singles:
                insert(leaf)
        self._tree.flush()
        return len(self._singles)

    def insert_durable(self, stopwatch: Stopwatch) -> int:
        insert = self._tree.insert_durable
        with stopwatch:
            for leaf in self._synced:
                insert(leaf)
        assert self._tree.durable_size == self._tree.size
        return len(self._synced)

    def insert_durable_threads(self, stopwatch: Stopwatch) -> int:
        before = self._tree.size

        def insert_all() -> None:
            for leaf in self._synced:
                self._tree.insert_durable(leaf)

        with ThreadPoolExecutor(row.THREADS) as threads, stopwatch:
            for future in [threads.submit(insert_all) for _ in range(row.THREADS)]:
                future.result()
        return self._tree.durable_size - before


class _Opening:
    """Opening directories that were closed; opening does not change them."""

    def __init__(self, n: int, leaves: bytes, directory: Path) -> None:
        self._checkpoint = directory / "checkpoint"
        self._log = directory / "log"
        with RotorTree.open(self._checkpoint, n=n, max_depth=MAX_DEPTH) as tree:
            self._root, _ = tree.insert_many(leaves)
            tree.checkpoint()
        with RotorTree.open(self._log, n=n, max_depth=MAX_DEPTH) as tree:
            tree.insert_many(leaves)

    def _open(self, stopwatch: Stopwatch, path: Path, *, verify: bool, replayed: bool) -> int:
        with stopwatch:
            tree = RotorTree.open(path, verify_checkpoint=verify)
        with tree:
            assert tree.root == self._root
            assert tree.recovery.replayed_leaves == (tree.size if replayed else 0)
        return 1

    def verified(self, stopwatch: Stopwatch) -> int:
        return self._open(stopwatch, self._checkpoint, verify=True, replayed=False)

    def unverified(self, stopwatch: Stopwatch) -> int:
        return self._open(stopwatch, self._checkpoint, verify=False, replayed=False)

    def log(self, stopwatch: Stopwatch) -> int:
        return self._open(stopwatch, self._log, verify=True, replayed=True)
