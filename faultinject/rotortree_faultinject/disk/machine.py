"""The machine: what one call of a program does to the cache, or what the faults make of it.

Files and directories that are open (`rotortree_faultinject.disk.handles`) do all their calls
through here.  Every call can be made to fail (`rotortree_faultinject.disk.faults`).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar, cast

from rotortree_faultinject.disk.cache import Cache, Inode
from rotortree_faultinject.disk.faults import Died, FaultScript, Rule
from rotortree_faultinject.disk.image import Image

__all__ = ["Call", "FsyncFailure", "Machine", "SimulatedLock"]

_T = TypeVar("_T")

FsyncFailure: TypeAlias = Literal["clean", "dirty", "reverted", "late"]
"""What a failed sync leaves (Rebello et al., ATC 2020).

``clean``: the new content in the cache, marked clean, so that no later sync writes it
(ext4-ordered, xfs).  ``dirty``: as before the sync, which may be repeated.  ``reverted``: what the
last sync that succeeded wrote; the new content is gone (btrfs).  ``late``: as clean, and the sync
that failed returns success; the next one of that file raises (ext4 with data=journal).
"""


class Call(NamedTuple):
    """One call of the seam."""

    kind: str
    path: str


class SimulatedLock:
    """A lock of some inodes."""

    def __init__(self, inodes: Iterable[Inode], *, shared: bool, guards_directory: bool) -> None:
        self.guards_directory = guards_directory
        self._inodes = tuple(inodes)
        for inode in self._inodes:
            inode.locks[self] = shared

    def release(self) -> None:
        """See `rotortree.storage.directory.Lock`."""
        for inode in self._inodes:
            inode.locks.pop(self, None)


class Machine:
    """A cache, and the calls that a process makes to it.

    ``image`` is what is on the disk, all of it durable.  ``can_lock_directories`` is False for a
    file system such as NFS.
    """

    def __init__(
        self, image: Image, sector_bytes: int, rules: Iterable[Rule], fsync_failure: FsyncFailure
    ) -> None:
        if sector_bytes < 1:
            raise ValueError("a sector has at least one byte")
        self.start: Image = dict(image)
        self.sector_bytes = sector_bytes
        self.calls: list[Call] = []
        self.faults = FaultScript(rules)
        self.fsync_failure: FsyncFailure = fsync_failure
        self.most: int | None = None
        self.room: int | None = None
        self.can_lock_directories = True
        self.on_call: Callable[[Call], None] | None = None
        self.dead = False
        self.cache = Cache(self.start, sector_bytes)

    # How calls go wrong.

    def call(
        self,
        kind: str,
        path: str,
        operation: Callable[[], _T],
        wrong: Callable[[str], object] = lambda letter: None,
    ) -> _T:
        """Do one call of the seam, or what the fault script makes of it.

        ``wrong`` does what a letter means for this call and returns what the call then returns;
        None where it means nothing more: the call then fails, or works, as any other would.
        """
        if self.dead:
            raise Died
        self.calls.append(Call(kind, path))
        if self.on_call is not None:
            self.on_call(self.calls[-1])
        letter, code = self.faults.next(kind, path) if self.faults.rules else ("w", 0)
        if letter == "w":
            return operation()
        if letter in "de":
            self.dead = True
            if letter == "e":
                with contextlib.suppress(OSError):  # there was no room for half of it
                    wrong("e")
            raise Died
        if letter in "kjq":
            if letter == "q":
                _let_go(operation())
            elif letter == "j":
                with contextlib.suppress(OSError):
                    wrong("j")
            raise KeyboardInterrupt
        if letter == "i":
            raise InterruptedError(errno.EINTR, "interrupted", path)
        if letter == "a":
            _let_go(operation())
        else:
            result = wrong(letter)
            if result is not None:
                return cast(_T, result)
            if letter in "slmr":
                self.faults.hits -= 1  # this kind of call cannot go wrong in that way
                return operation()
        raise OSError(code, "injected", path)

    # What files do.

    def used(self) -> int:
        """The bytes of all files together."""
        return self.cache.used()

    def write(self, inode: Inode, data: bytes, offset: int) -> int:
        """Write to a file; return how many bytes there was room for.  Raises OSError (ENOSPC)."""
        size = len(inode.data)
        grown = max(0, offset + len(data) - size)
        if self.room is not None and data and grown:
            lacking = max(0, grown - max(0, self.room - self.used()))
            data = data[: max(0, len(data) - lacking)]
            if not data:
                raise OSError(errno.ENOSPC, "no space left", inode.path)
        if data:
            self.cache.write(inode, data, offset)
        return len(data)

    def truncate(self, inode: Inode, length: int) -> None:
        """Cut or extend a file."""
        self.cache.truncate(inode, length)

    def sync(self, inode: Inode) -> None:
        """Make a file durable.  Raises the error of an earlier sync that was late."""
        if inode.late_error:
            code, inode.late_error = inode.late_error, 0
            raise OSError(code, "a late error", inode.path)
        self.cache.sync(inode)

    def fail_sync(self, inode: Inode, letter: str) -> bool | None:
        """What a failing sync does before it raises; True: it returns success."""
        if letter == "l":
            return True
        if letter not in "xhj" or self.fsync_failure == "dirty":
            return None
        if self.fsync_failure == "reverted":
            self.cache.revert(inode)
            return None
        self.cache.fail_sync(inode)
        if self.fsync_failure == "late":
            inode.late_error = errno.EIO
            return True
        return None

    def sync_names(self, path: str, find: Callable[[], Inode]) -> None:
        """Make the names in the directory that ``find`` returns durable."""

        def operation() -> None:
            self.cache.sync_names(find())

        def wrong(letter: str) -> bool | None:
            if letter in "xh" and self.fsync_failure != "dirty":
                with contextlib.suppress(OSError):  # there is no such directory
                    self.cache.sync_names(find(), "failed_sync_directory")
            return True if letter == "l" else None

        self.call("sync_directory", path, operation, wrong)

    def check_locks(self, inodes: Iterable[Inode], *, shared: bool) -> None:
        """Raise BlockingIOError if one of these inodes cannot be locked."""
        for inode in inodes:
            if inode.locks and not (shared and all(inode.locks.values())):
                raise BlockingIOError(errno.EAGAIN, "locked", inode.path)

    def lock_inodes(
        self, inodes: Sequence[Inode], *, shared: bool, guards_directory: bool
    ) -> SimulatedLock:
        """Lock all of these inodes, or none and raise BlockingIOError."""
        self.check_locks(inodes, shared=shared)
        return SimulatedLock(inodes, shared=shared, guards_directory=guards_directory)


def _let_go(result: object) -> None:
    """What a call returned that failed all the same: nobody has a lock then, to keep it."""
    if isinstance(result, SimulatedLock):
        result.release()
