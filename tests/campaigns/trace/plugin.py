"""A pytest plugin that records the outcomes of tests marked as evidence.

    pytest -p tests.campaigns.trace.plugin --evidence build/evidence/tests.jsonl

Tests say what they are evidence of by ``@pytest.mark.evidence("property", "TREE-7", "TREE-8")``.
Runs without the two options know nothing of this module.  With pytest-xdist, workers add the marks
to the reports that they send, and the controller writes the file.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.trace.records import OUTCOMES, Inputs, Record, write_records

__all__ = ["INPUTS", "Recorder", "pytest_addoption", "pytest_configure"]

INPUTS = (
    "Makefile",
    "README.md",
    "benchmarks",
    "faultinject",
    "model",
    "pyproject.toml",
    "rotortree",
    "setup.py",
    "specs",
    "tests",
)
"""What the tests read."""

_Citation = tuple[str, tuple[str, ...]]
"""The kind of evidence, and what it is evidence of."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the plugin."""
    parser.addoption(
        "--evidence",
        metavar="FILE",
        help="write the outcomes of tests that are marked as evidence to this file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record, if asked to."""
    if config.getoption("--evidence"):
        config.pluginmanager.register(Recorder(config))


@dataclass
class _Case:
    """What is known of one test with one set of parameters."""

    source: str
    line: int | None
    citations: list[_Citation]
    outcome: str = "passed"


class Recorder:
    """Collects the outcomes of a run, and writes them if the run was complete."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_worker = hasattr(config, "workerinput")
        self._root = config.rootpath
        self._path = self._root / Path(config.getoption("--evidence"))
        self._cases: dict[str, _Case] = {}
        self._complete = True
        self._inputs = Inputs((), "")

    def pytest_sessionstart(self) -> None:
        """Forget what an earlier run left, and see what this one is of."""
        if not self._is_worker:
            self._path.unlink(missing_ok=True)
            self._inputs = Inputs.now(self._root, INPUTS, _kernel())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the marks of a test to its report, as what every transport can carry."""
        report = yield
        vars(report)["evidence"] = self._marks(item)
        return report

    def _marks(self, item: pytest.Item) -> dict[str, Any]:
        classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
        name = getattr(item, "originalname", None) or item.name
        path = item.path.relative_to(self._root).as_posix()
        where, line, _ = item.location
        return {
            "source": "::".join([path, *classes, name]),
            "line": None if line is None or where != path else line + 1,
            "citations": [list(map(str, mark.args)) for mark in item.iter_markers("evidence")],
        }

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the outcome of one phase of a test: of its set-up, its call, its end."""
        marks = getattr(report, "evidence", None)
        if marks is None:  # not made by a test: a worker died, and nobody knows what of
            self._complete = self._complete and not report.failed
        elif marks["citations"] and not self._is_worker:
            citations = [("".join(kind[:1]), tuple(kind[1:])) for kind in marks["citations"]]
            case = _Case(marks["source"], marks["line"], citations)
            case = self._cases.setdefault(report.nodeid, case)
            case.outcome = _worst([case.outcome, report.outcome])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported may hold any test."""
        self._complete = self._complete and not report.failed

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the file, unless the run was interrupted or did not understand its options."""
        ended = (
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        )
        if self._complete and not self._is_worker and exitstatus in ended:
            write_records(self._path, self._inputs, self._records())

    def _records(self) -> list[Record]:
        """One for each citation of a test: the worst outcome of its cases, and how many had it."""
        lines: dict[str, int | None] = {}
        outcomes: dict[tuple[str, _Citation], list[str]] = {}
        for case in self._cases.values():
            lines.setdefault(case.source, case.line)
            for citation in case.citations:
                outcomes.setdefault((case.source, citation), []).append(case.outcome)
        found = []
        for (source, (kind, requirements)), cases in sorted(outcomes.items()):
            outcome = _worst(cases)
            count = cases.count(outcome)
            found.append(Record(kind, source, requirements, outcome, count, lines[source]))
        return found


def _kernel() -> str:
    """What the kernel is called that the tests of this run use."""
    from rotortree import kernel  # not before the coverage of its lines is measured

    return kernel.NAME


def _worst(outcomes: list[str]) -> str:
    return max(outcomes, key=OUTCOMES.index)
