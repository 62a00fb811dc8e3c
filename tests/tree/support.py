"""What the tests of the tree share: leaves, the model's answers (remembered), step schedulers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from types import MappingProxyType

import rotortree_model as model
from rotortree import (
    Blake3Hasher,
    Blake3PlainHasher,
    ConsistencyProof,
    Hasher,
    InclusionProof,
    InvalidProofError,
    LeanIMT,
    RotorTree,
    Sha256Hasher,
    TreeHead,
    verify_consistency,
    verify_inclusion,
)

ARITIES = (2, 3, 4, 5)
"""The arities whose small trees are enumerated."""

HASHERS = MappingProxyType(
    {"blake3": Blake3Hasher, "blake3-plain": Blake3PlainHasher, "sha256": Sha256Hasher}
)
"""The built-in schemes by name."""


def make_leaves(count: int, start: int = 0) -> list[bytes]:
    """Distinct leaves: leaf i = i as 4 little-endian bytes, zero-padded to 32."""
    return [i.to_bytes(4, "little").ljust(32, b"\0") for i in range(start, start + count)]


PARENT: model.Scheme = cache(model.SCHEMES["blake3"])
"""The model's default scheme; each parent is computed once, which changes no value."""


@cache
def scheme(name: str) -> model.Scheme:
    """A scheme of the model; each parent is computed once."""
    return PARENT if name == "blake3" else cache(model.SCHEMES[name])


@cache
def model_levels(n: int, size: int, name: str = "blake3") -> tuple[tuple[bytes, ...], ...]:
    """Every node of the first ``size`` of our leaves, by the model."""
    return model.levels(tuple(make_leaves(size)), n, scheme(name))


@cache
def model_root(n: int, size: int, name: str = "blake3") -> bytes | None:
    """The root of the first ``size`` of our leaves, by the model."""
    return model.root(tuple(make_leaves(size)), n, scheme(name))


@cache
def model_consistency(n: int, old_size: int, size: int) -> bytes:
    """The hashes of a consistency proof, by the model."""
    return b"".join(model.consistency_proof(tuple(make_leaves(size)), n, old_size, PARENT))


def tree_of(n: int, size: int, hasher: Hasher | None = None) -> LeanIMT:
    """A tree in memory of the first ``size`` of our leaves."""
    tree = LeanIMT(n, hasher=hasher)
    if size:
        tree.extend(b"".join(make_leaves(size)))
    return tree


def head_of(n: int, size: int, name: str = "blake3") -> TreeHead:
    """The trusted head of the first ``size`` of our leaves, by the model."""
    return TreeHead(size, model_root(n, size, name), n, name)


def includes(
    head: TreeHead, index: int, leaf: bytes, n: int, size: int, named: int, hashes: bytes
) -> bool:
    """Whether a proof of these fields can be made and proves the leaf at ``index`` of the head.

    ``named`` is the index in the proof.  Any error but InvalidProofError is not caught.
    """
    try:
        verify_inclusion(head, index, leaf, InclusionProof(n, size, named, hashes))
    except InvalidProofError:
        return False
    return True


def extends(old: TreeHead, new: TreeHead, n: int, size: int, old_size: int, hashes: bytes) -> bool:
    """Whether a proof of these fields can be made and proves that ``new`` extends ``old``."""
    try:
        verify_consistency(old, new, ConsistencyProof(n, size, old_size, hashes))
    except InvalidProofError:
        return False
    return True


def wait_for_checkpoints(tree: RotorTree, most: int) -> None:
    """Return when fewer than ``most`` leaves came since the last checkpoint; at most a minute.

    In a loop: between two background checkpoints a wait may end, if rarely.
    """
    end = time.monotonic() + 60
    assert tree.wait_for_checkpoint(60)
    while tree.size - tree.checkpoint_size >= most:
        assert time.monotonic() < end, "no checkpoint within a minute"
        assert tree.wait_for_checkpoint(60)


def cut(items: Sequence[bytes], cuts: Sequence[int]) -> list[Sequence[bytes]]:
    """The items in consecutive parts that end at the given places; no part is empty."""
    ends = sorted({0, len(items), *(place % (len(items) + 1) for place in cuts)})
    return [items[start:stop] for start, stop in pairwise(ends)]
