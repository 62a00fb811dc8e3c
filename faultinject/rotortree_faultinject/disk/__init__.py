"""The simulated disk, and what a power failure may leave of it.

operations  what a disk is asked to do, and the micro-operations that it is made of
image       all that is on a disk at one moment
faults      calls that go wrong: scripts of failures
profiles    what kinds of file systems let survive
cache       files and directories as processes see them, and the log
crashes     every state that a power failure may leave
machine     what one call of a program does, or what the faults make of it
handles     open files and directories, and locks
paths       the small interface of programs that use paths
disk        all of it together
schedule    threads and background tasks that take turns as told
"""

from __future__ import annotations

from rotortree_faultinject.disk.disk import SimulatedDisk
from rotortree_faultinject.disk.machine import Call, FsyncFailure

__all__ = ["Call", "FsyncFailure", "SimulatedDisk"]
