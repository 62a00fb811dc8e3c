"""A toy log: sixty lines of a program that stores records, to show what a subject is.

Every record is one line with a checksum, appended and synced before it is acknowledged.  With
``forgets`` set to the name of a step, it leaves that step out, and the explorer finds it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from rotortree.storage.files import FileSystem
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.subject import Subject

__all__ = ["ToyLog", "append", "read"]


def append(fs: FileSystem, number: int, forgets: str) -> None:
    """Store record ``number``; when this returns, it would survive a power failure."""
    body = b"record %d" % number
    file = fs.open("log", "create")
    file.pwritev([b"%s %08x\n" % (body, zlib.crc32(body))], file.size())
    if forgets != "sync":
        file.sync()
    if number == 0 and forgets != "sync_directory":
        fs.sync_directory(".")
    file.close()


def read(fs: FileSystem, forgets: str) -> int:
    """How many records there are; cuts off what a crash left of the next one."""
    try:
        file = fs.open("log", "write")
    except FileNotFoundError:
        return 0
    count = end = 0
    for line in file.pread(file.size(), 0).splitlines(keepends=True):
        body, _, checksum = line.rstrip(b"\n").rpartition(b" ")
        torn = checksum != b"%08x" % zlib.crc32(body) or not line.endswith(b"\n")
        if torn and forgets != "checksum":
            break
        count, end = count + 1, end + len(line)
    file.truncate(end)
    file.sync()
    fs.sync_directory(".")
    return count


class ToyLog(Subject):
    """The toy log as a subject: it stores a few records, one after the other."""

    def __init__(self, forgets: str = "", records: int = 3) -> None:
        self.name = f"toy log that forgets {forgets}" if forgets else "toy log"
        self.forgets = forgets
        self.records = records

    def run(self, disk: SimulatedDisk) -> None:
        """Store the records; a mark says how many are acknowledged."""
        for number in range(self.records):
            append(disk, number, self.forgets)
            disk.mark(number + 1)

    def recover(self, disk: SimulatedDisk) -> int:
        """How many records are left."""
        return read(disk, self.forgets)

    def judge(self, marks: Sequence[object], outcome: object) -> str | None:
        """At least what was acknowledged, at most one more."""
        if outcome in (len(marks), len(marks) + 1):
            return None
        return f"{outcome} records, of which {len(marks)} were acknowledged"

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        return {"forgets": self.forgets, "records": self.records}
