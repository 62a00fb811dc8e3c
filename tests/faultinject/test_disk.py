"""The simulated disk is a file system like the real one, except that it can lose power."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Died, Rule
from rotortree_faultinject.disk.image import Image, Link, fingerprint, image_of, plain
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from tests.faultinject.calls import (
    BEGIN,
    TOP,
    Step,
    real_image,
    real_program,
    simulated_program,
    step,
    steps,
)

# The same calls on both.


@pytest.mark.evidence("property", "CRASH-8")
@settings(max_examples=400)
@given(steps)
@example([step("rename", "a", "a")])
@example([step("rename", "a", "d")])
@example([step("rename", "d/a", "d")])
@example([step("rename", "missing/a", "missing/a")])
@example([step("rename", "a", "missing/a")])
@example([step("rename", "b", "a/b")])
@example([step("rename", "a", "."), step("rename", ".", "a"), step("rename", "a", "l")])
@example([step("mkdir", "."), step("open", "."), step("open", "l"), step("unlink", "l")])
@example([step("unlink", "d"), step("mkdir", "a"), step("rmdir", "d"), step("rmdir", "a")])
@example([step("rename", "d", "d/e"), step("rename", "d/e", "d"), step("rename", "d", "a")])
@example([step("mkdir", "e"), step("rename", "d/e", "e"), step("identify", ".", at=2)])
@example([step("rename", "d", "e"), step("open", "a", at=1), step("identify", "a", at=1)])
@example([step("remove_tree", "d"), step("open", "b", at=1), step("listdir", at=1)])
@example([step("remove_tree", "d"), step("parent", at=2, handle=1), step("mkdir", "d", at=1)])
@example([step("move", "d", "e"), step("mkdir", "d"), step("parent", at=2, handle=2)])
@example([step("symlink", "e"), step("open", "e/a"), step("directory", "e", handle=1)])
@example([("symlink", "d/l", "", 0, 0, 6), step("lock", "d/l"), step("directory", "d/l", handle=1)])
@example([step("lock", "b"), step("lock", "a", at=1), ("lock", "a", "", 0, 1, 1)])
def test_calls_do_what_they_do_on_the_operating_system(calls: list[Step]) -> None:
    """The same results, the same errors, and the same files, directories and links in the end.

    That includes what is seen through a file or directory that is open, after it, or a directory
    above it, was renamed, replaced or removed.
    """
    with TemporaryDirectory() as folder:
        real = real_program(Path(folder))
        disk = SimulatedDisk(sector_bytes=8)
        simulated = simulated_program(disk)
        for number, call in enumerate([*BEGIN, *calls]):
            assert simulated.step(call) == real.step(call), f"step {number}"
        assert disk.image == real_image(Path(folder))
        real.close()


@settings(max_examples=300)
@given(steps)
def test_a_restarted_process_sees_what_the_killed_one_saw(calls: list[Step]) -> None:
    """At every point of the log; and what may be lost to a power failure is the same as well."""
    disk = SimulatedDisk({TOP: None, f"{TOP}/a": b"before", f"{TOP}/e": None}, sector_bytes=8)
    program = simulated_program(disk)
    images = {0: disk.image}
    for call in [*BEGIN, *calls]:
        program.step(call)
        images[len(disk.log)] = disk.image
    for point, image in images.items():
        if disk.log[point - 1 : point] and disk.log[point - 1].kind in ("unlink", "rmdir"):
            continue  # removing a tree is several operations
        assert disk.restarted(point).image == image
    again = disk.restarted()
    assert again.image == disk.image
    assert again.log == disk.log
    for profile in PROFILES.values():
        assert again.unsynced(profile).micro == disk.unsynced(profile).micro


@settings(max_examples=200)
@given(steps, steps)
@example([step("rename", "a", "b")], [step("open", "b"), ("pwritev", "", "", 0, 0, 20)])
@example([step("unlink", "a")], [("pwritev", "", "", 0, 1, 20)])
@example([step("remove_tree", "d")], [("pwritev", "", "", 0, 2, 20), step("mkdir", "d")])
def test_a_restarted_process_goes_on_as_the_killed_one_would_have(
    before: list[Step], after: list[Step]
) -> None:
    """New inodes, new micro-operations and the stale bytes in them are the same ones."""
    disk = SimulatedDisk(sector_bytes=8)
    program = simulated_program(disk)
    for call in [*BEGIN, *before]:
        program.step(call)
    program.close()
    again = disk.restarted()
    one, other = simulated_program(disk), simulated_program(again)
    for call in after:
        assert one.step(call) == other.step(call)
    assert disk.log == again.log


@pytest.mark.evidence("property", "CRASH-16")
@settings(max_examples=200)
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
    one, other = simulated_program(disk), simulated_program(twin)
    for call in [*BEGIN, *calls]:
        assert one.step(call) == other.step(call)
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


def test_closed_and_read_only_files_refuse() -> None:
    """With OSError, as descriptors do; close may be called twice."""
    disk = SimulatedDisk({"file": b"content"})
    file = disk.open("file", "read")
    with pytest.raises(OSError, match="bad file descriptor"):
        file.pwritev([b"x"], 0)
    with pytest.raises(OSError, match="not open for writing"):
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


def test_rules_and_calls_see_the_path_of_now() -> None:
    """That of a handle changes with the directories above it, and is the last one when removed."""
    disk = SimulatedDisk({"d": None, "d/e": None, "d/e/file": b"content"})
    directory = disk.directory("d/e")
    file = directory.open_writable("file")
    disk.move("d", "moved")
    file.size()
    directory.listdir()
    directory.identify("file")
    directory.directory(".").parent()
    disk.remove_tree("moved")
    disk.mkdir("moved")
    file.size()
    with pytest.raises(FileNotFoundError):
        directory.open("file")
    assert [f"{call.kind} {call.path}" for call in disk.calls[2:]] == [
        "size moved/e/file",
        "listdir moved/e",
        "identify moved/e/file",
        "open_directory moved/e",
        "open_directory moved",
        "mkdir moved",
        "size moved/e/file",
        "open moved/e/file",
    ]
    assert directory.path == "d/e"


def test_what_an_administrator_does_is_no_call() -> None:
    """No rule hits it, a dead program does not stop it, and it is in the log all the same."""
    disk = SimulatedDisk({"d": None, "d/file": b""}, rules=[Rule("*", "*", "D")])
    disk.move("d", "e")
    disk.symlink("e", "d")
    with pytest.raises(Died):
        disk.listdir(".")
    disk.remove_tree("e")
    assert disk.image == {"d": Link("e")}
    assert [operation.kind for operation in disk.log] == ["rename", "symlink", "unlink", "rmdir"]
    assert len(disk.calls) == 1


def test_paths_are_a_shorter_way_to_the_same_calls() -> None:
    """A program that names files by path leaves the same log as one with a handle of the root."""
    by_path, by_handle = SimulatedDisk({"d": None}), SimulatedDisk({"d": None})
    by_path.mkdir("d/e")
    by_path.open("d/e/file", "create").pwritev([b"content"], 0)
    by_path.rename("d/e/file", "file")
    by_path.sync_directory("d/e")
    by_path.open("file", "read").sync()
    by_path.rename("d", "f")
    by_path.unlink("file")
    root = by_handle.directory(".")
    root.mkdir("d/e")
    root.open_writable("d/e/file", create=True).pwritev([b"content"], 0)
    root.rename("d/e/file", "file")
    root.directory("d/e").sync()
    root.open_writable("file").sync()
    root.rename("d", "f")
    root.unlink("file")
    assert by_path.log == by_handle.log
    assert sorted(by_path.listdir("f")) == root.directory("f").listdir() == ["e"]


def test_links_are_followed_by_paths_from_the_root() -> None:
    """Absolute targets start at the root; links that lead to each other are an error."""
    disk = SimulatedDisk({"d": None, "d/file": b"content"})
    disk.symlink("/d", "d/again")
    disk.symlink("one", "other")
    disk.symlink("other", "one")
    assert disk.open("d/again/again/file", "read").size() == 7
    with pytest.raises(OSError, match="too many symbolic links"):
        disk.listdir("one")
    with pytest.raises(FileExistsError):
        disk.symlink("d", "one")


@pytest.mark.parametrize("room", range(8))
def test_room_is_for_the_bytes_of_files(room: int) -> None:
    """Names, directories and links cost nothing; a write gets as many bytes as there is room for.

    What was removed gives its room back.
    """
    disk = SimulatedDisk({"old": b"abc"})
    disk.room = 3 + room
    disk.mkdir("d")
    disk.symlink("d", "link")
    file = disk.directory("d").open_writable("file", create=True)
    if room:
        assert file.pwritev([b"1234", b"567"], 0) == room
    with pytest.raises(OSError, match="no space left"):
        file.pwritev([b"x"], room)
    disk.unlink("old")
    assert file.pwritev([b"xyz!"], room) == 3


def test_an_image_has_the_directories_of_its_files() -> None:
    """One without them is a mistake: nobody could find those files."""
    with pytest.raises(ValueError, match="'d/file' is in no directory"):
        SimulatedDisk({"d/file": b""})


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


links = st.builds(Link, st.text("ab", min_size=1, max_size=3))
images = st.dictionaries(st.text("ab/1", max_size=3), st.none() | st.binary(max_size=3) | links)


@settings(max_examples=300)
@given(images, images)
@example({"a": None}, {"a": b""})
@example({"a": Link("b")}, {"a": b"b"})
@example({"a": b"b\x00"}, {"a": b"", "b": b""})
def test_fingerprints_tell_images_apart(one: Image, other: Image) -> None:
    """Equal for equal images in whatever order, and different else."""
    assert fingerprint(dict(reversed([*one.items()]))) == fingerprint(one)
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_a_plain_image_has_no_links() -> None:
    """Whoever cannot deal with them is told so."""
    assert plain({"a": b"", "d": None}) == {"a": b"", "d": None}
    with pytest.raises(ValueError, match="b is a symbolic link"):
        plain({"a": b"", "b": Link("a")})
