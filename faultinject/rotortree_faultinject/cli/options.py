"""Options that several commands share, and what they mean."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import typer

from rotortree_faultinject.cli.errors import CommandError
from rotortree_faultinject.disk.profiles import Profile, profile_named
from rotortree_faultinject.exploring.finding import FindingError, make_subject
from rotortree_faultinject.subjects.subject import Subject

__all__ = [
    "Findings",
    "Jobs",
    "Profiles",
    "Seconds",
    "Seed",
    "chosen_profiles",
    "foreign_subject",
    "import_from_here",
]

Profiles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="A kind of file system (see profiles); may be repeated.",
        show_default="posix",
    ),
]
Jobs: TypeAlias = Annotated[int, typer.Option(metavar="N", help="Processes.", min=1)]
Seed: TypeAlias = Annotated[int, typer.Option(metavar="N", help="Decides all samples.", min=0)]
Seconds: TypeAlias = Annotated[
    float | None, typer.Option(metavar="S", help="Stop after so long.", min=0)
]
Findings: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Minimise every failure, and save it in this directory."),
]
"""Each is the type of a parameter, and typer reads the rest."""


def chosen_profiles(names: Sequence[str] | None) -> list[Profile]:
    """The profiles of these names, each once.  Raises CommandError."""
    try:
        return [profile_named(name) for name in dict.fromkeys(names or ["posix"])]
    except ValueError as error:
        raise CommandError(str(error)) from None


def import_from_here() -> None:
    """Let subjects be found in the current directory, as ``python -m`` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def foreign_subject(path: str, parameters: Sequence[str]) -> Subject:
    """The subject of a class path, made with ``name=json`` parameters.  Raises CommandError."""
    import_from_here()
    try:
        return make_subject(path, _parsed(parameters))
    except FindingError as error:
        raise CommandError(str(error)) from error


def _parsed(parameters: Sequence[str]) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise CommandError(f"--parameter must be name=json, not {parameter!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            raise CommandError(f"--parameter {name}: {value!r} is not JSON") from None
    return found
