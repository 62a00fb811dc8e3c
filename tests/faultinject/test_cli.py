"""The command ``rotortree-crash``: what it does, and its exit status."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from rotortree_faultinject.cli import app
from rotortree_faultinject.cli.fuzzing import trials
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.exploring.explorer import Failure, explore
from rotortree_faultinject.exploring.finding import Finding, replay
from rotortree_faultinject.subjects import litmus
from rotortree_faultinject.subjects.toy import ToyLog
from rotortree_faultinject.subjects.tree import fuzz
from rotortree_faultinject.subjects.tree.workloads import WORKLOADS
from tests.faultinject.commands import TOY, run

COMMANDS = ("explore", "replay", "fuzz", "litmus", "profiles")


def explored(path: Path, *words: str, status: int = 0) -> list[dict[str, Any]]:
    """What `explore` writes as JSON lines."""
    run("explore", *words, "--jsonl", path, status=status)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# explore


def test_a_right_program_is_explored_without_violations() -> None:
    """Exit status 0, and a summary."""
    lines = run("explore", *TOY).stdout.splitlines()
    assert lines[0] == "ok      toy log × posix: exhaustive"
    assert lines[-1].startswith("1 exploration, 0 with violations: ")


def test_a_wrong_program_is_told_by_the_exit_status() -> None:
    """And the summary says what is wrong."""
    result = run("explore", *TOY, "--parameter", 'forgets="sync"', status=1)
    assert "FAILED  toy log that forgets sync × posix" in result.stdout
    assert "judge: 0 records, and 1 were acknowledged" in result.stdout


def test_each_workload_is_explored_under_each_profile(tmp_path: Path) -> None:
    """Each once, however often it is named, in the order they were named."""
    words = "create first-flush create --profile xfs --profile btrfs --profile xfs --states 1"
    found = explored(tmp_path / "out", *words.split())
    assert [(one["workload"], one["profile"]) for one in found] == [
        (f"{name}, n = 2", profile)
        for name in ("create", "first-flush")
        for profile in ("xfs", "btrfs")
    ]


def test_all_workloads_are_explored_by_default(tmp_path: Path) -> None:
    """Under posix, the worst case."""
    found = explored(tmp_path / "out", "--states", "1", "--per-point", "1")
    assert [one["workload"] for one in found] == [make().name for make in WORKLOADS.values()]
    assert {one["profile"] for one in found} == {"posix"}


def test_every_bound_is_passed_on(tmp_path: Path) -> None:
    """Depth, kills, states, seconds, states of a point, seed."""
    words = "--depth 2 --kills --states 7 --seconds 60 --per-point 5 --seed 9"
    (found,) = explored(tmp_path / "out", *TOY, *words.split())
    bounds = {"depth": 2, "kills": True, "states": 7, "seconds": 60, "per_point": 5, "seed": 9}
    assert {name: found["bounds"][name] for name in bounds} == bounds
    assert (found["distinct"], found["extent"]) == (7, "cut off")
    (found,) = explored(tmp_path / "out", *TOY, "--no-kills")
    assert (found["kills"], found["nested"]) == (0, 0)


def test_jobs_change_nothing_but_the_time(tmp_path: Path) -> None:
    """Two processes find what one finds, in the same order."""
    words = (*TOY, "--parameter", 'forgets="cut"', "--profile", "posix", "--profile", "xfs")
    results = [
        explored(tmp_path / jobs, *words, "--jobs", jobs, "--depth", "2", status=1)
        for jobs in ("1", "2")
    ]
    for line in (*results[0], *results[1]):
        line.pop("seconds", None)
    assert results[0] == results[1]


def test_failures_are_saved_as_small_findings(tmp_path: Path) -> None:
    """In a directory that is made if need be; each replays, and says so in JSON and JUnit."""
    directory = tmp_path / "new" / "findings"
    outputs = ("--findings", directory, "--junit", tmp_path / "junit.xml")
    words = (*TOY, "--parameter", 'forgets="sync"', "--parameter", "records=5")
    found = explored(tmp_path / "out", *words, *map(str, outputs), status=1)
    (path,) = directory.iterdir()
    assert path.name.startswith("toy-log-that-forgets-sync-posix-judge-")
    finding = Finding.load(path)
    assert finding.parameters == {"forgets": "sync", "records": 1}
    assert replay(finding) is not None
    assert (found[1]["file"], found[1]["finding"]) == (str(path), finding.to_json())
    failure = ElementTree.parse(tmp_path / "junit.xml").find("testsuite/testcase/failure")
    assert failure is not None
    assert f"rotortree-crash replay {path}" in (failure.text or "")
    explored(tmp_path / "out", *words, *map(str, outputs), status=1)
    assert list(directory.iterdir()) == [path]  # the same finding has the same name


def test_without_a_directory_failures_are_not_minimised(tmp_path: Path) -> None:
    """That takes time; the whole finding is in the JSON lines all the same."""
    words = (*TOY, "--parameter", 'forgets="sync"', "--parameter", "records=5")
    _, failure = explored(tmp_path / "out", *words, status=1)
    assert failure["file"] is None
    assert Finding.from_json(failure["finding"]).parameters["records"] == 5


class Forgetful(ToyLog):
    """A toy log that says nothing of what it forgets."""

    def __init__(self) -> None:
        super().__init__("sync")

    def parameters(self) -> dict[str, object]:
        """Wrong: those of a right one."""
        return {}


class Changing(Forgetful):
    """A toy log that forgets the first time only."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Changing.made += 1
        if Changing.made > 1:
            self.forgets = ""


class Silent(Forgetful):
    """A toy log whose parameters cannot be written down."""

    def parameters(self) -> dict[str, object]:
        """Wrong: no JSON values."""
        return {"itself": self}


def test_a_failure_that_is_not_seen_again_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding that does not replay is saved, and said to be one."""
    monkeypatch.setattr(Changing, "made", 0)
    words = ("explore", "--subject", f"{__name__}:Changing", "--findings", tmp_path)
    result = run(*words, status=1)
    assert "its parameters do not make it again as it failed" in result.stderr
    assert len(list(tmp_path.iterdir())) == 1
    words = ("explore", "--subject", f"{__name__}:Silent", "--findings", tmp_path)
    result = run(*words, status=1)
    assert "this cannot be a finding: the subject's parameters are no JSON" in result.stderr
    assert "judge: 0 records, and 1 were acknowledged" in result.stdout


# replay


@pytest.fixture
def finding(tmp_path: Path) -> Path:
    """A finding of the toy log in a file."""
    result = explore(ToyLog("sync"), PROFILES["posix"])
    path = tmp_path / "finding.json"
    Finding.of(result, result.failures[0]).save(path)
    return path


def test_replay_tells_the_story_and_that_it_still_fails(finding: Path) -> None:
    """Exit status 1; the text names the file in the command that replays it."""
    text = run("replay", finding, status=1).stdout
    assert f"replay    rotortree-crash replay {finding}\n" in text
    assert text.endswith("It still fails, check “judge”: 0 records, and 1 were acknowledged\n")


def test_replay_of_what_was_fixed_is_a_success(finding: Path) -> None:
    """Exit status 0."""
    text = finding.read_text(encoding="utf-8")
    finding.write_text(text.replace('"forgets": "sync"', '"forgets": ""'), encoding="utf-8")
    assert run("replay", finding).stdout.endswith("It does not fail any more.\n")


# fuzz


def test_fuzz_lives_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the seed on, each life under each profile, until time is up."""
    seen = []

    def trial(seed: int, profile: Profile) -> fuzz.Trial:
        seen.append((seed, profile.name))
        return fuzz.Trial(WORKLOADS["create"](), None, 10)

    monkeypatch.setattr(fuzz, "trial", trial)
    words = "fuzz --seed 5 --seconds 0.05 --profile xfs --profile posix"
    line = run(*words.split()).stdout
    assert seen[:4] == [(5, "xfs"), (5, "posix"), (6, "xfs"), (6, "posix")]
    assert line.startswith(f"{len(seen)} random lives, 0 with violations: {10 * len(seen):,} rec")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fuzz_of_the_tree_finds_nothing(jobs: str) -> None:
    """A fraction of a second of what can go on for ever."""
    text = run("fuzz", "--seconds", "0.1", "--jobs", jobs).stdout
    assert " with violations" in text
    assert not text.startswith("0 random lives")


def test_a_pool_leaves_no_life_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is under way when time is up is waited for, and all come in their order."""

    def trial(seed: int, profile: Profile) -> fuzz.Trial:
        time.sleep(0.01 * (seed % 3))
        return fuzz.Trial(WORKLOADS["create"](), None, seed)

    monkeypatch.setattr(fuzz, "trial", trial)
    lives = [(seed, PROFILES["xfs"]) for seed in range(20)]
    with ThreadPoolExecutor(3) as executor:
        found = list(trials(iter(lives), executor, 3))
    assert [one.states for one, _ in found] == list(range(20))
    assert {profile.name for _, profile in found} == {"xfs"}


def test_fuzz_saves_what_it_finds_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for every violation, and a finding; exit status 1."""

    def trial(seed: int, profile: Profile) -> fuzz.Trial:
        result = explore(ToyLog("sync", 3), profile)
        failure: Failure | None = result.failures[0] if seed in (1, 3) else None
        return fuzz.Trial(result.subject, failure, 10)  # type: ignore[arg-type]  # any does

    monkeypatch.setattr(fuzz, "trial", trial)
    words = ("fuzz", "--seconds", "2", "--findings", tmp_path / "new")
    lines = run(*words, status=1).stdout.splitlines()
    (path,) = (tmp_path / "new").iterdir()
    assert (
        lines[:2]
        == [
            f"toy log that forgets sync × posix: judge: 0 records, and 1 were acknowledged ({path})"
        ]
        * 2
    )
    assert "2 with violations" in lines[2]
    assert Finding.load(path).parameters["records"] == 1
    assert run("replay", path, status=1).stdout.startswith("Finding: toy log")


# litmus, profiles


def test_litmus_compares_with_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each program and profile; a difference is the exit status."""
    lines = run("litmus").stdout.splitlines()
    assert len(lines) == 2 + 3 * len(PROFILES) + 1
    assert "differs" not in "".join(lines)
    changed = {**litmus.PUBLISHED, "xfs": (True, True, True)}
    monkeypatch.setattr(litmus, "PUBLISHED", changed)
    lines = run("litmus", status=1).stdout.splitlines()
    (row,) = (line for line in lines if "differs" in line)
    assert row.split()[:2] == ["prefix-append", "xfs"]


def test_profiles_are_described() -> None:
    """Each with its name, its description, and its flags."""
    text = run("profiles").stdout
    paragraphs = dict(part.split("\n", 1) for part in text.strip().split("\n\n"))
    assert list(paragraphs) == list(PROFILES)
    for name, profile in PROFILES.items():
        words = " ".join(paragraphs[name].split())
        assert words.startswith(profile.description)
        assert ("a rename is atomic" in words) == profile.atomic_rename
        assert ("no torn sectors" in words) == (not profile.torn)
    assert "zeros, garbage, stale bytes anywhere" in paragraphs["posix"]


# All of them


def test_the_version_is_that_of_the_package() -> None:
    """By the installed metadata."""
    assert run("--version").stdout.startswith("rotortree-crash ")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str) -> None:
    """And each of its options; the command without a name lists all."""
    text = run(*command.split(), "--help").stdout
    assert text.startswith(f"Usage: rotortree-crash {command}".strip())
    if not command:
        assert all(f"  {name} " in text for name in COMMANDS)
        return
    for parameter in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]  # a group
        assert parameter.help, parameter.name
        if parameter.param_type_name == "option":
            assert all(name in text for name in parameter.opts)
