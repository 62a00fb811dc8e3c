"""`make run`: the demonstration does what it says, and fails when a step does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rotortree import demo
from tests.cli.support import environment


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small directory of files, with what is left out among them."""
    folder = tmp_path / "source"
    for number in range(40):
        path = folder / f"{number % 3}" / f"{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    for name in ("__pycache__", "site-packages"):
        (folder / name).mkdir()
        (folder / name / "left-out").touch()
    return folder


def run_demo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it as `make run` does."""
    command = [sys.executable, "-W", "error", "-m", "rotortree.demo", *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_the_demonstration_holds_on_a_small_directory(source: Path, tmp_path: Path) -> None:
    """Exit status 0; killed in the middle; damage named; nothing left behind."""
    (tmp_path / "work").mkdir()
    done = run_demo("--source", source, "--dir", tmp_path / "work")
    assert (done.returncode, done.stderr) == (0, "")
    assert "40 files" in done.stdout
    assert "killed; the last size that it had acknowledged as durable was" in done.stdout
    assert "nothing acknowledged was lost" in done.stdout
    assert "40 leaves are right" in done.stdout
    assert "damaged/levels/0/00000000.nodes, offset " in done.stdout
    assert "Every step succeeded" in done.stdout
    assert list((tmp_path / "work").iterdir()) == []


def test_too_few_files_are_a_failure_and_keep_keeps(source: Path, tmp_path: Path) -> None:
    """One line on stderr, exit status 1."""
    (tmp_path / "work").mkdir()
    done = run_demo("--source", source / "0" / "..", "--dir", tmp_path / "missing")
    assert done.returncode == 1
    done = run_demo("--source", source / "1", "--dir", tmp_path / "work", "--keep")
    assert done.returncode == 1
    assert done.stderr == f"demo: failed: {source / '1'} has 13 files, and at least 16 are needed\n"
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_a_step_that_does_not_hold_fails_the_demonstration(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Here the recovered tree pretends to be smaller than what was acknowledged."""
    real = demo._Shell.values

    def lying(self: demo._Shell, *words: str) -> dict[str, object]:
        found = real(self, *words)
        return found | {"size": 10} if words[0] == "info" else found

    monkeypatch.setattr(demo._Shell, "values", lying)
    assert demo.main(["--source", str(source), "--dir", str(tmp_path)]) == 1
    assert "acknowledged leaves were lost" in capsys.readouterr().err
