"""Findings: what was found can be written down, read back, told, and seen again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.describe import describe
from rotortree_faultinject.exploring.explorer import Bounds, Crash, Failure, explore
from rotortree_faultinject.exploring.finding import Finding, FindingError, replay, rerun
from rotortree_faultinject.subjects.subject import Subject
from rotortree_faultinject.subjects.toy import STEPS, ToyLog
from tests.faultinject.notes import FINDING, Counting, Notes


def found(subject: Subject, profile: str, bounds: Bounds) -> list[tuple[Finding, Failure]]:
    """The findings of an exploration, and the failures that they are of."""
    result = explore(subject, PROFILES[profile], bounds)
    return [(Finding.of(result, failure), failure) for failure in result.failures]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", STEPS)
def test_what_the_explorer_found_is_found_again(step: str, profile: str) -> None:
    """Every failure replays to the same failure: crashes, kills, crashes in recovery, to depth 3.

    Also after it was written as JSON and read back.
    """
    bounds = Bounds(depth=3, kills=True, failures=10_000)
    for finding, failure in found(ToyLog(step), profile, bounds):
        assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
        assert replay(finding) == failure


def test_every_check_and_kind_of_crash_is_among_them() -> None:
    """Else the test above would be about less than it says."""
    bounds = Bounds(depth=3, kills=True, failures=10_000)
    failures = [one for step in STEPS for _, one in found(ToyLog(step), "posix", bounds)]
    assert {failure.check for failure in failures} == {"judge", "same", "go on"}
    assert {len(failure.crashes) for failure in failures} == {1, 2}
    assert any(failure.crashes[0].choice is None for failure in failures)


def test_a_failure_three_crashes_deep_is_found_again() -> None:
    """A crash of the workload, one of its recovery, and one of the recovery from that."""
    pairs = found(Counting(["put a"]), "posix", Bounds(depth=3, failures=10_000))
    assert {len(failure.crashes) for _, failure in pairs} == {3}
    assert [replay(finding) for finding, _ in pairs] == [failure for _, failure in pairs]


def test_failures_of_workload_and_recovery_are_found_again() -> None:
    """A workload that raises, and a recovery that raises."""
    ((finding, failure),) = found(Notes(["put a", "fail"]), "posix", Bounds())
    assert (failure.check, replay(finding)) == ("workload", failure)
    finding = replace(FINDING, subject=f"{__name__}:Refusing", check="recover")
    again = replay(finding)
    assert again is not None
    assert (again.check, again.message[:22]) == ("recover", "RuntimeError: it never")


class Refusing(Notes):
    """Notes that cannot be read."""

    def recover(self, disk: SimulatedDisk) -> tuple[()]:
        """Raises."""
        raise RuntimeError("it never opens")


class Both(Notes):
    """Notes that are wrong in two ways at once."""

    def judge(self, marks: object, outcome: object) -> str:
        """Everything is wrong."""
        return "everything"

    def go_on(self, disk: SimulatedDisk, outcome: object) -> None:
        """Nothing works."""
        raise RuntimeError("nothing")


def test_of_two_failures_the_one_that_was_found_is_found_again() -> None:
    """One state that two checks refuse is two findings."""
    pairs = found(Both(["put a"]), "posix", Bounds(failures=1000))
    assert {failure.check for _, failure in pairs} == {"judge", "go on"}
    assert [replay(finding) for finding, _ in pairs] == [failure for _, failure in pairs]


class Drifting(Notes):
    """Notes that are other ones after every recovery."""

    def recover(self, disk: SimulatedDisk) -> int:
        """How often there was one before."""
        count = sum(name.isdigit() for name in disk.files())
        disk.open(str(count), "create").sync()
        disk.sync_directory(".")
        return count

    def judge(self, marks: object, outcome: object) -> None:
        """Any number is fine."""


def test_recoveries_that_must_be_the_same_are_those_of_the_explorer() -> None:
    """Of one disk, recovered again after a crash in the middle of that; also after a kill."""
    pairs = found(Drifting(["put a"]), "posix", Bounds(depth=3, kills=True, failures=10_000))
    assert {failure.check for _, failure in pairs} == {"same"}
    assert {len(failure.crashes) for _, failure in pairs} == {2, 3}
    assert [replay(finding) for finding, _ in pairs] == [failure for _, failure in pairs]


def test_what_only_a_killed_process_had_may_go() -> None:
    """Its successor saw it in the cache, and lost power before it made that durable."""
    finding = Finding.of(explore(ToyLog(), PROFILES["posix"]), Failure((), "same", ""))
    crashes = (Crash(2, None), Crash(2, ""))
    stages = rerun(replace(finding, crashes=crashes)).stages
    assert stages[0].recovered != stages[1].recovered == "returned ()"
    assert replay(replace(finding, crashes=crashes)) is None


def test_the_size_of_sectors_is_that_of_the_exploration() -> None:
    """With small ones there is more to tear, and more letters."""
    pairs = found(Notes(["put a", "ack a"]), "posix", Bounds(sector_bytes=200, failures=1000))
    assert {len(failure.crashes[0].choice or "") for _, failure in pairs} == {5}
    assert [replay(finding) for finding, _ in pairs] == [failure for _, failure in pairs]


def test_what_was_acknowledged_before_an_earlier_crash_still_counts() -> None:
    """A workload that lost power itself: marks from before are judged, too."""
    subject = Notes(["put a", "ack a", "lose", "put b"])
    bounds = Bounds(failures=1000)
    pairs = found(subject, "posix", bounds)
    assert pairs != []
    assert [replay(finding) for finding, _ in pairs] == [failure for _, failure in pairs]


def test_what_was_fixed_fails_no_more() -> None:
    """The same crashes of a program without the bug come to nothing."""
    steps = ["put a", "sync a", "ack a", "put b", "sync b", "ack b"]
    fixed = replace(FINDING, parameters={"steps": steps}, crashes=(Crash(10, ""),))
    assert replay(fixed) is None
    assert describe(fixed).endswith("It does not fail any more.")


def test_another_failure_is_told_from_the_same_one() -> None:
    """If another check fails now, the text says so."""
    other = replace(FINDING, check="same")
    assert "It fails, and differently: check “judge”, missing: b" in describe(other)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    """The file is JSON for people: indented, and ends with a line end."""
    FINDING.save(tmp_path / "finding.json")
    assert Finding.load(tmp_path / "finding.json") == FINDING
    text = (tmp_path / "finding.json").read_text(encoding="utf-8")
    assert text.startswith('{\n "format": "rotortree-crash finding",\n "version": 1,\n')
    assert text.endswith("}\n")
    odd = replace(FINDING, message="\ud800 \x00 “×”")
    odd.save(tmp_path / "odd.json")
    assert Finding.load(tmp_path / "odd.json") == odd


WRONG: Mapping[str, object] = {
    "format": ["rotortree", None],
    "version": [2, 0, "1", None],
    "subject": [1, None, ["a"]],
    "parameters": [[], None, "x"],
    "profile": ["ntfs", 1, None],
    "sector_bytes": [0, -512, 512.0, True, "512"],
    "seed": [1.5, False, None],
    "crashes": [
        {},
        "",
        [1],
        [{}],
        [{"point": 1}],
        [{"point": 1, "choice": "k", "more": 1}],
        [{"point": -1, "choice": "k"}],
        [{"point": True, "choice": "k"}],
        [{"point": 1, "choice": "x"}],
        [{"point": 1, "choice": 0}],
    ],
    "check": [None, 1],
    "message": [None, ["a"]],
    "surprise": [1],
}
"""Wrong values for every member of a finding, and one that there is not."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_member_is_a_finding_error(name: str) -> None:
    """Of a wrong type or value, missing, or unknown: nothing is guessed."""
    values = WRONG[name]
    assert isinstance(values, list)
    whole = json.loads(json.dumps(FINDING.to_json()))
    for value in values:
        with pytest.raises(FindingError):
            Finding.from_json({**whole, name: value})
    if name in whole:
        with pytest.raises(FindingError):
            Finding.from_json({key: whole[key] for key in whole if key != name})


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"{}", b"[" * 100_000], ids=repr
)
def test_a_file_without_a_finding_is_a_finding_error(text: bytes, tmp_path: Path) -> None:
    """Whatever is in it instead."""
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(FindingError):
        Finding.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Class", "no class"),
        ("tests.faultinject.notes:NoSuchClass", "no class"),
        ("not a path", "no class"),
        ("", "no class"),
        ("builtins:print", "no class of subjects"),
        ("builtins:dict", "no class of subjects"),
        ("rotortree_faultinject.subjects.subject:Subject", "cannot be made"),
        ("rotortree_faultinject.subjects.toy:ToyLog", "cannot be made"),
    ],
)
def test_a_subject_that_cannot_be_made_is_a_finding_error(path: str, message: str) -> None:
    """No such class, no class of subjects, or one that refuses the parameters."""
    with pytest.raises(FindingError, match=message):
        replay(replace(FINDING, subject=path))


def test_a_crash_point_that_is_none_is_a_finding_error() -> None:
    """Behind the end of the log, and in the part of it from before the process was killed."""
    for crashes in (
        (Crash(9, ""),),
        (Crash(8, None), Crash(7, "")),
        (Crash(8, "k"), Crash(1, "")),
    ):
        with pytest.raises(FindingError, match="the program has changed"):
            replay(replace(FINDING, crashes=crashes))


def test_parameters_that_are_no_json_are_a_finding_error() -> None:
    """They could not be written down."""
    result = explore(Notes(["put a", "ack a"]), PROFILES["posix"])
    result.subject.parameters = lambda: {"steps": object()}  # type: ignore[method-assign]
    with pytest.raises(FindingError, match="no JSON values"):
        Finding.of(result, result.failures[0])


TEXT = """\
Finding: notes, profile posix, check “judge”
  subject   tests.faultinject.notes:Notes (steps=['put a', 'sync a', 'ack a', 'put b', 'ack b'])
  disk      sectors of 512 bytes, seed 7
  crashes   power failure after operation 8 of 8
  found     missing: b
  replay    rotortree-crash replay b.json

Workload: operations 1 to 8
     1  create a
     2  write a bytes [0, 600)
     3  sync a
     4  sync_directory .
     5  mark a
     6  create b
     7  write b bytes [0, 600)
     8  mark b
  ----  power failure after operation 8 of 8

Not synced, and what became of it
     6  name b                                       kept
     7  sector 0 of b, bytes [0, 512) of it          lost
     7  sector 1 of b, bytes [0, 88) of it           kept, as garbage
     7  size of b, 600 bytes                         kept

Files, as the process saw them → after the crash
  a: 600 bytes, unchanged
  b: 600 bytes → 600 bytes
      from byte 0 was  62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 …
      from byte 0 now  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 …

Recovery 1 returned (('a',), ('b',))

It still fails, check “judge”: missing: b"""


def test_a_finding_reads_without_the_code() -> None:
    """The operations, what became of each that was not synced, the files before and after."""
    assert describe(FINDING, "b.json") == TEXT


class Everything(Notes):
    """A workload of every kind of operation."""

    def run(self, disk: SimulatedDisk) -> None:
        """Each of them."""
        disk.mkdir("d")
        disk.sync_directory(".")
        file = disk.open("d/new", "create")
        file.pwritev([b"0123456789" * 10], 0)
        file.sync()
        disk.rename("d/new", "d/file")
        disk.sync_directory("d")
        disk.mark(("durable", b"0123456789", 7))
        file.truncate(50)
        file.pwritev([b"x"], 60)
        disk.open("d/more", "create")
        disk.mkdir("e")
        disk.unlink("d/file")

    def recover(self, disk: SimulatedDisk) -> str:
        """Nothing is changed but a name, and the outcome is long."""
        disk.open("recovered", "create")
        return "x" * 500

    def judge(self, marks: object, outcome: object) -> str:
        """Always wrong."""
        return "wrong"


LONG_TEXT = """\
Workload: operations 1 to 13
     1  mkdir d
     2  sync_directory .
     3  create d/new
     4  write d/new bytes [0, 100)
     5  sync d/new
     6  rename d/new to d/file
     7  sync_directory d
     8  mark durable 30313233… (10 bytes) 7
     9  truncate d/file to 50 bytes
    10  write d/file bytes [60, 61)
    11  create d/more
    12  mkdir e
    13  unlink d/file
  ----  process killed after operation 13 of 13

Not synced, and what became of it
     9  size of d/file, 50 bytes                     in the cache
     9  sector 0 of d/file, bytes [50, 100) of it    in the cache
    10  sector 0 of d/file, bytes [60, 61) of it     in the cache
    10  size of d/file, 61 bytes                     in the cache
    11  name d/more                                  in the cache
    12  name e                                       in the cache
    13  name d/file removed                          in the cache

Files, as the process saw them → after the crash
  d: directory, unchanged
  d/more: 0 bytes, unchanged
  e: directory, unchanged

Recovery 1 returned '{outcome}…

Recovery 1: operations 14 to 14
    14  create recovered
  ----  power failure after operation 14 of 14

Not synced, and what became of it
     9  size of d/file, 50 bytes                     kept
     9  sector 0 of d/file, bytes [50, 100) of it    lost
    10  sector 0 of d/file, bytes [60, 61) of it     lost
    10  size of d/file, 61 bytes                     kept
    11  name d/more                                  lost
    12  name e                                       lost
    13  name d/file removed                          lost
    14  name recovered                               kept

Files, as the process saw them → after the crash
  d: directory, unchanged
  d/file: not there → 61 bytes
  d/more: 0 bytes → not there
  e: directory → not there
  recovered: 0 bytes, unchanged
"""


def test_every_operation_is_told() -> None:
    """Of every kind, with its path; of a second crash only what came after the first."""
    crashes = (Crash(13, None), Crash(14, "k--k---k"))
    finding = replace(FINDING, subject=f"{__name__}:Everything", crashes=crashes)
    assert LONG_TEXT.format(outcome="x" * 110) in describe(finding)


def test_bytes_are_shown_from_the_first_that_differs() -> None:
    """Of files that begin alike; a shorter one ends there."""
    finding = replace(FINDING, subject=f"{__name__}:Everything")
    for crash, lines in (
        (Crash(9, "kk"), ["  d/file: 50 bytes, unchanged"]),
        (
            Crash(10, "kkk-"),
            [
                "  d/file: 61 bytes → 50 bytes",
                "      from byte 50 was  00 00 00 00 00 00 00 00 00 00 78",
                "      from byte 50 now  nothing",
            ],
        ),
    ):
        text = describe(replace(finding, crashes=(crash,)))
        assert "\n".join(lines) in text


def test_every_crash_is_told() -> None:
    """A killed process, then a power failure in recovery: each has its part of the story."""
    bounds = Bounds(depth=2, kills=True, failures=1000)
    pairs = found(ToyLog("recovery_sync"), "posix", bounds)
    finding = next(one for one, _ in pairs if one.crashes[0].choice is None)
    text = describe(finding)
    for part in ("process killed after", "power failure after", "in the cache", "Recovery 2"):
        assert part in text
    assert text.count("Files, as the process saw them") == 2
    assert f"It still fails, check “{finding.check}”: {finding.message}" in text


def test_a_changed_program_is_told() -> None:
    """Other things were not synced than the choice is about: the text says that."""
    assert "the program has changed since" in describe(replace(FINDING, crashes=(Crash(8, "kk"),)))
    assert "the program has changed since" not in describe(FINDING)


def test_a_replay_tells_legal_choices() -> None:
    """What the profile forbids did not happen: no garbage with ext4 in data=ordered mode."""
    (stage,) = rerun(replace(FINDING, profile="ext4-ordered")).stages
    assert stage.crash.choice == "k-kk"
