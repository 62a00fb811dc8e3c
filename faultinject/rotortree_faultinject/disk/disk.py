"""The simulated disk: a file system in memory that can lose power at any moment.

It implements the seam of `rotortree.storage.directory`, and a simpler one for programs that name
files by path (`rotortree_faultinject.disk.paths`).  While a program works on it, it keeps a log of
operations with marks in between; what a power failure would leave at any point of that log is the
business of `rotortree_faultinject.disk.crashes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rotortree.storage.directory import Directory, File, Lock
from rotortree_faultinject.disk.cache import Cache, Inode
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.handles import open_directory, open_file
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.disk.machine import FsyncFailure, Machine
from rotortree_faultinject.disk.operations import SECTOR_BYTES, Operation
from rotortree_faultinject.disk.paths import OpenMode
from rotortree_faultinject.disk.profiles import PROFILES, Profile

__all__ = ["SimulatedDisk"]


class SimulatedDisk(Machine):
    """A `FileSystem` in memory, with a log.  ``"."`` is its root and always there.

    ``image``: what is on it, all durable.  ``most``: how many bytes one call moves at the most.
    ``room``: how many bytes of files the disk can hold, names and directories cost nothing; a write
    over that is short, or ENOSPC.  ``can_lock_directories``: False as on NFS, where a directory's
    lock is that of the file alone.  ``fsync_failure``: what a failed sync leaves.  ``on_call`` is
    called before each call, and may look, switch threads, or raise.
    """

    def __init__(
        self,
        image: Image | None = None,
        *,
        sector_bytes: int = SECTOR_BYTES,
        rules: Iterable[Rule] = (),
        fsync_failure: FsyncFailure = "clean",
    ) -> None:
        super().__init__(image or {}, sector_bytes, rules, fsync_failure)
        self.carried: list[object] = []

    # Looking at it.

    @property
    def log(self) -> list[Operation]:
        """What was done to the disk so far."""
        return self.cache.log

    @property
    def counts(self) -> Counter[str]:
        """How many calls of each kind there were."""
        return Counter(call.kind for call in self.calls)

    @property
    def image(self) -> Image:
        """Everything as the process sees it."""
        return self.cache.image()

    def files(self) -> dict[str, bytes]:
        """Every file and its bytes, as the process sees them, by path."""
        return {path: data for path, data in sorted(self.image.items()) if isinstance(data, bytes)}

    # Marks, crashes, restarts.

    def mark(self, value: object) -> None:
        """Note something in the log, such as an acknowledgement."""
        self.log.append(Operation("mark", "", value=value))

    def marks(self, point: int | None = None) -> list[object]:
        """The values of the marks among the first ``point`` operations of the log, or all.

        Those from before power was lost (``carried``) come first.
        """
        return self.carried + [entry.value for entry in self.log[:point] if entry.kind == "mark"]

    def unsynced(self, profile: Profile, point: int | None = None) -> Unsynced:
        """What may and may not survive if power fails after ``point`` operations, or now."""
        state = Unsynced(self.start, profile, self.sector_bytes)
        for operation in self.log[:point]:
            state.apply(operation)
        return state

    def crash(
        self, choice: str = "", profile: Profile = PROFILES["posix"], point: int | None = None
    ) -> SimulatedDisk:
        """The disk after a power failure now, or after ``point`` operations; this one goes on.

        ``choice`` says what became of everything that was not synced, a letter each, as
        `rotortree_faultinject.disk.crashes` explains; by default nothing of it survived.
        """
        state = self.unsynced(profile, point)
        return self._like(state.image(state.legal(choice)))

    def lose_power(self, choice: str = "", profile: Profile = PROFILES["posix"]) -> None:
        """Lose power now, and be the disk that `crash` would give, with an empty log."""
        state = self.unsynced(profile)
        self.start = state.image(state.legal(choice))
        self.carried = self.marks()
        self.cache = Cache(self.start, self.sector_bytes)
        self.restart()

    def restarted(self, point: int | None = None) -> SimulatedDisk:
        """The disk as a new process finds it after this one was killed, now or at ``point``.

        What was not synced is in the cache still, and may still be lost to a power failure.
        """
        other = self._like(self.start)
        for operation in self.log[:point]:
            other.replay(operation)
        return other

    def _like(self, image: Image) -> SimulatedDisk:
        """Another disk of the same kind, without faults."""
        other = SimulatedDisk(image, sector_bytes=self.sector_bytes)
        other.can_lock_directories = self.can_lock_directories
        return other

    def restart(self) -> None:
        """This process ended, and the next one uses the same disk: locks and faults are gone."""
        for inode in self.cache.inodes():
            inode.locks.clear()
        self.faults.rules.clear()
        self.dead = False

    def replay(self, operation: Operation) -> None:
        """Do again what another disk's log says."""
        self.cache.replay(operation)

    # The seam.

    def absolute(self, path: str) -> str:
        """See `FileSystem.absolute`."""
        return path

    def directory(self, path: str) -> Directory:
        """See `FileSystem.directory`."""
        return open_directory(self, self.cache.root, path, path)

    def mkdir(self, path: str) -> None:
        """See `FileSystem.mkdir`."""
        self.call("mkdir", path, lambda: self.cache.mkdir(self.cache.root, path))

    # The same by path.

    def open(self, path: str, mode: OpenMode) -> File:
        """See `PathFileSystem.open`."""

        def operation() -> File:
            found = self.cache.open(self.cache.root, path, create=mode == "create")
            return open_file(self, found, writable=mode != "read")

        return self.call("open", path, operation)

    def listdir(self, path: str) -> list[str]:
        """See `PathFileSystem.listdir`."""
        return self.call("listdir", path, lambda: list(self._directory(path).names))

    def rename(self, old: str, new: str) -> None:
        """See `PathFileSystem.rename`."""
        self.call("rename", new, lambda: self.cache.rename(self.cache.root, old, new))

    def unlink(self, path: str) -> None:
        """See `PathFileSystem.unlink`."""
        self.call("unlink", path, lambda: self.cache.unlink(self.cache.root, path))

    def sync_directory(self, path: str) -> None:
        """See `PathFileSystem.sync_directory`."""
        self.sync_names(path, lambda: self._directory(path))

    def lock(self, path: str, *, shared: bool) -> Lock:
        """See `PathFileSystem.lock`."""

        def operation() -> Lock:
            inode = self.cache.open(self.cache.root, path, create=not shared)
            return self.lock_inodes([inode], shared=shared, guards_directory=False)

        return self.call("lock", path, operation)

    def _directory(self, path: str) -> Inode:
        return self.cache.directory(self.cache.root, path)

    # What an administrator does while programs run: no call of theirs, so that no fault hits it.

    def move(self, old: str, new: str) -> None:
        """Rename anything: a file, a directory, a link; it may replace what `os.replace` may."""
        self.cache.rename(self.cache.root, old, new)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link.  Raises FileExistsError when the name is taken."""
        self.cache.symlink(target, self.cache.root, path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory.  Raises OSError (ENOTEMPTY) for another."""
        self.cache.rmdir(self.cache.root, path)

    def remove_tree(self, path: str) -> None:
        """Remove whatever has a name, and all that is below it, one after the other."""
        self.cache.remove_tree(self.cache.root, path)
