"""``kill -9`` of a writer at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.processes import run_python


@pytest.mark.evidence("crash", "DURABLE-1", "DURABLE-2", "DURABLE-3", "DURABLE-47")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """60 kills, 0 to 50 ms after opening, a fifth after the start; 6 go on in one directory.

    What comes back is a legal outcome by the model, with the model's root, and every proof of trees
    below 300 leaves verifies.  Arities 2 to 5, all policies, checkpoints in the background in half
    of the rounds.
    """
    done = run_python("-m", "tests.storage.killing", str(tmp_path), "60", str(seed), seconds=300)
    assert done.returncode == 0, done.stdout
    counts = {name: int(count) for count, _, name in map(_parted, done.stdout.splitlines())}
    assert counts["kills"] == 60
    assert counts["grown"] > 10
    assert counts["checkpointed"] > 10
    assert counts["lost what was not acknowledged"] > 5


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(" ")
