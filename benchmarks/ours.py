"""Handlers of a worker that time rotortree in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.crashes import crash_states
from benchmarks.leaves import LEAF_BYTES, Leaves, index, split
from benchmarks.measure import Stopwatch
from benchmarks.plan import BATCH_LEAVES, PROOF_BATCH
from benchmarks.workers import Handler, Outcome, Request
from rotortree import (
    Blake3Hasher,
    Blake3PlainHasher,
    Hasher,
    LeanIMT,
    kernel,
    verify_consistency,
    verify_inclusion,
    verify_inclusion_many,
)

__all__ = ["MAX_DEPTH", "hasher", "our_handlers"]

MAX_DEPTH = 32
"""Room for all that is inserted; the maximal depth does not change the work."""

_BLOCK = 64

_PIECE = 2048
"""Groups in one call of the kernel."""


def hasher(scheme: str) -> Hasher:
    """The hasher of a scheme."""
    return {"blake3": Blake3Hasher, "blake3-plain": Blake3PlainHasher}[scheme]()


def _blocks(scheme: str, n: int) -> int:
    """The number of BLAKE3 blocks of a full group: its children, and two bytes if it is tagged."""
    return -(-(LEAF_BYTES * n + 2 * (scheme == "blake3")) // _BLOCK)


def our_handlers(leaves: Leaves) -> Mapping[str, Handler]:
    """The operations in memory."""
    memory, proofs = _InMemory(leaves), _Proofs(leaves)
    return {
        "insert_many": memory.insert_many,
        "insert_thousands": memory.insert_thousands,
        "insert": memory.insert,
        "append": memory.append,
        "hash_levels": memory.hash_levels,
        "prove": proofs.prove,
        "prove_many": proofs.prove_many,
        "verify": proofs.verify,
        "prove_consistency": proofs.prove_consistency,
        "verify_many": proofs.verify_many,
        "verify_consistency": proofs.verify_consistency,
        "crash_states": crash_states,
    }


def _filled(leaves: Leaves, request: Request) -> LeanIMT:
    """A new tree.  A tree that was unused for long would measure the host's caches and pages."""
    tree = LeanIMT(request.n, MAX_DEPTH, hasher(request.scheme))
    tree.insert_many(leaves.row(request.size))
    return tree


class _InMemory:
    """Handlers that insert into trees in memory."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves

    def insert_many(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        row, scheme = self._leaves.row(request.size), hasher(request.scheme)
        with stopwatch:
            tree = LeanIMT(request.n, MAX_DEPTH, scheme)
            root = tree.insert_many(row)
        return Outcome(tree.size, root)

    def insert_thousands(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree = _filled(self._leaves, request)
        batches = split(self._leaves.singles(request.amount), LEAF_BYTES * BATCH_LEAVES)
        insert_many = tree.insert_many
        with stopwatch:
            for batch in batches:
                insert_many(batch)
        return Outcome(request.amount, tree.root)

    def insert(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree = _filled(self._leaves, request)
        leaves = split(self._leaves.singles(request.amount))
        insert, root = tree.insert, b""
        with stopwatch:
            for leaf in leaves:
                root = insert(leaf)
        assert root == tree.root
        return Outcome(request.amount, root)

    def append(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree = _filled(self._leaves, request)
        leaves = split(self._leaves.singles(request.amount))
        append = tree.append
        with stopwatch:
            for leaf in leaves:
                append(leaf)
            root = tree.root  # hashes what the appends deferred, so that it is timed
        return Outcome(request.amount, root)

    def hash_levels(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        """Hash the groups of all levels in pieces, and throw the parents away."""
        scheme, n = hasher(request.scheme), request.n
        pieces = list(_pieces(self._leaves.row(request.size), n))
        hash_groups, nodes = kernel.hash_groups, 0
        with stopwatch:
            for piece in pieces:
                nodes += len(hash_groups(scheme, piece, n)) // LEAF_BYTES
        return Outcome(nodes * _blocks(request.scheme, n))


def _pieces(row: memoryview, n: int) -> Iterator[memoryview]:
    """Pieces of full groups: those of the leaves, then as many as each level above has."""
    step, count = LEAF_BYTES * n, len(row) // LEAF_BYTES
    while count >= n:
        stop = count // n * step
        for at in range(0, stop, step * _PIECE):
            yield row[at : min(at + step * _PIECE, stop)]
        count //= n


class _Proofs:
    """Handlers that make and verify proofs of a tree in memory."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves

    def prove(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        snapshot = _filled(self._leaves, request).snapshot()
        prove, indices = snapshot.prove, _indices(request)
        with stopwatch:
            for at in indices:
                prove(at)
        return Outcome(request.amount, snapshot.root)

    def prove_many(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        snapshot, indices = _filled(self._leaves, request).snapshot(), _indices(request)
        batches = [indices[at : at + PROOF_BATCH] for at in range(0, len(indices), PROOF_BATCH)]
        proofs = snapshot.prove_many(batches[-1])
        with stopwatch:
            for batch in batches:
                proofs = snapshot.prove_many(batch)
        assert len(proofs) == len(batches[-1])
        assert proofs[-1] == snapshot.prove(indices[-1])
        return Outcome(request.amount, snapshot.root)

    def verify(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        snapshot = _filled(self._leaves, request).snapshot()
        head, prove = snapshot.head, snapshot.prove
        included = [(at, snapshot.leaves(at, at + 1), prove(at)) for at in _indices(request)]
        with stopwatch:
            for at, leaf, found in included:
                verify_inclusion(head, at, leaf, found)
        return Outcome(request.amount, head.root)

    def verify_many(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree = _filled(self._leaves, request)
        snapshot, head, indices = tree.snapshot(), tree.head, _indices(request)
        batches = []
        for start in range(0, len(indices), PROOF_BATCH):
            batch = indices[start : start + PROOF_BATCH]
            leaves = b"".join(snapshot.leaves(at, at + 1) for at in batch)
            batches.append((batch, leaves, snapshot.prove_many(batch)))
        with stopwatch:
            for batch, leaves, proofs in batches:
                verify_inclusion_many(head, batch, leaves, proofs)
        return Outcome(request.amount, head.root)

    def prove_consistency(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        snapshot = _filled(self._leaves, request).snapshot()
        prove, old_sizes = snapshot.prove_consistency, _indices(request)
        with stopwatch:
            for old_size in old_sizes:
                prove(old_size)
        return Outcome(request.amount, snapshot.root)

    def verify_consistency(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree = _filled(self._leaves, request)
        head, snapshot = tree.head, tree.snapshot()
        extended = [
            (tree.snapshot(old).head, snapshot.prove_consistency(old)) for old in _indices(request)
        ]
        with stopwatch:
            for old_head, found in extended:
                verify_consistency(old_head, head, found)
        return Outcome(request.amount, head.root)


def _indices(request: Request) -> list[int]:
    return [index(i, request.size) for i in range(request.amount)]
