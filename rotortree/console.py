"""The common parts of this project's console programs.

Each program is a typer application.  A command that fails prints one line on stderr and exits with
a status.  Every program has a *judge*, a function that gives its own errors a status and a message.
Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, runtime_checkable

import typer
from typer.core import TyperGroup

__all__ = [
    "FAILED",
    "USAGE",
    "CommandError",
    "Judge",
    "abandon_output",
    "application",
    "print_version",
    "run",
    "tell",
    "verdict",
]

FAILED = 1
USAGE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""The exit statuses: a check failed, the request was wrong, interrupted, the output was closed."""

Judge: TypeAlias = Callable[[BaseException], tuple[int, str] | None]
"""Returns the exit status and the message of an error; None for an unexpected one."""


class CommandError(Exception):
    """A command cannot do what the user asked for.  Attribute: ``status``, the exit status."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


@runtime_checkable
class _ParserError(Protocol):
    """The error of a wrong command line, in every version of typer."""

    exit_code: int

    def format_message(self) -> str: ...


def verdict(error: BaseException, program: str) -> tuple[int, str] | None:
    """The exit status and message of an error that all programs treat alike; None for others."""
    match error:
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt():
            return _INTERRUPTED, "interrupted"
        case BrokenPipeError():
            return _BROKEN_PIPE, ""
        case CommandError():
            return error.status, str(error)
        case _ParserError():
            command = getattr(getattr(error, "ctx", None), "command_path", program)
            return error.exit_code, f"{error.format_message().rstrip('.')} (see {command} --help)"
    return None


def tell(program: str, message: str) -> None:
    """Print a message on stderr as one line.

    Names of files may hold line ends and terminal commands, which are printed as escapes.
    """
    line = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in message
    )
    if sys.stderr is not None:
        print(f"{program}: {line}", file=sys.stderr)


def abandon_output() -> None:
    """Discard buffered output after stdout failed, so that Python does not fail again at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_status(program: str, judge: Judge, action: Callable[[], object]) -> int:
    """Run an action; print one line on stderr if it fails; return the exit status."""
    try:
        if sys.stdout is None:
            raise CommandError("stdout is closed", FAILED)
        action()
        sys.stdout.flush()
    except BaseException as error:
        found = verdict(error, program) or judge(error)
        if found is None:
            raise  # a bug, whose traceback somebody must see
        status, message = found
        if isinstance(error, OSError):
            abandon_output()
        if message:
            tell(program, message)
        return status
    return 0


def application(program: str, judge: Judge) -> typer.Typer:
    """A typer application without commands, which reports errors as this module says."""

    class Commands(TyperGroup):
        """The group of all commands."""

        def main(
            self, args: Sequence[str] | None = None, *_positional: Any, **_keywords: Any
        ) -> NoReturn:
            words = list(sys.argv[1:] if args is None else args)

            def invoke() -> None:
                with self.make_context(program, words) as context:
                    self.invoke(context)

            raise SystemExit(_exit_status(program, judge, invoke))

    return typer.Typer(
        cls=Commands,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def print_version(program: str) -> NoReturn:
    """Print the version of the package that a program belongs to, and exit."""
    try:
        version = importlib.metadata.version("rotortree")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    print(f"{program} {version}")
    raise typer.Exit


def run(app: typer.Typer) -> NoReturn:
    """Run the command that the process was started with, and exit."""
    # Names of files may hold bytes that are not valid text; printing them must not fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.unraisablehook = _repeat_interrupt
    app()
    raise AssertionError("the application exits by itself")


def _repeat_interrupt(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt the main thread once more if Ctrl-C came in a finalizer, which drops exceptions."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        main = threading.main_thread().ident
        assert main is not None  # it runs
        threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)
