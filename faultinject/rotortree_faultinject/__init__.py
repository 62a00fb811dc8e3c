"""The fault layer: a crash-consistency laboratory for storage code.

A program works on a simulated disk, power fails at every point, and what the disk may hold then is
opened and judged.  `specs/testing-your-storage.md` is the tutorial, `specs/crash-model.md` says
exactly what is simulated and what is not.

    disk        the simulated disk, an implementation of `rotortree.storage.files`
    faults      calls that go wrong: scripts of failures
    profiles    what kinds of file systems let survive
    crashes     every state that a crash may leave
    subject     the interface of a program under test; `toy` and `sqlite` are examples
    explorer    crash points × states × crashes in recovery
    schedule    threads and background tasks that take turns as told
    finding, minimise, report   what was found, made small, written down
    litmus      the profiles against real file systems
    tree        RotorTree under test; the only part that knows trees
    cli         the command ``rotortree-crash``
"""

from __future__ import annotations

from rotortree_faultinject.disk import Call, FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.faults import Died, Rule
from rotortree_faultinject.disk.image import Image, image_of
from rotortree_faultinject.disk.profiles import PROFILES, Profile, profile_named
from rotortree_faultinject.disk.schedule import Interleaver, StepScheduler
from rotortree_faultinject.exploring.explorer import (
    Bounds,
    Crash,
    Exploration,
    Failure,
    Statistics,
    explore,
)
from rotortree_faultinject.exploring.finding import Finding, FindingError, replay
from rotortree_faultinject.exploring.minimise import minimise
from rotortree_faultinject.subjects.subject import Subject

__all__ = [
    "PROFILES",
    "Bounds",
    "Call",
    "Crash",
    "Died",
    "Exploration",
    "Failure",
    "Finding",
    "FindingError",
    "FsyncFailure",
    "Image",
    "Interleaver",
    "Profile",
    "Rule",
    "SimulatedDisk",
    "Statistics",
    "StepScheduler",
    "Subject",
    "explore",
    "image_of",
    "minimise",
    "profile_named",
    "replay",
]
