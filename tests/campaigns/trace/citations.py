"""Who cites requirements: tests by marks, the model in docstrings, texts and sources in passing.

What a mark says is known from the run; that a marked test is there at all is seen in the sources,
so that one which did not run is missed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from tests.campaigns.trace.records import Record
from tests.campaigns.trace.requirements import PREFIXES

__all__ = ["Citation", "MarkedTest", "marked_tests", "mentions", "model_citations"]

_IDENTIFIER = rf"(?:{'|'.join(PREFIXES)})-[0-9]+"
_MENTION = re.compile(rf"\b{_IDENTIFIER}\b")
_REQUIREMENTS = re.compile(r"\bRequirements?:")
_LIST = re.compile(rf"\s+({_IDENTIFIER}(?:,\s+{_IDENTIFIER})*)\.(?:\s|$)")

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Citation:
    """One place that names one requirement."""

    identifier: str
    """Empty if a docstring says ``Requirements:`` and nobody can read which."""
    source: str
    """A path from the project's folder, ``::``, and the name of what cites it, if it has one."""
    line: int


@dataclass(frozen=True)
class MarkedTest:
    """A test function, class, module or parameter that is marked as evidence in its source."""

    path: str
    name: str
    """Of the function or class; empty if the mark is elsewhere in the module."""
    line: int
    cited: tuple[str, ...]
    """What the mark says, kind first, as far as its source shows it."""
    is_whole: bool
    """Whether it shows all."""

    def is_source_of(self, record: Record) -> bool:
        """Whether a record is of this test and of this mark."""
        path, *names = record.source.split("::")
        says = (record.kind, *record.requirements)
        shown = says if self.is_whole else says[: len(self.cited)]
        return path == self.path and self.name in ("", *names) and shown == self.cited

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name or 'what is marked here'}"


def marked_tests(root: Path) -> Iterator[MarkedTest]:
    """All that is marked as evidence in the tests."""
    for path in sorted((root / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.evidence" in text:
            yield from _marked(path.relative_to(root).as_posix(), ast.parse(text))


def _marked(path: str, tree: ast.Module) -> Iterator[MarkedTest]:
    calls = {node.func: node.args for node in ast.walk(tree) if isinstance(node, ast.Call)}
    decorators: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, _Definition):
            marks = [mark for child in node.decorator_list for mark in _marks(child)]
            decorators.update(marks)
            for mark in marks:
                yield MarkedTest(path, node.name, node.lineno, *_said(calls.get(mark, [])))
    for mark in _marks(tree):
        if mark not in decorators:
            yield MarkedTest(path, "", mark.lineno, *_said(calls.get(mark, [])))


def _said(arguments: list[ast.expr]) -> tuple[tuple[str, ...], bool]:
    """The arguments before the first that only a run knows, and whether these are all."""
    known = list(takewhile(lambda child: isinstance(child, ast.Constant), arguments))
    said = tuple(str(ast.literal_eval(child)) for child in known)
    return said, len(known) == len(arguments)


def _marks(node: ast.AST) -> Iterator[ast.Attribute]:
    """The places of ``pytest.mark.evidence`` below a node."""
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and ast.unparse(child).endswith("mark.evidence"):
            yield child


def model_citations(root: Path) -> Iterator[Citation]:
    """What the docstrings of the model cite: ``Requirements: TREE-7, TREE-8.``"""
    for path in sorted((root / "model").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        yield from _docstrings(name, "", ast.parse(path.read_text(encoding="utf-8")))


def _docstrings(path: str, name: str, node: ast.AST) -> Iterator[Citation]:
    """Those below a node, and what each is the docstring of."""
    last = name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield from _docstrings(path, f"{name}.{child.name}".lstrip("."), child)
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            source = f"{path}::{last}" if last else path
            yield from _cited(str(child.value.value), source, child.lineno)
        if isinstance(child, ast.Assign | ast.AnnAssign):  # documented by a string below it
            target = child.target if isinstance(child, ast.AnnAssign) else child.targets[0]
            last = f"{name}.{ast.unparse(target)}".lstrip(".")
        else:
            last = name


def _cited(text: str, source: str, line: int) -> Iterator[Citation]:
    for start in _REQUIREMENTS.finditer(text):
        place = line + text.count("\n", 0, start.start())
        found = _LIST.match(text, start.end())
        for identifier in _MENTION.findall(found[1]) if found else [""]:
            yield Citation(identifier, source, place)


def mentions(root: Path) -> Iterator[Citation]:
    """Every identifier in the texts of the specification and in the sources of the packages."""
    for folder, pattern in (("specs", "*.md"), *((name, "*.py") for name in _PACKAGES)):
        for path in sorted((root / folder).rglob(pattern)):
            name = path.relative_to(root).as_posix()
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, start=1):
                for identifier in _MENTION.findall(line):
                    yield Citation(identifier, name, number)


_PACKAGES = ("faultinject", "model", "rotortree")
