"""Specimens: small trees to be damaged, and what must come of it.

A specimen is all files of a tree, whose bytes are known one by one: which of them recovery needs,
and which say what was durable.  So it can be said of any damage how the tree must then open, and
none of that asks the code under test.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from rotortree.storage.format import seal
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import PlainImage, image_of, plain
from rotortree_faultinject.subjects.tree.life import PATH, Life, Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import LEAF_BYTES, row

__all__ = ["COMMIT", "SPECIMENS", "Specimen", "Unit", "file_class", "prepare", "segment_of"]

_SEGMENT_BYTES, _FRAME_BYTES, _SHARD_BYTES, _COMMIT_BYTES, _SEAL_BYTES = 160, 128, 128, 176, 16
"""Lengths of headers, as the storage format has them."""

_FRAME_LEAVES = 3
"""Leaves per frame, so that a flush of more is of two frames."""

COMMIT = f"{PATH}/COMMIT"
"""The path of the commit record."""

_FLUSHES = "insert 1", "flush", "insert 2", "flush", "insert 4", "flush"  # the last: two frames
_CUT = "flush", "checkpoint", *_FLUSHES
_AGAIN = "open", "insert 5", "flush", "checkpoint", "insert 2", "close", "open", "insert 1", "flush"

SPECIMENS: Mapping[str, tuple[Options, tuple[str, ...]]] = MappingProxyType(
    {
        "closed, n = 2": (Options(n=2), ("open", "insert 11", *_CUT, "close")),
        "closed, n = 3": (Options(n=3, groups=1), ("open", "insert 14", *_CUT, "close")),
        "closed, no checkpoint": (Options(n=3), ("open", *_FLUSHES, "close")),
        "closed, two checkpoints": (
            Options(n=2),
            (*_AGAIN, "checkpoint", "insert 2", "flush", "insert 1", "close"),
        ),
        "killed": (Options(n=2), ("open", "insert 9", *_CUT, "kill")),
        "killed, recorded": (Options(n=3, record=True), ("open", "insert 14", *_CUT, "kill")),
        "killed, no checkpoint": (Options(n=2), ("open", *_FLUSHES, "kill")),
        "killed twice": (
            Options(n=3),
            ("open", "insert 9", *_CUT, "kill", "open", "insert 4", "flush", "kill"),
        ),
        "killed in a checkpoint": (
            Options(n=2),
            (*_AGAIN, "fault rename tree/COMMIT X", "checkpoint", "kill"),
        ),
        "killed after rolls": (
            Options(n=2, segment_bytes=300),
            ("open", "insert 9", "checkpoint", *_FLUSHES, *_FLUSHES, "kill"),
        ),
        "closed after rolls": (
            Options(n=3, segment_bytes=300, record=True),
            ("open", *_FLUSHES, "checkpoint", *_FLUSHES, "insert 1", "close"),
        ),
        "killed again and again": (
            Options(n=2),
            (
                *("open", "insert 3", *_CUT, "insert 1", "flush", "kill"),
                *("open", "insert 2", "flush", "insert 1", "flush", "kill"),
                *("open", "insert 1", "flush", "insert 4", "flush", "kill", "open", "kill"),
            ),
        ),
        "killed, and segments replaced": (
            Options(n=2, fold_leaves=4),
            (
                *("open", "insert 3", "checkpoint", "insert 1", "flush", "insert 6", "flush"),
                *("kill", "open", "insert 1", "flush", "insert 2", "flush", "kill"),
                *("open", "insert 1", "flush", "kill"),
            ),
        ),
        "replaced segment left": (
            Options(n=2, fold_leaves=4),
            (
                *("open", "insert 3", "checkpoint", *_FLUSHES, *_FLUSHES, "kill", "open"),
                *("insert 2", "flush", "kill", "fault unlink *.wal X", "open", "insert 1"),
                *("flush", "mend", "close"),
            ),
        ),
        "old segments left": (
            Options(n=2),
            ("fault unlink *.wal X", *_AGAIN, "checkpoint", "insert 2", "flush", "mend", "close"),
        ),
    }
)
"""The trees to be damaged by their names, each as the steps of its life; read-only."""


class Unit(NamedTuple):
    """What one flush wrote: its range in a segment, and the tree's size before and after.

    ``by_open``: an open wrote it, into the segment that it began.
    """

    path: str
    start: int
    end: int
    first: int
    stop: int
    by_open: bool

    def frames(self) -> Iterator[int]:
        """Where its frames begin."""
        at = self.start
        for leaves in range(self.first, self.stop, _FRAME_LEAVES):
            yield at
            at += _FRAME_BYTES + LEAF_BYTES * min(_FRAME_LEAVES, self.stop - leaves)


class Specimen(NamedTuple):
    """A tree that may be damaged.

    ``copies``: the image after each earlier step; ``others``: images of other trees, of which
    files may get here; ``records``: the commit records of all these.  ``promises``: it was closed,
    or recorded its acknowledgements, so that no loss may go unnoticed.  ``units`` are those of the
    segments that count, as far as they were not cut off, ``needed`` the ranges of bytes without
    which the tree cannot be what it was, by file; ``stored`` the length of each level file that
    the checkpoint covers.
    """

    name: str
    options: Options
    image: PlainImage
    size: int
    promises: bool
    copies: Sequence[PlainImage]
    others: Sequence[PlainImage]
    records: frozenset[bytes]
    units: Sequence[Unit]
    needed: Mapping[str, Sequence[tuple[int, int]]]
    stored: Mapping[str, int]

    @property
    def segments(self) -> list[str]:
        """The live segments in order."""
        return sorted(path for path in self.needed if file_class(path) == "log")

    def expected(self, image: PlainImage) -> int | None:
        """With how many leaves the tree must open after it was damaged to be ``image``.

        None: it may be refused, and if it opens, then with all.
        """
        if self._is_misled(image):
            return None
        broken = [path for path in self.needed if not self._has_needed(image, path)]
        if not broken:
            return self.size
        last = self.segments[-1]
        return None if self.promises or broken != [last] else self._without_the_end(image, last)

    def damaged(self, image: PlainImage) -> list[str]:
        """The files that say something wrong and that could be made right: COMMIT, level files.

        These only as far as the checkpoint covers them, and unless COMMIT names another one.
        """
        record = image.get(COMMIT)
        if record is not None:
            if not _is_record(record):
                return [COMMIT]
            if _integer(record, 64) != _integer(self.image.get(COMMIT), 64):
                return []
        return [
            path
            for path, length in self.stored.items()
            if (image.get(path) or b"")[:length] != (self.image[path] or b"")[:length]
        ]

    def _is_misled(self, image: PlainImage) -> bool:
        """Whether a whole file says something that is not so: an old record, another segment."""
        first = segment_of(self.segments[0])
        commit = image.get(COMMIT)
        if commit != self.image.get(COMMIT):
            if commit in self.records:
                return True
            first = 1  # every segment is live where there is no record
        paths = {path for path in (*image, *self.image) if segment_of(path) >= first}
        return any(image.get(path) != self.image.get(path) for path in paths - set(self.needed))

    def _has_needed(self, image: PlainImage, path: str) -> bool:
        found, data = image.get(path), self.image[path]
        return found is not None and all(
            found[start:stop] == (data or b"")[start:stop] for start, stop in self.needed[path]
        )

    def _without_the_end(self, image: PlainImage, last: str) -> int | None:
        """The size if the last flushes are damaged, and nothing says that they were durable."""
        data, whole = image.get(last), self.image[last] or b""
        units = [unit for unit in self.units if unit.path == last]
        if data is None:
            known = _integer(self.image.get(COMMIT) or b"", 152) if COMMIT in self.image else 0
            before = [unit.stop for unit in self.units if unit.path != last]
            return None if known == segment_of(last) else max(before, default=0)
        if data[:_SEGMENT_BYTES] != whole[:_SEGMENT_BYTES]:
            return None
        intact = list(
            itertools.takewhile(lambda unit: data[: unit.end] == whole[: unit.end], units)
        )
        if units[len(intact)].by_open:  # its segment's header promises it
            return None
        later = units[len(intact) + 1 :]
        headers = [slice(at, at + _FRAME_BYTES) for unit in later for at in unit.frames()]
        if any(data[header] == whole[header] for header in headers):
            return None
        return units[len(intact)].first


def file_class(path: str) -> str:
    """What a file is: commit, lock, log, leaves, nodes, temporary or other."""
    name = path.removeprefix(f"{PATH}/")
    if name.endswith(".tmp"):
        return "temporary"
    if name in ("COMMIT", "LOCK"):
        return name.lower()
    if segment_of(path):
        return "log"
    if name.startswith("levels/") and name.endswith(".nodes"):
        return "leaves" if name.startswith("levels/0/") else "nodes"
    return "other"


def segment_of(path: str) -> int:
    """A segment's number, 0 for other files."""
    name = posixpath.basename(path).removesuffix(".wal")
    is_segment = path.startswith(f"{PATH}/wal/") and path.endswith(".wal") and name.isdecimal()
    return int(name) if is_segment else 0


def prepare(name: str) -> Specimen:
    """Let the tree of that name live.  Raises ValueError, which lists the names there are."""
    if name not in SPECIMENS:
        raise ValueError(f"no specimen {name!r}: there are {', '.join(SPECIMENS)}")
    options, steps = SPECIMENS[name]
    life, copies, units = _live(options, steps)
    image = plain(life.disk.image)
    segments = sorted((path for path in image if segment_of(path)), key=segment_of)
    commit = image.get(COMMIT)
    first = _integer(commit, 144) if commit else 1
    live = [path for path in segments if segment_of(path) >= first]
    promises = steps[-1] == "close" or options.record
    others = _others(options, steps, copies) if commit or promises else []
    records = [one.get(COMMIT) for one in (*copies, *others)]
    return Specimen(
        name=name,
        options=options,
        image=image,
        size=life.issued,
        promises=promises,
        copies=copies[:-1],
        others=others,
        records=frozenset(record for record in records if record),
        units=[
            unit
            for unit in units
            if unit.path in _not_replaced(image, live) and unit.end <= len(image[unit.path] or b"")
        ],
        needed=_needed(options, image, live, units),
        stored=_stored(options, _integer(commit, 64)),
    )


def _others(
    options: Options, steps: Sequence[str], copies: Sequence[PlainImage]
) -> list[PlainImage]:
    """Other trees: of another id, of other leaves as well, and one that forked half-way.

    A log of the latter that goes on where ours might have is refused only if ours promises more.
    """
    same, _, _ = _live(options, steps, {"elsewhere": b"other random bytes"})
    different, _, _ = _live(options, steps, {"elsewhere": b"and other leaves"}, 1000)
    promises = steps[-1] == "close" or options.record
    fork = [_fork(options, copies)] if promises else []
    return [plain(same.disk.image), plain(different.disk.image), *fork]


def _live(
    options: Options,
    steps: Sequence[str],
    files: Mapping[str, bytes] | None = None,
    issued: int = 0,
) -> tuple[Life, list[PlainImage], list[Unit]]:
    """A life, the disk after each step, and the units that the steps wrote."""
    life = Life(options, SimulatedDisk(image_of(files or {})))
    life.issued = issued
    copies: list[PlainImage] = []
    units: list[Unit] = []
    for step in steps:
        life.do(step)
        before = copies[-1] if copies else {}
        copies.append(dict(plain(life.disk.image)))
        units += _written(before, copies[-1], life.issued - issued, by_open=step == "open")
    if life.tree is not None:
        abandon(life.tree)
    return life, copies, units


def _written(before: PlainImage, after: PlainImage, size: int, *, by_open: bool) -> Iterator[Unit]:
    """The unit that a step wrote, if it did: the bytes that a segment has more."""
    for path, data in after.items():
        start = len(before.get(path) or bytes(_SEGMENT_BYTES))
        if segment_of(path) and data is not None and len(data) > start:
            leaves = next(
                count
                for count in itertools.count(1)
                if -(-count // _FRAME_LEAVES) * _FRAME_BYTES + count * LEAF_BYTES
                >= len(data) - start
            )
            yield Unit(path, start, len(data), size - leaves, size, by_open)


def _needed(
    options: Options, image: PlainImage, live: Sequence[str], units: Sequence[Unit]
) -> dict[str, list[tuple[int, int]]]:
    """Of live segments the header and the units that count; of level files the leaves."""
    needed = {path: [(0, _SEGMENT_BYTES)] for path in live}
    counted = _not_replaced(image, live)
    for path, following in itertools.zip_longest(counted, counted[1:]):
        limit = None if following is None else _integer(image[following], 72)
        ends = [u.end for u in units if u.path == path and (limit is None or u.stop <= limit)]
        needed[path] = [(0, max(ends, default=_SEGMENT_BYTES))]
    for path, length in _stored(options, _integer(image.get(COMMIT), 64)).items():
        if file_class(path) == "leaves":
            needed[path] = [(_SHARD_BYTES, length)]
    return needed


def _not_replaced(image: PlainImage, live: Sequence[str]) -> list[str]:
    """Without the segments behind which a later one begins where they do, or before."""
    kept: list[str] = []
    for path in live:
        while kept and _integer(image[kept[-1]], 72) >= _integer(image[path], 72):
            kept.pop()
        kept.append(path)
    return kept


def _stored(options: Options, size: int) -> dict[str, int]:
    """The level files of a checkpoint, and how much of each it covers."""
    lengths = {}
    shard_nodes = options.groups * options.n
    level, left = 0, size
    while left:
        for shard in range(-(-left // shard_nodes)):
            count = min(shard_nodes, left - shard * shard_nodes)
            path = f"{PATH}/levels/{level}/{shard:08d}.nodes"
            lengths[path] = _SHARD_BYTES + LEAF_BYTES * count
        level, left = level + 1, left // options.n
    return lengths


def _is_record(data: bytes) -> bool:
    """Whether this is a whole commit record, of whichever tree."""
    sealed, mark = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    return len(data) == _COMMIT_BYTES and data[:8] == b"RotorCMT" and seal(sealed) == mark


def _integer(data: bytes | None, offset: int) -> int:
    return int.from_bytes((data or b"")[offset : offset + 8], "little")


def _fork(options: Options, copies: Sequence[PlainImage]) -> PlainImage:
    """A tree that went on differently from a copy that was made half-way."""
    disk = SimulatedDisk(copies[len(copies) // 2])
    tree = open_tree(disk, options)
    tree.insert_many(row(1000, 1009))
    tree.close()
    return plain(disk.image)
