"""Handlers of a worker that time pymerkle, if it is installed: a binary tree in memory, SHA-256.

pymerkle is licensed under the GPL, version 3; nothing but these benchmarks uses it.  It has no
types, so this module declares those that it uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from typing import Protocol

from benchmarks.leaves import Leaves, index, split
from benchmarks.measure import Stopwatch
from benchmarks.operations import PYMERKLE
from benchmarks.workers import Handler, Outcome, Request, Unavailable

__all__ = ["COMPARED", "pymerkle_handlers", "pymerkle_version"]

COMPARED = (
    "insert_many",
    "insert",
    "append",
    "prove",
    "verify",
    "prove_consistency",
    "verify_consistency",
)
"""The operations that pymerkle also has."""

_ALGORITHM = "sha256"


class _Tree(Protocol):
    """pymerkle.InmemoryTree.  Indices begin at 1, as they do in pymerkle."""

    def append_entry(self, data: bytes) -> int: ...
    def append_entries(self, entries: Iterable[bytes]) -> int: ...
    def get_root(self, size: int | None = None) -> bytes: ...
    def get_leaf(self, index: int) -> bytes: ...
    def get_size(self) -> int: ...
    def prove_inclusion(self, index: int) -> object: ...
    def prove_consistency(self, prior_size: int) -> object: ...


class _VerifyInclusion(Protocol):
    def __call__(
        self, base: bytes, root: bytes, proof: object, *, index: int, size: int, algorithm: str
    ) -> None: ...


class _VerifyConsistency(Protocol):
    def __call__(
        self,
        prior_state: bytes,
        later_state: bytes,
        proof: object,
        *,
        prior_size: int,
        later_size: int,
        algorithm: str,
    ) -> None: ...


def pymerkle_version() -> str:
    """The installed version.  Raises Unavailable if there is none, or one that is too old."""
    try:
        version = metadata.version(PYMERKLE)
        import pymerkle  # noqa: F401  # to see whether it can be imported
    except (ImportError, metadata.PackageNotFoundError):
        raise Unavailable(
            "not installed",
            "pymerkle is not installed, so there is nothing to compare with:"
            " `make bench` installs it, or pip install 'rotortree[bench]'",
        ) from None
    if int(version.partition(".")[0]) < 7:
        raise Unavailable("too old", f"pymerkle {version} is too old: these cases need 7")
    return version


def pymerkle_handlers(leaves: Leaves) -> Mapping[str, Handler]:
    """The operations of pymerkle.  Each kind of handler keeps one tree, made at its first use."""
    inserts, proofs = _Inserts(leaves), _Proofs(leaves)
    runs: tuple[Handler, ...] = (
        inserts.batch,
        inserts.insert,
        inserts.append,
        proofs.prove,
        proofs.verify,
        proofs.prove_consistency,
        proofs.verify_consistency,
    )
    return dict(zip(COMPARED, runs, strict=True))


def _new_tree() -> _Tree:
    import pymerkle  # imported only where it is measured

    tree: _Tree = pymerkle.InmemoryTree(algorithm=_ALGORITHM)
    return tree


def _verifiers() -> tuple[_VerifyInclusion, _VerifyConsistency]:
    import pymerkle

    return pymerkle.verify_inclusion, pymerkle.verify_consistency


class _Inserts:
    """Handlers that insert.  Building a tree takes long, so all samples insert into one tree."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._tree = lru_cache(maxsize=None)(self._filled)

    def _filled(self, size: int) -> _Tree:
        tree = _new_tree()
        tree.append_entries(split(self._leaves.row(size)))
        return tree

    def batch(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        leaves = split(self._leaves.row(request.size))
        with stopwatch:
            tree = _new_tree()
            tree.append_entries(leaves)
            tree.get_root()
        return Outcome(tree.get_size())

    def insert(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree, leaves = self._tree(request.size), split(self._leaves.singles(request.amount))
        append, root = tree.append_entry, tree.get_root
        with stopwatch:
            for leaf in leaves:
                append(leaf)
                root()
        return Outcome(request.amount)

    def append(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        tree, leaves = self._tree(request.size), split(self._leaves.singles(request.amount))
        append = tree.append_entry
        with stopwatch:
            for leaf in leaves:
                append(leaf)
        return Outcome(request.amount)


class _Proofs:
    """Handlers that make and verify proofs of the present tree, against size and position."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._tree = lru_cache(maxsize=None)(self._filled)
        self._included = lru_cache(maxsize=None)(self._prove_all)
        self._extended = lru_cache(maxsize=None)(self._prove_all_consistent)

    def _filled(self, size: int) -> _Tree:
        tree = _new_tree()
        tree.append_entries(split(self._leaves.row(size)))
        return tree

    def _prove_all(self, request: Request) -> list[tuple[int, bytes, object]]:
        tree = self._tree(request.size)
        return [(at, tree.get_leaf(at), tree.prove_inclusion(at)) for at in _positions(request)]

    def _prove_all_consistent(self, request: Request) -> list[tuple[int, bytes, object]]:
        tree = self._tree(request.size)
        return [
            (old, tree.get_root(old), tree.prove_consistency(old)) for old in _positions(request)
        ]

    def prove(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        prove, positions = self._tree(request.size).prove_inclusion, _positions(request)
        with stopwatch:
            for position in positions:
                prove(position)
        return Outcome(request.amount)

    def verify(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        verify, _ = _verifiers()
        size, root = request.size, self._tree(request.size).get_root()
        included = self._included(request)
        with stopwatch:
            for at, leaf, proof in included:
                verify(leaf, root, proof, index=at, size=size, algorithm=_ALGORITHM)
        return Outcome(request.amount)

    def prove_consistency(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        prove, old_sizes = self._tree(request.size).prove_consistency, _positions(request)
        with stopwatch:
            for old_size in old_sizes:
                prove(old_size)
        return Outcome(request.amount)

    def verify_consistency(self, request: Request, stopwatch: Stopwatch) -> Outcome:
        _, verify = _verifiers()
        size, root = request.size, self._tree(request.size).get_root()
        extended = self._extended(request)
        with stopwatch:
            for old, old_root, proof in extended:
                verify(old_root, root, proof, prior_size=old, later_size=size, algorithm=_ALGORITHM)
        return Outcome(request.amount)


def _positions(request: Request) -> list[int]:
    """The positions to prove, or old sizes; both begin at 1."""
    return [index(i, request.size) + 1 for i in range(request.amount)]
