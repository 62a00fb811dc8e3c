"""Random logs of a simulated disk, and brute force over what crashes leave of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from hypothesis import HealthCheck
from hypothesis import strategies as st

from rotortree.storage.directory import File
from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.image import file_in, fingerprint
from rotortree_faultinject.disk.profiles import PROFILES, Profile

__all__ = [
    "DIRECTORIES",
    "FILE_STEPS",
    "FILTERED",
    "NAMES",
    "SECTOR",
    "START",
    "TREE_STEPS",
    "Steps",
    "all_choices",
    "all_images",
    "contents",
    "disk_after",
    "disk_with",
    "enumerated_images",
    "log_steps",
    "names",
]

FILTERED = (HealthCheck.filter_too_much, HealthCheck.too_slow)
"""Not to be checked where most logs have too many states for brute force, and are not taken."""

SECTOR = 4
"""Bytes of a sector: small ones make small files of many."""

START = {"old": b"0123456789", "d": None, "d/old": b"abcd"}
"""What is on the disk before."""

Steps = list[tuple[str, int, int, int]]
"""Calls, each with three small numbers that say which file, where and how much."""

NAMES = ("old", "new", "d/old", "d/new", "e/new")
"""The files; their directories are ``.``, ``d``, and ``e`` after mkdir."""

DIRECTORIES = ("d", "e", "d/e")
"""What directories are called in turn."""

_CHANGES = ("write", "write", "truncate", "create", "rename", "unlink", "mkdir")
_SYNCS = ("sync", "sync_directory", "fail")
FILE_STEPS = _CHANGES + _SYNCS
"""Steps after which every directory has the name that it had before."""

TREE_STEPS = ("move", "move", "rmdir", "symlink", "replace")
"""Steps that rename and remove directories, and make symbolic links."""


def log_steps(
    most: int, kinds: Sequence[str] = FILE_STEPS + TREE_STEPS
) -> st.SearchStrategy[Steps]:
    """Steps for `disk_after`, at most so many."""
    kind = st.sampled_from(kinds)
    small = st.integers(0, len(NAMES) - 1)
    return st.lists(st.tuples(kind, small, small, st.integers(0, 12)), max_size=most)


def disk_after(
    steps: Steps, *, fsync_failure: FsyncFailure = "clean", aligned: bool = False
) -> SimulatedDisk:
    """A disk on which these steps were done, as far as they can be.

    ``aligned``: every file, write and truncation begins and ends with a sector.
    """
    start = {**START, "old": b"01234567"} if aligned else START
    disk = SimulatedDisk(start, sector_bytes=SECTOR, fsync_failure=fsync_failure)
    for number, step in enumerate(steps):
        try:
            _step(disk, number, *step, grain=SECTOR if aligned else 1)
        except OSError:
            disk.faults.rules.clear()
    return disk


def _step(
    disk: SimulatedDisk, number: int, kind: str, one: int, two: int, count: int, *, grain: int
) -> None:
    path, count = NAMES[one], count // grain * grain
    if kind == "rename":
        disk.rename(path, NAMES[two])
    elif kind == "unlink":
        disk.unlink(path)
    elif kind == "sync_directory":
        disk.sync_directory((".", "d", "e")[two % 3])
    elif kind == "mkdir":
        disk.mkdir("e")
    elif kind in TREE_STEPS:
        _change_tree(disk, kind, DIRECTORIES[one % 3], DIRECTORIES[two % 3])
    elif kind == "create":
        disk.open(path, "create")
    else:
        _change(disk, disk.open(path, "write"), kind, number, two * 2 // grain * grain, count)


def _change_tree(disk: SimulatedDisk, kind: str, one: str, two: str) -> None:
    if kind == "move":
        disk.move(one, two)
    elif kind == "rmdir":
        disk.rmdir(one)
    elif kind == "symlink":
        disk.symlink(one, "link")
    else:
        disk.symlink(two, "new link")
        disk.move("new link", "link")


def _change(
    disk: SimulatedDisk, file: File, kind: str, number: int, offset: int, count: int
) -> None:
    if kind == "write":
        file.pwritev([bytes([65 + number]) * count], offset)
    elif kind == "truncate":
        file.truncate(count)
    else:
        if kind == "fail":
            disk.faults.rules.append(Rule("sync", "*", "x"))
        file.sync()


def all_choices(state: Unsynced, letters: str) -> Iterator[str]:
    """Every legal choice made of these letters, by trying all strings of them."""
    for asked in itertools.product(letters, repeat=len(state.micro)):
        choice = "".join(asked)
        if state.legal(choice) == choice:
            yield choice


def all_images(state: Unsynced, letters: str = "-kzgs") -> set[bytes]:
    """The fingerprints of everything that may be left, by brute force."""
    return {fingerprint(state.image(choice)) for choice in all_choices(state, letters)}


def enumerated_images(state: Unsynced, new: int = 0) -> set[bytes]:
    """The fingerprints of everything that may be left, as `Unsynced.enumerate` has it."""
    listing = state.enumerate(1 << 16, new=new)
    assert listing.exhaustive
    return {fingerprint(state.image(choice)) for choice in listing.choices}


def contents(
    disk: SimulatedDisk, profile: Profile = PROFILES["posix"], path: str = "file"
) -> set[bytes | None]:
    """What a file may hold after a crash now; None: there is none."""
    state = disk.unsynced(profile)
    return {
        file_in(state.image(choice), path) for choice in all_choices(state, "-k" + profile.torn)
    }


def names(disk: SimulatedDisk, profile: Profile) -> set[tuple[str, ...]]:
    """The sets of paths that may be left by a crash now."""
    state = disk.unsynced(profile)
    return {tuple(sorted(state.image(choice))) for choice in all_choices(state, "-k")}


def disk_with(content: bytes, sector_bytes: int = SECTOR) -> SimulatedDisk:
    """A disk with one file."""
    return SimulatedDisk({"file": content}, sector_bytes=sector_bytes)
