"""Subjects made of steps, with bugs to be found: notes, one in a file of its own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.exploring.explorer import Crash
from rotortree_faultinject.exploring.finding import Finding
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["FINDING", "NOTES", "NOTE_BYTES", "Counting", "Notes"]

NOTES = "tests.faultinject.notes:Notes"
"""The name of the subject."""

FINDING = Finding(
    NOTES,
    {"steps": ["put a", "sync a", "ack a", "put b", "ack b"]},
    "posix",
    512,
    7,
    (Crash(8, "k-gk"),),
    "judge",
    "missing: b",
)
"""Note b was acknowledged and not synced; its first sector is lost, its second one garbage."""

NOTE_BYTES = 600
"""A note is longer than a sector."""


class Notes(Subject):
    """Steps: ``put K`` writes note K, ``sync K`` makes it durable, ``ack K`` promises that it is,
    ``lose LETTERS`` loses power, ``fail`` raises.

    ``wrong``: what counts as wrong: ``missing``, an acknowledged note that is not whole, or
    ``torn``, any note of the full length with other bytes.  ``endless``: it has no smallest form.
    """

    def __init__(self, steps: Sequence[str], wrong: str = "missing", endless: bool = False) -> None:
        self.name = "notes"
        self.steps = list(steps)
        self.wrong = wrong
        self.endless = endless

    def run(self, disk: SimulatedDisk) -> None:
        """Do the steps."""
        for step in self.steps:
            verb, _, name = step.partition(" ")
            if verb == "put":
                file = disk.open(name, "create")
                file.pwritev([name.encode() * NOTE_BYTES], 0)
            elif verb == "sync" and name in disk.files():
                disk.open(name, "write").sync()
                disk.sync_directory(".")
            elif verb == "ack" and name in disk.files():
                disk.mark(name)
            elif verb == "lose":
                disk.lose_power(name)
            elif verb == "fail":
                raise RuntimeError("a step that fails")

    def recover(self, disk: SimulatedDisk) -> Hashable:
        """The notes that are whole, and those that are of the full length and not whole."""
        files = disk.files()
        whole = tuple(name for name in files if files[name] == name.encode() * NOTE_BYTES)
        full = (name for name in files if len(files[name]) == NOTE_BYTES)
        return whole, tuple(name for name in full if name not in whole)

    def judge(self, marks: Sequence[object], outcome: Hashable) -> str | None:
        """What is missing, or torn."""
        assert isinstance(outcome, tuple)
        whole, torn = outcome
        missing = [str(mark) for mark in marks if mark not in whole]
        wrong = list(torn) if self.wrong == "torn" else missing
        return f"{self.wrong}: {', '.join(wrong)}" if wrong else None

    def parameters(self) -> Mapping[str, object]:
        """All of them."""
        return {"steps": self.steps, "wrong": self.wrong, "endless": self.endless}

    def smaller(self) -> Sequence[Subject]:
        """One step less."""
        kept = [self.steps] if self.endless else []
        fewer = [self.steps[:at] + self.steps[at + 1 :] for at in range(len(self.steps))]
        return [type(self)(steps, self.wrong, self.endless) for steps in kept + fewer]


class Counting(Notes):
    """A recovery that leaves a file behind, and does not work the third time."""

    def recover(self, disk: SimulatedDisk) -> int:
        """Counts."""
        name = str(sum(name.isdigit() for name in disk.files()))
        if name == "2":
            raise RuntimeError("recovered twice before")
        disk.open(name, "create").sync()
        disk.sync_directory(".")
        return 0

    def judge(self, marks: object, outcome: object) -> None:
        """Everything is fine."""
