"""Runs mutmut on one module in a folder of its own, and reads what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns.mutants.plugin import FAILURES, read_failures
from tests.campaigns.mutants.survivors import Mutant, difference
from tests.campaigns.mutants.targets import NOT_RUN, Target

__all__ = ["FOLDER", "MutationError", "Result", "read_results", "run"]

FOLDER = Path("build/mutants")
"""Where mutants are made and run, a folder for each module, below the folder of the project."""

_LINKED = ("rotortree", "model", "faultinject", "tests", "specs", "benchmarks")
_FILES = ("README.md", "setup.py")

_ARGUMENTS = ["-p", "no:cacheprovider", "-p", "tests.campaigns.mutants.plugin"]
_ARGUMENTS += [f"--deselect={test}" for test in NOT_RUN]

_TYPES = ("mypy", "--output=json", "--no-warn-unused-ignores", "--no-warn-unreachable")
_NOT_CHECKED = ("ignore-without-code", "redundant-expr")
"""What `make check` runs, but for what is true of mutmut's own comments, and of its way to write
"never" and "always": those are no errors of type."""

_FAILED = 1
_TYPE_ERROR = 37
_SURVIVED = (0, 5, 33)
_TIMEOUT = (24, 36, 152, 255, -24)
"""Exit statuses of pytest and of mutmut; 5 and 33: no test runs the function."""

_SETTINGS = """
[tool.mutmut]
source_paths = ["rotortree"]
only_mutate = [{path}]
also_copy = {copied}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {arguments}
type_check_command = {types}
use_git_change_detection = false
timeout_constant = 3.0
timeout_multiplier = 4.0
"""


class MutationError(Exception):
    """Mutmut is missing, or did not come to its end."""


@dataclass(frozen=True)
class Result:
    """What became of a mutant: "killed", "types", "survived", "timeout", or another exit status.

    Killed is one for which a test is known that failed.  A status of 1 alone is not enough: pytest
    ends with it, too, in mutmut's worker, if it did not find a test, or did not run at all.
    """

    mutant: Mutant
    outcome: str


def run(root: Path, target: Target, jobs: int) -> list[Result]:
    """Make all mutants of a module, and run its tests against each.  Raises MutationError."""
    folder = root / FOLDER / target.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (*_LINKED, *_FILES):
        (folder / name).symlink_to(root / name)
    own = (root / "pyproject.toml").read_text(encoding="utf-8")
    for code in _NOT_CHECKED:
        own = own.replace(f'    "{code}",\n', "")
    settings = own + _SETTINGS.format(
        path=json.dumps(target.path),
        copied=json.dumps([*_LINKED[1:], *_FILES]),
        tests=json.dumps(target.tests),
        arguments=json.dumps(_ARGUMENTS),
        types=json.dumps([*_TYPES, target.path]),
    )
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    programs = Path(sys.executable).parent
    command = [str(programs / "mutmut"), "run", f"--max-children={jobs}"]
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    log = folder / "run.log"
    with log.open("w", encoding="utf-8") as output:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                # With CI set, Hypothesis takes the same examples each time.
                env={**os.environ, "CI": "1", "PATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except FileNotFoundError:
            raise MutationError("There is no mutmut: pip install -e '.[mutants]'") from None
    if done.returncode:
        raise MutationError(f"mutmut failed, see {log}")
    return read_results(folder, target)


def read_results(folder: Path, target: Target) -> list[Result]:
    """What the last run in a folder found.  Raises MutationError unless it was complete."""
    mutated = folder / "mutants" / target.path
    try:
        statuses = _load(mutated, ".meta")["exit_code_by_key"]
        spans = _load(mutated, ".spans")["spans"]
    except FileNotFoundError as error:
        raise MutationError(f"no results: {error.filename} is missing") from None
    lines = mutated.read_text(encoding="utf-8").splitlines()
    texts = {name: "\n".join(lines[start - 1 : stop]) for name, (start, stop) in spans.items()}
    failures = read_failures(folder / "mutants" / FAILURES)
    results = []
    for key, status in statuses.items():
        if status is None:
            raise MutationError(f"{key} was not run")
        mutant = _mutant(target, key.rpartition(".")[2], texts)
        results.append(Result(mutant, _outcome(status, failed=key in failures)))
    return results


def _load(mutated: Path, end: str) -> dict[str, Any]:
    text = mutated.with_name(mutated.name + end).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _mutant(target: Target, name: str, texts: Mapping[str, str]) -> Mutant:
    """The mutant that mutmut calls ``x_depth__mutmut_3``, or ``xǁHeadǁencode__mutmut_3``."""
    function = name.rpartition("__mutmut_")[0]
    old, new = difference(texts[f"{function}__mutmut_orig"], texts[name])
    shown = function[1:].strip("ǁ").replace("ǁ", ".") if "ǁ" in function else function[2:]
    return Mutant(target.name, shown, old, new)


def _outcome(status: int, *, failed: bool) -> str:
    if status == _FAILED and failed:
        return "killed"
    known = {"types": (_TYPE_ERROR,), "survived": _SURVIVED, "timeout": _TIMEOUT}
    return next((name for name, codes in known.items() if status in codes), f"status {status}")
