"""The cache: files as the processes see them, and the log of how they came to be so.

Here is what the calls of a file system do when nothing goes wrong.  Which of them go wrong, and
what a power failure leaves, is the business of `rotortree_faultinject.disk` and
`rotortree_faultinject.disk.crashes`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from rotortree_faultinject.disk.image import Content, Image, Link
from rotortree_faultinject.disk.operations import (
    PAGE_BYTES,
    ROOT,
    MicroOperation,
    Name,
    Operation,
    Sector,
    Size,
)

__all__ = ["Cache", "Found", "Inode", "below"]

_MOST_LINKS = 40
"""Symbolic links that one look-up follows before it gives up, as on Linux."""


class Inode:
    """A file, a directory or a symbolic link, as processes see it.

    ``data``: a file's bytes.  ``entries``: what the names in a directory lead to, None for anything
    else.  ``link``: a symbolic link, None for anything else.  ``path``: its path now, or the last
    one that it had.  ``parent``: the directory that holds it, or held it last; the root holds
    itself.  ``named``: whether a name leads to it.

    ``synced``: the bytes as the last sync left them.  ``doubtful``: a sync failed, and none
    succeeded since.  ``late_error``: what the next sync will raise.  ``locks``: those that are
    held, and whether they are shared.
    """

    __slots__ = (
        "data",
        "doubtful",
        "entries",
        "late_error",
        "link",
        "locks",
        "named",
        "number",
        "parent",
        "path",
        "synced",
    )

    def __init__(self, number: int, content: Content) -> None:
        self.number = number
        self.data = self.synced = content if isinstance(content, bytes) else b""
        self.entries: dict[str, Inode] | None = {} if content is None else None
        self.link = content if isinstance(content, Link) else None
        self.path = "."
        self.parent = self
        self.named = True
        self.doubtful = False
        self.late_error = 0
        self.locks: dict[object, bool] = {}

    @property
    def content(self) -> Content:
        """What it is in an image."""
        return None if self.entries is not None else self.link or self.data

    @property
    def names(self) -> dict[str, Inode]:
        """What the names in this directory lead to.  Raises NotADirectoryError for no directory."""
        if self.entries is None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", self.path)
        return self.entries


class Found(NamedTuple):
    """Where a path ends: a name in a directory, and what it leads to, None for nothing."""

    directory: Inode
    name: str
    inode: Inode | None

    @property
    def path(self) -> str:
        """The path from the root on, without links."""
        return below(self.directory, self.name)


def below(directory: Inode, path: str) -> str:
    """The path of something below a directory, from the root on."""
    if path == ".":
        return directory.path
    return path if directory.number == ROOT else f"{directory.path}/{path}"


class Cache:
    """A file system in memory without power failures.  Its errors are those of Linux.

    ``start`` is what was there before the log.  Paths start at a directory; ``/`` in front stands
    for the root.
    """

    def __init__(self, start: Image, sector_bytes: int) -> None:
        self.log: list[Operation] = []
        self.root = Inode(ROOT, None)
        self._sector_bytes = sector_bytes
        self._page_bytes = max(1, PAGE_BYTES // sector_bytes) * sector_bytes
        self._removed = b""
        self._inodes: dict[int, Inode] = {}
        self._sequence = itertools.count()
        found = {"": self.root}
        for path in sorted(start):
            above, _, name = path.rpartition("/")
            if above not in found:
                raise ValueError(f"{path!r} is in no directory of the image")
            inode = found[path] = self._add(len(self._inodes), start[path])
            found[above].names[name] = inode
            inode.parent, inode.path = found[above], path

    def _add(self, number: int, content: Content) -> Inode:
        self._inodes[number] = made = Inode(number, content)
        return made

    def inodes(self) -> Iterator[Inode]:
        """All that there is, and that there was."""
        yield self.root
        yield from self._inodes.values()

    def image(self) -> Image:
        """Everything that has a name."""
        return {inode.path: inode.content for inode in self._inodes.values() if inode.named}

    # Looking up.

    def locate(self, start: Inode, path: str, *, follow: bool = True) -> Found:
        """Where a path ends.  ``follow``: if that is a link, go on to where it leads.

        Raises FileNotFoundError or NotADirectoryError if something on the way is missing or no
        directory, and OSError (ELOOP) if links lead nowhere.
        """
        if not path:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory", path)
        at = self.root if path[0] == "/" else start
        parts = _parts(path)
        links = 0
        while parts:
            part = parts.pop()
            if at.entries is None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
            found = at.entries.get(part) or _up(at, part)
            if found is not None and found.link is not None and (follow or parts):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, "too many symbolic links", path)
                at = self.root if found.link.target[:1] == "/" else at
                parts += _parts(found.link.target)
            elif not parts:
                return Found(at, part, found)
            elif found is None:
                raise FileNotFoundError(errno.ENOENT, "no such file or directory", path)
            else:
                at = found
        return Found(at, ".", at)

    def look_up(self, start: Inode, path: str) -> Inode:
        """What a path leads to.  Raises as `locate` does, and if that is nothing."""
        return _there(self.locate(start, path), path)

    def open(self, start: Inode, path: str, *, create: bool, follow: bool = True) -> Inode:
        """What a path leads to, a new file if that is nothing and ``create``.

        Without ``create``, a link to nothing is an error of its own (EINVAL), and without
        ``follow`` any link is (ELOOP).
        """
        try:
            place = self.locate(start, path, follow=follow)
            if place.inode is None and create:
                return self._make("create", place, b"")
            found = _there(place, path)
        except FileNotFoundError:
            self._refuse_link(start, path)
            raise
        if found.link is not None:
            raise OSError(errno.ELOOP, "a symbolic link", path)
        return found

    def _refuse_link(self, start: Inode, path: str) -> None:
        """Raise OSError (EINVAL) for a link, which is known to lead to nothing."""
        with contextlib.suppress(FileNotFoundError):
            if self.locate(start, path, follow=False).inode is not None:
                raise OSError(errno.EINVAL, "a link to nothing", path)

    def directory(self, start: Inode, path: str, *, follow: bool = True) -> Inode:
        """The directory that a path leads to.  Raises as `open` does, and NotADirectoryError.

        Without ``follow``, a link is no directory.
        """
        if not follow and _there(self.locate(start, path, follow=False), path).link is not None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        found = self.open(start, path, create=False)
        if found.entries is None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        return found

    # Changing names.

    def mkdir(self, start: Inode, path: str) -> None:
        """Make a directory."""
        self._make("mkdir", self._free(start, path), None)

    def symlink(self, target: str, start: Inode, path: str) -> None:
        """Make a symbolic link."""
        self._make("symlink", self._free(start, path), Link(target))

    def _free(self, start: Inode, path: str) -> Found:
        place = self.locate(start, path, follow=False)
        if place.inode is not None:
            raise FileExistsError(errno.EEXIST, "exists", path)
        return place

    def _make(self, kind: str, place: Found, content: Content) -> Inode:
        if not place.directory.named:
            raise FileNotFoundError(errno.ENOENT, "the directory was removed", place.path)
        inode = self._add(len(self._inodes), content)
        self._enter(place.directory, place.name, inode)
        target = content.target if isinstance(content, Link) else None
        added = self._name(place, inode, inode.number)
        self.log.append(Operation(kind, inode.path, inode.number, (added,), target))
        return inode

    def _name(self, place: Found, inode: Inode, leads_to: int | None) -> Name:
        """The micro-operation by which a name leads to an inode from now on, or no more."""
        made = b"" if isinstance(inode.content, bytes) else inode.content
        directory, name, number = place.directory.number, place.name, inode.number
        return Name(next(self._sequence), directory, name, place.path, leads_to, number, made)

    def _enter(self, directory: Inode, name: str, inode: Inode) -> None:
        """Let a name lead to an inode; what it led to before is removed."""
        replaced = directory.names.get(name)
        if replaced is not None:
            self._leave(replaced)
        directory.names[name] = inode
        inode.parent = directory
        _set_path(inode, below(directory, name))

    def _leave(self, inode: Inode) -> None:
        """An inode has no name any more; whoever has it open keeps it."""
        inode.named = False
        if isinstance(inode.content, bytes):
            self._removed = inode.data

    def rename(self, start: Inode, old: str, new: str) -> None:
        """Rename anything; a file or link may replace one, a directory an empty one."""
        source = self.locate(start, old, follow=False)
        target = self.locate(start, new, follow=False)
        if not {"", ".", ".."}.isdisjoint((source.name, target.name)):
            raise OSError(errno.EBUSY, "cannot be renamed", old)
        inode = source.inode
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory", old)
        _check_rename(inode, source, target)
        if inode is target.inode:
            return
        self._enter(target.directory, target.name, inode)
        del source.directory.names[source.name]
        added, gone = self._name(target, inode, inode.number), self._name(source, inode, None)
        group, replaces = added.sequence, target.inode is not None
        micro = added._replace(rename=group, replaces=replaces), gone._replace(rename=group)
        self.log.append(Operation("rename", inode.path, inode.number, micro, source.path))

    def unlink(self, start: Inode, path: str) -> None:
        """Remove a file or a link; whoever has it open keeps it."""
        place = self.locate(start, path, follow=False)
        if place.inode is not None and place.inode.entries is not None:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        self._remove("unlink", place)

    def rmdir(self, start: Inode, path: str) -> None:
        """Remove an empty directory; whoever has it open keeps it, but nothing is made in it."""
        place = self.locate(start, path, follow=False)
        if place.name in ("", ".") or place.inode is self.root:
            raise OSError(errno.EINVAL, "cannot be removed", path)
        if place.inode is not None and place.inode.names:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self._remove("rmdir", place)

    def remove_tree(self, start: Inode, path: str) -> None:
        """Remove whatever has a name, and all that is below it; what is below comes first."""
        found = self.locate(start, path, follow=False)
        if found.inode is None or found.inode.entries is None:
            self._remove("unlink", found)
            return
        for name in list(found.inode.entries):
            self.remove_tree(found.inode, name)
        self.rmdir(start, path)

    def _remove(self, kind: str, place: Found) -> None:
        inode = place.inode
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory", place.path)
        del place.directory.names[place.name]
        self._leave(inode)
        self.log.append(
            Operation(kind, inode.path, inode.number, (self._name(place, inode, None),))
        )

    def sync_names(self, inode: Inode, kind: str = "sync_directory") -> None:
        """Make the names in a directory durable, or believe so (``failed_sync_directory``)."""
        self.log.append(Operation(kind, inode.path, inode.number))

    # Contents.

    def used(self) -> int:
        """The bytes of all files together."""
        return sum(len(inode.data) for inode in self._inodes.values() if inode.named)

    def write(self, inode: Inode, data: bytes, offset: int) -> None:
        """Write to a file, page by page: a long write that grows it is several new sizes.

        After a failed sync the size may be marked clean, as pages may; whoever writes the file's
        last bytes again makes it dirty again, because that I/O updates the size on disk.
        """
        old = inode.data
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
        data = inode.data
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
        old = inode.data
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
        data = inode.data
        if isinstance(micro, Size):
            inode.data = data[: micro.length].ljust(micro.length, b"\0")
        elif micro.data:  # nothing is left of a sector that was cut off
            offset = micro.number * self._sector_bytes
            end = offset + len(micro.data)
            inode.data = data[:offset].ljust(offset, b"\0") + micro.data + data[end:]

    def _replay_name(self, micro: Name, kind: str) -> None:
        directory = self.root if micro.directory == ROOT else self._inodes[micro.directory]
        if micro.inode is None:
            gone = directory.names.pop(micro.name)
            if kind != "rename":  # else it has its new name already
                self._leave(gone)
        else:
            inode = self._inodes.get(micro.inode) or self._add(micro.inode, micro.made)
            self._enter(directory, micro.name, inode)


def _there(found: Found, path: str) -> Inode:
    """What a path leads to.  Raises FileNotFoundError if that is nothing."""
    if found.inode is None:
        raise FileNotFoundError(errno.ENOENT, "no such file or directory", path)
    return found.inode


def _parts(path: str) -> list[str]:
    """The parts of a path, the last one first, whether it ends with a slash or not."""
    parts = path.rstrip("/").split("/") if path[-1:] == "/" else path.split("/")
    parts.reverse()
    return parts


def _up(at: Inode, part: str) -> Inode | None:
    """What the names that every directory has lead to, None for others."""
    if part in (".", ""):
        return at
    return at.parent if part == ".." else None


def _set_path(inode: Inode, path: str) -> None:
    """Let an inode, and all that is below it, know its path."""
    inode.path = path
    if inode.entries:
        for name, child in inode.entries.items():
            _set_path(child, below(inode, name))


def _check_rename(inode: Inode, source: Found, target: Found) -> None:
    """Raise what Linux raises, in its order."""
    old, new, replaced = source.path, target.path, target.inode
    if _holds(inode, target.directory):
        raise OSError(errno.EINVAL, "would be below itself", old)
    if replaced is not None and replaced is not inode and _holds(replaced, source.directory):
        raise OSError(errno.ENOTEMPTY, "holds what is renamed", new)
    if not (source.directory.named and target.directory.named):
        raise FileNotFoundError(errno.ENOENT, "the directory was removed", new)
    if replaced is None:
        return
    if inode.entries is not None and replaced.entries is None:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", new)
    if inode.entries is None and replaced.entries is not None:
        raise IsADirectoryError(errno.EISDIR, "is a directory", new)
    if replaced is not inode and replaced.entries:
        raise OSError(errno.ENOTEMPTY, "not empty", new)


def _holds(inode: Inode, other: Inode) -> bool:
    """Whether a directory is another one, or holds it at any depth."""
    while other is not inode and other.number != ROOT:
        other = other.parent
    return other is inode
