"""The same calls on the operating system's file system and on the simulated one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Protocol, cast

from hypothesis import strategies as st

from rotortree.storage.directory import Directory, File, FileSystem, Lock, WritableDirectory
from rotortree.storage.os_directory import OsFileSystem
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import Content, Image, Link

__all__ = [
    "BEGIN",
    "TOP",
    "Administrator",
    "OsAdministrator",
    "Program",
    "Step",
    "real_image",
    "real_program",
    "simulated_program",
    "step",
    "steps",
]

TOP = "top"
"""The directory in which a program works; it has a parent of its own."""

NAMES = ("a", "b", "d", "e", "d/a", "d/e", "d/e/a", "missing/a", "a/b", "l", "l/a", "d/l", ".")
"""Paths that files, directories and links share, so that calls meet the wrong kind of thing."""

TARGETS = ("a", "d", "e", "../d", "missing", "l", "d/e", "../e/a")
"""What links lead to."""

HANDLES = 3
"""Files, directories and locks that are open at once, of each; directory 0 is the top for ever."""

Step = tuple[str, str, str, int, int, int]
"""A call, two paths, the directory that it starts at, another handle, and a number of bytes."""

_FILE_CALLS = "close size pread pwritev truncate sync map".split()
_NAME_CALLS = "open open mkdir rename rename unlink listdir identify sync_directory".split()
_HANDLE_CALLS = "directory directory parent lock release close_directory".split()
_TREE_CALLS = "symlink rmdir remove_tree move".split()

steps = st.lists(
    st.tuples(
        st.sampled_from(_FILE_CALLS + _NAME_CALLS + _HANDLE_CALLS + _TREE_CALLS),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(0, HANDLES - 1),
        st.integers(0, HANDLES - 1),
        st.integers(0, 40),
    ),
    max_size=30,
)


def step(call: str, name: str = "", other: str = "", at: int = 0, handle: int = 0) -> Step:
    """One step that needs no number of bytes."""
    return (call, name, other, at, handle, 2)


BEGIN: list[Step] = [
    step("mkdir", "d"),
    step("mkdir", "d/e"),
    step("open", "a", handle=0),
    ("pwritev", "", "", 0, 0, 20),
    step("open", "d/a", handle=1),
    step("open", "b", handle=2),
    step("directory", "d", handle=1),
    step("directory", "d/e", handle=2),
    ("symlink", "l", "", 0, 0, 1),
]
"""So that there is something that the calls can be about."""


class Administrator(Protocol):
    """Whoever changes a machine while a program runs."""

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def remove_tree(self, path: str) -> None:
        """Remove a file, a link, or a directory with all that is below it."""

    def move(self, old: str, new: str) -> None:
        """Rename anything."""


class OsAdministrator:
    """The one of the real file system, who works below a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def symlink(self, target: str, path: str) -> None:
        """See `Administrator.symlink`."""
        os.symlink(target, f"{self._folder}/{path}")

    def rmdir(self, path: str) -> None:
        """See `Administrator.rmdir`."""
        os.rmdir(f"{self._folder}/{path}")

    def remove_tree(self, path: str) -> None:
        """See `Administrator.remove_tree`."""
        whole = f"{self._folder}/{path}"
        if os.path.isdir(whole) and not os.path.islink(whole):
            shutil.rmtree(whole)
        else:
            os.unlink(whole)

    def move(self, old: str, new: str) -> None:
        """See `Administrator.move`."""
        os.replace(f"{self._folder}/{old}", f"{self._folder}/{new}")


class Program:
    """A directory, and the few files, directories and locks that are open."""

    def __init__(self, top: Directory, administrator: Administrator) -> None:
        self.directories = {0: top}
        self.files: dict[int, File] = {}
        self.locks: dict[int, Lock] = {}
        self._administrator = administrator
        self._written = 0

    def step(self, step: Step) -> object:
        """Do one call; return its result, or what it raises."""
        try:
            return self._step(*step)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        except ValueError:  # what Python makes of some calls on a descriptor that was closed
            return "EBADF"

    def _step(self, call: str, name: str, other: str, at: int, handle: int, count: int) -> object:
        if call in _TREE_CALLS:
            self._administrate(call, name, other, count)
        elif call in _FILE_CALLS:
            return self._use(self.files.get(handle), call, handle, count)
        elif at in self.directories:
            return self._call(self.directories[at], call, name, other, handle, count)
        return None

    def _administrate(self, call: str, name: str, other: str, count: int) -> None:
        if name == "." or (call == "move" and other == "."):
            return  # the top stays
        if call == "symlink":
            self._administrator.symlink(TARGETS[count % len(TARGETS)], f"{TOP}/{name}")
        elif call == "move":
            self._administrator.move(f"{TOP}/{name}", f"{TOP}/{other}")
        else:
            getattr(self._administrator, call)(f"{TOP}/{name}")

    def _call(
        self, at: Directory, call: str, name: str, other: str, handle: int, count: int
    ) -> object:
        if call == "open":
            opened = _opened(at, name, count)
            self.files.pop(handle, opened).close()
            self.files[handle] = _opened(at, name, count)
        elif call == "rename":
            at.rename(name, other)
        elif call == "listdir":
            return sorted(at.listdir())
        elif call == "identify":
            return self._identify(at, name)
        elif call == "sync_directory":
            at.sync()
        elif call in ("mkdir", "unlink"):
            getattr(at, call)(name)
        else:
            return self._handle(at, call, name, handle, count)
        return None

    def _handle(self, at: Directory, call: str, name: str, handle: int, count: int) -> object:
        if call == "lock":
            if handle in self.locks:
                self.locks[handle].release()
            self.locks[handle] = at.lock(name, shared=count % 2 == 0)
            return self.locks[handle].guards_directory
        if call == "release":
            if handle in self.locks:
                self.locks[handle].release()
        elif handle:
            if call == "directory":
                self.directories[handle] = _lockable(at.directory(name))
            elif call == "parent" and at.identify(".") != self.directories[0].identify("."):
                self.directories[handle] = _lockable(at.parent())
            elif call == "close_directory" and handle in self.directories:
                self.directories[handle].close()
        return None

    def _identify(self, at: Directory, name: str) -> object:
        """What a name leads to: a file or a directory, and which of the open files it is."""
        found = at.identify(name)
        same = [number for number, file in self.files.items() if file.identity == found]
        try:
            at.directory(name).close()
        except NotADirectoryError:
            return "file", same
        return "directory", same

    def _use(self, file: File | None, call: str, handle: int, count: int) -> object:
        if file is None:
            return None
        if call == "pread":
            return file.pread(count, count // 2)
        if call == "pwritev":
            self._written += 1
            data = bytes([self._written % 256]) * (count // 2)
            return file.pwritev([data[:3], data[3:]], count)
        if call == "truncate":
            file.truncate(count)
        elif call == "map":
            return bytes(file.map(count + 1))
        elif call == "close":
            self.files.pop(handle).close()
        else:
            return getattr(file, call)()
        return None

    def close(self) -> None:
        """Close whatever is open."""
        for file in self.files.values():
            file.close()
        for directory in self.directories.values():
            directory.close()
        for lock in self.locks.values():
            lock.release()


def _lockable(directory: WritableDirectory) -> Directory:
    """Every handle here can be locked, though the protocols promise that of the first one only."""
    assert hasattr(directory, "lock")
    return cast(Directory, directory)


def _opened(at: Directory, name: str, count: int) -> File:
    if count % 3 == 0:
        return at.open(name)  # type: ignore[return-value]  # it refuses to be written
    return at.open_writable(name, create=count % 3 == 2)


def real_program(folder: Path) -> Program:
    """A program on the real file system, in a folder that is empty."""
    return _program(OsFileSystem(), f"{folder}/{TOP}", OsAdministrator(str(folder)))


def simulated_program(disk: SimulatedDisk) -> Program:
    """The same program on a simulated disk."""
    return _program(disk, TOP, disk)


def _program(fs: FileSystem, top: str, administrator: Administrator) -> Program:
    with contextlib.suppress(FileExistsError):
        fs.mkdir(top)
    return Program(fs.directory(top), administrator)


def real_image(folder: Path) -> Image:
    """All that is below a folder, without the help of the seam."""
    found: dict[str, Content] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = Link(os.readlink(path))
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found
