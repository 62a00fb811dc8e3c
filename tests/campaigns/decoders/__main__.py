"""``python -m tests.campaigns.decoders``: fuzz decoders; see the package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
"""The project."""

_WORK = ROOT / "build/fuzz"
_MOST_BYTES = 4096
_ROUND = 60.0
"""Seconds for each decoder in turn, where there is no end."""

_GUIDED = ("rotortree", "rotortree_model", "tests.campaigns.decoders")


def main(given: Sequence[str] | None = None) -> int:
    """Do what the command line says; 0 if no law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.decoders")
    parser.add_argument("command", choices=("fuzz", "corpus", "one"), nargs="?", default="fuzz")
    parser.add_argument("--decoder", action="append", help="this one alone; may be repeated")
    parser.add_argument("--seconds", type=float, default=60, help="in all; 0: for ever")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unguided", action="store_true", help="without atheris, if it is there")
    arguments = parser.parse_args(given)
    guided = importlib.util.find_spec("atheris") is not None and not arguments.unguided
    if arguments.command == "one":
        [name] = arguments.decoder
        run = _guided if guided else _unguided
        return run(name, arguments.seconds, arguments.seed)
    return _all(arguments, guided)


def _all(arguments: argparse.Namespace, guided: bool) -> int:
    from tests.campaigns.decoders.corpus import DECODERS, write

    if arguments.command == "corpus":
        write(ROOT)
        return 0
    names = arguments.decoder or list(DECODERS)
    print("guided by coverage, with atheris" if guided else "not guided: without atheris")
    seconds = arguments.seconds * arguments.jobs / len(names) or _ROUND
    for seed in itertools.count(arguments.seed):
        work = partial(_process, seconds, seed, guided)
        with ThreadPoolExecutor(arguments.jobs) as executor:
            codes = list(executor.map(work, names))
        if arguments.seconds or any(codes):
            return max(codes)
    raise AssertionError("counting has no end")


def _process(seconds: float, seed: int, guided: bool, name: str) -> int:
    """Fuzz one decoder in a process of its own: libFuzzer ends the one that it is in."""
    command = [sys.executable, "-m", "tests.campaigns.decoders", "one", "--decoder", name]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    command += [] if guided else ["--unguided"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode:
        print(*lines, sep="\n", flush=True)
    else:
        print(f"{name}: {lines[-1] if lines else ''}", flush=True)
    return done.returncode


def _unguided(name: str, seconds: float, seed: int) -> int:
    """Random choices, until the time is over."""
    from tests.campaigns.decoders.fuzzing import target

    run, drawn, count = target(name, ROOT, keeps=True), random.Random(f"{seed} {name}"), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run(drawn.randbytes(drawn.choice((64, 256, 1024))))
        count += 1
    print(f"{count:,} inputs")
    return 0


def _guided(name: str, seconds: float, seed: int) -> int:
    """Choices that libFuzzer makes by what they cover; it ends the process."""
    atheris: Any = importlib.import_module("atheris")  # in an extra of its own, and untyped
    with atheris.instrument_imports(include=list(_GUIDED)):
        from tests.campaigns.decoders.fuzzing import target
    folder = _WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-max_len={_MOST_BYTES}",
        "-len_control=0",
    ]
    options += [
        "-timeout=20",
        "-rss_limit_mb=2048",
        f"-seed={seed + 1}",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder)], target(name, ROOT, keeps=True))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
