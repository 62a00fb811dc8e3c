"""Handlers of a worker that time the bare work below some rows: the best the machine can do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from blake3 import blake3

from benchmarks.leaves import LEAF_BYTES, Leaves
from benchmarks.measure import Stopwatch
from benchmarks.workers import Handler, Outcome, Request

__all__ = ["limit_handlers"]

_BLOCK = 64
"""Length of a BLAKE3 block, in bytes."""

_CACHED = 256 * 1024
"""Bytes that fit into the cache of one core."""

_CACHED_TOTAL = 64 * 1024 * 1024
"""Bytes that one sample hashes from the cache, at most."""

_RECORD = 192
"""About the bytes of one leaf in the log: a frame header and the leaf."""


def limit_handlers(directory: Path, leaves: Leaves) -> Mapping[str, Handler]:
    """BLAKE3 in bulk and node by node, a file written and synced, one fdatasync after another."""
    limits = _Limits(directory, leaves)
    return {
        "insert_many": limits.hash_nodes,
        "bulk_cache": limits.bulk_cache,
        "bulk_dram": limits.bulk_dram,
        "write": limits.write,
        "sync_append": limits.sync_append,
        "sync_overwrite": limits.sync_overwrite,
    }


class _Limits:
    def __init__(self, directory: Path, leaves: Leaves) -> None:
        self._leaves = leaves
        self._path = directory / "file"

    def hash_nodes(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        """Hash all full groups of all levels, with one call of the package for each group."""
        row, step = bytes(self._leaves.row(request.size)), LEAF_BYTES * request.n
        prefix = bytes((1, request.n))
        with stopwatch:
            while len(row) >= step:
                stop = len(row) - len(row) % step
                row = b"".join(
                    [blake3(prefix + row[at : at + step]).digest() for at in range(0, stop, step)]
                )
        return Outcome(request.size)

    def bulk_cache(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        row = bytes(self._leaves.row(request.size)[:_CACHED])
        times = max(1, min(_CACHED_TOTAL, LEAF_BYTES * request.size) // len(row))
        blake3(row).digest()
        with stopwatch:
            for _ in range(times):
                blake3(row).digest()
        return Outcome(-(-len(row) * times // _BLOCK))

    def bulk_dram(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        row = self._leaves.row(request.size)
        with stopwatch:
            blake3(row).digest()
        return Outcome(-(-len(row) // _BLOCK))

    def write(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        left = self._leaves.row(request.size)
        os.sync()
        with open(self._path, "wb", buffering=0) as file, stopwatch:
            while left:
                left = left[file.write(left) :]
            _sync(file.fileno())
        self._path.unlink()
        return Outcome(request.size)

    def sync_append(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        return self._records(request.amount, stopwatch)

    def sync_overwrite(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        self._path.write_bytes(bytes(_RECORD * request.amount))
        return self._records(request.amount, stopwatch)

    def _records(self, count: int, stopwatch: Stopwatch) -> Outcome:
        record = bytes(self._leaves.row(_RECORD // LEAF_BYTES))
        os.sync()
        self._path.touch()
        with open(self._path, "r+b", buffering=0) as file, stopwatch:
            for _ in range(count):
                file.write(record)
                _sync(file.fileno())
        self._path.unlink()
        return Outcome(count)


_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
