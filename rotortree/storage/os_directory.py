"""The operating system's files behind the seam: the only module that touches a real disk."""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import stat
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from rotortree.storage.directory import File, Lock, ReadableFile
from rotortree.storage.process import Home

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["OsDirectory", "OsFileSystem"]

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_STATX_INO = 0x100
"""Constants of statx(2)."""

_LOCAL = frozenset("btrfs ext2 ext3 ext4 f2fs overlay ramfs tmpfs xfs zfs".split())
"""File systems that only this machine can have mounted."""

_CANNOT_LOCK = frozenset(
    {errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}
)
"""Errors that say that a file system has no locks of directories."""


class _Descriptor:
    """A descriptor that is closed once."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # one came before even this had it
            self.close()  # an interrupt came between opening and keeping it

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor.  Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _OsFile(_Descriptor):
    """An open file of the operating system."""

    __slots__ = ("identity",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            self.identity = _identify()(descriptor, "")
        except BaseException:
            self.close()
            raise

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


@functools.cache
def _identify() -> Callable[[int, str], Hashable]:
    """How to identify what a path below a directory's descriptor leads to.

    An empty path means the descriptor's own file.  Where the system can be asked for the inode's
    number alone (statx), it is: since Linux 6.13, asking for times makes the next write to the file
    store finer ones, and then the next fdatasync takes half as long again.
    """
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        statx = library.statx
    except (ImportError, OSError, AttributeError):
        return _identify_by_stat
    words = ctypes.c_uint64 * 32  # struct statx: 256 bytes
    statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, words]

    def identify(descriptor: int, path: str) -> Hashable:
        found = words()
        name = path.encode("utf-8", "surrogateescape")
        if statx(descriptor, name, _AT_EMPTY_PATH, _STATX_INO, found):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return found[17], found[4]  # the device's two numbers, and the inode's

    try:
        identify(_AT_FDCWD, ".")
    except OSError:  # an old kernel, or one that forbids it
        return _identify_by_stat
    return identify


def _identify_by_stat(descriptor: int, path: str) -> Hashable:
    found = os.stat(path, dir_fd=descriptor) if path else os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _sync(descriptor: int, *, names: bool = False) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync there reaches the drive, but not through its cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif names:
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def _is_local(descriptor: int) -> bool:
    """Whether a file is on a file system of this machine, so that a lock on it holds for everybody.

    On NFS the lock of a directory succeeds, too, but other machines do not see it.
    """
    device = os.fstat(descriptor).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in _mounts().splitlines():
        fields = line.split()
        if fields[2] == name:
            return fields[fields.index("-") + 1] in _LOCAL
    return False


def _mounts() -> str:
    """The list of mounts of Linux; nothing elsewhere."""
    parts = []
    with contextlib.suppress(OSError):
        file = _Descriptor(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
        while part := os.read(file.fileno(), 1 << 16):
            parts.append(part)
        file.close()
    return b"".join(parts).decode("utf-8", "surrogateescape")


class _OsLock(Home):
    """The flocks of a directory and of a file in it.

    An flock belongs to the open file, which a forked child shares.  So a child closes its
    descriptors first of all, or it would keep the lock when its parent is killed; and it must not
    unlock, for that would unlock it for its parent, too.  The process that took the lock does
    unlock it: a child may not have come as far as closing.
    """

    __slots__ = ("_files", "guards_directory")

    def __init__(self) -> None:
        self._files: list[_Descriptor] = []
        self.guards_directory = False
        super().__init__()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # one came before even this had any
            self._close()  # an interrupt came between taking and keeping it

    def leave(self) -> None:
        super().leave()
        self._close()

    def take(self, file: _Descriptor, *, shared: bool) -> None:
        """Lock one more file, which is this lock's from now on."""
        import portalocker  # here, because importing it reads and writes files of its own

        self._files.append(file)
        kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
        try:
            portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked as error:
            raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
        except portalocker.LockException as error:
            cause = error.__cause__
            code = cause.errno if isinstance(cause, OSError) else None
            raise OSError(code or errno.ENOLCK, f"cannot lock: {error}") from error

    def release(self) -> None:
        import portalocker

        try:
            for file in self._files:
                if file.fileno() >= 0 and not self.has_left():
                    with contextlib.suppress(portalocker.LockException):  # closing does it, too
                        portalocker.unlock(file)
        finally:
            self._close()

    def _close(self) -> None:
        for file in self._files:
            file.close()


class OsDirectory(_Descriptor):
    """A `Directory` of the operating system."""

    __slots__ = ("_identify", "path")

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor)
        self.path = path
        self._identify = _identify()

    def _open(self, path: str, flags: int) -> int:
        """A descriptor.  A link to nothing is not missing: it may only lead nowhere just now."""
        try:
            return os.open(path, flags | os.O_CLOEXEC, 0o666, dir_fd=self._descriptor)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                os.stat(path, dir_fd=self._descriptor, follow_symlinks=False)
                raise OSError(errno.EINVAL, "a link to nothing") from None
            raise

    def directory(self, path: str, *, follow: bool = True) -> OsDirectory:
        """See `WritableDirectory.directory`."""
        flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
        return OsDirectory(self._open(path, flags), f"{self.path}/{path}")

    def parent(self) -> OsDirectory:
        """See `WritableDirectory.parent`."""
        return self.directory("..")

    def open(self, path: str) -> ReadableFile:
        """See `ReadableDirectory.open`."""
        # Not to wait for the other end of something that is a pipe.
        return _OsFile(self._open(path, os.O_RDONLY | os.O_NONBLOCK))

    def open_writable(self, path: str, *, create: bool = False) -> File:
        """See `WritableDirectory.open_writable`."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW
        return _OsFile(self._open(path, flags | (os.O_CREAT if create else 0)))

    def listdir(self) -> list[str]:
        """See `ReadableDirectory.listdir`."""
        if self._descriptor < 0:  # which os.listdir takes for the working directory
            raise OSError(errno.EBADF, "bad file descriptor")
        return os.listdir(self._descriptor)

    def identify(self, path: str) -> Hashable:
        """See `ReadableDirectory.identify`."""
        return self._identify(self._descriptor, path)

    def mkdir(self, path: str) -> None:
        """See `WritableDirectory.mkdir`."""
        os.mkdir(path, dir_fd=self._descriptor)

    def rename(self, old: str, new: str) -> None:
        """See `WritableDirectory.rename`."""
        os.replace(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, path: str) -> None:
        """See `WritableDirectory.unlink`."""
        os.unlink(path, dir_fd=self._descriptor)

    def sync(self) -> None:
        """See `WritableDirectory.sync`."""
        _sync(self._descriptor, names=True)

    def lock(self, name: str, *, shared: bool) -> Lock:
        """See `Directory.lock`."""
        lock = _OsLock()
        try:
            own = _Descriptor(self._open(".", os.O_RDONLY | os.O_DIRECTORY))
            try:
                lock.take(own, shared=shared)
                lock.guards_directory = _is_local(own.fileno())
            except BlockingIOError:
                raise
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise
            with contextlib.suppress(FileNotFoundError) if shared else contextlib.nullcontext():
                flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
                lock.take(_OsFile(self._open(name, flags | os.O_NONBLOCK)), shared=shared)
        except BaseException:
            lock.release()
            raise
        return lock


class OsFileSystem:
    """The operating system's directories, by path."""

    __slots__ = ()

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return os.path.abspath(path)

    def directory(self, path: str) -> OsDirectory:
        """See `FileSystem.directory`."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if os.path.islink(path):
                raise OSError(errno.EINVAL, "a link to nothing") from None
            raise
        return OsDirectory(descriptor, path)

    def mkdir(self, path: str) -> None:
        """See `FileSystem.mkdir`."""
        os.mkdir(path)
