"""specs/testing-your-storage.md runs from top to bottom, and prints what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.architecture.documents import Reader, Step, steps
from tests.architecture.sources import ROOT

PAGE = (ROOT / "specs" / "testing-your-storage.md").read_text(encoding="utf-8")


class TutorialReader(Reader):
    """Saves every Python block under the name in its first line, and runs it from there."""

    def python(self, step: Step) -> None:
        """Run a block, with warnings as errors."""
        name = re.match(r"# (\w+\.py)\n", step.code)
        if name is None:
            self.problems.append(f"line {step.line}: the block has no file name")
            return
        (self._folder / name[1]).write_text(step.code, encoding="utf-8")
        printed = self._execute(step, [sys.executable, "-W", "error", name[1]])
        if self._status:
            self.problems.append(f"line {step.line}: the block fails:\n{printed}")


def test_the_tutorial_runs(tmp_path: Path) -> None:
    """Every block works, in one folder, and every command prints what the page says."""
    reader = TutorialReader(tmp_path, frozenset())
    reader.follow(PAGE)
    assert reader.problems == [], "\n".join(reader.problems)
    assert reader.run == len(steps(PAGE))


def test_the_tutorial_has_something_to_run() -> None:
    """Programs, and commands with their output."""
    todo = steps(PAGE)
    assert sum(step.kind == "python" for step in todo) >= 6
    assert sum(bool(step.expected.strip()) for step in todo) >= 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```python\nx = 1\n```\n", "line 2: the block has no file name"),
        ("```python\n# a.py\nraise ValueError(3)\n```\n", "line 2: the block fails"),
        ("```python\n# a.py\nprint(1)\n```\n```console\n$ python a.py\n2\n```\n", "line 6: `py"),
    ],
)
def test_reports_what_goes_wrong(tmp_path: Path, text: str, problem: str) -> None:
    """Blocks without a name, failing blocks, and other output."""
    reader = TutorialReader(tmp_path, frozenset())
    reader.follow(text)
    assert [message[: len(problem)] for message in reader.problems] == [problem]
