"""Findings: failures as JSON, with everything that it takes to see them again.

A finding is a JSON object of a fixed form, one in a file.  Replaying it makes the subject again
from its class and parameters, runs its workload, and applies the crashes one in the other: the
first to the workload, the next to the recovery from that.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeVar

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.image import Image
from rotortree_faultinject.disk.profiles import Profile, profile_named
from rotortree_faultinject.exploring.explorer import Crash, Exploration, Failure, describe_error
from rotortree_faultinject.subjects.subject import Subject

__all__ = [
    "Finding",
    "FindingError",
    "Rerun",
    "Stage",
    "class_path",
    "make_subject",
    "replay",
    "rerun",
]

_FORMAT = "rotortree-crash finding"
_VERSION = 1
_LETTERS = frozenset("-kzgs")

_T = TypeVar("_T")


class FindingError(ValueError):
    """A finding that cannot be read, or cannot be replayed by the program as it is now."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A failure that can be replayed.

    ``subject`` is the path of its class, ``module:Class``, and ``parameters`` what the class is
    called with, as JSON values; ``profile``, ``sector_bytes`` and ``seed`` are those of the
    exploration; ``crashes``, ``check`` and ``message`` those of the failure.
    """

    subject: str
    parameters: Mapping[str, object]
    profile: str
    sector_bytes: int
    seed: int
    crashes: tuple[Crash, ...]
    check: str
    message: str

    @classmethod
    def of(cls, exploration: Exploration, failure: Failure) -> Finding:
        """The finding for a failure of an exploration.

        Raises FindingError if the subject's parameters are no JSON values, or if there is none: a
        recording was explored.
        """
        try:
            subject, bounds = exploration.subject, exploration.bounds
        except TypeError as error:
            raise FindingError(str(error)) from None
        return cls(
            class_path(type(subject)),
            _as_json(subject.parameters()),
            exploration.profile.name,
            bounds.sector_bytes,
            bounds.seed,
            *failure,
        )

    def to_json(self) -> dict[str, object]:
        """The finding as a JSON object."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "subject": self.subject,
            "parameters": dict(self.parameters),
            "profile": self.profile,
            "sector_bytes": self.sector_bytes,
            "seed": self.seed,
            "crashes": [crash._asdict() for crash in self.crashes],
            "check": self.check,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, value: object) -> Finding:
        """The finding that `to_json` gave.  Raises FindingError for anything else."""
        members = _members(value, "a finding")
        if (members.get("format"), members.get("version")) != (_FORMAT, _VERSION):
            raise FindingError(f"not a {_FORMAT} of version {_VERSION}")
        if members.keys() != (expected := cls("", {}, "", 1, 0, (), "", "").to_json()).keys():
            wrong = ", ".join(sorted(members.keys() ^ expected.keys()))
            raise FindingError(f"missing or unknown in a finding: {wrong}")
        found = cls(
            _typed(members, "subject", str),
            _members(members["parameters"], "parameters"),
            _typed(members, "profile", str),
            _typed(members, "sector_bytes", int),
            _typed(members, "seed", int),
            tuple(_crash(crash) for crash in _typed(members, "crashes", list)),
            _typed(members, "check", str),
            _typed(members, "message", str),
        )
        if found.sector_bytes < 1:
            raise FindingError("sector_bytes must be positive")
        _profile_of(found)
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write the finding to a file of its own.  Raises OSError."""
        text = json.dumps(self.to_json(), indent=1)
        Path(path).write_text(text + "\n", encoding="ascii")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Finding:
        """The finding in a file.  Raises OSError, and FindingError if there is none in it."""
        try:
            value = json.loads(Path(path).read_bytes())
        except (ValueError, RecursionError) as error:
            raise FindingError(f"not JSON: {error}") from None
        return cls.from_json(value)


def _as_json(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """Parameters as they come out of a file."""
    try:
        return _members(json.loads(json.dumps(dict(parameters), allow_nan=False)), "parameters")
    except (TypeError, ValueError, RecursionError) as error:
        raise FindingError(f"the subject's parameters are no JSON values: {error}") from None


def _members(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise FindingError(f"{what} must be an object, not {value!r:.40}")
    return value


def _typed(members: Mapping[str, object], name: str, kind: type[_T]) -> _T:
    """A member of exactly that type: True is no number."""
    value = members.get(name)
    if type(value) is not kind:
        raise FindingError(f"{name} must be of type {kind.__name__}, not {value!r:.40}")
    return value


def _crash(value: object) -> Crash:
    members = _members(value, "a crash")
    if members.keys() != {"point", "choice"}:
        raise FindingError(f"a crash has a point and a choice, not {sorted(members)}")
    point = _typed(members, "point", int)
    choice = members["choice"] if members["choice"] is None else _typed(members, "choice", str)
    if point < 0 or not set(choice or "") <= _LETTERS:
        raise FindingError(f"no crash: {members}")
    return Crash(point, choice)


def _profile_of(finding: Finding) -> Profile:
    try:
        return profile_named(finding.profile)
    except ValueError as error:
        raise FindingError(str(error)) from None


# Subjects by name.


def class_path(kind: type) -> str:
    """``module:Class``, as findings name a class."""
    return f"{kind.__module__}:{kind.__qualname__}"


def make_subject(path: str, parameters: Mapping[str, object]) -> Subject:
    """The subject of a class path, made with these parameters.  Imports the module.

    Raises FindingError if there is no such class, it is no subject, or it refuses the parameters.
    """
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise FindingError(f"no class {path}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Subject)):
        raise FindingError(f"{path} is no class of subjects")
    try:
        return found(**parameters)
    except Exception as error:
        raise FindingError(f"{path} cannot be made: {describe_error(error)}") from error


# Replaying.


class Stage(NamedTuple):
    """One crash of a replay.

    ``disk`` is the one that it happened to; the workload, or the recovery before, went on after
    ``crash.point``, and its log began at ``begin``.  ``crash`` has the legal form of the choice.
    ``before``: all files, as the process saw them; ``after``: as the restarted one found them.
    ``unsynced``: what was not synced.  ``recovered``: what recovery came to, in a word.
    """

    disk: SimulatedDisk
    begin: int
    crash: Crash
    before: Image
    unsynced: Unsynced
    after: Image
    recovered: str


class Rerun(NamedTuple):
    """What a replay came to: every crash, and the failure in the end, None if there is none."""

    subject: Subject
    stages: tuple[Stage, ...]
    failure: Failure | None


def replay(finding: Finding) -> Failure | None:
    """Do again what a finding says, and return what fails now; None if nothing does.

    If several checks fail, it is the one that failed before.  Raises FindingError if the finding
    cannot be applied to the program as it is now.
    """
    return rerun(finding).failure


def rerun(finding: Finding, subject: Subject | None = None) -> Rerun:
    """As `replay`, with all that happened on the way; of ``subject``, if it is there already."""
    if subject is None:
        subject = make_subject(finding.subject, finding.parameters)
    disk = SimulatedDisk(sector_bytes=finding.sector_bytes)
    try:
        subject.run(disk)
    except Exception as error:
        return Rerun(subject, (), Failure((), "workload", describe_error(error)))
    if not finding.crashes:
        return Rerun(subject, (), None)
    return _Replay(finding, subject, disk).run()


class _Replay:
    """A replay after the workload has been run on ``disk``."""

    def __init__(self, finding: Finding, subject: Subject, disk: SimulatedDisk) -> None:
        self._finding = finding
        self._profile = _profile_of(finding)
        self._subject = subject
        self._disk = disk
        self._marks = disk.marks(finding.crashes[0].point)
        self._begin = 0
        self._outcomes: list[tuple[Hashable] | None] = []
        self._returned: list[int] = []
        self._error = ""

    def run(self) -> Rerun:
        stages = [self._crash(crash) for crash in self._finding.crashes]
        crashes = tuple(stage.crash for stage in stages)
        failures = [Failure(crashes, check, message) for check, message in self._failures()]
        asked = (failure for failure in failures if failure.check == self._finding.check)
        failure = next(asked, failures[0] if failures else None)
        return Rerun(self._subject, tuple(stages), failure)

    def _crash(self, crash: Crash) -> Stage:
        """Crash the disk, and recover from that; both are noted."""
        disk, begin = self._disk, self._begin
        point, choice = crash
        if not begin <= point <= len(disk.log):
            raise FindingError(
                f"the program has changed: no crash point {point} in operations"
                f" {begin} to {len(disk.log)}"
            )
        unsynced = disk.unsynced(self._profile, point)
        before = disk.restarted(point)
        if choice is None:
            self._disk, self._begin = before, point
        else:
            choice = unsynced.legal(choice)
            self._disk, self._begin = disk.crash(choice, self._profile, point), 0
        seen, found = disk.restarted(point).image, dict(self._disk.image)
        recovered = self._recover()
        return Stage(disk, begin, Crash(point, choice), seen, unsynced, found, recovered)

    def _recover(self) -> str:
        try:
            outcome = self._subject.recover(self._disk)
        except Exception as error:
            self._outcomes.append(None)
            self._error = describe_error(error)
            return f"raised {self._error}"
        finally:
            self._returned.append(len(self._disk.log))
        self._outcomes.append((outcome,))
        return f"returned {outcome!r}"

    def _failures(self) -> Iterator[tuple[str, str]]:
        """What is wrong in the end, as the explorer judges it."""
        last, expected = self._outcomes[-1], self._expected()
        if last is None:
            yield "recover", self._error
            return
        if expected is not None and last != expected:
            yield "same", f"{last[0]!r}, and before: {expected[0]!r}"
        message = self._subject.judge(self._marks, last[0])
        if message is not None:
            yield "judge", message
        try:
            self._subject.go_on(self._disk, last[0])
        except Exception as error:
            yield "go on", describe_error(error)

    def _expected(self) -> tuple[Hashable] | None:
        """What the last outcome must be the same as: that of the recovery before it.

        None if there was none, or if a killed process's successor was still reading what was in
        the cache when that was lost.
        """
        if len(self._outcomes) == 1:
            return None
        before, last = self._finding.crashes[-2:]
        if before.choice is None and last.point < self._returned[-2]:
            return None
        return self._outcomes[-2]
