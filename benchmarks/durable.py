"""Handlers of a worker that measure rotortree on disk, and the memory that it takes."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from benchmarks.leaves import Leaves, index, split
from benchmarks.machine import resident
from benchmarks.measure import Stopwatch
from benchmarks.operations import THREADS
from benchmarks.ours import MAX_DEPTH, hasher
from benchmarks.workers import Handler, Outcome, Request
from rotortree import LeanIMT, RotorTree

__all__ = ["QUANTILES", "durable_handlers"]

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
"""The quantiles of latencies that are reported, by name."""

_MEMORY_BATCHES = 10


def durable_handlers(directory: Path, leaves: Leaves) -> Mapping[str, Handler]:
    """The operations on disk, and those that measure memory."""
    durable, opening = _Durable(directory, leaves), _Opening(directory, leaves)
    memory = _Memory(directory, leaves)
    return {
        "durable_insert_many": durable.insert_many,
        "durable_insert": durable.insert,
        "insert_durable": durable.insert_durable,
        "insert_durable_threads": durable.insert_durable_threads,
        "latency": durable.latency,
        "latency_checkpoint": durable.latency_checkpoint,
        "open_verified": opening.verified,
        "open_unverified": opening.unverified,
        "first_proof": opening.first_proof,
        "open_log": opening.log,
        "memory": memory.in_memory,
        "memory_mapped": memory.mapped,
    }


def _open(path: Path, request: Request) -> RotorTree:
    return RotorTree.open(path, n=request.n, max_depth=MAX_DEPTH, hasher=hasher(request.scheme))


class _Durable:
    """Handlers that insert into durable trees, a new one for each sample."""

    def __init__(self, directory: Path, leaves: Leaves) -> None:
        self._leaves = leaves
        self._path = directory / "new"

    @contextmanager
    def _filled(self, request: Request, size: int) -> Iterator[RotorTree]:
        with _open(self._path, request) as tree:
            if size:
                tree.insert_many(self._leaves.row(size))
            tree.flush()
            os.sync()
            yield tree
        shutil.rmtree(self._path)

    def insert_many(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        row = self._leaves.row(request.size)
        with self._filled(request, 0) as tree:
            with stopwatch:
                root, _ = tree.insert_many(row)
                tree.flush()
            assert tree.durable_size == request.size
        return Outcome(request.size, root)

    def insert(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.singles(request.amount))
        with self._filled(request, request.size) as tree:
            insert = tree.insert
            with stopwatch:
                for leaf in leaves:
                    insert(leaf)
            return Outcome(request.amount, tree.root)

    def insert_durable(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.singles(request.amount))
        with self._filled(request, request.size) as tree:
            insert = tree.insert_durable
            with stopwatch:
                for leaf in leaves:
                    insert(leaf)
            assert tree.durable_size == tree.size
            return Outcome(request.amount, tree.root)

    def insert_durable_threads(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.singles(request.amount))
        with self._filled(request, request.size) as tree:

            def insert_all() -> None:
                for leaf in leaves:
                    tree.insert_durable(leaf)

            with ThreadPoolExecutor(THREADS) as threads, stopwatch:
                for future in [threads.submit(insert_all) for _ in range(THREADS)]:
                    future.result()
            return Outcome(tree.durable_size - request.size)

    def latency(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.singles(request.amount))
        with self._filled(request, request.size) as tree:
            with stopwatch:
                times = [_timed(tree, leaf) for leaf in leaves]
            return _latencies(times)

    def latency_checkpoint(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.singles(request.amount))
        with self._filled(request, request.size) as tree:
            checkpoint = threading.Thread(target=tree.checkpoint)
            times = []
            with stopwatch:
                checkpoint.start()
                for leaf in cycle(leaves):
                    times.append(_timed(tree, leaf))
                    if not checkpoint.is_alive():
                        break
            assert tree.checkpoint_size >= request.size
            return _latencies(times)


def _timed(tree: RotorTree, leaf: bytes) -> int:
    started = time.perf_counter_ns()
    tree.insert(leaf)
    return time.perf_counter_ns() - started


def _latencies(times: list[int]) -> Outcome:
    times.sort()
    last = len(times) - 1
    figures = {
        name: times[min(int(part * len(times)), last)] / 1e9 for name, part in QUANTILES.items()
    }
    return Outcome(len(times), None, figures)


class _Opening:
    """Handlers that open directories of closed trees, which opening does not change."""

    def __init__(self, directory: Path, leaves: Leaves) -> None:
        self._leaves = leaves
        self._directory = directory

    def _prepared(self, request: Request, kind: str) -> Path:
        """The directory of a closed tree, made at the first request."""
        path = self._directory / f"{kind}-{request.scheme}-{request.n}-{request.size}"
        if not path.exists():
            with _open(path, request) as tree:
                tree.insert_many(self._leaves.row(request.size))
                if kind == "checkpoint":
                    tree.checkpoint()
        os.sync()
        return path

    def _timed(self, request: Request, stopwatch: Stopwatch, kind: str, verify: bool) -> Outcome:
        path = self._prepared(request, kind)
        with stopwatch:
            tree = RotorTree.open(path, verify_checkpoint=verify)
        with tree:
            assert tree.size == request.size
            assert tree.recovery.replayed_leaves == (tree.size if kind == "log" else 0)
            return Outcome(1, tree.root)

    def verified(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        return self._timed(request, stopwatch, "checkpoint", True)

    def unverified(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        return self._timed(request, stopwatch, "checkpoint", False)

    def log(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        return self._timed(request, stopwatch, "log", True)

    def first_proof(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        path, at = self._prepared(request, "checkpoint"), index(1, request.size)
        with RotorTree.open(path, verify_checkpoint=False) as tree:
            with stopwatch:
                tree.snapshot().prove(at)
            return Outcome(1, tree.root)


class _Memory:
    """Handlers that measure anonymous resident memory, each in a new process."""

    def __init__(self, directory: Path, leaves: Leaves) -> None:
        self._leaves = leaves
        self._path = directory / "mapped"

    def in_memory(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        batch = request.size // _MEMORY_BATCHES
        tree = LeanIMT(request.n, MAX_DEPTH, hasher(request.scheme))
        before = _anonymous()
        with stopwatch:
            for at in range(_MEMORY_BATCHES):
                tree.insert_many(self._leaves.slice(at * batch, batch))
        return Outcome(tree.size, tree.root, {"bytes per leaf": _growth(before, tree.size)})

    def mapped(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        batch = request.size // _MEMORY_BATCHES
        first = 0
        with _open(self._path, request) as tree:
            with stopwatch:
                for at in range(_MEMORY_BATCHES):
                    tree.insert_many(self._leaves.slice(at * batch, batch))
                    tree.checkpoint()
                    first = first or _anonymous()
            figures = {"bytes per leaf": _growth(first, tree.size - batch)}
            outcome = Outcome(tree.size, tree.root, figures)
        shutil.rmtree(self._path)
        return outcome


def _anonymous() -> int:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    return resident().anonymous


def _growth(before: int, leaves: int) -> float:
    """The growth of memory in bytes per leaf; growth below the noise counts as one byte in all."""
    return max(1, _anonymous() - before) / leaves
