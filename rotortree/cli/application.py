"""The commands put together, and the entry point."""

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from rotortree.cli import appending, inspection, proofs, trees
from rotortree.cli.errors import exit_status

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """The group of all commands, which reports errors as `rotortree.cli.errors` says."""

    def main(
        self, args: Sequence[str] | None = None, *_positional: Any, **_keywords: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)

        def invoke() -> None:
            with self.make_context("rotortree", words) as context:
                self.invoke(context)

        raise SystemExit(exit_status(invoke))


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
"""The typer application of all commands."""


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            version = importlib.metadata.version("rotortree")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"rotortree {version}")
        raise typer.Exit


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

    Results go to stdout.  Errors are one line on stderr, and the exit status tells their kind: 1 if
    a check or verification failed or the storage is damaged, locked or failing, 2 if something was
    asked for wrongly (option, missing file or tree, invalid input), 130 if interrupted.
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
    # A file name may hold bytes that are no text; printing it must not fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
    raise AssertionError("the application exits by itself")
