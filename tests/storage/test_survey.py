"""What a survey finds in a directory, and what a decision says beside the head."""

from __future__ import annotations

import pytest

from rotortree import ChecksumMismatchError, DataCorruptionError
from rotortree.storage import calls
from rotortree.storage.directory import ReadableDirectory, ReadableFile
from rotortree.storage.format import EMPTY, SEGMENT_BYTES, Commit, Head
from rotortree.storage.recovery import Survey, decide, survey
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.disk import disk_of
from tests.storage.logs import HEADER, IDENTITY, LOG, Written, log_of, scan, some_head
from tests.storage.trees import PATH, leaves, open_tree

RECORD = Commit(HEADER.identity, EMPTY, Head(1, bytes(32)), 1, 1)
"""A commit record of a tree of one leaf."""


def found_in(files: dict[str, bytes]) -> Survey:
    """The survey of a directory of these files."""
    disk = disk_of({f"{PATH}/{name}": data for name, data in files.items()})
    return survey(disk.directory(PATH))


@pytest.mark.evidence("example", "FORMAT-2", "FORMAT-4")
def test_segments_are_found_by_their_names_in_the_order_of_their_numbers() -> None:
    """Of any number of digits that is theirs; whatever else lies there is not looked at."""
    names = ["00000002", "00000010", "123456789", "00000001", "99999999"]
    files = {f"wal/{name}.wal": log_of() for name in names}
    others = ("1.wal", "000000001.wal", "00000000.wal", "x.wal", "00000003.wal.tmp", "00000003")
    found = found_in(files | {f"wal/{name}": b"?" for name in others})
    assert [one.number for one in found.segments] == [1, 2, 10, 99999999, 123456789]
    assert [one.path for one in found.segments] == [
        f"{PATH}/wal/{name}.wal"
        for name in ("00000001", "00000002", "00000010", "99999999", "123456789")
    ]
    assert [one.header == HEADER for one in found.segments] == [True, False, False, False, False]
    assert found.directory == PATH


@pytest.mark.evidence("example", "FORMAT-55")
def test_a_commit_record_is_there_or_damaged_or_not_there() -> None:
    """A record, an error that says how it is damaged, or neither."""
    data = RECORD.encode()
    for contents, commit, offset in (
        (data, RECORD, None),
        (data[:-1], None, len(data) - 1),
        (data + b"?", None, len(data)),
    ):
        found = found_in({"COMMIT": contents})
        assert found.commit == commit
        error = found.commit_error
        assert isinstance(error, DataCorruptionError) == (offset is not None)
        assert getattr(error, "offset", None) == offset
    damaged = found_in({"COMMIT": bytes(8) + data[8:]})
    assert isinstance(damaged.commit_error, DataCorruptionError)
    nothing = found_in({"LOCK": b""})
    assert nothing == Survey(PATH, None, None, (), False)
    assert nothing.commit_path == f"{PATH}/COMMIT"


@pytest.mark.evidence("example", "FORMAT-3")
def test_level_files_are_files_in_the_folder_of_a_level() -> None:
    """Whatever their names; no folder of another name, and no empty folder, is one of a level."""
    assert found_in({"levels/0/x": b""}).level_files
    assert found_in({"levels/7/00000000.nodes": b""}).level_files
    assert not found_in({"levels/x/00000000.nodes": b"", "levels/7.nodes": b""}).level_files
    disk = SimulatedDisk()
    for name in (PATH, f"{PATH}/levels", f"{PATH}/levels/0"):
        disk.mkdir(name)
    assert not survey(disk.directory(PATH)).level_files


def test_a_survey_closes_what_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory, be it sound or not."""
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 5))
    files = disk.files()
    opened, closed = list[object](), list[object]()
    open_file, open_directory, close = calls.open_file, calls.open_directory, calls.close

    def noted_file(directory: ReadableDirectory, name: str) -> ReadableFile | None:
        file = open_file(directory, name)
        opened.extend([file] if file is not None else [])
        return file

    def noted_directory(directory: ReadableDirectory, name: str) -> ReadableDirectory | None:
        found = open_directory(directory, name)
        opened.extend([found] if found is not None else [])
        return found

    def noted_close(handle: ReadableFile | ReadableDirectory) -> None:
        closed.append(handle)
        close(handle)

    monkeypatch.setattr(calls, "open_file", noted_file)
    monkeypatch.setattr(calls, "open_directory", noted_directory)
    monkeypatch.setattr(calls, "close", noted_close)
    for damaged in (files, {path: data[:20] for path, data in files.items()}):
        survey(disk_of({**damaged, f"{PATH}/levels/0/00000000.nodes": b""}).directory(PATH))
    assert len(opened) == 2 * 5  # COMMIT, a segment; wal, levels, levels/0
    assert len(closed) == len(opened)
    assert all(any(handle is other for other in closed) for handle in opened)


@pytest.mark.evidence("example", "FORMAT-14")
def test_whose_a_directory_is_the_newest_readable_segment_says_else_the_record() -> None:
    """None where neither can be read."""
    error = ChecksumMismatchError("x", 0, "damaged")
    other = IDENTITY._replace(n=3, shard_nodes=6)
    record = Commit(other, EMPTY, EMPTY, 1, 1)
    sound, damaged = scan(1, EMPTY), scan(2, EMPTY, damaged=True)
    for segments, commit, identity in (
        ((sound, scan(2, some_head(4), identity=other)), None, other),
        ((sound, damaged), record, IDENTITY),
        ((damaged,), record, other),
        ((damaged,), None, None),
        ((), None, None),
    ):
        assert Survey(PATH, commit, error, segments, False).identity == identity


@pytest.mark.evidence("example", "FORMAT-54", "FORMAT-74")
def test_more_leaves_than_the_capacity_are_damage_of_the_last_segment() -> None:
    """At its begin, whatever the record says; exactly as many are a tree."""
    for depth, room in ((1, 2), (2, 4)):
        log = scan(1, EMPTY, identity=IDENTITY._replace(max_depth=depth))
        found = Survey(PATH, None, None, (log,), False)
        if room < 4:
            with pytest.raises(DataCorruptionError, match="4 leaves, where 2 have room") as caught:
                decide(found)
            assert (caught.value.path, caught.value.offset) == (log.path, 0)
        else:
            decision = decide(found)
            assert decision is not None
            assert decision.head == some_head(4)


@pytest.mark.evidence("example", "FORMAT-70")
@pytest.mark.parametrize(("promise", "size"), [(160, 0), (351, 0), (352, 2), (543, 2), (544, 4)])
def test_what_is_known_to_be_durable_frames_promise_or_the_record_says(
    promise: int, size: int
) -> None:
    """Units below the promise, or of what the record says was acknowledged, whatever is more.

    Whole ones: where the record says the half of a unit, only that before it counts.
    """
    log = scan(1, EMPTY, promise=promise)
    for said, whole in ((None, 0), (0, 0), (1, 0), (2, 2), (3, 2), (4, 4)):
        commit = (
            None
            if said is None
            else Commit(IDENTITY, EMPTY, some_head(said) if said else EMPTY, 1, 1)
        )
        decision = decide(Survey(PATH, commit, None, (log,), False))
        assert decision is not None
        assert decision.durable_size == max(size, whole)


@pytest.mark.evidence("damage", "FORMAT-58")
def test_roots_that_leaves_do_not_lead_to_are_named_with_the_leaves() -> None:
    """Of the log, at the first frame; of the record, where it has the acknowledged head."""
    with pytest.raises(DataCorruptionError, match="the first 2 leaves have the root") as caught:
        open_tree(disk_of({LOG: log_of(Written(2))}))
    error = caught.value
    assert (error.path, error.offset, error.leaves) == (LOG, SEGMENT_BYTES, (0, 2))
    disk = SimulatedDisk()
    with open_tree(disk, 2) as tree:
        tree.insert_many(leaves(0, 1))
        tree.flush()
        tree.insert_many(leaves(1, 3))
    files = disk.files()
    record = Commit.decode(files[f"{PATH}/COMMIT"], "COMMIT")
    wrong = record._replace(acknowledged=Head(1, b"w" * 32)).encode()
    with pytest.raises(DataCorruptionError, match="the first 1 leaves have the root") as caught:
        open_tree(disk_of(files | {f"{PATH}/COMMIT": wrong}))
    error = caught.value
    assert (error.path, error.offset, error.leaves) == (f"{PATH}/COMMIT", 64, (0, 1))
    assert b"w".hex() * 32 in str(error)
