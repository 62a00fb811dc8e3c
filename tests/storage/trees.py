"""Trees on disks, and what the model says of them."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import rotortree_model as model
from rotortree import (
    FlushPolicy,
    RotorTree,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)
from rotortree.storage.directory import FileSystem
from rotortree.storage.environment import Environment

__all__ = [
    "PATH",
    "abandon",
    "check_goes_on",
    "check_tree",
    "environment",
    "head",
    "leaf",
    "leaves",
    "leaves_of",
    "log_path",
    "model_root",
    "open_tree",
]

PATH = "tree"
"""Where trees are on disks in memory."""


@functools.cache
def leaf(index: int) -> bytes:
    """The leaf that every test inserts at an index."""
    return hashlib.sha256(index.to_bytes(8, "big")).digest()


def leaves(start: int, stop: int) -> tuple[bytes, ...]:
    """Leaves [start, stop)."""
    return tuple(map(leaf, range(start, stop)))


@functools.cache
def model_root(size: int, n: int) -> bytes | None:
    """What the model says the root of the first ``size`` leaves is."""
    return model.root(leaves(0, size), n, model.SCHEMES["blake3"])


def head(size: int, n: int) -> TreeHead:
    """The head of the first ``size`` leaves, from the model."""
    return TreeHead(size, model_root(size, n), n, "blake3")


def environment(
    files: FileSystem, n: int = 2, frame_leaves: int = 3, zeros_ahead: int = 0
) -> Environment:
    """Frames of three leaves, shards of two groups, and the same random bytes every time."""
    return Environment(
        files=files,
        random_bytes=random.Random(n).randbytes,
        frame_leaves=frame_leaves,
        zeros_ahead=zeros_ahead,
        shard_nodes=2 * n,
    )


def open_tree(files: FileSystem, n: int | None = None, **keywords: Any) -> RotorTree:
    """Open the tree at `PATH`, by default with manual flushes; ``n`` for one to be created."""
    keywords.setdefault("flush_policy", FlushPolicy.Manual())
    keywords.setdefault("environment", environment(files, n or 2))
    return RotorTree.open(keywords.pop("path", PATH), n=n, **keywords)


def log_path(files: dict[str, bytes]) -> str:
    """The newest segment of the log."""
    return max(path for path in files if path.startswith(f"{PATH}/wal/"))


def abandon(tree: RotorTree) -> None:
    """Let a tree be forgotten without being closed, as if its process had ended."""
    tree._finalizer.detach()


def leaves_of(tree: RotorTree) -> tuple[bytes, ...]:
    """All leaves of a tree."""
    row = tree.snapshot().leaves()
    return tuple(row[at : at + 32] for at in range(0, len(row), 32))


def check_tree(tree: RotorTree, n: int, size: int) -> None:
    """Exactly the first ``size`` leaves: by leaf, by root, by every proof."""
    assert (tree.n, tree.size) == (n, size)
    assert leaves_of(tree) == leaves(0, size)
    assert tree.root == model_root(size, n)
    snapshot, now = tree.snapshot(), head(size, n)
    for index in range(size):
        verify_inclusion(now, index, leaf(index), snapshot.prove(index))
    for old in _old_sizes(size):
        verify_consistency(head(old, n), now, snapshot.prove_consistency(old))


def _old_sizes(size: int) -> Iterator[int]:
    yield from sorted({0, size // 2, size - size // 3, size})


def check_goes_on(files: FileSystem, n: int, size: int) -> None:
    """The tree opens with ``size`` leaves, takes three more, and has them after a reopen."""
    with open_tree(files) as tree:
        check_tree(tree, n, size)
        tree.insert(leaf(size))
        tree.insert_many(leaves(size + 1, size + 3))
        if size % 2:
            tree.checkpoint()
    with open_tree(files) as tree:
        assert tree.recovery.clean
        check_tree(tree, n, size + 3)
