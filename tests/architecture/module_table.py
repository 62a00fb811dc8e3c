"""The table of modules in docs/architecture.md, made from the docstrings of the modules.

``python -m tests.architecture.module_table`` writes the table anew.  `test_docs` compares it with
the source files, so that a module that was added, removed or described anew is noticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tests.architecture.sources import ROOT, Source, imports, read_source, sources

__all__ = ["DOCUMENT", "heights", "module_table", "replaced", "summary"]

DOCUMENT = ROOT / "docs" / "architecture.md"
"""The document that has the table."""

BEGIN = "<!-- modules: written by python -m tests.architecture.module_table -->"
END = "<!-- end of modules -->"
SENTENCE = re.compile(r".+?\.(?=\s|$)")


def summary(source: Source) -> str:
    """The first sentence of a module's docstring, as one line of Markdown."""
    docstring = ast.get_docstring(source.tree) or ""
    text = " ".join(docstring.partition("\n\n")[0].split())
    sentence = SENTENCE.match(text)
    return (sentence[0] if sentence else text).replace("``", "`").replace("|", "\\|")


def heights(graph: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """How many floors each name stands above the ground: its longest chain of imports.

    ``graph`` maps each name to those that it imports.  Imports must not be circular.
    """
    known: dict[str, int] = {}
    while len(known) < len(graph):
        ready = [name for name in graph if name not in known and graph[name] <= known.keys()]
        if not ready:
            raise ValueError(f"circular imports among {sorted(graph.keys() - known.keys())}")
        known |= {name: 1 + max((known[at] for at in graph[name]), default=-1) for name in ready}
    return known


def package_of(source: Source) -> str:
    """The package whose folder holds a module."""
    return source.name if source.is_package else source.name.rpartition(".")[0]


def module_graph(found: Sequence[Source]) -> dict[str, frozenset[str]]:
    """Which of these modules imports which others of them."""
    names = frozenset(source.name for source in found)
    return {
        source.name: frozenset(name for _, name in imports(source, names)) & names - {source.name}
        for source in found
    }


def reached(graph: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """What each name imports, at first or second hand."""
    known: dict[str, frozenset[str]] = {}
    for name in sorted(graph, key=heights(graph).__getitem__):
        known[name] = graph[name].union(*(known[imported] for imported in graph[name]))
    return known


def folder_graph(
    found: Sequence[Source], graph: Mapping[str, frozenset[str]], top: str
) -> dict[str, frozenset[str]]:
    """Which folder imports from which other ones, at first or second hand.

    The folder of the package itself is left out: it holds the ground as well as what is built on
    everything.
    """
    folder = {source.name: package_of(source) for source in found}
    imported: dict[str, frozenset[str]] = {name: frozenset() for name in folder.values()}
    for module, names in reached(graph).items():
        imported[folder[module]] |= {folder[name] for name in names} - {folder[module], top}
    return {**imported, top: frozenset()}


def native_sources(package: str) -> list[Source]:
    """Modules written in C: their stubs have the docstrings."""
    return [
        read_source(path, ROOT)
        for path in sorted((ROOT / package).rglob("*.pyi"))
        if path.with_suffix(".c").exists()
    ]


def file_name(source: Source) -> str:
    """The file of a module, relative to the folder of its package."""
    if source.is_package:
        return "__init__.py"
    stem = source.name.rpartition(".")[2]
    is_native = (ROOT / source.name.replace(".", "/")).with_suffix(".c").exists()
    return f"{stem}.c" if is_native else f"{stem}.py"


def module_table(package: str = "rotortree") -> str:
    """One table for each folder of a package, lowest module first; the lowest folder first."""
    found = sources(package) + native_sources(package)
    graph = module_graph(found)
    floor, folder_floor = heights(graph), heights(folder_graph(found, graph, package))

    def place(source: Source) -> tuple[bool, int, str, int, str]:
        folder = package_of(source)
        return folder != package, folder_floor[folder], folder, floor[source.name], source.name

    lines = []
    for folder, modules in groupby(sorted(found, key=place), key=package_of):
        title = f"### {folder.replace('.', '/')}/"
        lines += ["", title, "", "| module | what it does |", "|---|---|"]
        lines += [f"| `{file_name(module)}` | {summary(module)} |" for module in modules]
    return "\n".join([*lines, ""])


def replaced(document: str, table: str) -> str:
    """A document with this table between the two marks, which must be there, each once."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError("the document does not have both marks of the table, each once")
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(document: Path = DOCUMENT) -> None:
    """Write the table anew."""
    text = document.read_text(encoding="utf-8")
    document.write_text(replaced(text, module_table()), encoding="utf-8")


if __name__ == "__main__":
    main()
