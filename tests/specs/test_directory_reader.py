"""The independent reader of the format agrees with the implementation, whatever is damaged.

One of 32 opens of all tests is compared, those in processes of their own are not
(`tests/conftest.py`). Here are the sweeps that are made for it: small trees in all situations, each
with every damage of one file, and with some of two.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from blake3 import blake3

from rotortree import (
    Blake3PlainHasher,
    CheckpointFailedError,
    ConfigMismatchError,
    DataCorruptionError,
    RotorTree,
    Sha256Hasher,
    TieringConfig,
    TreeNotFoundError,
    UnsupportedFormatError,
)
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.image import image_of
from rotortree_model import directory, layouts
from tests.campaigns.kill_score.planted import PLANTED
from tests.campaigns.planting import Edit, planted
from tests.specs.reading import DisagreementError, Reading, files_of
from tests.storage.trees import PATH, abandon, environment, leaves, open_tree

Files = Mapping[str, bytes]
Step = Callable[[RotorTree], object]

COMMIT = f"{PATH}/COMMIT"
VAIN = "a checkpoint that was not committed"

REFUSED = (DataCorruptionError, UnsupportedFormatError, TreeNotFoundError, ConfigMismatchError)


def insert(count: int) -> Step:
    """Insert the leaves that follow, and flush; more than three are two frames."""

    def step(tree: RotorTree) -> None:
        tree.insert_many(leaves(tree.size, tree.size + count))
        tree.flush()

    return step


def checkpoint_in_vain(tree: RotorTree) -> None:
    """One that a rule lets fail."""
    with pytest.raises(CheckpointFailedError):
        tree.checkpoint()


class Situation(NamedTuple):
    """How a tree got where it is: each life opens it and ends with a close, or with `abandon`.

    The rules are those of the last one.
    """

    lives: tuple[tuple[Step, ...], ...]
    n: int = 2
    keywords: Mapping[str, Any] = {}
    zeros_ahead: int = 0
    rules: tuple[Rule, ...] = ()

    def files(self) -> Files:
        """What is then on the disk."""
        disk = SimulatedDisk()
        for steps in self.lives:
            disk.restart()
            disk.faults.rules[:] = self.rules if steps is self.lives[-1] else ()
            shape = environment(disk, self.n, zeros_ahead=self.zeros_ahead)
            tree = open_tree(disk, self.n, environment=shape, **self.keywords)
            for step in steps:
                step(tree)
            if abandon not in steps:
                tree.close()
        return disk.files()


MIXED: tuple[Step, ...] = (insert(5), RotorTree.checkpoint, insert(1), insert(4))

SITUATIONS: Mapping[str, Situation] = {
    "new": Situation(((),)),
    "closed": Situation((MIXED,)),
    "closed without a checkpoint": Situation(((insert(1), insert(2)),)),
    "killed": Situation(((insert(1), insert(2), insert(4), abandon),)),
    "killed after a checkpoint": Situation(((*MIXED, abandon),)),
    "nothing but a checkpoint": Situation(((insert(8), RotorTree.checkpoint, abandon),)),
    "killed three times": Situation(((*MIXED, abandon), (insert(1), abandon), (abandon,))),
    "old segments left": Situation(
        ((insert(3), RotorTree.checkpoint, insert(1), RotorTree.checkpoint, insert(1), abandon),),
        rules=(Rule("unlink", "*.wal", "X"),),
    ),
    VAIN: Situation(
        ((insert(3),), (checkpoint_in_vain, abandon)), rules=(Rule("rename", COMMIT, "X"),)
    ),
    "another identity": Situation((MIXED,), keywords={"max_depth": 9}),
    "tiered": Situation((MIXED,), keywords={"tiering": TieringConfig(0)}),
    "zeros ahead": Situation(((*MIXED, abandon),), zeros_ahead=65536),
    "recorded acknowledgements": Situation(
        ((*MIXED, abandon),), keywords={"record_acknowledgements": True}
    ),
    "n = 3, blake3-plain": Situation((MIXED,), 3, {"hasher": Blake3PlainHasher()}),
    "n = 3, sha256": Situation(((*MIXED, abandon),), 3, {"hasher": Sha256Hasher()}),
}
"""Small trees by what is special about them."""

FORGED = ("closed", "killed", "killed three times", "old segments left", VAIN)
"""The situations that somebody forges."""


def places(data: bytes) -> Iterator[int]:
    """Every offset of a file; of zeros ahead only some."""
    used = len(data.rstrip(b"\0"))
    near = min(len(data), used + 100)
    return itertools.chain(range(near), range(near, len(data), 4001))


def flipped(files: Files, path: str, at: int) -> Files:
    """The files with one bit of one byte changed."""
    data = files[path]
    return {**files, path: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]}


def without(files: Files, path: str) -> Files:
    """The files but one."""
    return {name: data for name, data in files.items() if name != path}


def damages_of_contents(files: Files) -> Iterator[Files]:
    """Every byte flipped, every 32 bytes zeroed, and from there on to the end, bytes appended."""
    for path, data in files.items():
        yield from (flipped(files, path, at) for at in places(data))
        for at in range(0, min(len(data), 4096), 32):
            rest = data[at + 32 :]
            yield {**files, path: data[:at] + bytes(len(data[at : at + 32])) + rest}
            yield {**files, path: data[:at] + bytes(len(data) - at)}
        yield {**files, path: data + bytes(64)}
        yield {**files, path: data + b"RtFr" + bytes(64)}


def damages_of_names(files: Files) -> Iterator[Files]:
    """Every file cut to every length, missing, in the place of every other; every two missing."""
    for path, data in files.items():
        yield from ({**files, path: data[:at]} for at in places(data))
        yield without(files, path)
        for other in files:
            yield {**files, other: data}
            yield without(without(files, path), other)


def damages_of_two_files(files: Files) -> Iterator[Files]:
    """Every file missing, or with a flipped byte, and a byte of every other one flipped."""
    for path, other in itertools.permutations(files, 2):
        for at in range(len(other) % 29, min(len(files[other]), 2048), 29):
            yield flipped(without(files, path), other, at)
            if files[path]:
                yield flipped(flipped(files, path, len(files[path]) * 2 // 3), other, at)


def damages_with_right_seals(files: Files) -> Iterator[Files]:
    """Every byte of every header flipped, and all seals made anew: what somebody could forge."""
    for path, data in files.items():
        if "/wal/" in path:
            for at in headers_of_log(data):
                yield {**files, path: forged_log(data, flipped(files, path, at)[path])}
        elif data:
            for at in range(min(len(data), layouts.COMMIT_BYTES)):
                yield {**files, path: forged(path, data, flipped(files, path, at)[path])}


def identities(files: Files) -> Iterator[Files]:
    """Another identity in all headers at once: any byte, and too small a depth."""
    for at in range(8, 64):
        for value in {1, 2, 3, 5, ord("b")}:
            yield {
                path: forged(path, data, data[:at] + bytes([value]) + data[at + 1 :])
                for path, data in files.items()
            }


def forged(path: str, data: bytes, changed: bytes) -> bytes:
    """A file with a changed header, and right seals."""
    if "/wal/" in path:
        return forged_log(data, changed)
    length = {COMMIT: layouts.COMMIT_BYTES}.get(path, layouts.LEVEL_HEADER_BYTES)
    header = changed[: length - layouts.SEAL_BYTES]
    return header + layouts.seal(header) + changed[length:] if data else data


def headers_of_log(data: bytes) -> Iterator[int]:
    """The offsets of the bytes of a segment's header and of its frames' headers."""
    yield from range(layouts.SEGMENT_HEADER_BYTES)
    for at, _ in frames_of(data):
        yield from range(at, at + layouts.FRAME_HEADER_BYTES)


def frames_of(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the frames of an undamaged segment begin and end."""
    at = layouts.SEGMENT_HEADER_BYTES
    for frame in layouts.frames(data[:at], data):
        yield at, frame.end
        at = frame.end


def forged_log(data: bytes, changed: bytes) -> bytes:
    """A changed segment with right seals, each chained to the one before if it was not changed."""
    header = changed[: layouts.SEGMENT_HEADER_BYTES - layouts.SEAL_BYTES]
    forged = header + layouts.seal(header)
    key, chain = blake3(forged).digest(), forged[-layouts.SEAL_BYTES :]
    for at, end in frames_of(data):
        payload = changed[at + layouts.FRAME_HEADER_BYTES : end]
        is_chained = changed[at + 80 : at + 96] == data[at + 80 : at + 96]
        frame = changed[at : at + 80] + (chain if is_chained else changed[at + 80 : at + 96])
        frame += layouts.seal(payload, key)
        chain = layouts.seal(frame, key)
        forged += frame + chain + payload
    return forged + changed[len(forged) :]


def files_of_other_trees(files: Files) -> Iterator[Files]:
    """Every file, and any two of them, as they are in every other situation."""
    for situation in SITUATIONS.values():
        others = situation.files()
        for path, other in itertools.product(others, others):
            yield {**files, path: others[path], other: others[other]}


def opened(files: Files, **keywords: bool) -> bool:
    """Open a tree, or see it refused, and forget it; True."""
    with contextlib.suppress(*REFUSED):
        abandon(open_tree(SimulatedDisk(image_of(files)), create=False, **keywords))
    return True


@pytest.fixture(autouse=True)
def _all_are_read(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one of some only."""
    monkeypatch.setattr(reading, "every", 1)


def check_all(reading: Reading, images: Iterator[Files], **keywords: bool) -> None:
    """Every one of these is read by both; they disagree about none."""
    before = reading.counts.total()
    count = sum(1 for files in images if opened(files, **keywords))
    assert reading.counts.total() - before == count > 0


@pytest.mark.evidence(
    "damage",
    "FORMAT-13",
    "FORMAT-24",
    "FORMAT-33",
    "FORMAT-46",
    "FORMAT-54",
    "FORMAT-55",
    "FORMAT-56",
    "FORMAT-61",
    "FORMAT-62",
    "FORMAT-64",
    "FORMAT-74",
)
@pytest.mark.parametrize("name", SITUATIONS)
def test_reader_agrees_whatever_is_changed_in_a_file(name: str, reading: Reading) -> None:
    """A reader that verifies: every byte flipped, zeros of any length, bytes appended."""
    check_all(reading, damages_of_contents(SITUATIONS[name].files()), read_only=True)


@pytest.mark.evidence(
    "damage", "FORMAT-9", "FORMAT-54", "FORMAT-57", "FORMAT-63", "FORMAT-70", "FORMAT-74"
)
@pytest.mark.parametrize("name", SITUATIONS)
def test_reader_agrees_whatever_is_missing(name: str, reading: Reading) -> None:
    """A writer: every file cut to every length, lost, replaced by another; any two of them lost."""
    check_all(reading, damages_of_names(SITUATIONS[name].files()))


@pytest.mark.evidence("damage", "FORMAT-54", "FORMAT-59", "FORMAT-60", "FORMAT-64")
@pytest.mark.parametrize("name", SITUATIONS)
def test_reader_agrees_when_two_files_are_damaged(name: str, reading: Reading) -> None:
    """With and without verification."""
    files = SITUATIONS[name].files()
    for verify in (True, False):
        check_all(reading, damages_of_two_files(files), read_only=True, verify_checkpoint=verify)


@pytest.mark.evidence(
    "damage",
    "FORMAT-13",
    "FORMAT-14",
    "FORMAT-15",
    "FORMAT-16",
    "FORMAT-18",
    "FORMAT-22",
    "FORMAT-24",
    "FORMAT-28",
    "FORMAT-43",
    "FORMAT-47",
    "FORMAT-54",
)
@pytest.mark.parametrize("name", FORGED)
def test_reader_agrees_about_what_somebody_forged(name: str, reading: Reading) -> None:
    """Whatever field has another value, under a right seal."""
    files = SITUATIONS[name].files()
    check_all(reading, damages_with_right_seals(files), read_only=True)
    check_all(reading, identities(files), read_only=True)


@pytest.mark.evidence("damage", "FORMAT-14", "FORMAT-54", "FORMAT-57", "FORMAT-74")
@pytest.mark.parametrize("name", SITUATIONS)
def test_reader_agrees_about_files_of_other_trees(name: str, reading: Reading) -> None:
    """Trees of the same and of another identity, that went another way."""
    images = list(files_of_other_trees(SITUATIONS[name].files()))
    check_all(reading, iter(images), read_only=True)


def test_a_tree_is_read_by_way_of_a_link_as_it_is_opened() -> None:
    """Its files are those of the directory that the link leads to; a link to nothing has none."""
    disk = SimulatedDisk()
    open_tree(disk).close()
    disk.symlink(PATH, "link")
    disk.symlink("nowhere", "lost")
    files = files_of(disk, PATH)
    assert files
    assert "COMMIT" in files
    assert files_of(disk, "link") == files
    assert files_of(disk, "lost") == files_of(disk, "nowhere") == {}
    disk.move(f"{PATH}/wal", "log")
    disk.symlink("/log", f"{PATH}/wal")
    assert files_of(disk, PATH) == files


def test_situations_are_what_they_say(reading: Reading) -> None:
    """Undamaged, they are all there is: closed and not, torn or not, of one segment or several."""
    before = reading.counts.copy()
    for situation in SITUATIONS.values():
        opened(situation.files())
    assert {"closed", "not closed"} <= set(reading.counts - before)


FAULTS = (
    Edit(layouts.segment, "range(invalid, len(data), ALIGNMENT)", "()"),
    Edit(layouts.segment, "range(invalid, len(data), ALIGNMENT)", "[invalid]"),
    Edit(layouts.segment, 'max(invalid, len(data.rstrip(b"\\0")))', "invalid"),
    Edit(layouts.segment, "number != name", "False"),
    Edit(layouts.frames, "data[at + 80 : at + 96] != chain", "False"),
    Edit(layouts.frames, "(count, size)", "(number_at(data, at + 8, 8), size)"),
    Edit(layouts.frame_at, "data[at + 96 : at + 112] != seal(data[start:end], key)", "False"),
    Edit(layouts.frame_at, "promise(data, at) > at", "False"),
    Edit(layouts.frame_at, "number_at(data, at + 4, 4) == 1", "False"),
    Edit(layouts.segment, "own < SEGMENT_HEADER_BYTES", "False"),
    Edit(layouts.segment, "[own, *promises", "[0, *promises"),
    Edit(layouts.is_sealed, "mark == seal(sealed, key)", "True"),
    Edit(layouts.is_sealed, " or any(sealed[40:48])", ""),
    Edit(layouts.identity, "seal(sealed) != mark", "False"),
    Edit(layouts.identity, "number_at(data, 8, 2) != VERSION", "False"),
    Edit(layouts.commit_record, "checkpoint.size <= acknowledged.size", "True"),
    Edit(layouts.level_header, "bytes([tree.n, tree.max_depth])", "bytes([tree.max_depth] * 2)"),
    Edit(directory.decide, "at >= first", "True"),
    Edit(directory.decide, "commit.last not in numbers", "False"),
    Edit(directory.followed, "heads.index(following.base)", "len(heads)"),
    Edit(directory.followed, "following.base not in heads", "False"),
    Edit(directory.check_identities, "commit.identity != live[-1].identity", "False"),
    Edit(directory.check_checkpoint, "commit.checkpoint != first.base", "False"),
    Edit(directory.not_replaced, "one.base.size < later.base.size", "True"),
    Edit(directory.check_end, "end.size > last.identity.capacity", "False"),
    Edit(directory.check_end, "acknowledged > end.size", "False"),
    Edit(directory.check_end, "last.promise > last.invalid", "False"),
    Edit(directory.check_never_created, "COMMIT in files or stored", "False"),
    Edit(directory.shards_at, "number = first // tree.shard_nodes", "number = first"),
    Edit(directory.loaded, "not verify", "True"),
    Edit(directory.untrusted, "if wrong", "if False"),
    Edit(directory.contents, "commit.last == last.number", "commit.last != last.number"),
    Edit(directory.contents, "commit.acknowledged.size if commit else 0", "0"),
    Edit(directory.grown, "len(below) - rows.n + 1", "len(below)"),
    Edit(directory.root_at, "*edge)", "*())"),
)
"""What the reader could have wrong."""

PRODUCTION = (
    "segment header's seal not checked",
    "frame header's seal not checked",
    "chain ignored",
    "promise not checked",
    "MORE not read",
    "next base not the end",
    "checkpoint not compared",
    "every segment live",
    "last segment not missed",
    "acknowledged size ignored",
    "no reading ahead",
    "level files not proven",
)
"""The other way round: planted faults of the implementation."""


@functools.cache
def everything() -> tuple[Files, ...]:
    """A sample of all of the above, mixed, so that what is wrong is seen soon."""
    found: list[Files] = []
    for name in FORGED:
        files = SITUATIONS[name].files()
        found.append(files)
        found += itertools.islice(damages_of_names(files), 0, None, 7)
        found += itertools.islice(damages_of_contents(files), 0, None, 7)
        found += itertools.islice(damages_of_two_files(files), 0, None, 3)
        found += damages_with_right_seals(files)
        found += itertools.islice(files_of_other_trees(files), 0, None, 3)
        found += identities(files)
    random.Random(0).shuffle(found)
    return tuple(found)


def open_all(images: tuple[Files, ...]) -> None:
    """Until somebody disagrees."""
    for files in images:
        opened(files)
        opened(files, read_only=True, verify_checkpoint=False)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.where.__name__}-{fault.new}")
def test_a_fault_of_the_reader_is_a_disagreement(fault: Edit) -> None:
    """Some damage shows it, so the sweeps ask for every check that the reader makes."""
    images = everything()
    with planted(fault), pytest.raises((DisagreementError, IndexError, ValueError)):
        open_all(images)


@pytest.mark.parametrize("name", PRODUCTION)
def test_a_fault_of_the_implementation_is_a_disagreement(name: str) -> None:
    """Planted ones: some damage shows each."""
    images = everything()
    with PLANTED[name].apply(), pytest.raises((DisagreementError, IndexError)):
        open_all(images)
