"""The simulated disk is a file system like the real one, except that it can lose power."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rotortree.storage.files import File, FileSystem, OpenMode, OsFileSystem
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.image import Image, fingerprint, image_of
from rotortree_faultinject.disk.profiles import PROFILES, Profile

# The same calls on both.

NAMES = ("a", "b", "d", "d/a", "d/e", "d/e/a", "missing/a", "a/b", ".")
"""Paths that files and directories share, so that calls meet the wrong kind of thing."""

HANDLES = 3
"""Files that are open at once."""

Step = tuple[str, str, str, int, int]
"""A call, two paths, a number for its handle or mode, and a number of bytes."""

CALLS = (
    "open close size pread pwritev truncate sync map listdir mkdir rename unlink sync_directory"
).split()

steps = st.lists(
    st.tuples(
        st.sampled_from(CALLS),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(0, HANDLES - 1),
        st.integers(0, 40),
    ),
    max_size=30,
)


BEGIN: list[Step] = [
    ("mkdir", "d", "", 0, 0),
    ("open", "a", "", 0, 2),
    ("pwritev", "", "", 0, 20),
    ("open", "d/a", "", 1, 2),
    ("open", "b", "", 2, 2),
]
"""So that there is something that the calls can be about."""


class Program:
    """A file system below a directory, and the few files that are open."""

    def __init__(self, fs: FileSystem, root: str) -> None:
        self.fs = fs
        self.root = root
        self.files: dict[int, File] = {}
        self.written = 0

    def path(self, name: str) -> str:
        """Where a name is."""
        return self.root + name if self.root else name

    def step(self, step: Step) -> object:
        """Do one call; return its result, or what it raises."""
        try:
            return self._step(*step)
        except (OSError, ValueError) as error:
            return type(error)

    def _step(self, call: str, name: str, other: str, handle: int, count: int) -> object:
        fs, path = self.fs, self.path(name)
        if call == "open":
            mode: OpenMode = get_args(OpenMode)[count % 3]
            file = fs.open(path, mode)
            self.files.pop(handle, file).close()
            self.files[handle] = fs.open(path, mode)
        elif call == "rename":
            if not self._is_directory(name) and other != ".":
                fs.rename(path, self.path(other))
        elif call == "listdir":
            return sorted(fs.listdir(path))
        elif call in ("mkdir", "unlink", "sync_directory"):
            getattr(fs, call)(path)
        elif call == "close":
            if handle in self.files:
                self.files.pop(handle).close()
        elif handle in self.files:
            return self._use(self.files[handle], call, count)
        return None

    def _use(self, file: File, call: str, count: int) -> object:
        if call == "pread":
            return file.pread(count, count // 2)
        if call == "pwritev":
            self.written += 1
            data = bytes([self.written % 256]) * (count // 2)
            return file.pwritev([data[:3], data[3:]], count)
        if call == "truncate":
            file.truncate(count)
        elif call == "map":
            return bytes(file.map(count + 1))
        else:
            return getattr(file, call)()
        return None

    def _is_directory(self, name: str) -> bool:
        """What is not simulated: directories have one name."""
        try:
            self.fs.listdir(self.path(name))
        except OSError:
            return False
        return True

    def image(self) -> Image:
        """All that is there, by the seam alone."""
        found: dict[str, bytes | None] = {}
        left = sorted(self.fs.listdir(self.root or "."))
        while left:
            name = left.pop()
            try:
                left += [f"{name}/{below}" for below in self.fs.listdir(self.path(name))]
                found[name] = None
            except NotADirectoryError:
                file = self.fs.open(self.path(name), "read")
                found[name] = file.pread(1000, 0)
                file.close()
        return found


def renaming(old: str, new: str) -> list[Step]:
    """One call."""
    return [("rename", old, new, 0, 0)]


@pytest.mark.evidence("property", "CRASH-8")
@settings(max_examples=300, deadline=None)
@given(steps)
@example(renaming("a", "a"))
@example(renaming("a", "d"))
@example(renaming("d/a", "d"))
@example(renaming("missing/a", "missing/a"))
@example(renaming("a", "missing/a"))
@example(renaming("b", "a/b"))
@example([("mkdir", ".", "", 0, 0), ("open", ".", "", 0, 0), ("open", ".", "", 0, 2)])
@example([("unlink", "d", "", 0, 0), ("mkdir", "a", "", 0, 0), ("sync_directory", "a", "", 0, 0)])
def test_calls_do_what_they_do_on_the_operating_system(calls: list[Step]) -> None:
    """The same results, errors of the same types, and the same files in the end.

    That includes what a file that is open sees after it was renamed, replaced or removed.
    """
    with TemporaryDirectory() as folder:
        real = Program(OsFileSystem(), f"{folder}/")
        disk = SimulatedDisk(sector_bytes=8)
        simulated = Program(disk, "")
        for number, step in enumerate([*BEGIN, *calls]):
            assert simulated.step(step) == real.step(step), f"step {number}"
        assert simulated.image() == real.image() == disk.image
        for file in real.files.values():
            file.close()


@settings(max_examples=300, deadline=None)
@given(steps)
def test_a_restarted_process_sees_what_the_killed_one_saw(calls: list[Step]) -> None:
    """At every point of the log; and what may be lost to a power failure is the same as well."""
    disk = SimulatedDisk({"a": b"before", "d": None}, sector_bytes=8)
    program = Program(disk, "")
    images = {0: disk.image}
    for step in [*BEGIN[1:], *calls]:
        program.step(step)
        images[len(disk.log)] = disk.image
    for point, image in images.items():
        assert disk.restarted(point).image == image
    again = disk.restarted()
    assert again.log == disk.log
    for profile in PROFILES.values():
        assert again.unsynced(profile).micro == disk.unsynced(profile).micro


@settings(max_examples=200, deadline=None)
@given(steps, steps)
@example(renaming("a", "b"), [("open", "b", "", 0, 2), ("pwritev", "", "", 0, 20)])
@example([("unlink", "a", "", 0, 0)], [("pwritev", "", "", 1, 20)])
def test_a_restarted_process_goes_on_as_the_killed_one_would_have(
    before: list[Step], after: list[Step]
) -> None:
    """New inodes, new micro-operations and the stale bytes in them are the same ones."""
    disk = SimulatedDisk(sector_bytes=8)
    program = Program(disk, "")
    for step in [*BEGIN, *before]:
        program.step(step)
    again = disk.restarted()
    one, other = Program(disk, ""), Program(again, "")
    for step in after:
        assert one.step(step) == other.step(step)
    assert disk.log == again.log


@pytest.mark.evidence("property", "CRASH-16")
@settings(max_examples=200, deadline=None)
@given(steps, st.text("-kzgs", max_size=40), st.sampled_from([*PROFILES.values()]))
def test_a_crash_leaves_the_live_disk_untouched(
    calls: list[Step], choice: str, profile: Profile
) -> None:
    """It may be taken before any call, and nothing of the program's life changes by it."""
    disk, twin = SimulatedDisk(sector_bytes=8), SimulatedDisk(sector_bytes=8)

    def look(call: Call) -> None:
        """What a power failure would leave at this call."""
        del call
        disk.crash(choice, profile)

    disk.on_call = look
    one, other = Program(disk, ""), Program(twin, "")
    for step in [*BEGIN, *calls]:
        assert one.step(step) == other.step(step)
    assert disk.image == twin.image
    assert disk.log == twin.log


# Single facts.


@pytest.mark.evidence("property", "CRASH-9")
def test_nothing_survives_a_crash_by_default_but_what_was_synced() -> None:
    """File and name each need their own sync, to be safe under every profile."""
    disk = SimulatedDisk()
    file = disk.open("file", "create")
    file.pwritev([b"content"], 0)
    assert disk.crash().files() == {}
    file.sync()
    assert disk.crash().files() == {}
    disk.sync_directory(".")
    assert disk.crash().files() == {"file": b"content"}
    file.pwritev([b"changed"], 0)
    assert disk.crash().files() == {"file": b"content"}
    assert disk.files() == {"file": b"changed"}


@pytest.mark.evidence("property", "CRASH-9")
def test_crashes_are_taken_at_any_point_of_the_log() -> None:
    """The present is the last of them."""
    disk = SimulatedDisk()
    disk.open("file", "create").pwritev([b"content"], 0)
    assert [disk.crash("kkk", point=point).files() for point in range(3)] == [
        {},
        {"file": b""},
        {"file": b"content"},
    ]
    assert disk.crash("kkk").files() == {"file": b"content"}


def test_losing_power_is_going_on_as_the_disk_that_a_crash_would_give() -> None:
    """With the marks of the time before, and without its locks, deaths and faults."""
    disk = SimulatedDisk()
    disk.lock("lock", shared=False)
    disk.open("file", "create").pwritev([b"content"], 0)
    disk.mark("written")
    left = disk.crash("k-kk")
    disk.lose_power("k-kk")
    assert disk.image == left.image
    assert disk.log == []
    assert disk.marks() == ["written"]
    disk.lock("lock", shared=False)


@pytest.mark.evidence("example", "CRASH-1")
def test_marks_are_told_by_point() -> None:
    """Those among the first operations, or all."""
    disk = SimulatedDisk()
    disk.mark(1)
    disk.mkdir("d")
    disk.mark(2)
    assert [disk.marks(point) for point in range(4)] == [[], [1], [1], [1, 2]]
    assert disk.marks() == [1, 2]


def lock_results(fs: FileSystem, path: str) -> list[object]:
    """What some ways to take locks come to."""
    found: list[object] = []

    def attempt(shared: bool) -> Callable[[], None]:
        try:
            lock = fs.lock(path, shared=shared)
        except OSError as error:
            found.append(type(error))
            return lambda: None
        found.append(shared)
        return lock.release

    attempt(True)()
    release = attempt(False)
    attempt(False)
    attempt(True)
    release()
    release()
    readers = [attempt(True), attempt(True)]
    attempt(False)
    for release in readers:
        attempt(False)
        release()
    attempt(False)()
    return found


def test_locks_exclude_each_other_as_the_real_ones_do(tmp_path: Path) -> None:
    """Shared ones only exclude exclusive ones; releasing twice is releasing once."""
    found = lock_results(SimulatedDisk(), "lock")
    assert found == lock_results(OsFileSystem(), str(tmp_path / "lock"))
    assert found.count(BlockingIOError) == 5


def test_a_lock_belongs_to_a_file_and_not_to_its_name() -> None:
    """Whoever puts another file in the place of a locked one has no protection."""
    disk = SimulatedDisk()
    disk.lock("lock", shared=False)
    disk.open("other", "create")
    disk.rename("other", "lock")
    disk.lock("lock", shared=False)


def test_a_dead_process_takes_its_locks_with_it() -> None:
    """And what it does to them later is nothing any more."""
    disk = SimulatedDisk()
    old = disk.lock("lock", shared=False)
    disk.restart()
    disk.lock("lock", shared=False)
    old.release()
    with pytest.raises(BlockingIOError):
        disk.lock("lock", shared=True)


def test_closed_and_read_only_files_refuse() -> None:
    """With OSError, as descriptors do; close may be called twice."""
    disk = SimulatedDisk({"file": b"content"})
    file = disk.open("file", "read")
    with pytest.raises(OSError, match="bad file descriptor"):
        file.pwritev([b"x"], 0)
    with pytest.raises(OSError, match="bad file descriptor"):
        file.truncate(0)
    file.close()
    file.close()
    with pytest.raises(OSError, match="bad file descriptor"):
        file.size()
    assert disk.log == []


def test_negative_offsets_and_lengths_are_refused() -> None:
    """They are errors of the operating system, too."""
    file = SimulatedDisk({"file": b"content"}).open("file", "write")
    with pytest.raises(OSError, match="negative"):
        file.pread(1, -1)
    with pytest.raises(OSError, match="negative"):
        file.pwritev([b"x"], -1)
    with pytest.raises(OSError, match="negative"):
        file.truncate(-1)


def test_renaming_a_directory_is_refused() -> None:
    """It is not simulated; pretending would hide what it can lose."""
    disk = SimulatedDisk({"d": None})
    with pytest.raises(OSError, match="not simulated"):
        disk.rename("d", "e")


def test_a_map_shows_the_file_as_it_was_mapped() -> None:
    """It stays valid after close, and nothing later is seen in it."""
    disk = SimulatedDisk({"file": b"content"})
    file = disk.open("file", "write")
    view = file.map(4)
    file.truncate(0)
    file.close()
    assert bytes(view) == b"cont"
    assert view.readonly


def test_transfers_are_as_short_as_the_disk_says() -> None:
    """``most`` bytes in one call, of reads and writes."""
    disk = SimulatedDisk()
    disk.most = 3
    file = disk.open("file", "create")
    assert file.pwritev([b"ab", b"cdef"], 0) == 3
    assert disk.files() == {"file": b"abc"}
    assert file.pread(10, 0) == b"abc"
    assert file.pread(10, 1) == b"bc"


def test_sectors_have_bytes() -> None:
    """A disk of nothing is a mistake."""
    with pytest.raises(ValueError, match="at least one byte"):
        SimulatedDisk(sector_bytes=0)


def test_calls_are_counted_and_announced() -> None:
    """Before each one, and those that fail, too."""
    disk = SimulatedDisk()
    seen: list[str] = []
    disk.on_call = lambda call: seen.append(f"{call.kind} {call.path}")
    disk.open("file", "create").size()
    with pytest.raises(FileNotFoundError):
        disk.unlink("missing")
    assert seen == ["open file", "size file", "unlink missing"]
    assert disk.counts == {"open": 1, "size": 1, "unlink": 1}


# Images.


@pytest.mark.evidence("example", "CRASH-1")
def test_images_have_the_directories_that_their_files_need() -> None:
    """Nothing else is added."""
    assert image_of({"a/b/c": b"x", "d": b""}) == {"a": None, "a/b": None, "a/b/c": b"x", "d": b""}


images = st.dictionaries(st.text("ab/1", max_size=3), st.none() | st.binary(max_size=3))


@settings(max_examples=300, deadline=None)
@given(images, images)
@example({"a": None}, {"a": b""})
@example({"a": b"b\x00"}, {"a": b"", "b": b""})
def test_fingerprints_tell_images_apart(one: Image, other: Image) -> None:
    """Equal for equal images in whatever order, and different else."""
    assert fingerprint(dict(reversed([*one.items()]))) == fingerprint(one)
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
