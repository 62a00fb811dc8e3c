"""The bulk-hash kernel in pure Python: right everywhere, and what any faster kernel is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotortree.encoding import HEADER_BYTES, inclusion_header
from rotortree.errors import InvalidConfigError
from rotortree.geometry import MAX_ARITY, NODE_BYTES, inclusion_groups
from rotortree.hashing import Hasher

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["NAME", "hash_group", "hash_groups", "path_roots"]

NAME = "portable"
"""What `rotortree.kernel` calls this kernel."""

_PIECE_BYTES = 1 << 16
"""Of children, copied at a time: so much is in the cache, and in memory that was used before."""


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
    row = memoryview(children).cast("B")
    step = NODE_BYTES * k
    if not 2 <= k <= MAX_ARITY or len(row) % step:
        raise ValueError(f"{len(row)} bytes are not groups of {k} children, 2 <= k <= {MAX_ARITY}")
    piece = max(step, _PIECE_BYTES // step * step)
    return b"".join(
        [_parents(hasher, bytes(row[at : at + piece]), k) for at in range(0, len(row), piece)]
    )


def _parents(hasher: Hasher, children: bytes, k: int) -> bytes:
    step = NODE_BYTES * k
    bulk = getattr(hasher, "parents", None)  # a BulkHasher; isinstance takes 12 µs to find out
    if bulk is None:
        groups = [children[at : at + step] for at in range(0, len(children), step)]
        return b"".join([hash_group(hasher, group) for group in groups])
    parents: bytes = bulk(children, k)
    if type(parents) is not bytes or len(parents) * k != len(children):
        raise InvalidConfigError("hasher", hasher.name, "its parents must be 32 bytes each")
    return parents


def path_roots(
    hasher: Hasher, n: int, size: int, indices: list[int], leaves: bytes, proofs: list[bytes]
) -> bytes:
    """The roots that encoded inclusion proofs lead to in a tree of that shape, as one row.

    ``leaves`` has a node for each proof.  Raises ValueError when their numbers differ, or a proof
    is not one of its index in that shape.
    """
    if not len(indices) * NODE_BYTES == len(proofs) * NODE_BYTES == len(leaves):
        raise ValueError("there are not as many indices, leaves and proofs")
    roots = []
    for place, (index, proof) in enumerate(zip(indices, proofs, strict=True)):
        if type(index) is not int or not 0 <= index < size:
            raise ValueError("not an index")
        if proof[:HEADER_BYTES] != inclusion_header(n, size, index):
            raise ValueError("a proof is of another leaf or tree")
        node = leaves[place * NODE_BYTES : (place + 1) * NODE_BYTES]
        at = HEADER_BYTES
        for _, start, own, stop in inclusion_groups(size, n, index):
            middle, end = at + (own - start) * NODE_BYTES, at + (stop - start - 1) * NODE_BYTES
            node = hash_group(hasher, proof[at:middle] + node + proof[middle:end])
            at = end
        if at != len(proof):
            raise ValueError("a proof does not fit the size")
        roots.append(node)
    return b"".join(roots)
