"""``python -m tests.campaigns.protocol``: search the model, and its mutants, for what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.campaigns.planting import PlantingError
from tests.campaigns.protocol.checks import PROPERTIES, SMALL, Property, Row, check_all
from tests.campaigns.protocol.mutants import MUTANTS
from tests.campaigns.protocol.spin import ProtocolError, check_tools
from tests.campaigns.trace.records import FOLDER, Inputs, Record, write_records

__all__ = ["main"]

_ROOT = Path(__file__).parents[3]
_INPUTS = ("specs/protocol", "tests/campaigns/planting.py", "tests/campaigns/protocol")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if all holds and every mutant is refuted."""
    options = _parser().parse_args(arguments)
    path = _ROOT / FOLDER / "protocol.jsonl"
    path.unlink(missing_ok=True)
    inputs = Inputs.now(_ROOT, _INPUTS)
    try:
        check_tools()
        print(f"bounds, where nothing else is said: {_words(SMALL)}")
        rows = []
        for row in check_all([*PROPERTIES, *MUTANTS], options.jobs):
            rows.append(row)
            print(_line(row), flush=True)
    except (PlantingError, ProtocolError) as error:
        print(error, file=sys.stderr)
        return 2
    write_records(path, inputs, map(_record, rows))
    wrong = [row for row in rows if not row.is_good]
    states = sum(row.found.states for row in rows)
    print(f"{states:,} states; {len(PROPERTIES)} searches, {len(MUTANTS)} mutants", end="")
    print(f", {len(wrong)} are not as they must be" if wrong else ", all as they must be")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.protocol", description=main.__doc__
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cores, help=f"searches at once ({cores})")
    return parser


def _words(bounds: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in bounds.items())


def _line(row: Row) -> str:
    good = "ok " if row.is_good else "BAD"
    what = row.item.name if isinstance(row.item, Property) else f"mutant: {row.item.name}"
    bounds = f" ({_words(row.item.bounds)})" if row.item.bounds else ""
    numbers = f"{row.found.states:10,} states {row.found.seconds:6.1f} s"
    return f"{good} {numbers}  {what}{bounds}: {row.result}"


def _record(row: Row) -> Record:
    is_property = isinstance(row.item, Property)
    file = "checks.py" if is_property else "mutants.py"
    return Record(
        "model" if is_property else "fault",
        f"tests/campaigns/protocol/{file}::{row.item.name}",
        row.item.requirements,
        "passed" if row.is_good else "failed",
    )


if __name__ == "__main__":
    sys.exit(main())
