"""The cache: files as the processes see them, and the log of how they came to be so.

Here is what the calls of a file system do when nothing goes wrong.  Which of them go wrong, and
what a power failure leaves, is the business of `rotortree_faultinject.disk` and
`rotortree_faultinject.crashes`.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from rotortree_faultinject.image import Image, parents
from rotortree_faultinject.operations import (
    PAGE_BYTES,
    MicroOperation,
    Name,
    Operation,
    Sector,
    Size,
)

__all__ = ["Cache", "Inode"]

_ROOT = (".", "/")


class Inode:
    """A file's bytes as processes see them, and as the last sync left them; None: a directory.

    ``doubtful``: a sync failed, and none succeeded since.  ``late_error``: what the next sync will
    raise.  ``locks``: those that are held, and whether they are shared.
    """

    __slots__ = ("data", "doubtful", "late_error", "locks", "number", "path", "synced")

    def __init__(self, number: int, path: str, data: bytes | None) -> None:
        self.number = number
        self.path = path
        self.data = data
        self.synced = data
        self.doubtful = False
        self.late_error = 0
        self.locks: dict[object, bool] = {}


class Cache:
    """A file system in memory without power failures.  Its errors are those of Linux.

    ``start`` is what was there before the log.  ``"."`` is the root; paths have no ``.`` or ``..``
    in them and no slash at the end.
    """

    def __init__(self, start: Image, sector_bytes: int) -> None:
        self.names: dict[str, Inode] = {}
        self.log: list[Operation] = []
        self._sector_bytes = sector_bytes
        self._page_bytes = max(1, PAGE_BYTES // sector_bytes) * sector_bytes
        self._removed = b""
        self._root = Inode(-1, ".", None)
        self._inodes: dict[int, Inode] = {}
        self._sequence = itertools.count()
        for path in sorted(start):
            self._add(path, Inode(len(self._inodes), path, start[path]))

    def _add(self, path: str, inode: Inode) -> None:
        self.names[path] = self._inodes[inode.number] = inode

    # Names.

    def look_up(self, path: str) -> Inode:
        """What a path names.  Raises FileNotFoundError or NotADirectoryError."""
        if path in _ROOT:
            return self._root
        self._check_parents(path)
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory", path)
        return self.names[path]

    def _check_parents(self, path: str) -> None:
        above = path.rpartition("/")[0]
        if not above or (above in self.names and self.names[above].data is None):
            return  # a directory is not there without those above it
        for parent in reversed([*parents(path)]):
            if parent not in self.names:
                raise FileNotFoundError(errno.ENOENT, "no such directory", path)
            if self.names[parent].data is not None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)

    def check_directory(self, path: str) -> None:
        """Raise as `look_up` does unless a path names a directory."""
        if self.look_up(path).data is not None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory."""
        self.check_directory(path)
        start = "" if path == "." else path.rstrip("/") + "/"
        names = (name[len(start) :] for name in self.names if name.startswith(start))
        return [name for name in names if "/" not in name]

    def open(self, path: str, *, create: bool) -> Inode:
        """A file, made if it is missing and ``create``."""
        try:
            return self.look_up(path)
        except FileNotFoundError:
            self._check_parents(path)
            if create:
                return self._make("create", path, b"")
            raise

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._check_parents(path)
        if path in self.names or path in _ROOT:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._make("mkdir", path, None)

    def _make(self, kind: str, path: str, data: bytes | None) -> Inode:
        inode = Inode(len(self._inodes), path, data)
        self._add(path, inode)
        name = Name(next(self._sequence), path, inode.number, inode.number, data is None)
        self.log.append(Operation(kind, path, inode.number, (name,)))
        return inode

    def rename(self, old: str, new: str) -> None:
        """Rename a file, which may replace another; directories stay what they are called."""
        self._check_parents(old)
        self._check_parents(new)
        inode = self.look_up(old)
        if inode.data is None:
            raise OSError(errno.ENOTSUP, "renaming a directory is not simulated", old)
        replaced = self.names.get(new)
        if new in parents(old):
            raise OSError(errno.ENOTEMPTY, "holds the file", new)
        if replaced is not None and replaced.data is None:
            raise IsADirectoryError(errno.EISDIR, "is a directory", new)
        if new in _ROOT:
            raise OSError(errno.EBUSY, "is the root", new)
        if old == new:
            return
        self._name(new, inode)
        del self.names[old]
        group = next(self._sequence)
        added = Name(group, new, inode.number, inode.number, False, group, replaced is not None)
        gone = Name(next(self._sequence), old, None, inode.number, False, group)
        self.log.append(Operation("rename", new, inode.number, (added, gone), old))

    def _name(self, path: str, inode: Inode) -> None:
        """Let a path name a file; what it named before is removed."""
        replaced = self.names.get(path)
        if replaced is not None:
            self._removed = replaced.data or b""
        self.names[path] = inode
        inode.path = path

    def unlink(self, path: str) -> None:
        """Remove a file; whoever has it open keeps it."""
        inode = self.look_up(path)
        if inode.data is None:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        del self.names[path]
        self._removed = inode.data
        gone = Name(next(self._sequence), path, None, inode.number)
        self.log.append(Operation("unlink", path, inode.number, (gone,)))

    # Contents.

    def used(self) -> int:
        """The bytes of all files together."""
        return sum(len(inode.data or b"") for inode in self.names.values())

    def write(self, inode: Inode, data: bytes, offset: int) -> None:
        """Write to a file, page by page: a long write that grows it is several new sizes.

        After a failed sync the size may be marked clean, as pages may; whoever writes the file's
        last bytes again makes it dirty again, because that I/O updates the size on disk.
        """
        old = inode.data or b""
        at, size, end = offset, len(old), offset + len(data)
        inode.data = old[:offset].ljust(offset, b"\0") + data + old[end:]
        micro: list[MicroOperation] = []
        while at < end:
            stop = min(end, at - at % self._page_bytes + self._page_bytes)
            micro += self._sectors(inode, at, stop, len(old))
            if stop > size or (inode.doubtful and stop == len(inode.data)):
                micro.append(Size(next(self._sequence), inode.number, stop))
            at = stop
        self.log.append(Operation("write", inode.path, inode.number, tuple(micro), (offset, end)))

    def _sectors(
        self, inode: Inode, start: int, end: int, old: int, cut: int | None = None
    ) -> Iterator[Sector]:
        """The sectors of a file that a change of [start, end) touches, as they are now."""
        data = inode.data or b""
        step = self._sector_bytes
        for number in range(start // step, -(-end // step)):
            at = number * step
            yield Sector(
                sequence=next(self._sequence),
                inode=inode.number,
                number=number,
                data=data[at : at + step],
                start=max(0, start - at),
                stop=min(step, end - at),
                fresh=min(step, max(0, old - at)),
                stale=self._removed[at : at + step],
                cut=cut,
            )

    def truncate(self, inode: Inode, length: int) -> None:
        """Cut or extend a file; what was cut off reads as zeros if it is extended again."""
        old = inode.data or b""
        inode.data = old[:length].ljust(length, b"\0")
        size = Size(next(self._sequence), inode.number, length)
        lost = max(length, len(old))
        cut = self._sectors(inode, length, lost, len(old), size.sequence) if lost > length else ()
        self.log.append(Operation("truncate", inode.path, inode.number, (size, *cut), length))

    def sync(self, inode: Inode) -> None:
        """Make a file durable."""
        inode.synced, inode.doubtful = inode.data, False
        self.log.append(Operation("sync", inode.path, inode.number))

    def fail_sync(self, inode: Inode) -> None:
        """Mark a file clean, though its content never reached the disk."""
        inode.doubtful = True
        self.log.append(Operation("failed_sync", inode.path, inode.number))

    def revert(self, inode: Inode) -> None:
        """Throw away what was not synced of a file."""
        inode.data = inode.synced
        self.log.append(Operation("lost_sync", inode.path, inode.number, value=inode.data))

    # Doing again what another log says.

    def replay(self, operation: Operation) -> None:
        """Do what an operation of another cache's log did."""
        self.log.append(operation)
        for micro in operation.micro:
            self._replay(micro, operation.kind)
            self._sequence = itertools.count(micro.sequence + 1)
        inode = self._inodes.get(operation.inode)
        if inode is not None and operation.kind == "sync":
            inode.synced, inode.doubtful = inode.data, False
        elif inode is not None and operation.kind == "failed_sync":
            inode.doubtful = True
        elif inode is not None and operation.kind == "lost_sync":
            inode.data = inode.synced

    def _replay(self, micro: MicroOperation, kind: str) -> None:
        if isinstance(micro, Name):
            self._replay_name(micro, kind)
            return
        inode = self._inodes[micro.inode]
        data = inode.data or b""
        if isinstance(micro, Size):
            inode.data = data[: micro.length].ljust(micro.length, b"\0")
        elif micro.data:  # nothing is left of a sector that was cut off
            offset = micro.number * self._sector_bytes
            end = offset + len(micro.data)
            inode.data = data[:offset].ljust(offset, b"\0") + micro.data + data[end:]

    def _replay_name(self, micro: Name, kind: str) -> None:
        if micro.inode is None:
            inode = self.names.pop(micro.path)
            if kind == "unlink":
                self._removed = inode.data or b""
        elif micro.inode in self._inodes:
            self._name(micro.path, self._inodes[micro.inode])
        else:
            made = Inode(micro.inode, micro.path, None if micro.is_directory else b"")
            self._add(micro.path, made)
