"""The lock: for each requirement, the wording that somebody compared with its evidence.

``specs/requirements.lock`` has a line for each requirement, ``TREE-7 MUST 0123456789abcdef``, and
for each one that is no longer there, ``TREE-7 retired``, so that its number is not given again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.campaigns.trace.records import LOCK
from tests.campaigns.trace.requirements import PREFIXES, Requirement, SpecificationError, order

__all__ = ["RETIRED", "accept", "changes", "entry", "next_identifiers", "read_lock", "write_lock"]

RETIRED = "retired"
"""What the lock says of a requirement that was taken out of the texts."""

_LINE = re.compile(r"([A-Z]+-[1-9][0-9]*) ((?:MUST|SHOULD|MAY) [0-9a-f]{16}|retired)")


def entry(requirement: Requirement) -> str:
    """What the lock says of a requirement."""
    return f"{requirement.level} {requirement.digest}"


def read_lock(root: Path) -> dict[str, str]:
    """What the lock says, by identifier; nothing if there is none.  Raises SpecificationError."""
    path = root / LOCK
    found: dict[str, str] = {}
    problems = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"{LOCK}:{number}: not like TREE-7 MUST 0123456789abcdef: {line!r}")
        elif match[1] in found:
            problems.append(f"{LOCK}:{number}: {match[1]} is there twice")
        else:
            found[match[1]] = match[2]
    if problems:
        raise SpecificationError(problems)
    return found


def write_lock(root: Path, lock: Mapping[str, str]) -> None:
    """Write the lock, sorted."""
    lines = [f"{identifier} {lock[identifier]}\n" for identifier in sorted(lock, key=order)]
    (root / LOCK).write_text("".join(lines), encoding="utf-8")


def changes(requirements: Mapping[str, Requirement], lock: Mapping[str, str]) -> dict[str, str]:
    """What differs between the texts and the lock: by identifier, how."""
    found = {}
    for identifier in sorted(requirements.keys() | lock.keys(), key=order):
        requirement, locked = requirements.get(identifier), lock.get(identifier)
        if requirement is None:
            if locked != RETIRED:
                found[identifier] = "is no longer in the texts"
        elif locked is None:
            found[identifier] = "is new"
        elif locked == RETIRED:
            found[identifier] = "is retired: numbers are not given again"
        elif locked != entry(requirement):
            found[identifier] = "has changed"
    return found


def accept(
    requirements: Mapping[str, Requirement], lock: Mapping[str, str], identifiers: Iterable[str]
) -> dict[str, str]:
    """The lock with these requirements as the texts have them.

    What is no longer in the texts is retired.  Raises SpecificationError for what is in neither,
    and for what is retired and back.
    """
    found = dict(lock)
    problems = []
    for identifier in identifiers:
        requirement = requirements.get(identifier)
        if requirement is None and identifier not in lock:
            problems.append(f"{identifier}: there is no such requirement")
        elif requirement is None:
            found[identifier] = RETIRED
        elif lock.get(identifier) == RETIRED:
            problems.append(f"{identifier}: is retired: numbers are not given again")
        else:
            found[identifier] = entry(requirement)
    if problems:
        raise SpecificationError(problems)
    return found


def next_identifiers(requirements: Mapping[str, Requirement], lock: Mapping[str, str]) -> list[str]:
    """For each text the identifier that a new requirement gets."""
    known = requirements.keys() | lock.keys()
    numbers = dict.fromkeys(PREFIXES, 0)
    for identifier in known:
        prefix, _, number = identifier.partition("-")
        numbers[prefix] = max(numbers.get(prefix, 0), int(number))
    return [f"{prefix}-{number + 1}" for prefix, number in numbers.items()]
