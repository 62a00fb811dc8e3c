"""Modules and functions stay short enough to be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from tests.architecture.sources import ROOT, SOURCE_ROOTS, Source, package_folders, read_source
from tests.architecture.sources import snippet as snippet_of

MODULE_LINES = 500
FUNCTION_LINES = 70

REASONS: Mapping[str, str] = {
    "rotortree.storage.log": "the one owner of the log's segments and of the commit record",
    "rotortree_faultinject.subjects.tree.life": "every step of a life, and what it must leave",
    "tests.storage.test_reentry": "one law: each way to re-enter, by each call",
}
"""What may be longer, and why: ``module`` or ``module.function`` (or ``module.Class.function``)."""


def functions(
    node: ast.AST, prefix: str
) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node by dotted name, those inside of classes and functions, too."""
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}.{child.name}"
            if not isinstance(child, ast.ClassDef):
                found.append((name, child))
            found += functions(child, name)
        else:
            found += functions(child, prefix)
    return found


def long_parts(source: Source) -> dict[str, int]:
    """The parts of a file that are too long, and how many lines they have."""
    found = {}
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES:
        found[source.name] = lines
    for name, node in functions(source.tree, source.name):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES:
            found[name] = lines
    return found


def everything() -> list[Source]:
    """All Python files of the project: packages, tests and benchmarks."""
    tops = ("benchmarks", "tests")
    found = [(path, ROOT) for top in tops for path in (ROOT / top).rglob("*.py")]
    for folder in package_folders().values():
        assert folder.parent in SOURCE_ROOTS
        found += [(path, folder.parent) for path in folder.rglob("*.py")]
    return [read_source(path, source_root) for path, source_root in sorted(found)]


def test_no_part_is_too_long_without_a_reason() -> None:
    """At most 500 lines for a module and 70 for a function, decorators not counted."""
    found = {name: lines for source in everything() for name, lines in long_parts(source).items()}
    assert {name: lines for name, lines in found.items() if name not in REASONS} == {}
    assert [name for name in REASONS if name not in found] == [], "reasons for nothing"
    assert all(len(reason.split()) >= 4 for reason in REASONS.values())


def test_reports_a_long_module_and_a_long_function() -> None:
    """One line more than allowed is too long, the allowed length is not."""
    body = "    x = 1\n"
    method = "class A:\n  if True:\n   def f():\n" + body * FUNCTION_LINES
    assert long_parts(snippet_of(method, "m")) == {"m.A.f": FUNCTION_LINES + 1}
    assert long_parts(snippet_of("def f():\n" + body * (FUNCTION_LINES - 1), "m")) == {}
    assert long_parts(snippet_of("x = 1\n" * (MODULE_LINES + 1), "m")) == {"m": MODULE_LINES + 1}
    assert long_parts(snippet_of("x = 1\n" * MODULE_LINES, "m")) == {}
