"""The profiles allow what was measured on the file systems that they stand for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import file_in
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.subjects.litmus import LITMUS_PROGRAMS, PUBLISHED, Row, litmus
from tests.architecture.sources import ROOT

ROWS = {(row.program, row.profile): row for row in litmus()}


def test_every_profile_has_published_values() -> None:
    """One for every program."""
    assert PUBLISHED.keys() == PROFILES.keys()
    assert {len(values) for values in PUBLISHED.values()} == {len(LITMUS_PROGRAMS)}


@pytest.mark.evidence("exhaustive", "CRASH-20")
@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"{row.program}-{row.profile}")
def test_programs_surprise_under_a_profile_as_on_the_real_file_system(row: Row) -> None:
    """Bornholt et al., ASPLOS 2016, figure 3."""
    assert row.ok, row
    assert row.surprising == row.published
    assert row.states > row.surprises


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"{row.program}-{row.profile}")
def test_the_example_of_a_surprise_is_one(row: Row) -> None:
    """Its point and choice lead to its files, and no author expects those."""
    program = next(one for one in LITMUS_PROGRAMS if one.name == row.program)
    assert (row.example is not None) == row.surprising
    if row.example is None:
        return
    disk = SimulatedDisk(program.start)
    program.run(disk)
    left = disk.crash(row.example.choice, PROFILES[row.profile], row.example.point)
    assert left.image == row.example.files
    assert not program.expects(file_in(row.example.files, program.file))


def test_programs_do_what_their_authors_expect_without_a_crash() -> None:
    """Before they run, and when they are done."""
    for program in LITMUS_PROGRAMS:
        disk = SimulatedDisk(program.start)
        assert program.expects(file_in(disk.image, program.file))
        program.run(disk)
        assert program.expects(file_in(disk.image, program.file))


def test_authors_are_surprised_by_what_they_did_not_write() -> None:
    """A file that is shorter than before, torn, empty or missing."""
    append, replacing, creating = LITMUS_PROGRAMS
    old = append.start["file"]
    assert [append.expects(content) for content in (None, old[:-1], old + b"x", old + b"a")] == [
        False,
        False,
        False,
        True,
    ]
    assert [replacing.expects(content) for content in (None, b"", old)] == [False, False, True]
    assert [creating.expects(content) for content in (None, b"", old)] == [True, False, False]


def test_the_states_of_strict_order_are_counted() -> None:
    """Nothing done; then as far as a program went: bytes behind the end are not seen."""
    found = [row.states for row in litmus([PROFILES["prefix"]])]
    assert found == [3, 4, 4]


def _with_flaw(name: str, other: str) -> Profile:
    """A profile by that name that allows what another does."""
    return replace(PROFILES[other], name=name)


@pytest.mark.parametrize(
    ("name", "other", "wrong"),
    [
        ("xfs", "ext4-ordered", {"prefix-append"}),
        ("xfs", "btrfs", {"atomic-replace-via-rename"}),
        ("btrfs", "xfs", {"atomic-replace-via-rename"}),
        ("ext4-ordered", "xfs", {"prefix-append"}),
        ("btrfs", "prefix", {"atomic-create-via-rename"}),
        ("prefix", "posix", {program.name for program in LITMUS_PROGRAMS}),
    ],
)
def test_a_wrong_profile_is_told_by_its_rows(name: str, other: str, wrong: set[str]) -> None:
    """One that allows too much, or too little, is not what was published."""
    rows = litmus([_with_flaw(name, other)])
    assert {row.program for row in rows if not row.ok} == wrong


SPECIFICATION = (ROOT / "specs" / "crash-model.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """A table of the specification: the cells of each row by its first one."""
    lines = SPECIFICATION.split(f"| profile | {heading}")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip(" |").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in rows}


@pytest.mark.evidence("example", "CRASH-20")
def test_the_specification_has_the_published_values() -> None:
    """Programs and profiles in the same order."""
    heading = " | ".join(program.name for program in LITMUS_PROGRAMS)
    words = {True: "surprising", False: "no"}
    expected = {name: [words[value] for value in values] for name, values in PUBLISHED.items()}
    assert table(heading) == expected


@pytest.mark.evidence("example", "CRASH-17")
def test_the_specification_has_the_flags_of_the_profiles() -> None:
    """All that is no predicate."""
    found = table("b requires a, if")
    assert [*found] == [*PROFILES]
    for name, (_, torn, in_place, atomic, names) in found.items():
        profile = PROFILES[name]
        assert torn == (", ".join(profile.torn) or "no")
        assert in_place == ("yes" if profile.torn_in_place else "no")
        assert atomic == ("yes" if profile.atomic_rename else "no")
        if profile.sync_covers_everything:
            assert names == "everything"
        elif profile.sync_covers_all_names:
            assert names == "all"
        else:
            assert names == ("its own" if profile.sync_covers_names else "none")
