"""Chooses the kernel: the native one in C (`rotortree.kernel._native`), or its twin in Python.

A kernel hashes groups of nodes and verifies proofs.  Both kernels return the same bytes.  The
native kernel hashes 4, 8 or 16 groups at a time (its lanes), and has a native tree (`new_native`).
It knows the schemes ``blake3`` and ``blake3-plain`` for groups of one BLAKE3 chunk, that is, up to
31 and 32 children.  Everything else goes to the portable kernel, whichever kernel is in use.

This module reads these variables of the environment when it is imported:

==============================  ===============================================================
``ROTORTREE_NATIVE``            ``off``: the portable kernel; ``4``, ``8`` or ``16``: the native
                                kernel with that many lanes; not set or empty: the fastest that
                                the machine has
``ROTORTREE_REQUIRE_NATIVE``    ``1``: raise ImportError if the native kernel was not built,
                                instead of using the portable one
``ROTORTREE_THREADS``           the number of threads that may hash a large batch together, 1 to
                                1024; not set or empty: as many as processors are available
==============================  ===============================================================

It raises ImportError for an unsupported lane count, for an invalid thread count, and if the native
kernel was built for another version of this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rotortree.geometry import NODE_BYTES
from rotortree.hashing import Blake3Hasher, Blake3PlainHasher, Hasher
from rotortree.kernel import _portable

try:
    import rotortree.kernel._native as _native

    _BUILT_VERSION = _native.VERSION
except ModuleNotFoundError:
    _BUILT_VERSION = 0

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rotortree.kernel._native import Accumulator as NativeAccumulator

__all__ = [
    "LANES",
    "NAME",
    "NATIVE_VERSION",
    "THREADS",
    "Encoded",
    "boundary_nodes",
    "hash_group",
    "hash_groups",
    "leads_to",
    "new_native",
    "path_roots",
]

NATIVE_VERSION = 3
"""The version of the interface of `rotortree.kernel._native` that this module needs."""

_SCHEMES: Mapping[type, tuple[bool, int]] = {
    Blake3Hasher: (True, 31),
    Blake3PlainHasher: (False, 32),
}
"""The schemes that the native kernel hashes: whether it adds a tag, and the most children.

Keys are exact types: a subclass may hash in another way, and goes to the portable kernel.
"""

_NOTHING = (False, 0)
"""The entry of every other scheme: the native kernel hashes no group of it."""


def _choose_lanes() -> int:
    """The number of groups to hash at a time; 0 for the portable kernel.

    Raises ImportError for a kernel that the environment asks for and that cannot be had.
    """
    wanted = os.environ.get("ROTORTREE_NATIVE", "")
    if wanted == "off":
        return 0
    required = os.environ.get("ROTORTREE_REQUIRE_NATIVE", "0") not in ("", "0")
    if not _BUILT_VERSION:
        if required or wanted:
            raise ImportError("the native kernel, which the environment asks for, was not built")
        return 0
    if _BUILT_VERSION != NATIVE_VERSION:
        raise ImportError(
            f"the native kernel is of version {_BUILT_VERSION}, not {NATIVE_VERSION}:"
            " reinstall rotortree, so that it is built again"
        )
    lanes = [str(number) for number in (16, 8, 4) if _native.machine_has(number)]
    if wanted and wanted not in lanes:
        raise ImportError(
            f"ROTORTREE_NATIVE is {wanted!r}: on this machine it must be off or {', '.join(lanes)}"
        )
    return int(wanted or lanes[0])


def _choose_threads() -> int:
    """The number of threads that may hash a large batch.  Raises ImportError if it is invalid."""
    wanted = os.environ.get("ROTORTREE_THREADS", "")
    if not wanted:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 1024:
        raise ImportError(f"ROTORTREE_THREADS is {wanted!r}: it must be a number from 1 to 1024")
    return int(wanted)


LANES = _choose_lanes()
"""The number of groups that the kernel hashes at a time; 0 for the portable kernel."""

if TYPE_CHECKING or not LANES:
    from rotortree.kernel._portable import Encoded, leads_to
else:
    from rotortree.kernel._native import Encoded, leads_to

THREADS = _choose_threads()
"""The number of threads that may hash a large batch together."""


def _native_hash_group(hasher: Hasher, children: bytes) -> bytes:
    """The parent of one group of 2 to 255 children.  See `_portable.hash_group`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if len(children) <= most * NODE_BYTES:
        return _native.hash_groups(children, len(children) // NODE_BYTES, tagged, LANES)
    return _portable.hash_group(hasher, children)


def _native_hash_groups(hasher: Hasher, children: Buffer, k: int) -> bytes:
    """The parents of groups of k children.  See `_portable.hash_groups`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if k <= most:
        return _native.hash_groups(children, k, tagged, LANES)
    return _portable.hash_groups(hasher, children, k)


def _native_path_roots(
    hasher: Hasher, n: int, size: int, indices: list[int], leaves: bytes, proofs: list[bytes]
) -> bytes:
    """The roots that proofs lead to.  See `_portable.path_roots`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if n <= most:
        return _native.path_roots(n, size, indices, leaves, proofs, tagged, LANES)
    return _portable.path_roots(hasher, n, size, indices, leaves, proofs)


def _native_boundary_nodes(
    hasher: Hasher, n: int, size: int, old_size: int, hashes: bytes
) -> bytes:
    """The nodes along the boundary of two trees.  See `_portable.boundary_nodes`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if n <= most:
        return _native.boundary_nodes(n, size, old_size, hashes, tagged, LANES)
    return _portable.boundary_nodes(hasher, n, size, old_size, hashes)


def new_native(
    n: int,
    max_depth: int,
    hasher: Hasher,
    capacity: int,
    nodes_per_segment: int,
    one_leaf: Callable[[Buffer], memoryview],
    leaf_row: Callable[[Buffer], memoryview],
    no_room: Callable[[int, int], object],
) -> NativeAccumulator | None:
    """An empty native tree; None if the native kernel is not in use or lacks the scheme or arity.

    The tree calls back into Python for what is rare: ``one_leaf`` and ``leaf_row`` convert what is
    not a bytes object of a valid length, or raise; ``no_room(size, count)`` raises the error for
    ``count`` leaves that do not fit into a tree of ``size``.
    """
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if not LANES or n > most:
        return None
    return _native.Accumulator(
        n,
        max_depth,
        hasher,
        tagged,
        LANES,
        THREADS,
        capacity,
        nodes_per_segment,
        one_leaf,
        leaf_row,
        no_room,
    )


NAME = f"native, {LANES} lanes" if LANES else _portable.NAME
"""The name of the kernel in use, for people."""

hash_group = _native_hash_group if LANES else _portable.hash_group
"""See `rotortree.kernel._portable.hash_group`."""

hash_groups = _native_hash_groups if LANES else _portable.hash_groups
"""See `rotortree.kernel._portable.hash_groups`."""

path_roots = _native_path_roots if LANES else _portable.path_roots
"""See `rotortree.kernel._portable.path_roots`."""

boundary_nodes = _native_boundary_nodes if LANES else _portable.boundary_nodes
"""See `rotortree.kernel._portable.boundary_nodes`."""
