"""Scripts in a fresh interpreter, which a signal may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["run_script"]


def run_script(script: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script, which finds ``path`` in ``sys.argv[1]``; ``options`` are the interpreter's."""
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "model")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
