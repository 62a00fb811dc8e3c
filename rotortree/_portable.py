"""The bulk-hash kernel in pure Python: right everywhere, and what any faster kernel is held to."""

from __future__ import annotations

from rotortree.errors import InvalidConfigError
from rotortree.geometry import NODE_BYTES
from rotortree.hashing import Hasher

__all__ = ["NAME", "hash_group", "hash_groups"]

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


def hash_groups(hasher: Hasher, children: bytes, k: int) -> bytes:
    """The parents of consecutive groups of exactly ``k`` children each, as one row of bytes.

    ``children`` is 32·k·g bytes, the result 32·g.  Raises as `hash_group` does.
    """
    step = NODE_BYTES * k
    bulk = getattr(hasher, "parents", None)  # a BulkHasher; isinstance takes 12 µs to find out
    if bulk is not None:
        parents: bytes = bulk(children, k)
        if type(parents) is not bytes or len(parents) * k != len(children):
            raise InvalidConfigError("hasher", hasher.name, "its parents must be 32 bytes each")
        return parents
    return b"".join(
        [hash_group(hasher, children[at : at + step]) for at in range(0, len(children), step)]
    )
