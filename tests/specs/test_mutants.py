"""The runner of mutation tests: what it believes, what it lists, and what it says is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.campaigns.mutants.__main__ import judge, main, problems
from tests.campaigns.mutants.plugin import FAILURES, read_failures
from tests.campaigns.mutants.running import MutationError, Result, read_results
from tests.campaigns.mutants.survivors import KEPT, KeptListError, Mutant, difference, read_kept
from tests.campaigns.mutants.targets import NOT_RUN, TARGETS, Target

TARGET = Target("shape", "rotortree/shape.py", ())
MUTATED = """def x_double__mutmut_orig(value):
    return value + value
def x_double__mutmut_1(value):
    return value - value
"""
MINUS = Mutant("shape", "double", ("return value + value",), ("return value - value",))
OTHER = Mutant("shape", "double", ("return value + value",), ("return None",))


def ran(folder: Path, status: int | None, *, failed: bool = False) -> list[Result]:
    """What is read in a folder in which one mutant ended with a status."""
    module = folder / "mutants" / TARGET.path
    module.parent.mkdir(parents=True)
    module.write_text(MUTATED, encoding="utf-8")
    key = "rotortree.shape.x_double__mutmut_1"
    meta = {"exit_code_by_key": {key: status}}
    spans = {"spans": {"x_double__mutmut_orig": [1, 2], "x_double__mutmut_1": [3, 4]}}
    module.with_name("shape.py.meta").write_text(json.dumps(meta), encoding="utf-8")
    module.with_name("shape.py.spans").write_text(json.dumps(spans), encoding="utf-8")
    if failed:
        note = f"{key}\ttests/test_shape.py::test_double\n"
        (folder / "mutants" / FAILURES).write_text(note, encoding="utf-8")
    return read_results(folder, TARGET)


@pytest.mark.parametrize(
    ("status", "failed", "outcome"),
    [
        (1, True, "killed"),
        (1, False, "status 1"),
        (37, False, "types"),
        (0, False, "survived"),
        (33, False, "survived"),
        (36, False, "timeout"),
        (-9, True, "status -9"),
    ],
)
def test_a_mutant_is_killed_only_by_a_test_that_is_known(
    tmp_path: Path, status: int, failed: bool, outcome: str
) -> None:
    """Status 1 is that of a worker that found no tests, too: it takes a test that failed."""
    assert ran(tmp_path, status, failed=failed) == [Result(MINUS, outcome)]


def test_a_run_that_did_not_end_has_no_result(tmp_path: Path) -> None:
    """A mutant that was not run, or a folder without results: MutationError."""
    with pytest.raises(MutationError, match="was not run"):
        ran(tmp_path, None)
    with pytest.raises(MutationError, match="no results"):
        read_results(tmp_path / "elsewhere", TARGET)


def test_a_difference_is_of_lines_without_numbers() -> None:
    """The name of the function is no difference, and where it stands is none."""
    assert difference("def x__mutmut_orig():\n  a\n  b", "def x__mutmut_2():\n  a\n  c") == (
        ("b",),
        ("c",),
    )


def test_the_list_is_read_as_mutants_print_themselves() -> None:
    """Each mutant has the reason of its block; without one, or twice, it is refused."""
    text = f"# It is\n# the same.\n{MINUS}\n{OTHER}\n"
    assert read_kept(text) == {MINUS: "It is the same.", OTHER: "It is the same."}
    assert read_kept("\n") == {}
    for wrong in (str(MINUS), f"{text}\n{text}", "# Why.\n- gone\n", "# Why.\nno mutant here\n"):
        with pytest.raises(KeptListError):
            read_kept(wrong)


@pytest.mark.parametrize(
    ("outcome", "reason", "score", "words"),
    [
        ("killed", "", 1.0, []),
        ("types", "", 1.0, []),
        ("survived", "", 0.0, ["survived, and not in the list", "not 95%"]),
        ("survived", "Equivalent.", 0.0, ["not 95%"]),
        ("killed", "Equivalent.", 1.0, ["noticed by a test or gone"]),
        ("timeout", "Equivalent.", 0.0, ["timeout, and not", "noticed by a test", "not 95%"]),
        ("timeout", "Endless: it waits.", 1.0, []),
        ("killed", "Endless: it waits.", 1.0, []),
        ("survived", "Endless: it waits.", 0.0, ["survived, and not in the list", "not 95%"]),
        ("status 1", "", 0.0, ["status 1, and not in the list", "not 95%"]),
    ],
)
def test_what_is_not_noticed_is_explained_or_a_problem(
    outcome: str, reason: str, score: float, words: list[str]
) -> None:
    """To be explained is not to be noticed: the score is of what tests, types and time notice."""
    row = judge("shape", [Result(MINUS, outcome)], {MINUS: reason} if reason else {})
    found = list(problems(row))
    assert row.score == score
    assert len(found) == len(words)
    assert all(word in problem for word, problem in zip(words, found, strict=True))


def test_modules_and_tests_are_there() -> None:
    """Of each target, and of each entry of the kept list."""
    paths = {path for target in TARGETS for path in (target.path, *target.tests)}
    paths |= {test.partition("::")[0] for test in NOT_RUN}
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []
    kept = read_kept(KEPT.read_text(encoding="utf-8"))
    assert {mutant.module for mutant in kept} <= {target.name for target in TARGETS}


def test_a_run_without_results_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It says what is missing; a module that is not known is an error of use."""
    assert read_failures(tmp_path / FAILURES) == {}
    with pytest.raises(SystemExit):
        main(["no-such-module"])
    assert "invalid choice" in capsys.readouterr().err
