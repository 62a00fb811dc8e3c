"""The few ways in which this library writes durably, each its system calls in order.

Everything else of the storage engine is built of these.  They raise IoFailedError, which names the
file and the operation, where the seam raises OSError.

What no code can promise: a disk that says "synced" and lies; `sync` is believed when it returns.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence

from rotortree.errors import FileLockedError, IoFailedError
from rotortree.storage.files import File, FileSystem, Lock, OpenMode

__all__ = [
    "SYNC_DIRECTORY",
    "TEMPORARY",
    "absolute",
    "check_written",
    "close_file",
    "file_size",
    "listdir",
    "make_directory",
    "open_file",
    "publish",
    "read_exactly",
    "release_lock",
    "replace_file",
    "sync_directory",
    "sync_file",
    "take_lock",
    "translated",
    "unlink",
    "write_all",
    "write_temporary",
]

TEMPORARY = ".tmp"
"""The end of the name of a file that is not yet what it will be.  Such files mean nothing."""

SYNC_DIRECTORY = "fsync of the directory"
"""The operation that an IoFailedError names when names may have been lost."""

_MAX_BUFFERS = 512
"""Buffers per write; every system that has pwritev takes at least this many (IOV_MAX)."""


@contextlib.contextmanager
def translated(path: str, operation: str) -> Iterator[None]:
    """Turn OSError into IoFailedError with the path and the operation."""
    try:
        yield
    except OSError as error:
        raise IoFailedError(path, operation, error) from error


def absolute(fs: FileSystem, path: str) -> str:
    """The same path from the root.  The working directory may have been removed."""
    with translated(path, "getcwd"):
        return fs.absolute(path)


def take_lock(fs: FileSystem, path: str, *, shared: bool) -> Lock | None:
    """Lock a file at once.  Raises FileLockedError.

    None if a shared lock was asked for and the file is missing: in a copy without its lock file
    nobody can be writing.
    """
    with translated(path, "lock"):
        try:
            return fs.lock(path, shared=shared)
        except BlockingIOError:
            raise FileLockedError(path) from None
        except FileNotFoundError:
            if not shared:
                raise
            return None


def listdir(fs: FileSystem, path: str) -> list[str]:
    """The names in a directory, sorted; none if it does not exist."""
    with translated(path, "list"):
        try:
            return sorted(fs.listdir(path))
        except FileNotFoundError:
            return []


def open_file(fs: FileSystem, path: str, mode: OpenMode) -> File | None:
    """Open a file; None when it does not exist and the mode does not create it."""
    with translated(path, "open"):
        try:
            return fs.open(path, mode)
        except FileNotFoundError:
            if mode == "create":
                raise
            return None


def close_file(file: File) -> None:
    """Release a file.  If that fails, nothing is lost: what counts in it was synced, or only read.

    The operating system has released it all the same.
    """
    with contextlib.suppress(OSError):
        file.close()


def release_lock(lock: Lock) -> None:
    """Give a lock back.  If that fails, it is given back all the same, with its descriptor."""
    with contextlib.suppress(OSError):
        lock.release()


def file_size(file: File, path: str) -> int:
    """A file's length."""
    with translated(path, "stat"):
        return file.size()


def read_exactly(file: File, path: str, length: int, offset: int) -> bytes:
    """``length`` bytes from ``offset``, fewer only where the file ends."""
    parts = []
    with translated(path, "read"):
        while length:
            part = file.pread(length, offset)
            if not part:
                break
            parts.append(part)
            length -= len(part)
            offset += len(part)
    return b"".join(parts)  # of one part: itself, not a copy


def write_all(file: File, path: str, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write rows of bytes from ``offset`` on; return the offset behind them."""
    rest = [memoryview(buffer) for buffer in buffers if len(memoryview(buffer))]
    rest.reverse()
    with translated(path, "write"):
        while rest:
            written = file.pwritev(rest[: -_MAX_BUFFERS - 1 : -1], offset)
            if written <= 0:
                raise OSError("the system wrote nothing")
            offset += written
            while rest and written >= len(rest[-1]):
                written -= len(rest.pop())
            if written:
                rest[-1] = rest[-1][written:]
    return offset


def check_written(
    file: File, path: str, buffers: Sequence[bytes | memoryview], offset: int
) -> None:
    """Read back what was written from ``offset`` on.

    Raises IoFailedError when it is something else: the write was lost, or went somewhere else.
    """
    for buffer in buffers:
        found = read_exactly(file, path, len(buffer), offset)
        with translated(path, "read back"):
            if found != bytes(buffer):
                raise OSError(errno.EIO, f"not what was written at offset {offset}")
        offset += len(buffer)


def sync_file(file: File, path: str) -> None:
    """Make a file's bytes and length durable."""
    with translated(path, "fsync"):
        file.sync()


def sync_directory(fs: FileSystem, path: str) -> None:
    """Make the names in a directory durable."""
    with translated(path, SYNC_DIRECTORY):
        fs.sync_directory(path)


def make_directory(fs: FileSystem, path: str) -> None:
    """Make a directory unless it exists.  The caller syncs the directory above."""
    with translated(path, "mkdir"), contextlib.suppress(FileExistsError):
        fs.mkdir(path)


def unlink(fs: FileSystem, path: str) -> None:
    """Remove a file unless it is gone already."""
    with translated(path, "unlink"), contextlib.suppress(FileNotFoundError):
        fs.unlink(path)


def write_temporary(fs: FileSystem, path: str, contents: bytes) -> File:
    """Create ``path``.tmp with these bytes, durably.  Returns it open; `publish` comes next."""
    temporary = path + TEMPORARY
    unlink(fs, temporary)
    with translated(temporary, "create"):
        file = fs.open(temporary, "create")
    try:
        write_all(file, temporary, [contents], 0)
        sync_file(file, temporary)
    except BaseException:
        close_file(file)
        raise
    return file


def publish(fs: FileSystem, path: str) -> None:
    """Give ``path``.tmp its name, in one step, replacing what had it.  Not durable yet."""
    with translated(path, "rename"):
        fs.rename(path + TEMPORARY, path)


def replace_file(fs: FileSystem, directory: str, name: str, contents: bytes) -> None:
    """Write a whole small file: durable, and at any time the old one or the new one.

    Temporary file, fsync, rename, fsync of the directory.
    """
    path = f"{directory}/{name}"
    close_file(write_temporary(fs, path, contents))
    publish(fs, path)
    sync_directory(fs, directory)
