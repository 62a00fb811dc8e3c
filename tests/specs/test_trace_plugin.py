"""The pytest plugin that records evidence: of complete runs, all of it, and only if asked to."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rotortree import kernel
from rotortree.kernel import _portable
from tests.campaigns.trace.matrix import build
from tests.campaigns.trace.pages import markdown
from tests.campaigns.trace.plugin import INPUTS
from tests.campaigns.trace.records import FOLDER, Inputs, Record, read_records
from tests.specs.projects import RECORDS, ROOT, TESTS, Project

OPTIONS = ("-p", "tests.campaigns.trace.plugin", "--evidence", "build/evidence/tests.jsonl")
"""What makes pytest record."""

PARALLEL = ("-p", "xdist", "-n", "2", "--dist", "loadgroup")
"""As `make test` runs it."""

OTHER_OUTCOMES = """
import pytest

pytestmark = pytest.mark.evidence("fuzz", "TREE-1")

@pytest.fixture
def torn():
    yield
    raise RuntimeError

@pytest.fixture
def broken():
    raise RuntimeError

def test_end(torn): pass
def test_set_up(broken): pass
@pytest.mark.xfail
def test_expected(): assert False
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_sometimes(n): assert n == 1
@pytest.mark.parametrize("n", [1, 2, 3])
def test_partly(n): n == 2 and pytest.skip("not here")
@pytest.mark.evidence()
def test_wrong_mark(): pass
"""
"""Every way in which a test does not pass, and a mark without arguments."""


DEATH = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        return
    where = ("tests/test_it.py", None, "")
    report = pytest.TestReport("x", where, {}, "failed", "worker died", "call")
    session.config.hook.pytest_runtest_logreport(report=report)
"""
"""A conftest that reports a failure of its own at the end of a run, in the controller."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One whose tests were not run."""
    return Project(tmp_path)


def recorded(project: Project) -> list[Record]:
    """What the last run recorded, without the lines."""
    inputs, records = read_records(project.root / FOLDER / "tests.jsonl")
    assert replace(inputs, kernel="") == Inputs.now(project.root, INPUTS)
    return [replace(record, line=None) for record in records]


@pytest.mark.parametrize("parallel", [(), PARALLEL], ids=["one", "xdist"])
def test_outcomes_are_recorded(project: Project, parallel: tuple[str, ...]) -> None:
    """One record for each mark of a test; in one process or several, in groups or not."""
    done = project.run_tests(*OPTIONS, *parallel)
    assert done.returncode == 0, done.stdout
    assert recorded(project) == list(RECORDS)
    _, records = read_records(project.root / FOLDER / "tests.jsonl")
    assert [record.line for record in records] == [11, 11, 4]


@pytest.mark.parametrize("parallel", [(), PARALLEL], ids=["one", "xdist"])
def test_what_did_not_pass_is_not_recorded_as_passed(
    project: Project, parallel: tuple[str, ...]
) -> None:
    """Failures in set-up, test and end; skips, expected failures, one case of several."""
    project.write("tests/test_it.py", OTHER_OUTCOMES)
    assert project.run_tests(*OPTIONS, *parallel).returncode == 1
    found = {
        record.source.partition("::")[2]: record.outcome
        for record in recorded(project)
        if record.kind == "fuzz"
    }
    assert found == {
        "test_end": "failed",
        "test_set_up": "failed",
        "test_expected": "skipped",
        "test_skipped": "skipped",
        "test_partly": "skipped",
        "test_sometimes": "failed",
        "test_wrong_mark": "passed",
    }
    assert [record.requirements for record in recorded(project) if not record.kind] == [()]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("import missing\n", ()),
        ("import missing\n", PARALLEL),
        ("def test_stop(): raise KeyboardInterrupt\n", ()),
        ("", ("--no-such-option",)),
    ],
    ids=["import", "import, xdist", "interrupt", "usage"],
)
def test_an_incomplete_run_records_nothing(
    project: Project, text: str, options: tuple[str, ...]
) -> None:
    """What an earlier run left is gone, too, unless the run did not even begin."""
    project.record(*RECORDS)
    project.write("tests/test_more.py", text)
    assert project.run_tests(*OPTIONS, *options).returncode != 0
    path = project.root / FOLDER / "tests.jsonl"
    if path.exists():
        assert "--no-such-option" in options
        inputs, _ = read_records(path)
        assert inputs.digest != Inputs.now(project.root, inputs.paths).digest


@pytest.mark.parametrize("parallel", [(), PARALLEL], ids=["one", "xdist"])
def test_a_failure_of_nobody_knows_what_records_nothing(
    project: Project, parallel: tuple[str, ...]
) -> None:
    """As pytest-xdist reports that a worker died: the report says nothing of marks."""
    project.write("conftest.py", DEATH)
    assert "worker died" in project.run_tests(*OPTIONS, *parallel).stdout
    assert not (project.root / FOLDER / "tests.jsonl").exists()


def test_a_change_during_the_run_is_noticed(project: Project) -> None:
    """The record is of the sources at the start."""
    project.write(
        "tests/test_it.py", f"{TESTS}\n\ndef test_writes(): open('tests/x', 'w').close()\n"
    )
    assert project.run_tests(*OPTIONS).returncode == 0
    inputs, _ = read_records(project.root / FOLDER / "tests.jsonl")
    assert inputs.digest != Inputs.now(project.root, INPUTS).digest


@pytest.mark.parametrize("parallel", [(), PARALLEL], ids=["one", "xdist"])
def test_the_kernel_that_ran_is_recorded(
    project: Project, monkeypatch: pytest.MonkeyPatch, parallel: tuple[str, ...]
) -> None:
    """What is compiled is in no digest: the record says which it was, and the page, too."""
    for name in (kernel.NAME, _portable.NAME):
        assert project.run_tests(*OPTIONS, *parallel).returncode == 0
        inputs, _ = read_records(project.root / FOLDER / "tests.jsonl")
        assert inputs.kernel == name
        assert f"; the kernel was {name}\n" in markdown(build(project.root), project.root)
        monkeypatch.setenv("ROTORTREE_NATIVE", "off")


def test_make_trace_wants_the_native_kernel_where_it_can_be_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As CI does: what falls back in silence would be evidence of another kernel."""
    monkeypatch.delenv("ROTORTREE_REQUIRE_NATIVE", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    for compiler, wanted in (("true", "1"), ("no-such-compiler", "")):
        command = ["make", "--dry-run", "trace", f"CC={compiler}"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert re.findall(r"ROTORTREE_REQUIRE_NATIVE=(\S*)", shown.stdout) == [wanted]


def test_other_runs_are_left_alone(project: Project) -> None:
    """Without the options nothing is written, and what is there stays."""
    project.record(*RECORDS)
    path = project.root / FOLDER / "tests.jsonl"
    before = path.stat().st_mtime_ns
    assert project.run_tests().returncode == 0
    assert project.run_tests("-p", "tests.campaigns.trace.plugin").returncode == 0
    assert path.stat().st_mtime_ns == before


def test_make_records() -> None:
    """`make test` and `make trace` do, and no other target."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"RECORD := {' '.join(OPTIONS)}\n" in text
    targets = re.findall(r"^([a-z-]+):(?:.*\n)(?:\t.*\n)*?\t.*\$\(RECORD\)", text, re.MULTILINE)
    assert targets == ["test", "trace"]
    assert {path for path in INPUTS if not (ROOT / path).exists()} == set()
