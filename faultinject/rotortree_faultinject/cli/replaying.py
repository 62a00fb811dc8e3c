"""The replay command, and what else is done with findings."""

from typing import Annotated

import typer

from rotortree_faultinject.cli.errors import FOUND, CommandError, tell
from rotortree_faultinject.cli.options import import_from_here
from rotortree_faultinject.exploring.describe import describe
from rotortree_faultinject.exploring.finding import Finding, FindingError, rerun
from rotortree_faultinject.exploring.finding import replay as replay_finding
from rotortree_faultinject.exploring.minimise import minimise

__all__ = ["replay", "smaller"]


def replay(
    finding: Annotated[str, typer.Argument(metavar="FINDING", help="A file of explore or fuzz.")],
) -> None:
    """Do again what a finding says, and tell the story; exit with 1 if it still fails.

    This imports the module and calls the class that the file names: replay only what you trust.
    """
    import_from_here()
    try:
        found = Finding.load(finding)
        again = rerun(found)
    except FindingError as error:
        raise CommandError(f"{finding}: {error}") from error
    print(describe(found, finding, again))
    if again.failure is not None:
        raise typer.Exit(FOUND)


def smaller(finding: Finding) -> Finding:
    """The finding, minimised.  Says on stderr if it does not fail any more."""
    minimised = minimise(finding)
    if replay_finding(minimised) is None:
        tell(f"{finding.subject}: its parameters do not make it again as it failed")
    return minimised
