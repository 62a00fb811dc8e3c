"""The rows of the tables, in order, with what each times; and the sides that are measured.

The name of an operation is also the command to a worker; see `benchmarks.workers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.measure import Unit

__all__ = [
    "BARE",
    "OPERATIONS",
    "OURS",
    "OURS_ONE",
    "PLAIN",
    "PURE",
    "PYMERKLE",
    "RUST_15",
    "RUST_15_ONE",
    "RUST_19",
    "RUST_19_ONE",
    "SCHEMES",
    "SIDES",
    "TAGGED",
    "THREADS",
    "Operation",
]

THREADS = 16
"""The number of threads in the row with many threads."""

OURS = "ours"
"""This project, with its default settings."""

OURS_ONE = "ours, 1 thread"
"""This project, with its kernel on one thread."""

PURE = "ours, pure Python"
"""This project, without its native kernel."""

RUST_15 = "Rust 0.15"
"""Version 0.15 of the original crate, with its feature ``parallel``."""

RUST_15_ONE = "Rust 0.15, 1 thread"
"""Version 0.15, told to compute level after level in one thread."""

RUST_19 = "Rust 0.19"
"""Version 0.19 of the crate, with its feature ``parallel``."""

RUST_19_ONE = "Rust 0.19, 1 thread"
"""Version 0.19, told to compute level after level in one thread.  Only then does it use SIMD."""

PYMERKLE = "pymerkle"
"""Another tree in Python."""

BARE = "bare"
"""The work without a tree: the best the machine can do."""

SIDES: Mapping[str, str] = {
    OURS: "all threads of the machine",
    OURS_ONE: "ROTORTREE_THREADS=1",
    PURE: "ROTORTREE_NATIVE=off: what there is without a compiler",
    RUST_15: "rotortree 0.15.0, features parallel and storage, rayon on all threads",
    RUST_15_ONE: "the same, told never to use rayon",
    RUST_19: "rotortree 0.19.0, likewise; its parallel path hashes node by node",
    RUST_19_ONE: "the same, told never to use rayon: then it hashes many nodes at once, with SIMD",
    PYMERKLE: "its InmemoryTree: binary, SHA-256, hashes every entry once more",
    BARE: "on one thread, without a tree",
}
"""All sides, in the order of the tables."""

TAGGED = "blake3"
"""The default scheme, which Rust 0.15 also has."""

PLAIN = "blake3-plain"
"""The scheme that Rust 0.19 has."""

SCHEMES = (TAGGED, PLAIN)
"""The hash schemes that are measured."""


class Operation(NamedTuple):
    """A row of the tables.  ``meaning``: what it times."""

    label: str
    meaning: str
    unit: Unit = "per second"


OPERATIONS: Mapping[str, Operation] = {
    "insert_many": Operation(
        "insert_many", "all leaves as one buffer into a new tree, all levels, the root; new memory"
    ),
    "insert_thousands": Operation(
        "insert_many of 1,000", "batches of 1,000 into a tree of the stated size; per leaf"
    ),
    "insert": Operation("insert, with root", "one by one into a tree of the stated size"),
    "append": Operation("append, no root", "the same, one root at the end; the loop included"),
    "hash_levels": Operation(
        "hashing all levels", "the kernel alone, what it makes is thrown away; BLAKE3 blocks"
    ),
    "bulk_cache": Operation(
        "BLAKE3 in cache", "256 KiB again and again as one message; BLAKE3 blocks"
    ),
    "bulk_dram": Operation("BLAKE3 from memory", "all leaves as one message; BLAKE3 blocks"),
    "prove": Operation("prove", "inclusion proofs of leaves all over a tree just made, one by one"),
    "prove_many": Operation("prove_many", "the same leaves in calls of 1,000"),
    "verify": Operation("verify_inclusion", "those proofs against the head, leaf and index"),
    "verify_many": Operation("verify_many", "the same proofs in calls of 1,000"),
    "prove_consistency": Operation("prove_consistency", "from sizes all over the tree"),
    "verify_consistency": Operation("verify_consistency", "those proofs against both heads"),
    "durable_insert_many": Operation(
        "durable insert_many", "all leaves into a new, empty directory, on disk when it ends"
    ),
    "durable_insert": Operation(
        "durable insert", "one by one, with root; flushed in the background every 10 ms"
    ),
    "insert_durable": Operation("insert_durable", "one by one, each on disk before the next"),
    "insert_durable_threads": Operation(
        "insert_durable, 16 threads", "the same from 16 threads, which share what they wait for"
    ),
    "write": Operation("write, fdatasync", "the leaves into a new file"),
    "sync_append": Operation(
        "fdatasync, growing file", "192 bytes appended, fdatasync, again and again"
    ),
    "sync_overwrite": Operation("fdatasync, written file", "192 bytes written over, fdatasync"),
    "open_verified": Operation(
        "open, verified", "from a checkpoint; ours recomputes every node, Rust the root", "seconds"
    ),
    "open_unverified": Operation(
        "open, unverified", "from a checkpoint, which is believed", "seconds"
    ),
    "first_proof": Operation("first proof", "the first after such an opening", "seconds"),
    "open_log": Operation("open, log replay", "no checkpoint: the whole log", "seconds"),
    "latency": Operation(
        "latency of insert", "durable, no wait; each one timed; the median", "seconds"
    ),
    "latency_checkpoint": Operation(
        "the same, checkpoint runs",
        "all levels of the tree being written meanwhile",
        "seconds",
    ),
    "memory": Operation(
        "memory", "anonymous resident memory that inserting adds, in a new process", "bytes"
    ),
    "memory_mapped": Operation(
        "memory, mapped", "durable, a checkpoint per tenth; after the first tenth", "bytes"
    ),
    "crash_states": Operation(
        "crash states explored",
        "what a power failure leaves of a small tree: opened, root and leaves judged; one process",
    ),
}
"""All rows, in order."""
