"""How fast the crash states of a whole tree are explored, in one process."""

from __future__ import annotations

from benchmarks.measure import Stopwatch
from benchmarks.workers import Outcome, Request
from rotortree_faultinject import Bounds, explore
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.subjects.tree.workloads import workload

__all__ = ["crash_states"]

_WORKLOAD = "second-checkpoint"


def crash_states(request: Request, stopwatch: Stopwatch) -> Outcome:
    """Different states that a power failure may leave, each opened, its root and leaves judged."""
    subject = workload(_WORKLOAD, request.n)
    bounds = Bounds(states=request.amount, go_on=False)
    with stopwatch:
        result = explore(subject, PROFILES["posix"], bounds)
    assert not result.failures
    return Outcome(result.statistics.distinct)
