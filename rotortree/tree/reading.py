"""Reading a tree: roots, nodes and proofs as pure functions over complete nodes.

Only leaves and complete nodes are stored (see `rotortree.geometry`).  At most one node of a level
is incomplete, the right edge.  These functions fold the right edge from complete nodes, and collect
the hashes of proofs.  They know the arity ``n``, a size in leaves, and how to ask for complete
nodes, a `Read`; they know nothing of arrays, locks or files.  So a tree in memory, a reader in
another process and a reader of remote storage all use the same functions, for any past size.

::

    level 2                  (2,0)                     n = 3, size = 7
                 ┌─────────────┼─────────────┐
    level 1    [1,0]         [1,1]         (1,2)       [ ] is complete: asked for with ``read``
             ┌───┼───┐     ┌───┼───┐         │         ( ) is folded, and kept in the edge row
    level 0 [0] [1] [2]   [3] [4] [5]       [6]

An edge row holds 32 bytes for each level from 0 to the root's: the level's incomplete node, or
zeros where a level has none.  `edge` makes it once for a size; `node`, `inclusion_hashes` and
`consistency_hashes` take it, because many proofs of one size share it.

A remote reader pays for each call and each byte.  Hence every call of ``read`` is for one range
that is not empty, and these are the most that a function asks for:

======================  ===============  ===============  =========================================
function                nodes per level  calls per level  levels
======================  ===============  ===============  =========================================
`edge`                  n - 1            1                below the root's
`root`                  n - 1            1                below the root's; or the root alone
`node`                  1                1                the node's own
`inclusion_hashes`      n - 1            2                below the root's
`consistency_hashes`    n - 1            2                below the root's
======================  ===============  ===============  =========================================

There is one exception: on the lowest level of its proof `consistency_hashes` asks for up to n nodes
in one call, because there all members of the group are part of the proof (PROOF-14).

The native tree has fast twins in C, which return the same bytes for the same arguments:

======================  ============================================================
function                in ``rotortree/kernel/_tree.h``
======================  ============================================================
`edge`                  ``fold``
`root`                  ``root_of``
`inclusion_hashes`      ``gather``; ``siblings_bytes`` is the length of its result
======================  ============================================================

`node` and `consistency_hashes` have no twin: they read the arrays of the native tree, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from rotortree import kernel
from rotortree.geometry import (
    NODE_BYTES,
    complete_count,
    consistency_groups,
    depth,
    inclusion_groups,
)
from rotortree.hashing import Hasher

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Read", "consistency_hashes", "edge", "inclusion_hashes", "node", "root"]

Read: TypeAlias = "Callable[[int, int, int], Buffer]"
"""``read(level, start, stop)``: complete nodes [start, stop) of a level, 32·(stop - start) bytes.

It is only called with start < stop, and only for nodes that are complete at the size in question.
What it raises passes through.
"""


def edge(n: int, size: int, hasher: Hasher, read: Read) -> bytes:
    """The edge row of the first ``size`` leaves: 32·(depth + 1) bytes.  Implements TREE-10.

    Raises what ``read`` raises, and what `rotortree.kernel.hash_group` raises.
    Requires 0 <= size.
    """
    incomplete, complete = b"", size
    rows = [bytes(NODE_BYTES)]
    for level in range(depth(size, n)):
        first = complete - complete % n
        children = _stored(read, level, first, complete) + incomplete
        is_lone = len(children) <= NODE_BYTES  # a lone child is lifted
        incomplete = children if is_lone else kernel.hash_group(hasher, children)
        rows.append(incomplete or bytes(NODE_BYTES))
        complete //= n
    return b"".join(rows)


def root(n: int, size: int, hasher: Hasher, read: Read) -> bytes:
    """The root of the first ``size`` leaves, 32 bytes; zeros if there is no leaf (TREE-12).

    Raises what ``read`` raises, and what `rotortree.kernel.hash_group` raises.
    Requires 0 <= size.
    """
    top = depth(size, n)
    if complete_count(size, n, top):
        return bytes(read(top, 0, 1))
    return edge(n, size, hasher, read)[-NODE_BYTES:]


def node(n: int, size: int, edge_row: bytes, read: Read, level: int, index: int) -> bytes:
    """Node (level, index) of the tree of ``size`` leaves, 32 bytes, complete or not (TREE-28).

    ``edge_row`` is the edge row of that size; it is not looked at if the node is complete.  Raises
    what ``read`` raises.
    Requires that the tree has this node: 0 <= level <= depth and 0 <= index < the level's length.
    """
    return _members(n, size, edge_row, read, level, index, index + 1)


def inclusion_hashes(n: int, size: int, edge_row: bytes, read: Read, index: int) -> bytes:
    """The hashes of the inclusion proof of leaf ``index``, 32·k bytes, as PROOF-7 orders them.

    ``edge_row`` is the edge row of that size.  Raises what ``read`` raises.
    Requires 0 <= index < size.
    """
    parts = []
    for level, start, own, stop in inclusion_groups(size, n, index):
        parts.append(_members(n, size, edge_row, read, level, start, own))
        parts.append(_members(n, size, edge_row, read, level, own + 1, stop))
    return b"".join(parts)


def consistency_hashes(n: int, size: int, edge_row: bytes, read: Read, old_size: int) -> bytes:
    """The hashes of the consistency proof from ``old_size`` to ``size``, 32·k bytes (PROOF-14).

    ``edge_row`` is the edge row of the new size, ``size``.  The result is empty if ``old_size`` is
    0 or ``size``.  Raises what ``read`` raises.
    Requires 0 <= old_size <= size.
    """
    parts = []
    for (level, start, own, stop), straddles in consistency_groups(old_size, size, n):
        if straddles:  # the verifier computes this member from the levels below
            parts.append(_members(n, size, edge_row, read, level, start, own))
            parts.append(_members(n, size, edge_row, read, level, own + 1, stop))
        else:
            parts.append(_members(n, size, edge_row, read, level, start, stop))
    return b"".join(parts)


def _members(
    n: int, size: int, edge_row: bytes, read: Read, level: int, start: int, stop: int
) -> bytes:
    """Nodes [start, stop) of a level, of which only the very last may be incomplete."""
    complete = complete_count(size, n, level)
    if start < stop and complete < stop:
        incomplete = edge_row[level * NODE_BYTES : (level + 1) * NODE_BYTES]
        return _stored(read, level, start, complete) + incomplete
    return _stored(read, level, start, stop)


def _stored(read: Read, level: int, start: int, stop: int) -> bytes:
    """Complete nodes [start, stop) of a level as bytes; none where start >= stop."""
    return bytes(read(level, start, stop)) if start < stop else b""
