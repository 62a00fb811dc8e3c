"""Tree heads and proofs: what a verifier trusts, what it is given, and how it decides.

A verifier trusts a `TreeHead` and nothing in a proof (PROOF-1).  A proof carries hashes.  Which
node each hash is, how large every group is and how deep the tree is follow from the size, the index
and the arity by `rotortree.geometry`; so a missing or additional hash is an InvalidProofError, as a
wrong hash is (PROOF-3).  `rotortree.encoding` describes the binary and the JSON form of proofs.

===============  ==============================================================
module           contents
===============  ==============================================================
``heads``        `TreeHead`, and the hasher with which to verify against one
``encoded``      what both kinds of proofs share: one immutable encoding
``inclusion``    a leaf is at an index of a tree: one proof, many proofs
``consistency``  a tree begins with an older one; how old proofs are updated
===============  ==============================================================
"""

from rotortree.proofs.consistency import ConsistencyProof, verify_consistency
from rotortree.proofs.heads import TreeHead
from rotortree.proofs.inclusion import (
    InclusionProof,
    InclusionProofs,
    verify_inclusion,
    verify_inclusion_many,
)

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "InclusionProofs",
    "TreeHead",
    "verify_consistency",
    "verify_inclusion",
    "verify_inclusion_many",
]
