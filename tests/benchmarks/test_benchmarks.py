"""The benchmarks run, at sizes that measure nothing, and report every row.  No time is tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.command import main
from benchmarks.machine import file_system, resident
from benchmarks.operations import (
    BARE,
    OPERATIONS,
    OURS,
    OURS_ONE,
    PURE,
    PYMERKLE,
    RUST_15,
    RUST_15_ONE,
    RUST_19,
    RUST_19_ONE,
    SIDES,
)
from benchmarks.plan import ARITIES, TINY
from benchmarks.theirs import COMPARED, pymerkle_version
from benchmarks.workers import Inputs, Request, Unavailable, Worker, WorkerFailed, python_command
from rotortree import kernel

ROOT = Path(__file__).resolve().parents[2]
"""The folder of pyproject.toml."""

HOST = ("processor", "cores", "memory", "system", "Python", "file system")
"""What a figure is worthless without."""

RUST = (RUST_15, RUST_15_ONE, RUST_19, RUST_19_ONE)
"""The sides that need cargo."""

ALL_ARITIES = (
    "insert_many insert_thousands insert append hash_levels prove prove_many verify verify_many"
    " prove_consistency verify_consistency durable_insert insert_durable insert_durable_threads"
).split()
"""The rows that are measured for every arity."""

BARE_ONLY = {"bulk_cache", "bulk_dram", "write", "sync_append", "sync_overwrite"}
"""The rows that have no tree."""


def has_pymerkle() -> bool:
    """Whether there is something to compare with: it is in another extra than pytest."""
    try:
        pymerkle_version()
    except Unavailable:
        return False
    return True


def run_tiny(folder: Path, environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What the command prints, and its JSON; it says nothing on standard error."""
    path = folder / "report.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "run.py", "--tiny", "--json", path],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1", **environment},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return done.stdout, report


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A tiny run where there is no cargo, as on most machines."""
    return run_tiny(tmp_path_factory.mktemp("tiny"), {"PATH": ""})


def cells(report: Mapping[str, Any]) -> set[tuple[str, str, str, int, int]]:
    """Every cell of a JSON report: operation, side, scheme, arity, size; all figures positive."""
    found = set()
    for result in report["results"]:
        assert len(result["samples"]) == report["scale"]["rounds"]
        assert all(sample["operations"] > 0 for sample in result["samples"])
        assert all(sample["seconds"] > 0 for sample in result["samples"])
        assert 0 < result["min"] <= result["median"] <= result["max"]
        found.add(tuple(result[name] for name in ("operation", "side", "scheme", "n", "size")))
    assert len(found) == len(report["results"]), "a cell twice"
    return found


def test_every_row_is_measured(tiny: tuple[str, dict[str, Any]]) -> None:
    """Each for all arities that it has, ours or the bare work; table and JSON have it."""
    printed, report = tiny
    found = cells(report)
    ours = {(operation, n) for operation, side, _, n, _ in found if side in (OURS, OURS_ONE)}
    assert {operation for operation, _ in ours} == set(OPERATIONS) - BARE_ONLY
    assert {(operation, n) for operation in ALL_ARITIES for n in ARITIES} <= ours
    assert {operation for operation, side, _, _, _ in found if side == BARE} >= BARE_ONLY
    for text in [*(row.label for row in OPERATIONS.values()), "This was no measurement"]:
        assert text in printed


def test_batches_are_measured_in_every_way(tiny: tuple[str, dict[str, Any]]) -> None:
    """Both schemes, with all threads and with one, small and large; and without a kernel."""
    found = cells(tiny[1])
    for n in ARITIES:
        for size in (TINY.size, TINY.large):
            for side in (OURS, OURS_ONE):
                for scheme in ("blake3", "blake3-plain"):
                    assert ("insert_many", side, scheme, n, size) in found
        assert ("insert_many", PURE, "blake3", n, TINY.size) in found


def test_a_report_describes_the_machine(tiny: tuple[str, dict[str, Any]]) -> None:
    """Host and kernel are named; no path of the user's is."""
    printed, report = tiny
    assert report["machine"]["rotortree kernel"] == kernel.NAME
    assert all(report["machine"][name] for name in HOST)
    assert "rotortree-bench-" not in printed + json.dumps(report)


def test_without_cargo_the_crate_is_not_measured_and_that_is_said(
    tiny: tuple[str, dict[str, Any]],
) -> None:
    """In the column of each goal, in the notes, and in the JSON."""
    printed, report = tiny
    assert {report["unavailable"][side] for side in RUST} == {"cargo: not installed"}
    assert printed.count("not installed") > len(RUST)
    assert any("https://rustup.rs" in note for note in report["notes"])
    assert not {side for _, side, _, _, _ in cells(report)} & set(RUST)


def test_every_goal_is_judged_whose_sides_were_measured(
    tiny: tuple[str, dict[str, Any]],
) -> None:
    """Only goals against what is missing are open; all others are reached or not."""
    goals = tiny[1]["goals"]
    assert {goal["reached"] for goal in goals if goal["against"] in RUST} == {None}
    others = [goal for goal in goals if goal["against"] not in RUST]
    assert others
    assert all(goal["reached"] in (True, False) for goal in others)
    assert all(len(goal["measured"]) == 3 for goal in others)


def test_without_pymerkle_its_rows_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything else is measured; the note says how to install it."""
    monkeypatch.setitem(sys.modules, PYMERKLE, None)
    monkeypatch.setenv("PATH", "")
    path = tmp_path / "report.json"
    arguments = ["--tiny", "--rounds", "1", "--only", "prove", "memory", "--json", str(path)]
    assert main(arguments) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    assert report["unavailable"][PYMERKLE] == "not installed"
    assert "pip install 'rotortree[bench]'" in printed
    assert {side for _, side, _, _, _ in cells(report)} == {OURS, PURE}
    assert {operation for operation, _, _, _, _ in cells(report)} == {"prove", "memory"}


@pytest.mark.skipif(not has_pymerkle(), reason="pymerkle is in the extra bench")
def test_pymerkle_is_measured_if_it_is_installed(tiny: tuple[str, dict[str, Any]]) -> None:
    """All that it has, too."""
    found = {operation for operation, side, _, _, _ in cells(tiny[1]) if side == PYMERKLE}
    assert found == set(COMPARED)


def test_a_build_that_fails_is_reported(tmp_path: Path) -> None:
    """With the beginning of what cargo said; the run goes on without the crate."""
    for name, text in (("rustc", "echo rustc 1"), ("cargo", "echo no such crate >&2; exit 101")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    _, report = run_tiny(tmp_path, {"PATH": str(tmp_path)})
    assert {report["unavailable"][side] for side in RUST} == {"cargo: failed"}
    assert any("no such crate" in note for note in report["notes"])


@pytest.mark.parametrize(
    "arguments", ["--rounds 0", "--quick --tiny", "--only nothing", "--quick --read x"], ids=str
)
def test_refuses_arguments_that_make_no_sense(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and a usage line, before anything is measured."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_worker_that_cannot_do_something_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unknown operation is an error of the request, and the worker goes on; ends are noticed."""
    inputs = Inputs(tmp_path, tmp_path / "leaves", tmp_path / "singles")
    inputs.leaves.write_bytes(os.urandom(32 * 10))
    worker = Worker(python_command("ours"), {}, inputs)
    with pytest.raises(WorkerFailed, match="KeyError: 'fly'"):
        worker.ask(Request("fly", "blake3", 4, 10, 1))
    assert worker.ask(Request("insert_many", "blake3", 4, 10, 1)).operations == 10
    worker.close()
    assert "KeyError" in capfd.readouterr().err
    ended = Worker([sys.executable, "-c", ""], {}, inputs)
    with pytest.raises(WorkerFailed, match="ended with 0"):
        ended.ask(Request("insert_many", "blake3", 4, 10, 1))
    ended.close()


def test_every_side_is_explained(tiny: tuple[str, dict[str, Any]]) -> None:
    """Whoever has figures is in the list below the tables."""
    assert {side for _, side, _, _, _ in cells(tiny[1])} <= set(SIDES)


@pytest.mark.skipif(sys.platform != "linux", reason="mount points are read from /proc")
def test_the_file_system_is_that_of_the_nearest_mount_point() -> None:
    """Not the one of the root directory, if something is mounted below."""
    assert file_system(Path("/proc/self")) == "proc"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_anonymous_memory_is_told_from_mapped_files() -> None:
    """Memory that is written to counts as anonymous, and does not raise what files take."""
    before = resident()
    block = bytearray(os.urandom(2**20)) * 32
    after = resident()
    assert after.anonymous - before.anonymous > 0.9 * len(block)
    assert after.mapped - before.mapped < 0.1 * len(block)
