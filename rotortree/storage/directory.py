"""The file-system seam: directories and files as handles, split by what may be done with them.

Everything that the storage engine does to a disk, it does through these protocols.
`rotortree.storage.os_directory` is the real thing; a simulated disk implements the same, and so may
whatever only reads, such as an object store.  They fail as the operating system does, by OSError;
`rotortree.storage.calls` turns that into this library's errors.

A *directory* is a handle, not a path.  It stays the same directory when somebody renames it, flips
a symbolic link that led to it, or makes another one at its old path.  All names are relative to a
handle: plain names, or paths of such with ``/`` between them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Directory",
    "File",
    "FileSystem",
    "Lock",
    "ReadableDirectory",
    "ReadableFile",
    "WritableDirectory",
]


class Lock(Protocol):
    """A lock that is held until it is released, or its process ends."""

    @property
    def guards_directory(self) -> bool:
        """Whether it is one that removing files cannot take away; see `Directory.lock`."""

    def release(self) -> None:
        """Give the lock back.  Idempotent."""


class ReadableFile(Protocol):
    """A file that is open for reading.  Offsets and lengths are bytes."""

    @property
    def identity(self) -> Hashable:
        """As `ReadableDirectory.identify` says it."""

    def size(self) -> int:
        """The file's length now."""

    def pread(self, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only if interrupted or at the end."""

    def map(self, length: int) -> memoryview:
        """The first ``length`` > 0 bytes, read-only; stays valid after close.

        An error where the file is shorter.
        """

    def close(self) -> None:
        """Release the file.  Idempotent."""


class File(ReadableFile, Protocol):
    """A file that is open for reading and writing."""

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write buffers one behind the other; return how many bytes were written, maybe fewer."""

    def truncate(self, length: int) -> None:
        """Cut the file to ``length``."""

    def sync(self) -> None:
        """Return when the file's bytes and length would survive a power failure."""


class ReadableDirectory(Protocol):
    """A directory that is open for reading."""

    @property
    def path(self) -> str:
        """The path by which it was opened.  For messages: it may lead elsewhere by now."""

    def directory(self, path: str, *, follow: bool = True) -> ReadableDirectory:
        """Open a directory below this one.  Symbolic links are followed, now and never again.

        Without ``follow``, a path that ends in one is refused (ENOTDIR).  Raises FileNotFoundError,
        NotADirectoryError.
        """

    def open(self, path: str) -> ReadableFile:
        """Open a file for reading.  Raises FileNotFoundError; another error for a broken link."""

    def listdir(self) -> list[str]:
        """The names in this directory, in no order."""

    def identify(self, path: str) -> Hashable:
        """Which file or directory a path below this directory leads to now.

        The identity is equal for all names and handles of one file or directory, and for no two
        others that exist at the same time.  Raises FileNotFoundError.
        """

    def close(self) -> None:
        """Release the handle.  Idempotent."""


class WritableDirectory(ReadableDirectory, Protocol):
    """A directory in which files may be changed."""

    def directory(self, path: str, *, follow: bool = True) -> WritableDirectory:
        """See `ReadableDirectory.directory`."""

    def parent(self) -> WritableDirectory:
        """Open the directory that holds this one now."""

    def open_writable(self, path: str, *, create: bool = False) -> File:
        """Open a file for reading and writing; with ``create``, make an empty one if it is missing.

        Raises FileNotFoundError without ``create``.  A symbolic link is refused (ELOOP): what is
        written must be a file of this directory.
        """

    def mkdir(self, path: str) -> None:
        """Make a directory.  Raises FileExistsError when the name is taken."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing the file that had it."""

    def unlink(self, path: str) -> None:
        """Remove a file's name."""

    def sync(self) -> None:
        """Return when the names in this directory would survive a power failure."""


class Directory(WritableDirectory, Protocol):
    """A directory that can be locked."""

    def lock(self, name: str, *, shared: bool) -> Lock:
        """Lock this directory at once, and its file ``name``, or raise BlockingIOError.

        Nobody can remove a directory's own lock without removing the directory.  Where the system
        cannot lock directories (NFS), the file's lock alone is taken, which guards only for as long
        as the file keeps its name: the lock says so.  An exclusive lock creates a missing file; a
        shared one does without it.
        """


class FileSystem(Protocol):
    """Where directories are found by path: strings with ``/`` between their parts."""

    def absolute(self, path: str) -> str:
        """The same path from the root, so that it stays the same when the process moves."""

    def directory(self, path: str) -> Directory:
        """Open a directory.  Raises FileNotFoundError, NotADirectoryError."""

    def mkdir(self, path: str) -> None:
        """Make a directory.  Raises FileExistsError when the name is taken."""
