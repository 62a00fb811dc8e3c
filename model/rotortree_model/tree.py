"""Tree: the value of every node, by direct recursion over a tuple of leaves.

Leaves are 32 bytes each and are stored as given. At level 0 the value of a node is its leaf. A node
with one child has that child's value: the child is lifted. Any other node has the value that the
scheme makes of its children's values.
"""

from rotortree_model.schemes import Scheme
from rotortree_model.shape import children, depth, level_length


def combine(values: tuple[bytes, ...], parent: Scheme) -> bytes:
    """The value of a node whose children have these values; a lone child is lifted unchanged.

    Requirements: TREE-9, TREE-10.
    """
    return values[0] if len(values) == 1 else parent(values)


def node(leaves: tuple[bytes, ...], n: int, level: int, index: int, parent: Scheme) -> bytes:
    """The value of node (level, index), 32 bytes.

    ValueError if the tree of these leaves has no such node.
    Requirements: TREE-8, TREE-9.
    """
    if not 0 <= index < level_length(len(leaves), n, level):
        raise ValueError(f"no node ({level}, {index}) in a tree of {len(leaves)} leaves")
    if level == 0:
        return leaves[index]
    below = children(len(leaves), n, level, index)
    return combine(tuple(node(leaves, n, *child, parent) for child in below), parent)


def levels(leaves: tuple[bytes, ...], n: int, parent: Scheme) -> tuple[tuple[bytes, ...], ...]:
    """The values of all nodes, level by level, from the leaves to the root; () if empty.

    Requirements: TREE-4.
    """
    if not leaves:
        return ()
    size = len(leaves)
    return tuple(
        tuple(node(leaves, n, level, i, parent) for i in range(level_length(size, n, level)))
        for level in range(depth(size, n) + 1)
    )


def root(leaves: tuple[bytes, ...], n: int, parent: Scheme) -> bytes | None:
    """The value of node (depth, 0), 32 bytes; None for the empty tree, which has no root.

    Requirements: TREE-11, TREE-12.
    """
    if not leaves:
        return None
    return node(leaves, n, depth(len(leaves), n), 0, parent)
