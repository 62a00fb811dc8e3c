"""check and `rotortree.storage.audit`: whatever is damaged is named, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotortree import (
    CheckpointFailedError,
    FileLockedError,
    FlushPolicy,
    IoFailedError,
    RotorTree,
    TreeNotFoundError,
)
from rotortree.storage.audit import AuditFinding, audit
from rotortree.storage.directory import ReadableFile
from rotortree.storage.os_directory import OsDirectory, OsFileSystem
from tests.cli.support import leaf, make_tree, run, values

FILES = OsFileSystem()
CHECKPOINTED = 30
FLUSHES = (4, 1, 6)
FRAME_STARTS = (160, 160 + 128 + 4 * 32, 160 + 2 * 128 + 5 * 32)
SEGMENT_END = 160 + 3 * 128 + 11 * 32


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A closed tree: 30 leaves in level files of 9 nodes, 11 more in three flushes."""
    return make_tree(tmp_path / "tree", CHECKPOINTED, FLUSHES)


def flip(path: Path, offset: int) -> None:
    """Change one bit; doing so again takes it back."""
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 0x10]), offset)


def problems(tree: Path) -> list[AuditFinding]:
    """The findings that are not mere notes."""
    return [finding for finding in audit(FILES, str(tree)) if finding.severity != "note"]


def region(tree: Path, path: Path, offset: int) -> tuple[int, int]:
    """What a finding may name when this byte is flipped: the header, frame, group or node."""
    if path.name == "COMMIT":
        return 0, 176
    if path.suffix == ".wal":
        starts = (0, *FRAME_STARTS, SEGMENT_END)
        index = sum(start <= offset for start in starts)
        return starts[index - 1], starts[index]
    if offset < 128:
        return 0, 128
    width = 96 if path.parent.name == "0" else 32  # of leaves, a group of three is blamed
    start = offset - (offset - 128) % width
    return start, start + width


def offsets(path: Path) -> Iterator[int]:
    """Some bytes of every part of a file."""
    size = path.stat().st_size
    yield from range(0, size, 11)
    yield size - 1


def test_an_intact_tree_has_no_findings(tmp_path: Path) -> None:
    """Not even notes: empty, in the log only, in level files only, in both."""
    for number, (checkpointed, flushes) in enumerate(
        [(0, ()), (0, (5, 5)), (27, ()), (CHECKPOINTED, FLUSHES)]
    ):
        tree = make_tree(tmp_path / str(number), checkpointed, flushes)
        assert audit(FILES, str(tree)) == []
        assert values("check", tree) == {"directory": str(tree), "ok": True, "findings": []}
        assert run("check", tree).stdout == f"{tree}: everything stored is right\n"


def test_every_flipped_bit_is_named_with_its_file_and_region(tree: Path) -> None:
    """One damage, one finding: in COMMIT, the log and every level file; nothing on disk changes."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file() and path.stat().st_size)
    assert len(paths) == 1 + 1 + 8
    for path in paths:
        for offset in offsets(path):
            flip(path, offset)
            before = path.read_bytes()
            found = problems(tree)
            assert [finding.path for finding in found] == [str(path)], (path, offset, found)
            start, stop = region(tree, path, offset)
            assert found[0].offset is not None
            assert start <= found[0].offset < stop, (path, offset, found)
            assert path.read_bytes() == before
            flip(path, offset)
    assert audit(FILES, str(tree)) == []


def test_severity_says_whether_opening_repairs_it(tree: Path) -> None:
    """What is repairable is right after a writer opened the tree; a damaged leaf never is."""
    for name, offset in (
        ("COMMIT", 100),
        ("levels/1/00000000.nodes", 200),
        ("levels/2/00000000.nodes", 3),
        ("levels/0/00000001.nodes", 3),
    ):
        flip(tree / name, offset)
        assert [finding.severity for finding in problems(tree)] == ["repairable"]
        assert run("check", tree, status=1).stderr == f"rotortree: {tree}: 1 repairable found\n"
        RotorTree.open(tree).close()
        assert audit(FILES, str(tree)) == []
    flip(tree / "levels/0/00000001.nodes", 200)
    assert [finding.severity for finding in problems(tree)] == ["damaged"]


def test_independent_damage_is_all_named(tree: Path) -> None:
    """COMMIT, two leaves, a node, a header and a frame at once: none of them hides another."""
    segment = next((tree / "wal").iterdir())
    wrong = [
        (tree / "COMMIT", 100),
        (tree / "levels/0/00000000.nodes", 130),
        (tree / "levels/0/00000002.nodes", 128 + 8 * 32),
        (tree / "levels/1/00000000.nodes", 128 + 5 * 32),
        (tree / "levels/2/00000000.nodes", 4),
        (segment, FRAME_STARTS[1] + 5),
    ]
    for path, offset in wrong:
        flip(path, offset)
    found = {(finding.path, finding.offset) for finding in problems(tree)}
    for path, offset in wrong:
        start, stop = region(tree, path, offset)
        named = [at for name, at in found if name == str(path) and at is not None]
        assert any(start <= at < stop for at in named), (path, found)
    assert len(found) == len(wrong), found


@pytest.mark.parametrize("number", range(10))
def test_every_shortened_or_missing_file_is_named(tree: Path, number: int) -> None:
    """By its own name: half of it, all of it, the file itself."""
    path = sorted(path for path in tree.rglob("*") if path.is_file() and path.stat().st_size)[
        number
    ]
    data = path.read_bytes()
    for shorter in (data[:-1], data[: len(data) // 2], b"", None):
        if shorter is None:
            path.unlink()
        else:
            path.write_bytes(shorter)
        found = problems(tree)
        names = {finding.path for finding in found}
        # Of the only segment not even the name is left: the folder of the log is named.
        assert names == {str(path.parent if shorter is None and path.suffix == ".wal" else path)}
    path.write_bytes(data)
    assert audit(FILES, str(tree)) == []


def test_damage_behind_a_missing_leaf_file_is_still_named(tree: Path) -> None:
    """A leaf of another file, and a node above them."""
    (tree / "levels/0/00000001.nodes").unlink()
    flip(tree / "levels/0/00000002.nodes", 140)
    flip(tree / "levels/1/00000000.nodes", 140)
    names = {Path(finding.path).relative_to(tree).as_posix() for finding in problems(tree)}
    assert names == {
        "levels/0/00000001.nodes",
        "levels/0/00000002.nodes",
        "levels/1/00000000.nodes",
    }


def test_what_a_crash_leaves_is_a_note(tree: Path, tmp_path: Path) -> None:
    """A torn end, an obsolete segment, unfinished and foreign files, a longer level file."""
    segment = next((tree / "wal").iterdir())
    obsolete = tree / "wal" / "00000001.wal"
    shutil.copy(next((make_tree(tmp_path / "other", 0, (2,)) / "wal").iterdir()), obsolete)
    with segment.open("ab") as file:
        file.write(b"torn")
    with (tree / "levels/1/00000001.nodes").open("ab") as file:
        file.write(bytes(32))
    (tree / "levels/1/00000002.nodes").write_bytes(bytes(160))
    for name in ("COMMIT.tmp", "wal/00000009.wal.tmp", "notes.txt", "wal/x", "levels/x"):
        (tree / name).touch()
    found = values("check", tree)
    assert found["ok"] is True
    assert {finding["severity"] for finding in found["findings"]} == {"note"}
    places = {
        (Path(finding["path"]).relative_to(tree).as_posix(), finding["offset"])
        for finding in found["findings"]
    }
    assert places == {
        (segment.relative_to(tree).as_posix(), SEGMENT_END),
        ("wal/00000001.wal", None),
        ("levels/1/00000001.nodes", 160),
        ("levels/1/00000002.nodes", 0),
        *((name, None) for name in ("COMMIT.tmp", "wal/00000009.wal.tmp", "notes.txt")),
        *((name, None) for name in ("wal/x", "levels/x")),
    }
    lines = run("check", tree).stdout.splitlines()
    assert (
        f"note        {segment}, offset {SEGMENT_END}: 4 bytes, 0 whole leaves, of a flush"
        in (lines[0])
    )
    assert lines[-1] == f"{tree}: everything stored is right"


def test_a_tree_that_was_not_closed_is_noted(tmp_path: Path) -> None:
    """Because damage to its last flush could not be told from a torn one."""
    tree = make_tree(tmp_path / "tree", 0, (3,))
    (tree / "COMMIT").unlink()
    (finding,) = audit(FILES, str(tree))
    assert (finding.severity, finding.offset) == ("note", 384)
    assert "was not closed" in finding.message


def test_problems_are_printed_one_to_a_line_and_exit_with_1(tree: Path) -> None:
    """On stdout each with its place, on stderr how many; with --json the same in one object."""
    flip(tree / "COMMIT", 100)
    flip(tree / "levels/0/00000000.nodes", 130)
    result = run("check", tree, status=1)
    assert result.stderr == f"rotortree: {tree}: 2 damaged found\n"
    message = "the root is not the committed one: leaves 0 to 2 cannot be trusted"
    assert result.stdout.splitlines() == [
        f"damaged     {tree}/levels/0/00000000.nodes, offset 128: {message}",
        f"damaged     {tree}/COMMIT, offset 160: the header's seal does not match",
    ]
    found = values("check", tree, status=1)
    assert found["ok"] is False
    assert found["findings"][0] == {
        "path": f"{tree}/levels/0/00000000.nodes",
        "offset": 128,
        "message": message,
        "severity": "damaged",
    }


@pytest.mark.evidence("damage", "FORMAT-26")
def test_a_root_that_a_frame_states_wrongly_is_found(tree: Path) -> None:
    """Also in the middle of the log, where opening does not look."""
    from rotortree.storage import recovery

    real = recovery.decide

    def lying(found: recovery.Survey) -> recovery.Decision | None:
        decision = real(found)
        assert decision is not None
        (link,) = decision.links
        first, unit, last = link.units
        units = (first, unit._replace(root=bytes(32)), last)
        return decision._replace(links=(link._replace(units=units),))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rotortree.storage.audit.decide", lying)
        (finding,) = problems(tree)
    assert finding.offset == FRAME_STARTS[1]
    assert finding.message == "the frame's root is not that of the first 35 leaves"


class UnreadableDirectory(OsDirectory):
    """A directory in which, or below which, one file cannot be read."""

    def __init__(self, descriptor: int, path: str, name: str) -> None:
        super().__init__(descriptor, path)
        self._name = name

    def directory(self, path: str, *, follow: bool = True) -> OsDirectory:
        """See `WritableDirectory.directory`."""
        found = super().directory(path, follow=follow)
        return UnreadableDirectory(os.dup(found.fileno()), found.path, self._name)

    def open(self, path: str) -> ReadableFile:
        """See `ReadableDirectory.open`."""
        if f"{self.path}/{path}".endswith(self._name):
            raise OSError(5, "Input/output error", path)
        return super().open(path)


class Unreadable(OsFileSystem):
    """A disk on which one file cannot be read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def directory(self, path: str) -> OsDirectory:
        """See `FileSystem.directory`."""
        found = super().directory(path)
        return UnreadableDirectory(os.dup(found.fileno()), found.path, self._name)


def test_a_level_file_that_cannot_be_read_is_a_finding(tree: Path) -> None:
    """And what else is wrong is found all the same; an unreadable log is an error."""
    flip(tree / "levels/1/00000000.nodes", 140)
    found = audit(Unreadable("levels/0/00000001.nodes"), str(tree))
    assert {finding.severity for finding in found} == {"damaged"}
    assert {Path(finding.path).relative_to(tree).as_posix() for finding in found} == {
        "levels/0/00000001.nodes",
        "levels/1/00000000.nodes",
    }
    with pytest.raises(IoFailedError, match=r"wal: open failed: Input/output error"):
        audit(Unreadable(".wal"), str(tree))


def test_an_audit_locks_writers_out(tree: Path) -> None:
    """And is locked out by them; a copy without its lock file is nobody's."""
    with RotorTree.open(tree), pytest.raises(FileLockedError):
        audit(FILES, str(tree))
    lock = FILES.directory(str(tree)).lock("LOCK", shared=True)
    assert audit(FILES, str(tree)) == []
    lock.release()
    (tree / "LOCK").unlink()
    assert audit(FILES, str(tree)) == []
    assert not (tree / "LOCK").exists()


def test_where_no_tree_is_nothing_is_audited(tmp_path: Path) -> None:
    """Nor where a process died before it had created one."""
    (tmp_path / "half" / "wal").mkdir(parents=True)
    for name in ("missing", "half"):
        with pytest.raises(TreeNotFoundError):
            audit(FILES, str(tmp_path / name))


def test_a_commit_record_of_another_tree_is_named(tree: Path, tmp_path: Path) -> None:
    """It is sound by itself."""
    other = make_tree(tmp_path / "other", CHECKPOINTED, FLUSHES)
    shutil.copy(other / "COMMIT", tree / "COMMIT")
    assert [Path(finding.path).name for finding in problems(tree)] == ["COMMIT"]


def make_segments(directory: Path) -> Path:
    """A closed tree whose log has three segments of two flushes each: two checkpoints failed."""

    def failing(*_: object) -> None:
        raise IoFailedError("disk", "write", OSError(28, "No space left on device"))

    with (
        pytest.MonkeyPatch.context() as patch,
        RotorTree.open(directory, n=3, flush_policy=FlushPolicy.Manual()) as tree,
    ):
        patch.setattr("rotortree.storage.level_writer.LevelWriter.write", failing)
        for segment in range(3):
            for count in (2, 5):
                tree.extend([leaf(tree.size + number) for number in range(count)]).wait()
            if segment < 2:
                with pytest.raises(CheckpointFailedError):
                    tree.checkpoint()
    assert len(list((directory / "wal").iterdir())) == 3
    assert audit(FILES, str(directory)) == []
    return directory


@pytest.mark.parametrize(("offset", "named"), [(5, 0), (165, 160), (360, 352), (520, 352)])
def test_damage_in_several_segments_is_all_named(tmp_path: Path, offset: int, named: int) -> None:
    """Headers, first and last frames: that of one segment does not hide that of another."""
    tree = make_segments(tmp_path / "tree")
    segments = sorted((tree / "wal").iterdir())
    for damaged in (segments[:2], segments[1:], segments[::2], segments):
        for segment in damaged:
            flip(segment, offset)
        found = [(finding.path, finding.offset) for finding in problems(tree)]
        assert sorted(found) == [(str(segment), named) for segment in damaged]
        for segment in damaged:
            flip(segment, offset)


def test_a_gap_in_the_log_is_named(tmp_path: Path) -> None:
    """With the segment that is missing."""
    tree = make_segments(tmp_path / "tree")
    (tree / "wal" / "00000002.wal").unlink()
    (finding,) = problems(tree)
    assert (finding.path, finding.message) == (
        f"{tree}/wal/00000002.wal",
        "the log segment is missing",
    )
    assert sorted(os.listdir(tree / "wal")) == ["00000001.wal", "00000003.wal"]
