"""What a disk is asked to do, and the micro-operations that it is made of.

A program calls operations: create, write, rename, sync.  A disk does *micro-operations*, each of
which may or may not survive a power failure by itself, and each of which changes one *place*:

=========  ===================  ==============================================================
place      micro-operation      its values
=========  ===================  ==============================================================
sector     `Sector`             the sector's bytes, as the page cache had them after the write
file size  `Size`               a length
name       `Name`               the inode that a name in a directory leads to, or none
=========  ===================  ==============================================================

A write is, page by page, the sectors that it touches and, if the file grows, a size.  A truncation
is a size, and sectors of zeros where bytes were cut off.  A rename is two names.  An inode of which
nothing but its name survived is an empty file, or an empty directory.  A symbolic link's target is
kept in its inode, so it survives with the link's name.

Directories are inodes, too: a name belongs to a directory's inode, not to a path.  So renaming a
directory changes two names, and none of those below it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from rotortree_faultinject.disk.image import Content

__all__ = [
    "PAGE_BYTES",
    "ROOT",
    "SECTOR_BYTES",
    "MicroOperation",
    "Name",
    "Operation",
    "Place",
    "Sector",
    "Size",
]

SECTOR_BYTES = 512
"""What a disk writes as a whole, unless a simulated one is told otherwise."""


PAGE_BYTES = 4096
"""What a long write is split at: each of its pages that makes the file longer is a new size."""


ROOT = -1
"""The inode of a disk's root directory."""


class Sector(NamedTuple):
    """The bytes of one sector after a write, or after a truncation that cut it.

    ``start`` and ``stop``: the range in the sector that was written.  From ``fresh`` on, those
    bytes lay behind the end of the file before, so that the block may be a new one; ``stale`` is
    what that block may hold of a file that was removed.  ``cut`` is the sequence number of the size
    that cut the sector, if a truncation did.
    """

    sequence: int
    inode: int
    number: int
    data: bytes
    start: int
    stop: int
    fresh: int
    stale: bytes
    cut: int | None = None

    @property
    def place(self) -> Place:
        """Which sector of which file."""
        return ("sector", self.inode, self.number)

    def __str__(self) -> str:
        return f"sector {self.number} of inode {self.inode} [{self.start}, {self.stop})"


class Size(NamedTuple):
    """A file's new length."""

    sequence: int
    inode: int
    length: int

    @property
    def place(self) -> Place:
        """The size of which file."""
        return ("size", self.inode, 0)

    def __str__(self) -> str:
        return f"size {self.length} of inode {self.inode}"


class Name(NamedTuple):
    """A name in a directory leads to an inode from now on, or to nothing if ``inode`` is None.

    ``directory`` is the directory's inode.  ``path`` is for reports: the path that the name had
    when this was done.  ``moved`` is the inode that it is about either way, and ``made`` what that
    inode is if nothing but its name survives: an empty file, a directory, or a link.  The two
    halves of a rename have the operation's number as ``rename``; ``replaces``: the name led to
    something else before.
    """

    sequence: int
    directory: int
    name: str
    path: str
    inode: int | None
    moved: int
    made: Content = b""
    rename: int | None = None
    replaces: bool = False

    @property
    def place(self) -> Place:
        """Which name in which directory."""
        return ("name", self.directory, self.name)

    def __str__(self) -> str:
        return f"name {self.path} → {'nothing' if self.inode is None else f'inode {self.inode}'}"


Place: TypeAlias = tuple[str, int, int | str]
"""What a micro-operation changes."""

MicroOperation: TypeAlias = Sector | Size | Name
"""The least that may survive a power failure or not."""


class Operation(NamedTuple):
    """One entry of a disk's log: what was asked for, and what it is made of.

    ``kind``: create, mkdir, symlink, write, truncate, rename, unlink, rmdir, sync, sync_directory;
    failed_sync and failed_sync_directory, after which the pages or names that they covered count as
    clean though they never reached the disk, and lost_sync, which also threw the content away;
    mark, with a ``value`` that the subject understands.  ``inode`` is the file or directory that it
    is about.
    """

    kind: str
    path: str
    inode: int = ROOT
    micro: tuple[MicroOperation, ...] = ()
    value: object = None

    def __str__(self) -> str:
        if self.kind == "mark":
            return f"mark {self.value}"
        parts = "; ".join(map(str, self.micro))
        return f"{self.kind} {self.path}" + (f" ({parts})" if parts else "")
