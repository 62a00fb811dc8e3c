"""Proofs: the nodes that a proof consists of, and verifiers that trust nothing in a proof.

A proof is a tuple of hashes. Sizes, arity and index alone determine which node each hash stands
for. So the verifier computes the structure from its trusted heads, and the prover decides none.
"""

from collections.abc import Mapping

from rotortree_model.schemes import HASH_BYTES, Scheme
from rotortree_model.shape import Coordinate, children, depth, is_complete, span, straddles
from rotortree_model.tree import combine, node


class InvalidProofError(ValueError):
    """The inclusion proof or the consistency proof of an update does not verify."""


class NoUpdateNeededError(ValueError):
    """The old and the new tree have the same size, so there is nothing to update."""


# --- what both kinds of proof share


def are_hashes(values: tuple[bytes, ...]) -> bool:
    """Whether every value is 32 bytes long.

    Without this rule a prover could move bytes from one sibling to the next without changing the
    parent's hash.
    Requirements: PROOF-3.
    """
    return all(len(value) == HASH_BYTES for value in values)


def is_head(size: int, root: bytes | None) -> bool:
    """Whether some tree can have this size and root: an empty tree has no root, others 32 bytes.

    Requirements: TREE-34.
    """
    if root is None:
        return size == 0
    return size > 0 and are_hashes((root,))


def fold(
    known: Mapping[Coordinate, bytes], size: int, n: int, level: int, index: int, parent: Scheme
) -> bytes:
    """The value of node (level, index) of a tree of `size` leaves, from the known values below it.

    Every path from the node down to a leaf must meet a known node.
    """
    if (level, index) in known:
        return known[level, index]
    below = children(size, n, level, index)
    return combine(tuple(fold(known, size, n, *child, parent) for child in below), parent)


# --- inclusion


def inclusion_coordinates(size: int, n: int, index: int) -> tuple[Coordinate, ...]:
    """The nodes that an inclusion proof consists of: all siblings of the path from leaf to root.

    Lowest level first, left to right in each level. A lone child is lifted and has no siblings.
    Requires 0 <= index < size.
    Requirements: PROOF-7, PROOF-8.
    """
    return tuple(
        sibling
        for level in range(depth(size, n))
        for sibling in children(size, n, level + 1, index // span(n, level + 1))
        if sibling != (level, index // span(n, level))
    )


def inclusion_proof(
    leaves: tuple[bytes, ...], n: int, index: int, parent: Scheme
) -> tuple[bytes, ...]:
    """The hashes that prove leaf `index`: the values of its inclusion_coordinates, in order.

    ValueError if there is no such leaf.
    Requirements: PROOF-7, PROOF-9.
    """
    if not 0 <= index < len(leaves):
        raise ValueError(f"no leaf {index} in a tree of {len(leaves)} leaves")
    named = inclusion_coordinates(len(leaves), n, index)
    return tuple(node(leaves, n, *coordinate, parent) for coordinate in named)


def inclusion_root(
    size: int, n: int, index: int, leaf: bytes, hashes: tuple[bytes, ...], parent: Scheme
) -> bytes | None:
    """The root of a tree of `size` leaves with this leaf at `index` and these siblings on its path.

    None if there is no leaf `index`, a hash is missing or left over, or one is not 32 bytes long.
    Requirements: PROOF-3, PROOF-10.
    """
    if not 0 <= index < size:
        return None
    named = inclusion_coordinates(size, n, index)
    if len(hashes) != len(named) or not are_hashes((leaf, *hashes)):
        return None
    known = {(0, index): leaf, **dict(zip(named, hashes, strict=True))}
    return fold(known, size, n, depth(size, n), 0, parent)


def verify_inclusion(
    size: int,
    n: int,
    root: bytes | None,
    index: int,
    leaf: bytes,
    hashes: tuple[bytes, ...],
    parent: Scheme,
) -> bool:
    """Whether the hashes prove that `leaf` is leaf `index` of the tree with this size and root.

    The root does not commit to the size: the verifier must trust the source of both.
    Requirements: PROOF-1, PROOF-5, PROOF-10, PROOF-11.
    """
    computed = inclusion_root(size, n, index, leaf, hashes, parent)
    return computed is not None and computed == root


# --- consistency


def consistency_coordinates(old_size: int, size: int, n: int) -> tuple[Coordinate, ...]:
    """The nodes that a consistency proof consists of, in order; none for old size 0 and all leaves.

    Requires 0 <= old_size <= size.
    Requirements: PROOF-14, PROOF-15.
    """
    if old_size in (0, size):
        return ()
    return _around((depth(size, n), 0), old_size, size, n)


def _around(straddling: Coordinate, old_size: int, size: int, n: int) -> tuple[Coordinate, ...]:
    """The nodes of the proof below a straddling node: first those below its straddling child.

    Then come its other children. Those left of old_size are complete, so they are the same nodes in
    the old and the new tree.
    """
    below = children(size, n, *straddling)
    split = [child for child in below if straddles(size, n, *child, old_size)]
    inner = _around(split[0], old_size, size, n) if split else ()
    return inner + tuple(child for child in below if child not in split)


def consistency_proof(
    leaves: tuple[bytes, ...], n: int, old_size: int, parent: Scheme
) -> tuple[bytes, ...]:
    """The hashes that prove that the tree extends the tree of its first old_size leaves.

    They are the values, in the new tree, of consistency_coordinates; () if old_size is 0 or all.
    ValueError unless 0 <= old_size <= number of leaves.
    Requirements: PROOF-14, PROOF-15.
    """
    if not 0 <= old_size <= len(leaves):
        raise ValueError(f"old size {old_size} is not in 0..{len(leaves)}")
    named = consistency_coordinates(old_size, len(leaves), n)
    return tuple(node(leaves, n, *coordinate, parent) for coordinate in named)


def verify_consistency(
    old_size: int,
    old_root: bytes | None,
    size: int,
    root: bytes | None,
    n: int,
    hashes: tuple[bytes, ...],
    parent: Scheme,
) -> bool:
    """Whether the hashes prove that the tree of the new head extends the tree of the old head.

    Also False if a hash is missing, left over or not 32 bytes long, if old_size > size, if a tree
    with leaves has no root, or if an empty tree has one.
    Requirements: PROOF-5, PROOF-16, PROOF-18.
    """
    if not (old_size <= size and is_head(old_size, old_root) and is_head(size, root)):
        return False
    named = consistency_coordinates(old_size, size, n)
    if len(hashes) != len(named) or not are_hashes(hashes):
        return False
    if old_size == 0:
        return True
    if old_size == size:
        return old_root == root
    known = dict(zip(named, hashes, strict=True))
    old_value = fold(known, old_size, n, depth(old_size, n), 0, parent)
    new_value = fold(known, size, n, depth(size, n), 0, parent)
    return old_value == old_root and new_value == root


# --- update


def update_inclusion_proof(
    old_size: int,
    old_root: bytes | None,
    size: int,
    root: bytes | None,
    n: int,
    index: int,
    leaf: bytes,
    inclusion_hashes: tuple[bytes, ...],
    consistency_hashes: tuple[bytes, ...],
    parent: Scheme,
) -> tuple[bytes, ...]:
    """The inclusion proof of the same leaf in the new tree, from two proofs and no tree.

    Each sibling in the new tree is of one of three kinds. It is complete in the old tree, and in
    the old proof. Or it is new, and in the consistency proof. Or it straddles, and is folded from
    the consistency proof.
    InvalidProofError if either proof does not verify; else NoUpdateNeededError if the sizes agree.
    Requirements: PROOF-20, PROOF-21, PROOF-22.
    """
    if not verify_inclusion(old_size, n, old_root, index, leaf, inclusion_hashes, parent):
        raise InvalidProofError("the inclusion proof does not verify against the old head")
    if not verify_consistency(old_size, old_root, size, root, n, consistency_hashes, parent):
        raise InvalidProofError("the consistency proof does not verify against the two heads")
    if old_size == size:
        raise NoUpdateNeededError(f"both trees have {size} leaves")
    old = zip(inclusion_coordinates(old_size, n, index), inclusion_hashes, strict=True)
    added = zip(consistency_coordinates(old_size, size, n), consistency_hashes, strict=True)
    known = {at: value for at, value in old if is_complete(old_size, n, *at)} | dict(added)
    return tuple(
        fold(known, size, n, *sibling, parent) for sibling in inclusion_coordinates(size, n, index)
    )
