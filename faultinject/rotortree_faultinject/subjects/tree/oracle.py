"""What must be true of a tree, judged by the model."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from typing import NamedTuple

import rotortree_model as model
from rotortree import RotorTree, TreeHead, verify_consistency, verify_inclusion
from rotortree.storage.format import COMMIT, Commit, shard_header, shard_name
from rotortree_faultinject.disk.image import Image, file_in

__all__ = [
    "LEAF_BYTES",
    "OracleError",
    "RecoveredTree",
    "check_checkpoint",
    "check_proofs",
    "check_root",
    "leaf",
    "model_root",
    "row",
    "split",
]

LEAF_BYTES = 32
"""Length of a leaf."""


class OracleError(AssertionError):
    """Something that must be true of a tree is not."""


class RecoveredTree(NamedTuple):
    """All leaves of a tree in one row, as a crash left it."""

    leaves: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.leaves) // LEAF_BYTES

    def __repr__(self) -> str:
        digest = hashlib.blake2b(self.leaves, digest_size=3).hexdigest()
        return f"{self.size} leaves #{digest}"


@functools.lru_cache(1 << 16)
def leaf(number: int) -> bytes:
    """The leaf that lives and workloads insert as their ``number``-th."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def row(start: int, stop: int) -> bytes:
    """Leaves [start, stop) in one row."""
    return b"".join(map(leaf, range(start, stop)))


def split(leaves: bytes) -> tuple[bytes, ...]:
    """A row as the leaves that it consists of."""
    return tuple(leaves[at : at + LEAF_BYTES] for at in range(0, len(leaves), LEAF_BYTES))


@functools.lru_cache(1 << 14)
def model_root(leaves: bytes, n: int) -> bytes | None:
    """What the model says the root of a row of leaves is."""
    return model.root(split(leaves), n, model.SCHEMES["blake3"])


def check_root(tree: RotorTree) -> RecoveredTree:
    """All leaves of a tree, whose root and size must be theirs."""
    snapshot = tree.snapshot()
    found = RecoveredTree(snapshot.leaves())
    if (tree.size, snapshot.root) != (found.size, model_root(found.leaves, tree.n)):
        raise OracleError(f"{found!r}: size {tree.size} or root {snapshot.root!r} is not theirs")
    return found


def check_proofs(tree: RotorTree, leaves: bytes, old_sizes: Collection[int] | None = None) -> None:
    """Every leaf's proof verifies, and at each old size a leaf's, the root, and the consistency.

    Where no old sizes are given, those are four of all sizes.
    """
    size = len(leaves) // LEAF_BYTES
    if old_sizes is None:
        old_sizes = {size * part // 4 for part in range(5)}
    now = TreeHead(size, model_root(leaves, tree.n), tree.n, "blake3")
    snapshot = tree.snapshot()
    for index in range(size):
        at = index * LEAF_BYTES
        verify_inclusion(now, index, leaves[at : at + LEAF_BYTES], snapshot.prove(index))
    for old in sorted(old_sizes):
        root = model_root(leaves[: old * LEAF_BYTES], tree.n)
        head = TreeHead(old, root, tree.n, "blake3")
        if tree.root_at(old) != root:
            raise OracleError(f"the root at size {old} of {size} is not the model's")
        verify_consistency(head, now, snapshot.prove_consistency(old))
        if old:
            index = size % old
            at = index * LEAF_BYTES
            proof = tree.snapshot(old).prove(index)
            verify_inclusion(head, index, leaves[at : at + LEAF_BYTES], proof)


def check_checkpoint(image: Image, path: str, leaves: bytes, size: int) -> None:
    """What is on the disk is a checkpoint of the first ``size`` leaves.

    The commit record says so, and the level files are, byte by byte, headers and what the model
    has as complete nodes.  What lies behind that does not count.
    """
    record = f"{path}/{COMMIT}"
    commit = Commit.decode(file_in(image, record) or b"", record)
    if commit.checkpoint.size != size:
        raise OracleError(f"{record} has a checkpoint of {commit.checkpoint.size}, not {size}")
    n, shard_nodes = commit.identity.n, commit.identity.shard_nodes
    nodes = model.levels(split(leaves[: size * LEAF_BYTES]), n, model.SCHEMES["blake3"])
    for level, members in enumerate(nodes):
        complete = [
            node for index, node in enumerate(members) if model.is_complete(size, n, level, index)
        ]
        for shard in range(-(-len(complete) // shard_nodes)):
            expected = shard_header(commit.identity, level, shard)
            expected += b"".join(complete[shard * shard_nodes : (shard + 1) * shard_nodes])
            found = image.get(f"{path}/levels/{shard_name(level, shard)}") or b""
            if found[: len(expected)] != expected:
                raise OracleError(f"level file {level}/{shard} does not hold the model's nodes")
