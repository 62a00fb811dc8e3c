"""What a scan of a segment says of what it found, and what it cannot read."""

from __future__ import annotations

import pytest

from rotortree import DataCorruptionError
from rotortree.storage.format import FRAME_BYTES, FRAME_MAGIC, SEGMENT_BYTES
from rotortree.storage.log_reader import SegmentReader
from tests.storage.disk import disk_of
from tests.storage.logs import HEADER, LOG, Written, log_of, scan_of

UNIT = FRAME_BYTES + 32
"""Bytes of a unit of one leaf."""


@pytest.mark.evidence("example", "FORMAT-33")
@pytest.mark.parametrize("behind", [b"", bytes(100), FRAME_MAGIC + bytes(200), b"X"])
def test_a_segment_without_frames_promises_nothing(behind: bytes) -> None:
    """No units, nothing dropped; what lies behind the header is in use if it is not zeros.

    But for the header itself, which was durable before the segment had its name.
    """
    scan = scan_of(log_of() + behind)
    assert (scan.units, scan.dropped, scan.promise) == ((), 0, SEGMENT_BYTES)
    assert (scan.stop, scan.end, scan.frames) == (SEGMENT_BYTES, SEGMENT_BYTES, 0)
    assert scan.used == SEGMENT_BYTES + len(behind.rstrip(b"\0"))


@pytest.mark.evidence("example", "FORMAT-30")
def test_units_are_what_their_frames_are() -> None:
    """Each begins where the one before ends; frames of an unfinished one count as dropped."""
    frames = (
        Written(2),
        Written(3, more=True),
        Written(1),
        Written(2, more=True),
        Written(4, True),
    )
    scan = scan_of(log_of(*frames))
    assert [(unit.first, unit.leaves, len(unit.frames)) for unit in scan.units] == [
        (0, 2, 1),
        (2, 4, 2),
    ]
    assert scan.dropped == 6
    assert scan.end == SEGMENT_BYTES + 3 * FRAME_BYTES + 6 * 32
    assert scan.stop == len(log_of(*frames)) == scan.used
    assert scan.promise == len(log_of(*frames[:4]))


@pytest.mark.evidence("example", "FORMAT-27")
@pytest.mark.parametrize(
    ("promise", "said"), [(160, UNIT + 160), (500, 500), (2 * UNIT + 160, 2 * UNIT + 160)]
)
def test_a_header_promises_the_units_that_its_segment_was_begun_with(
    promise: int, said: int
) -> None:
    """The largest promise counts, be it the header's or a frame's, wherever the log ends."""
    data = log_of(Written(), Written(), header=HEADER._replace(promise=promise))
    assert scan_of(data).promise == said
    assert scan_of(data[: SEGMENT_BYTES + UNIT]).promise == promise
    assert scan_of(data[:SEGMENT_BYTES]).promise == promise


@pytest.mark.evidence("example", "FORMAT-24")
def test_a_frame_of_no_leaves_is_none() -> None:
    """However well it is sealed; nor is what follows it."""
    scan = scan_of(log_of(Written(1), Written(0), Written(1)))
    assert [unit.stop for unit in scan.units] == [1]


@pytest.mark.evidence("damage", "FORMAT-56")
@pytest.mark.parametrize("distance", [(1 << 20) - 96, (1 << 20) - 32, 1 << 20, (1 << 20) + 32])
def test_a_promise_is_found_wherever_a_read_ends(distance: int) -> None:
    """Behind a damaged frame: across the end of what is read at once, with false frames beside it.

    A frame begins with its magic; what else does, before it or behind it, is none.
    """
    whole = log_of(Written(1), Written((distance - FRAME_BYTES) // 32), Written(1))
    second, third = SEGMENT_BYTES + UNIT, SEGMENT_BYTES + UNIT + distance
    false = FRAME_MAGIC + bytes(28)
    damaged = whole[:second] + false * 4 + whole[second + 128 :] + false * 4
    scan = scan_of(damaged)
    assert (scan.stop, scan.promise) == (second, third)


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 63])
def test_a_log_that_became_shorter_is_no_payload(kept: int) -> None:
    """Between scan and replay: DataCorruptionError where the file now ends."""
    data = log_of(Written(2))[: SEGMENT_BYTES + FRAME_BYTES + kept]
    reader = SegmentReader(disk_of({LOG: data}).open(LOG, "read"), LOG)
    with pytest.raises(DataCorruptionError, match=r": the file ends within a frame$") as caught:
        list(reader.payload(SEGMENT_BYTES + FRAME_BYTES, 2))
    assert (caught.value.path, caught.value.offset) == (LOG, len(data))
