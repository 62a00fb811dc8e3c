"""The requirements in the texts of the specification.

A requirement is an item of an outermost Markdown list, ``- **TREE-7** (MUST) Text``, with all that
Markdown counts to that item: indented lines, and indented paragraphs and tables after blank lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = [
    "DOCUMENTS",
    "LEVELS",
    "PREFIXES",
    "Requirement",
    "SpecificationError",
    "order",
    "parse",
    "read_requirements",
]

DOCUMENTS: Mapping[str, str] = {
    "tree.md": "TREE",
    "proofs.md": "PROOF",
    "storage-format.md": "FORMAT",
    "durability.md": "DURABLE",
    "crash-model.md": "CRASH",
}
"""The normative texts in the folder ``specs``, and what the identifiers in each begin with."""

PREFIXES = tuple(DOCUMENTS.values())
"""What identifiers begin with, in the order of the texts."""

LEVELS = ("MUST", "SHOULD", "MAY")
"""What a requirement asks for."""

_ITEM = re.compile(r"[-*+] \*\*([A-Z]+-[1-9][0-9]*)\*\* \(([A-Z]+)\) (\S.*)", re.DOTALL)
_LIKE_AN_IDENTIFIER = re.compile(rf"(?:{'|'.join(PREFIXES)})\W*\d+\W*", re.IGNORECASE)
_LEVEL_IN_BRACKETS = re.compile(rf"\((?:{'|'.join(LEVELS)})\)")


class SpecificationError(Exception):
    """Texts that break the rules for requirements: every place of them, one message each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Requirement:
    """One testable claim."""

    identifier: str
    level: str
    """One of `LEVELS`."""
    markdown: str
    """What it says, behind the level, without the indentation of the item."""
    document: str
    """The name of its text in the folder ``specs``."""
    section: str
    """The heading that it stands below."""
    line: int
    """Where it begins, from 1."""

    @property
    def digest(self) -> str:
        """16 hex digits that change when a word or sign of it does, but not with its lines."""
        return sha256(" ".join(self.markdown.split()).encode()).hexdigest()[:16]

    @property
    def place(self) -> str:
        """File and line."""
        return f"specs/{self.document}:{self.line}"


def order(identifier: str) -> tuple[int, str, int]:
    """A key that sorts identifiers by text and number."""
    prefix, _, number = identifier.partition("-")
    place = PREFIXES.index(prefix) if prefix in PREFIXES else len(PREFIXES)
    return place, prefix, int(number) if number.isdigit() else 0


def read_requirements(root: Path) -> dict[str, Requirement]:
    """All requirements of the project at ``root``; raises SpecificationError."""
    found: dict[str, Requirement] = {}
    problems: list[str] = []
    for document in DOCUMENTS:
        try:
            text = (root / "specs" / document).read_text(encoding="utf-8")
        except FileNotFoundError:
            problems.append(f"specs/{document}: there is no such text")
            continue
        requirements, wrong = parse(document, text)
        problems += wrong
        for requirement in requirements:
            first = found.setdefault(requirement.identifier, requirement)
            if first is not requirement:
                problems.append(
                    f"{requirement.place}: {first.identifier} is at {first.place} already"
                )
    if problems:
        raise SpecificationError(problems)
    return found


def parse(document: str, text: str) -> tuple[list[Requirement], list[str]]:
    """The requirements of one text, and what is wrong with it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    lines = text.splitlines()
    found: list[Requirement] = []
    problems: list[str] = []
    section = ""
    starts = set()
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            section = token.content
        if token.type == "list_item_open" and token.map:
            result = _item(document, section, token.map[0] + 1, lines[slice(*token.map)])
            if isinstance(result, Requirement):
                found.append(result)
                starts.add(result.line)
            elif result:
                problems.append(result)
                starts.add(token.map[0] + 1)
    problems += [
        f"specs/{document}:{line}: {message}"
        for line, message in _strays(tokens)
        if line not in starts
    ]
    return found, problems


def _item(document: str, section: str, line: int, lines: list[str]) -> Requirement | str | None:
    """The requirement that an item is, or what is wrong with it; None if it is just an item."""
    place = f"specs/{document}:{line}:"
    rest = [text[2:] if text.startswith("  ") else text for text in lines[1:]]
    match = _ITEM.match("\n".join([lines[0], *rest]).rstrip())
    if match is None:
        return None
    identifier, level, markdown = match.groups()
    if identifier.partition("-")[0] != DOCUMENTS[document]:
        return f"{place} {identifier} does not begin with {DOCUMENTS[document]}, as all do here"
    if level not in LEVELS:
        return f"{place} {identifier} has the level {level}, none of {', '.join(LEVELS)}"
    return Requirement(identifier, level, markdown, document, section, line)


def _strays(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    """Line and message for what looks like the begin of a requirement."""
    for token in tokens:
        if token.type != "inline" or not token.map:
            continue
        line = token.map[0] + 1
        for before, child in pairwise(token.children or []):
            if before.type == "strong_open" and _LIKE_AN_IDENTIFIER.fullmatch(child.content):
                yield line, f"write it as an outermost item: - **{child.content}** (MUST) Text"
                break
        else:
            texts = [child.content for child in token.children or [] if child.type == "text"]
            if any(map(_LEVEL_IN_BRACKETS.search, texts)):
                yield line, "a level belongs to an item: - **TREE-7** (MUST) Text"
