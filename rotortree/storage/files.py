"""The file-system seam: the only place of this library that touches a disk.

`FileSystem` and `File` are the dozen operations that the storage engine is made of.
`OsFileSystem` is the real thing; a simulated disk implements the same protocols.  They fail as the
operating system does, by OSError; `rotortree.storage.durable` turns that into this library's
errors.  Paths are strings with ``/`` between their parts.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "File",
    "FileSystem",
    "Home",
    "Lock",
    "OpenMode",
    "OsFileSystem",
]

OpenMode = Literal["read", "write", "create"]
"""How to open a file: to read, to read and write, or so and created empty if it is missing."""


class Lock(Protocol):
    """A lock that is held until it is released, or its process ends."""

    def release(self) -> None:
        """Give the lock back."""


class File(Protocol):
    """An open file.  Offsets and lengths are bytes."""

    def size(self) -> int:
        """The file's length."""

    def pread(self, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only if interrupted or at the end."""

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write buffers one behind the other; return how many bytes were written, maybe fewer."""

    def truncate(self, length: int) -> None:
        """Cut the file to ``length``."""

    def sync(self) -> None:
        """Return when the file's bytes and length would survive a power failure."""

    def map(self, length: int) -> memoryview:
        """The first ``length`` > 0 bytes, read-only; stays valid after close.

        An error where the file is shorter.
        """

    def close(self) -> None:
        """Release the file.  Idempotent."""


class FileSystem(Protocol):
    """A file system."""

    def absolute(self, path: str) -> str:
        """The same path from the root, so that it stays the same when the process moves."""

    def open(self, path: str, mode: OpenMode) -> File:
        """Open a file.  "read" and "write" raise FileNotFoundError when there is none."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, in no order."""

    def mkdir(self, path: str) -> None:
        """Make a directory.  Raises FileExistsError when the name is taken."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same directory, replacing what had it."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory would survive a power failure."""

    def lock(self, path: str, *, shared: bool) -> Lock:
        """Lock a file at once or raise BlockingIOError; exclusive locks create a missing one."""


class Home:
    """The process that made this object.

    ``process`` is its number.  ``left`` becomes True in a child that it forked, before anything
    else runs there.  To look at that is cheap; to ask for the process's number is a system call.
    """

    __slots__ = ("__weakref__", "left", "process")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.left = False
        _homes().add(self)


@functools.cache
def _homes() -> weakref.WeakSet[Home]:
    """All of this process: what is to be done in a child can be added, but never taken back."""
    homes = weakref.WeakSet[Home]()
    os.register_at_fork(after_in_child=functools.partial(_leave, homes))
    return homes


def _leave(homes: weakref.WeakSet[Home]) -> None:
    for home in homes:
        home.left = True


class _OsFile:
    """An open file of the operating system."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(self._descriptor, buffers, offset)

    def truncate(self, length: int) -> None:
        os.ftruncate(self._descriptor, length)

    def sync(self) -> None:
        _sync(self._descriptor)

    def map(self, length: int) -> memoryview:
        if length > self.size():  # mmap raises ValueError
            raise OSError(errno.EINVAL, "the file is shorter than the map")
        return memoryview(mmap.mmap(self._descriptor, length, access=mmap.ACCESS_READ))

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _sync(descriptor: int, *, names: bool = False) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync there reaches the drive, but not through its cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif names:
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


class _OsLock:
    """An flock.  It belongs to the open file, which a forked child shares.

    So the process that took it unlocks it, or a child that is still alive would keep it; and a
    child must only close its descriptor, or it would unlock it for its parent.
    """

    __slots__ = ("_descriptor", "_home")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._home = Home()

    def release(self) -> None:
        import portalocker

        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if not self._home.left:
                portalocker.unlock(descriptor)
        finally:
            os.close(descriptor)


class OsFileSystem:
    """The operating system's files."""

    __slots__ = ()

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return os.path.abspath(path)

    def open(self, path: str, mode: OpenMode) -> File:
        """See `FileSystem.open`."""
        flags = {"read": os.O_RDONLY, "write": os.O_RDWR, "create": os.O_RDWR | os.O_CREAT}[mode]
        # Not to wait for the other end of something that is a pipe.
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return _OsFile(descriptor)

    def listdir(self, path: str) -> list[str]:
        """See `FileSystem.listdir`."""
        return os.listdir(path)

    def mkdir(self, path: str) -> None:
        """See `FileSystem.mkdir`."""
        os.mkdir(path)

    def rename(self, old: str, new: str) -> None:
        """See `FileSystem.rename`."""
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """See `FileSystem.unlink`."""
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        """See `FileSystem.sync_directory`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(descriptor, names=True)
        finally:
            os.close(descriptor)

    def lock(self, path: str, *, shared: bool) -> Lock:
        """See `FileSystem.lock`."""
        import portalocker  # here, because importing it reads and writes files of its own

        flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            portalocker.lock(descriptor, kind | portalocker.LockFlags.NON_BLOCKING)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, portalocker.AlreadyLocked):
                raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
            if isinstance(error, portalocker.LockException):
                raise OSError(errno.ENOLCK, f"cannot lock: {error}") from error
            raise
        return _OsLock(descriptor)
