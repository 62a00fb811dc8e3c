"""The discrimination matrix: damaged trees are the same, repaired, or refused, never another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rotortree import DataCorruptionError
from rotortree.durable import opening
from rotortree.storage import log, log_reader, recovery
from rotortree.storage.directory import ReadableDirectory, ReadableFile, WritableDirectory
from rotortree.storage.format import COMMIT
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log_reader import SegmentScan, scan_segment
from rotortree.storage.recovery import Decision, Survey
from rotortree_faultinject.disk.image import PlainImage
from rotortree_faultinject.subjects.tree.damage import OUTCOMES, Judge, Outcome, Verdict, examine
from rotortree_faultinject.subjects.tree.damage_kinds import KINDS, Damage, reproduce
from rotortree_faultinject.subjects.tree.specimens import SPECIMENS, Specimen, file_class, prepare

NOT_SO_SMALL = [kind for kind in KINDS if kind != "bit of a small file"]
ONCE = [kind for kind in NOT_SO_SMALL if kind != "byte xor 0x01"]

SWEEPS: tuple[tuple[str, list[str], bool, str], ...] = (
    ("closed, n = 2", list(KINDS), False, "same repaired refused"),
    ("closed, n = 3", NOT_SO_SMALL, True, "same repaired refused"),
    ("closed, no checkpoint", NOT_SO_SMALL, True, "same repaired refused"),
    ("closed, two checkpoints", ONCE, False, "same repaired refused"),
    ("killed", NOT_SO_SMALL, False, "same repaired refused shorter"),
    ("killed, recorded", NOT_SO_SMALL, False, "same repaired refused"),
    ("killed, no checkpoint", ONCE, True, "same repaired refused shorter"),
    ("killed twice", ONCE, False, "same repaired refused shorter"),
    ("killed in a checkpoint", ONCE, False, "same repaired refused"),
    ("killed after rolls", ONCE, False, "same repaired refused shorter"),
    ("closed after rolls", ONCE, False, "same repaired refused"),
    ("killed again and again", ONCE, False, "same repaired refused shorter"),
    ("killed, and segments replaced", ONCE, False, "same repaired refused shorter"),
    ("replaced segment left", ONCE, False, "same repaired refused"),
    ("old segments left", ONCE, False, "same repaired refused"),
)
"""Specimen, kinds of damage, whether it is also read, and what must have come of some of them."""

CLOSED = pytest.mark.evidence(
    "damage", "DURABLE-40", "FORMAT-14", "FORMAT-54", "FORMAT-61", "FORMAT-63", "FORMAT-64"
)
EVIDENCE = {
    "closed, n = 3": CLOSED,
    "closed, two checkpoints": CLOSED,
    "killed, no checkpoint": pytest.mark.evidence("damage", "DURABLE-41", "DURABLE-43"),
    "killed, recorded": pytest.mark.evidence("damage", "DURABLE-42"),
}
"""What the sweep of a specimen is evidence of, of those that take seconds."""


def test_every_specimen_is_swept() -> None:
    """And every kind of damage done to some of them."""
    assert [name for name, *_ in SWEEPS] == list(SPECIMENS)
    assert {kind for _, kinds, *_ in SWEEPS for kind in kinds} == set(KINDS)


@pytest.mark.parametrize(
    ("name", "kinds", "reading", "outcomes"),
    [pytest.param(*sweep, marks=EVIDENCE.get(sweep[0], pytest.mark.long)) for sweep in SWEEPS],
    ids=lambda value: value,
)
def test_damage_is_harmless_repaired_or_reported(
    name: str, kinds: list[str], reading: bool, outcomes: str
) -> None:
    """Any one damage of a kind, of any file: no silent loss, no false refusal, no other error.

    Only a tree that was killed and did not record its acknowledgements may be shorter, by flushes
    that nothing says were durable; and each outcome that there should be occurs.
    """
    matrix = examine([name], kinds, reading=reading)
    assert "\n".join(map(str, matrix.violations)) == ""
    assert set(matrix.total()) == set(outcomes.split())
    assert sum(matrix.total().values()) > 1000
    assert all(matrix.total(kind=kind) for kind in set(kinds) - {"file of another tree"})


# What a specimen says that must come of a damage.


def changed(specimen: Specimen, path: str, change: Callable[[bytes], bytes | None]) -> PlainImage:
    """The specimen with a file changed."""
    data = change(specimen.image[path] or b"")
    rest = {name: kept for name, kept in specimen.image.items() if name != path}
    return rest if data is None else {**rest, path: data}


def flipped(at: int) -> Callable[[bytes], bytes]:
    """A change of one byte."""
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


LOG, LEAVES, NODES = (
    f"tree/{name}" for name in ("wal/00000002.wal", "levels/0/00000001.nodes", "levels/1/00000000")
)


@pytest.mark.parametrize(
    ("path", "change", "closed", "killed"),
    [
        ("tree/COMMIT", lambda data: bytes(len(data)), 16, 16),
        ("tree/COMMIT", lambda data: None, 16, 16),
        ("tree/COMMIT", flipped(70), 16, 16),
        ("tree/LOCK", lambda data: b"x", 16, 16),
        (LOG, lambda data: data + b"x", 16, 16),
        (LOG, flipped(-1), None, 12),  # the last of 9 + 1 + 2 + 4 leaves
        (LOG, lambda data: data[:-1], None, 12),
        (LOG, flipped(160 + 128), None, None),  # the first flush, and others behind it
        (LOG, lambda data: data[:160], None, 9),
        (LOG, lambda data: data[:160] + bytes(len(data) - 160), None, 9),
        (LOG, lambda data: data[:159], None, None),
        (LOG, lambda data: None, None, None),
        (LOG, flipped(150), None, None),
        (LEAVES, flipped(100), 16, 16),
        (LEAVES, flipped(128), None, None),
        (LEAVES, lambda data: data[:-1], None, None),
        (f"{NODES}.nodes", flipped(128), 16, 16),
        (f"{NODES}.nodes", lambda data: None, 16, 16),
    ],
)
def test_a_specimen_knows_what_it_needs(
    path: str, change: Callable[[bytes], bytes | None], closed: int | None, killed: int | None
) -> None:
    """By hand: how many leaves must be there after a damage, or that it may be refused."""
    for name, expected in (("closed", closed), ("killed", killed)):
        specimen = prepare("killed")._replace(promises=name == "closed")
        assert specimen.expected(specimen.image) == specimen.size == 16
        assert specimen.expected(changed(specimen, path, change)) == expected


def test_a_unit_behind_the_damaged_one_tells_of_it() -> None:
    """One frame of the last flush is enough: it says where that began."""
    specimen = prepare("killed")
    last = specimen.units[-1]
    first, second = last.frames()
    assert (last.first, last.stop, first) == (12, 16, last.start)

    def damaged(stop: int) -> PlainImage:
        start = specimen.units[-2].start
        return changed(specimen, LOG, lambda data: data[:start] + bytes(stop - start) + data[stop:])

    assert specimen.expected(damaged(second)) is None
    assert specimen.expected(damaged(last.end)) == 10


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_what_it_says(name: str) -> None:
    """Opened as it is, the tree is the same, and files of every kind are there."""
    specimen = prepare(name)
    assert Judge(specimen).judge(specimen.image, reading=True) == Verdict("same", "")
    assert specimen.expected(specimen.image) == specimen.size
    classes = {file_class(path) for path, data in specimen.image.items() if data is not None}
    assert classes >= {"lock", "log"}
    if "no checkpoint" not in name:
        assert classes >= {"commit", "leaves", "nodes"}
        assert f"tree/levels/0/{0:08d}.nodes" in specimen.needed
    if name.startswith("closed, ") and "no checkpoint" not in name:
        assert f"tree/levels/0/{1:08d}.nodes" in specimen.needed


def test_damage_is_described_so_that_it_can_be_done_again() -> None:
    """Every damage has other words, and from them the same files."""
    specimen = prepare("closed, no checkpoint")
    for kind, damages in KINDS.items():
        words = [(path, what) for path, what, _ in damages(specimen)]
        assert len(words) == len(set(words))
        for path, what, image in list(damages(specimen))[:40]:
            assert reproduce(specimen, Damage(kind, path, what)) == image
            assert image != specimen.image
    with pytest.raises(LookupError):
        reproduce(specimen, Damage("cut", "tree/COMMIT", "cut to 176 bytes"))


def test_wrong_names_are_refused() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="closed, n = 2"):
        examine(["nobody"])
    with pytest.raises(ValueError, match="files swapped"):
        examine(["killed"], ["nothing"])


def test_the_matrix_says_what_it_counted() -> None:
    """As a table with its sums, and as JSON; violations with all of their words."""
    matrix = examine(["killed"], ["missing", "bytes appended"])
    matrix.add("killed", Damage("missing", "tree/COMMIT", "gone"), Verdict("SILENT LOSS", "empty"))
    rows = [line.split() for line in matrix.as_text().splitlines()]
    assert ["missing", "commit", "1", "·", "·", "·", "1", "·", "·"] in rows
    total = matrix.total()
    assert ["all", *(str(total[outcome]) for outcome in OUTCOMES)] in rows
    assert "SILENT LOSS: killed: missing, tree/COMMIT: gone: empty" in matrix.as_text()
    told = json.loads(matrix.as_json())
    assert sum(sum(row["outcomes"].values()) for row in told["rows"]) == sum(total.values())
    assert told["violations"] == [
        {
            "specimen": "killed",
            "kind": "missing",
            "path": "tree/COMMIT",
            "what": "gone",
            "outcome": "SILENT LOSS",
            "message": "empty",
        }
    ]


# Planted misbehaviour: what each leaves out, or does too much.


def deaf_to_acknowledgements(patch: pytest.MonkeyPatch) -> None:
    """COMMIT's acknowledged head is not heard."""

    def survey(root: ReadableDirectory) -> Survey:
        found = recovery.survey(root)
        if found.commit is None:
            return found
        deaf = found.commit._replace(acknowledged=found.commit.checkpoint)
        return found._replace(commit=deaf)

    patch.setattr(opening, "survey", survey)


def deaf_to_promises(patch: pytest.MonkeyPatch) -> None:
    """What later frames say was durable is not heard."""

    def scan(file: ReadableFile, path: str, number: int) -> SegmentScan:
        return scan_segment(file, path, number)._replace(promise=0)

    patch.setattr(recovery, "scan_segment", scan)


def blind_to_leaves(patch: pytest.MonkeyPatch) -> None:
    """The seal of a frame's leaves, and the root that they lead to, are not looked at."""
    patch.setattr(log_reader._Scanner, "_is_sealed", lambda *arguments: True)
    patch.setattr(recovery, "_check_root", lambda *arguments: None)


def blind_to_nodes(patch: pytest.MonkeyPatch) -> None:
    """Stored nodes are believed."""
    patch.setattr(LevelFiles, "_agrees", lambda *arguments, **keywords: True)


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """Where the log is gone, there never was a tree."""

    def survey(root: ReadableDirectory) -> Survey:
        found = recovery.survey(root)
        if any(scan.units for scan in found.segments):
            return found
        return found._replace(commit=None, commit_error=None, level_files=False)

    patch.setattr(opening, "survey", survey)


def lazy(patch: pytest.MonkeyPatch) -> None:
    """What is damaged is right in memory, and stays damaged on disk."""
    patch.setattr(LevelWriter, "repair", lambda *arguments: None)


def silent(patch: pytest.MonkeyPatch) -> None:
    """What was damaged is repaired, and not reported."""
    patch.setattr(opening, "_repairs", lambda found, damages: ())


def sticky(patch: pytest.MonkeyPatch) -> None:
    """A damaged commit record stays where it is until the next one is written."""
    commit = log.Log.commit

    def later(self: log.Log, acknowledged: int, *given: Any, **keywords: Any) -> None:
        if self.size > acknowledged or keywords:  # not the one of an open
            commit(self, acknowledged, *given, **keywords)

    patch.setattr(log.Log, "commit", later)


def on_opening(
    patch: pytest.MonkeyPatch, act: Callable[[WritableDirectory, Survey, Decision | None], object]
) -> None:
    """Let opening do something between the decision and the rest."""
    roots: list[WritableDirectory] = []

    def look(root: WritableDirectory) -> Survey:
        roots.append(root)
        return recovery.survey(root)

    def decide(found: Survey) -> Decision | None:
        decision = recovery.decide(found)
        act(roots[-1], found, decision)
        return decision

    patch.setattr(opening, "survey", look)
    patch.setattr(opening, "decide", decide)


def strict_about_the_end(patch: pytest.MonkeyPatch) -> None:
    """Bytes behind the log's end are refused."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if decision is not None and decision.torn_bytes:
            raise DataCorruptionError(decision.last.path, decision.last.end, "torn")

    on_opening(patch, act)


def strict_about_the_record(patch: pytest.MonkeyPatch) -> None:
    """A damaged commit record is refused."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            raise found.commit_error

    on_opening(patch, act)


def destructive(patch: pytest.MonkeyPatch) -> None:
    """A damaged record is removed, and then refused."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            root.unlink(COMMIT)
            raise found.commit_error

    on_opening(patch, act)


def vague(patch: pytest.MonkeyPatch) -> None:
    """The error names no file of the tree."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            raise DataCorruptionError("somewhere", 0, "damaged")

    on_opening(patch, act)


def beyond_the_file(patch: pytest.MonkeyPatch) -> None:
    """The error names an offset that the file does not have."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            raise DataCorruptionError(found.commit_path, 1000, "damaged")

    on_opening(patch, act)


def clumsy(patch: pytest.MonkeyPatch) -> None:
    """A damaged record is an exception from inside."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            raise KeyError("checkpoint")

    on_opening(patch, act)


def writing_reader(patch: pytest.MonkeyPatch) -> None:
    """Opening for reading removes a damaged record, too."""

    def act(root: WritableDirectory, found: Survey, decision: Decision | None) -> None:
        if found.commit_error is not None:
            root.unlink(COMMIT)

    on_opening(patch, act)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("plant", "name", "kind", "outcome"),
    [
        (deaf_to_acknowledgements, "closed, no checkpoint", "32 bytes zeroed", "SILENT LOSS"),
        (deaf_to_acknowledgements, "killed, recorded", "sector zeroed", "SILENT LOSS"),
        (deaf_to_promises, "killed, no checkpoint", "32 bytes zeroed", "SILENT LOSS"),
        (blind_to_leaves, "closed, no checkpoint", "32 bytes zeroed", "SILENT LOSS"),
        (blind_to_nodes, "closed, n = 2", "32 bytes zeroed", "SILENT LOSS"),
        (forgetful, "closed, no checkpoint", "missing", "SILENT LOSS"),
        (lazy, "closed, n = 2", "sector of garbage", "SILENT LOSS"),
        (silent, "closed, n = 2", "missing", "SILENT LOSS"),
        (sticky, "closed, no checkpoint", "32 bytes zeroed", "SILENT LOSS"),
        (strict_about_the_end, "closed, no checkpoint", "bytes appended", "FALSE REFUSAL"),
        (strict_about_the_end, "killed, no checkpoint", "32 bytes zeroed", "FALSE REFUSAL"),
        (strict_about_the_record, "closed, no checkpoint", "32 bytes zeroed", "FALSE REFUSAL"),
        (destructive, "closed, no checkpoint", "32 bytes zeroed", "UNTYPED"),
        (vague, "closed, no checkpoint", "32 bytes zeroed", "UNTYPED"),
        (beyond_the_file, "closed, no checkpoint", "32 bytes zeroed", "UNTYPED"),
        (clumsy, "closed, no checkpoint", "32 bytes zeroed", "UNTYPED"),
        (writing_reader, "closed, no checkpoint", "32 bytes zeroed", "UNTYPED"),
    ],
)
def test_planted_misbehaviour_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    name: str,
    kind: str,
    outcome: Outcome,
) -> None:
    """As the violation that it is, among others maybe; and nothing where it is not planted."""
    reading = plant is writing_reader
    assert examine([name], [kind], reading=reading).violations == []
    plant(monkeypatch)
    matrix = examine([name], [kind], reading=reading)
    assert outcome in {one.verdict.outcome for one in matrix.violations}
    assert all(str(one) in matrix.as_text() for one in matrix.violations)
