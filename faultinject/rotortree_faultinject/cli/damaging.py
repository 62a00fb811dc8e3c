"""The damage command: the discrimination matrix."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from rotortree_faultinject.cli.errors import FOUND, CommandError
from rotortree_faultinject.cli.options import Jobs
from rotortree_faultinject.cli.output import Monitor
from rotortree_faultinject.cli.pools import pool

if TYPE_CHECKING:
    from rotortree_faultinject.subjects.tree.damage import Matrix

__all__ = ["damage"]

_Specimens: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TREE", help="What is damaged (see --list).", show_default="all of them"
    ),
]
_Kinds: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="A kind of damage (see --list); may be repeated.",
        show_default="all of them",
    ),
]
_Listing: TypeAlias = Annotated[bool, typer.Option("--list", help="Print the names there are.")]
_Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def damage(
    specimens: _Specimens = None,
    kind: _Kinds = None,
    listing: _Listing = False,
    json: _Json = False,
    jobs: Jobs = 1,
) -> None:
    """Damage every file of small trees in every way, and see what opening makes of it.

    The result is a table: for every kind of damage, how often the tree was the same, repaired,
    refused with a typed error, or shorter by a flush that nothing vouches for; and how often it
    was what it must never be: silently less, refused without need, or an error of another type.
    """
    from rotortree_faultinject.subjects.tree.damage import Matrix
    from rotortree_faultinject.subjects.tree.damage_kinds import KINDS
    from rotortree_faultinject.subjects.tree.specimens import SPECIMENS

    if listing:
        print("trees:", *SPECIMENS, sep="\n  ")
        print("damage:", *KINDS, sep="\n  ")
        return
    names = _chosen("tree", specimens, list(SPECIMENS))
    kinds = _chosen("damage", kind, list(KINDS))
    whole = Matrix()
    try:
        for one in _matrices(names, kinds, jobs):
            whole.counts.update(one.counts)
            whole.violations.extend(one.violations)
    finally:  # also what there is when somebody interrupts it
        print(whole.as_json() if json else whole.as_text())
    if whole.violations:
        raise typer.Exit(FOUND)


def _chosen(what: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise CommandError(f"no {what} {name!r}: there are {', '.join(known)}")
    return list(dict.fromkeys(asked or known))


def _matrices(names: Sequence[str], kinds: Sequence[str], jobs: int) -> Iterator["Matrix"]:
    """The matrix of each tree, in order."""
    from rotortree_faultinject.subjects.tree.damage import examine

    with pool(jobs) as executor, Monitor() as monitor:
        if executor is None:
            for name in names:
                monitor.begin(name)
                yield examine([name], kinds)
            return
        for future in [executor.submit(examine, [name], kinds) for name in names]:
            monitor.begin("damage")
            yield future.result()
