"""``python -m tests.campaigns.exhaustive``: everything; ``--short``: as ``make test`` does."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from tests.campaigns.exhaustive.campaign import FULL, SHORT, campaign


def main() -> int:
    """Run it; 0 if everything was right."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.exhaustive", description=__doc__
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--short", action="store_true", help="smaller bounds, and no evidence file")
    given = parser.parse_args()
    root = None if given.short else Path(__file__).resolve().parents[3]
    say = partial(print, flush=True)
    return 0 if campaign(SHORT if given.short else FULL, given.jobs, say, root) else 1


if __name__ == "__main__":
    sys.exit(main())
