"""The file-system seam: the only place of this library that touches a disk.

`FileSystem` and `File` are the dozen operations that the storage engine is made of.
`OsFileSystem` is the real thing; a simulated disk implements the same protocols.  They fail as the
operating system does, by OSError; `rotortree.storage.calls` turns that into this library's
errors.  Paths are strings with ``/`` between their parts.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Iterator, Sequence
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
    runs there but what other modules have had called first, by `os.register_at_fork`, and garbage.
    To look at it is cheap.  What would do harm there asks `has_left`, which is a system call.
    """

    __slots__ = ("__weakref__", "left", "process")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.left = False
        _homes().add(self)

    def has_left(self) -> bool:
        """Whether this is such a child.  It is right from the child's first moment on."""
        if not self.left and os.getpid() != self.process:
            self.left = True
        return self.left

    def leave(self) -> None:
        """What a child does first."""
        self.left = True


@functools.cache
def _homes() -> weakref.WeakSet[Home]:
    """All of this process: what is to be done in a child can be added, but never taken back."""
    homes = weakref.WeakSet[Home]()
    os.register_at_fork(after_in_child=functools.partial(_leave, homes))
    return homes


def _leave(homes: weakref.WeakSet[Home]) -> None:
    for home in homes:
        home.leave()


class _OsFile:
    """An open file of the operating system."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

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


@contextlib.contextmanager
def _links_to_nothing_refused(path: str) -> Iterator[None]:
    """They are not missing: what they lead to may only not be there now."""
    try:
        yield
    except FileNotFoundError:
        if os.path.islink(path):
            raise OSError(errno.EINVAL, "a link to nothing") from None
        raise


def _open(path: str, mode: OpenMode) -> _OsFile:
    flags = {"read": os.O_RDONLY, "write": os.O_RDWR, "create": os.O_RDWR | os.O_CREAT}[mode]
    with _links_to_nothing_refused(path):
        # Not to wait for the other end of something that is a pipe.
        file = _OsFile(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def _sync(descriptor: int, *, names: bool = False) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync there reaches the drive, but not through its cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif names:
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


class _OsLock(Home):
    """An flock.  It belongs to the open file, which a forked child shares.

    So a child closes its descriptor first of all, or it would keep the lock when its parent is
    killed; and it must not unlock, for that would be for its parent, too.  The process that took
    the lock does unlock it: a child may not have come as far as that.
    """

    __slots__ = ("_file",)

    def __init__(self, file: _OsFile) -> None:
        self._file = file
        super().__init__()

    def __del__(self) -> None:
        # Forgotten: whoever took it was interrupted, maybe before there was a file.
        with contextlib.suppress(AttributeError):
            self._file.close()

    def leave(self) -> None:
        super().leave()
        self._file.close()

    def take(self, *, shared: bool) -> None:
        import portalocker  # here, because importing it reads and writes files of its own

        kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
        try:
            portalocker.lock(self._file, kind | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked as error:
            raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
        except portalocker.LockException as error:
            raise OSError(errno.ENOLCK, f"cannot lock: {error}") from error

    def release(self) -> None:
        import portalocker

        try:
            if self._file.fileno() >= 0 and not self.has_left():
                portalocker.unlock(self._file)
        finally:
            self._file.close()


class OsFileSystem:
    """The operating system's files."""

    __slots__ = ()

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return os.path.abspath(path)

    def open(self, path: str, mode: OpenMode) -> File:
        """See `FileSystem.open`."""
        return _open(path, mode)

    def listdir(self, path: str) -> list[str]:
        """See `FileSystem.listdir`."""
        with _links_to_nothing_refused(path):
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
        lock = _OsLock(_open(path, "read" if shared else "create"))
        try:
            lock.take(shared=shared)
        except BaseException:
            lock.release()
            raise
        return lock
