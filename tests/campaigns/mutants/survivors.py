"""Mutants, and the kept list of those that no test notices, each with the reason.

The list is blocks between empty lines.  A block begins with its reason, in lines that begin with
``#``; then come mutants, each a line with its module and function, and the lines that it changes::

    # The loop ends one round later, and that round does nothing.
    geometry depth
    - while width < size:
    + while width <= size:

Lines, not numbers: they stay the same when other code changes.  A reason that begins with the word
"Endless" says that the mutant never ends, so that the time limit is what notices it.
"""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENDLESS", "KEPT", "KeptListError", "Mutant", "difference", "read_kept"]

KEPT = Path(__file__).with_name("survivors.txt")
"""The list."""

ENDLESS = "Endless"
"""How the reason of a mutant begins that only a time limit notices."""

_NUMBER = re.compile(r"__mutmut_\w+")


class KeptListError(Exception):
    """A list that cannot be understood: which block, and why."""


@dataclass(frozen=True)
class Mutant:
    """A change of a function: lines that are gone, and lines that are new, without indentation.

    Two changes of equal lines of one function are the same mutant.
    """

    module: str
    function: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.module} {self.function}"]
        lines += [f"- {line}" for line in self.old]
        lines += [f"+ {line}" for line in self.new]
        return "\n".join(lines)


def difference(original: str, mutated: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines that are only in one of two functions, which differ in name, too."""
    before, after = (
        [line.strip() for line in _NUMBER.sub("", text).splitlines()]
        for text in (original, mutated)
    )
    found = list(difflib.ndiff(before, after))
    gone = tuple(line[2:] for line in found if line.startswith("- "))
    return gone, tuple(line[2:] for line in found if line.startswith("+ "))


def read_kept(text: str) -> dict[Mutant, str]:
    """The reason of each mutant in a list.  Raises KeptListError."""
    kept: dict[Mutant, str] = {}
    for block in filter(None, re.split(r"\n\s*\n", text.strip())):
        lines = block.splitlines()
        reason = [line[1:].strip() for line in itertools.takewhile(_is_reason, lines)]
        mutants = _read_mutants(lines[len(reason) :], block)
        if not any(reason) or set(mutants) & kept.keys():
            raise KeptListError(f"no reason, or one of these stands twice:\n{block}")
        kept |= dict.fromkeys(mutants, " ".join(reason))
    return kept


def _is_reason(line: str) -> bool:
    return line.startswith("#")


def _read_mutants(lines: list[str], block: str) -> list[Mutant]:
    mutants: list[Mutant] = []
    for line in lines:
        sign, text = line[:1], line[1:].strip()
        words = line.split()
        if sign not in ("-", "+") and len(words) == 2:
            mutants.append(Mutant(words[0], words[1], (), ()))
        elif sign in ("-", "+") and mutants:
            last = mutants[-1]
            old = (*last.old, text) if sign == "-" else last.old
            new = (*last.new, text) if sign == "+" else last.new
            mutants[-1] = Mutant(last.module, last.function, old, new)
        else:
            raise KeptListError(f"not a mutant: {line!r}, in\n{block}")
    return mutants
