"""The decision table of recovery: every combination of situations, each with its verdict."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from rotortree import ChecksumMismatchError, DataCorruptionError, WalCorruptedError
from rotortree.storage.format import (
    EMPTY,
    SEGMENT_BYTES,
    Commit,
    Head,
    segment_name,
)
from rotortree.storage.log_reader import SegmentScan, Unit
from rotortree.storage.recovery import Decision, Survey, decide
from tests.storage.logs import IDENTITY, scan, some_head

OTHER = IDENTITY._replace(tree_id=b"else" * 4)


class Situation(NamedTuple):
    """What a directory holds; `surveys` below says how each word is built.

    The log is two segments, K and K + 1, of two units of two leaves each; where something is
    replaced, K + 2 does that.  What the commit record says of the log only matters if there is one.
    """

    commit: str
    segments: str
    base: str
    following: str
    acknowledged: str
    promise: str


WORDS = {
    "commit": ("absent", "damaged", "valid", "foreign"),
    "segments": (
        "none",
        "none, but level files",
        "from 1",
        "from k",
        "older ones left",
        "gap",
        "first missing",
        "last missing",
        "first damaged",
        "last damaged",
        "older damaged",
        "one of another tree",
        "replaced",
        "replaced since",
        "replaced damaged",
        "replaced of another tree",
        "all replaced",
        "replaced below",
    ),
    "base": ("agrees", "other size", "other root"),
    "following": ("reached", "not reached", "within a unit", "other root", "before the end"),
    "acknowledged": ("reached", "all", "more"),
    "promise": ("within", "beyond"),
}

NEW = "never created"
NO_LOG = "^tree/wal, offset 0: every log segment is missing$"
MISSING = ", offset 0: the log segment is missing$"
DAMAGED = "seal does not match"
FOREIGN = ", offset 0: the segment belongs to another tree$"
FOREIGN_COMMIT = ", offset 0: the commit record belongs to another tree$"
BASE = r", offset 64: the segment begins at \d+ leaves, the checkpoint at \d+$"
CUT = "are damaged or missing: the next segment says that they were durable$"
UNACKNOWLEDGED = "are damaged or missing: the commit record says that they were durable$"
PROMISED = r"are damaged: a later frame says that everything up to offset 100000 was durable$"
CLEAN, OPEN, PROVE = "clean", "open", "open if the level files prove it"

ANY = "*"

TABLE: tuple[tuple[str, str, str, str, str, str, str], ...] = (
    # commit          segments                 base          following         acknowledged promise
    ("absent", "none", ANY, ANY, ANY, ANY, NEW),
    (ANY, "none", ANY, ANY, ANY, ANY, NO_LOG),
    (ANY, "none, but level files", ANY, ANY, ANY, ANY, NO_LOG),
    ("valid|foreign", "gap|last missing", ANY, ANY, ANY, ANY, MISSING),
    (ANY, "first damaged", ANY, ANY, ANY, ANY, DAMAGED),
    (ANY, "last damaged", ANY, ANY, ANY, ANY, DAMAGED),
    ("absent|damaged", "older damaged", ANY, ANY, ANY, ANY, DAMAGED),
    # Of a segment that is replaced, the header must be sound, and this tree's.
    (ANY, "replaced damaged", ANY, ANY, ANY, ANY, DAMAGED),
    (ANY, "one of another tree|replaced of another tree", ANY, ANY, ANY, ANY, FOREIGN),
    ("foreign", ANY, ANY, ANY, ANY, ANY, FOREIGN_COMMIT),
    # A segment whose neighbours meet without it was of no use: here the checkpoint is where the
    # second segment begins.
    ("valid", "first missing", "other size", "before the end", "more", ANY, UNACKNOWLEDGED),
    ("valid", "first missing", "other size", "before the end", ANY, "beyond", PROMISED),
    ("valid", "first missing", "other size", "before the end", "all", ANY, CLEAN),
    ("valid", "first missing", "other size", "before the end", ANY, ANY, OPEN),
    ("valid", "first missing", ANY, ANY, ANY, ANY, MISSING),
    ("absent|damaged", "gap", ANY, "not reached|within a unit|other root", ANY, ANY, MISSING),
    ("valid", ANY, "other size|other root", ANY, ANY, ANY, BASE),
    ("valid", "replaced below", ANY, ANY, ANY, ANY, BASE),
    # Without the commit record, that the last segments are gone cannot be seen from the log.
    ("absent|damaged", "last missing", ANY, ANY, ANY, "beyond", PROMISED),
    ("absent|damaged", "last missing", ANY, ANY, ANY, ANY, PROVE),
    # One segment alone: there is nothing before it that could fail to reach it.
    ("absent|damaged", "first missing", ANY, ANY, ANY, "beyond", PROMISED),
    ("absent|damaged", "first missing", ANY, ANY, ANY, ANY, PROVE),
    # So is one that replaces both, wherever the second of these began.
    ("absent|damaged", "all replaced|replaced below", ANY, ANY, ANY, "beyond", PROMISED),
    ("absent|damaged", "all replaced|replaced below", ANY, ANY, ANY, ANY, PROVE),
    ("valid", "all replaced", ANY, ANY, "more", ANY, UNACKNOWLEDGED),
    ("valid", "all replaced", ANY, ANY, ANY, "beyond", PROMISED),
    ("valid", "all replaced", ANY, ANY, "all", ANY, CLEAN),
    ("valid", "all replaced", ANY, ANY, ANY, ANY, OPEN),
    (ANY, ANY, ANY, "not reached|within a unit|other root", ANY, ANY, CUT),
    ("valid", ANY, ANY, ANY, "more", ANY, UNACKNOWLEDGED),
    (ANY, ANY, ANY, ANY, ANY, "beyond", PROMISED),
    ("absent|damaged", ANY, ANY, ANY, ANY, ANY, PROVE),
    ("valid", "replaced since", ANY, ANY, "all", ANY, OPEN),
    ("valid", ANY, ANY, ANY, "all", ANY, CLEAN),
    ("valid", ANY, ANY, ANY, ANY, ANY, OPEN),
)
"""The first row that fits is the verdict: an error by its words, or how the tree opens."""


def verdict(situation: Situation) -> int:
    """The number of the first row that fits."""
    for number, row in enumerate(TABLE):
        if all(
            pattern == ANY or value in pattern.split("|")
            for pattern, value in zip(row[:-1], situation, strict=True)
        ):
            return number
    raise AssertionError(situation)


def base_of(situation: Situation) -> Head:
    """Where the first segment begins."""
    return EMPTY if situation.segments == "from 1" else some_head(8)


def build(situation: Situation) -> Survey:
    """The survey of a situation."""
    segments = situation.segments
    first = 1 if segments == "from 1" else 5
    base = base_of(situation)
    reach = base.size + 4
    following = {
        "reached": some_head(reach),
        "not reached": some_head(reach + 2),
        "within a unit": some_head(reach - 1),
        "other root": Head(reach, b"x" * 32),
        "before the end": some_head(reach - 2),
    }[situation.following]
    last_base = {
        "all replaced": base,
        "replaced below": some_head(6),
    }.get(segments, following)
    end = last_base.size + 4
    promise = 100_000 if situation.promise == "beyond" else SEGMENT_BYTES
    scans = [
        scan(first, base, damaged=segments == "first damaged"),
        scan(first + 1, following, promise=promise, damaged=segments == "last damaged"),
    ]
    if segments in ("older ones left", "older damaged"):
        older = some_head(base.size - 4)
        scans.insert(0, scan(first - 1, older, damaged=segments == "older damaged"))
    elif segments == "gap":
        scans[1] = scan(first + 2, following, promise=promise)
    elif segments == "first missing":
        del scans[0]
    elif segments == "last missing":
        scans = [scan(first, base, promise=promise)]
    elif segments == "one of another tree":
        scans[0] = scan(first, base, identity=OTHER)
    elif "replaced" in segments:
        scans[1] = scan(  # what it holds is not looked at
            first + 1,
            following,
            units=1,
            promise=100_000,
            identity=OTHER if segments == "replaced of another tree" else IDENTITY,
            damaged=segments == "replaced damaged",
        )
        scans.append(scan(first + 2, last_base, promise=promise))
    elif segments.startswith("none"):
        scans = []
    commit = Commit(
        OTHER if situation.commit == "foreign" else IDENTITY,
        checkpoint={
            "agrees": base,
            "other size": some_head(base.size + 2),
            "other root": Head(base.size, b"y" * 32),
        }[situation.base],
        acknowledged=some_head(
            {"reached": end - 1, "all": end, "more": end + 1}[situation.acknowledged]
        ),
        first_segment=first,
        last_segment=first + 1 + ("replaced" in segments and segments != "replaced since"),
    )
    error = (
        ChecksumMismatchError("tree/COMMIT", 160, "x") if situation.commit == "damaged" else None
    )
    return Survey(
        "tree",
        commit if situation.commit in ("valid", "foreign") else None,
        error,
        tuple(scans),
        segments == "none, but level files",
    )


def counting(situation: Situation, found: Survey) -> list[SegmentScan]:
    """The segments that count."""
    first = found.commit.first_segment if found.commit else 0
    live = [one for one in found.segments if one.number >= first]
    if situation.segments in ("all replaced", "replaced below"):
        return live[-1:]
    return [live[0], live[2]] if situation.segments.startswith("replaced") else live


def check_decision(decision: Decision, situation: Situation, found: Survey) -> None:
    """What is loaded, from where to where, and whether it was a clean end."""
    expected = TABLE[verdict(situation)][-1]
    said = found.commit.acknowledged.size if found.commit else 0
    assert decision.identity == IDENTITY
    assert [link.scan for link in decision.links] == counting(situation, found)
    assert decision.last == found.segments[-1]
    assert decision.must_prove == (expected == PROVE)
    assert decision.clean == (expected == CLEAN)
    first, last = decision.links[0], decision.links[-1]
    assert first.scan.header is not None
    assert last.scan.header is not None
    assert decision.base == first.base == first.scan.header.base
    # No unit of these promises anything, so the record does; units end behind two leaves each.
    ends = [size for size in range(last.base.size, last.head.size + 1, 2) if size <= said]
    assert decision.durable_size == max([last.scan.header.base.size, *ends])
    size = decision.base.size
    for link in decision.links:
        assert link.base.size == size
        for unit in link.units:
            assert unit in link.scan.units
            assert unit.first == size
            size = unit.stop
        assert link.head == (some_head(size) if size else EMPTY)
        assert link.end == SEGMENT_BYTES + 192 * len(link.units)
    assert decision.head == last.head
    assert decision.head.size == found.segments[-1].units[-1].stop
    assert decision.torn_bytes == 0


@pytest.mark.evidence("example", "FORMAT-70")
@pytest.mark.parametrize("said", range(4))
def test_without_a_commit_record_only_promises_say_what_is_durable(said: int) -> None:
    """So many leaves, each a unit: all that end at or below the promise, and no more."""
    units = tuple(
        Unit(160 + 160 * at, 320 + 160 * at, at, 1, some_head(at + 1).root, ()) for at in range(3)
    )
    found = scan(1, EMPTY)._replace(units=units, stop=640, used=640, promise=160 + 160 * said)
    decision = decide(Survey("tree", None, None, (found,), False))
    assert decision is not None
    assert decision.durable_size == said


def place(expected: str, situation: Situation, found: Survey) -> tuple[str, int, object]:
    """Which file, offset and leaves an error is to name (FORMAT-74)."""
    first = 1 if situation.segments == "from 1" else 5
    missing = first if situation.segments == "first missing" else first + 1
    lowest = found.commit.first_segment if found.commit else 0
    live = [one for one in found.segments if one.number >= lowest]
    if expected in (CUT, UNACKNOWLEDGED, PROMISED):
        end = live[-1].units[-1].stop
        said = found.commit.acknowledged.size if found.commit else 0
        lost = (end, said if expected == UNACKNOWLEDGED else end + 1)
        if expected == CUT:
            start = base_of(situation).size
            reached = start + (2 if situation.following == "within a unit" else 4)
            lost = (reached, live[-1].units[0].first)
        number = first if expected == CUT else live[-1].number
        return f"tree/wal/{number}", SEGMENT_BYTES + 2 * 192, lost
    damaged = next((one.path for one in live if one.header is None), "")
    return {
        NO_LOG: ("tree/wal", 0, None),
        MISSING: (f"tree/wal/{segment_name(missing)}", 0, None),
        DAMAGED: (damaged, 144, None),
        FOREIGN: (f"tree/wal/{first + ('replaced' in situation.segments)}", 0, None),
        FOREIGN_COMMIT: ("tree/COMMIT", 0, None),
        BASE: (counting(situation, found)[0].path if live else "", 64, None),
    }[expected]


SITUATIONS = [Situation(*words) for words in itertools.product(*WORDS.values())]


@pytest.mark.evidence(
    "exhaustive",
    "FORMAT-42",
    "FORMAT-46",
    "FORMAT-54",
    "FORMAT-57",
    "FORMAT-70",
    "FORMAT-74",
    "FORMAT-77",
)
def test_every_combination_has_its_verdict() -> None:
    """All combinations of the situation words against the table, whose rows are all used.

    An error names its file and offset; it is a WalCorruptedError exactly where acknowledged leaves
    of the log are the matter, and then it names them.
    """
    used = set()
    for situation in SITUATIONS:
        found = build(situation)
        number = verdict(situation)
        used.add(number)
        expected = TABLE[number][-1]
        if expected == NEW:
            assert decide(found) is None
        elif expected in (CLEAN, OPEN, PROVE):
            decision = decide(found)
            assert decision is not None
            check_decision(decision, situation, found)
        else:
            with pytest.raises(DataCorruptionError, match=expected) as caught:
                decide(found)
            error = caught.value
            assert (error.path, error.offset, error.leaves) == place(expected, situation, found)
            assert isinstance(error, WalCorruptedError) == (error.leaves is not None)
            if error.leaves is not None:
                start, stop = error.leaves
                lost = f"from {start} on" if expected == PROMISED else f"{start} to {stop - 1}"
                assert f": leaves {lost} are damaged" in str(error)
    assert used == set(range(len(TABLE)))
    assert len(SITUATIONS) == 6480


@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_missing_last_segment_is_missed_whatever_its_number(last: int) -> None:
    """Even if a later one begins where the checkpoint is."""
    commit = Commit(IDENTITY, EMPTY, some_head(4), first_segment=last, last_segment=last)
    with pytest.raises(DataCorruptionError, match=f"{segment_name(last)}{MISSING}"):
        decide(Survey("tree", commit, None, (scan(last + 1, EMPTY),), False))


@pytest.mark.evidence("example", "FORMAT-33", "FORMAT-46", "DURABLE-43")
@pytest.mark.parametrize("torn", [1, 31, 127, 128, 5000])
def test_bytes_behind_the_last_unit_are_torn(torn: int) -> None:
    """They are counted, end the clean state, and are dropped, unless something promises more."""
    situation = Situation("valid", "from k", "agrees", "reached", "all", "within")
    found = build(situation)
    last = found.segments[-1]
    found = found._replace(
        segments=(
            found.segments[0],
            last._replace(size=last.size + torn + 99, used=last.used + torn, dropped=torn // 32),
        )
    )
    decision = decide(found)
    assert decision is not None
    assert (decision.torn_bytes, decision.torn_leaves) == (torn, torn // 32)
    assert not decision.clean
