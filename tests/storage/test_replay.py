"""Large logs, which several threads read: the same facts and the same tree as small ones."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from rotortree import IoFailedError, WalCorruptedError
from rotortree.storage import recovery
from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES
from rotortree.storage.log_reader import SegmentScan, scan_segment
from rotortree.storage.parallel import count_passing, made_ahead
from rotortree.storage.recovery import _rows
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import disk_of
from tests.storage.trees import check_tree, leaf, leaves, log_path, open_tree

FLUSHES = (1, 5, 2, 7, 1)
"""Leaves of each; frames hold three, so that there are eight frames."""

THREADS = (1, 2, 5)

SOON = 20.0
"""Seconds after which something that should have happened is taken for lost."""


def log() -> tuple[str, bytes]:
    """The path and the bytes of a closed log."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        for count in FLUSHES:
            tree.insert_many(leaves(tree.size, tree.size + count))
            tree.flush()
    files = disk.files()
    path = log_path(files)
    return path, files[path]


def scan(path: str, data: bytes) -> SegmentScan:
    """What the log is found to hold."""
    return scan_segment(disk_of({path: data}).open(path, "read"), path, 1)


def damaged(data: bytes) -> Iterator[bytes]:
    """Logs with one or two damaged bytes, in payloads and headers, and shortened ones."""
    places = range(SEGMENT_BYTES, len(data), 24)
    for pair in (*zip(places, places, strict=True), *itertools.pairwise(places[::9])):
        changed = bytearray(data)
        for at in set(pair):
            changed[at] ^= 0x40
        yield bytes(changed)
    yield from (data[:at] for at in places)


@pytest.mark.evidence("damage", "FORMAT-24", "FORMAT-25")
@pytest.mark.parametrize("threads", THREADS)
def test_large_payloads_are_judged_as_small_ones(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed behind the walk over the headers, or within it: the same units, stop and promise."""
    path, data = log()
    logs = [data, *damaged(data)]
    small = [scan(path, one) for one in logs]
    monkeypatch.setattr("rotortree.kernel.THREADS", threads)
    for large_bytes in (0, 64):
        monkeypatch.setattr("rotortree.storage.log_reader._LARGE_BYTES", large_bytes)
        assert [scan(path, one) for one in logs] == small
    assert len({found.stop for found in small}) == 1 + 8


def test_damage_behind_a_large_payload_is_still_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames behind it promise more than there is."""
    monkeypatch.setattr("rotortree.storage.log_reader._LARGE_BYTES", 0)
    path, data = log()
    at = SEGMENT_BYTES + 2 * FRAME_BYTES + 40
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(WalCorruptedError) as caught:
        open_tree(disk_of({path: changed}))
    assert caught.value.offset == SEGMENT_BYTES + FRAME_BYTES + 32


def test_a_large_payload_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the operating system, from whatever thread; and never taken for a torn one."""
    monkeypatch.setattr("rotortree.storage.log_reader._LARGE_BYTES", 0)
    monkeypatch.setattr("rotortree.storage.log_reader._READ_BYTES", 64)
    path, data = log()
    disk = disk_of({path: data})
    main = threading.current_thread()

    def fail_elsewhere(call: Call) -> None:
        if call.kind == "pread" and threading.current_thread() is not main:
            raise OSError(5, "broken")

    disk.on_call = fail_elsewhere
    monkeypatch.setattr("rotortree.kernel.THREADS", 2)
    with pytest.raises(IoFailedError, match="read failed"):
        scan_segment(disk.open(path, "read"), path, 1)


@pytest.mark.parametrize("native", ["", "off"])
@pytest.mark.parametrize("row_bytes", [32, 64, 160, 1 << 20])
def test_rows_of_any_length_replay_to_the_same_tree(
    row_bytes: int, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by another thread while the row before is inserted, or all at once."""
    path, data = log()
    monkeypatch.setattr("rotortree.storage.recovery._ROW_BYTES", row_bytes)
    if native == "off":
        monkeypatch.setattr("rotortree.kernel.new_native", lambda *_: None)
    with open_tree(disk_of({path: data})) as tree:
        check_tree(tree, 2, sum(FLUSHES))
    assert not any("reader" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("length", [1, 3, 32, 1000])
def test_rows_are_the_parts_one_behind_the_other(length: int) -> None:
    """Each of the length that was asked for, the last one shorter but not empty."""
    parts = [leaf(index) * (index % 4) for index in range(20)]
    rows = list(map(bytes, _rows(map(memoryview, parts), length)))
    assert b"".join(rows) == b"".join(parts)
    assert {len(row) for row in rows[:-1]} <= {length}
    assert 0 < len(rows[-1]) <= length
    assert list(_rows(iter([]), length)) == []
    views = _rows(map(memoryview, parts), length)
    kept = next(views)
    for before, row in itertools.pairwise(rows):
        following = next(views)
        assert (bytes(kept), bytes(following)) == (before, row)
        kept = following


@pytest.mark.parametrize("threads", THREADS)
def test_items_are_counted_up_to_the_first_that_does_not_pass(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever those behind it do; an error counts where no other item fails before it."""
    monkeypatch.setattr("rotortree.kernel.THREADS", threads)

    def passes(item: Any) -> bool:
        if item is None:
            raise KeyError
        return bool(item)

    for items, count in (([], 0), ([1], 1), ([1, 1, 1], 3), ([1, 0, 1], 1), ([1, 1, 0, None], 2)):
        assert count_passing(passes, items) == count
    with pytest.raises(KeyError):
        count_passing(passes, [1, None, 0])


def test_items_made_ahead_are_the_same_items() -> None:
    """One at a time, in order, and no more than one ahead; an error comes where it was raised."""
    made = SimpleQueue[int]()

    def make() -> Iterator[int]:
        for item in range(5):
            made.put(item)
            yield item
        raise KeyError

    ahead = made_ahead(make())
    assert next(ahead) == made.get(timeout=SOON) == 0
    for item in range(1, 5):
        assert made.get(timeout=SOON) == item, "made while the one before is in use"
        assert made.empty()
        assert next(ahead) == item
    with pytest.raises(KeyError):
        next(ahead)
    ahead = made_ahead(iter(range(3)))
    assert next(ahead) == 0
    del ahead
    assert not any("reader" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("size", range(1, 8))
def test_a_log_that_fits_in_one_row_is_read_without_a_thread(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it can be where no thread can be started any more; a row is of three leaves here."""
    threads = []

    def noted(rows: Iterator[memoryview]) -> Iterator[memoryview]:
        threads.append(size)
        return made_ahead(rows)

    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, size))
    monkeypatch.setattr(recovery, "_ROW_BYTES", 96)
    monkeypatch.setattr(recovery, "made_ahead", noted)
    with open_tree(disk) as tree:
        check_tree(tree, 2, size)
    assert bool(threads) == (size > 3)
