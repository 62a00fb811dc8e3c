"""The simulated disk: a file system in memory that can lose power at any moment.

It implements the seam of `rotortree.storage.files`.  While a program works on it, it keeps a log of
operations with marks in between; what a power failure would leave at any point of that log is the
business of `rotortree_faultinject.crashes`.  Every call can be made to fail
(`rotortree_faultinject.faults`).
"""

from __future__ import annotations

import errno
import itertools
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar, cast

from rotortree.storage.files import File, Lock, OpenMode
from rotortree_faultinject.crashes import Unsynced
from rotortree_faultinject.faults import Died, FaultScript, Rule
from rotortree_faultinject.image import Image
from rotortree_faultinject.operations import (
    SECTOR_BYTES,
    MicroOperation,
    Name,
    Operation,
    Sector,
    Size,
)
from rotortree_faultinject.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Call", "FsyncFailure", "SimulatedDisk"]

T = TypeVar("T")

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


class _Inode:
    """A file's bytes as the process sees them; None for a directory."""

    __slots__ = ("data", "late_error", "number", "path")

    def __init__(self, number: int, path: str, data: bytes | None) -> None:
        self.number = number
        self.path = path
        self.data = data
        self.late_error = 0


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
        self.start: Image = dict(image or {})
        self.sector_bytes = sector_bytes
        self.log: list[Operation] = []
        self.carried: list[object] = []
        self.calls: list[Call] = []
        self.faults = FaultScript(rules)
        self.fsync_failure: FsyncFailure = fsync_failure
        self.most: int | None = None
        self.room: int | None = None
        self.on_call: Callable[[Call], None] | None = None
        self.dead = False
        self._locks: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        """What the process sees is what the disk held at the start."""
        self._sequence = itertools.count()
        self._names: dict[str, _Inode] = {}
        self._removed: list[bytes] = []
        for number, path in enumerate(sorted(self.start)):
            self._names[path] = _Inode(number, path, self.start[path])
        self._numbers = itertools.count(len(self._names))

    # Looking at it.

    @property
    def counts(self) -> Counter[str]:
        """How many calls of each kind there were."""
        return Counter(call.kind for call in self.calls)

    @property
    def image(self) -> Image:
        """Everything as the process sees it."""
        return {path: inode.data for path, inode in self._names.items()}

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
        self.log.clear()
        self._begin()
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
        self._locks.clear()
        self.faults.rules.clear()
        self.dead = False

    def replay(self, operation: Operation) -> None:
        """Do again what another disk's log says."""
        self.log.append(operation)
        if operation.kind == "lost_sync":
            assert isinstance(operation.value, bytes)  # the content that it went back to
            self._inode(operation.inode).data = operation.value
        for micro in operation.micro:
            self._replay(micro, operation)
        last = max((micro.sequence for micro in operation.micro), default=-1)
        self._sequence = itertools.count(max(last + 1, next(self._sequence)))

    def _replay(self, micro: MicroOperation, operation: Operation) -> None:
        if isinstance(micro, Name):
            if micro.inode is None:
                inode = self._names.pop(micro.path, None)
                if inode is not None and operation.kind == "unlink":
                    self._removed.append(inode.data or b"")
                return
            known = [node for node in self._names.values() if node.number == micro.inode]
            made = _Inode(micro.inode, micro.path, None if micro.is_directory else b"")
            inode = known[0] if known else made
            inode.path = micro.path
            if micro.replaces:
                self._removed.append(self._names[micro.path].data or b"")
            self._names[micro.path] = inode
            self._numbers = itertools.count(max(micro.inode + 1, next(self._numbers)))
            return
        inode = self._inode(micro.inode)
        data = inode.data or b""
        if isinstance(micro, Size):
            inode.data = data[: micro.length].ljust(micro.length, b"\0")
        elif micro.data:  # nothing is left of a sector that was cut off
            offset = micro.number * self.sector_bytes
            end = offset + len(micro.data)
            inode.data = data[:offset].ljust(offset, b"\0") + micro.data + data[end:]

    def _inode(self, number: int) -> _Inode:
        for inode in self._names.values():
            if inode.number == number:
                return inode
        return _Inode(number, "", b"")  # removed, and still open when it was changed

    # How calls go wrong.

    def call(
        self,
        kind: str,
        path: str,
        operation: Callable[[], T],
        wrong: Callable[[str], object] = lambda letter: None,
    ) -> T:
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
                wrong("h")
            raise Died
        if letter == "k":
            raise KeyboardInterrupt
        if letter == "i":
            raise InterruptedError(errno.EINTR, "interrupted", path)
        if letter == "a":
            operation()
        else:
            result = wrong(letter)
            if letter in "slmr" and result is None:
                return operation()
            if letter != "h" and result is not None:
                return cast(T, result)
        raise OSError(code, "injected", path)

    # The seam.

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return path

    def open(self, path: str, mode: OpenMode) -> File:
        """See `FileSystem.open`."""

        def operation() -> File:
            inode = self._names.get(path)
            if inode is None:
                if mode != "create":
                    raise FileNotFoundError(errno.ENOENT, "no such file", path)
                inode = self._create("create", path, b"")
            if inode.data is None:
                raise IsADirectoryError(errno.EISDIR, "is a directory", path)
            return _SimulatedFile(self, inode, writable=mode != "read")

        return self.call("open", path, operation)

    def _create(self, kind: str, path: str, data: bytes | None) -> _Inode:
        above = posixpath.dirname(path)
        if above not in ("", "/") and above not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        inode = _Inode(next(self._numbers), path, data)
        self._names[path] = inode
        name = Name(next(self._sequence), path, inode.number, inode.number, data is None)
        self.log.append(Operation(kind, path, inode.number, (name,)))
        return inode

    def listdir(self, path: str) -> list[str]:
        """See `FileSystem.listdir`."""

        def operation() -> list[str]:
            if path not in (".", "/"):
                if path not in self._names:
                    raise FileNotFoundError(errno.ENOENT, "no such directory", path)
                if self._names[path].data is not None:
                    raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
            start = "" if path == "." else path.rstrip("/") + "/"
            names = (name[len(start) :] for name in self._names if name.startswith(start))
            return [name for name in names if "/" not in name]

        return self.call("listdir", path, operation)

    def mkdir(self, path: str) -> None:
        """See `FileSystem.mkdir`."""

        def operation() -> None:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, "exists", path)
            self._create("mkdir", path, None)

        self.call("mkdir", path, operation)

    def rename(self, old: str, new: str) -> None:
        """See `FileSystem.rename`."""

        def operation() -> None:
            if old not in self._names:
                raise FileNotFoundError(errno.ENOENT, "no such file", old)
            inode = self._names.pop(old)
            replaced = self._names.get(new)
            if replaced is not None:
                self._removed.append(replaced.data or b"")
            self._names[new] = inode
            inode.path = new
            group = next(self._sequence)
            added = Name(group, new, inode.number, inode.number, False, group, replaced is not None)
            gone = Name(next(self._sequence), old, None, inode.number, False, group)
            self.log.append(Operation("rename", new, inode.number, (added, gone), old))

        self.call("rename", new, operation)

    def unlink(self, path: str) -> None:
        """See `FileSystem.unlink`."""

        def operation() -> None:
            inode = self._names.pop(path, None)
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self._removed.append(inode.data or b"")
            gone = Name(next(self._sequence), path, None, inode.number)
            self.log.append(Operation("unlink", path, inode.number, (gone,)))

        self.call("unlink", path, operation)

    def sync_directory(self, path: str) -> None:
        """See `FileSystem.sync_directory`."""

        def operation() -> None:
            self.log.append(Operation("sync_directory", path))

        def wrong(letter: str) -> bool | None:
            if letter in "xh" and self.fsync_failure != "dirty":
                self.log.append(Operation("failed_sync_directory", path))
            return True if letter == "l" else None

        self.call("sync_directory", path, operation, wrong)

    def lock(self, path: str, *, shared: bool) -> Lock:
        """See `FileSystem.lock`."""

        def operation() -> Lock:
            if path not in self._names:
                if shared:
                    raise FileNotFoundError(errno.ENOENT, "no such file", path)
                self._create("create", path, b"")
            if self._locks[path] < 0 or (self._locks[path] > 0 and not shared):
                raise BlockingIOError(errno.EAGAIN, "locked", path)
            self._locks[path] += 1 if shared else -1
            return _SimulatedLock(self._locks, path, 1 if shared else -1)

        return self.call("lock", path, operation)

    # What files do.

    def used(self) -> int:
        """The bytes of all files together."""
        return sum(len(inode.data or b"") for inode in self._names.values())

    def write(self, inode: _Inode, data: bytes, offset: int) -> int:
        """Write to a file; return how many bytes there was room for.  Raises OSError (ENOSPC)."""
        assert inode.data is not None  # a directory is never opened
        if self.room is not None:
            grown = max(0, offset + len(data) - len(inode.data))
            left = max(0, self.room - self.used())
            if grown > left:
                data = data[: max(0, len(data) - (grown - left))]
                if not data:
                    raise OSError(errno.ENOSPC, "no space left", inode.path)
        old = inode.data
        end = offset + len(data)
        inode.data = old[:offset].ljust(offset, b"\0") + data + old[end:]
        micro: list[MicroOperation] = list(self._sectors(inode, offset, end, len(old)))
        if end > len(old):
            micro.append(Size(next(self._sequence), inode.number, end))
        self.log.append(Operation("write", inode.path, inode.number, tuple(micro), (offset, end)))
        return len(data)

    def _sectors(self, inode: _Inode, start: int, end: int, old: int) -> Iterator[Sector]:
        """The sectors of a file that a change of [start, end) touches, as they are now."""
        assert inode.data is not None
        step = self.sector_bytes
        for number in range(start // step, -(-end // step)):
            at = number * step
            removed = self._removed[-1] if self._removed else b""
            yield Sector(
                sequence=next(self._sequence),
                inode=inode.number,
                number=number,
                data=inode.data[at : at + step],
                start=max(0, start - at),
                stop=min(step, end - at),
                fresh=min(step, max(0, old - at)),
                stale=removed[at : at + step],
            )

    def truncate(self, inode: _Inode, length: int) -> None:
        """Cut or extend a file."""
        assert inode.data is not None
        old = len(inode.data)
        inode.data = inode.data[:length].ljust(length, b"\0")
        size = Size(next(self._sequence), inode.number, length)
        lost = self._sectors(inode, length, old, old) if length < old else ()
        cut = [sector._replace(cut=size.sequence) for sector in lost]
        self.log.append(Operation("truncate", inode.path, inode.number, (size, *cut), length))

    def sync(self, inode: _Inode) -> None:
        """Make a file durable.  Raises the error of an earlier sync that was late."""
        if inode.late_error:
            code, inode.late_error = inode.late_error, 0
            raise OSError(code, "a late error", inode.path)
        self.log.append(Operation("sync", inode.path, inode.number))

    def fail_sync(self, inode: _Inode, letter: str) -> bool | None:
        """What a failing sync does before it raises; True: it returns success."""
        if letter == "l":
            return True
        if letter not in "xh" or self.fsync_failure == "dirty":
            return None
        if self.fsync_failure == "reverted":
            inode.data = self._synced(inode)
            self.log.append(Operation("lost_sync", inode.path, inode.number, value=inode.data))
            return None
        self.log.append(Operation("failed_sync", inode.path, inode.number))
        if self.fsync_failure == "late":
            inode.late_error = errno.EIO
            return True
        return None

    def _synced(self, inode: _Inode) -> bytes:
        """A file as its last successful sync left it."""
        last = max(
            (
                at
                for at, entry in enumerate(self.log)
                if entry.kind in ("sync", "lost_sync") and entry.inode == inode.number
            ),
            default=None,
        )
        if last is None:
            return self.start.get(inode.path) or b""
        return self.restarted(last + 1)._inode(inode.number).data or b""


class _SimulatedLock:
    def __init__(self, locks: Counter[str], path: str, held: int) -> None:
        self._locks = locks
        self._path = path
        self._held = held

    def release(self) -> None:
        self._locks[self._path] -= self._held
        self._held = 0


class _SimulatedFile:
    """An open file of the simulated disk."""

    __slots__ = ("_closed", "_disk", "_inode", "_writable")

    def __init__(self, disk: SimulatedDisk, inode: _Inode, *, writable: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._closed = False

    def _check(self, *, write: bool = False) -> None:
        if self._closed or (write and not self._writable):
            raise OSError(errno.EBADF, "bad file descriptor", self._inode.path)

    @property
    def _data(self) -> bytes:
        return self._inode.data or b""

    def size(self) -> int:
        self._check()
        return self._disk.call("size", self._inode.path, lambda: len(self._data))

    def pread(self, length: int, offset: int) -> bytes:
        self._check()
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
        self._check(write=True)
        data = b"".join(buffers)[: self._disk.most]

        def operation() -> int:
            return self._disk.write(self._inode, data, offset)

        def wrong(letter: str) -> int | None:
            if letter == "l":
                return len(data)
            if letter in "hs":
                half = data[: max(letter == "s", len(data) // 2)]
                return self._disk.write(self._inode, half, offset) if half else 0
            if letter == "m":
                return self._disk.write(self._inode, data, offset + self._disk.sector_bytes)
            return self._disk.write(self._inode, _rotten(data), offset) if letter == "r" else None

        return self._disk.call("pwritev", self._inode.path, operation, wrong)

    def truncate(self, length: int) -> None:
        self._check(write=True)
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
                raise ValueError("the map is longer than the file")
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
