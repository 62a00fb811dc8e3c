"""Symbolic execution: a bounded part of ``make symbolic``, and that it notices what is wrong."""

from __future__ import annotations

import importlib.util
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rotortree import encoding
from rotortree.storage import format as layouts
from tests.campaigns.planting import PlantingError
from tests.campaigns.symbolic import stand_ins
from tests.campaigns.symbolic.__main__ import KEPT, problems, read_kept
from tests.campaigns.symbolic.checking import (
    ROOT,
    Condition,
    Job,
    Outcome,
    check_all,
    read_conditions,
)
from tests.campaigns.symbolic.plants import PLANTS, Plant
from tests.campaigns.symbolic.stand_ins import HashStandIn, packed, unpacked
from tests.campaigns.trace.requirements import read_requirements

QUICK = (
    "decision.a_log_of_two_segments_means_the_same",
    "decision.nothing_acknowledged_is_dropped",
    "decision.the_end_of_a_log_means_the_same",
    "encodings.decoding_gives_what_was_encoded",
    "encodings.every_field_is_where_the_text_has_it",
    "layouts.a_level_header_is_that_of_the_model",
    "layouts.a_segment_header_is_what_the_model_reads",
    "shape.depth_is_that_of_the_model",
)
"""Conditions that take about a second each, of all four modules."""

SEALS = "layouts.a_segment_header_is_what_the_model_reads"
"""The one of them whose fault is that most of the data is not hashed."""

FALSE = '''
def always(number: int) -> bool:
    """
    pre: 0 <= number < 5
    post: _
    """
    return number < 5


def never_looked_at(number: int) -> bool:
    """
    pre: number < 0 < number
    post: _
    """
    return True


def wrong_once(number: int) -> bool:
    """
    pre: number >= 0
    post: _
    """
    return number != 123456789


def fails(number: int) -> bool:
    """
    pre: number >= 0
    post: _
    """
    return 1 // (number - 77) < 5


def too_many_paths(text: str) -> bool:
    """
    post: _
    """
    return text.upper().upper() == text.upper()
'''
"""A module of conditions, and what must become of each is in the test."""


def test_every_condition_has_a_sentence_and_requirements_that_exist() -> None:
    """A condition is part of the specification: it says in a sentence what holds, and of what."""
    identifiers = set(read_requirements(ROOT))
    conditions = read_conditions()
    assert {condition.name.split(".")[0] for condition in conditions} == {
        "decision",
        "encodings",
        "layouts",
        "shape",
    }
    for condition in conditions:
        assert condition.sentence.endswith("."), condition
        assert condition.requirements, condition
        assert set(condition.requirements) <= identifiers, condition


def test_the_kept_list_has_every_condition_and_nothing_else() -> None:
    """What is confirmed is written down, and what is not is written down as that."""
    kept = read_kept(KEPT.read_text(encoding="utf-8"))
    assert sorted(kept) == sorted(condition.name for condition in read_conditions())
    assert {name for name in QUICK if kept[name] is None} == set(QUICK)


def test_every_plant_has_its_place_and_its_condition() -> None:
    """What a plant replaces stands in its module, once; it is a fault in code that is there."""
    names = {condition.name for condition in read_conditions()}
    assert len(set(PLANTS)) == len(PLANTS)
    for fault in PLANTS:
        spec = importlib.util.find_spec(fault.where)
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8")
        compile(fault.edited(text), fault.where, "exec")
        assert fault.condition in names


def test_a_plant_without_a_place_is_an_error() -> None:
    """An edit that would change nothing, or that could be meant for two places, is refused."""
    for text in ("size", "a < b or a < b"):
        with pytest.raises(PlantingError, match=r"module has 'a < b' [02] times, not once"):
            Plant("module", "a < b", "a <= b", "shape.x").edited(text)


def test_quick_conditions_are_confirmed_and_faults_refuted() -> None:
    """Some conditions hold on all paths; on copies with a fault they have counterexamples."""
    faults = [next(fault for fault in PLANTS if fault.condition == name) for name in QUICK[:1]]
    faults += [fault for fault in PLANTS if fault.where == "rotortree.storage.log_reader"]
    faults += [fault for fault in PLANTS if fault.condition in (QUICK[-1], SEALS)]
    jobs = [Job(name, 30) for name in QUICK] + [Job(fault.condition, 30, fault) for fault in faults]
    outcomes = list(check_all(jobs, min(2, os.cpu_count() or 1)))
    expected = ["confirmed"] * len(QUICK) + ["refuted"] * len(faults)
    assert [outcome.state for outcome in outcomes] == expected, outcomes
    assert all(outcome.paths > 1 for outcome in outcomes[: len(QUICK)])
    assert len(faults) >= 5


def test_what_is_not_confirmed_is_told_apart(tmp_path: Path) -> None:
    """A counterexample, an exception, too many paths, bounds that nothing meets: no proofs."""
    (tmp_path / "wrong.py").write_text(FALSE, encoding="utf-8")
    names = ("always", "never_looked_at", "wrong_once", "fails", "too_many_paths")
    script = (
        "import sys\n"
        "from tests.campaigns.symbolic import conditions, checking, stand_ins\n"
        "conditions.__path__.append(sys.argv[1])\n"
        "install, stand_ins.install = stand_ins.install, lambda: None\n"
        "install()\n"
        "for name in sys.argv[2:]:\n"
        "    print(checking.check(checking.Job(f'wrong.{name}', 2)).state)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), *names]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "model")])}
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["confirmed", "broken", "refuted", "refuted", "unrefuted"]


def outcome(state: str, fault: Plant | None = None) -> Outcome:
    """Of the condition of the next test."""
    return Outcome(Job("shape.x", 1, fault), state, "why", 3, 0.1)


def test_every_difference_from_the_kept_list_is_a_problem() -> None:
    """A condition that is no longer confirmed fails, and so do new ones, lost ones, and faults."""
    conditions = [Condition("shape.x", "It is.", ("TREE-1",), 1)]
    caught = [outcome("refuted", fault) for fault in PLANTS]
    confirmed, unrefuted = read_kept("# x\nconfirmed shape.x\n"), read_kept("unrefuted shape.x 5\n")
    assert (confirmed, unrefuted) == ({"shape.x": None}, {"shape.x": 5.0})
    assert problems(conditions, confirmed, [outcome("confirmed"), *caught]) == []
    assert problems(conditions, unrefuted, [outcome("unrefuted"), *caught]) == []
    for state in ("unrefuted", "refuted", "broken"):
        assert len(problems(conditions, confirmed, [outcome(state), *caught])) == 1
    for state in ("confirmed", "refuted", "broken"):
        assert len(problems(conditions, unrefuted, [outcome(state), *caught])) == 1
    assert len(problems(conditions, {}, [outcome("confirmed"), *caught])) == 1
    assert len(problems([], confirmed, caught)) == 1
    assert len(problems(conditions, confirmed, caught)) == 1
    assert len(problems(conditions, confirmed, [outcome("confirmed"), *caught[1:]])) == 1
    missed = outcome("unrefuted", PLANTS[0])
    assert len(problems(conditions, confirmed, [outcome("confirmed"), missed, *caught[1:]])) == 1


def test_the_stand_in_for_struct_is_struct() -> None:
    """For every layout of production, the arithmetic in Python packs and unpacks the same."""
    found = [value for module in (encoding, layouts) for value in vars(module).values()]
    structs = [value for value in found if isinstance(value, struct.Struct)]
    assert len(structs) == 6
    draw = random.Random(20260726)
    for layout in structs:
        for _ in range(50):
            data = draw.randbytes(layout.size)
            values = layout.unpack(data)
            assert unpacked(layout.format, data) == values
            assert packed(layout.format, *values) == layout.pack(*values)
        with pytest.raises(struct.error):
            unpacked(layout.format, bytes(layout.size + 1))
        with pytest.raises(struct.error):
            packed(layout.format, *layout.unpack(bytes(layout.size)), 0)
    for number in (-1, 256**4):
        with pytest.raises(struct.error):
            packed("<I", number)
    assert packed("<4s2x", b"ab") == struct.pack("<4s2x", b"ab")


def test_the_stand_in_for_blake3_is_injective(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data and key have the same digest; any other byte or length, another first half."""
    hashed: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(stand_ins, "_hashed", lambda: hashed)
    data, key = bytes(range(100)), bytes(range(100, 132))
    changed = [bytes(b ^ (at == place) for at, b in enumerate(data)) for place in range(100)]
    texts = (data, *changed, data[1:], data[:-1], data + b"\0", b"")
    inputs: list[tuple[bytes, bytes | None]] = [(text, key) for text in texts]
    inputs += [(data, None), (data, b"!" + key[1:]), (data, key[:-1] + b"!")]
    digests = [HashStandIn(text, key=under).digest() for text, under in inputs]
    assert {len(digest) for digest in digests} == {32}
    assert len({digest[:16] for digest in digests}) == len(inputs)
    again = [HashStandIn(text, key=under).digest(16) for text, under in reversed(inputs)]
    assert again[::-1] == [digest[:16] for digest in digests]
