"""Check one condition, in a process of its own: on the sources as they are, or with a fault."""

from __future__ import annotations

import ast
import importlib
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.symbolic.plants import Plant, plant

__all__ = [
    "CONDITIONS",
    "ROOT",
    "Condition",
    "Job",
    "Outcome",
    "check",
    "check_all",
    "read_conditions",
]

ROOT = Path(__file__).resolve().parents[3]
"""The folder of the project."""

CONDITIONS = "tests.campaigns.symbolic.conditions"
"""The package whose modules have them."""

_ENOUGH = sys.maxsize
"""A condition ends when it is decided or its budget is spent, not when paths become dull."""


@dataclass(frozen=True)
class Condition:
    """A claim, as its source has it."""

    name: str
    """``module.function``, below `CONDITIONS`."""
    sentence: str
    requirements: tuple[str, ...]
    line: int

    @property
    def source(self) -> str:
        """Its file and its name, from the project's folder."""
        module, function = self.name.split(".")
        return f"tests/campaigns/symbolic/conditions/{module}.py::{function}"


@dataclass(frozen=True)
class Job:
    """A condition to be checked within some seconds of processor time, with a fault or without."""

    condition: str
    budget: float
    plant: Plant | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of it: "confirmed", "unrefuted", "refuted" or "broken", and why."""

    job: Job
    state: str
    message: str
    paths: int
    seconds: float


def read_conditions() -> list[Condition]:
    """All conditions, from their sources: what they are about is not imported here."""
    folder = ROOT / "tests/campaigns/symbolic/conditions"
    return [found for path in sorted(folder.glob("*.py")) for found in _conditions(path)]


def _conditions(path: Path) -> Iterator[Condition]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if isinstance(node, ast.FunctionDef) and text and re.search(r"^post:", text, re.M):
            cited = re.search(r"^Requirements: (.*)\.$", text, re.M)
            requirements = tuple(cited[1].split(", ")) if cited else ()
            sentence = text.split("\n\n")[0]
            yield Condition(f"{path.stem}.{node.name}", sentence, requirements, node.lineno)


def check_all(jobs: Iterable[Job], processes: int) -> Iterator[Outcome]:
    """Check each in a new process, so many at once; the outcomes in the order of the jobs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crosshair.core_and_libs"])
    with context.Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(check, jobs)


def check(job: Job) -> Outcome:
    """Check it in this process, which is then of no other use: it may have a fault."""
    start = time.process_time()
    stats: Counter[str] = Counter()
    state, message = _verdict(job, stats)
    return Outcome(job, state, message, stats["num_paths"], time.process_time() - start)


def _verdict(job: Job, stats: Counter[str]) -> tuple[str, str]:
    """The state and the message."""
    from crosshair.core_and_libs import MessageType, analyze_function, run_checkables
    from crosshair.options import AnalysisKind, AnalysisOptionSet

    if job.plant:
        plant(job.plant)
    stand_ins = importlib.import_module("tests.campaigns.symbolic.stand_ins")
    stand_ins.install()
    module, function = job.condition.split(".")
    options = AnalysisOptionSet(
        analysis_kind=[AnalysisKind.PEP316],
        per_condition_timeout=job.budget,
        per_path_timeout=job.budget,
        max_uninteresting_iterations=_ENOUGH,
        report_all=True,
        stats=stats,
    )
    conditions = importlib.import_module(f"{CONDITIONS}.{module}")
    messages = run_checkables(analyze_function(getattr(conditions, function), options))
    if len(messages) != 1:
        return "broken", f"{len(messages)} verdicts: {[found.message for found in messages]}"
    states = {
        MessageType.CONFIRMED: "confirmed",
        MessageType.CANNOT_CONFIRM: "unrefuted",
        MessageType.POST_FAIL: "refuted",
        MessageType.POST_ERR: "refuted",
        MessageType.EXEC_ERR: "refuted",
    }
    return states.get(messages[0].state, "broken"), messages[0].message
