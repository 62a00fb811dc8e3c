"""Paths: the interface of programs that name files by path, as most do.

`PathFileSystem` is a convenience beside the handles of `rotortree.storage.directory`: the dozen
calls that small programs and tests need.  A `SimulatedDisk` has both.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from rotortree.storage.directory import File, Lock

__all__ = ["OpenMode", "PathFileSystem"]

OpenMode: TypeAlias = Literal["read", "write", "create"]
"""How to open a file: to read, to read and write, or so and created empty if it is missing."""


class PathFileSystem(Protocol):
    """A file system whose files are named by path."""

    def open(self, path: str, mode: OpenMode) -> File:
        """Open a file.  "read" and "write" raise FileNotFoundError when there is none."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, in no order."""

    def mkdir(self, path: str) -> None:
        """Make a directory.  Raises FileExistsError when the name is taken."""

    def rename(self, old: str, new: str) -> None:
        """Give a file or directory another name, replacing the file or empty directory there."""

    def unlink(self, path: str) -> None:
        """Remove a file or a symbolic link."""

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory would survive a power failure."""

    def lock(self, path: str, *, shared: bool) -> Lock:
        """Lock a file at once or raise BlockingIOError; exclusive locks create a missing one."""
