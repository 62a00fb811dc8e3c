"""Commands that judge the laboratory itself: profiles, litmus, kill-score."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from rotortree_faultinject.cli.errors import FOUND, CommandError
from rotortree_faultinject.cli.options import Jobs
from rotortree_faultinject.cli.output import Monitor, print_table
from rotortree_faultinject.cli.pools import pool
from rotortree_faultinject.disk.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from rotortree_faultinject.subjects.tree.kill_score import Row

__all__ = ["kill_score", "litmus", "profiles"]

_WIDTH = 88

_Faults: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="NAME",
        help="A planted fault (see --list); may be repeated.",
        show_default="all of them",
    ),
]
_Listing: TypeAlias = Annotated[bool, typer.Option("--list", help="Print the names there are.")]


def profiles() -> None:
    """The kinds of file systems there are, and what each lets survive a power failure."""
    for profile in PROFILES.values():
        print(profile.name)
        for text in (profile.description, "; ".join(_flags(profile))):
            print(textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  "))
        print()


def _flags(profile: Profile) -> Iterator[str]:
    """What a profile allows besides the order of what survives."""
    words = {"z": "zeros", "g": "garbage", "s": "stale bytes"}
    torn = ", ".join(words[letter] for letter in profile.torn)
    place = "anywhere" if profile.torn_in_place else "in new blocks"
    yield f"torn sectors read as {torn} {place}" if torn else "no torn sectors"
    yield "a rename is atomic" if profile.atomic_rename else "a rename is two names"
    if profile.sync_covers_everything:
        yield "a file's sync covers everything before it"
    elif profile.sync_covers_all_names:
        yield "a file's sync covers all names"
    else:
        yield f"a file's sync covers {'its' if profile.sync_covers_names else 'no'} names"


def litmus() -> None:
    """Run three small programs under every profile, and compare with real file systems.

    Exits with 1 if one surprises where it did not when it was measured, or does not where it did.
    """
    from rotortree_faultinject.subjects.litmus import SOURCE
    from rotortree_faultinject.subjects.litmus import litmus as run

    rows = run()
    words = {False: "as expected", True: "surprising"}
    print_table(
        ("program", "profile", "states", "found", "published", ""),
        [
            (
                row.program,
                row.profile,
                f"{row.states:,}",
                words[row.surprising],
                words[row.published],
                "" if row.ok else "differs",
            )
            for row in rows
        ],
    )
    print(f"published: {SOURCE}; prefix and posix by definition")
    if not all(row.ok for row in rows):
        raise typer.Exit(FOUND)


def kill_score(fault: _Faults = None, jobs: Jobs = 1, listing: _Listing = False) -> None:
    """Plant faults in the tree, one at a time: is each noticed, and by which check?

    A fault that does no harm must be said to be redundant, with its reason, and nothing may
    notice it.  Exits with 1 if one was not noticed, or noticed against what is said of it.
    """
    from rotortree_faultinject.subjects.tree.planted import PLANTED

    if listing:
        print(*PLANTED, sep="\n")
        return
    unknown = [name for name in fault or () if name not in PLANTED]
    if unknown:
        raise CommandError(f"no planted fault {unknown[0]!r} (see --list)")
    rows: list[Row] = []
    try:
        rows.extend(_judged(list(dict.fromkeys(fault or PLANTED)), jobs))
    finally:  # also what there is when somebody interrupts it
        _print_score(rows)
    if not all(row.is_good for row in rows):
        raise typer.Exit(FOUND)


def _print_score(rows: Sequence["Row"]) -> None:
    from rotortree_faultinject.subjects.tree.kill_score import score
    from rotortree_faultinject.subjects.tree.planted import PLANTED

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


def _judged(names: Sequence[str], jobs: int) -> Iterator["Row"]:
    """What came of each fault, in their order."""
    from rotortree_faultinject.subjects.tree.kill_score import judge

    with pool(jobs) as executor, Monitor() as monitor:
        judged = map(judge, names) if executor is None else executor.map(judge, names)
        for number, name in enumerate(names):
            monitor.begin(f"{number} of {len(names)} faults, {name}")
            yield next(judged)
