"""Input and output files of the command: only this module opens, reads, lists or writes them.

A file named ``-`` is stdin or stdout.  Where the operating system refuses a call, the OSError names
the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from rotortree.console import CommandError

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
"""Longer than any head or proof: a proof of the deepest tree has 4.2 MiB of JSON."""


def display_name(name: str) -> str:
    """The name of an input in messages."""
    return "<stdin>" if name == STANDARD else name


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Add the file's name to an OSError that has none; a NUL in it is one (EINVAL)."""
    try:
        if "\0" in name:
            raise OSError(errno.EINVAL, "a name cannot contain NUL")
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = name
        raise


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open a file, or stdin, to read bytes."""
    with _naming(display_name(name)):
        if name == STANDARD:
            if sys.stdin is None:
                raise OSError(None, "closed")
            yield sys.stdin.buffer
        else:
            with open(name, "rb") as file:
                yield file


def read_small(name: str) -> bytes:
    """Read a file with a head or a proof.  A file that is too long is cut off, and thus invalid."""
    with opened(name) as file:
        return file.read(_SMALL_BYTES)


def write_output(name: str, parts: Iterable[bytes], *, tree: str) -> int:
    """Write to a file or to stdout; return the number of bytes.

    Raises CommandError for a file of the tree that the output is of: it would be destroyed.
    """
    if name != STANDARD and _is_below(name, tree):
        raise CommandError(f"{name}: is a file of the tree, or would be one")
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


def _is_below(name: str, directory: str) -> bool:
    """Whether a path leads into a directory, whatever links are on the way."""
    inside = os.path.realpath(directory)
    return os.path.commonpath([inside, os.path.realpath(name)]) == inside


def expand(names: Iterable[str]) -> Iterator[str]:
    """Replace each directory by all regular files below it.

    The entries of a directory are sorted by the bytes of their names; the files of a subdirectory
    come in its place.  Links to files are followed, links to directories are left out.
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
    """Read file names from a file, one on each line; yield each as soon as it was read."""
    with opened(name) as file:
        for line in file:
            yield os.fsdecode(line.removesuffix(b"\n"))


def is_terminal(stream: object) -> bool:
    """Whether a stream is a terminal."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())
