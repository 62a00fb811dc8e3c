"""The simulated disk: a file system in memory that can lose power at any moment.

It implements the seam of `rotortree.storage.files`.  While a program works on it, it keeps a log of
operations with marks in between; what a power failure would leave at any point of that log is the
business of `rotortree_faultinject.crashes`.  Every call can be made to fail
(`rotortree_faultinject.faults`).
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar, cast

from rotortree.storage.files import File, Lock, OpenMode
from rotortree_faultinject.cache import Cache, Inode
from rotortree_faultinject.crashes import Unsynced
from rotortree_faultinject.faults import Died, FaultScript, Rule
from rotortree_faultinject.image import Image
from rotortree_faultinject.operations import SECTOR_BYTES, Operation
from rotortree_faultinject.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Call", "FsyncFailure", "SimulatedDisk"]

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


class SimulatedDisk:
    """A `FileSystem` in memory, with a log.  ``"."`` is its root and always there.

    ``image``: what is on it, all durable.  ``most``: how many bytes one call moves at the most.
    ``room``: how many bytes of files the disk can hold; a write over that is short, or ENOSPC.
    ``fsync_failure``: what a failed sync leaves.  ``on_call`` is called before each call, and may
    look, switch threads, or raise.
    """

    def __init__(
        self,
        image: Image | None = None,
        *,
        sector_bytes: int = SECTOR_BYTES,
        rules: Iterable[Rule] = (),
        fsync_failure: FsyncFailure = "clean",
    ) -> None:
        if sector_bytes < 1:
            raise ValueError("a sector has at least one byte")
        self.start: Image = dict(image or {})
        self.sector_bytes = sector_bytes
        self.carried: list[object] = []
        self.calls: list[Call] = []
        self.faults = FaultScript(rules)
        self.fsync_failure: FsyncFailure = fsync_failure
        self.most: int | None = None
        self.room: int | None = None
        self.on_call: Callable[[Call], None] | None = None
        self.dead = False
        self._cache = Cache(self.start, sector_bytes)

    # Looking at it.

    @property
    def log(self) -> list[Operation]:
        """What was done to the disk so far."""
        return self._cache.log

    @property
    def counts(self) -> Counter[str]:
        """How many calls of each kind there were."""
        return Counter(call.kind for call in self.calls)

    @property
    def image(self) -> Image:
        """Everything as the process sees it."""
        return {path: inode.data for path, inode in self._cache.names.items()}

    def files(self) -> dict[str, bytes]:
        """Every file and its bytes, as the process sees them, by path."""
        return {path: data for path, data in sorted(self.image.items()) if data is not None}

    # Marks, crashes, restarts.

    def mark(self, value: object) -> None:
        """Note something in the log, such as an acknowledgement."""
        self.log.append(Operation("mark", "", value=value))

    def marks(self, point: int | None = None) -> list[object]:
        """The values of the marks among the first ``point`` operations of the log, or all.

        Those from before power was lost (``carried``) come first.
        """
        return self.carried + [entry.value for entry in self.log[:point] if entry.kind == "mark"]

    def unsynced(self, profile: Profile, point: int | None = None) -> Unsynced:
        """What may and may not survive if power fails after ``point`` operations, or now."""
        state = Unsynced(self.start, profile, self.sector_bytes)
        for operation in self.log[:point]:
            state.apply(operation)
        return state

    def crash(
        self, choice: str = "", profile: Profile = PROFILES["posix"], point: int | None = None
    ) -> SimulatedDisk:
        """The disk after a power failure now, or after ``point`` operations; this one goes on.

        ``choice`` says what became of everything that was not synced, a letter each, as
        `rotortree_faultinject.crashes` explains; by default nothing of it survived.
        """
        state = self.unsynced(profile, point)
        return SimulatedDisk(state.image(state.legal(choice)), sector_bytes=self.sector_bytes)

    def lose_power(self, choice: str = "", profile: Profile = PROFILES["posix"]) -> None:
        """Lose power now, and be the disk that `crash` would give, with an empty log."""
        state = self.unsynced(profile)
        self.start = state.image(state.legal(choice))
        self.carried = self.marks()
        self._cache = Cache(self.start, self.sector_bytes)
        self.restart()

    def restarted(self, point: int | None = None) -> SimulatedDisk:
        """The disk as a new process finds it after this one was killed, now or at ``point``.

        What was not synced is in the cache still, and may still be lost to a power failure.
        """
        other = SimulatedDisk(self.start, sector_bytes=self.sector_bytes)
        for operation in self.log[:point]:
            other.replay(operation)
        return other

    def restart(self) -> None:
        """This process ended, and the next one uses the same disk: locks and faults are gone."""
        for inode in self._cache.names.values():
            inode.locks.clear()
        self.faults.rules.clear()
        self.dead = False

    def replay(self, operation: Operation) -> None:
        """Do again what another disk's log says."""
        self._cache.replay(operation)

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

    # The seam.

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return path

    def open(self, path: str, mode: OpenMode) -> File:
        """See `FileSystem.open`."""

        def operation() -> File:
            inode = self._cache.open(path, create=mode == "create")
            if inode.data is not None:
                return _SimulatedFile(self, inode, writable=mode != "read")
            if mode == "read":
                raise OSError(errno.EINVAL, "not a regular file", path)
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)

        return self.call("open", path, operation)

    def listdir(self, path: str) -> list[str]:
        """See `FileSystem.listdir`."""
        return self.call("listdir", path, lambda: self._cache.listdir(path))

    def mkdir(self, path: str) -> None:
        """See `FileSystem.mkdir`."""
        self.call("mkdir", path, lambda: self._cache.mkdir(path))

    def rename(self, old: str, new: str) -> None:
        """See `FileSystem.rename`.  Renaming a directory is not simulated, and fails."""
        self.call("rename", new, lambda: self._cache.rename(old, new))

    def unlink(self, path: str) -> None:
        """See `FileSystem.unlink`."""
        self.call("unlink", path, lambda: self._cache.unlink(path))

    def sync_directory(self, path: str) -> None:
        """See `FileSystem.sync_directory`."""

        def operation() -> None:
            self._cache.check_directory(path)
            self.log.append(Operation("sync_directory", path))

        def wrong(letter: str) -> bool | None:
            if letter in "xh" and self.fsync_failure != "dirty":
                self.log.append(Operation("failed_sync_directory", path))
            return True if letter == "l" else None

        self.call("sync_directory", path, operation, wrong)

    def lock(self, path: str, *, shared: bool) -> Lock:
        """See `FileSystem.lock`."""

        def operation() -> Lock:
            inode = self._cache.open(path, create=not shared)
            if inode.locks and not (shared and all(inode.locks.values())):
                raise BlockingIOError(errno.EAGAIN, "locked", path)
            return _SimulatedLock(inode, shared=shared)

        return self.call("lock", path, operation)

    # What files do.

    def used(self) -> int:
        """The bytes of all files together."""
        return self._cache.used()

    def write(self, inode: Inode, data: bytes, offset: int) -> int:
        """Write to a file; return how many bytes there was room for.  Raises OSError (ENOSPC)."""
        size = len(inode.data or b"")
        grown = max(0, offset + len(data) - size)
        if self.room is not None and data and grown:
            lacking = max(0, grown - max(0, self.room - self.used()))
            data = data[: max(0, len(data) - lacking)]
            if not data:
                raise OSError(errno.ENOSPC, "no space left", inode.path)
        if data:
            self._cache.write(inode, data, offset)
        return len(data)

    def truncate(self, inode: Inode, length: int) -> None:
        """Cut or extend a file."""
        self._cache.truncate(inode, length)

    def sync(self, inode: Inode) -> None:
        """Make a file durable.  Raises the error of an earlier sync that was late."""
        if inode.late_error:
            code, inode.late_error = inode.late_error, 0
            raise OSError(code, "a late error", inode.path)
        self._cache.sync(inode)

    def fail_sync(self, inode: Inode, letter: str) -> bool | None:
        """What a failing sync does before it raises; True: it returns success."""
        if letter == "l":
            return True
        if letter not in "xhj" or self.fsync_failure == "dirty":
            return None
        if self.fsync_failure == "reverted":
            self._cache.revert(inode)
            return None
        self._cache.fail_sync(inode)
        if self.fsync_failure == "late":
            inode.late_error = errno.EIO
            return True
        return None


def _let_go(result: object) -> None:
    """What a call returned that failed all the same: nobody has a lock then, to keep it."""
    if isinstance(result, _SimulatedLock):
        result.release()


class _SimulatedLock:
    def __init__(self, inode: Inode, *, shared: bool) -> None:
        self._inode = inode
        inode.locks[self] = shared

    def release(self) -> None:
        self._inode.locks.pop(self, None)


class _SimulatedFile:
    """An open file of the simulated disk."""

    __slots__ = ("_closed", "_disk", "_inode", "_writable")

    def __init__(self, disk: SimulatedDisk, inode: Inode, *, writable: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._closed = False

    def _check(self, *, write: bool = False, at: int = 0) -> None:
        if self._closed or (write and not self._writable):
            raise OSError(errno.EBADF, "bad file descriptor", self._inode.path)
        if at < 0:
            raise OSError(errno.EINVAL, "a negative offset or length", self._inode.path)

    @property
    def _data(self) -> bytes:
        return self._inode.data or b""

    def size(self) -> int:
        self._check()
        return self._disk.call("size", self._inode.path, lambda: len(self._data))

    def pread(self, length: int, offset: int) -> bytes:
        self._check(at=offset)
        if self._disk.most is not None:
            length = min(length, self._disk.most)

        def operation() -> bytes:
            return self._data[offset : offset + length]

        def wrong(letter: str) -> bytes | None:
            if letter == "s":
                return self._data[offset : offset + max(1, length // 2)]
            if letter == "m":
                step = self._disk.sector_bytes
                return self._data[offset + step : offset + step + length]
            return _rotten(operation()) if letter == "r" else None

        return self._disk.call("pread", self._inode.path, operation, wrong)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        self._check(write=True, at=offset)
        data = b"".join(buffers)[: self._disk.most]

        def operation() -> int:
            return self._disk.write(self._inode, data, offset)

        def wrong(letter: str) -> int | None:
            if letter == "l":
                return len(data)
            if letter in "hejs":
                half = data[: max(letter == "s", len(data) // 2)]
                written = self._disk.write(self._inode, half, offset)
                return written if letter == "s" else None
            if letter == "m":
                return self._disk.write(self._inode, data, offset + self._disk.sector_bytes)
            return self._disk.write(self._inode, _rotten(data), offset) if letter == "r" else None

        return self._disk.call("pwritev", self._inode.path, operation, wrong)

    def truncate(self, length: int) -> None:
        self._check(write=True, at=length)
        path = self._inode.path
        self._disk.call("truncate", path, lambda: self._disk.truncate(self._inode, length))

    def sync(self) -> None:
        self._check()
        inode, disk = self._inode, self._disk

        def operation() -> None:
            disk.sync(inode)

        disk.call("sync", inode.path, operation, lambda letter: disk.fail_sync(inode, letter))

    def map(self, length: int) -> memoryview:
        self._check()

        def operation() -> memoryview:
            if length > len(self._data):
                raise OSError(errno.EINVAL, "the file is shorter than the map", self._inode.path)
            return memoryview(self._data[:length])

        return self._disk.call("map", self._inode.path, operation)

    def close(self) -> None:
        self._closed = True


def _rotten(data: bytes) -> bytes:
    """The same bytes with one bit flipped, in the middle."""
    if not data:
        return data
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
