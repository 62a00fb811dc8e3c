"""The commands put together, and the entry point."""

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from rotortree_faultinject.cli import damaging, exploring, fuzzing, judging, replaying
from rotortree_faultinject.cli.errors import exit_status

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """The group of all commands, which reports errors as `errors` says."""

    def main(
        self, args: Sequence[str] | None = None, *_positional: Any, **_keywords: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)

        def invoke() -> None:
            with self.make_context("rotortree-crash", words) as context:
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
        print(f"rotortree-crash {version}")
        raise typer.Exit


@app.callback()
def _rotortree_crash(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Crash-consistency laboratory: lets simulated disks lose power everywhere, and judges.

    Results go to stdout.  Errors are one line on stderr.  The exit status is 0 if nothing was
    found, 1 if violations were, 2 if something was asked for wrongly, 130 if interrupted.
    """


for _command in (
    exploring.explore,
    replaying.replay,
    fuzzing.fuzz,
    damaging.damage,
    judging.kill_score,
    judging.litmus,
    judging.profiles,
):
    app.command()(_command)


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    # Text of foreign subjects may be none of the terminal's; printing it must not fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
    raise AssertionError("the application exits by itself")
