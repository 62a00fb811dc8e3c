"""What the tests of the model share: leaves and their roots."""

from __future__ import annotations

from functools import cache

from rotortree_model import SCHEMES, root

Leaves = tuple[bytes, ...]
BLAKE3 = SCHEMES["blake3"]


def make_leaves(size: int) -> Leaves:
    """Distinct leaves: leaf i = i as 4 little-endian bytes, zero-padded to 32."""
    return tuple(i.to_bytes(4, "little").ljust(32, b"\0") for i in range(size))


@cache
def root_of(size: int, n: int) -> bytes | None:
    """The BLAKE3 root of the first `size` leaves."""
    return root(make_leaves(size), n, BLAKE3)
