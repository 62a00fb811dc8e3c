"""What the machine can do at best: the bare work below some of the rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from benchmarks import operations as row
from benchmarks.measure import Case, Stopwatch
from benchmarks.plan import Scale, random_leaves

__all__ = ["LIMIT", "limit_cases"]

LIMIT = "bare"
"""The column."""

_RECORD = 192
"""About what the log holds for one leaf: a frame header and the leaf."""


def limit_cases(size: int, scale: Scale, directory: Path) -> list[Case]:
    """The BLAKE3 rate, a file written and synced, and one fdatasync after another."""
    limits = _Limits(random_leaves(size, 0), scale.synced, directory)
    runs: dict[str, Callable[[Stopwatch], int]] = {
        row.BATCH: limits.hash,
        row.DURABLE_BATCH: limits.write,
        row.INSERT_DURABLE: limits.sync,
    }
    return [Case(operation, LIMIT, size, run) for operation, run in runs.items()]


class _Limits:
    def __init__(self, leaves: bytes, synced: int, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._leaves = leaves
        self._count = len(leaves) // 32
        self._synced = synced
        self._path = directory / "bare"

    def hash(self, stopwatch: Stopwatch) -> int:
        with stopwatch:
            blake3(self._leaves).digest()
        return self._count

    def write(self, stopwatch: Stopwatch) -> int:
        with open(self._path, "wb", buffering=0) as file, stopwatch:
            left = memoryview(self._leaves)
            while left:
                left = left[file.write(left) :]
            _sync(file.fileno())
        self._path.unlink()
        return self._count

    def sync(self, stopwatch: Stopwatch) -> int:
        record = self._leaves[:_RECORD]
        with open(self._path, "wb", buffering=0) as file, stopwatch:
            for _ in range(self._synced):
                file.write(record)
                _sync(file.fileno())
        self._path.unlink()
        return self._synced


_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
