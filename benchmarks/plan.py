"""The sizes of the runs: full, quick and tiny."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ARITIES",
    "BATCH_LEAVES",
    "FULL",
    "PROOF_BATCH",
    "QUICK",
    "SIMULATED_LEAVES",
    "TINY",
    "Scale",
]

ARITIES = (2, 4, 8, 16)
"""The arities that the main rows are measured for."""

BATCH_LEAVES = 1_000
"""Leaves in one small batch."""

PROOF_BATCH = 1_000
"""Proofs in one call."""


SIMULATED_LEAVES = 20
"""About the number of leaves of a tree that is crashed on a simulated disk."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run, in leaves and in operations per sample.

    Leaves of a tree.  ``size``: of most trees; ``large``: of those that are inserted or opened as
    a whole; ``growth``: smaller sizes, for batches only; ``pymerkle_size``: of pymerkle's trees.

    Operations in a sample.  ``singles``: insertions one by one; ``batched``: leaves in small
    batches; ``proofs``: proofs and verifications; ``durable``: insertions one by one into a durable
    tree; ``synced``: insertions that wait for the disk, per thread; ``latencies``: insertions that
    are timed one by one.
    """

    name: str
    size: int
    large: int
    growth: tuple[int, ...]
    pymerkle_size: int
    singles: int
    batched: int
    proofs: int
    durable: int
    synced: int
    latencies: int
    rounds: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes of trees, in ascending order."""
        return (*self.growth, self.size, self.large)

    @property
    def most_singles(self) -> int:
        """The number of leaves that are needed beside those of the tree."""
        return max(self.singles, self.batched, self.durable, self.synced)


FULL = Scale(
    "full",
    size=1_000_000,
    large=10_000_000,
    growth=(10_000, 100_000),
    pymerkle_size=100_000,
    singles=20_000,
    batched=100_000,
    proofs=5_000,
    durable=4_000,
    synced=200,
    latencies=100_000,
    rounds=5,
)

QUICK = Scale(
    "quick",
    size=100_000,
    large=1_000_000,
    growth=(10_000,),
    pymerkle_size=20_000,
    singles=4_000,
    batched=20_000,
    proofs=1_000,
    durable=1_000,
    synced=50,
    latencies=10_000,
    rounds=5,
)

TINY = Scale(
    "tiny",
    size=300,
    large=900,
    growth=(50,),
    pymerkle_size=100,
    singles=20,
    batched=2_000,
    proofs=20,
    durable=10,
    synced=2,
    latencies=20,
    rounds=2,
)
