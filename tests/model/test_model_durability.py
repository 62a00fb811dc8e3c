"""Durability: the set of legal outcomes of a crash, by hand and against brute force."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    History,
    acknowledge,
    after_crash,
    allowed,
    allowed_sizes,
    boundaries,
    issue,
    issued_leaves,
)

A, B, C, D, E, F = (letter * 32 for letter in (b"a", b"b", b"c", b"d", b"e", b"f"))
EXAMPLE = History(issued=((A,), (B, C, D), (E,)), acknowledged=1)
"""One leaf acknowledged, then a batch of three, then a single leaf."""

BATCHES = st.lists(
    st.lists(st.sampled_from([A, B]), min_size=1, max_size=3).map(tuple), max_size=6
).map(tuple)
"""Up to 6 batches of up to 3 leaves of only two values, so that prefixes look alike."""


def draw_history(data: st.DataObject) -> History:
    """A history, acknowledged up to some batch boundary."""
    history = History(data.draw(BATCHES))
    return acknowledge(history, data.draw(st.sampled_from(boundaries(history))))


def test_an_empty_history_allows_only_the_empty_tree() -> None:
    """Nothing issued: size 0 and no leaf."""
    assert allowed_sizes(History()) == {0}
    assert allowed(History(), ())
    assert not allowed(History(), (A,))
    assert after_crash(History(), ()) == History()


@pytest.mark.parametrize(
    ("acknowledged", "sizes"), [(0, {0, 1, 4, 5}), (1, {1, 4, 5}), (4, {4, 5}), (5, {5})]
)
def test_allowed_sizes_by_hand(acknowledged: int, sizes: set[int]) -> None:
    """Boundaries 0, 1, 4, 5 from the acknowledged one upward; 2 and 3 would split the batch."""
    assert allowed_sizes(History(EXAMPLE.issued, acknowledged)) == sizes


@pytest.mark.parametrize("recovered", [(A,), (A, B, C, D), (A, B, C, D, E)])
def test_legal_outcomes_by_hand(recovered: tuple[bytes, ...]) -> None:
    """Only what was acknowledged; one batch more; everything."""
    assert allowed(EXAMPLE, recovered)


@pytest.mark.parametrize(
    "recovered",
    [
        pytest.param((), id="acknowledged-leaf-lost"),
        pytest.param((B,), id="wrong-leaf"),
        pytest.param((A, B), id="batch-split-after-one"),
        pytest.param((A, B, C), id="batch-split-after-two"),
        pytest.param((A, C, B, D), id="reordered"),
        pytest.param((A, E), id="batch-skipped"),
        pytest.param((B, C, D, E), id="first-lost"),
        pytest.param((A, B, C, D, F), id="last-replaced"),
        pytest.param((A, B, C, D, E, F), id="invented"),
        pytest.param((A, B, C, D, E, E), id="replayed-twice"),
        pytest.param((A, B, C, D[:-1] + b"e"), id="one-byte-off"),
    ],
)
def test_illegal_outcomes_by_hand(recovered: tuple[bytes, ...]) -> None:
    """Each is not allowed, and a history does not go on from it."""
    assert not allowed(EXAMPLE, recovered)
    with pytest.raises(ValueError, match="legal outcome"):
        after_crash(EXAMPLE, recovered)


def test_a_history_goes_on_from_what_survived() -> None:
    """Lost batches are forgotten, survivors are acknowledged, and leaves are issued after them."""
    after = after_crash(EXAMPLE, (A, B, C, D))
    assert after == History(((A,), (B, C, D)), 4)
    again = issue(after, (F,))
    assert issued_leaves(again) == (A, B, C, D, F)
    assert allowed_sizes(again) == {4, 5}


@pytest.mark.parametrize("size", [-1, 2, 3, 6])
def test_an_acknowledgement_is_at_a_batch_boundary(size: int) -> None:
    """Inside a batch, past the end, or negative is ValueError."""
    with pytest.raises(ValueError, match="end of a batch"):
        acknowledge(EXAMPLE, size)


def test_an_acknowledgement_is_never_taken_back() -> None:
    """A later, smaller one changes nothing; tokens may complete in any order."""
    assert acknowledge(acknowledge(EXAMPLE, 5), 1) == acknowledge(EXAMPLE, 5)
    assert acknowledge(EXAMPLE, 0) == EXAMPLE
    assert acknowledge(EXAMPLE, 4).acknowledged == 4


def test_a_batch_has_a_leaf() -> None:
    """An empty batch is ValueError."""
    with pytest.raises(ValueError, match="at least one leaf"):
        issue(EXAMPLE, ())


def test_a_history_is_a_value() -> None:
    """Transitions return new histories; the old one cannot be changed."""
    assert issue(EXAMPLE, (F,)).issued == (*EXAMPLE.issued, (F,))
    assert issue(EXAMPLE, (F,)).acknowledged == 1
    assert len(EXAMPLE.issued) == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXAMPLE.acknowledged = 5  # type: ignore[misc]


@given(data=st.data(), recovered=st.lists(st.sampled_from([A, B]), max_size=20).map(tuple))
def test_allowed_is_some_whole_number_of_batches_with_all_that_was_acknowledged(
    data: st.DataObject, recovered: tuple[bytes, ...]
) -> None:
    """Against trying every number of batches; up to 6 batches of up to 3 leaves of two values."""
    history = draw_history(data)
    prefixes = [sum(history.issued[:count], ()) for count in range(len(history.issued) + 1)]
    legal = {leaves for leaves in prefixes if len(leaves) >= history.acknowledged}
    assert allowed(history, recovered) == (recovered in legal)
    assert all(allowed(history, leaves) for leaves in legal)
    assert allowed_sizes(history) == {len(leaves) for leaves in legal}


@given(data=st.data())
def test_a_second_crash_at_once_gives_the_same_tree(data: st.DataObject) -> None:
    """After a crash the recovered size is the only one allowed until something is issued."""
    history = draw_history(data)
    size = data.draw(st.sampled_from(sorted(allowed_sizes(history))))
    recovered = issued_leaves(history)[:size]
    after = after_crash(history, recovered)
    assert issued_leaves(after) == recovered
    assert allowed_sizes(after) == {size}
    assert after_crash(after, recovered) == after
    assert allowed_sizes(after) <= allowed_sizes(history)
