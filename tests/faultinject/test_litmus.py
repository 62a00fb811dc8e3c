"""The profiles allow what was measured on the file systems that they stand for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.litmus import LITMUS_PROGRAMS, PUBLISHED, Row, litmus
from rotortree_faultinject.profiles import PROFILES, Profile

ROWS = {(row.program, row.profile): row for row in litmus()}


def test_every_profile_has_published_values() -> None:
    """One for every program."""
    assert PUBLISHED.keys() == PROFILES.keys()
    assert {len(values) for values in PUBLISHED.values()} == {len(LITMUS_PROGRAMS)}


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
    assert not program.expects(row.example.files.get(program.file))


def test_programs_do_what_their_authors_expect_without_a_crash() -> None:
    """Before they run, and when they are done."""
    for program in LITMUS_PROGRAMS:
        disk = SimulatedDisk(program.start)
        assert program.expects(disk.image.get(program.file))
        program.run(disk)
        assert program.expects(disk.image.get(program.file))


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
