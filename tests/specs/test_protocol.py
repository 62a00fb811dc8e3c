"""The protocol model: it holds, its mutants do not, and production speaks its words.

`make spec` searches it in full.
"""

from __future__ import annotations

import os
import re
import shutil

import pytest

from rotortree_faultinject.disk.operations import Operation
from rotortree_faultinject.subjects.tree.life import Life, Options, abandon
from tests.campaigns.kill_score.planted import PLANTED
from tests.campaigns.planting import Edit, PlantingError
from tests.campaigns.protocol.__main__ import main
from tests.campaigns.protocol.checks import PROPERTIES, SMALL, Property, check
from tests.campaigns.protocol.mutants import MUTANTS, Mutant
from tests.campaigns.protocol.spin import MODEL, search
from tests.campaigns.protocol.words import UnknownOperationError, accepts, known_calls, word_of

MARKS = {
    "open": "OPENED",
    "flush": "DURABLE",
    "checkpoint": "CHECKPOINTED",
    "close": "CLOSED",
    "kill": "KILLED",
    "crash": "POWER_FAILED",
}
"""What a step of a life is in a word, when it is done."""

CREATED = ("open", "insert 4", "flush", "checkpoint", "close")
LIVES = {
    "a checkpoint": (CREATED, {}, 0),
    "levels of two checkpoints": (
        ("open", "insert 4", "checkpoint", "insert 4", "checkpoint", "insert 4", "close"),
        {"BATCHES": 3, "SEGMENTS": 5},
        0,
    ),
    "kills": (
        ("open", "insert 4", "flush", "kill", "open", "insert 4", "checkpoint", "kill", "open"),
        {"BOOTS": 3, "SEGMENTS": 7},
        0,
    ),
    "kills, level 1": (
        ("open", "insert 4", "flush", "kill", "open", "insert 4", "checkpoint", "kill", "open"),
        {"BOOTS": 3, "SEGMENTS": 7},
        1,
    ),
    "power failures": (
        ("open", "insert 4", "checkpoint", "insert 4", "flush", "crash", "open", "close"),
        {"BOOTS": 2, "SEGMENTS": 5},
        0,
    ),
    "closed and opened": (
        ("open", "insert 4", "flush", "close", "kill", "open", "insert 4", "close"),
        {"BOOTS": 2, "SEGMENTS": 4},
        0,
    ),
    "a write that fails half-way": (
        ("open", "insert 4", "fault pwritev *.wal h", "flush", "insert 4", "flush", "close"),
        {"FAULTS": 1},
        0,
    ),
    "a sync that fails": (
        ("open", "insert 4", "fault sync *.wal x", "flush", "kill", "open", "insert 4", "close"),
        {"BOOTS": 2, "SEGMENTS": 5, "FAULTS": 1},
        0,
    ),
}
"""Steps, bounds that the model needs for them, and the level whose files are looked at."""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Spin and gcc, or a skip; ROTORTREE_REQUIRE_SPIN=1 makes it a failure."""
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if missing:
        message = f"there is no {' and no '.join(missing)}; on Debian: apt-get install spin gcc"
        if os.environ.get("ROTORTREE_REQUIRE_SPIN", "0") not in ("", "0"):
            pytest.fail(message)
        pytest.skip(message)


def word_of_life(name: str) -> tuple[list[str], dict[str, int]]:
    """The word of a life, and bounds in which the model should know it."""
    steps, bounds, level = LIVES[name]
    life, word = Life(Options(n=4, groups=2)), list[str]()
    for step in steps:
        if step == "crash":
            word += word_of(life.disk.log, level)  # which the crash begins anew
        life.do(step)
        if step in MARKS:
            life.disk.mark(MARKS[step])
    word += word_of(life.disk.log, level)
    if life.tree is not None:
        abandon(life.tree)
    return word, SMALL | {"BOOTS": 0} | bounds


@pytest.mark.evidence("example", "FORMAT-11", "FORMAT-36", "FORMAT-50", "FORMAT-68")
@pytest.mark.parametrize("name", LIVES)
def test_what_production_does_to_a_disk_is_a_word_of_the_model(name: str) -> None:
    """Created, flushed, checkpointed, closed, killed, crashed, failing: the same calls in order."""
    word, bounds = word_of_life(name)
    assert word[-1] == MARKS[LIVES[name][0][-1]]
    assert accepts(word, bounds)


@pytest.mark.parametrize("at", [29, 37])
def test_a_word_that_lacks_a_call_is_none_of_the_model(at: int) -> None:
    """Without one of its syncs or renames the word of a checkpoint is refused."""
    word, bounds = word_of_life("a checkpoint")
    assert not accepts(word[:at] + word[at + 1 :], bounds)


@pytest.mark.parametrize(
    ("call", "other"),
    [
        ("UNIT_WRITE 1", "UNIT_WRITE 2"),
        ("UNIT_SYNC 1", "UNIT_SYNC 2"),
        ("SEGMENT_RENAME 2", "SEGMENT_RENAME 3"),
        ("SEGMENT_UNLINK 1", "SEGMENT_UNLINK 2"),
    ],
)
def test_a_call_on_another_segment_is_none_of_the_model(call: str, other: str) -> None:
    """To write to, sync or delete another segment than the protocol says is another word."""
    word, bounds = word_of_life("a checkpoint")
    at = word.index(call)
    assert not accepts([*word[:at], other, *word[at + 1 :]], bounds)


def test_the_cut_after_a_failed_write_is_of_the_open_segment() -> None:
    """What a failed write left is cut off where it was written, and written again there."""
    word, _ = word_of_life("a write that fails half-way")
    at = word.index("UNIT_WRITE 1")
    again = ["UNIT_WRITE 1", "UNIT_SYNC 1", "DURABLE"]
    assert word[at : at + 6] == ["UNIT_WRITE 1", "UNIT_CUT 1", "DURABLE", *again]


@pytest.mark.parametrize(
    "fault",
    [
        "no fsync of level files",
        "segments deleted before the commit",
        "wal/ synced before the new segment's rename",
    ],
)
def test_a_changed_order_of_production_is_noticed(fault: str) -> None:
    """Production with a step left out or moved does not speak the model's words any more."""
    with PLANTED[fault].apply():
        word, bounds = word_of_life("a checkpoint")
    assert not accepts(word, bounds)


def test_a_new_operation_of_production_is_noticed() -> None:
    """What is done to a path or in a way that the model has no name for is an error."""
    with pytest.raises(UnknownOperationError, match="write tree/index"):
        word_of([Operation("write", "tree/index")])


def test_the_names_of_calls_are_those_of_the_model() -> None:
    """Every call that a word may have is one of the model's, and the other way round."""
    text = (MODEL / "log.pml").read_text(encoding="utf-8")
    declared = text.split("/* calls of the file system */")[1].split("/* marks */")[0]
    assert set(re.findall(r"[A-Z_]+", declared)) == known_calls()


def test_production_makes_every_call_of_the_model() -> None:
    """Each call that the model has a name for occurs in one of the lives that are compared."""
    made = {symbol.split()[0] for name in LIVES for symbol in word_of_life(name)[0]}
    assert made - set(MARKS.values()) == known_calls()


def test_a_crash_of_one_batch_loses_nothing() -> None:
    """The model holds in the smallest bounds, and the search is complete."""
    found = search("log.pml", SMALL | {"BATCHES": 1, "SEGMENTS": 3})
    assert (found.violated, found.complete) == ("", True)
    assert found.states > 3_000


@pytest.mark.parametrize(
    "name",
    [
        "a flush is not synced",
        "segments are deleted before COMMIT's name is durable",
        "a frame whose unit is torn is trusted",
    ],
)
def test_a_mutant_is_refuted(name: str) -> None:
    """Spin finds what it must in a model with a fault, and tells how it comes to that."""
    row = next(check(item) for item in MUTANTS if item.name == name)
    assert row.is_good
    assert row.found.calls[-1] in ("POWER_FAILED", "COMMIT_RENAME")


@pytest.mark.parametrize(
    "name",
    ["the tree is never closed", "a waiter is told of no failure, and waits for ever"],
)
def test_what_never_ends_is_refuted(name: str) -> None:
    """A close that does not close and a thread that waits for ever violate the claim of progress,
    though nothing but the clock moves any more."""
    row = next(check(item) for item in MUTANTS if item.name == name)
    assert (row.result, row.is_good) == ("acceptance cycle", True)


def test_a_tree_of_which_nothing_fails_and_nobody_checkpoints_comes_to_rest() -> None:
    """The claim of progress holds in the smallest bounds, and the search is complete."""
    bounds = {"BATCHES": 1, "SEGMENTS": 1, "BOOTS": 0, "CHECKPOINTS": 0}
    found = search("progress.pml", SMALL | bounds)
    assert (found.violated, found.complete) == ("", True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_the_bounds_of_a_mutant_are_within_those_of_a_search(mutant: Mutant) -> None:
    """Where a mutant is refuted the model itself is searched: what refutes it is the fault.

    ROLLING and FOLD say what the protocol does and not how much of it, so they must be equal.
    """

    def covers(row: Property) -> bool:
        large, small = SMALL | row.bounds, SMALL | mutant.bounds
        is_alike = row.file == mutant.file and (large["BOOTS"] > 0) == (small["BOOTS"] > 0)
        is_alike &= all(large[name] == small[name] for name in ("ROLLING", "FOLD"))
        return is_alike and all(large[name] >= small[name] for name in SMALL)

    assert any(map(covers, PROPERTIES))


def test_a_property_that_is_violated_is_not_good() -> None:
    """A violated property is said so, and so is a mutant that survives."""
    bounds = {"BATCHES": 1, "BOOTS": 0, "CHECKPOINTS": 0, "FOLD": 0}
    edit = Edit("recovery.pml", "found_durable = before; ", "found_durable = size; ")
    survivor = check(Mutant("survivor", "refused", (edit,), bounds))
    assert (survivor.result, survivor.is_good) == ("SURVIVED", False)
    deadlock = check(Property("too few segments", {**bounds, "SEGMENTS": 0}))
    assert not deadlock.is_good


def test_an_edit_that_does_not_fit_is_an_error() -> None:
    """A mutant cannot rot unnoticed: a piece that is not there once is an error."""
    with pytest.raises(PlantingError, match="0 times, not once"):
        search("log.pml", SMALL, [Edit("log.pml", "no such text", "")])


def test_missing_programs_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Spin the command says in one line what to install, and fails."""
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert main([]) == 2
    assert capsys.readouterr().err == "There is no spin. On Debian: apt-get install spin\n"


def test_names_are_unique() -> None:
    """No two rows of the table have the same name; there are at least twelve mutants."""
    names = [item.name for item in (*PROPERTIES, *MUTANTS)]
    assert len(set(names)) == len(names)
    assert len(MUTANTS) >= 12
