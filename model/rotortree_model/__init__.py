"""The pure executable specification of RotorTree, an N-ary lean incremental Merkle tree.

Pure functions over immutable values, to be read beside `specs/`: no I/O, no clock, no optimisation.

    shape       depth, level lengths, children: all that depends on sizes alone
    schemes     hash schemes: the values of children become the value of their parent
    tree        the value of every node, by recursion over the leaves
    proofs      inclusion, consistency and updated proofs, and their verifiers
    durability  the leaves that a tree may hold after a crash
    layouts     reads single files of a directory: headers, frames, units
    directory   reads a whole directory: the tree in it, or the damage
"""

from rotortree_model.directory import Contents, read_directory
from rotortree_model.durability import (
    History,
    acknowledge,
    after_crash,
    allowed,
    allowed_sizes,
    boundaries,
    issue,
    issued_leaves,
)
from rotortree_model.layouts import DamagedError
from rotortree_model.proofs import (
    InvalidProofError,
    NoUpdateNeededError,
    consistency_coordinates,
    consistency_proof,
    inclusion_coordinates,
    inclusion_proof,
    inclusion_root,
    update_inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from rotortree_model.schemes import HASH_BYTES, SCHEMES, Scheme
from rotortree_model.shape import (
    MAX_ARITY,
    MAX_DEPTH,
    MAX_SIZE,
    MIN_ARITY,
    Coordinate,
    capacity,
    children,
    depth,
    is_complete,
    level_length,
)
from rotortree_model.tree import levels, node, root

__all__ = [
    "HASH_BYTES",
    "MAX_ARITY",
    "MAX_DEPTH",
    "MAX_SIZE",
    "MIN_ARITY",
    "SCHEMES",
    "Contents",
    "Coordinate",
    "DamagedError",
    "History",
    "InvalidProofError",
    "NoUpdateNeededError",
    "Scheme",
    "acknowledge",
    "after_crash",
    "allowed",
    "allowed_sizes",
    "boundaries",
    "capacity",
    "children",
    "consistency_coordinates",
    "consistency_proof",
    "depth",
    "inclusion_coordinates",
    "inclusion_proof",
    "inclusion_root",
    "is_complete",
    "issue",
    "issued_leaves",
    "level_length",
    "levels",
    "node",
    "read_directory",
    "root",
    "update_inclusion_proof",
    "verify_consistency",
    "verify_inclusion",
]
