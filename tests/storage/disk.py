"""What these tests ask of the simulated disk: crashes at their extremes, calls that go wrong.

What lies between the extremes, any subset of sectors and names, is the business of
`rotortree_faultinject.exploring.explorer`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from rotortree.storage.format import COMMIT, Commit
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.image import image_of
from rotortree_faultinject.disk.operations import MicroOperation, Name, Sector
from rotortree_faultinject.disk.profiles import PROFILES
from tests.storage.trees import PATH

__all__ = [
    "CRASHES",
    "FAILING",
    "INTERRUPTED",
    "Crash",
    "Moment",
    "after_crash",
    "after_crashes",
    "disk_of",
    "flip",
    "go_wrong",
    "record",
    "spare_creation",
]

Moment: TypeAlias = Literal["before", "half", "after"]
"""When a call goes wrong: before it did anything, half-way, or afterwards."""

FAILING: Mapping[Moment, str] = {"before": "x", "half": "h", "after": "a"}
INTERRUPTED: Mapping[Moment, str] = {"before": "k", "half": "j", "after": "q"}
"""The letters of `rotortree_faultinject.disk.faults` for an error and for Ctrl-C at a moment."""


class Crash(NamedTuple):
    """What is left of names and bytes that were not synced."""

    names: Literal["kept", "lost"]
    data: Literal["kept", "zeros", "lost"]

    def letter(self, micro: MicroOperation) -> str:
        """What becomes of a micro-operation, as `rotortree_faultinject.disk.crashes` writes it."""
        if isinstance(micro, Name):
            return "k" if self.names == "kept" else "-"
        if self.data == "zeros":
            return "z" if isinstance(micro, Sector) else "k"
        return "k" if self.data == "kept" else "-"


CRASHES = tuple(
    Crash(names, data) for names in ("kept", "lost") for data in ("kept", "zeros", "lost")
)
"""``("kept", "kept")`` is what a killed process leaves; all the others are power cuts."""


def disk_of(files: Mapping[str, bytes] | None = None) -> SimulatedDisk:
    """A disk with these files, all durable."""
    return SimulatedDisk(image_of(files or {}))


def record(disk: SimulatedDisk) -> Commit:
    """The commit record of the tree at `PATH`."""
    return Commit.decode(disk.files()[f"{PATH}/{COMMIT}"], COMMIT)


def flip(files: dict[str, bytes], path: str, offset: int) -> dict[str, bytes]:
    """The files with one bit of one of them flipped."""
    data = bytearray(files[path])
    data[offset] ^= 0x10
    return {**files, path: bytes(data)}


def after_crashes(disk: SimulatedDisk, crashes: Iterable[Crash] = CRASHES) -> list[SimulatedDisk]:
    """The disks that crashes now leave behind; this one stays as it is."""
    state = disk.unsynced(PROFILES["posix"])
    choices = ["".join(map(crash.letter, state.micro)) for crash in crashes]
    return [SimulatedDisk(state.image(state.legal(choice))) for choice in choices]


def after_crash(disk: SimulatedDisk, crash: Crash = CRASHES[0]) -> SimulatedDisk:
    """The disk that a crash now leaves behind."""
    return after_crashes(disk, [crash])[0]


def go_wrong(
    disk: SimulatedDisk, letters: str, number: int = 0, kind: str = "*", code: int = errno.EIO
) -> None:
    """Let call ``number`` of a kind, counted from 0 from now on, go wrong, and nothing else."""
    disk.faults.rules[:] = [Rule(kind, "*", "w" * number + letters, code)]


def spare_creation(disk: SimulatedDisk) -> None:
    """Let a failed sync of a directory lose no names while the tree is created.

    Section 6 of specs/durability.md leaves that out.
    """

    def on_call(call: Call) -> None:
        if call.kind == "sync_directory":
            synced = {entry.path for entry in disk.log if entry.kind == "sync_directory"}
            created = any(path.endswith("/wal") for path in synced)
            disk.fsync_failure = "clean" if created else "dirty"
        else:
            disk.fsync_failure = "clean"

    disk.on_call = on_call
