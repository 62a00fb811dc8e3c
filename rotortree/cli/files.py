"""The user's own files: nothing else of the command opens, reads, lists or writes any.

A file named ``-`` is stdin or stdout.  What the operating system refuses is an OSError that names
the file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

__all__ = [
    "STANDARD",
    "display_name",
    "expand",
    "is_terminal",
    "listed_names",
    "opened",
    "read_small",
    "write_output",
]

STANDARD = "-"
"""The name of stdin and stdout."""

_SMALL_BYTES = 16 << 20
"""No head is that long, and no proof: the deepest tree's has 4.2 MiB of JSON."""


def display_name(name: str) -> str:
    """What a message calls an input."""
    return "<stdin>" if name == STANDARD else name


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Let an OSError say which file it is about."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = name
        raise


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file, or stdin, to be read as bytes."""
    with _naming(display_name(name)):
        if name == STANDARD:
            if sys.stdin is None:
                raise OSError(None, "closed")
            yield sys.stdin.buffer
        else:
            with open(name, "rb") as file:
                yield file


def read_small(name: str) -> bytes:
    """All of a file that holds a head or a proof; a longer file is cut off, and thus invalid."""
    with opened(name) as file:
        return file.read(_SMALL_BYTES)


def write_output(name: str, parts: Iterable[bytes]) -> int:
    """Write a file, or to stdout; return the number of bytes."""
    written = 0
    with contextlib.ExitStack() as stack:
        if name == STANDARD:
            file: BinaryIO = sys.stdout.buffer
        else:
            stack.enter_context(_naming(name))
            file = stack.enter_context(open(name, "wb"))
        for part in parts:
            written += file.write(part)
        file.flush()
    return written


def expand(names: Iterable[str]) -> Iterator[str]:
    """The files that are meant: a directory stands for all regular files below it.

    A directory's entries come sorted by the bytes of their names, a subdirectory's files in its
    place.  Links to files count, links to directories do not.
    """
    for name in names:
        if name == STANDARD or not os.path.isdir(name):
            yield name
        else:
            yield from _files_below(name)


def _files_below(directory: str) -> Iterator[str]:
    todo = [directory]
    while todo:
        path = todo.pop()
        if path == directory or (os.path.isdir(path) and not os.path.islink(path)):
            names = sorted(os.listdir(path), key=os.fsencode, reverse=True)
            todo += (os.path.join(path, name) for name in names)
        elif os.path.isfile(path):
            yield path


def listed_names(name: str) -> Iterator[str]:
    """The lines of a file as file names, one after the other as they come."""
    with opened(name) as file:
        for line in file:
            yield os.fsdecode(line.removesuffix(b"\n"))


def is_terminal(stream: object) -> bool:
    """Whether somebody looks at an output."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())
