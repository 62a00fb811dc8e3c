"""Marks of tests in their sources: each that is in no record of the run is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaigns.trace.citations import MarkedTest, marked_tests
from tests.campaigns.trace.records import Record
from tests.specs.projects import RECORDS, Project, traced_project

MARKED_PARAMETERS = """
import pytest
ONE = [pytest.param(1, marks=pytest.mark.evidence("fuzz", "TREE-1"))]
ALL = [pytest.param(name, marks=pytest.mark.evidence("fuzz", *CITED[name])) for name in CITED]


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.evidence("fuzz", "TREE-2"))])
@pytest.mark.evidence("crash", "TREE-1")
def test_more(n): pass
"""
"""Marks of parameters: outside of a test, known to a run alone, and within its decorator."""


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """One in which everything is as it must be."""
    return traced_project(tmp_path, capsys)


def test_a_marked_test_that_is_in_no_record_is_reported(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Functions, methods, classes and modules, whatever the others say."""
    project.write(
        "tests/test_more.py",
        "from pytest import mark\n\npytestmark = mark.evidence('fuzz', 'TREE-1')\n\n\n"
        "@mark.evidence('fuzz', 'TREE-1')\nclass TestIt:\n    def test_more(self): pass\n",
    )
    project.record(*RECORDS, replace(RECORDS[2], source="tests/test_it.py::test_other"))
    assert project.problems(capsys) == [
        "tests/test_more.py:7: TestIt did not run",
        "tests/test_more.py:3: what is marked here did not run",
    ]
    more = replace(RECORDS[2], kind="fuzz", requirements=("TREE-1",))
    project.record(*RECORDS[:2], replace(more, source="tests/test_more.py::test_it_grows"))
    assert project.problems(capsys) == [
        "tests/test_it.py:7: test_it_grows did not run",
        "tests/test_more.py:7: TestIt did not run",
    ]


def test_marks_are_found_where_pytest_would_not_look(project: Project) -> None:
    """In parameters, and on a method: then that method is what must run."""
    project.write(
        "tests/test_it.py",
        "import pytest\nA = pytest.param(1, marks=pytest.mark.evidence('fuzz', 'X-1'))\n\n\n"
        "class TestIt:\n    @pytest.mark.evidence('fuzz', 'X-1')\n    async def test_a(self): 0\n",
    )
    path = "tests/test_it.py"
    says = (("fuzz", "X-1"), True)
    marked = [MarkedTest(path, "test_a", 7, *says), MarkedTest(path, "", 2, *says)]
    assert list(marked_tests(project.root)) == marked
    one, other, elsewhere = (
        Record("fuzz", source, ("X-1",), "passed")
        for source in (f"{path}::TestIt::test_a", f"{path}::test_b", "tests/test_it_too.py::test_a")
    )
    assert [test.is_source_of(one) for test in marked] == [True, True]
    assert [test.is_source_of(other) for test in marked] == [False, True]
    assert not marked[1].is_source_of(elsewhere)


def test_a_marked_parameter_that_did_not_run_is_reported(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of other marks of its file, or of its function, are not of it."""
    project.write("tests/test_more.py", MARKED_PARAMETERS)
    source = "tests/test_more.py::test_more"
    parameter = "tests/test_more.py:3: what is marked here did not run"
    computed = "tests/test_more.py:4: what is marked here did not run"
    function = "tests/test_more.py:9: test_more did not run"
    for said, missing in (
        (("crash", "TREE-1"), [function, parameter, computed]),
        (("fuzz", "TREE-1"), [function]),
        (("fuzz", "TREE-1", "TREE-2"), [function, parameter]),
        (("fuzz", "TREE-2"), [function, parameter]),
    ):
        project.record(*RECORDS, Record(said[0], source, said[1:], "passed"))
        assert project.problems(capsys) == missing
    marks = (("crash", "TREE-1"), ("fuzz", "TREE-2"), ("fuzz", "TREE-1"))
    project.record(*RECORDS, *(Record(kind, source, (it,), "passed") for kind, it in marks))
    assert project.problems(capsys) == []
