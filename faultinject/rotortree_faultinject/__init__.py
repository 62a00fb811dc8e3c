"""The fault layer: a crash-consistency laboratory for storage code.

A program works on a simulated disk, power fails at every point, and what the disk may hold then is
opened and judged.  `specs/testing-your-storage.md` is the tutorial, `specs/crash-model.md` says
exactly what is simulated and what is not.

    disk        the simulated disk, what goes wrong with it, and what a power failure leaves
    exploring   crash points × states × crashes in recovery; findings and reports
    subjects    programs under test; `subjects.tree` is the only part that knows trees
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
    explore_recording,
)
from rotortree_faultinject.exploring.finding import Finding, FindingError, replay
from rotortree_faultinject.exploring.minimise import minimise
from rotortree_faultinject.exploring.recording import Recording
from rotortree_faultinject.subjects.subject import Checker, Subject

__all__ = [
    "PROFILES",
    "Bounds",
    "Call",
    "Checker",
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
    "Recording",
    "Rule",
    "SimulatedDisk",
    "Statistics",
    "StepScheduler",
    "Subject",
    "explore",
    "explore_recording",
    "image_of",
    "minimise",
    "profile_named",
    "replay",
]
