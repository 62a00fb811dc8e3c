"""``python -m tests.campaigns.symbolic``: all conditions and plants, beside the kept list."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.campaigns.symbolic.checking import (
    ROOT,
    Condition,
    Job,
    Outcome,
    check_all,
    read_conditions,
)
from tests.campaigns.symbolic.plants import PLANTS
from tests.campaigns.trace.records import FOLDER, Inputs, Record, write_records

__all__ = ["KEPT", "main", "problems", "read_kept"]

KEPT = Path(__file__).with_name("confirmed.txt")
"""The list of what is confirmed, and of what is not."""

_BUDGET = 45.0
"""Seconds of processor time for a condition; the slowest needs a third of that."""

_TOTAL = 280.0
"""For all together: what two processors have in 140 seconds."""

_INPUTS = ("model", "rotortree", "tests/campaigns/planting.py", "tests/campaigns/symbolic")
_CONFIRMED, _UNREFUTED = "confirmed", "unrefuted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if all is as it is kept."""
    options = _parser().parse_args(arguments)
    records = ROOT / FOLDER / "symbolic.jsonl"
    records.unlink(missing_ok=True)
    inputs = Inputs.now(ROOT, _INPUTS)
    conditions, kept = read_conditions(), read_kept(KEPT.read_text(encoding="utf-8"))
    jobs = [Job(found.name, kept.get(found.name) or _BUDGET) for found in conditions]
    jobs += [Job(fault.condition, _BUDGET, fault) for fault in PLANTS]
    outcomes = _checked(jobs, options.jobs)
    wrong = problems(conditions, kept, outcomes)
    write_records(records, inputs, _records(conditions, kept, outcomes))
    print("\n".join(_summary(outcomes)))
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.symbolic", description=main.__doc__
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cores, help=f"processes at once ({cores})")
    return parser


def _checked(jobs: list[Job], processes: int) -> list[Outcome]:
    """The outcomes, told as they come, until the time of all together is spent."""
    outcomes: list[Outcome] = []
    for outcome in check_all(jobs, processes):
        outcomes.append(outcome)
        job = outcome.job
        what = f"{job.condition}, with {job.plant.name!r}" if job.plant else job.condition
        print(f"{outcome.seconds:5.1f} s {outcome.paths:4} paths  {outcome.state:9}  {what}")
        sys.stdout.flush()
        if sum(done.seconds for done in outcomes) > _TOTAL:
            break
    return outcomes


def read_kept(text: str) -> dict[str, float | None]:
    """By condition: None if it is confirmed, else the seconds in which it is not refuted."""
    kept: dict[str, float | None] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            state, name, *seconds = line.split()
            kept[name] = float(seconds[0]) if state == _UNREFUTED else None
    return kept


def problems(
    conditions: Iterable[Condition], kept: dict[str, float | None], outcomes: list[Outcome]
) -> list[str]:
    """What is not as it is to be: a line each."""
    wrong = []
    found = {outcome.job.condition: outcome for outcome in outcomes if not outcome.job.plant}
    for name in sorted(kept.keys() - {condition.name for condition in conditions}):
        wrong.append(f"{name}: it is in {KEPT.name}, and there is no such condition")
    for condition in conditions:
        outcome = found.get(condition.name)
        if outcome is None:
            wrong.append(f"{condition.name}: not checked, the time of all together was spent")
        elif condition.name not in kept:
            wrong.append(f"{condition.name}: {outcome.state}, and {KEPT.name} does not have it")
        elif outcome.state != (_CONFIRMED if kept[condition.name] is None else _UNREFUTED):
            wrong.append(f"{condition.name}: {outcome.state}: {outcome.message}")
    refuted = {outcome.job.plant for outcome in outcomes if outcome.state == "refuted"}
    wrong += [f"not refuted: {fault.name}" for fault in PLANTS if fault not in refuted]
    return wrong


def _records(
    conditions: Iterable[Condition], kept: dict[str, float | None], outcomes: Iterable[Outcome]
) -> Iterable[Record]:
    """What was to be confirmed, and the faults; what is merely unrefuted is no evidence."""
    by_name = {condition.name: condition for condition in conditions}
    for outcome in outcomes:
        condition, fault = by_name[outcome.job.condition], outcome.job.plant
        if fault:
            passed = "passed" if outcome.state == "refuted" else "failed"
            source = f"tests/campaigns/symbolic/plants.py::{fault.name}"
            yield Record("fault", source, condition.requirements, passed)
        elif kept.get(condition.name) is None:
            passed = "passed" if outcome.state == _CONFIRMED else "failed"
            source, line = condition.source, condition.line
            yield Record("symbolic", source, condition.requirements, passed, line=line)


def _summary(outcomes: Iterable[Outcome]) -> Iterable[str]:
    """The numbers, and what is merely unrefuted, each with the time that it had."""
    checks = [outcome for outcome in outcomes if not outcome.job.plant]
    faults = [outcome for outcome in outcomes if outcome.job.plant]
    confirmed = [outcome for outcome in checks if outcome.state == _CONFIRMED]
    refuted = [outcome for outcome in faults if outcome.state == "refuted"]
    paths = sum(outcome.paths for outcome in confirmed)
    yield f"{len(confirmed)} of {len(checks)} conditions are confirmed over all of {paths} paths"
    for outcome in checks:
        if outcome.state == _UNREFUTED:
            yield f"only unrefuted, in {outcome.job.budget:.0f} s: {outcome.job.condition}"
    yield f"{len(refuted)} of {len(faults)} planted faults are refuted"
    seconds = sum(outcome.seconds for outcome in [*checks, *faults])
    yield f"{seconds:.0f} s of processor time"


if __name__ == "__main__":
    sys.exit(main())
