"""The files that commands write, and how far they are."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from rotortree_faultinject.exploring.finding import Finding
from rotortree_faultinject.exploring.report import Result, json_lines, junit_xml, states_per_second

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Monitor", "Outputs", "print_table"]

_SHOWN_SECONDS = 0.1
_WIDEST = 1000


class Outputs:
    """The output files of a command.

    They are opened before the work begins, so that a wrong name is an error at once.  Raises
    OSError.
    """

    def __init__(
        self, jsonl: str | None = None, junit: str | None = None, findings: str | None = None
    ) -> None:
        self._directory = None if findings is None else Path(findings)
        self._results: list[Result] = []
        with ExitStack() as stack:
            if self._directory is not None:
                self._directory.mkdir(parents=True, exist_ok=True)
            self._jsonl = _opened(jsonl, stack)
            self._junit = _opened(junit, stack)
            self._files = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._files:
            if self._junit is not None:
                self._junit.write(junit_xml(self._results))

    def add(self, result: Result) -> None:
        """Write what can be written of a result now, and keep the rest for the end."""
        self._results.append(result)
        if self._jsonl is not None:
            self._jsonl.writelines(f"{line}\n" for line in json_lines(result))
            self._jsonl.flush()

    def save(self, finding: Finding, name: str) -> str:
        """Save a finding in the directory for them, under a name of its own; return its path."""
        assert self._directory is not None
        mark = hashlib.sha256(json.dumps(finding.to_json()).encode()).hexdigest()[:8]
        words = f"{name} {finding.profile} {finding.check}".lower()
        path = self._directory / f"{re.sub('[^a-z0-9]+', '-', words).strip('-')[:80]}-{mark}.json"
        finding.save(path)
        return str(path)


def _opened(name: str | None, stack: ExitStack) -> IO[str] | None:
    return None if name is None else stack.enter_context(open(name, "w", encoding="utf-8"))


class Monitor:
    """Shows on stderr how far an exploration is, and its rate, if that is a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._next = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            # Imported late: it takes longer than some commands do.
            from rich import progress
            from rich.console import Console

            self._progress = progress.Progress(
                progress.SpinnerColumn(),
                progress.TextColumn("{task.description}"),
                progress.TextColumn("{task.completed:,.0f} states"),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
            )
            self._progress.add_task("", total=None, rate="")
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, title: str) -> None:
        """Start the progress line of the next subject."""
        if self._progress is not None:
            self._progress.reset(self._progress.task_ids[0], description=title, rate="")

    def show(self, states: int, seconds: float) -> None:
        """So many states of it were checked, in so many seconds."""
        now = time.monotonic()
        if self._progress is None or now < self._next:
            return
        self._next = now + _SHOWN_SECONDS
        rate = states_per_second(states, seconds)
        self._progress.update(self._progress.task_ids[0], completed=states, rate=rate)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, as wide as it needs: output for a pipe or a search is never cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=_WIDEST, markup=False, highlight=False).print(table)
