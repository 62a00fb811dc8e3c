"""Errors of the ``rotortree`` command: one line on stderr and an exit status.

====  ==========================================================================================
0     the command succeeded
1     a check or verification failed, or the storage did: damaged, locked, I/O error
2     the request was wrong: bad option, missing file, no tree there, invalid input line
130   interrupted from the keyboard
141   the reader of the output closed it
====  ==========================================================================================
"""

from __future__ import annotations

import errno

from rotortree import console
from rotortree.console import FAILED, USAGE, CommandError
from rotortree.errors import (
    ConfigMismatchError,
    InvalidProofError,
    IoFailedError,
    NotATreeError,
    StorageError,
    TreeError,
    TreeNotFoundError,
)

__all__ = ["FAILED", "USAGE", "CommandError", "judge", "verdict"]

_WRONG_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
"""The errors of the operating system that mean that the user gave a wrong path."""


def verdict(error: BaseException) -> tuple[int, str] | None:
    """The exit status and the message of an error; None for an unexpected one."""
    return console.verdict(error, "rotortree") or judge(error)


def judge(error: BaseException) -> tuple[int, str] | None:
    """The verdict on errors that only this program knows; None for all others."""
    match error:
        case OSError():
            message = f"{error.filename or 'output'}: {error.strerror}"
            return _wrong_path_status(error.errno), message
        case IoFailedError():
            return _wrong_path_status(error.errno), str(error)
        case InvalidProofError():
            return FAILED, str(error)
        case TreeError() | TreeNotFoundError() | NotATreeError() | ConfigMismatchError():
            return USAGE, str(error)
        case StorageError():
            return FAILED, str(error)
    return None


def _wrong_path_status(number: int | None) -> int:
    """USAGE if the operating system's error means that the user gave a wrong path, else FAILED."""
    return USAGE if number in _WRONG_PATH else FAILED
