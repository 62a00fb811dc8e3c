"""Someone who follows a document, and what documents ask of them."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

__all__ = ["Reader", "Step", "makefile_targets", "steps"]

BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```[ ]*$", re.MULTILINE | re.DOTALL)
TIMEOUT_SECONDS = 300

NOT_RUN = (
    r"git clone ",
    r"(\S*python\S* -m )?pip install ",
    r"\S*python\S* -m venv ",
    r"(source|\.) \S*activate$",
)
"""Commands that install or fetch are not run.  `make` is not either, but its targets must exist."""


class Step(NamedTuple):
    """One thing to run: a ``python`` block, or a ``shell`` command with what it must print."""

    line: int
    kind: str
    code: str
    expected: str


def shell_steps(text: str, line: int, *, prompts: bool) -> Iterator[Step]:
    """The commands of a block; with prompts, the lines below each are what it prints."""
    start, command, expected = line, "", ""
    continued = False
    for number, content in enumerate(text.splitlines(), line):
        if continued:
            command += "\n" + content.removeprefix("> " if prompts else "")
        elif prompts and not content.startswith("$ "):
            expected += content + "\n"
            continue
        else:
            if command:
                yield Step(start, "shell", command, expected)
            start, command, expected = number, content.removeprefix("$ "), ""
            if command.lstrip().startswith("#"):
                command = ""
        continued = command.endswith("\\")
    if command:
        yield Step(start, "shell", command, expected)


def steps(markdown: str) -> list[Step]:
    """What a document asks its reader to run, in order."""
    found: list[Step] = []
    for match in BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 2
        language, text = match[2], textwrap.dedent(match[3])
        if language in ("python", "py", "pycon"):
            kind = "doctest" if text.lstrip().startswith(">>> ") else "python"
            found.append(Step(line, kind, text, ""))
        elif language == "console":
            found += shell_steps(text, line, prompts=True)
        elif language in ("sh", "bash", "shell"):
            found += shell_steps(text, line, prompts=False)
    return found


def matches(expected: str, printed: str) -> bool:
    """Equal, where ``...`` stands for anything; blanks at line ends do not count."""
    want, got = ("\n".join(map(str.rstrip, text.splitlines())) for text in (expected, printed))
    return doctest.OutputChecker().check_output(want.strip(), got.strip(), doctest.ELLIPSIS)


class Reader:
    """Someone who follows a document in an empty folder, and notes what goes wrong."""

    def __init__(self, folder: Path, targets: frozenset[str]) -> None:
        self.problems: list[str] = []
        self.run = 0
        self._scratch = folder / "scratch"
        self._folder = folder / "reader"
        self._targets = targets
        self._status = 0
        self._cloned = False
        self._scratch.mkdir()
        self._folder.mkdir()
        (self._folder / ".venv").symlink_to(sys.prefix)
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def _execute(self, step: Step, command: list[str]) -> str:
        """Run a command in the reader's folder and return all that it prints."""
        self.run += 1
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            self.problems.append(f"line {step.line}: not done after {TIMEOUT_SECONDS} seconds")
            return ""
        self._status = done.returncode
        return done.stdout

    def _make_problems(self, step: Step) -> list[str]:
        """The targets of a ``make`` command that the Makefile does not have."""
        words = [word for word in shlex.split(step.code, comments=True)[1:] if "=" not in word]
        missing = sorted({word for word in words if not word.startswith("-")} - self._targets)
        return [f"line {step.line}: the Makefile has no target {word}" for word in missing]

    def python(self, step: Step) -> None:
        """Run a block, in a namespace of its own, with warnings as errors."""
        block = self._scratch / f"line_{step.line}.py"
        block.write_text(step.code, encoding="utf-8")
        how = ["-m", "doctest", "-o", "ELLIPSIS"] if step.kind == "doctest" else []
        if how:
            block = block.rename(block.with_suffix(".txt"))
        printed = self._execute(step, [sys.executable, "-W", "error", *how, str(block)])
        if self._status:
            self.problems.append(f"line {step.line}: the block fails:\n{printed}")

    def shell(self, step: Step, after: Step | None) -> None:
        """Run a command.  It may fail only if the next one is ``echo $?``."""
        if step.code.split()[0] == "make":
            self.problems += self._make_problems(step)
            return
        if any(re.match(pattern, step.code) for pattern in NOT_RUN):
            self._cloned = step.code.startswith("git clone ") and " cd " not in step.code
            return
        if self._cloned and step.code.startswith("cd "):
            self._cloned = False
            return
        place = self._scratch / "place"
        script = (
            f"(exit {self._status})\n{step.code}\n"
            f"status=$?; pwd > {shlex.quote(str(place))}; exit $status"
        )
        printed = self._execute(step, ["bash", "-c", script])
        if place.exists():
            self._folder = Path(place.read_text(encoding="utf-8").rstrip("\n"))
        if self._status and not (after and after.code == "echo $?"):
            self.problems.append(f"line {step.line}: `{step.code}` fails:\n{printed}")
        if step.expected.strip() and not matches(step.expected, printed):
            self.problems.append(f"line {step.line}: `{step.code}` prints\n{printed}")

    def follow(self, markdown: str) -> None:
        """Run a whole document."""
        todo = steps(markdown)
        for step, after in zip_longest(todo, todo[1:]):
            if step.kind == "shell":
                self.shell(step, after)
                if self._status and not (after and after.code == "echo $?"):
                    self._status = 0
            else:
                self.python(step)
                self._status = 0


def makefile_targets(text: str) -> frozenset[str]:
    """The targets that a user names: those without a path or a leading dot."""
    return frozenset(re.findall(r"^([a-z][\w-]*):(?!=)", text, re.MULTILINE))
