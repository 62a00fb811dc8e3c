"""A file system in memory behind the seam, which fails, dies and loses power when told to.

What it can be asked for:

* *errors*: the k-th call of a kind raises OSError, before it did anything, half-way or afterwards.
  A failed sync drops what was not synced: the pages count as clean, and no later sync writes them.
* *deaths*: at the k-th call the process ends; every later call raises `Died`, too.
* *power cuts*: `after_crash` gives the disk that is left, for each of the `CRASHES`.  They are the
  extremes (everything that was not synced is kept, or lost, or zeros); what lies between, any
  subset of sectors and names, is the business of the fault layer.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from rotortree.storage.files import File, Lock, OpenMode

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CRASHES", "Call", "Crash", "Died", "Disk", "Fault", "Moment"]

T = TypeVar("T")

Moment: TypeAlias = Literal["before", "half", "after"]
"""When a call fails: before it did anything, with half of its bytes written, or afterwards."""


class Died(BaseException):
    """The process is dead.  No part of the library may catch it for good."""


class Call(NamedTuple):
    """One call of the seam."""

    kind: str
    path: str


class Fault(NamedTuple):
    """Call ``number`` (from 0) of a kind, or of any kind if that is empty, raises ``error``."""

    kind: str
    number: int
    error: Callable[[], BaseException]
    moment: Moment = "before"


class Crash(NamedTuple):
    """What is left of names and bytes that were not synced."""

    names: Literal["kept", "lost"]
    data: Literal["kept", "zeros", "lost"]


CRASHES = tuple(
    Crash(names, data) for names in ("kept", "lost") for data in ("kept", "zeros", "lost")
)
"""``("kept", "kept")`` is what a killed process leaves; all the others are power cuts."""


class _Node:
    """An inode: its bytes, those that are on disk, and the writes between the two."""

    def __init__(self, data: bytes | None) -> None:
        self.path = ""
        self.is_directory = data is None
        self.data = bytearray(data or b"")
        self.durable = bytearray(data or b"")
        self.pending: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, data: bytes | None) -> None:
        """Write at an offset, or cut there if ``data`` is None."""
        self.pending.append((offset, data))
        _apply(self.data, offset, data)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def left(self, data: str) -> bytes:
        """The bytes after a crash."""
        if data == "kept":
            return bytes(self.data)
        if data == "zeros":
            return bytes(self.durable) + bytes(max(0, len(self.data) - len(self.durable)))
        return bytes(self.durable)


def _apply(to: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del to[offset:]
    else:
        to.extend(bytes(max(0, offset - len(to))))
        to[offset : offset + len(data)] = data


class Disk:
    """A `FileSystem` in memory.  ``"."`` is its root and always there.

    ``most``: how many bytes one read or write moves at most.  ``on_call`` is called before each
    call, and may sleep, look, or raise.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.calls: list[Call] = []
        self.counts: Counter[str] = Counter()
        self.fault: Fault | None = None
        self.most: int | None = None
        self.on_call: Callable[[Call], None] = lambda call: None
        self.dead = False
        self.hit = False
        self._names: dict[str, _Node] = {}
        self._lost: dict[str, _Node] = {}  # names that a failed sync covered, until they change
        self._locks: Counter[str] = Counter()
        for path, data in (files or {}).items():
            parent = posixpath.dirname(path)
            while parent:
                self._names.setdefault(parent, _Node(None))
                parent = posixpath.dirname(parent)
            self._names[path] = _Node(data)
        self._durable = dict(self._names)

    # What the tests look at.

    def files(self) -> dict[str, bytes]:
        """Every file and its bytes, by path, as the process sees them."""
        return {
            path: bytes(node.data)
            for path, node in sorted(self._names.items())
            if not node.is_directory
        }

    def after_crash(self, crash: Crash = CRASHES[0]) -> Disk:
        """The disk that a crash now leaves behind; this one stays as it is."""
        names = self._names if crash.names == "kept" else self._durable
        left = Disk()
        for path, node in names.items():
            parent = posixpath.dirname(path)
            reachable = True
            while parent:
                reachable = reachable and parent in names
                parent = posixpath.dirname(parent)
            if reachable:
                data = None if node.is_directory else node.left(crash.data)
                left._names[path] = left._durable[path] = _Node(data)
        return left

    def restart_process(self) -> None:
        """The process ended and its locks with it; what was not synced is in the cache still."""
        self._locks = Counter()
        self.dead = False
        self.fault = None

    # How calls fail.

    def call(
        self,
        kind: str,
        path: str,
        operation: Callable[[], T],
        half: Callable[[], object] = lambda: None,
    ) -> T:
        """Do one call of the seam, or what the fault makes of it."""
        if self.dead:
            raise Died
        call = Call(kind, path)
        self.on_call(call)
        fault = self.fault
        hit = fault is not None and fault.kind in ("", kind)
        if hit and fault is not None:
            hit = fault.number == (len(self.calls) if not fault.kind else self.counts[kind])
        self.calls.append(call)
        self.counts[kind] += 1
        if not hit or fault is None:
            return operation()
        self.hit = True
        error = fault.error()
        self.dead = isinstance(error, Died)
        if fault.moment == "after":
            operation()
        elif kind == "sync_directory":
            if isinstance(error, OSError):
                half()
        elif fault.moment == "half" or (kind == "sync" and not self.dead):
            half()
        raise error

    # The seam.

    def absolute(self, path: str) -> str:
        return path

    def open(self, path: str, mode: OpenMode) -> File:
        def operation() -> File:
            if path not in self._names:
                if mode != "create" or posixpath.dirname(path) not in self._names:
                    raise FileNotFoundError(2, "no such file", path)
                self._names[path] = _Node(b"")
            node = self._names[path]
            if node.is_directory:
                raise IsADirectoryError(21, "is a directory", path)
            node.path = path
            return _DiskFile(self, node)

        return self.call("open", path, operation)

    def listdir(self, path: str) -> list[str]:
        def operation() -> list[str]:
            if path not in self._names:
                raise FileNotFoundError(2, "no such directory", path)
            if not self._names[path].is_directory:
                raise NotADirectoryError(20, "not a directory", path)
            return [posixpath.basename(name) for name in self._inside(path, self._names)]

        return self.call("listdir", path, operation)

    def mkdir(self, path: str) -> None:
        def operation() -> None:
            if path in self._names:
                raise FileExistsError(17, "exists", path)
            above = posixpath.dirname(path)
            if above and above not in self._names:
                raise FileNotFoundError(2, "no such directory", path)
            self._names[path] = _Node(None)

        self.call("mkdir", path, operation)

    def rename(self, old: str, new: str) -> None:
        def operation() -> None:
            node = self._names[new] = self._names.pop(old)
            node.path = new

        self.call("rename", new, operation)

    def unlink(self, path: str) -> None:
        def operation() -> None:
            if self._names.pop(path, None) is None:
                raise FileNotFoundError(2, "no such file", path)

        self.call("unlink", path, operation)

    def sync_directory(self, path: str) -> None:
        def operation() -> None:
            for name in self._inside(path, self._durable):
                if name not in self._names:
                    del self._durable[name]
            for name in self._inside(path, self._names):
                if self._lost.get(name) is not self._names[name]:
                    self._durable[name] = self._names[name]

        def lose() -> None:
            # Not while a tree is created: section 8 of the storage format leaves that out.
            if not any(name.endswith(".wal") for name in self._durable):
                return
            for name in self._inside(path, self._names):
                if self._durable.get(name) is not self._names[name]:
                    self._lost[name] = self._names[name]

        self.call("sync_directory", path, operation, lose)

    def lock(self, path: str, *, shared: bool) -> Lock:
        def operation() -> Lock:
            if path not in self._names:
                if shared or posixpath.dirname(path) not in self._names:
                    raise FileNotFoundError(2, "no such file", path)
                self._names[path] = _Node(b"")
            if self._locks[path] < 0 or (self._locks[path] > 0 and not shared):
                raise BlockingIOError(path)
            self._locks[path] += 1 if shared else -1
            return _DiskLock(self._locks, path, 1 if shared else -1)

        return self.call("lock", path, operation)

    @staticmethod
    def _inside(path: str, names: dict[str, _Node]) -> list[str]:
        inside = "" if path == "." else path
        return [name for name in names if posixpath.dirname(name) == inside]


class _DiskLock:
    def __init__(self, locks: Counter[str], path: str, held: int) -> None:
        self._locks = locks
        self._path = path
        self._held = held

    def release(self) -> None:
        self._locks[self._path] -= self._held
        self._held = 0


class _DiskFile:
    def __init__(self, disk: Disk, node: _Node) -> None:
        self._disk = disk
        self._node = node
        self._closed = False

    def _call(
        self,
        kind: str,
        operation: Callable[[], T],
        half: Callable[[], object] = lambda: None,
    ) -> T:
        if self._closed:
            raise OSError(9, "bad file descriptor", self._node.path)
        return self._disk.call(kind, self._node.path, operation, half)

    def size(self) -> int:
        return self._call("size", lambda: len(self._node.data))

    def pread(self, length: int, offset: int) -> bytes:
        length = min(length, self._disk.most or length)
        return self._call("pread", lambda: bytes(self._node.data[offset : offset + length]))

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(buffers)[: self._disk.most]

        def write(length: int) -> int:
            self._node.write(offset, data[:length])
            return length

        return self._call("pwritev", lambda: write(len(data)), lambda: write(len(data) // 2))

    def truncate(self, length: int) -> None:
        self._call("truncate", lambda: self._node.write(length, None))

    def sync(self) -> None:
        self._call("sync", self._node.sync, self._node.pending.clear)

    def map(self, length: int) -> memoryview:
        def operation() -> memoryview:
            if length > len(self._node.data):
                raise ValueError("the map is longer than the file")
            return memoryview(bytes(self._node.data[:length]))

        return self._call("map", operation)

    def close(self) -> None:
        self._closed = True
