"""What goes wrong, as one line on stderr and an exit status.

====  ==========================================================================================
0     it was done, or it holds
1     it does not hold (check, verify), or the storage failed: damaged, locked, I/O error
2     it was asked for wrongly: bad option, missing file, no tree there, invalid input line
130   interrupted from the keyboard
141   whoever read the output closed it
====  ==========================================================================================
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import typer

from rotortree.cli.files import abandon_output
from rotortree.errors import (
    ConfigMismatchError,
    InvalidProofError,
    IoFailedError,
    NotATreeError,
    StorageError,
    TreeError,
    TreeNotFoundError,
)

__all__ = ["FAILED", "USAGE", "CommandError", "exit_status", "verdict"]

FAILED = 1
USAGE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""The exit statuses, see above."""

_WRONG_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
"""What the operating system says to a path that was given wrongly."""


class CommandError(Exception):
    """A command cannot do what was asked.  Attribute: ``status``, the exit status."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


@runtime_checkable
class _ParserError(Protocol):
    """What every version of typer raises at a wrong command line."""

    exit_code: int

    def format_message(self) -> str: ...


def exit_status(action: Callable[[], object]) -> int:
    """Do something; print one line on stderr if it fails; return the exit status."""
    try:
        if sys.stdout is None:
            raise CommandError("stdout is closed", FAILED)
        action()
        sys.stdout.flush()
    except BaseException as error:
        found = verdict(error)
        if found is None:
            raise  # a bug, whose traceback somebody must see
        status, message = found
        if isinstance(error, OSError):
            abandon_output()
        if message and sys.stderr is not None:
            print(f"rotortree: {_one_line(message)}", file=sys.stderr)
        return status
    return 0


def verdict(error: BaseException) -> tuple[int, str] | None:
    """The exit status and the message of an error; None for one that nobody foresaw."""
    match error:
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt():
            return _INTERRUPTED, "interrupted"
        case BrokenPipeError():
            return _BROKEN_PIPE, ""
        case CommandError():
            return error.status, str(error)
        case OSError():
            return _wrong_path_status(
                error.errno
            ), f"{error.filename or 'output'}: {error.strerror}"
        case IoFailedError():
            return _wrong_path_status(error.errno), str(error)
        case InvalidProofError():
            return FAILED, str(error)
        case TreeError() | TreeNotFoundError() | NotATreeError() | ConfigMismatchError():
            return USAGE, str(error)
        case StorageError():
            return FAILED, str(error)
        case _ParserError():
            command = getattr(getattr(error, "ctx", None), "command_path", "rotortree")
            return error.exit_code, f"{error.format_message().rstrip('.')} (see {command} --help)"
    return None


def _wrong_path_status(number: int | None) -> int:
    """USAGE if the operating system's error means that a path was given wrongly, else FAILED."""
    return USAGE if number in _WRONG_PATH else FAILED


def _one_line(message: str) -> str:
    """File names may hold anything, line ends and terminal commands included."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in message
    )
