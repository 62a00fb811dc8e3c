"""A pytest plugin: a simulated disk for a test, and the explorer for a subject of one's own.

It is installed with the package.  `simulated_disk` and `crash_explorer` are fixtures;
``--crash-profile``, ``--crash-seed`` and ``--crash-states`` change what all tests of a run explore.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # here and below: a test run that explores nothing loads little
    from rotortree_faultinject.disk import SimulatedDisk
    from rotortree_faultinject.disk.profiles import Profile
    from rotortree_faultinject.exploring.explorer import Bounds, Exploration, Failure
    from rotortree_faultinject.subjects.subject import Subject

__all__ = ["CrashExplorer", "crash_explorer", "pytest_addoption", "simulated_disk"]


def _profile_name(text: str) -> str:
    from rotortree_faultinject.disk.profiles import profile_named

    try:
        return profile_named(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the plugin."""
    group = parser.getgroup("crash", "crash states of storage code (rotortree_faultinject)")
    group.addoption(
        "--crash-profile",
        action="append",
        type=_profile_name,
        metavar="NAME",
        help="explore under this profile instead of those that a test names; repeatable",
    )
    group.addoption(
        "--crash-seed",
        type=int,
        metavar="NUMBER",
        help="the seed of states that are sampled",
    )
    group.addoption(
        "--crash-states",
        type=int,
        metavar="NUMBER",
        help="recover from so many different states of a subject and profile at the most",
    )


class CrashExplorer:
    """What the fixture `crash_explorer` gives: call it with a subject and names of profiles."""

    def __init__(self, config: pytest.Config, directories: pytest.TempPathFactory) -> None:
        self._profiles: list[str] | None = config.getoption("--crash-profile")
        self._seed: int | None = config.getoption("--crash-seed")
        self._states: int | None = config.getoption("--crash-states")
        self._directories = directories

    def __call__(
        self, subject: Subject, *profiles: str, bounds: Bounds | None = None
    ) -> list[Exploration]:
        """Explore under each profile, all of them if none is named; return what was explored.

        Fails the test at the first failure, with a report of it.  Raises ValueError if there is
        no such profile.
        """
        from rotortree_faultinject.exploring.explorer import explore

        explorations = []
        for profile in self._chosen(profiles):
            exploration = explore(subject, profile, self._bounded(bounds))
            for failure in exploration.failures:
                pytest.fail(self._report(exploration, failure), pytrace=False)
            explorations.append(exploration)
        return explorations

    def _chosen(self, profiles: tuple[str, ...]) -> Iterator[Profile]:
        from rotortree_faultinject.disk.profiles import PROFILES, profile_named

        return map(profile_named, self._profiles or profiles or PROFILES)

    def _bounded(self, bounds: Bounds | None) -> Bounds:
        from dataclasses import replace

        from rotortree_faultinject.exploring.explorer import Bounds

        found = bounds or Bounds()
        if self._seed is not None:
            found = replace(found, seed=self._seed)
        return found if self._states is None else replace(found, states=self._states)

    def _report(self, exploration: Exploration, failure: Failure) -> str:
        """The failure as a finding, in words; saved, so that the command line can replay it."""
        from rotortree_faultinject.exploring.describe import describe
        from rotortree_faultinject.exploring.finding import Finding, FindingError, rerun

        try:
            finding = Finding.of(exploration, failure)
            again = rerun(finding, exploration.subject)
            path: Path = self._directories.mktemp("crash") / "finding.json"
            finding.save(path)
            return f"{describe(finding, str(path), again)}\n\n{exploration.statistics}"
        except FindingError as error:
            crashes = "; ".join(map(str, failure.crashes))
            return f"{failure.check}: {failure.message}\n{crashes}\nno more is known: {error}"


@pytest.fixture
def simulated_disk() -> SimulatedDisk:
    """An empty `SimulatedDisk`."""
    from rotortree_faultinject.disk import SimulatedDisk

    return SimulatedDisk()


@pytest.fixture
def crash_explorer(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> CrashExplorer:
    """Explores crashes of a subject, and fails the test if it does not survive one."""
    return CrashExplorer(pytestconfig, tmp_path_factory)
