"""docs/ agrees with the project: words, commands, links and the table of modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.documents import makefile_targets
from tests.architecture.module_table import (
    BEGIN,
    DOCUMENT,
    END,
    heights,
    main,
    module_table,
    replaced,
    summary,
)
from tests.architecture.sources import ROOT, snippet

DOCS = ROOT / "docs"
GLOSSARY = DOCS / "glossary.md"

CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| \[([^\]]+)\]\(([^)]+)\) \|$", re.MULTILINE)
REQUIREMENT = re.compile(r"[A-Z]+-\d+")


class Term(NamedTuple):
    """A row of the glossary; ``place`` and ``path`` are the text and the target of its link."""

    name: str
    usual: str
    meaning: str
    place: str
    path: str


def terms(markdown: str) -> list[Term]:
    """All rows of a glossary, in order; ValueError if a line of the table cannot be read."""
    found = [Term(*match.groups()) for match in ROW.finditer(markdown)]
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    if len(lines) != len(found) + 1:
        raise ValueError(f"{len(lines) - 1} rows, of which {len(found)} can be read")
    return found


def occurs(term: str, text: str) -> bool:
    """Whether a text has this word, at least as the beginning of one: "flush" in "flushes"."""
    words = r"\s+".join(re.escape(word) for word in term.split())
    return re.search(rf"(?<!\w){words}", text, re.IGNORECASE) is not None


def undefined(term: Term, folder: Path) -> str | None:
    """What is wrong with the place where a term is said to be defined."""
    path = folder / term.path
    if not path.is_file():
        return f"{term.name}: there is no {term.path}"
    text = path.read_text(encoding="utf-8")
    if not occurs(term.name, text):
        return f"{term.name}: not in {term.path}"
    if REQUIREMENT.fullmatch(term.place) and f"**{term.place}**" not in text:
        return f"{term.name}: {term.path} has no requirement {term.place}"
    return None


def documents() -> list[Path]:
    """Everything that a reader begins with."""
    return [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def make_targets(markdown: str) -> Iterator[str]:
    """The targets of every command in a document that begins with `make`."""
    for code in CODE.findall(markdown):
        words = code.split()
        if words[0] == "make":
            yield from (word for word in words[1:] if "=" not in word)


def broken_links(path: Path) -> list[str]:
    """The relative links of a document that lead to nothing."""
    targets = LINK.findall(path.read_text(encoding="utf-8"))
    relative = [target.partition("#")[0] for target in targets if "://" not in target]
    return [target for target in relative if target and not (path.parent / target).exists()]


def test_terms_are_sorted_and_unique() -> None:
    """A word is found where the alphabet says, and stands for one thing."""
    names = [term.name for term in terms(GLOSSARY.read_text(encoding="utf-8"))]
    assert len(names) > 50
    assert names == sorted(set(names))


def test_every_term_is_in_use_where_the_glossary_says() -> None:
    """A word that went out of use, or whose requirement moved, is noticed."""
    found = [undefined(term, DOCS) for term in terms(GLOSSARY.read_text(encoding="utf-8"))]
    assert [problem for problem in found if problem] == []


def test_every_meaning_is_one_sentence() -> None:
    """Rows of a table are to be read at a glance: one full stop, at the end."""
    for term in terms(GLOSSARY.read_text(encoding="utf-8")):
        assert term.meaning.endswith("."), term.name
        assert ". " not in term.meaning, term.name


def test_reports_terms_that_are_not_where_they_should_be(tmp_path: Path) -> None:
    """Another word's beginning counts, its end does not; files and requirements must exist."""
    (tmp_path / "a.md").write_text("- **TREE-1** (MUST) A group is\n  flushed.\n")
    rows = [("flush", "TREE-1"), ("is flushed", "a.md"), ("roup", "a.md"), ("group", "TREE-2")]
    found = [undefined(Term(name, "", "", place, "a.md"), tmp_path) for name, place in rows]
    assert found == [
        None,
        None,
        "roup: not in a.md",
        "group: a.md has no requirement TREE-2",
    ]
    assert undefined(Term("x", "", "", "", "b.md"), tmp_path) == "x: there is no b.md"
    with pytest.raises(ValueError, match="2 rows, of which 1"):
        terms("| term | u | m | d |\n|---|---|---|---|\n| a | b | c. | [d](e) |\n| a | b |\n")


def test_documented_make_targets_exist() -> None:
    """Every `make X` of docs/, README.md and CONTRIBUTING.md."""
    targets = makefile_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    named = {path.name: set(make_targets(path.read_text(encoding="utf-8"))) for path in documents()}
    assert {name: found - targets for name, found in named.items() if found - targets} == {}
    assert named["hacking.md"] == targets, "docs/hacking.md names every target"


def test_relative_links_lead_to_files() -> None:
    """Every link of docs/, README.md and CONTRIBUTING.md that names no other site."""
    found = {path.name: broken_links(path) for path in documents()}
    assert {name: links for name, links in found.items() if links} == {}


def test_reports_commands_and_links_that_lead_nowhere(tmp_path: Path) -> None:
    """Variables are no targets, other sites and places within a page no files."""
    assert list(make_targets("`make run`, `make a b=1 c`, make d, `maker e`")) == ["run", "a", "c"]
    page = tmp_path / "page.md"
    page.write_text("[a](page.md#x) [b](#y) [c](https://x.org/z) [d](gone.md) [e](sub/gone.md#x)")
    assert broken_links(page) == ["gone.md", "sub/gone.md"]


def test_the_table_of_modules_is_the_modules() -> None:
    """All of them, lowest first, each with the first sentence of its docstring."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == replaced(document, module_table()), (
        "run python -m tests.architecture.module_table"
    )


def test_every_module_has_a_sentence() -> None:
    """A row of the table of modules without words says nothing."""
    rows = [line for line in module_table().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"\w+ \w+.*\. \|$", row)] == []


def test_the_table_can_be_written_anew(tmp_path: Path) -> None:
    """What stands around it stays; a document without a place for it is refused."""
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    main(document)
    text = document.read_text(encoding="utf-8")
    assert text == f"before\n{BEGIN}\n{module_table()}\n{END}\nafter\n"
    with pytest.raises(ValueError, match="both marks"):
        replaced(f"{END}", "")


def test_a_summary_is_the_first_sentence() -> None:
    """Over line ends, without what follows; a bar would end the cell."""
    assert summary(snippet('"""One\nand a.b | two.  Three.\n\nFour."""')) == "One and a.b \\| two."
    assert summary(snippet('"""``x`` without an end\n\nSecond."""')) == "`x` without an end"
    assert summary(snippet("x = 1")) == ""


def test_heights_are_the_longest_chains() -> None:
    """What imports nothing is on the ground; a circle has no height."""
    none: frozenset[str] = frozenset()
    graph = {"d": frozenset("ac"), "c": frozenset("b"), "b": none, "a": none}
    assert heights(graph) == {"a": 0, "b": 0, "c": 1, "d": 2}
    with pytest.raises(ValueError, match=r"circular imports among \['a', 'b'\]"):
        heights({"a": frozenset("b"), "b": frozenset("a"), "c": none})
