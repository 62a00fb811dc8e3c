"""Measures how fast one process explores the crash states of a whole tree."""

from __future__ import annotations

from benchmarks.measure import Stopwatch
from benchmarks.workers import Outcome, Request
from rotortree_faultinject import Bounds, explore
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.subjects.tree.workloads import workload

__all__ = ["crash_states"]

_WORKLOAD = "second-checkpoint"


def crash_states(request: Request, stopwatch: Stopwatch) -> Outcome:
    """Explore distinct crash states: open each, and judge its root and leaves."""
    subject = workload(_WORKLOAD, request.n)
    bounds = Bounds(states=request.amount, go_on=False)
    with stopwatch:
        result = explore(subject, PROFILES["posix"], bounds)
    assert not result.failures
    return Outcome(result.statistics.distinct)
