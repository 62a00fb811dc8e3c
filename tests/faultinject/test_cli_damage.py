"""The damage command: its table, its JSON, and what wrong requests get."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rotortree_faultinject.subjects.tree import damage
from rotortree_faultinject.subjects.tree.damage_kinds import KINDS
from rotortree_faultinject.subjects.tree.specimens import SPECIMENS
from tests.faultinject.commands import run as run_here


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``rotortree-crash damage``."""
    command = [sys.executable, "-m", "rotortree_faultinject.cli", "damage", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_prints_a_table_or_json_and_finds_no_violation() -> None:
    """One tree, two kinds of damage: a row each, a total, exit 0; the same numbers as JSON."""
    kinds = list(KINDS)[:1]
    words = ["killed", *(word for kind in kinds for word in ("--kind", kind))]
    table = run(*words)
    assert (table.returncode, table.stderr) == (0, "")
    assert "SILENT LOSS" in table.stdout
    assert all(kind in table.stdout for kind in kinds)
    found = json.loads(run(*words, "--json", "--jobs", "2").stdout)
    assert found["violations"] == []
    assert {row["kind"] for row in found["rows"]} == set(kinds)
    assert sum(sum(row["outcomes"].values()) for row in found["rows"]) > 100


def test_it_lists_what_there_is() -> None:
    """--list names every tree and every kind of damage."""
    lines = {line.strip() for line in run("--list").stdout.splitlines()}
    assert set(SPECIMENS) | set(KINDS) <= lines


def test_wrong_requests_are_one_line_and_exit_2() -> None:
    """An unknown tree, an unknown kind of damage, no processes."""
    for words in (["nothing"], ["killed", "--kind", "nothing"], ["--jobs", "0"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("rotortree-crash: ")
        assert done.stderr.count("\n") == 1


def test_an_interrupt_prints_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after one tree of ten: its rows, one line, exit status 130."""
    matrices = iter([damage.examine(["killed"], list(KINDS)[:1])])

    def next_matrix(*_: object) -> damage.Matrix:
        for matrix in matrices:
            return matrix
        raise KeyboardInterrupt

    monkeypatch.setattr(damage, "examine", next_matrix)
    found = run_here("damage", status=130)
    assert "SILENT LOSS" in found.stdout
    assert found.stderr == "rotortree-crash: interrupted\n"
