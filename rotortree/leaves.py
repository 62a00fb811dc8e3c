"""Converts leaves, in any form that a caller may give them, into one row of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, TypeAlias

from rotortree.errors import EmptyBatchError, InvalidLeafError
from rotortree.geometry import NODE_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Leaf", "LeafBatch", "leaf_row", "one_leaf"]

Leaf: TypeAlias = "Buffer"
"""A leaf: any contiguous buffer of exactly 32 bytes."""

LeafBatch: TypeAlias = "Buffer | Iterable[Buffer]"
"""A batch: one contiguous buffer of 32·k bytes, or k leaves in order."""


def one_leaf(leaf: Leaf) -> memoryview:
    """The 32 bytes of a leaf, without copying (TREE-20).

    Raises InvalidLeafError for anything but a contiguous buffer of 32 bytes.
    """
    row = _byte_view(leaf)
    if row is None:
        raise InvalidLeafError(f"a leaf must be {NODE_BYTES} bytes, not {type(leaf).__name__}")
    if len(row) != NODE_BYTES:
        raise InvalidLeafError(f"a leaf must be {NODE_BYTES} bytes, not {len(row)}")
    return row


def leaf_row(leaves: LeafBatch) -> memoryview:
    """The leaves of a batch as one row of 32·k bytes, k >= 1 (TREE-21).

    A buffer (bytes, memoryview, NumPy array of shape (32·k,) or (k, 32)) is not copied; leaves that
    are given one by one are joined.  Raises InvalidLeafError, which names the first bad leaf, and
    EmptyBatchError if k is 0.
    """
    row = _byte_view(leaves)
    if row is None:
        row = memoryview(_join(leaves))
    if not row:
        raise EmptyBatchError
    if len(row) % NODE_BYTES:
        raise InvalidLeafError(
            f"a batch must be a multiple of {NODE_BYTES} bytes, not {len(row)}",
            len(row) // NODE_BYTES,
        )
    return row


def _byte_view(value: object) -> memoryview | None:
    """A flat view of a buffer's bytes; None if the value is not a buffer.

    Raises InvalidLeafError for a buffer that cannot be leaves, whatever its length.
    """
    try:
        view = memoryview(value)  # type: ignore[arg-type]  # any object may be given
    except TypeError:
        return None
    except ValueError as error:  # a released view, or items without a format
        raise InvalidLeafError(str(error)) from None
    shape = view.shape or ()
    if view.itemsize != 1 or len(shape) not in (1, 2):
        raise InvalidLeafError(
            f"a buffer must be bytes in 1 or 2 dimensions, not {view.format!r} in {len(shape)}"
        )
    if len(shape) == 2 and shape[0] and shape[1] != NODE_BYTES:
        raise InvalidLeafError(f"a buffer's rows must be {NODE_BYTES} bytes, not {shape[1]}")
    if not view.c_contiguous:
        raise InvalidLeafError("a buffer must be contiguous")
    return view.cast("B") if view.nbytes else memoryview(b"")


def _join(leaves: object) -> bytes:
    """The leaves of an iterable in one row.  Raises InvalidLeafError for what is not leaves."""
    if isinstance(leaves, (str, Mapping, AbstractSet)) or not isinstance(leaves, Iterable):
        raise InvalidLeafError(f"a batch must be leaves in order, not {type(leaves).__name__}")
    items = list(leaves)
    # Fast path without a loop: for exactly these two types, len() is the number of bytes.
    if set(map(type, items)) <= {bytes, bytearray} and set(map(len, items)) <= {NODE_BYTES}:
        return b"".join(items)
    rows = []
    for index, item in enumerate(items):
        try:
            rows.append(one_leaf(item))
        except InvalidLeafError as error:
            raise InvalidLeafError(f"leaf {index} of the batch: {error}", index) from None
    return b"".join(rows)
