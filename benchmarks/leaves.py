"""The input: random bytes in two files, the leaves of a tree and those that come after them."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["LEAF_BYTES", "Leaves", "index", "split", "write_leaves"]

LEAF_BYTES = 32
"""A leaf."""

_SEED = 20_240_229

_CHUNK = 1_000_000

_MULTIPLIER = 0x9E37_79B9_7F4A_7C15


def write_leaves(path: Path, count: int, salt: int) -> None:
    """So many leaves in a file: random bytes, the same in every run."""
    choice = random.Random(_SEED + salt)
    with open(path, "wb") as file:
        for start in range(0, count, _CHUNK):
            file.write(choice.randbytes(LEAF_BYTES * min(_CHUNK, count - start)))


def index(i: int, size: int) -> int:
    """The i-th leaf to prove, spread over all of them: the same on every side."""
    return (i * _MULTIPLIER) % 2**64 % size


def split(row: memoryview, step: int = LEAF_BYTES) -> list[bytes]:
    """The leaves of a row one by one, or as batches of so many bytes."""
    return [bytes(row[at : at + step]) for at in range(0, len(row), step)]


class Leaves:
    """The input, read when it is first asked for."""

    def __init__(self, row: Path, singles: Path) -> None:
        self._paths = row, singles
        self._row = b""
        self._singles = b""

    def row(self, count: int) -> memoryview:
        """The first leaves, as one row."""
        if len(self._row) < LEAF_BYTES * count:
            self._row = self.slice(0, count)
        return memoryview(self._row)[: LEAF_BYTES * count]

    def slice(self, start: int, count: int) -> bytes:
        """Leaves that nothing keeps."""
        with open(self._paths[0], "rb") as file:
            file.seek(LEAF_BYTES * start)
            data = file.read(LEAF_BYTES * count)
        assert len(data) == LEAF_BYTES * count
        return data

    def singles(self, count: int) -> memoryview:
        """Leaves that come after those, as one row."""
        self._singles = self._singles or self._paths[1].read_bytes()
        assert len(self._singles) >= LEAF_BYTES * count
        return memoryview(self._singles)[: LEAF_BYTES * count]
