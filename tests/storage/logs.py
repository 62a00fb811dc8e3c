"""Log segments that are built by hand: sealed as they must be, whatever they say."""

from __future__ import annotations

from typing import NamedTuple

from blake3 import blake3

from rotortree.storage.format import (
    EMPTY,
    SEAL_BYTES,
    Frame,
    Identity,
    SegmentHeader,
    segment_name,
)
from rotortree.storage.wal import SegmentScan, scan_segment
from tests.storage.disk import disk_of
from tests.storage.trees import PATH, leaf

__all__ = ["HEADER", "LOG", "Written", "log_of", "scan_of"]

HEADER = SegmentHeader(
    Identity(n=2, max_depth=20, shard_nodes=4, tree_id=b"ours" * 4, scheme="blake3"),
    number=1,
    base=EMPTY,
    salt=bytes(16),
)
"""The header of the first segment of a tree."""

LOG = f"{PATH}/wal/{segment_name(1)}"
"""Where it is."""


class Written(NamedTuple):
    """A frame: how many leaves, whether its unit goes on, which root it claims."""

    leaves: int = 1
    more: bool = False
    root: bytes = bytes(32)


def log_of(*frames: Written) -> bytes:
    """The bytes of the first segment of a tree with these frames."""
    key, data, first = HEADER.key(), HEADER.encode(), 0
    chain = data[-SEAL_BYTES:]
    for number, (count, more, root) in enumerate(frames):
        payload = b"".join(leaf(index) for index in range(first, first + count))
        frame = Frame(
            more=more,
            number=number,
            first=first,
            leaves=count,
            calls=0 if more else 1,
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
