"""The run of scale.py, at a size that measures nothing."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.leaves import LEAF_BYTES
from rotortree import InvalidProofError, LeanIMT

SMALL = "--leaves 2000 --batch 100 --checkpoint-every 300 --proofs 20".split()
"""Twenty batches."""


def test_a_leaf_can_be_made_again() -> None:
    """Each is the one that its batch has at its place, and they are all different."""
    row = b"".join(scale.leaves_of(batch, 10) for batch in range(3))
    leaves = [row[at : at + LEAF_BYTES] for at in range(0, len(row), LEAF_BYTES)]
    assert [scale.leaf_of(index, 10) for index in range(30)] == leaves
    assert len(set(leaves)) == 30


def test_records_the_whole_course_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every batch, a checkpoint at each interval and at the end, opening; the tree is deleted."""
    path, folder = tmp_path / "scale.json", tmp_path / "trees"
    folder.mkdir()
    assert scale.main([*SMALL, "--json", str(path), "--directory", str(folder)]) == 0
    assert list(folder.iterdir()) == []
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [batch["size"] for batch in found["batches"]] == [*range(100, 2001, 100)]
    assert [one["size"] for one in found["checkpoints"]] == [*range(300, 2000, 300), 2000]
    assert all(value > 0 for one in found["checkpoints"] for value in one.values())
    assert all(value > 0 for one in found["batches"] for value in one.values())
    assert found["end"]["proven"] == 20
    assert all(value > 0 for value in found["end"].values())
    printed = capsys.readouterr().out
    for name, text in found["summary"].items():
        assert f"{name}: {text}" in printed


def test_throughput_of_a_part_counts_what_lies_in_it() -> None:
    """Its batches and its checkpoints, nothing before and nothing after."""
    course = scale.Course(400, 4, {})
    course.batches = [scale.Batch(size, 1.0, 0, 0) for size in (100, 200, 300, 400)]
    course.checkpoints = [scale.Checkpoint(size, 2.0, 0, 0, 0, 0, 0) for size in (200, 400)]
    assert course.throughput() == 400 / 8
    assert course.throughput(0.0, 0.25) == 100
    assert course.throughput(0.25, 0.5) == 100 / 3
    assert course.throughput(0.5, 1.0) == 200 / 4


def test_an_opened_tree_must_be_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a leaf that is made again is not the one that the tree proves, the run fails."""
    monkeypatch.setattr(scale, "leaf_of", lambda index, per_batch: bytes(LEAF_BYTES))
    with pytest.raises(InvalidProofError):
        scale.main([*SMALL, "--directory", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    ["--leaves 150 --batch 10 --checkpoint-every 15", "--leaves 90 --batch 10", "--leaves 105"],
    ids=str,
)
def test_refuses_parts_of_batches(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, before anything is written."""
    assert scale.main(arguments.split()) == 2
    assert "multiples of --batch" in capsys.readouterr().err


def test_says_how_much_room_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written: a billion leaves need more than 42.7 GB."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 40 * 10**9))
    assert scale.main(["--leaves", "1000000000", "--directory", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "has 40.0 GB free; this needs 43.4 GB: 3.4 GB are missing" in error
    assert list(tmp_path.iterdir()) == []


def test_the_room_that_is_needed_is_that_of_all_levels(tmp_path: Path) -> None:
    """Of which the leaves alone are 32 bytes each: what a tree takes on disk is less."""
    tree = LeanIMT(n=2)
    tree.extend(scale.leaves_of(0, 1000))
    nodes = sum(tree.snapshot().level_len(level) for level in range(tree.depth + 1))
    assert scale.space_needed(1000, 2, 0) >= LEAF_BYTES * (nodes - tree.depth)


def test_draws_three_pictures(tmp_path: Path) -> None:
    """Throughput, memory and latency over the size, as PNG and SVG."""
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra bench")
    assert scale.main([*SMALL, "--directory", str(tmp_path), "--plots", str(tmp_path / "p")]) == 0
    names = {found.name for found in (tmp_path / "p").iterdir()}
    stems = ("scale-throughput", "scale-memory", "scale-latency")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
