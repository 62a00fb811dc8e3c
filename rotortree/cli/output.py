"""Output of commands: results on stdout, as text or JSON, and the progress of an append."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rotortree.cli.files import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["AppendProgress", "Values", "hexadecimal", "show"]

Values = Mapping[str, object]
"""A result by name: numbers, strings, truth values, None, lists and objects of them."""

_LINE_SECONDS = 1.0
"""Without a terminal, a line says how much was read, at most this often."""


def show(values: Values, text: str | None = None, *, as_json: bool) -> None:
    """Print a result: one JSON object on one line, or else ``text``, or else a table of values."""
    if as_json:
        print(json.dumps(values))
    else:
        print(_table(values) if text is None else text)


def _table(values: Values) -> str:
    width = max(map(len, values))
    return "\n".join(f"{name.replace('_', ' '):{width}}  {_cell(values[name])}" for name in values)


def _cell(value: object) -> str:
    match value:
        case None | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case list():
            return "; ".join(map(str, value))
    return str(value)


def hexadecimal(node: bytes | None) -> str | None:
    """A leaf, node or root as hexadecimal digits, for JSON and text; None for no root."""
    return None if node is None else node.hex()


class AppendProgress:
    """Shows the progress of an append: a bar on a terminal, else plain lines, or nothing.

    The bar goes to stderr, the lines to stdout.
    """

    def __init__(self, total: int | None, *, silent: bool) -> None:
        self._total = total
        self._bar: Progress | None = None
        self._lines = not silent and not is_terminal(sys.stdout)
        self._leaves = 0
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if is_terminal(sys.stderr):
            # Imported late: the import takes longer than most commands run.
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TextColumn("{task.completed:,.0f} leaves"),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
            )
            self._bar.add_task("reading", total=self._total, rate="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def read(self, leaves: int) -> None:
        """Count leaves that were read, and show the new rate."""
        self._leaves += leaves
        now = time.monotonic()
        rate = f"{self._leaves / max(now - self._started, 1e-9):,.0f}/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._leaves, rate=rate)
        elif self._lines and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            print(f"read {self._leaves} leaves, {rate}", flush=True)

    def durable(self, size: int) -> None:
        """Show that the tree's first ``size`` leaves are durable now."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=f"durable: {size:,}")
        if self._lines:
            print(f"durable {size}", flush=True)
