"""Handles: files and directories that a process has open on the simulated disk.

A handle belongs to an inode, not to a path.  It stays what it is when that, or a directory above
it, is renamed or removed.  Fault rules and the list of calls see the path that the inode has now,
or the last one that it had.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

from rotortree.storage.directory import File, Lock
from rotortree_faultinject.disk.cache import Inode, below
from rotortree_faultinject.disk.machine import Machine

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SimulatedDirectory", "SimulatedFile", "open_directory", "open_file"]

_T = TypeVar("_T")


def open_file(machine: Machine, inode: Inode, *, writable: bool) -> SimulatedFile:
    """A file that is open.  Raises OSError for a directory."""
    if inode.entries is None:
        return SimulatedFile(machine, inode, writable=writable)
    if writable:
        raise IsADirectoryError(errno.EISDIR, "is a directory", inode.path)
    raise OSError(errno.EINVAL, "not a regular file", inode.path)


def open_directory(
    machine: Machine, start: Inode, path: str, opened_as: str, *, follow: bool = True
) -> SimulatedDirectory:
    """The directory at a path from ``start`` on, as one call of the process."""

    def operation() -> SimulatedDirectory:
        found = machine.cache.directory(start, path, follow=follow)
        return SimulatedDirectory(machine, found, opened_as)

    return machine.call("open_directory", below(start, path), operation)


class SimulatedDirectory:
    """A directory that is open."""

    __slots__ = ("_closed", "_inode", "_machine", "path")

    def __init__(self, machine: Machine, inode: Inode, path: str) -> None:
        self._machine = machine
        self._inode = inode
        self._closed = False
        self.path = path

    def _here(self) -> Inode:
        if self._closed:
            raise OSError(errno.EBADF, "bad file descriptor", self._inode.path)
        return self._inode

    def _call(self, kind: str, path: str, operation: Callable[[Inode], _T]) -> _T:
        """Do one call that is about a path below this directory."""
        here = self._here()
        return self._machine.call(kind, below(here, path), lambda: operation(here))

    def directory(self, path: str, *, follow: bool = True) -> SimulatedDirectory:
        """See `WritableDirectory.directory`."""
        opened_as = f"{self.path}/{path}"
        return open_directory(self._machine, self._here(), path, opened_as, follow=follow)

    def parent(self) -> SimulatedDirectory:
        """See `WritableDirectory.parent`."""
        machine, above = self._machine, self._here().parent
        return machine.call(
            "open_directory",
            above.path,
            lambda: SimulatedDirectory(machine, above, f"{self.path}/.."),
        )

    def open(self, path: str) -> File:
        """See `ReadableDirectory.open`."""
        machine = self._machine

        def operation(here: Inode) -> File:
            found = machine.cache.open(here, path, create=False)
            return open_file(machine, found, writable=False)

        return self._call("open", path, operation)

    def open_writable(self, path: str, *, create: bool = False) -> File:
        """See `WritableDirectory.open_writable`."""
        machine = self._machine

        def operation(here: Inode) -> File:
            found = machine.cache.open(here, path, create=create, follow=False)
            return open_file(machine, found, writable=True)

        return self._call("open", path, operation)

    def listdir(self) -> list[str]:
        """See `ReadableDirectory.listdir`."""
        return self._call("listdir", ".", lambda here: list(here.names))

    def identify(self, path: str) -> Hashable:
        """See `ReadableDirectory.identify`."""

        def operation(here: Inode) -> Hashable:
            return self._machine.cache.look_up(here, path).number

        return self._call("identify", path, operation)

    def mkdir(self, path: str) -> None:
        """See `WritableDirectory.mkdir`."""
        self._call("mkdir", path, lambda here: self._machine.cache.mkdir(here, path))

    def rename(self, old: str, new: str) -> None:
        """See `WritableDirectory.rename`."""
        self._call("rename", new, lambda here: self._machine.cache.rename(here, old, new))

    def unlink(self, path: str) -> None:
        """See `WritableDirectory.unlink`."""
        self._call("unlink", path, lambda here: self._machine.cache.unlink(here, path))

    def sync(self) -> None:
        """See `WritableDirectory.sync`."""
        here = self._here()
        self._machine.sync_names(here.path, lambda: here)

    def lock(self, name: str, *, shared: bool) -> Lock:
        """See `Directory.lock`."""
        machine = self._machine

        def operation(here: Inode) -> Lock:
            guards = machine.can_lock_directories
            directory = (here,) if guards else ()
            machine.check_locks(directory, shared=shared)
            file = _lock_file(machine, here, name, shared=shared)
            return machine.lock_inodes((*directory, *file), shared=shared, guards_directory=guards)

        return self._call("lock", name, operation)

    def close(self) -> None:
        """See `ReadableDirectory.close`."""
        self._closed = True


def _lock_file(machine: Machine, here: Inode, name: str, *, shared: bool) -> tuple[Inode, ...]:
    """The file that a lock is of; a shared one does without it."""
    try:
        found = machine.cache.open(here, name, create=not shared, follow=shared)
    except FileNotFoundError:
        if not shared:
            raise
        return ()
    if found.entries is None:
        return (found,)
    code = errno.EINVAL if shared else errno.EISDIR
    raise OSError(code, "not a regular file", found.path)


class SimulatedFile:
    """An open file of the simulated disk."""

    __slots__ = ("_closed", "_inode", "_machine", "_writable")

    def __init__(self, machine: Machine, inode: Inode, *, writable: bool) -> None:
        self._machine = machine
        self._inode = inode
        self._writable = writable
        self._closed = False

    def _check(self, *, write: bool = False, at: int = 0) -> None:
        if self._closed or (write and not self._writable):
            raise OSError(errno.EBADF, "bad file descriptor", self._inode.path)
        if at < 0:
            raise OSError(errno.EINVAL, "a negative offset or length", self._inode.path)

    @property
    def identity(self) -> int:
        """See `ReadableFile.identity`: the inode's number."""
        return self._inode.number

    @property
    def _data(self) -> bytes:
        return self._inode.data

    def size(self) -> int:
        """See `ReadableFile.size`."""
        self._check()
        return self._machine.call("size", self._inode.path, lambda: len(self._data))

    def pread(self, length: int, offset: int) -> bytes:
        """See `ReadableFile.pread`."""
        self._check(at=offset)
        if self._machine.most is not None:
            length = min(length, self._machine.most)

        def operation() -> bytes:
            return self._data[offset : offset + length]

        def wrong(letter: str) -> bytes | None:
            if letter == "s":
                return self._data[offset : offset + max(1, length // 2)]
            if letter == "m":
                step = self._machine.sector_bytes
                return self._data[offset + step : offset + step + length]
            return _rotten(operation()) if letter == "r" else None

        return self._machine.call("pread", self._inode.path, operation, wrong)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        """See `File.pwritev`."""
        self._check(write=True, at=offset)
        data = b"".join(buffers)[: self._machine.most]

        def operation() -> int:
            return self._machine.write(self._inode, data, offset)

        def wrong(letter: str) -> int | None:
            if letter == "l":
                return len(data)
            if letter in "hejs":
                half = data[: max(letter == "s", len(data) // 2)]
                written = self._machine.write(self._inode, half, offset)
                return written if letter == "s" else None
            if letter == "m":
                return self._machine.write(self._inode, data, offset + self._machine.sector_bytes)
            if letter == "r":
                return self._machine.write(self._inode, _rotten(data), offset)
            return None

        return self._machine.call("pwritev", self._inode.path, operation, wrong)

    def truncate(self, length: int) -> None:
        """See `File.truncate`."""
        self._check(at=length)
        path = self._inode.path
        if not self._writable:
            raise OSError(errno.EINVAL, "not open for writing", path)
        self._machine.call("truncate", path, lambda: self._machine.truncate(self._inode, length))

    def sync(self) -> None:
        """See `File.sync`."""
        self._check()
        inode, machine = self._inode, self._machine

        def operation() -> None:
            machine.sync(inode)

        machine.call("sync", inode.path, operation, lambda letter: machine.fail_sync(inode, letter))

    def map(self, length: int) -> memoryview:
        """See `ReadableFile.map`."""
        self._check()

        def operation() -> memoryview:
            if length > len(self._data):
                raise OSError(errno.EINVAL, "the file is shorter than the map", self._inode.path)
            return memoryview(self._data[:length])

        return self._machine.call("map", self._inode.path, operation)

    def close(self) -> None:
        """See `ReadableFile.close`."""
        self._closed = True


def _rotten(data: bytes) -> bytes:
    """The same bytes with one bit flipped, in the middle."""
    if not data:
        return data
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
