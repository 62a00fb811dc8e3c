"""Child processes that measure, one for each side.  One of them works while the others wait.

A worker is started with the arguments DIRECTORY (for its durable trees), LEAVES and SINGLES (files
of 32-byte leaves).  It reads requests from standard input, one line of five words each, and answers
with one line of JSON: the fields of `benchmarks.measure.Sample`, or ``error``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Sample, Stopwatch

__all__ = [
    "Handler",
    "Inputs",
    "Outcome",
    "Request",
    "Unavailable",
    "Worker",
    "WorkerFailed",
    "python_command",
    "serve",
]


class Unavailable(Exception):
    """A side cannot be measured.  The message says why; ``short`` says it in a few words."""

    def __init__(self, short: str, message: str) -> None:
        super().__init__(message)
        self.short = short


class WorkerFailed(Exception):
    """A worker ended, or a request to it failed."""


class Request(NamedTuple):
    """A request to a worker.  ``amount``: the number of operations, if that is not the size."""

    operation: str
    scheme: str
    n: int
    size: int
    amount: int


class Outcome(NamedTuple):
    """The result of a timed run.  See `benchmarks.measure.Sample`."""

    operations: int
    check: bytes | None = None
    figures: Mapping[str, float] = {}


Handler = Callable[[Request, Stopwatch], Outcome]
"""Prepares, times the work within ``with stopwatch:``, and checks the result."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The folder in which a worker makes its trees, and the files of its leaves."""

    directory: Path
    leaves: Path
    singles: Path


def python_command(kind: str) -> list[str]:
    """The command of a worker in Python."""
    return [sys.executable, str(Path(__file__).with_name("worker.py")), kind]


class Worker:
    """One child process, started at the first request.  ``environment`` is added to ours."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], inputs: Inputs
    ) -> None:
        self._command = [*command, *map(str, (inputs.directory, inputs.leaves, inputs.singles))]
        self._environment = environment
        self._directory = inputs.directory
        self._process: subprocess.Popen[str] | None = None

    def _started(self) -> subprocess.Popen[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **self._environment},
        )

    def ask(self, request: Request) -> Sample:
        """Send a request, and return the sample.  Raises WorkerFailed."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(" ".join(map(str, request)) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFailed(f"{self._command[0]} ended with {process.wait()}: {request}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{request}: {answer['error']}")
        return Sample(**answer)

    def close(self) -> None:
        """End the process, if it was started."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()


def serve(handlers: Mapping[str, Handler]) -> None:
    """Act as a worker: answer requests until stdin ends."""
    for line in sys.stdin:
        operation, scheme, *numbers = line.split()
        try:
            request = Request(operation, scheme, *map(int, numbers))
            answer = _answer(handlers[operation], request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _answer(handler: Handler, request: Request) -> dict[str, object]:
    stopwatch = Stopwatch()
    outcome = handler(request, stopwatch)
    sample = stopwatch.sample(outcome.operations)
    check = "" if outcome.check is None else outcome.check.hex()
    return sample._replace(check=check, figures=dict(outcome.figures))._asdict()
