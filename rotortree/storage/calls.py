"""The few ways in which this library reads and writes files, each its system calls in order.

Everything else of the storage engine is built of these.  They raise IoFailedError, which names the
file and the operation, where the seam raises OSError.

What no code can promise: a disk that says "synced" and lies; a sync is believed when it returns.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from rotortree.errors import DetachedError, FileLockedError, IoFailedError, SyncFailedError
from rotortree.storage.directory import (
    Directory,
    File,
    FileSystem,
    Lock,
    ReadableDirectory,
    ReadableFile,
    WritableDirectory,
)

__all__ = [
    "TEMPORARY",
    "absolute",
    "check_named",
    "check_written",
    "close",
    "explained",
    "file_size",
    "identity_of",
    "listdir",
    "make_directory",
    "open_directory",
    "open_file",
    "open_parent",
    "open_root",
    "open_writable",
    "owning",
    "path_of",
    "publish",
    "read_exactly",
    "release_lock",
    "replace_file",
    "sync_directory",
    "sync_file",
    "syncing",
    "take_lock",
    "translated",
    "unlink",
    "write_all",
    "write_temporary",
]

TEMPORARY = ".tmp"
"""The end of the name of a file that is not yet what it will be.  Such files mean nothing."""

_Directory = TypeVar("_Directory", ReadableDirectory, WritableDirectory)

_MAX_BUFFERS = 512
"""Buffers per write; every system that has pwritev takes at least this many (IOV_MAX)."""

_LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that say that a path does not lead to a file any more."""


@contextlib.contextmanager
def translated(path: str, operation: str) -> Iterator[None]:
    """Turn OSError into IoFailedError with the path and the operation."""
    try:
        yield
    except OSError as error:
        raise IoFailedError(path, operation, error) from error


@contextlib.contextmanager
def syncing(path: str, operation: str) -> Iterator[None]:
    """Turn OSError into SyncFailedError: what was to become durable, and counts, may be lost."""
    try:
        yield
    except OSError as error:
        raise SyncFailedError(path, operation, error) from error


def explained(error: IoFailedError) -> IoFailedError | DetachedError:
    """Turn "no such file", for a file of an open tree, into DetachedError.

    Somebody else removed or moved it.  Other errors are returned as they are.
    """
    if error.errno in _LEADS_NOWHERE:
        return DetachedError(error.path, "was removed or moved")
    return error


@contextlib.contextmanager
def owning() -> Iterator[None]:
    """Raise errors as `explained` has them."""
    try:
        yield
    except IoFailedError as error:
        raise explained(error) from error.__cause__


def path_of(directory: ReadableDirectory, name: str) -> str:
    """What messages call a file of a directory."""
    return f"{directory.path}/{name}"


# Directories.


def absolute(fs: FileSystem, path: str) -> str:
    """The same path from the root.  The working directory may have been removed."""
    with translated(path, "getcwd"):
        return fs.absolute(path)


def open_root(fs: FileSystem, path: str) -> Directory | None:
    """Open a directory by its path; None if it does not exist."""
    with translated(path, "open"):
        try:
            return fs.directory(path)
        except FileNotFoundError:
            return None


def open_directory(directory: _Directory, name: str, *, follow: bool = True) -> _Directory | None:
    """Open a directory in another one; None if it does not exist.

    Unless links are to be followed, one is an error: what is written must be of this tree.
    """
    with translated(path_of(directory, name), "open"):
        try:
            return directory.directory(name, follow=follow)
        except FileNotFoundError:
            return None


def open_parent(directory: WritableDirectory) -> WritableDirectory:
    """Open the directory that holds another one."""
    with translated(directory.path, "open the directory above"):
        return directory.parent()


def make_directory(directory: WritableDirectory, name: str) -> WritableDirectory:
    """Open a directory in another one, made unless it exists.  The caller syncs the one above."""
    with translated(path_of(directory, name), "mkdir"), contextlib.suppress(FileExistsError):
        directory.mkdir(name)
    with translated(path_of(directory, name), "open"):
        return directory.directory(name, follow=False)


def listdir(directory: ReadableDirectory) -> list[str]:
    """The names in a directory, sorted."""
    with translated(directory.path, "list"):
        return sorted(directory.listdir())


def sync_directory(directory: WritableDirectory) -> None:
    """Make the names in a directory durable.  Raises SyncFailedError."""
    with syncing(directory.path, "fsync of the directory"):
        directory.sync()


def identity_of(directory: ReadableDirectory) -> Hashable:
    """Which directory a handle is of."""
    with translated(directory.path, "stat"):
        return directory.identify(".")


def check_named(root: ReadableDirectory, path: str, identity: Hashable) -> None:
    """Raise DetachedError unless a path below ``root`` leads to that file or directory.

    One system call.  Raises IoFailedError where that cannot be told.
    """
    try:
        found = root.identify(path)
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            raise DetachedError(path_of(root, path), "was removed or moved") from error
        raise IoFailedError(path_of(root, path), "stat", error) from error
    if found != identity:
        raise DetachedError(path_of(root, path), "was replaced by another file")


def take_lock(directory: Directory, name: str, *, shared: bool) -> Lock:
    """Lock a directory and its lock file at once.  Raises FileLockedError."""
    with translated(path_of(directory, name), "lock"):
        try:
            return directory.lock(name, shared=shared)
        except BlockingIOError:
            raise FileLockedError(path_of(directory, name)) from None


def release_lock(lock: Lock) -> None:
    """Give a lock back.  If that fails, it is given back all the same, with its descriptors."""
    with contextlib.suppress(OSError):
        lock.release()


# Files.


def open_file(directory: ReadableDirectory, name: str) -> ReadableFile | None:
    """Open a file for reading; None when it does not exist."""
    with translated(path_of(directory, name), "open"):
        try:
            return directory.open(name)
        except FileNotFoundError:
            return None


def open_writable(directory: WritableDirectory, name: str, *, create: bool = False) -> File:
    """Open a file for writing; with ``create``, made if it is missing."""
    with translated(path_of(directory, name), "open"):
        return directory.open_writable(name, create=create)


def close(handle: ReadableFile | ReadableDirectory) -> None:
    """Release a file or directory.  If that fails, nothing is lost.

    What counts in a file was synced, or only read, before; and the operating system has released
    the handle all the same.
    """
    with contextlib.suppress(OSError):
        handle.close()


def file_size(file: ReadableFile, path: str) -> int:
    """A file's length in bytes."""
    with translated(path, "stat"):
        return file.size()


def read_exactly(file: ReadableFile, path: str, length: int, offset: int) -> bytes:
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
    """Write buffers one behind the other from ``offset`` on; return the offset behind them."""
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
    file: ReadableFile, path: str, buffers: Sequence[bytes | memoryview], offset: int
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
    """Make a file's bytes and length durable.

    Raises IoFailedError.  Where bytes were at stake that count already, `syncing` says so instead.
    """
    with translated(path, "fsync"):
        file.sync()


def unlink(directory: WritableDirectory, name: str) -> None:
    """Remove a file unless it is gone already."""
    with (
        translated(path_of(directory, name), "unlink"),
        contextlib.suppress(FileNotFoundError),
    ):
        directory.unlink(name)


# Files that appear whole.


def write_temporary(
    directory: WritableDirectory, name: str, contents: Sequence[bytes | memoryview]
) -> File:
    """Create ``name``.tmp with these bytes, durably.  Returns it open; `publish` comes next.

    If that fails, the file is removed again, to give its space back.
    """
    temporary = name + TEMPORARY
    path = path_of(directory, temporary)
    unlink(directory, temporary)
    with translated(path, "create"):
        file = directory.open_writable(temporary, create=True)
    try:
        write_all(file, path, contents, 0)
        sync_file(file, path)
    except BaseException:
        close(file)
        with contextlib.suppress(IoFailedError):
            unlink(directory, temporary)
        raise
    return file


def publish(directory: WritableDirectory, name: str) -> None:
    """Give ``name``.tmp its name, in one step, replacing the file that had it.  Not durable yet."""
    with translated(path_of(directory, name), "rename"):
        directory.rename(name + TEMPORARY, name)


def replace_file(directory: WritableDirectory, name: str, contents: bytes) -> None:
    """Write a whole small file: durable, and at any time the old one or the new one.

    Temporary file, fsync, rename, fsync of the directory.  Raises IoFailedError before the rename
    or SyncFailedError after it.
    """
    close(write_temporary(directory, name, [contents]))
    publish(directory, name)
    sync_directory(directory)
