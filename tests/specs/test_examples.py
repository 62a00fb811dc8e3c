"""The blocks of Python in the specification run, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.documents import Reader, steps
from tests.architecture.sources import ROOT

DOCUMENTS = ("tree", "proofs", "storage-format", "durability", "crash-model")


def text_of(document: str) -> str:
    """One of the texts."""
    return (ROOT / "specs" / f"{document}.md").read_text(encoding="utf-8")


CHECKED = {
    "tree": ("TREE-4", "TREE-8", "TREE-9", "TREE-10", "TREE-15"),
    "proofs": ("PROOF-14", "PROOF-24", "PROOF-28", "PROOF-29", "PROOF-33"),
    "storage-format": (
        *("FORMAT-2", "FORMAT-12", "FORMAT-18", "FORMAT-20", "FORMAT-22"),
        *("FORMAT-23", "FORMAT-43", "FORMAT-47", "FORMAT-48"),
    ),
    "durability": ("DURABLE-2", "DURABLE-11", "DURABLE-16"),
    "crash-model": ("CRASH-21", "CRASH-22"),
}
"""What the examples of a document show."""


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(name, marks=pytest.mark.evidence("example", *CHECKED[name]))
        for name in DOCUMENTS
    ],
)
def test_the_examples_run(tmp_path: Path, document: str) -> None:
    """Every block of the document works in a fresh folder, with warnings as errors."""
    reader = Reader(tmp_path, frozenset())
    reader.follow(text_of(document))
    assert not reader.problems, "\n".join(reader.problems)
    assert reader.run >= 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_an_example_asserts_what_it_shows(document: str) -> None:
    """A block that asserts nothing would only show that names exist."""
    blocks = [step for step in steps(text_of(document)) if step.kind == "python"]
    assert all("assert " in step.code or "raise AssertionError" in step.code for step in blocks)
