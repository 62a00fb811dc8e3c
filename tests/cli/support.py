"""How the tests run the command, and the trees that they run it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3
from typer.testing import CliRunner, Result

from rotortree import FlushPolicy, RotorTree
from rotortree.cli import app
from rotortree.storage.environment import Environment
from tests.processes import Process

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the package `rotortree`."""

COMMAND = (sys.executable, "-W", "error", "-m", "rotortree.cli")
"""The command as a process of its own."""


def leaf(number: int) -> bytes:
    """A leaf that is no other number's."""
    return blake3(str(number).encode()).digest()


def hex_lines(numbers: range) -> str:
    """Leaves as `append` reads them by default."""
    return "".join(f"{leaf(number).hex()}\n" for number in numbers)


def run(*words: str | Path, stdin: str | bytes = b"", status: int = 0) -> Result:
    """Run a command within this process; it must end with this exit status.

    A failure is one line on stderr that begins with the command's name.
    """
    result = CliRunner().invoke(
        app, [str(word) for word in words], input=stdin, catch_exceptions=False
    )
    assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
    lines = result.stderr.splitlines()
    if status in (1, 2):
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("rotortree: ")
    else:
        assert lines == []
    return result


def values(*words: str | Path, stdin: str | bytes = b"", status: int = 0) -> Any:
    """What a command prints with --json: one object on one line."""
    lines = run(*words, "--json", stdin=stdin, status=status).stdout.splitlines()
    assert len(lines) == 1, lines
    found = json.loads(lines[0])
    assert isinstance(found, dict)
    return found


def environment() -> dict[str, str]:
    """The variables of a process that finds the package, and runs as it does by default."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


def process(*words: str | Path, **options: Any) -> Process[bytes]:
    """Start the command as a process of its own; its stdin, stdout and stderr are pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return Process([*COMMAND, *map(str, words)], env=environment(), **{**pipes, **options})


def make_tree(
    directory: Path, checkpointed: int, flushes: tuple[int, ...] = (), n: int = 3
) -> Path:
    """A closed tree: ``checkpointed`` leaves in level files of 9 nodes, the rest in the log."""
    small = Environment(shard_nodes=n * n)
    policy = FlushPolicy.Manual()
    with RotorTree.open(directory, n=n, flush_policy=policy, environment=small) as tree:
        if checkpointed:
            tree.extend([leaf(number) for number in range(checkpointed)]).wait()
            tree.checkpoint()
        for count in flushes:
            tree.extend([leaf(tree.size + number) for number in range(count)]).wait()
    return directory
