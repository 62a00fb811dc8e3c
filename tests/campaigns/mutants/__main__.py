"""``python -m tests.campaigns.mutants``: mutate modules, and see that their tests notice it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.mutants.running import FOLDER, MutationError, Result, read_results, run
from tests.campaigns.mutants.survivors import ENDLESS, KEPT, Mutant, read_kept
from tests.campaigns.mutants.targets import LOWEST_SCORE, TARGETS, Target

__all__ = ["Row", "judge", "main", "problems"]

_ROOT = Path(__file__).parents[3]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if the scores and all survivors are as kept."""
    options = _parser().parse_args(arguments)
    kept = read_kept(KEPT.read_text(encoding="utf-8"))
    chosen = [item for item in TARGETS if item.name in options.modules] or TARGETS
    print(f"{'module':<12} mutants  killed   types endless  explained  unexplained   score")
    rows = []
    try:
        for target in chosen:
            rows.append(judge(target.name, _results(target, options), kept))
            print(_line(rows[-1]), flush=True)
    except MutationError as error:
        print(error, file=sys.stderr)
        return 2
    print(_line(_sum(rows)))
    wrong = [problem for row in rows for problem in problems(row)]
    for problem in wrong:
        print(f"\n{problem}", file=sys.stderr)
    return 1 if wrong else 0


def _names() -> list[str]:
    return [target.name for target in TARGETS]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.mutants", description=main.__doc__
    )
    cores = os.cpu_count() or 1
    parser.add_argument("modules", nargs="*", choices=[[], *_names()], help="all, if none is named")
    parser.add_argument("--jobs", type=int, default=cores, help=f"mutants at once ({cores})")
    parser.add_argument("--again", action="store_true", help="print what the last run found")
    return parser


def _results(target: Target, options: argparse.Namespace) -> list[Result]:
    if options.again:
        return read_results(_ROOT / FOLDER / target.name, target)
    return run(_ROOT, target, options.jobs)


@dataclass(frozen=True)
class Row:
    """What became of the mutants of one module."""

    name: str
    mutants: int
    killed: int
    types: int
    """Refuted by mypy, which `make check` runs, before any test."""
    endless: int
    """Ended by the time limit, and listed as such."""
    explained: int
    unexplained: tuple[Result, ...]
    stale: tuple[Mutant, ...]
    """Listed as survivors, but killed, or not there any more."""

    @property
    def score(self) -> float:
        """The part of all mutants that was noticed."""
        noticed = self.killed + self.types + self.endless
        return noticed / self.mutants if self.mutants else 0.0


def judge(name: str, results: Collection[Result], kept: Mapping[Mutant, str]) -> Row:
    """Compare what became of a module's mutants with the kept list."""
    own = {mutant: reason for mutant, reason in kept.items() if mutant.module == name}
    endless = {mutant for mutant, reason in own.items() if reason.startswith(ENDLESS)}
    explained = own.keys() - endless
    open_ends = [
        result
        for result in results
        if result.outcome not in ("killed", "types")
        and not (result.outcome == "survived" and result.mutant in explained)
        and not (result.outcome == "timeout" and result.mutant in endless)
    ]
    survived = {result.mutant for result in results if result.outcome == "survived"}
    existing = {result.mutant for result in results}
    return Row(
        name=name,
        mutants=len(results),
        killed=sum(result.outcome == "killed" for result in results),
        types=sum(result.outcome == "types" for result in results),
        endless=sum(r.outcome == "timeout" and r.mutant in endless for r in results),
        explained=sum(r.outcome == "survived" and r.mutant in explained for r in results),
        unexplained=tuple(open_ends),
        stale=tuple(sorted((explained - survived) | (endless - existing), key=str)),
    )


def problems(row: Row) -> Iterable[str]:
    """What is not as it must be."""
    for result in row.unexplained:
        yield f"{result.outcome}, and not in the list:\n{result.mutant}"
    for mutant in row.stale:
        yield f"in the list, but noticed by a test or gone:\n{mutant}"
    if row.score < LOWEST_SCORE:
        yield f"{row.name}: of its mutants {row.score:.1%} are noticed, not {LOWEST_SCORE:.0%}"


def _sum(rows: Collection[Row]) -> Row:
    return Row(
        "all",
        sum(row.mutants for row in rows),
        sum(row.killed for row in rows),
        sum(row.types for row in rows),
        sum(row.endless for row in rows),
        sum(row.explained for row in rows),
        tuple(result for row in rows for result in row.unexplained),
        (),
    )


def _line(row: Row) -> str:
    return (
        f"{row.name:<12} {row.mutants:7} {row.killed:7} {row.types:7} {row.endless:7}"
        f" {row.explained:10} {len(row.unexplained):12}  {row.score:6.1%}"
    )


if __name__ == "__main__":
    sys.exit(main())
