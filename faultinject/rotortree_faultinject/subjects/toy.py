"""A toy log: a small program that stores records, to show what a subject is.

A record is a line with a checksum, longer than a sector, so that it can be torn.  It is appended
and synced before it is acknowledged; recovery cuts off what is torn and syncs what it found before
it reports it.  With ``forgets`` set to one of `STEPS`, that step is left out, and the explorer
finds it.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence

from rotortree.storage.directory import File
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.paths import PathFileSystem
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["STEPS", "ToyLog", "append", "read", "record"]

STEPS = ("sync", "sync_directory", "checksum", "cut", "recovery_sync")
"""What can be forgotten: three steps of storing a record, two of reading them after a crash."""


def record(number: int) -> bytes:
    """The record of that number, a little longer than a sector."""
    return b"record %d:" % number + b" %d" % number * 300


def append(fs: PathFileSystem, body: bytes, forgets: str = "") -> None:
    """Store a record; when this returns, it would survive a power failure."""
    file = fs.open("log", "create")
    start = offset = file.size()
    line = b"%s %08x\n" % (body, zlib.crc32(body))
    while line:
        written = file.pwritev([line], offset)
        line, offset = line[written:], offset + written
    if forgets != "sync":
        file.sync()
    if start == 0 and forgets != "sync_directory":
        fs.sync_directory(".")
    file.close()


def _whole(file: File) -> bytes:
    """All bytes of a file: a read may be short, which is no torn tail."""
    data = b""
    while part := file.pread(file.size(), len(data)):
        data += part
    return data


def read(fs: PathFileSystem, forgets: str = "") -> tuple[bytes, ...]:
    """All records, which would survive a power failure, too; cuts off what is torn."""
    try:
        file = fs.open("log", "write")
    except FileNotFoundError:
        return ()
    found, end = [], 0
    for line in _whole(file).splitlines(keepends=True):
        body, _, checksum = line.rstrip(b"\n").rpartition(b" ")
        matches = checksum == b"%08x" % zlib.crc32(body) or forgets == "checksum"
        if not (matches and line.endswith(b"\n")):
            break
        found.append(body)
        end += len(line)
    if forgets != "cut":
        file.truncate(end)
    if forgets != "recovery_sync":
        file.sync()
        fs.sync_directory(".")
    file.close()
    return tuple(found)


class ToyLog(Subject):
    """The toy log as a subject: it stores a few records, one after the other.

    Raises ValueError if there is no step called ``forgets``.
    """

    def __init__(self, forgets: str = "", records: int = 2) -> None:
        if forgets not in ("", *STEPS):
            raise ValueError(f"no step {forgets!r}: there are {', '.join(STEPS)}")
        self.name = f"toy log that forgets {forgets}" if forgets else "toy log"
        self.forgets = forgets
        self.records = records

    def run(self, disk: SimulatedDisk) -> None:
        """Store the records; a mark says which one is acknowledged."""
        for number in range(self.records):
            append(disk, record(number), self.forgets)
            disk.mark(number)

    def recover(self, disk: SimulatedDisk) -> tuple[bytes, ...]:
        """The records that are left."""
        return read(disk, self.forgets)

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """The records in order: all that were acknowledged, and at most the one in flight."""
        assert isinstance(outcome, tuple)
        if outcome != tuple(map(record, range(len(outcome)))):
            return "a record that was never stored"
        if len(outcome) in (len(marks), len(marks) + 1):
            return None
        return f"{len(outcome)} records, and {len(marks)} were acknowledged"

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """One more record can be stored, and is found with the others."""
        assert isinstance(outcome, tuple)
        append(disk, b"one more", self.forgets)
        if read(disk, self.forgets) != (*outcome, b"one more"):
            raise AssertionError("a record that was stored after recovery is not found")

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        return {"forgets": self.forgets, "records": self.records}

    def smaller(self) -> Sequence[Subject]:
        """The same with a record less."""
        return [ToyLog(self.forgets, self.records - 1)] if self.records > 1 else []
