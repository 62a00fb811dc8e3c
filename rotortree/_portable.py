"""The bulk-hash kernel in pure Python: right everywhere, and what any faster kernel is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotortree.errors import InvalidConfigError
from rotortree.geometry import MAX_ARITY, NODE_BYTES
from rotortree.hashing import Hasher

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["NAME", "hash_group", "hash_groups", "hash_groups_into"]

NAME = "portable"
"""What `rotortree.kernel` calls this kernel."""


def hash_group(hasher: Hasher, children: bytes) -> bytes:
    """The parent of one group of 2 to 255 children.

    Raises whatever the hasher raises, and InvalidConfigError when its result is not 32 bytes.
    """
    parent = hasher.parent(children)
    if type(parent) is not bytes or len(parent) != NODE_BYTES:
        raise InvalidConfigError("hasher", hasher.name, "its parents must be 32 bytes")
    return parent


def hash_groups(hasher: Hasher, children: Buffer, k: int) -> bytes:
    """The parents of consecutive groups of exactly ``k`` children each, as one row of bytes.

    ``children`` is 32·k·g bytes, the result 32·g.  Raises as `hash_group` does, and ValueError
    when ``k`` is not 2 to 255 or does not fit ``children``.
    """
    row = bytes(children)  # at no cost when it is bytes
    step = NODE_BYTES * k
    if not 2 <= k <= MAX_ARITY or len(row) % step:
        raise ValueError(f"{len(row)} bytes are not groups of {k} children, 2 <= k <= {MAX_ARITY}")
    bulk = getattr(hasher, "parents", None)  # a BulkHasher; isinstance takes 12 µs to find out
    if bulk is not None:
        parents: bytes = bulk(row, k)
        if type(parents) is not bytes or len(parents) * k != len(row):
            raise InvalidConfigError("hasher", hasher.name, "its parents must be 32 bytes each")
        return parents
    return b"".join([hash_group(hasher, row[at : at + step]) for at in range(0, len(row), step)])


def hash_groups_into(hasher: Hasher, children: Buffer, k: int, out: Buffer) -> None:
    """The same, written into ``out``, a writable buffer of 32·g bytes that does not overlap.

    Raises as `hash_groups` does, BufferError when ``out`` is not writable, and ValueError when it
    has another length.
    """
    target = memoryview(out)
    if target.readonly:
        raise BufferError("out is not writable")
    target[:] = hash_groups(hasher, children, k)
