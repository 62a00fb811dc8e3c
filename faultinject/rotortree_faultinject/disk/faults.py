"""Faults: which calls of the seam go wrong, and how.

A `Rule` picks calls by kind and path and has a *script* with a letter for each of them, in order.
A capital letter is for that call and all that follow; after the last letter everything works.

====  =========================================================================================
 w    it works
 x    it fails before it did anything
 h    it fails half-way: half of the bytes were written
 a    it fails after it did its work
 i    it is interrupted: EINTR, nothing done
 s    it is short: half of the bytes, at least one, and no error
 l    it lies: success, but nothing was done (a lying sync, a lost write)
 m    it is misdirected: what is read or written lies one sector further
 r    bits rot: one bit of what is read or written is another
 k    the user interrupts it (KeyboardInterrupt), before it did anything
 j    the user interrupts it half-way: half of the bytes were written; a sync failed unheard
 q    the user interrupts it after it did its work
 d    the process dies at it, before it did anything; later calls raise `Died`, too
 e    the process dies at it, half-way
====  =========================================================================================

A letter that means nothing for a call, such as short for a rename, lets it work; ``h``, ``j`` and
``e`` are then ``x``, ``k`` and ``d``.

So ``xxwxW`` fails twice, works once, fails once more and works ever after; ``wX`` works once and is
broken from then on.
"""

from __future__ import annotations

import errno as errors
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

__all__ = ["KINDS", "LETTERS", "Died", "FaultScript", "Rule"]

KINDS = (
    "lock",
    "listdir",
    "open_directory",
    "identify",
    "mkdir",
    "open",
    "size",
    "pread",
    "pwritev",
    "truncate",
    "sync",
    "rename",
    "unlink",
    "sync_directory",
    "map",
)
"""The calls of the seam, by which rules pick them."""

LETTERS = "wxhaislmrkjqde"
"""All letters of scripts."""
_PLAIN = re.compile(r"""[^\s'"\\]+""")


class Died(BaseException):
    """The process is dead.  No part of the program under test may catch it for good."""


@dataclass(slots=True)
class Rule:
    """What happens to the calls of one kind whose path fits.

    ``kind`` is one of `KINDS`, or ``*``; ``path`` a shell pattern; ``errno`` the error of failing
    calls.  Raises ValueError for unknown kinds, letters and errors.
    """

    kind: str
    path: str
    script: str
    errno: int = errors.EIO
    calls: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.kind != "*" and self.kind not in KINDS:
            raise ValueError(f"no call {self.kind!r}: there are {', '.join(KINDS)}, and *")
        if not re.fullmatch(f"[{LETTERS}]*[{LETTERS.upper()}]?", self.script):
            raise ValueError(
                f"{self.script!r} is no script: letters of {LETTERS}, a capital one last"
            )
        if self.errno not in errors.errorcode:
            raise ValueError(f"no error has the number {self.errno}")

    def __str__(self) -> str:
        words = (self.kind, self.path, self.script, errors.errorcode[self.errno])
        return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that ``str`` of one gives; the error may be left out.

        Its words are quoted as those of a shell.  Raises ValueError for anything else.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no rule: {error}") from None
        if len(words) not in (3, 4):
            raise ValueError(f"{text!r} is no rule: a call, a path, a script, maybe an error")
        kind, path, script, name = [*words, "EIO"][:4]
        numbers = {known: number for number, known in errors.errorcode.items()}
        if name not in numbers:
            raise ValueError(f"no error {name!r}: there are {', '.join(sorted(numbers))}")
        return cls(kind, path, script, numbers[name])

    def next(self, kind: str, path: str) -> str | None:
        """The letter for a call; None if the rule does not pick it."""
        if self.kind not in ("*", kind) or not fnmatchcase(path, self.path):
            return None
        at, self.calls = self.calls, self.calls + 1
        if not self.script:
            return "w"
        letter = self.script[min(at, len(self.script) - 1)]
        if at >= len(self.script) and letter.islower():
            return "w"
        return letter.lower()


class FaultScript:
    """The rules of a disk, and how many of its calls went wrong by them.

    The first rule that picks a call decides.  The rules are copied, and count from the start.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = [replace(rule, calls=0) for rule in rules]
        self.hits = 0

    def next(self, kind: str, path: str) -> tuple[str, int]:
        """What happens to a call, and the error if it fails."""
        for rule in self.rules:
            letter = rule.next(kind, path)
            if letter is not None:
                self.hits += letter != "w"
                return letter, rule.errno
        return "w", 0
