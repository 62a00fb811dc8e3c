"""How much is measured: the sizes of full, quick and tiny."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["FULL", "LEAF_BYTES", "QUICK", "SEED", "TINY", "Scale", "random_leaves", "split"]

LEAF_BYTES = 32
"""A leaf."""

SEED = 20_240_229
"""Of all random input, so that two runs have the same."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run, in leaves and in operations per sample.

    ``sizes``: of our trees; ``pymerkle_size``: of pymerkle's, unless ours is smaller.  ``singles``:
    insertions one by one; ``proofs``: proofs and verifications; ``durable``: insertions one by one
    into a durable tree; ``synced``: those that wait for the disk, per thread.
    """

    name: str
    sizes: tuple[int, ...]
    pymerkle_size: int
    singles: int
    proofs: int
    durable: int
    synced: int
    rounds: int


FULL = Scale("full", (1_000_000,), 100_000, 20_000, 5_000, 4_000, 200, 5)
QUICK = Scale("quick", (100_000,), 20_000, 4_000, 1_000, 1_000, 50, 5)
TINY = Scale("tiny", (300,), 100, 20, 20, 10, 2, 2)


def random_leaves(count: int, salt: int) -> bytes:
    """So many leaves as one row: random bytes, every page of them written."""
    return random.Random(SEED + salt).randbytes(LEAF_BYTES * count)


def split(row: bytes) -> list[bytes]:
    """The leaves of a row, one by one."""
    return [row[at : at + LEAF_BYTES] for at in range(0, len(row), LEAF_BYTES)]
