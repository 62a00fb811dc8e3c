"""The project's source files, as the checks of this folder see them."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
"""The folder of pyproject.toml."""

SOURCE_ROOTS = (ROOT, ROOT / "model", ROOT / "faultinject")
"""The folder under a source root is an import name."""


class Source(NamedTuple):
    """One Python file: its dotted module name, whether it is a package, and its text."""

    name: str
    is_package: bool
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.name)


def snippet(text: str, name: str = "rotortree.geometry", *, is_package: bool = False) -> Source:
    """A made-up source file, to show a check something bad."""
    return Source(name, is_package, textwrap.dedent(text))


def read_source(path: Path, source_root: Path) -> Source:
    """The source file at ``path``, named from its source root."""
    parts = path.relative_to(source_root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Source(name, is_package, path.read_text(encoding="utf-8"))


def package_folders() -> dict[str, Path]:
    """The import names of all packages of the project, and their folders."""
    return {
        folder.name: folder
        for source_root in SOURCE_ROOTS
        for folder in sorted(source_root.glob("rotortree*"))
        if folder.name.isidentifier() and any(folder.glob("*.py"))
    }


def sources(package: str) -> list[Source]:
    """All source files of a package, sorted by module name."""
    folder = package_folders()[package]
    return sorted(read_source(path, folder.parent) for path in folder.rglob("*.py"))


def all_sources() -> list[Source]:
    """All source files of all packages."""
    return [source for package in package_folders() for source in sources(package)]


def module_names() -> frozenset[str]:
    """The dotted names of all modules of the project."""
    return frozenset(source.name for source in all_sources())


def dotted(node: ast.expr) -> str | None:
    """``a.b.c`` for an expression that is a plain dotted name, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        value = dotted(node.value)
        return value and f"{value}.{node.attr}"
    return None


def imports(source: Source, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, at its top or deeper.

    ``from a import b`` names ``a.b`` if that is in ``modules``, else ``a``.
    """
    package = source.name.split(".") if source.is_package else source.name.split(".")[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *((node.module or "").split(".") if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield node.lineno, name if name in modules else base
