"""Headers and names that are wrong: in which order they are judged, and what they are."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import pytest
from blake3 import blake3

from rotortree import (
    ChecksumMismatchError,
    DataCorruptionError,
    NotATreeError,
    UnsupportedFormatError,
)
from rotortree.storage.format import (
    Commit,
    Frame,
    SegmentHeader,
    is_level,
    segment_name,
    segment_number,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_model import directory
from tests.storage.disk import disk_of
from tests.storage.trees import PATH, check_tree, head, leaves, open_tree

SEGMENT = f"{PATH}/wal/00000001.wal"
COMMIT = f"{PATH}/COMMIT"


def files_of_a_tree() -> dict[str, bytes]:
    """A closed tree of three leaves, never checkpointed."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 3))
    return disk.files()


FILES = files_of_a_tree()
DECODERS: dict[str, Callable[[bytes, str], object]] = {
    SEGMENT: SegmentHeader.decode,
    COMMIT: Commit.decode,
}
LENGTHS = {SEGMENT: 160, COMMIT: 176}


def changed(path: str, *changes: tuple[int, bytes], seal: bool = True) -> bytes:
    """A header with other bytes at some offsets, sealed anew or not."""
    data = bytearray(FILES[path][: LENGTHS[path]])
    for offset, value in changes:
        data[offset : offset + len(value)] = value
    return bytes(data[:-16]) + (blake3(data[:-16]).digest(16) if seal else bytes(data[-16:]))


NO_N = "0: impossible parameters: n is {}, but it must be an integer from 2 to 255"
MAGIC, VERSION, VALUE = (0, b"RotorXYZ"), (8, b"\2\0"), (10, b"\1")


@pytest.mark.evidence("example", "FORMAT-13")
@pytest.mark.parametrize("path", DECODERS, ids=["segment", "commit"])
def test_a_header_is_judged_in_one_order(path: str) -> None:
    """Length, magic, version, seal, values: the first that is wrong is the error and named."""
    length, decode, magic = LENGTHS[path], DECODERS[path], FILES[path][:8]
    all_wrong = changed(path, MAGIC, VERSION, VALUE, seal=False)
    steps: list[tuple[bytes, type[Exception], str]] = [
        (
            all_wrong[:100],
            DataCorruptionError,
            f", offset 100: the file ends in its {length}-byte header",
        ),
        (
            all_wrong,
            DataCorruptionError,
            f", offset 0: begins with b'RotorXYZ', not with {magic!r}",
        ),
        (
            changed(path, VERSION, VALUE, seal=False),
            UnsupportedFormatError,
            ": format version 2; this library reads 1",
        ),
        (
            changed(path, VALUE, seal=False),
            ChecksumMismatchError,
            f", offset {length - 16}: the header's seal does not match",
        ),
        (changed(path, VALUE), DataCorruptionError, f", offset {NO_N.format(1)}"),
    ]
    for data, error, text in steps:
        with pytest.raises(error) as caught:
            decode(data, path)
        assert type(caught.value) is error
        assert str(caught.value) == f"{path}{text}"
    decode(changed(path), path)


@pytest.mark.evidence("example", "FORMAT-13", "FORMAT-43")
def test_a_commit_record_is_no_longer_than_it_is() -> None:
    """One more byte is damage, whatever else is right."""
    with pytest.raises(DataCorruptionError) as caught:
        Commit.decode(FILES[COMMIT] + bytes(1), COMMIT)
    assert str(caught.value) == f"{COMMIT}, offset 176: the file goes on behind the record"


def number(value: int) -> bytes:
    """A field of 8 bytes."""
    return struct.pack("<Q", value)


NO_DEPTH = "0: impossible parameters: max_depth is 0, but it must be an integer from 1 to 255"
NO_ASCII = (
    "0: impossible parameters: 'ascii' codec can't decode byte 0xc3 in position 4:"
    " ordinal not in range(128)"
)
TOO_LARGE = "64: impossible head of size 9223372036854775808"
NO_EMPTY_ROOT = "64: impossible head of size 0"
IN_SEGMENT, IN_RECORD = "64: impossible values in the header", "64: impossible values in the record"
SHARED = [
    (10, b"\0", NO_N.format(0)),
    (10, b"\1", NO_N.format(1)),
    (11, b"\0", NO_DEPTH),
    (12, struct.pack("<I", 0), "12: impossible shard size 0"),
    (12, struct.pack("<I", 5), "12: impossible shard size 5"),
    (32, bytes(32), "32: impossible scheme name ''"),
    (32, b"blake3 x", "32: impossible scheme name 'blake3 x'"),
    (32, b"blake3\0x", "32: impossible scheme name 'blake3\\x00x'"),
    (32, "blaké3".encode(), NO_ASCII),
    (32, b"\x7f", "32: impossible scheme name '\\x7flake3'"),
]
SEGMENT_ONLY = [
    (64, number(0), IN_SEGMENT),
    (64, number(2**63), IN_SEGMENT),
    (72, number(2**63), TOO_LARGE),
    (80, b"\1", NO_EMPTY_ROOT),
    (128, number(0), IN_SEGMENT),
    (128, number(159), IN_SEGMENT),
    (136, b"\1", IN_SEGMENT),
    (143, b"\1", IN_SEGMENT),
]
COMMIT_ONLY = [
    (64, number(4), IN_RECORD),
    (64, number(2**63) + b"\1" * 32 + number(2**63), TOO_LARGE),
    (72, b"\1", NO_EMPTY_ROOT),
    (104, number(2**63), TOO_LARGE),
    (144, number(0), IN_RECORD),
    (144, number(2), IN_RECORD),
    (152, number(2**63), IN_RECORD),
]
CHANGES = [
    *((path, *change) for path in DECODERS for change in SHARED),
    *((SEGMENT, *change) for change in SEGMENT_ONLY),
    *((COMMIT, *change) for change in COMMIT_ONLY),
]


@pytest.mark.evidence("example", "FORMAT-12", "FORMAT-16", "FORMAT-18", "FORMAT-43")
@pytest.mark.parametrize(
    ("path", "offset", "value", "text"),
    CHANGES,
    # A test whose name has bytes in it could not be run by it.
    ids=[f"{path}-{offset}-{value.hex()}" for path, offset, value, _ in CHANGES],
)
def test_a_sealed_header_of_impossible_values_is_damaged(
    path: str, offset: int, value: bytes, text: str
) -> None:
    """Each field that has values which mean nothing, each such border: DataCorruptionError.

    It names the file, the offset of the field or of the part, and what is impossible.
    """
    with pytest.raises(DataCorruptionError) as caught:
        DECODERS[path](changed(path, (offset, value)), path)
    assert type(caught.value) is DataCorruptionError
    assert str(caught.value) == f"{path}, offset {text}"


@pytest.mark.evidence("example", "FORMAT-16", "FORMAT-18", "FORMAT-43")
def test_the_largest_values_are_possible() -> None:
    """Segment 2**63 - 1, a head of 2**63 - 1 leaves, a scheme whose name ends with any letter.

    And the largest promise that a field has room for.
    """
    last = number(2**63 - 1)
    segment = SegmentHeader.decode(
        changed(SEGMENT, (64, last), (72, last), (32, b"blake3X"), (128, b"\xff" * 8)), SEGMENT
    )
    assert segment.promise == 2**64 - 1
    assert (segment.number, segment.base.size) == (2**63 - 1, 2**63 - 1)
    assert segment.identity.scheme == "blake3X"
    record = Commit.decode(changed(COMMIT, (104, last), (152, last)), COMMIT)
    assert (record.acknowledged.size, record.last_segment) == (2**63 - 1, 2**63 - 1)


@pytest.mark.evidence("example", "FORMAT-4")
def test_a_name_is_a_segments_in_one_form_only() -> None:
    """Eight digits or more, no zero too many, 1 to 2**63 - 1."""
    for known in (1, 99999999, 10**8, 2**63 - 1):
        assert segment_number(segment_name(known)) == known
    for name in ("00000000.wal", "000000001.wal", f"{2**63}.wal", "1" * 9000 + ".wal"):
        assert segment_number(name) is None


@pytest.mark.evidence("example", "FORMAT-3")
def test_a_name_is_a_levels_in_one_form_only() -> None:
    """ASCII digits, no zero too many; the model says the same."""
    names = ("0", "7", "10", "63", "007", "00", "", "x", "+1", "-1", "1_0", " 1", "0.tmp", "\u0663")
    assert [name for name in names if is_level(name)] == ["0", "7", "10", "63"]
    assert [name for name in names if directory.is_level(name)] == ["0", "7", "10", "63"]


@pytest.mark.evidence("example", "FORMAT-55")
@pytest.mark.parametrize("more", [b"", bytes(80)], ids=["", "longer"])
@pytest.mark.parametrize("path", [SEGMENT, COMMIT])
def test_a_tree_of_another_version_is_refused_and_left_as_it_is(path: str, more: bytes) -> None:
    """Whatever the seal says, and however long the header is there: it may be elsewhere."""
    data = FILES[path][:8] + b"\2\0" + FILES[path][10:] + more
    for read_only in (True, False):
        disk = disk_of({**FILES, path: data})
        with pytest.raises(UnsupportedFormatError) as caught:
            open_tree(disk, read_only=read_only)
        assert (caught.value.path, caught.value.version) == (path, 2)
        assert disk.files() == {**FILES, path: data}


@pytest.mark.evidence("example", "FORMAT-55")
def test_a_damaged_commit_record_is_written_anew_and_reported() -> None:
    """The log, and the level files, say what it said."""
    disk = disk_of({**FILES, COMMIT: FILES[COMMIT][:-1]})
    with open_tree(disk) as tree:
        assert any(COMMIT in repair for repair in tree.recovery.repaired)
        check_tree(tree, 2, 3)
    Commit.decode(disk.files()[COMMIT], COMMIT)


@pytest.mark.evidence("example", "FORMAT-18")
def test_a_segment_with_the_name_of_another_is_misplaced() -> None:
    """Its header says which one it is."""
    files = {**FILES, f"{PATH}/wal/00000002.wal": FILES[SEGMENT]}
    with pytest.raises(DataCorruptionError) as caught:
        open_tree(disk_of(files))
    assert (caught.value.path, caught.value.offset) == (f"{PATH}/wal/00000002.wal", 64)


@pytest.mark.evidence("example", "FORMAT-10")
@pytest.mark.parametrize("names", ["other", "other wal/00000001.wal.tmp", "other levels/0/x LOCK"])
def test_a_directory_of_something_else_is_refused_and_left_as_it_is(names: str) -> None:
    """It has names of its own and no tree; for readers and writers."""
    files = {f"{PATH}/{name}": b"" for name in names.split()}
    for read_only in (True, False):
        disk = disk_of(files)
        with pytest.raises(NotATreeError):
            open_tree(disk, 2, read_only=read_only)
        assert disk.files() == files


@pytest.mark.evidence("example", "FORMAT-4")
def test_other_names_beside_a_tree_mean_nothing() -> None:
    """In the directory, in wal/ and in levels/: the same tree, and they stay unless unfinished."""
    stray = "x levels/x/y levels/x.tmp wal/0 wal/1.wal COMMIT.tmp wal/00000009.wal.tmp".split()
    disk = disk_of({**FILES, **{f"{PATH}/{name}": b"stray" for name in stray}})
    with open_tree(disk) as tree:
        opened = {call.path for call in disk.calls if call.kind == "open"}
        assert not opened & {f"{PATH}/{name}" for name in stray if not name.endswith(".tmp")}
        assert tree.recovery.clean
        check_tree(tree, 2, 3)
    for name in stray:
        if not name.endswith(".tmp"):
            assert disk.files()[f"{PATH}/{name}"] == b"stray"


@pytest.mark.evidence("example", "FORMAT-7", "FORMAT-67")
def test_a_copy_without_its_lock_file_can_be_read() -> None:
    """And reading makes none."""
    files = {path: data for path, data in FILES.items() if not path.endswith("LOCK")}
    disk = disk_of(files)
    with open_tree(disk, read_only=True) as tree, open_tree(disk, read_only=True):
        check_tree(tree, 2, 3)
    assert disk.files() == files


@pytest.mark.evidence("damage", "FORMAT-58")
def test_roots_that_the_leaves_do_not_lead_to_are_damage() -> None:
    """Sealed, and wrong: the last frame's, and the one that the commit record acknowledges."""
    segment = FILES[SEGMENT]
    key = SegmentHeader.decode(segment, SEGMENT).key()
    frame = Frame.decode(segment[160:], key)
    assert frame is not None
    wrong = frame._replace(root=b"x" * 32).encode(key)
    acknowledged = changed(COMMIT, (112, b"x" * 32))
    for files, path, offset in (
        ({SEGMENT: segment[:160] + wrong + segment[288:]}, SEGMENT, 160),
        ({COMMIT: acknowledged}, COMMIT, 64),
    ):
        with pytest.raises(DataCorruptionError) as caught:
            open_tree(disk_of({**FILES, **files}))
        assert (caught.value.path, caught.value.offset) == (path, offset)
        assert caught.value.leaves == (0, 3)
        right, text = head(3, 2).root, str(caught.value)
        assert right is not None
        assert f": the first 3 leaves have the root {right.hex()}, not {'78' * 32}: damaged" in text


@pytest.mark.usefixtures("unread")  # the file is there again when the reader looks
@pytest.mark.parametrize("nth", [1, 2])
def test_a_segment_that_vanishes_is_missing(nth: int) -> None:
    """Between the list and the look at it, or before it is replayed: DataCorruptionError."""
    disk = disk_of(FILES)
    opens = itertools.count(1)

    def vanish(call: Call) -> None:
        if call == ("open", SEGMENT) and next(opens) == nth:
            raise FileNotFoundError

    disk.on_call = vanish
    with pytest.raises(DataCorruptionError) as caught:
        open_tree(disk, read_only=True)
    text = ["/wal, offset 0: every log segment is missing", ", offset 0: the log segment vanished"]
    assert str(caught.value) == (PATH, SEGMENT)[nth - 1] + text[nth - 1]
