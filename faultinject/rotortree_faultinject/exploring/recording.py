"""Recordings: what happened to a disk, whoever did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.disk.operations import SECTOR_BYTES, Operation
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["Recording"]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a disk held at first, all of it durable, and the log of what was done to it then.

    Marks are in the log; those of the time before are in ``carried``.  Numbers of inodes and
    sequence numbers are those that a `SimulatedDisk` with the same start gives.
    """

    start: Image
    log: Sequence[Operation]
    sector_bytes: int = SECTOR_BYTES
    carried: Sequence[object] = ()

    @classmethod
    def of(cls, subject: Subject, sector_bytes: int = SECTOR_BYTES) -> Recording:
        """Run a subject's workload once, on an empty disk.  Raises whatever it raises."""
        disk = SimulatedDisk(sector_bytes=sector_bytes)
        subject.run(disk)
        return cls.of_disk(disk)

    @classmethod
    def of_disk(cls, disk: SimulatedDisk) -> Recording:
        """All that was done to a simulated disk until now."""
        return cls(disk.start, tuple(disk.log), disk.sector_bytes, tuple(disk.carried))

    def marks(self) -> list[object]:
        """The values of all marks, in order."""
        made = [operation.value for operation in self.log if operation.kind == "mark"]
        return [*self.carried, *made]
