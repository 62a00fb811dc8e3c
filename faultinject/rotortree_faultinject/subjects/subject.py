"""Subjects: the programs that are tested, and what is asked of them.

A checker is a way to open what a crash left, and an oracle.  A subject is that and a workload on a
disk.  The explorer knows nothing more of a program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence

from rotortree_faultinject.disk import SimulatedDisk

__all__ = ["Checker", "Subject"]


class Checker(ABC):
    """What opens a disk after a crash, and judges what was found.

    It must do the same every time: no clock, no randomness.
    """

    name: str
    """What reports call it."""

    @abstractmethod
    def recover(self, disk: SimulatedDisk) -> Hashable:
        """Open what is on the disk, as after a restart, and return what was found.

        Nothing may be closed in an orderly way: the explorer takes power away in the middle of
        this, and right after it.  Whatever it raises is a finding.
        """

    @abstractmethod
    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """What is wrong with an outcome after these marks; None if it is legal."""

    def go_on(self, disk: SimulatedDisk, outcome: Hashable) -> None:
        """Work on with what `recover` opened, on the same disk; raise if that is not possible.

        Called after `recover`.  The place for forward progress, a second open, slow checks.
        By default there are none.
        """
        del disk, outcome


class Subject(Checker):
    """A program to be tested: a checker, and a workload that does the same every time."""

    @abstractmethod
    def run(self, disk: SimulatedDisk) -> None:
        """The workload, from an empty disk on.

        It calls ``disk.mark(value)`` when it issues something, and when something was
        acknowledged: after the call that promises it returned.  What a mark holds is its affair.
        """

    def parameters(self) -> Mapping[str, object]:
        """What it takes to make this subject again, as JSON values, for findings."""
        return {}

    def smaller(self) -> Sequence[Subject]:
        """Subjects with a little less of a workload, for the minimiser; most promising first."""
        return ()
