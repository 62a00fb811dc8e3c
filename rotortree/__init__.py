"""RotorTree: an append-only N-ary lean incremental Merkle tree, in memory or durable.

>>> from rotortree import LeanIMT, verify_inclusion
>>> tree = LeanIMT(n=4)
>>> root = tree.insert_many([bytes([i]) * 32 for i in range(10)])
>>> verify_inclusion(tree.head, 3, bytes([3]) * 32, tree.snapshot().prove(3))
"""

from rotortree.config import (
    CheckpointPolicy,
    FlushPolicy,
    RotorTreeConfig,
    TieringConfig,
)
from rotortree.durable.opening import RecoveryReport
from rotortree.durable.rotor_tree import RotorTree
from rotortree.durable.watermark import DurabilityToken
from rotortree.errors import (
    CapacityExceededError,
    CheckpointFailedError,
    ChecksumMismatchError,
    ClosedError,
    ConfigMismatchError,
    DataCorruptionError,
    DetachedError,
    EmptyBatchError,
    FileLockedError,
    FlushFailedError,
    IndexOutOfRangeError,
    InvalidConfigError,
    InvalidLeafError,
    InvalidProofError,
    IoFailedError,
    MaxDepthExceededError,
    NotATreeError,
    NoUpdateNeededError,
    ReadOnlyError,
    ReentrantError,
    RotorTreeError,
    StorageError,
    SyncFailedError,
    TreeError,
    TreeNotFoundError,
    UnsupportedFormatError,
    WalCorruptedError,
)
from rotortree.hashing import (
    Blake3Hasher,
    Blake3PlainHasher,
    BulkHasher,
    CustomHasher,
    Hasher,
    Sha256Hasher,
)
from rotortree.proofs import (
    ConsistencyProof,
    InclusionProof,
    InclusionProofs,
    TreeHead,
    verify_consistency,
    verify_inclusion,
    verify_inclusion_many,
)
from rotortree.tree.lean_imt import LeanIMT
from rotortree.tree.snapshot import Snapshot

__all__ = [
    "Blake3Hasher",
    "Blake3PlainHasher",
    "BulkHasher",
    "CapacityExceededError",
    "CheckpointFailedError",
    "CheckpointPolicy",
    "ChecksumMismatchError",
    "ClosedError",
    "ConfigMismatchError",
    "ConsistencyProof",
    "CustomHasher",
    "DataCorruptionError",
    "DetachedError",
    "DurabilityToken",
    "EmptyBatchError",
    "FileLockedError",
    "FlushFailedError",
    "FlushPolicy",
    "Hasher",
    "InclusionProof",
    "InclusionProofs",
    "IndexOutOfRangeError",
    "InvalidConfigError",
    "InvalidLeafError",
    "InvalidProofError",
    "IoFailedError",
    "LeanIMT",
    "MaxDepthExceededError",
    "NoUpdateNeededError",
    "NotATreeError",
    "ReadOnlyError",
    "RecoveryReport",
    "ReentrantError",
    "RotorTree",
    "RotorTreeConfig",
    "RotorTreeError",
    "Sha256Hasher",
    "Snapshot",
    "StorageError",
    "SyncFailedError",
    "TieringConfig",
    "TreeError",
    "TreeHead",
    "TreeNotFoundError",
    "UnsupportedFormatError",
    "WalCorruptedError",
    "verify_consistency",
    "verify_inclusion",
    "verify_inclusion_many",
]
