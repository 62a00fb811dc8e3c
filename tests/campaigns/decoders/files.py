"""Laws of the decoders of files: headers, frames, segments, level files; against the model.

Seals keep almost every change from being looked at. So each of these decoders has a function that
seals data anew, as somebody would who writes wrong values on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from blake3 import blake3

from rotortree import (
    ChecksumMismatchError,
    DataCorruptionError,
    RotorTree,
    StorageError,
    UnsupportedFormatError,
)
from rotortree.storage.environment import Environment
from rotortree.storage.format import Commit, Frame, SegmentHeader, shard_header
from rotortree.storage.log_reader import scan_segment
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import image_of
from rotortree_faultinject.subjects.tree.life import PATH, Life, Options
from rotortree_model import DamagedError, layouts, read_directory
from rotortree_model.shape import MAX_SIZE

__all__ = [
    "KEY",
    "LEVEL_FILES",
    "commit",
    "example",
    "frame",
    "level_file",
    "seal_frame",
    "seal_header",
    "seal_segment",
    "segment",
    "segment_header",
]

KEY = bytes(range(32))
"""The key of frames that stand alone."""

LEVEL_FILES = ("levels/0/00000000.nodes", "levels/1/00000000.nodes")
"""The level files of which some bytes are exchanged."""

_SEGMENT = "wal/00000001.wal"
_MOST_FRAMES = 16
_T = TypeVar("_T")
_Directory: TypeAlias = tuple[str, object, object]
"""A verdict, and what it is about."""


# Headers.


def segment_header(data: bytes) -> bool:
    """The header of a segment: the same, canonical, or the error that FORMAT-13 has first."""
    header, error = _decoded(partial(SegmentHeader.decode, data, _SEGMENT))
    expected = _model_header(data)
    found = None if error is None else (type(error).__name__, getattr(error, "offset", None))
    assert found == expected, f"{error!r}, and by the text {expected}"
    if header is not None:
        assert header.encode() == data[:160], "it is not canonical"
    return header is not None


def _model_header(data: bytes) -> tuple[str, int | None] | None:
    number = layouts.number_at(data, 64, 8)
    name = number if 1 <= number <= MAX_SIZE else 1  # no file has another one as its name
    try:
        layouts.segment(_SEGMENT, data[:160], name)
    except DamagedError as error:
        return error.kind, error.offset
    return None


def commit(data: bytes) -> bool:
    """The commit record: the same, canonical, or damaged, or of another version."""
    record, error = _decoded(partial(Commit.decode, data, layouts.COMMIT))
    expected = _model_commit(data)
    if record is None:
        of_another = isinstance(error, UnsupportedFormatError)
        found = "UnsupportedFormatError" if of_another else None
        assert found == expected, f"{error!r}, and by the text {expected}"
        return False
    assert record.encode() == data, "it is not canonical"
    assert tuple(record) == expected, f"{record}, and by the text {expected}"
    return True


def _model_commit(data: bytes) -> object:
    """What the model reads; None if it is damaged, and the error's kind if of another version."""
    try:
        record = layouts.commit_record({layouts.COMMIT: data})
    except DamagedError as error:
        return error.kind
    return None if record is None else tuple(record)


def _decoded(decode: Callable[[], _T]) -> tuple[_T | None, StorageError | None]:
    """What was decoded, or how it was refused; any other error is a finding."""
    try:
        return decode(), None
    except (ChecksumMismatchError, DataCorruptionError, UnsupportedFormatError) as error:
        return None, error


def seal_header(length: int, data: bytes) -> bytes:
    """The same with the seal that the header of this length should have."""
    if len(data) < length:
        return data
    return data[: length - 16] + layouts.seal(data[: length - 16]) + data[length:]


# Frames and segments.


def frame(data: bytes) -> bool:
    """A frame's header with `KEY`: decoded exactly if it is sealed, and canonical but for flags."""
    found = Frame.decode(data, KEY)
    sealed = layouts.is_sealed(KEY, data, 0)
    assert (found is not None) == sealed, f"sealed: {sealed}"
    if found is not None:
        more = layouts.number_at(data, 4, 4) == 1
        plain = data[:4] + int(more).to_bytes(4, "little") + data[8:112]
        assert found.encode(KEY) == plain + layouts.seal(plain, KEY), "it is not canonical"
        assert found.promise == layouts.promise(data, 0)
    return sealed


def seal_frame(data: bytes, key: bytes = KEY) -> bytes:
    """The same with the seal that it should have."""
    return data[:112] + layouts.seal(data[:112], key) + data[128:] if len(data) >= 128 else data


def segment(data: bytes) -> bool:
    """A whole segment: units, what is torn, what was promised, or the error; as by the model."""
    disk = SimulatedDisk(image_of({_SEGMENT: data}))
    scan = scan_segment(disk.open(_SEGMENT, "read"), _SEGMENT, 1)
    expected = _model_segment(data)
    if isinstance(expected, str):
        found = type(scan.error).__name__
        assert found == expected, f"{scan.error!r}, and by the text {expected}"
        return False
    assert scan.error is None, f"{scan.error!r}, and by the text none"
    said = (scan.end, scan.stop, scan.used, scan.promise, scan.durable_size)
    durable = expected.durable(acknowledged=0, recorded=True)
    by_model = (expected.end, expected.invalid, expected.used, expected.promise, durable)
    assert said == by_model, f"{said}, and by the text {by_model}"
    ends = [(unit.end, unit.stop, unit.root) for unit in scan.units]
    assert ends == [(unit.end, *unit.head) for unit in expected.units], f"units {ends}"
    return True


def _model_segment(data: bytes) -> layouts.Segment | str:
    """What the model reads, or the kind of its error."""
    try:
        return layouts.segment(_SEGMENT, data, 1)
    except DamagedError as error:
        return error.kind


def seal_segment(data: bytes, *, chained: bool = True) -> bytes:
    """The same with a sealed header, and frames that are sealed as far as they go, and chained."""
    data = seal_header(160, data)
    key, chain, at = blake3(data[:160]).digest(), data[144:160], 160
    for _ in range(_MOST_FRAMES):
        if len(data) < at + 128:
            break
        end = min(at + 128 + 32 * layouts.number_at(data, at + 24, 8), len(data))
        payload = layouts.seal(data[at + 128 : end], key)
        chain = chain if chained else data[at + 80 : at + 96]
        data = data[:at] + seal_frame(data[at : at + 80] + chain + payload + data[at + 112 :], key)
        chain, at = data[at + 112 : at + 128], end
    return data


# Level files, in a directory.


@cache
def example() -> Mapping[str, bytes]:
    """The files of a tree of nine leaves, n = 2, eight of them in level files."""
    life = Life(Options())
    life.live(("open", "insert 3", "flush", "insert 5", "checkpoint", "insert", "close"))
    start = f"{PATH}/"
    return MappingProxyType(
        {path.removeprefix(start): data for path, data in life.disk.files().items()}
    )


def level_file(data: bytes) -> bool:
    """A level file of a tree: repaired or right, or an error; and which of these, as by the model.

    The first byte chooses the level; the others are the file.
    """
    path = LEVEL_FILES[data[0] % len(LEVEL_FILES)] if data else LEVEL_FILES[0]
    files = {**example(), path: data[1:]}
    found, expected = _opened(files), _read(files)
    assert found == expected, f"{found}, and by the text {expected}"
    right = found[0] == "a tree" and not found[2]
    if right:
        identity = Commit.decode(files["COMMIT"], "COMMIT").identity
        level = LEVEL_FILES.index(path)
        assert data[1:129] == shard_header(identity, level, 0), "another header is taken for right"
    return right


def _opened(files: Mapping[str, bytes]) -> _Directory:
    """What a reader finds: the leaves and which files are not right, or the error and its file."""
    disk = SimulatedDisk(image_of({f"{PATH}/{name}": data for name, data in files.items()}))
    try:
        with RotorTree.open(PATH, read_only=True, environment=Environment(files=disk)) as tree:
            repaired = {entry.removeprefix(f"{PATH}/") for entry in tree.recovery.repaired}
            names = sorted({entry.split(",")[0].split(":")[0] for entry in repaired})
            return "a tree", tree.snapshot().leaves(), names
    except DataCorruptionError as error:
        return type(error).__name__, error.path.removeprefix(f"{PATH}/"), error.offset


def _read(files: Mapping[str, bytes]) -> _Directory:
    try:
        contents = read_directory(files)
    except DamagedError as error:
        return error.kind, error.file, error.offset
    assert contents is not None, "the model finds no tree"
    return "a tree", b"".join(contents.leaves), sorted(contents.repaired)
