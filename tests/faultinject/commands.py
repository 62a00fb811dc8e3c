"""How the tests run ``rotortree-crash``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from rotortree_faultinject.cli import app
from tests.architecture.sources import SOURCE_ROOTS
from tests.processes import Process

__all__ = ["COMMAND", "TOY", "process", "run"]

COMMAND = (
    *(sys.executable, "-P", "-W", "error", "-W", "ignore::ResourceWarning"),
    *("-m", "rotortree_faultinject.cli"),
)
"""The command as a process of its own, which, as the installed one, does not look for modules in
the current directory by itself.  A tree says so if an interrupt keeps it from being closed,
which is right, and not what the tests of interrupts are about.
"""

TOY = ("--subject", "rotortree_faultinject.subjects.toy:ToyLog")
"""Explores the toy log."""


def run(*words: str | Path, status: int = 0) -> Result:
    """Run a command within this process; it must end with this exit status.

    A wrong request is one line on stderr that begins with the command's name, and nothing else.
    """
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
    lines = result.stderr.splitlines()
    assert all(line.startswith("rotortree-crash: ") for line in lines), lines
    if status == 2:
        assert (len(lines), result.stdout) == (1, ""), (result.stdout, result.stderr)
    return result


def process(*words: str | Path, **options: Any) -> Process[str]:
    """Start the command as a process of its own; its stdout and stderr are pipes."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(map(str, SOURCE_ROOTS)), "PYTHONUTF8": "1"}
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return Process([*COMMAND, *map(str, words)], env=environment, text=True, **{**pipes, **options})
