"""The explore command."""

import itertools
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Annotated, TypeAlias

import typer

from rotortree_faultinject.cli.errors import FOUND, CommandError, tell
from rotortree_faultinject.cli.options import (
    Findings,
    Jobs,
    Profiles,
    Seconds,
    Seed,
    chosen_profiles,
    foreign_subject,
)
from rotortree_faultinject.cli.output import Monitor, Outputs
from rotortree_faultinject.cli.pools import pool
from rotortree_faultinject.cli.replaying import smaller
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.exploring.explorer import Bounds, Exploration, Failure, Statistics
from rotortree_faultinject.exploring.explorer import explore as explore_subject
from rotortree_faultinject.exploring.finding import Finding, FindingError
from rotortree_faultinject.exploring.report import Result, paragraph, total
from rotortree_faultinject.subjects.subject import Subject

__all__ = ["explore"]

_Workloads: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORKLOAD", help="Built-in workloads of the tree.", show_default="all of them"
    ),
]
_Subject: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar="MODULE:CLASS",
        help="Explore a program of your own: a class that implements Subject.",
    ),
]
_Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=JSON",
        help="What the class of --subject is called with; may be repeated.",
    ),
]
_Depth: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="1: crashes of the workload; 2, 3: also of recovery from those.",
        min=1,
        max=3,
    ),
]
_Kills: TypeAlias = Annotated[
    bool, typer.Option("--kills/--no-kills", help="Also kill the process without a power failure.")
]
_States: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Stop after so many different states.", min=1)
]
_PerPoint: TypeAlias = Annotated[
    int, typer.Option(metavar="N", help="States of one crash point at the most.", min=1)
]
_JsonLines: TypeAlias = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write results as JSON lines.")
]
_JUnit: TypeAlias = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write results as JUnit XML.")
]


def explore(
    workloads: _Workloads = None,
    subject: _Subject = None,
    parameter: _Parameters = None,
    profile: Profiles = None,
    depth: _Depth = 1,
    kills: _Kills = False,
    states: _States = None,
    seconds: Seconds = None,
    per_point: _PerPoint = 4096,
    jobs: Jobs = 1,
    seed: Seed = 0,
    jsonl: _JsonLines = None,
    junit: _JUnit = None,
    findings: Findings = None,
) -> None:
    """Let the power fail at every point of workloads, and judge what recovery makes of it.

    Every workload is explored under every profile.  --states and --seconds hold for each of these
    explorations, and each stops at its first violation.  Interrupted with Ctrl-C, the command
    still reports what was done.
    """
    subjects = _subjects(workloads or [], subject, parameter or [])
    profiles = chosen_profiles(profile)
    bounds = Bounds(
        per_point=per_point, depth=depth, kills=kills, states=states, seconds=seconds, seed=seed
    )
    with Outputs(jsonl, junit, findings) as outputs:
        session = _Session(bounds, outputs, saves=findings is not None)
        try:
            session.run(subjects, profiles, jobs)
        finally:
            print(total(session.results))
    if any(result.exploration.failures for result in session.results):
        raise typer.Exit(FOUND)


def _subjects(
    workloads: Sequence[str], subject: str | None, parameters: Sequence[str]
) -> list[Subject]:
    if subject is not None:
        if workloads:
            raise CommandError("either workloads or --subject, not both")
        return [foreign_subject(subject, parameters)]
    if parameters:
        raise CommandError("--parameter goes with --subject")
    from rotortree_faultinject.subjects.tree.workloads import WORKLOADS

    unknown = [name for name in workloads if name not in WORKLOADS]
    if unknown:
        raise CommandError(f"no workload {unknown[0]!r}: there are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name]() for name in dict.fromkeys(workloads or WORKLOADS)]


class _Session:
    """The explorations of one command, and what came of them."""

    def __init__(self, bounds: Bounds, outputs: Outputs, *, saves: bool) -> None:
        self.results: list[Result] = []
        self._bounds = bounds
        self._outputs = outputs
        self._saves = saves
        self._monitor = Monitor()
        self._interrupted = False

    def run(self, subjects: Sequence[Subject], profiles: Sequence[Profile], jobs: int) -> None:
        """Explore every subject under every profile.  If interrupted, what was done counts."""
        with pool(jobs) as executor, self._monitor:
            for subject, profile in itertools.product(subjects, profiles):
                self._explore(subject, profile, executor)
                if self._interrupted:
                    raise KeyboardInterrupt

    def _explore(self, subject: Subject, profile: Profile, executor: Executor | None) -> None:
        self._monitor.begin(f"{subject.name} × {profile.name}")
        exploration = Exploration(subject, profile, self._bounds, complete=False)

        def progress(statistics: Statistics) -> None:
            exploration.statistics = statistics
            self._monitor.show(statistics.checked, statistics.seconds)

        try:
            exploration = explore_subject(
                subject, profile, self._bounds, executor=executor, progress=progress
            )
        finally:
            self._add(exploration)

    def _add(self, exploration: Exploration) -> None:
        findings, files = [], []
        for failure in exploration.failures:
            try:
                finding = self._finding(exploration, failure)
            except FindingError as error:
                tell(f"{exploration.checker.name}: this cannot be a finding: {error}")
                continue
            findings.append(finding)
            if self._saves:
                files.append(self._outputs.save(finding, exploration.checker.name))
        result = Result(exploration, findings, files)
        self.results.append(result)
        self._outputs.add(result)
        print(paragraph(result), flush=True)

    def _finding(self, exploration: Exploration, failure: Failure) -> Finding:
        """The finding for a failure, minimised if it is to be saved."""
        finding = Finding.of(exploration, failure)
        if not self._saves:
            return finding
        self._monitor.begin(f"minimising {exploration.checker.name} × {finding.profile}")
        try:
            return smaller(finding)
        except KeyboardInterrupt:
            self._interrupted = True
            return finding
