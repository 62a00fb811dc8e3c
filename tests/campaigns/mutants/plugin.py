"""A plugin of pytest that notes which test failed for which mutant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["FAILURES", "pytest_configure", "read_failures"]

FAILURES = "failures.txt"
"""The file in the folder where pytest runs: a mutant and a test in each line."""


class _Notes:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that failed.  Mutmut has the mutant's name in the environment."""
        mutant = os.environ.get("MUTANT_UNDER_TEST", "")
        if report.failed and mutant:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{mutant}\t{report.nodeid!a}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Note failures below the root folder of the run."""
    config.pluginmanager.register(_Notes(config.rootpath / FAILURES))


def read_failures(path: Path) -> Mapping[str, str]:
    """The test that failed for each mutant; none if there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    return dict(line.split("\t", 1) for line in lines)
