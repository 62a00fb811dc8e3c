"""The command: ``python benchmarks/run.py``.  See README.md in this folder."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script, Python looks for modules in this folder; they are in a package beside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.command import main

    sys.exit(main())
