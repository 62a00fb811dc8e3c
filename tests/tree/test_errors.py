"""Errors as values: what they say, and that they go from one process to another."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from rotortree import LeanIMT, errors
from rotortree.errors import RotorTreeError, shown

SOME: tuple[RotorTreeError, ...] = (
    errors.InvalidConfigError("n", 10**50, "it must be small"),
    errors.InvalidLeafError("no leaf", 3),
    errors.EmptyBatchError(),
    errors.CapacityExceededError(1, 2, 3, "2 ** 63 - 1"),
    errors.MaxDepthExceededError(7, 10, 16, "n ** max_depth"),
    errors.IndexOutOfRangeError("leaf", 5, 4),
    errors.InvalidProofError("no proof"),
    errors.NoUpdateNeededError(5),
    errors.ClosedError("closed"),
    errors.ReentrantError("called from a callback"),
    errors.ReadOnlyError("tree"),
    errors.FileLockedError("tree/LOCK"),
    errors.TreeNotFoundError("tree"),
    errors.NotATreeError("tree", "a file"),
    errors.ConfigMismatchError("tree", "n", 2, 3),
    errors.IoFailedError("tree", "open", OSError(5, "no luck")),
    errors.SyncFailedError("tree", "sync", OSError(5, "no luck")),
    errors.FlushFailedError("not durable", retryable=True),
    errors.DetachedError("tree", "was removed"),
    errors.CheckpointFailedError("no checkpoint"),
    errors.UnsupportedFormatError("tree/COMMIT", 2, 1),
    errors.DataCorruptionError("tree/COMMIT", 8, "damaged", (3, 5)),
    errors.ChecksumMismatchError("tree/COMMIT", 144, "seal"),
    errors.WalCorruptedError("tree/wal", 160, "lost", (0, 9)),
)
"""One of each class that is raised."""

WAYS: tuple[Callable[[RotorTreeError], RotorTreeError], ...] = (
    copy.copy,
    copy.deepcopy,
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
)


def test_there_is_one_of_each_error() -> None:
    """All classes of the module but the three that only group others."""
    groups = {"RotorTreeError", "StorageError", "TreeError"}
    assert {type(error).__name__ for error in SOME} == {*errors.__all__} - groups - {"shown"}


@pytest.mark.parametrize("error", SOME, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_pickling(error: RotorTreeError) -> None:
    """Class, message, arguments and attributes, notes included: another process may raise it."""
    error.add_note("seen")
    for way in WAYS:
        again = way(error)
        assert again is not error
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
        assert vars(again) == vars(error)


def test_an_error_of_a_call_is_the_same_after_pickling() -> None:
    """A leaf that is not there, as a pool of processes sends it to its parent."""
    with pytest.raises(errors.IndexOutOfRangeError) as caught:
        LeanIMT().snapshot().prove(5)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == "leaf 5 is outside of [0, 0)"
    assert (again.what, again.value, again.stop) == ("leaf", 5, 0)


def test_values_that_python_does_not_print_are_shown() -> None:
    """Integers of more than 4300 digits, alone and inside of others, by size or by kind."""
    assert shown(5) == "5"
    assert shown("ä") == "'ä'"
    assert shown(10**5000) == "an integer of 16610 bits"
    assert shown([10**5000]) == "a value of type list"
    assert shown([5]) == "[5]"
