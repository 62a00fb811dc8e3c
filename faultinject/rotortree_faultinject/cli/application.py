"""The commands put together, and the entry point."""

from typing import Annotated, NoReturn

import typer

from rotortree.console import application, print_version, run
from rotortree_faultinject.cli import damaging, exploring, fuzzing, judging, replaying
from rotortree_faultinject.cli.errors import judge

__all__ = ["app", "main"]


app = application("rotortree-crash", judge)
"""The typer application of all commands."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print_version("rotortree-crash")


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
    judging.litmus,
    judging.profiles,
):
    app.command()(_command)


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    run(app)
