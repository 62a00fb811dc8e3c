"""The native kernel.  Only `rotortree.kernel` uses it.

All functions and methods raise TypeError for wrong types, BufferError for a buffer that is not
contiguous, ValueError for wrong lengths, for a ``k`` out of range and for an unsupported lane
count, IndexError for a number out of range, and OverflowError for one below 0 or from 2 ** 64 on.
A call that raises changes nothing.
"""

from collections.abc import Callable
from typing import TypeVar

from typing_extensions import Buffer

from rotortree.hashing import Hasher
from rotortree.kernel._portable import Encoded as Encoded

_Proof = TypeVar("_Proof", bound=Encoded)

VERSION: int
"""The version of the interface below; `rotortree.kernel` refuses any but `NATIVE_VERSION`."""

def machine_has(lanes: int, /) -> bool:
    """Whether this machine can hash with that many lanes: 4, 8 or 16."""

def hash_groups(children: Buffer, k: int, tagged: bool, lanes: int, /) -> bytes:
    """The parents of consecutive groups of k children.

    Other Python threads run during long calls.  An exception that a signal handler raises ends the
    call.  Requires 2 <= k <= 31, or 32 if not ``tagged``.
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

    Raises ValueError also if a proof is not one of its index in that shape.
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

    It is also False for what this function does not know: schemes other than ``blake3`` and
    ``blake3-plain``, groups of more than one chunk, a leaf that is not a bytes object, and anything
    that is not a root, an index or a proof.
    """

def boundary_nodes(
    n: int, size: int, old_size: int, hashes: bytes, tagged: bool, lanes: int, /
) -> bytes:
    """For each group along the boundary of two trees, its old and its new parent.

    ``hashes`` are those of a consistency proof.  Raises ValueError also if they do not fit the
    sizes, or if ``old_size`` is 0.
    """

class Accumulator:
    """The tree in C.  See `rotortree.tree.accumulator.Accumulator`.

    ``root``, ``edge`` and ``prove`` are the fast twins of functions of `rotortree.tree.reading`.

    The tree hashes lazily: it hashes the nodes above appended leaves when a call reads them, or
    when some thousands of leaves wait.  Several threads hash a large batch; other Python threads
    run meanwhile, and a signal handler that raises ends the call.
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
