"""The ``rotortree`` application: all commands, and the entry point."""

from typing import Annotated, NoReturn

import typer

from rotortree.cli import appending, inspection, proofs, trees
from rotortree.cli.errors import judge
from rotortree.console import application, print_version, run

__all__ = ["app", "main"]


app = application("rotortree", judge)
"""The typer application of all commands."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print_version("rotortree")


@app.callback()
def _rotortree(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Append-only Merkle trees on disk: every leaf ever appended can be proven, and no other.

    Results go to stdout.  An error is one line on stderr, and the exit status tells its kind: 1 if
    a check or verification failed or the storage is damaged, locked or failing, 2 if the request
    was wrong (option, missing file or tree, invalid input), 130 if interrupted.
    """


for _command in (
    trees.create,
    appending.append,
    trees.info,
    trees.root,
    trees.head,
    trees.export,
    trees.checkpoint,
    proofs.prove,
    proofs.prove_consistency,
    proofs.verify,
    proofs.verify_consistency,
    inspection.check,
    inspection.dump,
):
    app.command()(_command)


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    run(app)
