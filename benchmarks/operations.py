"""The rows of the table: their names, in order, and what is timed in each."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "APPEND",
    "BATCH",
    "CONSISTENCY",
    "DURABLE_BATCH",
    "DURABLE_INSERT",
    "INSERT",
    "INSERT_DURABLE",
    "INSERT_DURABLE_THREADS",
    "OPEN_LOG",
    "OPEN_UNVERIFIED",
    "OPEN_VERIFIED",
    "OPERATIONS",
    "PROVE",
    "PROVE_MANY",
    "THREADS",
    "VERIFY",
    "VERIFY_CONSISTENCY",
]

THREADS = 16
"""Of the row with many threads."""

BATCH = "insert_many, in memory"
INSERT = "insert, with root"
APPEND = "append, no root"
DURABLE_BATCH = "durable insert_many + flush"
DURABLE_INSERT = "durable insert, no wait"
INSERT_DURABLE = "insert_durable"
INSERT_DURABLE_THREADS = f"insert_durable, {THREADS} threads"
PROVE = "prove, random index"
PROVE_MANY = "prove_many"
VERIFY = "verify_inclusion"
CONSISTENCY = "prove_consistency"
VERIFY_CONSISTENCY = "verify_consistency"
OPEN_VERIFIED = "open checkpoint, verified"
OPEN_UNVERIFIED = "open checkpoint, unverified"
OPEN_LOG = "open, log replay"

OPERATIONS: Mapping[str, str] = {
    BATCH: "all leaves as one buffer into a new tree, all levels, the root; fresh memory",
    INSERT: "one by one into a tree of the stated size, the root of each",
    APPEND: "one by one into a tree of the stated size",
    DURABLE_BATCH: "all leaves as one buffer into a new, empty directory, on disk when it ends",
    DURABLE_INSERT: "one by one, the root of each; flushed in the background every 10 ms",
    INSERT_DURABLE: "one by one, each on disk before the next",
    INSERT_DURABLE_THREADS: f"the same from {THREADS} threads, which share what they wait for",
    PROVE: "inclusion proofs of random leaves, one by one",
    PROVE_MANY: "the same leaves in one call",
    VERIFY: "those proofs against the head, leaf and index",
    CONSISTENCY: "consistency proofs from random smaller sizes",
    VERIFY_CONSISTENCY: "those proofs against both heads",
    OPEN_VERIFIED: "every stored node recomputed; files in the page cache",
    OPEN_UNVERIFIED: "the root recomputed only; files in the page cache",
    OPEN_LOG: "no checkpoint: the whole log checked and inserted; files in the page cache",
}
