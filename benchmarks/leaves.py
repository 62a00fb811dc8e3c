"""The input: two files of random leaves, those of a tree and those that are inserted later."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["LEAF_BYTES", "Leaves", "index", "split", "write_leaves"]

LEAF_BYTES = 32
"""Length of a leaf, in bytes."""

_SEED = 20_240_229

_CHUNK = 1_000_000

_MULTIPLIER = 0x9E37_79B9_7F4A_7C15


def write_leaves(path: Path, count: int, salt: int) -> None:
    """Write ``count`` leaves to a file: random bytes, the same in every run."""
    choice = random.Random(_SEED + salt)
    with open(path, "wb") as file:
        for start in range(0, count, _CHUNK):
            file.write(choice.randbytes(LEAF_BYTES * min(_CHUNK, count - start)))


def index(i: int, size: int) -> int:
    """The index of the i-th leaf to prove: spread over the tree, and the same on every side."""
    return (i * _MULTIPLIER) % 2**64 % size


def split(row: memoryview, step: int = LEAF_BYTES) -> list[bytes]:
    """Split a row into leaves, or into batches of ``step`` bytes."""
    return [bytes(row[at : at + step]) for at in range(0, len(row), step)]


class Leaves:
    """The input, read at the first request."""

    def __init__(self, row: Path, singles: Path) -> None:
        self._paths = row, singles
        self._row = b""
        self._singles = b""

    def row(self, count: int) -> memoryview:
        """The first ``count`` leaves of the tree, as one row."""
        if len(self._row) < LEAF_BYTES * count:
            self._row = self.slice(0, count)
        return memoryview(self._row)[: LEAF_BYTES * count]

    def slice(self, start: int, count: int) -> bytes:
        """Leaves that are read anew, and not kept."""
        with open(self._paths[0], "rb") as file:
            file.seek(LEAF_BYTES * start)
            data = file.read(LEAF_BYTES * count)
        assert len(data) == LEAF_BYTES * count
        return data

    def singles(self, count: int) -> memoryview:
        """The first ``count`` leaves to insert later, as one row."""
        self._singles = self._singles or self._paths[1].read_bytes()
        assert len(self._singles) >= LEAF_BYTES * count
        return memoryview(self._singles)[: LEAF_BYTES * count]
