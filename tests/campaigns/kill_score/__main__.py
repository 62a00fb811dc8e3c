"""``python -m tests.campaigns.kill_score``: is each planted fault noticed?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rotortree_faultinject.cli.output import Monitor, print_table
from tests.campaigns.kill_score.judging import Row, kill_score, score
from tests.campaigns.kill_score.planted import PLANTED, write_noticed

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if each fault is noticed, or does no harm.

    A fault that does no harm must be said to be redundant, with its reason, and nothing may notice
    it.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print(*PLANTED, sep="\n")
        return 0
    if options.accept and options.fault:
        parser.error("--accept needs all faults")
    names = list(dict.fromkeys(options.fault or PLANTED))
    try:
        judged = kill_score(names, options.jobs)
    except ValueError as error:
        parser.error(f"{error} (see --list)")
    rows: list[Row] = []
    try:
        with Monitor() as monitor:
            for number, name in enumerate(names):
                monitor.begin(f"{number} of {len(names)} faults, {name}")
                rows.append(next(judged))
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:  # also what there is when somebody interrupts it
        _print_score(rows)
    if options.accept:
        write_noticed({row.fault: row.check for row in rows if row.verdict == "caught"})
    return 0 if all(row.is_good for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.kill_score", description=main.__doc__
    )
    parser.add_argument("--fault", metavar="NAME", action="append", help="one of --list; repeat it")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes (1)")
    parser.add_argument(
        "--accept", action="store_true", help="ask the check that noticed a fault first from now on"
    )
    parser.add_argument("--list", action="store_true", help="print the names of all faults")
    return parser


def _count(text: str) -> int:
    """A number of processes.  Raises ValueError."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _print_score(rows: Sequence[Row]) -> None:
    """A row for each fault, whatever is to be said of one, and the score."""
    print_table(
        ("fault", "verdict", "by", "states", "seconds"),
        [
            (row.fault, row.verdict, row.check, f"{row.states:,}", f"{row.seconds:.1f}")
            for row in rows
        ],
    )
    for row in rows:
        if row.verdict == "redundant":
            print(f"{row.fault} is redundant: {PLANTED[row.fault].redundant}")
        elif not row.is_good:
            print(f"{row.fault} {row.verdict}: {row.description} {row.message}".rstrip())
    redundant = sum(row.verdict == "redundant" for row in rows)
    beside = f", beside {redundant} redundant ones" if redundant else ""
    print(f"kill score: {score(rows):.1%} of {len(rows) - redundant} planted faults{beside}")


if __name__ == "__main__":
    sys.exit(main())
