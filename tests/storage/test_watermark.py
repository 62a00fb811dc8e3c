"""Watermarks by themselves: who is told what, once, and when."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rotortree import ClosedError, FlushFailedError, InvalidConfigError, StorageError
from rotortree.durable.watermark import Watch, Watermark, checked_timeout
from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.interrupting import everywhere
from tests.storage.trees import leaf, open_tree


class Told:
    """A watermark, and what those who watch it were told, in order."""

    def __init__(self) -> None:
        self.forbidden: StorageError | None = None
        self.mark = Watermark(0, lambda: self.forbidden)
        self.told: list[tuple[int, StorageError | None]] = []

    def watch(self, target: int, then: Callable[[], object] = lambda: None) -> Watch:
        """Watch, and do something else when told."""

        def settled(error: StorageError | None) -> None:
            self.told.append((target, error))
            then()

        return self.mark.watch(target, settled)


def test_a_rise_tells_those_whom_it_reaches() -> None:
    """Whoever asks for what is there already is told at once; nobody is told twice."""
    watched = Told()
    for target in (1, 2, 3, 5):
        watched.watch(target)
    assert watched.told == []
    watched.mark.rise(2)
    watched.mark.rise(1)
    assert watched.mark.value == 2
    assert watched.told == [(1, None), (2, None)]
    watched.watch(2)
    assert watched.told[2:] == [(2, None)]
    watched.mark.rise(3)
    assert watched.told[3:] == [(3, None)]


def test_a_failure_tells_those_whom_it_would_have_reached() -> None:
    """Each has an error of its own, of the same cause."""
    watched, cause = Told(), OSError(28, "no room")
    error = FlushFailedError("f", retryable=True)
    error.__cause__ = cause
    for target in (1, 2, 3):
        watched.watch(target)
    watched.mark.fail(2, error)
    assert [target for target, _ in watched.told] == [1, 2]
    errors = [found for _, found in watched.told]
    assert len({id(found) for found in (error, *errors)}) == 3
    for found in errors:
        assert isinstance(found, FlushFailedError)
        assert (str(found), found.__cause__) == ("f", cause)
    watched.mark.rise(3)
    assert watched.told[2:] == [(3, None)]


def test_an_end_tells_everybody_why() -> None:
    watched = Told()
    watched.watch(1)
    watched.mark.end()
    assert watched.told == []
    watched.forbidden = ClosedError("closed")
    watched.mark.end()
    watched.watch(2)
    assert watched.told == [(1, watched.forbidden), (2, watched.forbidden)]


def test_who_is_told_within_another_is_told_once() -> None:
    """A callback raises the number as well, and is done before the rise that it is called by."""
    watched = Told()
    watched.watch(1, lambda: watched.mark.rise(2))
    watched.watch(2)
    watched.mark.rise(2)
    assert watched.told == [(1, None), (2, None)]


def test_who_is_forgotten_is_told_nothing_though_an_interrupt_comes() -> None:
    watched = Told()
    watch = watched.watch(1)

    def interrupted() -> None:
        watched.mark.forget(watch)
        raise KeyboardInterrupt

    watched.mark._why_not = interrupted
    with pytest.raises(KeyboardInterrupt):
        watched.mark.end()
    watched.mark._why_not = lambda: None
    watched.mark.rise(1)
    assert watched.told == []


@pytest.mark.evidence("exhaustive", "DURABLE-14", "DURABLE-34")
def test_an_interrupt_anywhere_in_a_rise_keeps_nobody_from_being_told() -> None:
    """Once the number has risen, whoever it reaches is told, without another rise."""
    watched = Told()

    def prepare() -> Callable[[], object]:
        nonlocal watched
        watched = Told()
        for target in (1, 2, 3):
            watched.watch(target)
        return lambda: watched.mark.rise(2)

    risen = 0
    for place in everywhere(prepare):
        told = {target for target, _ in watched.told}
        assert told == ({1, 2} if watched.mark.value else set()), place
        risen += bool(told)
        watched.mark.rise(3)
        assert {target for target, _ in watched.told} == {1, 2, 3}, place
    assert risen > 10


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, None),
        (0, 0.0),
        (-3, 0.0),
        (0.5, 0.5),
        (2, 2),
        (math.inf, threading.TIMEOUT_MAX),
        (10**400, threading.TIMEOUT_MAX),
    ],
)
def test_a_timeout_is_taken_as_threads_take_it(given: Any, taken: float | None) -> None:
    assert checked_timeout(given) == taken


@pytest.mark.parametrize("given", [math.nan, "1", b"1", [1], 1j])
def test_what_is_no_timeout_is_refused(given: Any) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        checked_timeout(given)
    assert (caught.value.parameter, caught.value.value) == ("timeout", given)
    assert str(caught.value).endswith(", but it must be a number of seconds, or None")


def test_a_wait_that_takes_too_long_says_how_long_and_leaves_nothing() -> None:
    watched = Told()
    with pytest.raises(TimeoutError) as caught:
        watched.mark.wait(1, 0.01)
    assert str(caught.value) == "not durable after 0.01 seconds"
    assert watched.mark._watches == {}
    watched.mark.wait(1, None, lambda: watched.mark.rise(1))


def test_a_token_shows_its_size_and_whether_that_is_durable() -> None:
    with open_tree(SimulatedDisk(), 2) as tree:
        token = tree.append(leaf(0))
        assert repr(token) == "<DurabilityToken for size 1>"
        tree.flush()
        assert repr(token) == "<DurabilityToken for size 1, durable>"
