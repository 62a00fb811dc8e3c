"""Calls that fail, disks that are full, disks that lie: an error, or nothing; never wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rotortree import CheckpointFailedError, RotorTree
from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.faults import LETTERS, Rule
from rotortree_faultinject.subjects.tree.failures import (
    HONEST,
    full_disks,
    lives_with_a_fault,
    sweep,
)
from rotortree_faultinject.subjects.tree.life import LIES, Life, Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import check_proofs, check_root, row
from rotortree_faultinject.subjects.tree.workloads import TreeSubject, workload

SHORT = (
    "flushes",
    "two-frames",
    "second-checkpoint",
    "checkpoint-on-close",
    "background",
    "recorded",
    "pinned",
)
"""Workloads of which every call is made to go wrong."""

QUICK = ("flushes", "two-frames", "second-checkpoint")
FAILING = pytest.mark.evidence(
    "fault",
    *(f"DURABLE-{number}" for number in (26, 29, 31, 32, 34)),
    *(f"FORMAT-{number}" for number in (35, 52)),
)
"""Those of which that takes seconds, and what it is evidence of."""

MODES: tuple[FsyncFailure, ...] = ("clean", "dirty", "reverted")


def check(lives: Iterator[TreeSubject], least: int) -> None:
    """No life fails, and in at least so many a call went wrong."""
    found = sweep(lives)
    assert [(subject.parameters(), message) for subject, message in found.failures] == []
    assert found.hit >= least


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=FAILING if name in QUICK else pytest.mark.long) for name in SHORT],
)
def test_a_failing_call_fails_its_operation_or_nothing(name: str, mode: FsyncFailure) -> None:
    """Every call × before, half-way, after, short, EINTR, Ctrl-C, death, for ever.

    Then the disk is mended, and the tree closed, killed, or struck by a power failure that keeps
    all or nothing; what it then holds is what was acknowledged, or more of what was issued.
    """
    subject = workload(name, 3)
    options = Options.of({**subject.options.changes(), "fsync_failure": mode})
    check(lives_with_a_fault(subject.steps, options), least=30)


@pytest.mark.long
@pytest.mark.parametrize("letters", ["x", "h", "X", "k"])
def test_a_failing_call_in_a_long_life(letters: str) -> None:
    """The same for every call of the long workload, n = 2."""
    subject = workload("long")
    check(lives_with_a_fault(subject.steps, subject.options, letters), least=150)


@pytest.mark.parametrize("name", [*SHORT, "close-reopen"])
def test_a_disk_that_lies_costs_what_it_lied_about_and_nothing_else(name: str) -> None:
    """Every call × lost, misdirected, one bit flipped: a typed error, or a prefix of the leaves.

    What the open tree shows stays right in any case: leaves, roots, proofs.
    """
    subject = workload(name, 3)
    check(lives_with_a_fault(subject.steps, subject.options, "lmr"), least=8)


def test_an_error_that_comes_one_sync_late_is_a_lie_and_never_makes_anything_wrong() -> None:
    """ext4 with data=journal: a sync returns success, and fails the next time (ATC 2020).

    No program can keep a promise that it was told is kept.  A rule that never applies says that
    the disk lies.
    """
    subject = workload("second-checkpoint", 3)
    options = Options.of({**subject.options.changes(), "fsync_failure": "late"})
    lives = lives_with_a_fault(subject.steps, options, "x")
    told = (
        TreeSubject(
            (*one.steps[:2], "fault sync *.none l", *one.steps[2:]), options.changes(), one.name
        )
        for one in lives
    )
    check(told, least=40)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("checkpoint", 1),
        ("two-frames", 1),
        ("recorded", 3),
        ("second-checkpoint", 7),
        pytest.param("recorded", 1, marks=pytest.mark.long),
        pytest.param("second-checkpoint", 1, marks=pytest.mark.long),
    ],
)
def test_a_full_disk_loses_nothing(name: str, every: int) -> None:
    """The disk has room for 0, 1, 2, … bytes: errors until there is more, and then all is well."""
    subject = workload(name)
    lives = list(full_disks(subject.steps, subject.options, every))
    found = sweep(iter(lives))
    assert [(subject.parameters(), message) for subject, message in found.failures] == []
    assert found.lives > 100


@pytest.mark.evidence("fault", "DURABLE-30")
@pytest.mark.parametrize("end", ["kill", "close"])
@pytest.mark.parametrize("step", ["checkpoint", "flush"])
def test_a_segment_whose_name_may_be_lost_is_not_gone_on_in(step: str, end: str) -> None:
    """A sync of wal/ failed behind a new segment's name, and another one says nothing.

    So the next open begins another segment, and what it acknowledges survives a power failure.
    """
    life = Life(Options(segment_bytes=200))
    life.live(["open", "insert 3", "flush", "insert", "fault sync_directory tree/wal x", step])
    try:
        life.live([end, "mend", "open", "durable", "crash", "open"])
        assert life.history.acknowledged > 3
    finally:
        life.end()


@pytest.mark.evidence("fault", "FORMAT-51")
@pytest.mark.parametrize("letter", ["l", "m", "r"])
def test_a_checkpoint_reads_back_what_it_wrote(letter: str) -> None:
    """A write of a level file that is lost, misdirected or damaged fails the checkpoint.

    Found by the sweep above: the first version mapped what was there instead of the memory that
    had it right, or failed with mmap's ValueError.  The log is kept, and the next one succeeds.
    """
    options = Options(n=2)
    disk = SimulatedDisk()
    tree = open_tree(disk, options)
    tree.insert_many(row(0, 9))
    disk.faults.rules.append(Rule("pwritev", "*/levels/0/*", letter))
    with pytest.raises(CheckpointFailedError, match="read back"):
        tree.checkpoint()
    assert tree.checkpoint_size == 0
    check_proofs(tree, check_root(tree).leaves)
    tree.checkpoint()
    assert tree.checkpoint_size == 9
    check_proofs(tree, row(0, 9))
    abandon(tree)
    left = open_tree(disk.crash(), options)
    assert isinstance(left, RotorTree)
    assert check_root(left).leaves == row(0, 9)
    abandon(left)


def test_every_letter_is_swept() -> None:
    """HONEST and the lies are all letters of the scripts but w."""
    assert {*HONEST.lower(), *LIES, "w"} == set(LETTERS)
