"""Arguments and options that several commands share."""

from typing import Annotated, TypeAlias

import typer

__all__ = ["Binary", "Directory", "Json", "Output", "Size"]

Directory: TypeAlias = Annotated[
    str, typer.Argument(metavar="DIR", help="The tree's directory.", show_default=False)
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, as described above.")
]
Size: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="The tree as it was when it had N leaves; all by default.", min=0
    ),
]
Output: TypeAlias = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write to this file.", show_default="stdout"
    ),
]
Binary: TypeAlias = Annotated[
    bool, typer.Option("--binary", help="The proof alone, in its binary encoding.")
]
"""Each of these is the type of a parameter; typer reads the annotation."""
