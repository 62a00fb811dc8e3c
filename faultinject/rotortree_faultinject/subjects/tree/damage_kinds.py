"""The kinds of damage: what may become of the files of a tree."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from rotortree_faultinject.disk.image import PlainImage, parents
from rotortree_faultinject.subjects.tree.life import PATH
from rotortree_faultinject.subjects.tree.specimens import COMMIT, Specimen, file_class, segment_of

__all__ = ["KINDS", "Damage", "Damages", "reproduce"]

_SECTOR = 512
_SMALL = 176
"""Up to how many bytes every bit of a file is flipped, such as the commit record."""


class Damage(NamedTuple):
    """One damage: its kind, the file (the first of two), and what became of it in words."""

    kind: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.path}: {self.what}"


Damages: TypeAlias = Iterator[tuple[str, str, PlainImage]]
"""Damages of one kind: path, words, what is then on the disk."""


# What becomes of a file by itself.

_Change: TypeAlias = Callable[[bytes], Iterator[tuple[str, bytes | None]]]
"""From a file's bytes to what is there instead, None for nothing, with words."""


def _flipped(mask: int) -> _Change:
    def change(data: bytes) -> Iterator[tuple[str, bytes | None]]:
        for at in range(len(data)):
            flipped = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            yield f"byte {at} xor {mask:#04x}", flipped

    return change


def _flipped_bits(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    if len(data) <= _SMALL:
        for bit in range(8):
            yield from _flipped(1 << bit)(data)


def _cut(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    for length in range(len(data)):
        yield f"cut to {length} bytes", data[:length]


def _removed(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    yield "missing", None


def _overwritten(length: int, filling: Callable[[int], bytes]) -> _Change:
    def change(data: bytes) -> Iterator[tuple[str, bytes | None]]:
        for at in range(0, len(data), length):
            end = min(at + length, len(data))
            yield f"bytes {at} to {end}", data[:at] + filling(end - at) + data[end:]

    return change


def _garbage(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def _appended(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    for words, more in (
        ("a zero", b"\0"),
        ("a byte", b"\xff"),
        ("31 zeros", bytes(31)),
        ("5000 zeros", bytes(5000)),
        ("what frames begin with", b"RtFr" * 8),
        ("that often", b"RtFr" * 80),
        ("garbage", _garbage(_SECTOR)),
        ("its header", data[:160]),
        ("what is behind its header", data[160:]),
        ("itself", data),
    ):
        yield words, data + more


def _each(change: _Change) -> Callable[[Specimen], Damages]:
    """That change, of every file."""

    def damages(specimen: Specimen) -> Damages:
        for path, data in specimen.image.items():
            if data is not None:
                for words, changed in change(data):
                    if changed != data:
                        yield path, words, _with(specimen.image, {path: changed})

    return damages


def _with(image: PlainImage, files: Mapping[str, bytes | None]) -> PlainImage:
    """An image with other files, None for those that are gone; directories are made for them."""
    made = {
        above: None for path, data in files.items() if data is not None for above in parents(path)
    }
    left = {path: data for path, data in image.items() if path not in files}
    return {**made, **left, **{path: data for path, data in files.items() if data is not None}}


# What becomes of files together.


def _files(image: PlainImage) -> dict[str, bytes]:
    return {path: data for path, data in image.items() if data is not None}


def _swapped(specimen: Specimen) -> Damages:
    files = _files(specimen.image)
    for one, other in itertools.combinations(files, 2):
        swapped = {one: files[other], other: files[one]}
        yield one, f"swapped with {other}", _with(specimen.image, swapped)


def _replaced(images: Sequence[PlainImage], image: PlainImage, words: str) -> Damages:
    """Every file of other images instead of, or beside, those that are there."""
    seen = {(path, data) for path, data in image.items()}
    for number, other in enumerate(images):
        for path, data in _files(other).items():
            if (path, data) not in seen and path.startswith(PATH):
                seen.add((path, data))
                yield path, f"{words} {number}", _with(image, {path: data})


def _misdirected(specimen: Specimen) -> Damages:
    """A sector that was written elsewhere, or read from elsewhere."""
    files = _files(specimen.image)
    places = [(path, at) for path, data in files.items() for at in range(0, len(data), _SECTOR)]
    for (path, at), (source, start) in itertools.permutations(places, 2):
        sector = files[source][start : start + _SECTOR]
        data = files[path][:at] + sector + files[path][at + len(sector) :]
        if data != files[path]:
            words = f"at {at} the sector from {source}, {start}"
            yield path, words, _with(specimen.image, {path: data})


def _older(specimen: Specimen) -> Damages:
    yield from _replaced(specimen.copies, specimen.image, "as after step")


def _foreign(specimen: Specimen) -> Damages:
    yield from _replaced(specimen.others, specimen.image, "that of other tree")


def _duplicated(specimen: Specimen) -> Damages:
    files = _files(specimen.image)
    for path, data in files.items():
        for name in _plausible_names(specimen):
            if name not in files and name != path:
                yield name, f"a copy of {path}", _with(specimen.image, {name: data})


def _plausible_names(specimen: Specimen) -> Iterator[str]:
    first, last = (segment_of(specimen.segments[at]) for at in (0, -1))
    for number in (first - 1, last + 1, last + 2):
        yield f"{PATH}/wal/{max(number, 1):08d}.wal"
    yield f"{PATH}/wal/{last + 1:08d}.wal.tmp"
    yield f"{PATH}/wal/{last:08d}.wal.orig"
    yield from (f"{COMMIT}.tmp", f"{COMMIT}.orig", f"{PATH}/notes")
    levels = [path for path in specimen.image if file_class(path) in ("leaves", "nodes")]
    counts = Counter(int(path.split("/")[2]) for path in levels)
    for level in range(len(counts) + 2):
        yield f"{PATH}/levels/{level}/{counts[level]:08d}.nodes"
    yield f"{PATH}/levels/0/{counts[0] + 1:08d}.nodes"


def _without_directory(specimen: Specimen) -> Damages:
    for path, data in specimen.image.items():
        if data is None and path.startswith(f"{PATH}/"):
            left = {
                name: kept
                for name, kept in specimen.image.items()
                if name != path and not name.startswith(f"{path}/")
            }
            yield path, "missing, with all in it", left


KINDS: Mapping[str, Callable[[Specimen], Damages]] = MappingProxyType(
    {
        "byte xor 0x01": _each(_flipped(0x01)),
        "byte xor 0xff": _each(_flipped(0xFF)),
        "bit of a small file": _each(_flipped_bits),
        "cut": _each(_cut),
        "missing": _each(_removed),
        "32 bytes zeroed": _each(_overwritten(32, bytes)),
        "sector zeroed": _each(_overwritten(_SECTOR, bytes)),
        "sector of garbage": _each(_overwritten(_SECTOR, _garbage)),
        "sector misdirected": _misdirected,
        "bytes appended": _each(_appended),
        "files swapped": _swapped,
        "file of an older copy": _older,
        "file of another tree": _foreign,
        "file duplicated": _duplicated,
        "directory missing": _without_directory,
    }
)
"""The kinds of damage by name, each as all damages of it that a specimen can take; read-only."""


def reproduce(specimen: Specimen, damage: Damage) -> PlainImage:
    """What is on the disk after a damage.  Raises LookupError if there is no such damage."""
    for path, words, image in KINDS[damage.kind](specimen):
        if (path, words) == (damage.path, damage.what):
            return image
    raise LookupError(f"{specimen.name} cannot take this damage: {damage}")
