"""Everything that is small: every history, every crash in it; and whether that notices anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rotortree import ConsistencyProof, InclusionProof, LeanIMT, Snapshot, kernel
from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.subjects.tree.life import Life, Options
from tests.campaigns.exhaustive import campaign as campaigns
from tests.campaigns.exhaustive.campaign import (
    HISTORIES_ARE_EVIDENCE_OF,
    QUIET,
    SHORT,
    WRITES,
    Bounds,
    campaign,
    check_counts,
)
from tests.campaigns.exhaustive.histories import (
    ALPHABET,
    CREATE,
    Explored,
    History,
    Step,
    Violation,
    expand,
    explore,
    steps_of,
)
from tests.campaigns.exhaustive.shapes import Counts, check_shapes
from tests.campaigns.exhaustive.state import fingerprint_of
from tests.campaigns.kill_score.planted import PLANTED
from tests.campaigns.trace.records import FOLDER, read_records

PREFIX = PROFILES["prefix"]


@pytest.mark.evidence("exhaustive", *HISTORIES_ARE_EVIDENCE_OF)
@pytest.mark.parametrize("name", list(SHORT.histories))
def test_every_short_history_and_every_crash_in_it(name: str) -> None:
    """All histories of 4 operations out of 10 (n = 2), of 3 (n = 3; two options): as the model.

    Leaves, roots, proofs, the durable watermark; and after a crash at any point of them a reader,
    a writer, the next writer and the model's reader find one tree, and a legal one.
    """
    options, length = SHORT.histories[name]
    found = explore(options, length, expand)
    check_counts(found, length)
    assert found.images > 200


def test_histories_that_share_a_state_share_their_future() -> None:
    """All 111 histories of up to two operations, none left out: one state has one continuation.

    It is what every letter leads to: states, operations of the disk, crash states, disks.
    """
    lengths = (product(ALPHABET, repeat=length) for length in range(3))
    histories: list[History] = [(CREATE, *letters) for some in lengths for letters in some]
    assert len(histories) == 111
    [[created]] = expand(Options(), [()])
    steps = dict(zip(histories, expand(Options(), histories), strict=True))
    states: dict[History, bytes] = {(CREATE,): created.state}
    for history, continuations in steps.items():
        states |= {(*history, step.letter): step.state for step in continuations}
    futures: dict[bytes, list[Step]] = {}
    for history, continuations in steps.items():
        assert futures.setdefault(states[history], continuations) == continuations, history
    assert len(futures) < len(histories) / 2


def living(*letters: str) -> Life:
    """A life that went through a history."""
    life = Life(Options())
    life.live(steps_of(life.options, (CREATE, *letters)))
    return life


HIDDEN: dict[str, Callable[[Life], object]] = {
    "a flag": lambda life: setattr(engine_of(life)._flusher, "_is_scheduled", False),
    "the log's next offset": lambda life: setattr(segment_of(life), "end", (7, b"", 0)),
    "where segments begin": lambda life: log_of(life)._bases.clear(),
    "what is recorded": lambda life: setattr(log_of(life), "_recorded", 1),
    "the watermark": lambda life: setattr(engine_of(life).durable, "value", 1),
    "a checkpoint begun": lambda life: setattr(engine_of(life)._checkpointer, "_begun", 7),
    "a set of names": lambda life: writer_of(life)._durable_names.add("x"),
    "a held lock": lambda life: engine_of(life)._insert_lock.acquire(),
    "another lock": lambda life: engine_of(life)._flusher._flushing.acquire(),
    "a closed file": lambda life: segment_of(life).file.close(),
    "random bytes": lambda life: log_of(life)._environment.random_bytes(16),
    "a leaf": lambda life: engine_of(life).tree.append(bytes(32)),
    "the disk": lambda life: life.disk.mkdir("x"),
    "the model": lambda life: setattr(life, "issued", life.issued + 1),
}
"""Changes that nothing but the future of a tree shows."""


def engine_of(life: Life) -> Any:
    """What is behind the tree."""
    assert life.tree is not None
    return life.tree._engine


def log_of(life: Life) -> Any:
    """The log of the tree."""
    return engine_of(life)._opened.log


def segment_of(life: Life) -> Any:
    """Its open segment."""
    return log_of(life)._segment


def writer_of(life: Life) -> Any:
    """What writes level files."""
    return engine_of(life)._opened.writer


@pytest.mark.parametrize("name", list(HIDDEN))
def test_a_state_is_another_one_if_anything_in_it_is(name: str) -> None:
    """Each hidden change is another fingerprint; the same life again has the same one."""
    letters = ("batch", "checkpoint", "insert", "flush")
    life, same = living(*letters), living(*letters)
    before = fingerprint_of(life, PREFIX)
    assert fingerprint_of(same, PREFIX) == before
    HIDDEN[name](life)
    assert fingerprint_of(life, PREFIX) != before
    for one in (life, same):
        one.end()


NOTICED = {
    "no fsync of the log": ("n = 2", 1),
    "acknowledged before the write": ("n = 2", 1),
    "close without a record": ("n = 2", 2),
    "commit before the level files": ("n = 2", 2),
    "no fsync of a new segment": ("n = 2", 1),
    "no sync of wal/ by a checkpoint": ("n = 2", 3),
    "nodes in the wrong level file": ("n = 2", 3),
    "acknowledgements not recorded": ("n = 2, acknowledgements recorded", 1),
    "a flush into zeros is not synced": ("n = 2, zeros ahead", 2),
    "no sync of wal/ by a roll": ("n = 2, small segments", 3),
    "replacement forgets leaves": ("n = 2, segments that are replaced", 1),
    "MORE not written": ("n = 2, zeros ahead", 3),
}
"""Planted faults, with which options they show, and the length of the first history that does."""


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", list(NOTICED))
def test_planted_faults_are_found_by_a_short_history(name: str) -> None:
    """At the length that is listed, and no shorter history shows them."""
    which, length = NOTICED[name]
    options, _ = SHORT.histories[which]
    with PLANTED[name].apply():
        if length > 1:
            explore(options, length - 1, expand)
        with pytest.raises(Violation):
            explore(options, length, expand)


def test_counts_that_are_not_what_they_must_be_are_refused() -> None:
    """A letter left out, one that does nothing, one that should not, and no crash: each fails."""
    right = explore(Options(), 2, expand)
    check_counts(right, 2)

    def fewer(options: Options, histories: Sequence[History]) -> list[list[Step]]:
        return [steps[:9] for steps in expand(options, histories)]

    with pytest.raises(AssertionError, match="histories, and there are"):
        check_counts(explore(Options(), 2, fewer), 2)
    for letter in WRITES:
        with pytest.raises(AssertionError, match="nothing was written"):
            check_counts(with_operations(right, letter, 0), 2)
    for letter in QUIET:
        with pytest.raises(AssertionError, match="the disk was changed"):
            check_counts(with_operations(right, letter, 1), 2)
    with pytest.raises(AssertionError, match="crashes by length"):
        check_counts(replace(right, crashes=[19, 0]), 2)


def with_operations(found: Explored, letter: str, count: int) -> Explored:
    """The same, with another number of operations of the disk by one letter."""
    return replace(found, disk_operations=Counter(found.disk_operations | {letter: count}))


# Shapes: all of them are compared in tests/tree/test_model_agreement.py, with every kernel.


def test_a_planted_fault_in_any_part_of_a_shape_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads, levels, nodes, proofs, consistency proofs and updates that are wrong somewhere."""
    wrong: list[tuple[type, str, Callable[..., object]]] = [
        (
            LeanIMT,
            "root_at",
            lambda tree, size: bytes(32) if size == 7 else tree.snapshot(size).root,
        ),
        (Snapshot, "level_len", lambda snapshot, level: 1),
        (Snapshot, "get_node", lambda snapshot, level, index: bytes(32)),
        (Snapshot, "prove", lambda snapshot, index: InclusionProof(2, 1, 0, b"")),
        (Snapshot, "prove_consistency", lambda snapshot, old: ConsistencyProof(2, 9, 9, b"")),
        (ConsistencyProof, "update", lambda proof, old, *heads: old),
    ]
    for owner, name, function in wrong:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, function)
            with pytest.raises(AssertionError):
                check_shapes(2, 9, 9)
    assert check_shapes(2, 9, 9) == Counts.expected(2, 9, 9)


def test_the_closed_forms_count_what_there_is() -> None:
    """Against counting one by one: n from 2 to 9, sizes up to 30; no shape is no count of 0."""
    for n in range(2, 10):
        assert check_shapes(n, 30, 12) == Counts.expected(n, 30, 12)
    assert Counts.expected(2, 3, 3) == Counts(4, 10, 6, 10, 10)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_campaign_writes_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: bool
) -> None:
    """A record for the shapes and one for each kind of history; a failure is a failed one."""
    if wrong:
        monkeypatch.setattr(campaigns, "check_counts", pytest.fail)
    told: list[str] = []
    bounds = Bounds(4, 4, {"n = 2": (Options(), 1)})
    assert campaign(bounds, 1, told.append, tmp_path) is not wrong
    inputs, records = read_records(tmp_path / FOLDER / "exhaustive.jsonl")
    assert inputs.kernel == kernel.NAME
    assert [record.outcome for record in records] == ["passed", "failed" if wrong else "passed"]
    assert "10 histories" in told[1] or wrong
