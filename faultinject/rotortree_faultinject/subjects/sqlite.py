"""SQLite as a subject: the real engine, and a virtual file system of it that is our seam.

SQLite does all file operations through a VFS.  The one here is made of `PathFileSystem` alone.  It
does what the VFS for Unix does, syncs of directories included, so that what SQLite promises about
power failures can be checked on a `SimulatedDisk`.  It needs the package ``apsw``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from rotortree.storage.directory import File
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import fingerprint
from rotortree_faultinject.disk.operations import SECTOR_BYTES
from rotortree_faultinject.disk.paths import OpenMode, PathFileSystem
from rotortree_faultinject.subjects.subject import Subject

try:
    import apsw
except ImportError as error:
    raise ImportError("SQLite as a subject needs apsw: pip install apsw") from error

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "JOURNAL_MODES",
    "SYNCHRONOUS",
    "RecoveredRows",
    "SqliteFileSystem",
    "SqliteSubject",
    "connected",
]

JOURNAL_MODES = ("delete", "truncate", "persist", "wal")
"""How SQLite can commit; ``wal`` here without shared memory: one connection at a time."""

SYNCHRONOUS = ("off", "normal", "full", "extra")
"""How often SQLite syncs."""

_T = TypeVar("_T")

_NAMED_BEFORE_SYNC = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)


def _failure(code: int, caught: OSError) -> apsw.Error:
    """The same error as SQLite knows it."""
    failure = apsw.IOError(str(caught))
    failure.extendedresult = code  # type: ignore[attr-defined]  # apsw's stubs do not know it
    return failure


def _attempt(code: int, operation: Callable[[], _T]) -> _T:
    """Do an operation of the seam; what it raises is what SQLite would get on Unix."""
    while True:
        try:
            return operation()
        except InterruptedError:
            continue
        except OSError as caught:
            if caught.errno == errno.ENOSPC:
                raise apsw.FullError(str(caught)) from caught
            raise _failure(code, caught) from caught


class SqliteFileSystem(apsw.VFS):
    """A VFS on a file system, for the connections of one process; its files have no paths."""

    def __init__(self, fs: PathFileSystem) -> None:
        self.name = f"rotortree-{id(self):x}"
        self.fs = fs
        self.powered = True
        self.locks: dict[str, dict[_SqliteFile, int]] = {}
        super().__init__(self.name, iVersion=1)

    def lose_power(self) -> None:
        """From now on nothing reaches the disk, so that connections can be thrown away."""
        self.powered = False

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file.  Temporary ones, which have no name, belong into memory."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            raise apsw.CantOpenError("temporary files: set temp_store to memory")
        create = bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        mode: OpenMode = "create" if create else "write"
        try:
            file = _attempt(apsw.SQLITE_IOERR, lambda: self.fs.open(path, mode))
        except apsw.IOError as caught:
            raise apsw.CantOpenError(str(caught)) from caught
        flags[1] = flags[0]
        names = create and bool(flags[0] & _NAMED_BEFORE_SYNC)
        return _SqliteFile(self, path, file, sync_directory=names)

    def xAccess(self, pathname: str, flags: int) -> bool:
        """Whether a file is there; an empty one counts as missing, as on Unix."""
        try:
            file = _attempt(apsw.SQLITE_IOERR_ACCESS, lambda: self.fs.open(pathname, "read"))
        except apsw.IOError as caught:
            if isinstance(caught.__cause__, FileNotFoundError):
                return False
            raise
        try:
            return _attempt(apsw.SQLITE_IOERR_ACCESS, file.size) > 0
        finally:
            file.close()

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Remove a file, and make that durable if SQLite asks for it."""
        if not self.powered:
            return
        try:
            _attempt(apsw.SQLITE_IOERR_DELETE, lambda: self.fs.unlink(filename))
        except apsw.IOError as caught:
            if isinstance(caught.__cause__, FileNotFoundError):
                raise _failure(apsw.SQLITE_IOERR_DELETE_NOENT, caught.__cause__) from caught
            raise
        if syncdir:
            _attempt(apsw.SQLITE_IOERR_DIR_FSYNC, lambda: self.fs.sync_directory("."))

    def xFullPathname(self, name: str) -> str:
        """Names are paths."""
        return name

    def xGetLastError(self) -> tuple[int, str | None]:
        """There is nothing more to say of an error than what was raised."""
        return 0, None

    def xRandomness(self, numbytes: int) -> bytes:
        """There is no randomness."""
        return bytes(numbytes)

    def xSleep(self, microseconds: int) -> int:
        """There is no time, either."""
        return microseconds

    def xCurrentTimeInt64(self) -> int:
        """The evening of 24 February 2023, always."""
        return 212_543_244_000_000


class _SqliteFile(apsw.VFSFile):
    """An open file of SQLite."""

    def __init__(
        self, vfs: SqliteFileSystem, path: str, file: File, *, sync_directory: bool
    ) -> None:
        self._vfs = vfs
        self._path = path
        self._file = file
        self._sync_directory = sync_directory

    def xRead(self, amount: int, offset: int) -> bytes:
        data = b""
        while self._vfs.powered and len(data) < amount:
            left, at = amount - len(data), offset + len(data)
            piece = _attempt(apsw.SQLITE_IOERR_READ, lambda: self._file.pread(left, at))  # noqa: B023
            if not piece:
                break
            data += piece
        return data

    def xWrite(self, data: Buffer, offset: int) -> None:
        rest = bytes(data)
        while self._vfs.powered and rest:
            piece, at = rest, offset
            written = _attempt(
                apsw.SQLITE_IOERR_WRITE,
                lambda: self._file.pwritev([piece], at),  # noqa: B023
            )
            rest, offset = rest[written:], offset + written

    def xTruncate(self, newsize: int) -> None:
        if self._vfs.powered:
            _attempt(apsw.SQLITE_IOERR_TRUNCATE, lambda: self._file.truncate(newsize))

    def xSync(self, flags: int) -> None:
        """The first sync of a journal makes its name durable, too; if it can, as on Unix."""
        if not self._vfs.powered:
            return
        _attempt(apsw.SQLITE_IOERR_FSYNC, self._file.sync)
        if self._sync_directory:
            self._sync_directory = False
            try:
                self._vfs.fs.sync_directory(".")
            except OSError:
                return

    def xFileSize(self) -> int:
        if not self._vfs.powered:
            return 0
        return _attempt(apsw.SQLITE_IOERR_FSTAT, self._file.size)

    def xClose(self) -> None:
        self.xUnlock(apsw.SQLITE_LOCK_NONE)
        self._file.close()

    def _others(self) -> list[int]:
        holders = self._vfs.locks.get(self._path, {})
        return [level for file, level in holders.items() if file is not self]

    def xLock(self, level: int) -> None:
        highest = max(self._others(), default=apsw.SQLITE_LOCK_NONE)
        allowed = {
            apsw.SQLITE_LOCK_SHARED: apsw.SQLITE_LOCK_RESERVED,
            apsw.SQLITE_LOCK_RESERVED: apsw.SQLITE_LOCK_SHARED,
        }.get(level, apsw.SQLITE_LOCK_NONE)
        if highest > allowed:
            raise apsw.BusyError("locked")
        self._vfs.locks.setdefault(self._path, {})[self] = level

    def xUnlock(self, level: int) -> None:
        holders = self._vfs.locks.setdefault(self._path, {})
        holders[self] = level
        if level == apsw.SQLITE_LOCK_NONE:
            del holders[self]

    def xCheckReservedLock(self) -> bool:
        return any(level >= apsw.SQLITE_LOCK_RESERVED for level in self._others())

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False  # nothing beyond what any file can do

    def xSectorSize(self) -> int:
        return SECTOR_BYTES

    def xDeviceCharacteristics(self) -> int:
        """As on Unix: a torn write harms nothing outside of what was written."""
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE


class _Seed(apsw.VFS):
    """The default VFS while SQLite seeds its random numbers, which are one for the process."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        super().__init__(f"rotortree-seed-{id(self):x}", makedefault=True, iVersion=1)

    def xRandomness(self, numbytes: int) -> bytes:
        return (self._seed * numbytes)[:numbytes]


def _seed(seed: bytes) -> None:
    """Make what SQLite calls random the same every time: the salts of its journals."""
    vfs = _Seed(seed)
    try:
        apsw.randomness(0)
        apsw.randomness(1)
    finally:
        vfs.unregister()


@contextmanager
def connected(
    disk: SimulatedDisk, journal: str, synchronous: str, *, closes: bool = False
) -> Iterator[apsw.Connection]:
    """A connection to the database of a disk, with small pages and an eager checkpoint.

    It ends as if the process had died, or in an orderly way if it ``closes``.
    """
    _seed(fingerprint(disk.image))
    vfs = SqliteFileSystem(disk)
    connection = apsw.Connection("db", vfs=vfs.name)
    try:
        locking = "exclusive" if journal == "wal" else "normal"
        for pragma in (
            f"locking_mode = {locking}",
            "temp_store = memory",
            "page_size = 1024",
            f"synchronous = {synchronous}",
            f"journal_mode = {journal}",
            "wal_autocheckpoint = 12",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection
        if closes:
            connection.close()
    finally:
        vfs.lose_power()
        connection.close(True)
        vfs.unregister()


_Row: TypeAlias = tuple[int | float | bytes | str | None, ...]


class RecoveredRows(NamedTuple):
    """What recovery finds: the words of ``PRAGMA integrity_check``, and all rows, or no table."""

    integrity: str
    rows: tuple[_Row, ...] | None


def _body(number: int, version: int) -> str:
    return f"{number:03d}.{version} " * 40


def _rows(numbers: range, version: int) -> list[_Row]:
    return [(number, f"kind {number % 3}", _body(number, version)) for number in numbers]


_INSERT = "INSERT INTO items VALUES (?, ?, ?)"

_TRANSACTIONS: Sequence[Callable[[apsw.Connection], object]] = (
    lambda db: db.execute(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, kind TEXT, body TEXT);"
        "CREATE INDEX kinds ON items (kind)"
    ),
    lambda db: db.executemany(_INSERT, _rows(range(6), 1)),
    lambda db: db.execute("UPDATE items SET kind = 'new', body = upper(body) || 'x'"),
    lambda db: db.execute("DELETE FROM items WHERE id % 2"),
    lambda db: db.executemany(_INSERT, _rows(range(6, 8), 2)),
)
"""The workload, a commit each."""


def _find(db: apsw.Connection) -> RecoveredRows:
    integrity = str(db.execute("PRAGMA integrity_check(1)").get)
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'items'").fetchone():
        return RecoveredRows(integrity, None)
    rows = db.execute("SELECT id, kind, body FROM items ORDER BY id").fetchall()
    return RecoveredRows(integrity, tuple(rows))


class SqliteSubject(Subject):
    """SQLite with a journal mode and a degree of synchronisation; commits are acknowledgements.

    If it is not ``durable``, what is asked is consistency only: any commit may be the last one.
    """

    def __init__(
        self, journal: str = "delete", synchronous: str = "extra", *, durable: bool = True
    ) -> None:
        if journal not in JOURNAL_MODES or synchronous not in SYNCHRONOUS:
            raise ValueError(f"SQLite has no journal_mode {journal}, synchronous {synchronous}")
        self.name = f"SQLite, journal_mode={journal}, synchronous={synchronous}"
        self.journal = journal
        self.synchronous = synchronous
        self.durable = durable
        self._states = _states()

    def run(self, disk: SimulatedDisk) -> None:
        """Every transaction, a mark after its commit, and an orderly end."""
        with connected(disk, self.journal, self.synchronous, closes=True) as db:
            for number, transaction in enumerate(_TRANSACTIONS):
                db.execute("BEGIN")
                transaction(db)
                db.execute("COMMIT")
                disk.mark(number + 1)

    def recover(self, disk: SimulatedDisk) -> RecoveredRows:
        """Open the database, which rolls back or replays, check it and read it."""
        with connected(disk, self.journal, self.synchronous) as db:
            return _find(db)

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """Consistent, with all acknowledged commits and at most the one in flight."""
        assert isinstance(outcome, RecoveredRows)
        if outcome.integrity != "ok":
            return f"corrupt: {outcome.integrity}"
        if outcome.rows not in self._states:
            return "rows that no commit made"
        commits = self._states.index(outcome.rows)
        if commits > len(marks) + 1 or (self.durable and commits < len(marks)):
            return f"{commits} commits, of which {len(marks)} were acknowledged"
        return None

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """A second opening finds the same and can write."""
        with connected(disk, self.journal, self.synchronous) as db:
            if _find(db) != outcome:
                raise AssertionError("a second opening finds something else")
            db.execute("CREATE TABLE more (x); INSERT INTO more VALUES (1)")

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        return {
            "journal": self.journal,
            "synchronous": self.synchronous,
            "durable": self.durable,
        }


def _states() -> tuple[tuple[_Row, ...] | None, ...]:
    """The rows after 0, 1, 2, … commits."""
    db = apsw.Connection(":memory:")
    states = [_find(db).rows]
    for transaction in _TRANSACTIONS:
        transaction(db)
        states.append(_find(db).rows)
    db.close()
    return tuple(states)
