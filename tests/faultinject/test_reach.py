"""What an exploration reached is counted; one that came to too little fails."""

from __future__ import annotations

from collections import Counter

import pytest

from rotortree.durable import opening, rotor_tree
from rotortree.durable.state import TreeState
from rotortree.storage import log as logs
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log
from rotortree.storage.log_reader import _Scanner
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import Bounds, explore
from rotortree_faultinject.subjects.tree.reach import LEAST, observed, unreached
from rotortree_faultinject.subjects.tree.workloads import WORKLOADS, TreeSubject, workload
from tests.campaigns.kill_score.battery import BATTERY
from tests.campaigns.kill_score.subjects import Damaged

POSIX = PROFILES["posix"]


def reached(*subjects: TreeSubject, bounds: Bounds) -> Counter[str]:
    """What the exploration of these subjects comes to."""
    with observed() as counts:
        for subject in subjects:
            assert explore(subject, POSIX, bounds).failures == []
    return counts


@pytest.mark.long
def test_the_default_exploration_reaches_every_branch() -> None:
    """Crashes and kills of every workload, crashes while repairing, calls that fail.

    Every branch of recovery and of the write path, every row of the decision table that is no
    refusal, every kind of torn tail comes up as often as `LEAST` asks.
    """
    lives = [workload(name) for name in WORKLOADS if name != "long"]
    killed = Bounds(per_point=6, nested_per_point=8, kills=True, go_on=False)
    counts = reached(*lives, bounds=killed)
    damaged = Damaged("COMMIT", 70), Damaged("levels/1/00000000.nodes", 130)
    counts += reached(workload("long"), *damaged, bounds=Bounds(per_point=12, go_on=False))
    with observed() as failing:
        assert [trial.message for trial in BATTERY["failing calls"]() if trial.message] == []
    counts += failing
    assert unreached(counts) == []
    assert set(counts) == set(LEAST), "a fact without a threshold would never be missed"


def test_reports_what_a_poor_exploration_did_not_reach() -> None:
    """A tree that is created and closed comes to next to nothing, and that is said fact by fact."""
    counts = reached(workload("create"), bounds=Bounds(per_point=4, go_on=False))
    missing = unreached(counts)
    assert f"units of several segments: 0 of {LEAST['units of several segments']}" in missing
    assert f"a level file begun: 0 of {LEAST['a level file begun']}" in missing
    assert len(missing) > len(LEAST) // 2


@pytest.mark.parametrize(
    ("steps", "facts"),
    [
        (["open"], {"created", "row 1: no tree", "row 14: no commit record"}),
        (["open", "insert 4", "flush"], {"a unit of several frames written"}),
        (["open", "insert", "close", "open"], {"closed cleanly", "leaves from the log"}),
        (
            ["open", "insert 2", "flush", "kill", "open"],
            {"not closed", "nothing vouches for the last unit"},
        ),
        (["open", "insert", "fault pwritev *.wal x", "flush"], {"the log cut"}),
        (["open", "insert", "fault sync *.wal x", "flush"], {"a tree failed"}),
        (
            ["open", "insert 9", "checkpoint", "insert 2", "checkpoint"],
            {"a level file begun", "a level file goes on"},
        ),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else None,
)
def test_a_fact_is_counted_when_it_happens(steps: list[str], facts: set[str]) -> None:
    """Each of these lives comes to its facts, and the same life without its last step does not."""
    with observed() as without:
        TreeSubject(steps[:-1]).run(SimulatedDisk())
    with observed() as counts:
        TreeSubject(steps).run(SimulatedDisk())
    assert all(counts[fact] > without[fact] for fact in facts), counts


def test_watching_ends_with_its_context() -> None:
    """Whatever happens within, all functions are the right ones again afterwards."""
    places: list[tuple[object, str]] = [
        (rotor_tree, "open_tree"),
        (opening, "survey"),
        (opening, "decide"),
        (opening, "resume_log"),
        (logs, "_cut_tails"),
        (_Scanner, "_promise_behind"),
        (Log, "append"),
        (Log, "switch"),
        (LevelWriter, "write"),
        (TreeState, "fail"),
    ]
    right = [getattr(owner, name) for owner, name in places]

    def raise_within() -> None:
        with observed():
            found = [getattr(owner, name) for owner, name in places]
            assert all(one is not other for one, other in zip(found, right, strict=True))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise_within()
    assert [getattr(owner, name) for owner, name in places] == right
