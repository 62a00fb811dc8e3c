"""The one place that chooses the bulk-hash kernel: `rotortree._native`, else `rotortree._portable`.

Both make the same nodes.  The native one hashes groups of the schemes ``blake3`` and
``blake3-plain`` that are one BLAKE3 chunk, 4, 8 or 16 at a time; whatever else there is to hash
goes to the portable one in either case.  When this module is imported it reads

==============================  ===============================================================
``ROTORTREE_NATIVE``            ``off``: the portable kernel; ``4``, ``8`` or ``16``: the native
                                one, with so many lanes; not set or empty: the best there is
``ROTORTREE_REQUIRE_NATIVE``    ``1``: raise ImportError where the native kernel was not built,
                                instead of using the portable one
==============================  ===============================================================

and raises ImportError for lanes that this machine has not, and for a kernel of another version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rotortree import _portable
from rotortree.geometry import NODE_BYTES
from rotortree.hashing import Blake3Hasher, Blake3PlainHasher, Hasher

try:
    from rotortree._native import VERSION as _BUILT_VERSION
    from rotortree._native import hash_group as _hash_group
    from rotortree._native import hash_groups as _hash_groups
    from rotortree._native import machine_has as _machine_has
except ModuleNotFoundError:
    _BUILT_VERSION = 0

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["NAME", "NATIVE_VERSION", "hash_group", "hash_groups", "hash_groups_into"]

NATIVE_VERSION = 1
"""The version of `rotortree._native` that belongs to this module."""

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
    lanes = [str(number) for number in (16, 8, 4) if _machine_has(number)]
    if wanted and wanted not in lanes:
        raise ImportError(
            f"ROTORTREE_NATIVE is {wanted!r}: on this machine it must be off or {', '.join(lanes)}"
        )
    return int(wanted or lanes[0])


_LANES = _choose_lanes()


def _native_hash_group(hasher: Hasher, children: bytes) -> bytes:
    """The parent of one group of 2 to 255 children.  See `rotortree._portable.hash_group`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if len(children) <= most * NODE_BYTES:
        return _hash_group(children, tagged)
    return _portable.hash_group(hasher, children)


def _native_hash_groups(hasher: Hasher, children: Buffer, k: int) -> bytes:
    """The parents of groups of k children.  See `rotortree._portable.hash_groups`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if k <= most:
        return _hash_groups(children, k, tagged, _LANES, None)
    return _portable.hash_groups(hasher, children, k)


def _native_hash_groups_into(hasher: Hasher, children: Buffer, k: int, out: Buffer) -> None:
    """The parents, written into ``out``.  See `rotortree._portable.hash_groups_into`."""
    tagged, most = _SCHEMES.get(type(hasher), _NOTHING)
    if k <= most:
        _hash_groups(children, k, tagged, _LANES, out)
    else:
        _portable.hash_groups_into(hasher, children, k, out)


NAME = f"native, {_LANES} lanes" if _LANES else _portable.NAME
"""What the kernel in use is called."""

hash_group = _native_hash_group if _LANES else _portable.hash_group
"""See `rotortree._portable.hash_group`."""

hash_groups = _native_hash_groups if _LANES else _portable.hash_groups
"""See `rotortree._portable.hash_groups`."""

hash_groups_into = _native_hash_groups_into if _LANES else _portable.hash_groups_into
"""See `rotortree._portable.hash_groups_into`."""
