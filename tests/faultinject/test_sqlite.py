"""SQLite on the simulated disk: what it promises about power failures, and where that ends."""

from __future__ import annotations

import errno
import importlib
import itertools
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.operations import Name
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.exploring.explorer import Bounds, Exploration, explore
from rotortree_faultinject.subjects.sqlite import (
    JOURNAL_MODES,
    SYNCHRONOUS,
    RecoveredRows,
    SqliteFileSystem,
    SqliteSubject,
    connected,
)
from tests.architecture.sources import ROOT

WITHOUT_STALE_BLOCKS = ("prefix", "ext4-ordered", "xfs", "btrfs")
"""The profiles in which a new file never shows the bytes of a removed one."""


def explored(
    subject: SqliteSubject, profile: str | Profile, per_point: int = 6, failures: int = 1
) -> Exploration:
    """A bounded exploration."""
    found = PROFILES[profile] if isinstance(profile, str) else profile
    return explore(subject, found, Bounds(per_point=per_point, failures=failures))


def messages(explorations: Iterable[Exploration]) -> list[str]:
    """What is wrong, with the profile it is wrong under."""
    return [
        f"{one.profile.name}: {failure.message}" for one in explorations for failure in one.failures
    ]


def documented_table() -> dict[tuple[str, str], dict[str, str]]:
    """The results table of the page: journal mode and synchronous → profile → verdict."""
    page = (ROOT / "specs" / "testing-your-storage.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- table: sqlite -->\n\n")[2].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], row[1]): dict(zip(rows[0][2:], row[2:], strict=True)) for row in rows[2:]}


TABLE = documented_table()


def test_the_table_is_complete() -> None:
    """It has a row for every configuration, and a verdict for every profile."""
    assert list(TABLE) == list(itertools.product(JOURNAL_MODES, SYNCHRONOUS))
    assert all(list(row) == list(PROFILES) for row in TABLE.values())
    assert {verdict for row in TABLE.values() for verdict in row.values()} == {
        "durable",
        "consistent",
        "torn",
    }


@pytest.mark.parametrize(("journal", "synchronous"), TABLE)
def test_the_table_is_what_happens(journal: str, synchronous: str) -> None:
    """What is durable fails nowhere; what is consistent only loses commits; the rest is torn."""
    durable = SqliteSubject(journal, synchronous)
    consistent = SqliteSubject(journal, synchronous, durable=False)
    for profile, verdict in TABLE[journal, synchronous].items():
        if verdict == "durable":
            assert messages([explored(durable, profile)]) == []
        elif verdict == "consistent":
            (failure,) = explored(durable, profile).failures
            assert re.fullmatch(r"\d commits, of which \d were acknowledged", failure.message)
            assert messages([explored(consistent, profile)]) == []
        else:
            (failure,) = explored(consistent, profile, per_point=32).failures
            assert failure.check == "recover" or re.match("corrupt|rows", failure.message)


@pytest.mark.parametrize("profile", WITHOUT_STALE_BLOCKS)
def test_full_may_lose_the_last_commit_with_deleted_journals(profile: str) -> None:
    """DELETE with FULL loses the last commit if the journal's name comes back, and nothing else."""
    found = explored(SqliteSubject("delete", "full"), profile, failures=1000)
    assert found.failures
    disk = SimulatedDisk()
    found.subject.run(disk)
    for failure in found.failures:
        (crash,) = failure.crashes
        acknowledged = len(disk.marks(crash.point))
        lost = f"{acknowledged - 1} commits, of which {acknowledged} were acknowledged"
        assert failure.message == lost
        assert crash.choice is not None
        micro = disk.unsynced(PROFILES[profile], crash.point).micro
        fates = dict(zip(micro, crash.choice, strict=True))
        (gone,) = (one for one in fates if isinstance(one, Name) and one.inode is None)
        assert (gone.path, fates[gone]) == ("db-journal", "-")
    assert messages([explored(SqliteSubject("delete", "full", durable=False), profile)]) == []


@pytest.mark.parametrize(("profile", "others"), [("ext4-writeback", "g"), ("posix", "zg")])
def test_an_old_journal_can_come_back_in_the_blocks_of_a_new_one(profile: str, others: str) -> None:
    """DELETE fails even with EXTRA where new blocks may hold a removed file; without, it holds."""
    subject = SqliteSubject("delete", "extra")
    (failure,) = explored(subject, profile, per_point=32).failures
    assert "s" in (failure.crashes[0].choice or "")
    assert (
        messages([explored(subject, replace(PROFILES[profile], torn=others), per_point=32)]) == []
    )


DURABLE = [
    ("delete", "extra", "ext4-ordered"),
    ("persist", "full", "posix"),
    ("wal", "full", "posix"),
]


@pytest.mark.parametrize(("journal", "synchronous", "profile"), DURABLE)
def test_crashes_in_recovery_change_nothing(journal: str, synchronous: str, profile: str) -> None:
    """A rollback or a replay that is cut off is done again, with the same result."""
    bounds = Bounds(per_point=6, depth=2, nested_per_point=4)
    found = explore(SqliteSubject(journal, synchronous), PROFILES[profile], bounds)
    assert messages([found]) == []
    assert found.statistics.nested > 300


@pytest.mark.parametrize(("journal", "synchronous", "profile"), DURABLE)
def test_a_killed_process_leaves_a_commit_that_may_yet_be_lost(
    journal: str, synchronous: str, profile: str
) -> None:
    """Killed before the last sync of a commit: the next process reads it, and syncs nothing.

    Once for each commit, none of which had returned; SQLite loses nothing else to a kill.
    """
    subject = SqliteSubject(journal, synchronous)
    bounds = Bounds(per_point=4, kills=True, failures=1000)
    found = explore(subject, PROFILES[profile], bounds)
    assert [failure.check for failure in found.failures] == ["same"] * 5
    disk = SimulatedDisk()
    subject.run(disk)
    for commits, failure in enumerate(found.failures):
        killed, lost = failure.crashes
        assert killed.choice is None
        assert lost.point == killed.point
        assert len(disk.marks(killed.point)) == commits


@pytest.mark.parametrize(
    ("kind", "code"), [("pwritev", errno.EIO), ("pwritev", errno.ENOSPC), ("sync", errno.EIO)]
)
@pytest.mark.parametrize("journal", ["truncate", "wal"])
def test_a_call_that_fails_loses_nothing(journal: str, kind: str, code: int) -> None:
    """Whichever write or sync fails: an error, or all is well; every commit that returned stays."""
    subject = SqliteSubject(journal, "full")
    error = apsw.FullError if code == errno.ENOSPC else apsw.IOError
    for number in itertools.count(0, 3):
        disk = SimulatedDisk(rules=[Rule(kind, "*", "w" * number + "x", code)])
        try:
            subject.run(disk)
        except error:
            assert disk.faults.hits == 1
        found = subject.recover(disk.crash())
        assert subject.judge(disk.marks(), found) is None, f"{kind} {number}"
        if not disk.faults.hits:
            break
    assert number > 10


def test_files_that_are_empty_or_missing_are_so_as_on_unix() -> None:
    """An empty file does not exist for SQLite; removing a missing one is an error of its own."""
    disk = SimulatedDisk()
    vfs = SqliteFileSystem(disk)
    assert not vfs.xAccess("file", apsw.SQLITE_ACCESS_EXISTS)
    file = disk.open("file", "create")
    assert not vfs.xAccess("file", apsw.SQLITE_ACCESS_EXISTS)
    file.pwritev([b"x"], 0)
    assert vfs.xAccess("file", apsw.SQLITE_ACCESS_EXISTS)
    vfs.xDelete("file", syncdir=False)
    with pytest.raises(apsw.IOError) as caught:
        vfs.xDelete("file", syncdir=False)
    assert getattr(caught.value, "extendedresult", None) == apsw.SQLITE_IOERR_DELETE_NOENT


def test_interrupted_and_short_calls_are_done_again() -> None:
    """EINTR and short reads and writes change nothing."""
    subject = SqliteSubject("wal", "full")
    plain = SimulatedDisk()
    subject.run(plain)
    disk = SimulatedDisk(rules=[Rule("sync", "*", "iwiiw"), Rule("*", "*", "wisiswsW")])
    disk.most = 100
    subject.run(disk)
    assert disk.faults.hits > 5
    assert disk.files() == plain.files()
    assert subject.recover(disk.crash()) == subject.recover(plain)


DELETE_COMMIT = (
    "create db; create db-journal; write db-journal; sync db-journal; sync_directory .;"
    " write db-journal; sync db-journal; write db; sync db; unlink db-journal; mark"
)
TRUNCATE_COMMIT = DELETE_COMMIT.replace("unlink db-journal", "truncate db-journal; sync db-journal")
PERSIST_COMMIT = DELETE_COMMIT.replace("unlink db-journal", "write db-journal; sync db-journal")
OFF_COMMIT = "; ".join(step for step in DELETE_COMMIT.split("; ") if "sync" not in step)


@pytest.mark.parametrize(
    ("journal", "synchronous", "expected"),
    [
        ("delete", "off", OFF_COMMIT.replace("write db-journal; write db-", "write db-")),
        ("delete", "full", DELETE_COMMIT),
        ("delete", "extra", DELETE_COMMIT.replace("; mark", "; sync_directory .; mark")),
        ("truncate", "full", TRUNCATE_COMMIT),
        ("persist", "full", PERSIST_COMMIT),
    ],
)
def test_the_first_commit_syncs_as_on_unix(journal: str, synchronous: str, expected: str) -> None:
    """A journal's first sync is followed by one of its directory; only EXTRA syncs a removal."""
    disk = SimulatedDisk()
    SqliteSubject(journal, synchronous).run(disk)
    kinds = (f"{entry.kind} {entry.path}".rstrip() for entry in disk.log)
    steps = [step for step, _ in itertools.groupby(kinds)]
    assert "; ".join(steps[: steps.index("mark") + 1]) == expected


def test_everything_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Salts and nonces included; and no real file is touched."""
    monkeypatch.chdir(tmp_path)
    disks = [SimulatedDisk(), SimulatedDisk()]
    for disk in disks:
        SqliteSubject("persist", "full").run(disk)
        apsw.randomness(3)
    assert disks[0].log == disks[1].log
    assert list(tmp_path.iterdir()) == []


def test_connections_of_one_process_lock_each_other_out() -> None:
    """Readers share; there is one writer, and it commits when nobody reads."""
    vfs = SqliteFileSystem(SimulatedDisk())
    one, two = (apsw.Connection("db", vfs=vfs.name) for _ in range(2))
    one.execute("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    assert two.execute("SELECT count(*) FROM t").get == 0
    with pytest.raises(apsw.BusyError):
        two.execute("BEGIN IMMEDIATE")
    two.execute("BEGIN; SELECT * FROM t").fetchall()
    with pytest.raises(apsw.BusyError):
        one.execute("COMMIT")
    two.execute("COMMIT")
    one.execute("COMMIT")
    assert two.execute("SELECT count(*) FROM t").get == 1
    one.close()
    two.close()


def test_a_connection_that_dies_leaves_its_journal() -> None:
    """Nothing is tidied up, neither a hot journal nor a WAL."""
    for journal in JOURNAL_MODES:
        disk = SimulatedDisk()
        with connected(disk, journal, "full") as db:
            db.execute("CREATE TABLE t (x)")
            before = len(disk.log)
            db.execute("BEGIN; INSERT INTO t VALUES (1)")
        assert {entry.kind for entry in disk.log[before:]} <= {"create", "write"}


def test_the_judge_knows_right_from_wrong() -> None:
    """The commits before and in flight are right; older, newer, torn and made up ones are not."""
    subject = SqliteSubject()
    disk = SimulatedDisk()
    subject.run(disk)
    found = subject.recover(disk)
    marks = disk.marks()
    assert len(found.rows or ()) == 5
    assert subject.judge(marks, found) is None
    assert subject.judge(marks[:-1], found) is None
    assert "of which 3 were" in (subject.judge(marks[:-2], found) or "")
    assert "of which 5 were" in (subject.judge(marks, RecoveredRows("ok", None)) or "")
    assert subject.judge(marks, found._replace(integrity="bad")) == "corrupt: bad"
    assert subject.judge(marks, RecoveredRows("ok", ((1, "a", "b"),))) == "rows that no commit made"
    subject.go_on(disk, found)
    with pytest.raises(AssertionError, match="something else"):
        subject.go_on(disk, RecoveredRows("ok", None))
    forgiving = SqliteSubject(durable=False)
    assert forgiving.judge(marks, RecoveredRows("ok", None)) is None


def test_parameters_make_the_same_subject_again() -> None:
    """As findings need it; and unknown modes are refused."""
    for journal, synchronous in itertools.product(JOURNAL_MODES, SYNCHRONOUS):
        subject = SqliteSubject(journal, synchronous)
        again = SqliteSubject(**subject.parameters())  # type: ignore[arg-type]  # of JSON
        assert (again.name, again.durable) == (subject.name, True)
    with pytest.raises(ValueError, match="no journal_mode memory"):
        SqliteSubject("memory")
    with pytest.raises(ValueError, match="synchronous most"):
        SqliteSubject("wal", "most")


def test_without_apsw_there_is_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "apsw", None)
    monkeypatch.delitem(sys.modules, "rotortree_faultinject.subjects.sqlite")
    with pytest.raises(ImportError, match="pip install apsw"):
        importlib.import_module("rotortree_faultinject.subjects.sqlite")
