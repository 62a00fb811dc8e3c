"""Log segments built by hand, sealed as they must be, whatever they say; and what scans find."""

from __future__ import annotations

from typing import NamedTuple

from blake3 import blake3

from rotortree import ChecksumMismatchError
from rotortree.storage.format import (
    EMPTY,
    SEAL_BYTES,
    SEGMENT_BYTES,
    Frame,
    Head,
    Identity,
    SegmentHeader,
    segment_name,
)
from rotortree.storage.log_reader import SegmentScan, Unit, scan_segment
from tests.storage.disk import disk_of
from tests.storage.trees import PATH, leaf

__all__ = ["HEADER", "IDENTITY", "LOG", "Written", "log_of", "scan", "scan_of", "some_head"]

IDENTITY = Identity(n=2, max_depth=20, shard_nodes=4, tree_id=b"ours" * 4, scheme="blake3")
"""Of the tree whose log it is."""

HEADER = SegmentHeader(IDENTITY, number=1, base=EMPTY, salt=bytes(16))
"""The header of the first segment of a tree."""

LOG = f"{PATH}/wal/{segment_name(1)}"
"""Where it is."""


class Written(NamedTuple):
    """A frame: how many leaves, whether its unit goes on, which root it claims."""

    leaves: int = 1
    more: bool = False
    root: bytes = bytes(32)


def log_of(*frames: Written, header: SegmentHeader = HEADER) -> bytes:
    """The bytes of a segment with these frames; of the first of a tree unless its header is given.

    The leaves are those of their indices.
    """
    key, data, first = header.key(), header.encode(), header.base.size
    chain = data[-SEAL_BYTES:]
    for number, (count, more, root) in enumerate(frames):
        payload = b"".join(leaf(index) for index in range(first, first + count))
        frame = Frame(
            more=more,
            number=number,
            first=first,
            leaves=count,
            promise=len(data),
            root=root,
            chain=chain,
            payload_seal=blake3(payload, key=key).digest(SEAL_BYTES),
        ).encode(key)
        data, chain, first = data + frame + payload, frame[-SEAL_BYTES:], first + count
    return data


def scan_of(data: bytes) -> SegmentScan:
    """What a scan of these bytes, as the first segment, finds."""
    return scan_segment(disk_of({LOG: data}).open(LOG, "read"), LOG, 1)


def some_head(size: int) -> Head:
    """A head whose root stands for its size."""
    return Head(size, size.to_bytes(32, "big"))


def scan(
    number: int,
    base: Head,
    *,
    units: int = 2,
    promise: int = SEGMENT_BYTES,
    identity: Identity = IDENTITY,
    damaged: bool = False,
) -> SegmentScan:
    """A segment of some units of two leaves, and a frame behind them that is not valid."""
    path = f"tree/wal/{number}"
    if damaged:
        return SegmentScan(
            number, path, 500, None, ChecksumMismatchError(path, 144, "seal does not match")
        )
    found = []
    offset, size = SEGMENT_BYTES, base.size
    for _ in range(units):
        end = offset + 192
        found.append(Unit(offset, end, size, 2, some_head(size + 2).root, ((offset + 128, 2),)))
        offset, size = end, size + 2
    header = SegmentHeader(identity, number, base, bytes(16))
    return SegmentScan(
        number, path, offset, header, None, tuple(found), stop=offset, promise=promise, used=offset
    )
