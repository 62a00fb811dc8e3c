"""What the native module has for `rotortree.kernel`, which alone uses it.

Errors: TypeError for wrong types, BufferError for a buffer that is not contiguous, ValueError for
wrong lengths, a ``k`` out of range and lanes that the machine has not, IndexError for numbers out
of range, OverflowError for those below 0 or from 2 ** 64 on.  Nothing changed then.
"""

from collections.abc import Callable
from typing import TypeVar

from typing_extensions import Buffer

from rotortree.hashing import Hasher
from rotortree.kernel._portable import Encoded as Encoded

_Proof = TypeVar("_Proof", bound=Encoded)

VERSION: int
"""Of the interface below: `rotortree.kernel` refuses another than its own."""

def machine_has(lanes: int, /) -> bool:
    """Whether this machine can hash in so many lanes: 4, 8 or 16."""

def hash_groups(children: Buffer, k: int, tagged: bool, lanes: int, /) -> bytes:
    """The parents of consecutive groups of k children, 2 <= k <= 31, or 32 without a tag.

    Other threads run during long calls.  An exception raised by a signal handler ends the call.
    """

def path_roots(
    n: int,
    size: int,
    indices: list[int],
    leaves: bytes,
    proofs: list[bytes],
    tagged: bool,
    lanes: int,
    /,
) -> bytes:
    """For each leaf, the root that its encoded inclusion proof leads to in a tree of that shape.

    ValueError also when a proof is not one of that index in that shape.
    """

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

    False also for whatever is unknown here: schemes but ``blake3`` and ``blake3-plain``, groups of
    more than one chunk, leaves that are no bytes object, and what is no root, index or proof.
    """

def boundary_nodes(
    n: int, size: int, old_size: int, hashes: bytes, tagged: bool, lanes: int, /
) -> bytes:
    """Of each group between old leaves and new ones, its parent in the old tree and in the new one.

    ``hashes`` are those of a consistency proof.  ValueError when they do not fit, or old_size is 0.
    """

class Accumulator:
    """See `rotortree.tree.accumulator.Accumulator`.

    It settles lazily: nodes above leaves that were appended are hashed when somebody asks for them,
    or when there are some thousands to be hashed together.  Batches are hashed by several threads
    when they are large, during which other Python threads run, and which signals can interrupt.
    """

    def __init__(
        self,
        n: int,
        max_depth: int,
        hasher: Hasher,
        tagged: bool,
        lanes: int,
        threads: int,
        capacity: int,
        nodes_per_segment: int,
        one_leaf: Callable[[Buffer], memoryview],
        leaf_row: Callable[[Buffer], memoryview],
        no_room: Callable[[int, int], object],
        /,
    ) -> None: ...
    @property
    def n(self) -> int: ...
    @property
    def max_depth(self) -> int: ...
    @property
    def hasher(self) -> Hasher: ...
    @property
    def size(self) -> int: ...
    def append(self, leaf: Buffer, /) -> None: ...
    def extend(self, leaves: object, /) -> None: ...
    def insert(self, leaf: Buffer, /) -> bytes: ...
    def insert_many(self, leaves: object, /) -> bytes: ...
    def root(self, size: int, /) -> bytes: ...
    def edge(self, size: int, /) -> bytes: ...
    def views(self, level: int, start: int, stop: int, /) -> list[memoryview]: ...
    def install(self, level: int, start: int, nodes: memoryview, /) -> None: ...
    def restore(self, size: int, /) -> None: ...
    def prove(self, size: int, edge: bytes, index: int, kind: type[_Proof], /) -> _Proof: ...
    def prove_many(
        self, size: int, edge: bytes, indices: list[int], /
    ) -> tuple[bytes, bytes] | None: ...
