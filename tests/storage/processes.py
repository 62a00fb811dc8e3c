"""Scripts in a fresh interpreter, which a signal may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["run_python", "run_script"]


def run_script(script: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script, which finds ``path`` in ``sys.argv[1]``; ``options`` are the interpreter's."""
    return run_python(*options, "-c", textwrap.dedent(script), str(path))


def run_python(*arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds these tests and the model, for so many seconds at most."""
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "model")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
