"""The cases of pymerkle, if it is installed: its binary tree in memory, SHA-256.

It is licensed under the GPL, version 3, and nothing but these benchmarks uses it.  It has no types;
what is used of it is described here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Protocol

from benchmarks import operations as row
from benchmarks.measure import Case, Stopwatch
from benchmarks.plan import SEED, Scale, random_leaves, split

__all__ = ["COMPARED", "PYMERKLE", "Unavailable", "pymerkle_cases", "pymerkle_version"]

PYMERKLE = "pymerkle"
"""The column, and the distribution."""

COMPARED = (
    row.BATCH,
    row.INSERT,
    row.APPEND,
    row.PROVE,
    row.VERIFY,
    row.CONSISTENCY,
    row.VERIFY_CONSISTENCY,
)
"""The operations that it has, too."""

_ALGORITHM = "sha256"


class Unavailable(Exception):
    """There is no pymerkle to compare with; the message says why, ``short`` in two words."""

    def __init__(self, short: str, message: str) -> None:
        super().__init__(message)
        self.short = short


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
    """The version that is installed.  Raises Unavailable unless it can be compared with."""
    try:
        version = metadata.version(PYMERKLE)
        import pymerkle  # noqa: F401  # whether it can be
    except (ImportError, metadata.PackageNotFoundError):
        raise Unavailable(
            "not installed",
            "pymerkle is not installed, so there is nothing to compare with:"
            " `make bench` installs it, or pip install 'rotortree[bench]'",
        ) from None
    if int(version.partition(".")[0]) < 7:
        raise Unavailable("too old", f"pymerkle {version} is too old: these cases need 7")
    return version


def pymerkle_cases(size: int, scale: Scale) -> list[Case]:
    """Its cases.  Raises Unavailable."""
    pymerkle_version()
    leaves = split(random_leaves(size, 0))
    inserts = _Inserts(leaves, split(random_leaves(scale.singles, 1)))
    proofs = _Proofs(leaves, scale.proofs)
    runs: tuple[Callable[[Stopwatch], int], ...] = (
        inserts.batch,
        inserts.insert,
        inserts.append,
        proofs.prove,
        proofs.verify,
        proofs.prove_consistency,
        proofs.verify_consistency,
    )
    pairs = zip(COMPARED, runs, strict=True)
    return [Case(operation, PYMERKLE, size, run) for operation, run in pairs]


def _new_tree() -> _Tree:
    import pymerkle  # only if it is wanted

    tree: _Tree = pymerkle.InmemoryTree(algorithm=_ALGORITHM)
    return tree


def _verifiers() -> tuple[_VerifyInclusion, _VerifyConsistency]:
    import pymerkle

    return pymerkle.verify_inclusion, pymerkle.verify_consistency


class _Inserts:
    """Insertion.  Building a tree takes long: one grows by all samples."""

    def __init__(self, leaves: list[bytes], singles: list[bytes]) -> None:
        self._leaves = leaves
        self._singles = singles
        self._tree = _new_tree()
        self._tree.append_entries(leaves)

    def batch(self, stopwatch: Stopwatch) -> int:
        with stopwatch:
            tree = _new_tree()
            tree.append_entries(self._leaves)
            tree.get_root()
        return tree.get_size()

    def insert(self, stopwatch: Stopwatch) -> int:
        append, root = self._tree.append_entry, self._tree.get_root
        with stopwatch:
            for leaf in self._singles:
                append(leaf)
                root()
        return len(self._singles)

    def append(self, stopwatch: Stopwatch) -> int:
        append = self._tree.append_entry
        with stopwatch:
            for leaf in self._singles:
                append(leaf)
        return len(self._singles)


class _Proofs:
    """Proofs of the present tree, and their verification against size and position, as ours are."""

    def __init__(self, leaves: list[bytes], count: int) -> None:
        self._tree = tree = _new_tree()
        size = tree.append_entries(leaves)
        choice = random.Random(SEED)
        self._size = size
        self._root = tree.get_root()
        self._indices = [choice.randrange(1, size + 1) for _ in range(count)]
        self._old_sizes = [choice.randrange(1, size) for _ in range(count)]
        self._included = [(at, tree.get_leaf(at), tree.prove_inclusion(at)) for at in self._indices]
        self._extended = [
            (old, tree.get_root(old), tree.prove_consistency(old)) for old in self._old_sizes
        ]

    def prove(self, stopwatch: Stopwatch) -> int:
        prove = self._tree.prove_inclusion
        with stopwatch:
            for index in self._indices:
                prove(index)
        return len(self._indices)

    def verify(self, stopwatch: Stopwatch) -> int:
        verify, _ = _verifiers()
        size, root = self._size, self._root
        with stopwatch:
            for at, leaf, proof in self._included:
                verify(leaf, root, proof, index=at, size=size, algorithm=_ALGORITHM)
        return len(self._included)

    def prove_consistency(self, stopwatch: Stopwatch) -> int:
        prove = self._tree.prove_consistency
        with stopwatch:
            for old_size in self._old_sizes:
                prove(old_size)
        return len(self._old_sizes)

    def verify_consistency(self, stopwatch: Stopwatch) -> int:
        _, verify = _verifiers()
        size, root = self._size, self._root
        with stopwatch:
            for old, old_root, proof in self._extended:
                verify(
                    old_root,
                    root,
                    proof,
                    prior_size=old,
                    later_size=size,
                    algorithm=_ALGORITHM,
                )
        return len(self._extended)
