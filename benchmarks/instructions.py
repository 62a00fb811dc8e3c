"""The regression guard: counts instructions per operation, which other processes do not disturb.

``make instructions`` runs each hot operation twice under callgrind, the second time with twice as
many repetitions.  The difference is the cost of the repetitions, without the interpreter's start.
It compares the counts with the record, ``instructions.json`` beside this file, and fails if one is
above its record by more than the tolerance.  ``--record`` writes the record anew.

The kernel uses 8 lanes, because valgrind does not know AVX-512, and one thread.  The counts depend
on the interpreter and the compiler, which the record names.  With another one, the comparison is
printed and nothing fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["OPERATIONS", "main"]

_RECORD = Path(__file__).with_name("instructions.json")
_TOLERANCE = 0.05

_PREPARE = """
import random
from rotortree import LeanIMT, verify_inclusion, verify_inclusion_many
row = random.Random(1).randbytes(32 * 20000)
leaves = [row[at : at + 32] for at in range(0, len(row), 32)]
tree = LeanIMT(4, 32)
tree.extend(row)
snapshot = tree.snapshot()
head = snapshot.head
proofs = list(snapshot.prove_many(range(2000)))
def run(times):
    {body}
run({times})
"""

OPERATIONS: Mapping[str, tuple[int, str]] = {
    "insert_many, per leaf": (20_000, "LeanIMT(4, 32).insert_many(row * (times // 20000))"),
    "append, per leaf": (5_000, "for i in range(times): tree.append(leaves[i])"),
    "insert, with root": (2_000, "for i in range(times): tree.insert(leaves[i])"),
    "prove": (2_000, "for i in range(times): snapshot.prove(i)"),
    "prove_many, per proof": (2_000, "snapshot.prove_many(range(times))"),
    "verify_inclusion": (
        500,
        "for i in range(times): verify_inclusion(head, i, leaves[i], proofs[i])",
    ),
    "verify_inclusion_many, per proof": (
        1_000,
        "verify_inclusion_many(head, range(times), row[: 32 * times], proofs[:times])",
    ),
    "root of a past size": (500, "for i in range(times): tree.root_at(19000 + i)"),
}
"""For each operation: the number of repetitions, and the code that repeats it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, and compare or record.  Returns the exit status: 1 if something is slower."""
    parser = argparse.ArgumentParser(prog="benchmarks/instructions.py", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the record anew")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("There is no valgrind.  On Debian and Ubuntu: apt-get install valgrind")
        return 2
    _count("pass", 0)  # compiles the imported modules, so that no later run does
    found = {operation: _per_operation(*OPERATIONS[operation]) for operation in OPERATIONS}
    machine = {
        "Python": platform.python_version(),
        "compiler": _compiler(),
        "processor": platform.machine(),
    }
    if options.record:
        record = {"machine": machine, "instructions": found}
        _RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(_RECORD.read_text(encoding="utf-8"))
    slower = _compare(found, recorded["instructions"])
    if recorded["machine"] != machine:
        print(f"The record is of {recorded['machine']}, this is {machine}: nothing fails.")
        return 0
    return 1 if slower else 0


def _compare(found: Mapping[str, int], recorded: Mapping[str, int]) -> list[str]:
    """Print a line for each operation; return those that are slower than the record allows."""
    slower = []
    for operation, count in found.items():
        change = count / recorded[operation] - 1
        if change > _TOLERANCE:
            slower.append(operation)
        mark = "  SLOWER" if change > _TOLERANCE else ""
        print(f"{operation:34} {count:>9,} instructions  {change:+7.1%}{mark}")
    return slower


def _per_operation(times: int, body: str) -> int:
    once, twice = (_count(body, number) for number in (times, 2 * times))
    return round((twice - once) / times)


def _count(body: str, times: int) -> int:
    """The number of instructions that one process executes."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONHASHSEED": "0",
        "ROTORTREE_NATIVE": "8",
        "ROTORTREE_THREADS": "1",
    }
    done = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(sys.executable, "-c", _PREPARE.format(body=body, times=times)),
        ],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None:
        raise SystemExit(f"callgrind failed:\n{done.stderr[-2000:]}")
    return int(collected[1])


def _compiler() -> str:
    """The first line of the compiler's ``--version``."""
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        return "none"
    done = subprocess.run(
        [compiler, "--version"], capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
