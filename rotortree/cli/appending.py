"""The ``append`` command: read leaves from files or stdin, and make them durable."""

import itertools
import time
from typing import Annotated, TypeAlias

import typer

from rotortree import RotorTree, RotorTreeError
from rotortree.cli.errors import CommandError, verdict
from rotortree.cli.files import STANDARD, expand, listed_names
from rotortree.cli.inputs import Form, LeafReader, in_batches
from rotortree.cli.options import Directory, Json
from rotortree.cli.output import AppendProgress, hexadecimal, show
from rotortree.cli.trees import open_to_write
from rotortree.geometry import NODE_BYTES

__all__ = ["append"]

_ROW_LEAVES = 64
"""The progress is updated after so many leaves."""

_Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="Inputs, '-' for stdin.", show_default="stdin"),
]
_Raw: TypeAlias = Annotated[bool, typer.Option("--raw", help="A leaf is a record of 32 bytes.")]
_HashLines: TypeAlias = Annotated[
    bool,
    typer.Option("--hash-lines", help="A leaf is the BLAKE3 hash of a line, its \\n left out."),
]
_HashFiles: TypeAlias = Annotated[
    bool,
    typer.Option("--hash-files", help="A leaf is the BLAKE3 hash of a whole file's content."),
]
_FilesFrom: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Names of further inputs, one on each line; '-' for stdin."),
]
_Skip: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Leave out the first N leaves of the input: to go on where an append was cut off.",
        min=0,
    ),
]
_Partial: TypeAlias = Annotated[
    bool, typer.Option("--partial", help="Append batch by batch while reading.")
]
_Batch: TypeAlias = Annotated[
    int, typer.Option(metavar="N", help="Leaves in a batch of --partial.", min=1)
]


def append(
    directory: Directory,
    files: _Inputs = None,
    raw: _Raw = False,
    hash_lines: _HashLines = False,
    hash_files: _HashFiles = False,
    files_from: _FilesFrom = None,
    skip: _Skip = 0,
    partial: _Partial = False,
    batch: _Batch = 1 << 16,
    as_json: Json = False,
) -> None:
    """Append leaves, durably.

    Without another option a leaf is a line of 64 hexadecimal digits.  A directory stands for all
    files below it, in the order of their names.  Contents are hashed, names are not.

    The command first reads all input into memory and checks it, then appends it as one batch, which
    a crash does not split: if any of it is wrong, nothing is appended.  With --partial it appends
    batch by batch, and the batches before an error stay.  After each batch is durable, a line
    "durable N" gives the tree's size, unless stdout is a terminal.

    JSON: directory, first (index of the first new leaf), appended, size, root (hex or null), bytes
    (of input), seconds.
    """
    names = _names(files or [], files_from)
    total = len(names) - skip if hash_files and isinstance(names, list) else None
    reader = LeafReader(_form(raw, hash_lines, hash_files), names, skip, batch)
    started = time.monotonic()
    with AppendProgress(total, silent=as_json) as progress:
        tree = open_to_write(directory)
        first = tree.size
        try:
            with tree:
                consumed = _append(tree, reader, batch if partial else None, progress)
                root = tree.root
        except BrokenPipeError:
            raise  # nobody would read which leaves stay
        except (CommandError, OSError, RotorTreeError, KeyboardInterrupt) as error:
            raise _with_what_stays(error, first, tree.durable_size) from error
    size = tree.durable_size
    values = {
        "directory": directory,
        "first": first,
        "appended": size - first,
        "size": size,
        "root": hexadecimal(root),
        "bytes": consumed,
        "seconds": time.monotonic() - started,
    }
    text = (
        f"appended {size - first} leaves, durable; size {size}, root {hexadecimal(root) or 'none'}"
    )
    show(values, text, as_json=as_json)


def _names(files: list[str], files_from: str | None) -> "list[str] | itertools.chain[str]":
    """The names of the inputs.  A list is read while it is still being written."""
    if files_from is None:
        return list(expand(files or [STANDARD]))
    return itertools.chain(expand(files), expand(listed_names(files_from)))


def _form(raw: bool, hash_lines: bool, hash_files: bool) -> Form:
    if raw + hash_lines + hash_files > 1:
        raise CommandError("only one of --raw, --hash-lines and --hash-files can be chosen")
    forms = {Form.RAW: raw, Form.LINES: hash_lines, Form.FILES: hash_files}
    return next((form for form, chosen in forms.items() if chosen), Form.HEX)


def _append(
    tree: RotorTree, reader: LeafReader, batch: int | None, progress: AppendProgress
) -> int:
    """Append all leaves, durably; return how many bytes of input were read."""
    consumed = 0
    everything = bytearray()
    for row, length in in_batches(reader.rows(), batch or _ROW_LEAVES):
        consumed += length
        progress.read(len(row) // NODE_BYTES)
        if batch is None:
            everything += row
        elif row:
            tree.extend(row).wait()
            progress.durable(tree.durable_size)
    if everything:
        tree.extend(everything).wait()
    return consumed


def _with_what_stays(error: BaseException, first: int, durable_size: int) -> CommandError:
    """The same error, with how many leaves were appended before it."""
    status, message = verdict(error) or (1, str(error))
    count = durable_size - first
    stays = (
        f"{count} leaves were appended, size {durable_size}" if count else "nothing was appended"
    )
    return CommandError(f"{message} ({stays})" if message else "", status)
