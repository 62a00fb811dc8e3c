"""``python -m tests.campaigns.trace``: judge the matrix and write its pages, or accept texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.campaigns.trace.lock import accept, changes, next_identifiers, read_lock, write_lock
from tests.campaigns.trace.matrix import build
from tests.campaigns.trace.pages import FOLDER, write_pages
from tests.campaigns.trace.requirements import SpecificationError, read_requirements

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[3]


def main(arguments: Sequence[str] | None = None, root: Path = _ROOT) -> int:
    """Run the command; return its exit status: 0 if nothing is wrong."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "accept":
            return _accept(root, options.identifiers, options.all)
        if options.command == "new":
            print("\n".join(next_identifiers(read_requirements(root), read_lock(root))))
            return 0
        tests_alone = options.command == "tests"
        return _check(root, tests_alone, tests_alone and options.allow_skipped)
    except SpecificationError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.trace", description="From requirements to evidence."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("check", help="judge the records of this run, write the pages (default)")
    testing = commands.add_parser("tests", help="the same by the records of the tests alone")
    testing.add_argument("--allow-skipped", action="store_true", help="only tell what was skipped")
    accepting = commands.add_parser("accept", help="lock the texts of requirements as they are now")
    accepting.add_argument("identifiers", nargs="*", metavar="ID", help="TREE-7, for example")
    accepting.add_argument("--all", action="store_true", help="all that are new or changed")
    commands.add_parser("new", help="show which identifiers new requirements get")
    return parser


def _check(root: Path, tests_alone: bool, allow_skipped: bool) -> int:
    matrix = build(root, tests_alone=tests_alone, allow_skipped=allow_skipped)
    write_pages(root, matrix)
    for note in matrix.notes:
        print(note)
    for problem in matrix.problems:
        print(problem, file=sys.stderr)
    checks = sum(len(run.records) for run in matrix.runs)
    print(f"{len(matrix.rows)} requirements, {checks} checks, {len(matrix.problems)} problems")
    print(f"{FOLDER}/index.html")
    return 1 if matrix.problems else 0


def _accept(root: Path, identifiers: list[str], everything: bool) -> int:
    requirements, lock = read_requirements(root), read_lock(root)
    chosen = list(changes(requirements, lock)) if everything else identifiers
    accepted = accept(requirements, lock, chosen)
    write_lock(root, accepted)
    changed = [name for name in accepted if accepted[name] != lock.get(name)]
    print(f"{len(changed)} accepted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
