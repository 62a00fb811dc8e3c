"""Small programs with one bug each, for the explorer to find."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.paths import PathFileSystem
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["FLAWS", "Journal", "Reader", "Register", "Stair", "Three", "put"]


def put(fs: PathFileSystem, path: str, data: bytes, *, sync: bool = True) -> None:
    """Write a file from its beginning, and make it durable."""
    file = fs.open(path, "create")
    file.pwritev([data], 0)
    if sync:
        file.sync()
        fs.sync_directory(".")
    file.close()


def content(fs: PathFileSystem, path: str) -> bytes:
    """A file's bytes, none if it is missing."""
    if path not in fs.listdir("."):
        return b""
    file = fs.open(path, "read")
    return file.pread(file.size(), 0)


def keep(fs: PathFileSystem, path: str) -> None:
    """Make a file durable that may be in the cache only."""
    fs.open(path, "read").sync()
    fs.sync_directory(".")


FLAWS = ("recover", "judge", "same", "go on", "workload")
"""What can be wrong with a `Register`: the name of the check that notices it."""


class Register(Subject):
    """A value in a file, replaced three times; the mark is what was acknowledged."""

    def __init__(self, flaw: str = "", values: int = 3) -> None:
        self.name = f"register with flaw {flaw}" if flaw else "register"
        self.flaw = flaw
        self.values = values

    def run(self, disk: SimulatedDisk) -> None:
        """Replace the value; a new file for each, so that it is whole or not there."""
        for number in range(1, self.values + 1):
            put(disk, "new", b"%d" % number, sync=self.flaw != "judge")
            disk.rename("new", "value")
            disk.sync_directory(".")
            disk.mark(number)
        if self.flaw == "workload":
            raise ValueError("nothing works")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """The value."""
        found = content(disk, "value")
        if self.flaw == "recover" and found == b"2":
            raise ValueError("two is too much")
        if self.flaw == "same":
            put(disk, "value", found + b"1", sync=False)
        elif found:
            keep(disk, "value")
        return found

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The last one that was acknowledged, or the next."""
        legal = [len(marks), len(marks) + 1]
        return None if outcome in [b"%d" % value if value else b"" for value in legal] else "wrong"

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """Replace it once more."""
        put(disk, "new", b"x")
        if self.flaw == "go on" and outcome == b"3":
            raise ValueError("no way on")

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        return {"flaw": self.flaw, "values": self.values}


class Journal(Subject):
    """A value that is changed by way of a journal, which recovery applies.

    An attempt of recovery leaves a file behind; attempt ``flawed`` removes the journal before the
    value is durable.  So the bug needs as many crashes in recovery, after that of the workload, as
    ``flawed`` says.
    """

    name = "journal"

    def __init__(self, flawed: int = 0) -> None:
        self.flawed = flawed

    def run(self, disk: SimulatedDisk) -> None:
        """Store the old value, then the journal of the new one."""
        put(disk, "value", b"old")
        put(disk, "journal", b"new")
        disk.mark("new")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """Apply the journal, if it is whole; the value."""
        for path in disk.listdir("."):
            keep(disk, path)
        if content(disk, "journal") != b"new":
            return content(disk, "value")
        attempt = 1 + sum(name.startswith("attempt") for name in disk.listdir("."))
        if attempt == self.flawed:
            disk.unlink("journal")
            disk.sync_directory(".")
            put(disk, "value", b"new")
        else:
            put(disk, f"attempt {attempt}", b"")
            put(disk, "value", b"new")
            disk.unlink("journal")
            disk.sync_directory(".")
        return b"new"

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The new value once it is acknowledged, and until then any."""
        return None if outcome == b"new" or not marks else f"{outcome!r}"


class Reader(Subject):
    """A program that is killed before it synced; recovery reads what is in the cache.

    ``flaw``: ``no sync`` returns what it read although that may be lost; ``poison`` syncs it, but
    leaves a trap for a second recovery that finds the old value: the third one finds another.
    """

    name = "reader"

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw

    def run(self, disk: SimulatedDisk) -> None:
        """Store a value, and another that is not synced."""
        put(disk, "value", b"old")
        disk.mark("old")
        put(disk, "value", b"new", sync=False)

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """The value, whichever it is."""
        found = content(disk, "value")
        if found == b"":
            return found
        if self.flaw == "poison" and found == b"new":
            put(disk, "trap", b"")
        if self.flaw == "poison" and found == b"old" and "trap" in disk.listdir("."):
            put(disk, "value", b"bad")
        if self.flaw != "no sync":
            keep(disk, "value")
        return found

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """Anything: only sameness is asked for."""
        return None


class Stair(Subject):
    """Recovery takes two steps, and where it finds both taken it loses the value for a moment.

    A crash within one recovery after both leads there, as does one after each in two of them.
    """

    name = "stair"

    def run(self, disk: SimulatedDisk) -> None:
        """Store the value."""
        put(disk, "value", b"old")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """Take the steps that are left; the value."""
        found = content(disk, "value")
        there = disk.listdir(".")
        for path in there:
            keep(disk, path)
        if found == b"old" and "second" in there:
            disk.unlink("value")
            disk.sync_directory(".")
            put(disk, "value", b"old")
        for path in ("first", "second"):
            if found == b"old" and path not in there:
                put(disk, path, b"")
        return found

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """Anything: only sameness is asked for."""
        return None


class Three(Subject):
    """Three names that know nothing of each other."""

    name = "three"

    def run(self, disk: SimulatedDisk) -> None:
        """Make them."""
        for path in "abc":
            disk.open(path, "create")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """Those that are there."""
        return tuple(sorted(disk.listdir(".")))

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """Anything is right."""
        return None
