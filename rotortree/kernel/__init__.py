"""The one place that chooses the kernel: `rotortree.kernel._native`, else its twins in pure Python.

Both make the same nodes.  The native one has trees (`new_native`), and hashes groups and verifies
proofs, of the schemes ``blake3`` and ``blake3-plain`` where a group is one BLAKE3 chunk, 4, 8 or 16
groups at a time; whatever else there is to hash goes to the portable one in either case.  When this
module is imported it reads

==============================  ===============================================================
``ROTORTREE_NATIVE``            ``off``: the portable kernel; ``4``, ``8`` or ``16``: the native
                                one, with so many lanes; not set or empty: the best there is
``ROTORTREE_REQUIRE_NATIVE``    ``1``: raise ImportError where the native kernel was not built,
                                instead of using the portable one
``ROTORTREE_THREADS``           how many threads may hash a large batch together; not set or
                                empty: as many as this process has processors
==============================  ===============================================================

and raises ImportError for lanes that this machine has not, for a number of threads that is none,
and for a kernel of another version.
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
"""The version of `rotortree.kernel._native` that belongs to this module."""

_SCHEMES: Mapping[type, tuple[bool, int]] = {
    Blake3Hasher: (True, 31),
    Blake3PlainHasher: (False, 32),
}
"""What the native kernel can hash: whether it is tagged, and how many children are one chunk.

Subclasses are not meant: they may hash otherwise.
"""

_NOTHING = (False, 0)


def _choose_lanes() -> int:
    """How many groups to hash at a time; 0 for the portable kernel."""
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
    """How many threads may hash a large batch."""
    wanted = os.environ.get("ROTORTREE_THREADS", "")
    if not wanted:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 1024:
        raise ImportError(f"ROTORTREE_THREADS is {wanted!r}: it must be a number from 1 to 1024")
    return int(wanted)


LANES = _choose_lanes()
"""How many groups are hashed at a time; 0 for the portable kernel."""

if TYPE_CHECKING or not LANES:
    from rotortree.kernel._portable import Encoded, leads_to
else:
    from rotortree.kernel._native import Encoded, leads_to

THREADS = _choose_threads()
"""How many threads may hash together."""


def _native_hash_group(hasher: Hasher, children: bytes) -> bytes:
    """The parent of one group of 2 to 255 children.  See `_portable.hash_group`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if len(children) <= most * NODE_BYTES:
        return _native.hash_groups(children, len(children) // NODE_BYTES, tagged, LANES)
    return _portable.hash_group(hasher, children)


def _native_hash_groups(hasher: Hasher, children: Buffer, k: int) -> bytes:
    """The parents of groups of k children.  See `rotortree.kernel._portable.hash_groups`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if k <= most:
        return _native.hash_groups(children, k, tagged, LANES)
    return _portable.hash_groups(hasher, children, k)


def _native_path_roots(
    hasher: Hasher, n: int, size: int, indices: list[int], leaves: bytes, proofs: list[bytes]
) -> bytes:
    """The roots that proofs lead to.  See `rotortree.kernel._portable.path_roots`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if n <= most:
        return _native.path_roots(n, size, indices, leaves, proofs, tagged, LANES)
    return _portable.path_roots(hasher, n, size, indices, leaves, proofs)


def _native_boundary_nodes(
    hasher: Hasher, n: int, size: int, old_size: int, hashes: bytes
) -> bytes:
    """The nodes between two trees.  See `rotortree.kernel._portable.boundary_nodes`."""
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
    """A native tree; None where there is none of this scheme and arity, or no native kernel.

    ``one_leaf`` and ``leaf_row`` make rows of what is no bytes object of the right length, or
    raise; ``no_room`` raises what there is to raise when it is called with a size and a number of
    leaves that do not fit.
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
"""What the kernel in use is called."""

hash_group = _native_hash_group if LANES else _portable.hash_group
"""See `rotortree.kernel._portable.hash_group`."""

hash_groups = _native_hash_groups if LANES else _portable.hash_groups
"""See `rotortree.kernel._portable.hash_groups`."""

path_roots = _native_path_roots if LANES else _portable.path_roots
"""See `rotortree.kernel._portable.path_roots`."""

boundary_nodes = _native_boundary_nodes if LANES else _portable.boundary_nodes
"""See `rotortree.kernel._portable.boundary_nodes`."""
