"""The kill score: of the faults that are planted in the tree, how many does the harness notice?

Each fault is planted by itself, and the battery asked until a check notices it.  One that nothing
notices is a hole in the harness; or it is redundant, does no harm, which is then said with its
reason and holds only if nothing in the battery disagrees.  One of these is no fault at all, so that
the battery is judged as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal, TypeAlias, TypeVar
from unittest.mock import patch

from rotortree.durable import rotor_tree, watermark
from rotortree_faultinject.cli.pools import pool
from rotortree_faultinject.exploring.explorer import describe_error
from tests.campaigns.kill_score.battery import BATTERY, Check
from tests.campaigns.kill_score.planted import PLANTED, read_noticed

__all__ = ["Row", "Verdict", "ask", "judge", "kill_score", "score"]

Verdict: TypeAlias = Literal["caught", "redundant", "SURVIVED", "NOT REDUNDANT"]
"""``NOT REDUNDANT``: said to do no harm, and noticed all the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one fault.

    ``check`` noticed it, and ``message`` is what it said, both empty if none did.  ``states``: how
    many states, recoveries and lives were looked at until then, or in all; ``seconds`` are those of
    the processor.
    """

    fault: str
    description: str
    verdict: Verdict
    check: str
    message: str
    states: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether the harness, or what is said of the fault, is right."""
        return self.verdict in ("caught", "redundant")


_T = TypeVar("_T")

_FOR_EVER = 10.0
"""Seconds that a wait without an end may take.  Mostly nothing runs meanwhile that could end it."""


class _Impatient(SimpleQueue[_T]):
    """A queue on which nobody waits for ever."""

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """As it is; an AssertionError where a wait seems to have no end."""
        try:
            return super().get(block, _FOR_EVER if timeout is None else timeout)
        except Empty:
            if timeout is None:
                raise AssertionError("a wait does not end") from None
            raise


def _bounded() -> AbstractContextManager[object]:
    """Waits end; trees that an error leaves open are forgotten, not closed with a fault in them."""
    stack = ExitStack()
    stack.enter_context(patch.object(rotor_tree, "_close_forgotten", lambda engine: None))
    stack.enter_context(patch.object(watermark, "SimpleQueue", _Impatient))
    return stack


def ask(battery: Mapping[str, Check] = BATTERY) -> tuple[str, str, int]:
    """Ask every check until one notices something: its name, its message, states looked at."""
    states = 0
    with _bounded():
        for name, check in battery.items():
            try:
                for trial in check():
                    states += trial.states
                    if trial.message is not None:
                        return name, trial.message, states
            except Exception as error:
                return name, describe_error(error), states + 1
    return "", "", states


def judge(name: str) -> Row:
    """Plant a fault, and see whether it is noticed.  Raises ValueError for an unknown name."""
    if name not in PLANTED:
        raise ValueError(f"no planted fault {name!r}")
    fault = PLANTED[name]
    started = time.process_time()
    with fault.apply():
        check, message, states = ask(_likely_first(name))
    verdict: Verdict = "caught" if check else "SURVIVED"
    if fault.redundant:
        verdict = "NOT REDUNDANT" if check else "redundant"
    seconds = time.process_time() - started
    return Row(name, fault.description, verdict, check, message, states, seconds)


def _likely_first(name: str) -> Mapping[str, Check]:
    """The battery; the check that noticed this fault the last time comes first."""
    likely = read_noticed().get(name)
    return dict(sorted(BATTERY.items(), key=lambda item: item[0] != likely))


def kill_score(names: Iterable[str] | None = None, jobs: int = 1) -> Iterator[Row]:
    """Plant faults, or all, one after the other, ``jobs`` at a time in processes of their own.

    What came of them is yielded in their order.  Raises ValueError for names that there are not,
    before anything is done.
    """
    chosen = list(PLANTED if names is None else names)
    unknown = [name for name in chosen if name not in PLANTED]
    if unknown:
        raise ValueError(f"no planted fault {unknown[0]!r}")
    return _judged(chosen, jobs)


def _judged(names: Iterable[str], jobs: int) -> Iterator[Row]:
    with pool(jobs) as executor:
        yield from map(judge, names) if executor is None else executor.map(judge, names)


def score(rows: Sequence[Row]) -> float:
    """Caught faults among all that are not redundant, from 0 to 1; 1 where there are none."""
    caught = sum(row.verdict == "caught" for row in rows)
    counted = sum(row.verdict != "redundant" for row in rows)
    return caught / counted if counted else 1.0
