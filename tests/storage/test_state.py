"""The states of an open tree, and what each of them says."""

from __future__ import annotations

import os

import pytest

from rotortree import ClosedError, DetachedError, FlushFailedError
from rotortree.durable.state import TreeState
from rotortree.errors import SyncFailedError

PATH = "/srv/tree"


def test_a_closed_tree_and_one_of_a_parent_say_so() -> None:
    state = TreeState(PATH)
    state.check_readable()
    state.closed = True
    with pytest.raises(ClosedError) as caught:
        state.check_readable()
    assert str(caught.value) == f"{PATH} is closed"
    state.home.leave()
    with pytest.raises(ClosedError) as caught:
        state.check_readable()
    words = f"{PATH} was opened by process {os.getpid()}, of which this is a fork"
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (SyncFailedError("f", "fsync", OSError(5, "why")), "f: fsync failed: why"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_failed_tree_says_why_for_good(cause: Exception, words: str) -> None:
    """Each who asks gets an error of its own; it is not retryable."""
    state = TreeState(PATH)
    state.check_not_failed()
    assert state.why_not_durable() is None
    state.fail(cause)
    raised = []
    for _ in range(2):
        with pytest.raises(FlushFailedError) as caught:
            state.check_not_failed()
        raised.append(caught.value)
    told = state.why_not_durable()
    assert isinstance(told, FlushFailedError)
    assert len({id(error) for error in (*raised, told, state.failure)}) == 4
    for error in (*raised, told):
        assert str(error).startswith(f"the tree is failed: {words}")
        assert not error.retryable


def test_a_detached_tree_fails_with_that_error() -> None:
    """A copy: the one that was raised holds the frames that it went through."""
    state, cause = TreeState(PATH), DetachedError("f", "was removed")
    state.fail(cause)
    assert isinstance(state.failure, DetachedError)
    assert state.failure is not cause
    assert (str(state.failure), state.failure.path) == (str(cause), "f")


def test_an_ended_tree_makes_nothing_durable() -> None:
    state = TreeState(PATH)
    state.ended = True
    told = state.why_not_durable()
    assert isinstance(told, ClosedError)
    assert str(told) == f"{PATH} was closed before the leaves were durable"
