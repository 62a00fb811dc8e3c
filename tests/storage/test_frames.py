"""Frames that are sealed, and still not the next frame of the log."""

from __future__ import annotations

from typing import Any

import pytest

from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES, Frame, SegmentHeader, seal
from rotortree.storage.log_reader import SegmentScan, scan_segment
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import disk_of
from tests.storage.trees import leaf, open_tree

SECOND = SEGMENT_BYTES + FRAME_BYTES + 32
"""Where the second frame begins, behind a first one of one leaf."""


def scan_with(changes: dict[str, Any]) -> SegmentScan:
    """The scan of a log of two leaves, the second one's frame changed and sealed anew."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
        tree.insert_durable(leaf(1))
    ((path, data),) = [(path, data) for path, data in disk.files().items() if path.endswith("wal")]
    key = SegmentHeader.decode(data, path).key()
    frame = Frame.decode(data[SECOND:], key)
    assert frame is not None
    sealed = frame._replace(**changes).encode(key)
    changed = disk_of({path: data[:SECOND] + sealed + data[SECOND + FRAME_BYTES :]})
    return scan_segment(changed.open(path, "read"), path, 1)


@pytest.mark.evidence("example", "FORMAT-24")
def test_an_unchanged_frame_is_the_next_one() -> None:
    """Encoding is the inverse of decoding, and both units count."""
    assert [unit.stop for unit in scan_with({}).units] == [1, 2]


@pytest.mark.evidence("example", "FORMAT-24", "FORMAT-25")
@pytest.mark.parametrize(
    "changes",
    [
        {"chain": bytes(16)},
        {"number": 0},
        {"first": 0},
        {"leaves": 0},
        {"leaves": 2**63},
        {"promise": SECOND + 32},
        {"payload_seal": bytes(16)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_sealed_frame_that_does_not_fit_ends_the_log(changes: dict[str, Any]) -> None:
    """Of another chain, number, place, length, promise or payload: the log ends before it."""
    scan = scan_with(changes)
    assert [unit.stop for unit in scan.units] == [1]
    assert scan.stop == SECOND


@pytest.mark.evidence("example", "FORMAT-24")
@pytest.mark.parametrize("more", [False, True])
def test_a_frame_is_read_as_it_was_written(more: bool) -> None:
    """Every field, the flag as a boolean; and one that begins with another magic is no frame."""
    key = bytes(range(32))
    frame = Frame(more, 1, 2, 3, 160, bytes(32), bytes(16), b"\1" * 16)
    data = frame.encode(key)
    found = Frame.decode(data, key)
    assert found == frame
    assert found is not None
    assert found.more is more
    other = b"RtFx" + data[4:-16]
    assert Frame.decode(other + seal(other, key), key) is None


@pytest.mark.evidence("example", "FORMAT-24")
@pytest.mark.parametrize("at", range(40, 48))
def test_a_frame_whose_reserved_bytes_are_not_zeros_is_none(at: int) -> None:
    """However well it is sealed."""
    key = bytes(range(32))
    data = bytearray(Frame(False, 0, 0, 1, 160, bytes(32), bytes(16), bytes(16)).encode(key))
    assert Frame.decode(bytes(data), key) is not None
    data[at] = 1
    header = bytes(data[:-16])
    assert Frame.decode(header + seal(header, key), key) is None
