"""The cases of a run: which side measures which operation, in the order of measuring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.measure import Case, Cell, Sample, take_memory
from benchmarks.operations import (
    BARE,
    OPERATIONS,
    OURS,
    OURS_ONE,
    PLAIN,
    PURE,
    PYMERKLE,
    RUST_15,
    RUST_15_ONE,
    RUST_19,
    RUST_19_ONE,
    SCHEMES,
    SIDES,
    TAGGED,
)
from benchmarks.plan import ARITIES, SIMULATED_LEAVES, Scale
from benchmarks.theirs import COMPARED
from benchmarks.workers import Inputs, Request, Worker, python_command

__all__ = ["Workers", "all_cases"]

_EXAMPLE = 4
"""The arity of rows that are measured for one arity only."""

_SEQUENTIAL = {"RAYON_NUM_THREADS": "1", "ROTORTREE_PARALLEL_THRESHOLD": str(2**64 - 1)}
"""Tells the crate never to compute in parallel."""

_RUST: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    RUST_15: ("0.15", TAGGED, {}),
    RUST_15_ONE: ("0.15", TAGGED, _SEQUENTIAL),
    RUST_19: ("0.19", PLAIN, {}),
    RUST_19_ONE: ("0.19", PLAIN, _SEQUENTIAL),
}

_PYTHON: Mapping[str, tuple[str, Mapping[str, str]]] = {
    OURS: ("ours", {}),
    OURS_ONE: ("ours", {"ROTORTREE_THREADS": "1"}),
    PURE: ("ours", {"ROTORTREE_NATIVE": "off"}),
    PYMERKLE: ("pymerkle", {}),
    BARE: ("bare", {}),
}

_LARGE = ("open_verified", "open_unverified", "first_proof", "open_log", "memory", "memory_mapped")
"""The operations that are measured on large trees, for one arity."""

_CONSISTENCY = ("prove_consistency", "verify_consistency")
"""The operations that only we and pymerkle have."""

_WAITING = ("insert_durable", "insert_durable_threads")
"""The operations that wait for the disk: measured for one arity by all sides, else by us alone."""

_ALONE = ("memory", "memory_mapped")
"""The operations that need a new process."""

_MEMORY_PER_LEAF = 96
"""Bytes of memory that are touched before a sample, for each leaf; a tree of arity 2 takes 64."""


class Workers:
    """The child processes of a run, one for each side.  ``missing``: the sides that have none."""

    def __init__(self, inputs: Inputs, rust: Path | None, pymerkle: bool) -> None:
        self._inputs = inputs
        self._rust = rust
        self.missing = {side for side in _RUST if rust is None}
        self.missing |= set() if pymerkle else {PYMERKLE}
        self._workers: dict[str, Worker] = {}

    def _new(self, side: str) -> Worker:
        folder = "".join(letter if letter.isalnum() else "-" for letter in side)
        inputs = Inputs(self._inputs.directory / folder, self._inputs.leaves, self._inputs.singles)
        if side in _RUST:
            version, _, environment = _RUST[side]
            return Worker([str(self._rust), version], environment, inputs)
        kind, environment = _PYTHON[side]
        return Worker(python_command(kind), environment, inputs)

    def ask(self, side: str, request: Request) -> Sample:
        """Let the worker of a side take a sample.  Raises WorkerFailed."""
        take_memory(_MEMORY_PER_LEAF * request.size)
        if request.operation in _ALONE:
            worker = self._new(side)
            try:
                return worker.ask(request)
            finally:
                worker.close()
        if side not in self._workers:
            self._workers[side] = self._new(side)
        return self._workers[side].ask(request)

    def close(self) -> None:
        """End all child processes."""
        for worker in self._workers.values():
            worker.close()


def all_cases(scale: Scale, workers: Workers) -> list[Case]:
    """All cases, sorted by rows, so that cases that are compared run one after the other."""
    rows, sides = list(OPERATIONS), list(SIDES)

    def place(cell: Cell) -> tuple[int, int, int, str, int]:
        return rows.index(cell.operation), cell.size, cell.n, cell.scheme, sides.index(cell.side)

    found = sorted(set(_cells(scale)), key=place)
    return [_case(cell, scale, workers) for cell in found if cell.side not in workers.missing]


def _case(cell: Cell, scale: Scale, workers: Workers) -> Case:
    n, operation = cell.n or _EXAMPLE, cell.operation
    request = Request(operation, cell.scheme, n, cell.size, _amount(operation, scale))
    return Case(cell, OPERATIONS[operation].unit, lambda: workers.ask(cell.side, request))


def _amount(operation: str, scale: Scale) -> int:
    """The number of operations in one sample, where that is not the size of the tree."""
    return {
        "insert_thousands": scale.batched,
        "insert": scale.singles,
        "append": scale.singles,
        "durable_insert": scale.durable,
        "insert_durable": scale.synced,
        "insert_durable_threads": scale.synced,
        "sync_append": scale.synced,
        "sync_overwrite": scale.synced,
        "latency": scale.latencies,
        "latency_checkpoint": scale.latencies,
    }.get(operation, scale.proofs)


def _cells(scale: Scale) -> Iterator[Cell]:
    yield from _batches(scale)
    for n in ARITIES:
        yield from _of_arity(scale, n)
    yield from _examples(scale)
    yield from _bare(scale)
    size = min(scale.size, scale.pymerkle_size)
    for operation in COMPARED:
        yield Cell(operation, PYMERKLE, "sha256", 2, size)


def _both(operation: str, n: int, size: int) -> Iterator[Cell]:
    """Both schemes of ours, each with the version of the crate that has the same scheme."""
    for scheme, theirs in ((TAGGED, RUST_15), (PLAIN, RUST_19)):
        yield Cell(operation, OURS, scheme, n, size)
        yield Cell(operation, theirs, scheme, n, size)


def _batches(scale: Scale) -> Iterator[Cell]:
    for size in scale.sizes:
        for n in (_EXAMPLE,) if size in scale.growth else ARITIES:
            for scheme in SCHEMES:
                for side in (OURS, OURS_ONE):
                    yield Cell("insert_many", side, scheme, n, size)
            for side, (_, scheme, _) in _RUST.items():
                yield Cell("insert_many", side, scheme, n, size)


def _of_arity(scale: Scale, n: int) -> Iterator[Cell]:
    size = scale.size
    yield Cell("insert_many", PURE, TAGGED, n, size)
    yield Cell("insert_many", BARE, TAGGED, n, size)
    for operation in ("insert_thousands", "insert", "prove", "verify"):
        yield from _both(operation, n, size)
    for operation in ("insert", "append", "prove", "verify"):
        yield Cell(operation, PURE, TAGGED, n, size)
    for operation in (
        "append",
        "prove_many",
        "verify_many",
        "prove_consistency",
        "verify_consistency",
    ):
        yield Cell(operation, OURS, TAGGED, n, size)
    yield Cell("prove_many", OURS, PLAIN, n, size)
    for scheme in SCHEMES:
        yield Cell("hash_levels", OURS_ONE, scheme, n, scale.large)
    yield from _both("durable_insert", n, size)
    yield from _both("durable_insert_many", n, scale.large)
    for operation in _WAITING:
        yield Cell(operation, OURS, TAGGED, n, size)


def _examples(scale: Scale) -> Iterator[Cell]:
    for operation in _WAITING:
        yield from _both(operation, _EXAMPLE, scale.size)
    for operation in (*_LARGE, "latency", "latency_checkpoint"):
        yield from _both(operation, _EXAMPLE, scale.large)
    yield Cell("crash_states", OURS, TAGGED, _EXAMPLE, SIMULATED_LEAVES)


def _bare(scale: Scale) -> Iterator[Cell]:
    for operation in ("bulk_cache", "bulk_dram", "write"):
        yield Cell(operation, BARE, TAGGED, 0, scale.large)
    for operation in ("sync_append", "sync_overwrite"):
        yield Cell(operation, BARE, TAGGED, 0, scale.size)
