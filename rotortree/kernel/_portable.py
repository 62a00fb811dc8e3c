"""The kernel in pure Python, for every scheme and machine.

It is the reference for the native kernel, which must return the same bytes.  Its functions and the
native ones have the same names, see `rotortree.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotortree.encoding import HEADER_BYTES, inclusion_header
from rotortree.errors import InvalidConfigError
from rotortree.geometry import MAX_ARITY, NODE_BYTES, consistency_groups
from rotortree.hashing import Hasher, builtin_hasher, digest_function

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "NAME",
    "Encoded",
    "boundary_nodes",
    "hash_group",
    "hash_groups",
    "leads_to",
    "path_roots",
]

NAME = "portable"
"""The name of this kernel in `rotortree.kernel.NAME`."""

_PIECE_BYTES = 1 << 16
"""Bytes of children that are copied at a time: they fit the cache, and reuse the same memory."""


class Encoded:
    """An object with one attribute, ``_encoded``: the base class of proofs.

    The code that makes an object sets the attribute; there is no constructor that does.
    """

    __slots__ = ("_encoded",)
    _encoded: bytes


def hash_group(hasher: Hasher, children: bytes) -> bytes:
    """The parent of one group of 2 to 255 children.

    Raises what the hasher raises, and InvalidConfigError if its result is not 32 bytes (TREE-19).
    """
    parent = hasher.parent(children)
    if type(parent) is not bytes or len(parent) != NODE_BYTES:
        raise InvalidConfigError("hasher", hasher.name, "its parents must be 32 bytes")
    return parent


def hash_groups(hasher: Hasher, children: Buffer, k: int) -> bytes:
    """The parents of consecutive groups of exactly ``k`` children each, as one row of bytes.

    ``children`` is 32·k·g bytes for g groups, the result is 32·g bytes.  Raises as `hash_group`
    does, and ValueError if ``k`` is not 2 to 255, or if ``children`` is not a whole number of
    groups.
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
    """`hash_groups` of children that are bytes and whole groups."""
    step = NODE_BYTES * k
    bulk = getattr(hasher, "parents", None)  # a BulkHasher; isinstance would take 12 µs
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
    """The roots that encoded inclusion proofs lead to (PROOF-10), as one row, 32 bytes a proof.

    ``size`` and ``n`` are the shape of the tree; proof i is about leaf ``indices[i]`` with the
    value ``leaves[32·i : 32·i + 32]``.  Raises as `hash_group` does, and ValueError if the numbers
    of indices, leaves and proofs differ, or if a proof is not one of its index in that shape.
    """
    if not len(indices) * NODE_BYTES == len(proofs) * NODE_BYTES == len(leaves):
        raise ValueError("there are not as many indices, leaves and proofs")
    return b"".join(
        [
            _path_root(hasher, n, size, index, leaves[at : at + NODE_BYTES], proof)
            for index, at, proof in zip(
                indices, range(0, len(leaves), NODE_BYTES), proofs, strict=True
            )
        ]
    )


def _path_root(hasher: Hasher, n: int, size: int, index: int, node: bytes, proof: bytes) -> bytes:
    """The root that one proof leads to; ``node`` is the leaf.

    The loops are those of `geometry.inclusion_groups`, written out because that is faster.
    """
    if type(index) is not int or not 0 <= index < size:
        raise ValueError("not an index")
    if proof[:HEADER_BYTES] != inclusion_header(n, size, index):
        raise ValueError("a proof is of another leaf or tree")
    function, tag = digest_function(hasher, n) or (None, b"")
    at, last, siblings = HEADER_BYTES, size - 1, (n - 1) * NODE_BYTES
    parent, last_parent = index // n, last // n
    while parent < last_parent:  # levels where the path's group is whole
        own, end = at + index % n * NODE_BYTES, at + siblings
        if function is None:
            node = hash_group(hasher, proof[at:own] + node + proof[own:end])
        else:
            node = function(tag + proof[at:own] + node + proof[own:end]).digest()
        at, index, last = end, parent, last_parent
        parent, last_parent = index // n, last // n
    while last:  # from here on the path's group is the last one of its level
        own, end = at + index % n * NODE_BYTES, at + last % n * NODE_BYTES
        node = _fold(hasher, proof[at:own] + node + proof[own:end])
        at, index, last = end, index // n, last // n
    if at != len(proof):
        raise ValueError("a proof does not fit the size")
    return node


def leads_to(
    scheme: str,
    n: int,
    size: int,
    root: bytes | None,
    index: int,
    leaf: Buffer,
    proof: bytes,
    lanes: int,
    /,
) -> bool:
    """Whether an encoded inclusion proof leads from a leaf to a root in a tree of that shape.

    This is the fast path of `verify_inclusion`: True is final, False is not.  It is also False for
    what this function does not know: a scheme that is not built in, a leaf that is not a bytes
    object, and anything that is not a root, an index or a proof.  The native function knows fewer
    schemes and arities than this one.
    """
    hasher = builtin_hasher(scheme)
    if hasher is None or type(leaf) is not bytes or len(leaf) != NODE_BYTES:
        return False
    try:
        return _path_root(hasher, n, size, index, leaf, proof) == root
    except ValueError:
        return False


def boundary_nodes(hasher: Hasher, n: int, size: int, old_size: int, hashes: bytes) -> bytes:
    """For each group along the boundary of two trees, its old and its new parent (PROOF-16).

    ``hashes`` are those of a consistency proof.  The result is one row, 64 bytes a group, lowest
    first; its last two nodes are the old and the new root.  Raises as `hash_group` does, and
    ValueError if the number of hashes does not fit the sizes.
    Requires 0 < old_size < size.
    """
    nodes: list[bytes] = []
    old = new = b""
    at = 0
    for (_, start, own, stop), straddles in consistency_groups(old_size, size, n):
        middle, end = at + (own - start) * NODE_BYTES, at + (stop - start - straddles) * NODE_BYTES
        before, after = hashes[at:middle], hashes[middle:end]
        old, new = _fold(hasher, before + old), _fold(hasher, before + new + after)
        nodes += (old, new)
        at = end
    if at != len(hashes):
        raise ValueError("the hashes do not fit the sizes")
    return b"".join(nodes)


def _fold(hasher: Hasher, members: bytes) -> bytes:
    """The parent of a group; a lone member is lifted (TREE-10)."""
    return members if len(members) <= NODE_BYTES else hash_group(hasher, members)
