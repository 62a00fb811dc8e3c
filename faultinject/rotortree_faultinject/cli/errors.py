"""What goes wrong, as one line on stderr and an exit status.

====  ==========================================================================================
0     it was done, and nothing was found
1     violations were found, or a finding still fails, or a planted fault survived
2     it was asked for wrongly: bad option, no such workload, unreadable or unwritable file
130   interrupted from the keyboard
141   whoever read the output closed it
====  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import typer

__all__ = ["FOUND", "USAGE", "CommandError", "exit_status", "tell"]

FOUND = 1
USAGE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""The exit statuses, see above."""


class CommandError(Exception):
    """A command cannot do what was asked."""


@runtime_checkable
class _ParserError(Protocol):
    """What every version of typer raises at a wrong command line."""

    exit_code: int

    def format_message(self) -> str: ...


def exit_status(action: Callable[[], object]) -> int:
    """Do something; print one line on stderr if it fails; return the exit status."""
    try:
        action()
        sys.stdout.flush()
    except BaseException as error:
        found = _verdict(error)
        if found is None:
            raise  # a bug, whose traceback somebody must see
        status, message = found
        if isinstance(error, OSError):
            _abandon_output()
        if message:
            tell(message)
        return status
    return 0


def tell(message: str) -> None:
    """Say something on stderr, in one line: names may hold line ends and terminal commands."""
    line = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in message
    )
    print(f"rotortree-crash: {line}", file=sys.stderr)


def _verdict(error: BaseException) -> tuple[int, str] | None:
    """The exit status and the message of an error; None for one that nobody foresaw."""
    match error:
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt():
            return _INTERRUPTED, "interrupted"
        case BrokenPipeError():
            return _BROKEN_PIPE, ""
        case CommandError():
            return USAGE, str(error)
        case OSError():
            return USAGE, f"{error.filename or 'output'}: {error.strerror}"
        case _ParserError():
            command = getattr(getattr(error, "ctx", None), "command_path", "rotortree-crash")
            return error.exit_code, f"{error.format_message().rstrip('.')} (see {command} --help)"
    return None


def _abandon_output() -> None:
    """After an output failed: what is still buffered must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
