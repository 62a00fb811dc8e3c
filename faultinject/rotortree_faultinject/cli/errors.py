"""What goes wrong, as one line on stderr and an exit status.

====  ==========================================================================================
0     it was done, and nothing was found
1     violations were found, or a finding still fails
2     it was asked for wrongly: bad option, no such workload, unreadable or unwritable file
130   interrupted from the keyboard
141   whoever read the output closed it
====  ==========================================================================================
"""

from __future__ import annotations

from rotortree import console
from rotortree.console import FAILED as FOUND
from rotortree.console import USAGE, CommandError

__all__ = ["FOUND", "USAGE", "CommandError", "judge", "tell"]


def judge(error: BaseException) -> tuple[int, str] | None:
    """The exit status and message of errors that only this program knows; None for others."""
    if isinstance(error, OSError):
        return USAGE, f"{error.filename or 'output'}: {error.strerror}"
    return None


def tell(message: str) -> None:
    """Say something on stderr, in one line."""
    console.tell("rotortree-crash", message)
