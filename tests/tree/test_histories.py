"""Any history of calls leaves both kinds of trees equal to the model (see `machines.py`)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.tree.machines import DurableMachine, MemoryMachine

quiet = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


@pytest.mark.evidence("property", "TREE-2", "TREE-13", "TREE-28", "TREE-29")
def test_any_history_in_memory_equals_the_model() -> None:
    """400 histories of up to 25 calls on LeanIMT, n of 2 to 9, 16, 255, up to 700 leaves and more.

    Root, size, depth and head after every call; nodes and proofs at past sizes; old snapshots.
    """
    run_state_machine_as_test(
        MemoryMachine,
        settings=settings(max_examples=400, stateful_step_count=25, suppress_health_check=quiet),
    )


@pytest.mark.evidence("property", "TREE-29", "DURABLE-7", "DURABLE-24", "DURABLE-36", "FORMAT-58")
def test_any_history_on_disk_equals_the_model() -> None:
    """400 histories of up to 30 calls on RotorTree: all policies and tierings, verified or not.

    Frames of 1 to 100 leaves and level files of n to 6·n nodes, so that everything crosses borders;
    the background runs in threads or step by step.  Closed and reopened any number of times:
    nothing is lost, reported as damaged, or promised and not kept.
    """
    run_state_machine_as_test(
        DurableMachine,
        settings=settings(max_examples=400, stateful_step_count=30, suppress_health_check=quiet),
    )
