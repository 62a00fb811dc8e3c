"""A small project with a specification, a model and tests that cite it, and ways to break it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.campaigns.trace.__main__ import main
from tests.campaigns.trace.records import FOLDER, Inputs, Record, write_records

ROOT = Path(__file__).resolve().parents[2]
"""The folder of pyproject.toml."""

SPECIFICATION: Mapping[str, str] = {
    "specs/README.md": "# About TREE-1\n",
    "specs/tree.md": (
        "# Tree\n\n## 1. Shape\n\n"
        "- **TREE-1** (MUST) A tree grows\n  and grows.\n\n"
        "- **TREE-2** (SHOULD) It is green & <tall>, see [proofs](proofs.md).\n"
    ),
    "specs/proofs.md": "# Proofs\n\n- **PROOF-1** (MUST) A proof proves.\n",
    "specs/storage-format.md": "# Format\n\n- **FORMAT-1** (MAY) Bytes.\n",
    "specs/durability.md": "# Durability\n",
    "specs/crash-model.md": "# Crashes\n",
    "model/shape.py": (
        '"""Shapes."""\n\nMAX = 3\n"""The most. Requirements: TREE-2."""\n\n\n'
        'def grow() -> None:\n    """Grow.\n\n    Requirements: TREE-1, TREE-2.\n    """\n'
    ),
    "rotortree/tree.py": "# as PROOF-1 has it\n",
}
"""Everything but tests."""

TESTS = """
import pytest

@pytest.mark.evidence("property", "TREE-1", "TREE-2")
@pytest.mark.xdist_group("a@b")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_it_grows(n):
    pass

class TestProofs:
    @pytest.mark.evidence("example", "PROOF-1")
    @pytest.mark.evidence("crash", "PROOF-1", "TREE-1")
    def test_it_proves(self):
        pass

def test_that_cites_nothing():
    pass
"""
"""Tests that pass."""

RECORDS = (
    Record(
        "crash", "tests/test_it.py::TestProofs::test_it_proves", ("PROOF-1", "TREE-1"), "passed"
    ),
    Record("example", "tests/test_it.py::TestProofs::test_it_proves", ("PROOF-1",), "passed"),
    Record("property", "tests/test_it.py::test_it_grows", ("TREE-1", "TREE-2"), "passed", 3),
)
"""What is recorded of them, but for the lines."""


class Project:
    """A project in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in {**SPECIFICATION, "tests/test_it.py": TESTS}.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Make a file what it is to be."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Change one place of a file."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def record(self, *records: Record, name: str = "tests") -> None:
        """Write records of the sources as they are."""
        inputs = Inputs.now(self.root, ("model", "rotortree", "specs", "tests"))
        write_records(self.root / FOLDER / f"{name}.jsonl", inputs, records)

    def trace(self, *arguments: str) -> int:
        """Run the command."""
        return main(arguments, self.root)

    def problems(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """What the command complains of; its status says whether it does."""
        capsys.readouterr()
        status = self.trace()
        found = capsys.readouterr().err.splitlines()
        assert status == (1 if found else 0)
        return found

    def run_tests(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run pytest with the plugin in the folder."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
        self.write("pytest.ini", "[pytest]\nmarkers =\n    evidence\n    xdist_group\n")
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # starts in half the time
        }
        environment.pop("PYTEST_ADDOPTS", None)
        return subprocess.run(
            command, cwd=self.root, env=environment, text=True, capture_output=True, check=False
        )


def traced_project(root: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """One in which everything is as it must be."""
    found = Project(root)
    found.trace("accept", "--all")
    found.record(*RECORDS)
    assert found.problems(capsys) == []
    return found
