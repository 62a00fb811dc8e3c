"""The log's bytes, taken apart with nothing but what `specs/storage-format.md` says of them."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from blake3 import blake3

from rotortree import WalCorruptedError
from rotortree.scheduler import ThreadScheduler
from rotortree.storage.environment import Environment
from rotortree.storage.format import COMMIT, Commit
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import CRASHES, after_crash, disk_of
from tests.storage.trees import (
    PATH,
    abandon,
    check_tree,
    environment,
    leaf,
    leaves,
    log_path,
    model_root,
    open_tree,
)

SEGMENT_BYTES, HEADER_BYTES, SEAL_BYTES = 160, 128, 16
HEADER = struct.Struct("<4sIQQQQQ32s16s16s16s")


class RawFrame(NamedTuple):
    """A frame's fields, where it is, its leaves, and the seals that these bytes should have."""

    magic: bytes
    flags: int
    number: int
    first: int
    leaves: int
    promise: int
    reserved: int
    root: bytes
    chain: bytes
    payload_seal: bytes
    seal: bytes
    offset: int
    payload: bytes
    seals: tuple[bytes, bytes]


def raw_frames(data: bytes) -> list[RawFrame]:
    """All frames of a segment's bytes, up to their end."""
    key = blake3(data[:SEGMENT_BYTES]).digest()
    found, offset = [], SEGMENT_BYTES
    while offset < len(data):
        header = data[offset : offset + HEADER_BYTES]
        fields = HEADER.unpack(header)
        start = offset + HEADER_BYTES
        payload = data[start : start + 32 * fields[4]]
        seals = tuple(
            blake3(part, key=key).digest(SEAL_BYTES) for part in (payload, header[:-SEAL_BYTES])
        )
        found.append(RawFrame._make((*fields, offset, payload, seals)))
        offset = start + len(payload)
    return found


def log_of_three_flushes() -> bytes:
    """The log of 12 leaves: of two inserts, of a batch and an insert in frames of 3, of one."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert(leaf(0))
    tree.insert(leaf(1))
    tree.flush()
    tree.insert_many(leaves(2, 10))
    tree.insert(leaf(10))
    tree.flush()
    tree.insert_durable(leaf(11))
    files = disk.files()
    tree.close()
    return files[log_path(files)]


@pytest.mark.evidence(
    "example",
    "FORMAT-22",
    "FORMAT-23",
    "FORMAT-26",
    "FORMAT-27",
    "FORMAT-28",
    "FORMAT-31",
    "FORMAT-34",
)
def test_frames_are_what_the_text_says_field_by_field() -> None:
    """Of three flushes, one of them in three frames: every field, every seal, every leaf."""
    frames = raw_frames(log_of_three_flushes())
    assert [frame.magic for frame in frames] == [b"RtFr"] * 5
    assert [frame.flags for frame in frames] == [0, 1, 1, 0, 0]
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert [(frame.first, frame.leaves) for frame in frames] == [
        (0, 2),
        (2, 3),
        (5, 3),
        (8, 3),
        (11, 1),
    ]
    assert [frame.reserved for frame in frames] == [0] * 5
    starts = [frames[at].offset for at in (0, 1, 1, 1, 4)]
    assert [frame.promise for frame in frames] == starts
    assert b"".join(frame.payload for frame in frames) == b"".join(leaves(0, 12))
    for frame in frames:
        assert frame.root == model_root(frame.first + frame.leaves, 2)
        assert (frame.payload_seal, frame.seal) == frame.seals
        assert frame.offset % 32 == 0


@pytest.mark.evidence("example", "FORMAT-12", "FORMAT-22")
def test_each_header_carries_the_seal_of_the_one_before() -> None:
    """The first frame's chain is the segment's seal."""
    data = log_of_three_flushes()
    frames = raw_frames(data)
    header = data[:SEGMENT_BYTES]
    assert header[-SEAL_BYTES:] == blake3(header[:-SEAL_BYTES]).digest(SEAL_BYTES)
    seals = [header[-SEAL_BYTES:], *(frame.seal for frame in frames)]
    assert [frame.chain for frame in frames] == seals[:-1]


@pytest.mark.evidence("example", "FORMAT-28")
@pytest.mark.parametrize("flags", [2, 0x80000000, 0xFFFFFFFE])
def test_flags_but_1_are_no_more(flags: int) -> None:
    """A frame that is sealed and valid ends its unit."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_durable(leaf(0))
    files = disk.files()
    path = log_path(files)
    data = files[path]
    key = blake3(data[:SEGMENT_BYTES]).digest()
    start, end = SEGMENT_BYTES + 4, SEGMENT_BYTES + HEADER_BYTES
    header = data[SEGMENT_BYTES:start] + struct.pack("<I", flags) + data[start + 4 : end - 16]
    changed = data[:SEGMENT_BYTES] + header + blake3(header, key=key).digest(16) + data[end:]
    with open_tree(disk_of({**files, path: changed}), read_only=True) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 1)


@pytest.mark.evidence("example", "FORMAT-20", "FORMAT-23", "FORMAT-24", "FORMAT-54", "DURABLE-43")
@pytest.mark.parametrize("whose", ["its own", "another segment's", "nobody's"])
def test_a_frame_counts_only_with_the_key_of_its_segment(whose: str) -> None:
    """The next frame, all of it right, sealed with the key of this segment, of another, with none.

    So it is for what looks like a frame and promises more than there is: no damage, but torn.
    """
    data = log_of_three_flushes()
    last = raw_frames(data)[-1]
    other = blake3(data[: SEGMENT_BYTES - 1]).digest()
    key = {"its own": blake3(data[:SEGMENT_BYTES]).digest(), "another segment's": other}.get(whose)

    def sealed(part: bytes) -> bytes:
        return (blake3(part) if key is None else blake3(part, key=key)).digest(SEAL_BYTES)

    def frame(promise: int, chain: bytes) -> bytes:
        root = model_root(13, 2)
        fields = (b"RtFr", 0, 5, 12, 1, promise, 0, root, chain)
        header = struct.pack("<4sIQQQQQ32s16s", *fields) + sealed(leaf(12))
        return header + sealed(header) + leaf(12)

    path = f"{PATH}/wal/00000001.wal"
    liar = frame(len(data) + 32, bytes(16))
    with open_tree(disk_of({path: data + frame(len(data), last.seal)})) as tree:
        check_tree(tree, 2, 13 if whose == "its own" else 12)
    if whose == "its own":
        with pytest.raises(WalCorruptedError):
            open_tree(disk_of({path: data + liar}))
    else:
        with open_tree(disk_of({path: data + liar})) as tree:
            check_tree(tree, 2, 12)


@pytest.mark.evidence("example", "FORMAT-17", "FORMAT-21")
def test_ids_and_salts_are_drawn_anew() -> None:
    """No two trees have the same tree id, and no two segments the same salt."""
    headers = []
    for _ in range(8):
        disk = SimulatedDisk()
        with open_tree(disk, 2, environment=Environment(files=disk)) as tree:
            headers.append(disk.files()[log_path(disk.files())][:SEGMENT_BYTES])
            tree.insert(leaf(0))
            tree.checkpoint()
            headers.append(disk.files()[log_path(disk.files())][:SEGMENT_BYTES])
    assert len({header[16:32] for header in headers}) == 8
    assert len({header[112:128] for header in headers}) == 16


GARBAGE = random.Random(5).randbytes(2 << 20)


def row_of(count: int) -> bytes:
    """Leaves of no meaning."""
    return b"leaf" * (8 * count)


@pytest.mark.evidence("damage", "FORMAT-27", "FORMAT-54", "FORMAT-56", "DURABLE-41", "DURABLE-43")
@pytest.mark.parametrize("fill", [bytes, lambda count: GARBAGE[:count]], ids=["zeros", "garbage"])
@pytest.mark.parametrize(
    ("count", "start"), [(200, 0), (200, 1), (200, 512), (200, 3000), (34_000, 0)]
)
def test_a_promise_is_found_behind_whatever_lies_between(
    count: int, start: int, fill: Callable[[int], bytes]
) -> None:
    """The second of three flushes is gone from some byte on: the third one says it was durable.

    Without the third one nothing says so, and the rest of the second is torn.  It is of some
    kilobytes, and of more than a megabyte.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2, environment=environment(disk, 2, count))
    tree.insert_durable(leaf(0))
    tree.insert_many(row_of(count))
    tree.flush()
    tree.insert_durable(leaf(1))
    abandon(tree)
    files = after_crash(disk).files()
    path = log_path(files)
    _, second, third = raw_frames(files[path])
    gone = fill(third.offset - second.offset - start)
    data = files[path][: second.offset + start] + gone + files[path][third.offset :]
    with pytest.raises(WalCorruptedError) as caught:
        open_tree(disk_of({**files, path: data}))
    assert (caught.value.path, caught.value.offset) == (path, second.offset)
    with open_tree(disk_of({**files, path: data[: third.offset]})) as tree:
        check_tree(tree, 2, 1)


@pytest.mark.evidence("crash", "FORMAT-39", "FORMAT-44", "DURABLE-20")
def test_a_commit_record_says_no_more_than_is_durable_and_no_less_than_before() -> None:
    """Of three lives with recorded acknowledgements, each record when it is renamed.

    When a leaf is acknowledged, a record has said so.  A power failure while one is renamed,
    that keeps nothing, leaves at least what it acknowledges.  While the log is synced a leaf comes
    that is not durable, and while a checkpoint is made another thread inserts one durably.
    """
    disk = SimulatedDisk()
    said: list[int] = []
    size = 0
    threads = replace(environment(disk), scheduler=ThreadScheduler())
    tree = open_tree(disk, 2, record_acknowledgements=True, environment=threads)

    def insert(*, durably: bool) -> None:
        nonlocal size
        size = with_it = size + 1
        if not durably:
            _ = tree.append(leaf(with_it - 1))
            return
        tree.insert_durable(leaf(with_it - 1))
        assert said[-1] >= with_it

    def on_call(call: Call) -> None:
        if call.kind == "rename" and call.path.endswith(COMMIT):
            record = disk.files()[f"{PATH}/{COMMIT}.tmp"]
            said.append(Commit.decode(record, COMMIT).acknowledged.size)
            with open_tree(after_crash(disk, CRASHES[-1])) as left:
                assert left.size >= said[-1]
        elif call.kind == "sync" and call.path.endswith(".wal"):
            insert(durably=False)
        elif call.kind == "sync" and call.path.endswith("levels/0/00000000.nodes"):
            other = threading.Thread(target=insert, kwargs={"durably": True})
            other.start()
            other.join()

    for _ in range(3):
        disk.on_call = on_call
        for number in range(6):
            insert(durably=True)
            if number % 3 == 0:
                tree.checkpoint()
        disk.on_call = None
        tree.close()
        tree = open_tree(disk, 2, record_acknowledgements=True, environment=threads)
    tree.close()
    assert said == sorted(said)
    assert len(said) > 24
    with open_tree(disk, read_only=True) as tree:
        check_tree(tree, 2, size)
