"""Any history of calls, crashes and faults: what was acknowledged is there, nothing is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from rotortree.durable.flushing import Flusher
from rotortree_faultinject.exploring.finding import Finding, replay
from rotortree_faultinject.subjects.tree.fuzz import trial
from tests.faultinject import machine
from tests.faultinject.machine import LifeMachine

EXAMPLES = 500
"""Histories of the default run, always the same; ``make fuzz`` goes on with others."""


def run_machine(examples: int, steps: int = 30) -> None:
    """Live so many lives of up to 30 rules, always the same ones."""
    run_state_machine_as_test(
        LifeMachine,
        settings=settings(
            derandomize=True,
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_history_keeps_its_promises() -> None:
    """500 histories of up to 30 rules, n of 2 to 4, every policy, profile and fsync failure.

    Batches over groups, frames and shards; background tasks; proofs at old sizes; failing calls;
    killed processes; power failures with any fate of what was not synced, also within recovery.
    """
    run_machine(EXAMPLES)


def test_a_history_that_fails_is_short_and_replays_from_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tree that acknowledges before it syncs: Hypothesis finds a life of few steps and saves it.

    The file alone shows the failure again, and no failure once the tree is mended.
    """
    flush, file = Flusher._attempt, tmp_path / "finding.json"
    monkeypatch.setattr(machine, "FINDING", file)

    def early(flusher: Flusher, stop: int) -> None:
        flusher.durable.rise(stop)

    with monkeypatch.context() as patched:
        patched.setattr(Flusher, "_attempt", early)
        with pytest.raises(BaseException):  # noqa: B017, PT011  # Hypothesis may group several
            run_machine(20, steps=8)
        finding = Finding.load(file)
        steps = finding.parameters["steps"]
        assert isinstance(steps, list)
        assert len(steps) <= 6
        failure = replay(finding)
        assert failure is not None
        assert failure.check == "workload"
    assert Flusher._attempt is flush
    assert replay(finding) is None


@pytest.mark.parametrize(
    "start", [0, 10, *(pytest.param(start, marks=pytest.mark.long) for start in range(20, 80, 10))]
)
def test_random_lives_and_their_ends_keep_the_promises(start: int) -> None:
    """Ten of the fuzzer's lives, and crashes at every point of their last parts.

    Nested crashes and kills, too; bounded to 12 states per crash point and 4 in recovery, 150
    distinct ones per life.
    """
    for seed in range(start, start + 10):
        one = trial(seed)
        assert one.failure is None, (one.subject.parameters(), one.failure)
