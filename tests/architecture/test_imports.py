"""Who may import whom: between the packages, and between the layers of `rotortree`."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping

from tests.architecture.sources import (
    ROOT,
    Source,
    all_sources,
    dotted,
    imports,
    module_names,
    package_folders,
    snippet,
    sources,
)

MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "rotortree": ("rotortree", "blake3", "portalocker", "rich", "typer"),
    "rotortree_model": ("rotortree_model", "blake3"),
    "rotortree_conformance": ("rotortree_conformance", "rotortree_model"),
    "rotortree_faultinject": (
        "rotortree_faultinject",
        "rotortree.errors",
        "rotortree.scheduler",
        "rotortree.storage.directory",
        "rotortree_model",
    ),
}
"""What each package may import besides the standard library: a name stands for all below it."""

MAY_ALSO_IMPORT: Mapping[str, tuple[str, ...]] = {
    "rotortree_faultinject.cli": ("rotortree.console", "typer", "rich"),
    "rotortree_faultinject.pytest_plugin": ("pytest",),
    "rotortree_faultinject.subjects.sqlite": ("apsw",),
    "rotortree_faultinject.subjects.tree": ("rotortree",),
}
"""What these modules, and those below them, may import besides: nobody has to load them."""

LAYERS: tuple[tuple[str, ...], ...] = (
    ("rotortree.errors",),
    ("rotortree.geometry",),
    ("rotortree.hashing",),
    ("rotortree.config",),
    ("rotortree.encoding",),
    ("rotortree.kernel._portable", "rotortree.kernel._native"),
    ("rotortree.kernel",),
    ("rotortree.tree.levels", "rotortree.tree.reading", "rotortree.leaves"),
    ("rotortree.tree.accumulator",),
    ("rotortree.proofs.heads",),
    ("rotortree.proofs.encoded",),
    ("rotortree.proofs.inclusion",),
    ("rotortree.proofs.consistency",),
    ("rotortree.proofs",),
    ("rotortree.tree.snapshot",),
    ("rotortree.tree.lean_imt",),
    ("rotortree.tree",),
    ("rotortree.scheduler",),
    ("rotortree.storage.directory", "rotortree.storage.process"),
    ("rotortree.storage.os_directory",),
    ("rotortree.storage.calls", "rotortree.storage.environment", "rotortree.storage.parallel"),
    ("rotortree.storage.format",),
    ("rotortree.storage.level_files", "rotortree.storage.log_reader"),
    ("rotortree.storage.level_writer", "rotortree.storage.recovery"),
    ("rotortree.storage.audit", "rotortree.storage.log"),
    ("rotortree.storage",),
    ("rotortree.durable.state", "rotortree.durable.watermark"),
    ("rotortree.durable.flushing",),
    ("rotortree.durable.checkpointing",),
    ("rotortree.durable.engine",),
    ("rotortree.durable.opening",),
    ("rotortree.durable.rotor_tree",),
    ("rotortree.durable",),
    ("rotortree",),
    ("rotortree.console",),
    ("rotortree.cli", "rotortree.demo"),
    ("rotortree.__main__",),
)
"""The modules of `rotortree`, lowest layer first: none imports from a layer above its own.

A package stands for the modules below it that are not listed themselves, `rotortree` excepted.
"""

FAULT_LAYERS: tuple[tuple[str, ...], ...] = (
    ("rotortree_faultinject.disk.faults", "rotortree_faultinject.disk.image"),
    ("rotortree_faultinject.disk.operations", "rotortree_faultinject.disk.paths"),
    ("rotortree_faultinject.disk.profiles", "rotortree_faultinject.disk.schedule"),
    ("rotortree_faultinject.disk.cache", "rotortree_faultinject.disk.crashes"),
    ("rotortree_faultinject.disk.machine",),
    ("rotortree_faultinject.disk.handles",),
    ("rotortree_faultinject.disk.disk",),
    ("rotortree_faultinject.disk",),
    ("rotortree_faultinject.subjects.subject", "rotortree_faultinject.subjects.litmus"),
    ("rotortree_faultinject.subjects.sqlite", "rotortree_faultinject.subjects.toy"),
    ("rotortree_faultinject.exploring.results", "rotortree_faultinject.exploring.recording"),
    ("rotortree_faultinject.exploring.recovering",),
    ("rotortree_faultinject.exploring.explorer",),
    ("rotortree_faultinject.exploring.finding",),
    (
        "rotortree_faultinject.exploring.describe",
        "rotortree_faultinject.exploring.minimise",
        "rotortree_faultinject.exploring.report",
    ),
    ("rotortree_faultinject.exploring",),
    ("rotortree_faultinject",),
    ("rotortree_faultinject.pytest_plugin", "rotortree_faultinject.subjects.tree"),
    ("rotortree_faultinject.subjects",),
    ("rotortree_faultinject.cli",),
)
"""The modules of `rotortree_faultinject`, in the same way.

The core is what is below the package's own name: it knows neither trees nor command lines.
"""

RANK = {
    name: rank
    for layers in (LAYERS, FAULT_LAYERS)
    for rank, layer in enumerate(layers)
    for name in layer
}


def rank_of(module: str) -> int | None:
    """The layer of a module, or of the nearest listed package that holds it."""
    while module not in RANK:
        module, _, _ = module.rpartition(".")
        if module in ("", "rotortree", "rotortree.storage", "rotortree_faultinject"):
            return None
    return RANK[module]


def type_checking_lines(source: Source) -> frozenset[int]:
    """The lines below ``if TYPE_CHECKING:``, which never run."""
    return frozenset(
        line
        for node in ast.walk(source.tree)
        if isinstance(node, ast.If)
        and dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.body
        for line in range(child.lineno, (child.end_lineno or child.lineno) + 1)
    )


def may_import(source: Source) -> tuple[str, ...]:
    """What a file may import besides the standard library."""
    more = [
        name
        for module, names in MAY_ALSO_IMPORT.items()
        if f"{source.name}.".startswith(f"{module}.")
        for name in names
    ]
    return (*MAY_IMPORT[source.name.split(".")[0]], *more)


def forbidden_imports(source: Source, modules: frozenset[str], allowed: Iterable[str]) -> list[str]:
    """The imports of a file that its package may not have, and those that nobody can check.

    Type checkers know `typing_extensions`: below ``if TYPE_CHECKING:`` it is no dependency.
    """
    prefixes = tuple(allowed)
    type_only = type_checking_lines(source)
    found = [
        f"{source.name}:{line} imports {name}"
        for line, name in sorted(imports(source, modules))
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)
        and not (name == "typing_extensions" and line in type_only)
    ]
    dynamic = ("__import__", "import_module", "importlib.import_module")
    found += [
        f"{source.name}:{node.lineno} imports by a computed name"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in dynamic
    ]
    return found


def upward_imports(source: Source, modules: frozenset[str]) -> list[str]:
    """The imports of a file, from its own package, that come from a layer above its own."""
    rank = rank_of(source.name)
    if rank is None:
        return [f"{source.name} is in no layer: add it in {__name__}"]
    found = []
    for line, name in sorted(imports(source, modules)):
        if name.split(".")[0] != source.name.split(".")[0]:
            continue
        imported = rank_of(name)
        if imported is None:
            found.append(f"{source.name}:{line} imports {name}, which is in no layer")
        elif imported > rank:
            found.append(f"{source.name}:{line} imports {name}, which is in a higher layer")
    return found


def import_cycle(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """The modules that are part of an import cycle, or import from one that is."""
    left = dict(graph)
    while True:
        free = [name for name, targets in left.items() if not targets & left.keys()]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]


def test_the_declared_dependencies_are_the_ones_that_may_be_imported() -> None:
    """MAY_IMPORT of `rotortree` is what pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", item)[0] for item in project["dependencies"]}
    assert declared == set(MAY_IMPORT["rotortree"]) - {"rotortree"}


def test_every_package_has_a_rule_and_those_of_the_architecture_exist() -> None:
    """A new package must be added to MAY_IMPORT; the conformance kit may be missing yet."""
    assert set(package_folders()) | {"rotortree_conformance"} == set(MAY_IMPORT)


def test_packages_import_what_the_architecture_allows() -> None:
    """Production knows neither model nor faults; the model knows nothing at all."""
    modules = module_names()
    found = [
        message
        for package in package_folders()
        for source in sources(package)
        for message in forbidden_imports(source, modules, may_import(source))
    ]
    assert found == [], "\n".join(found)


def test_lower_layers_never_import_higher_ones() -> None:
    """The layering of `rotortree` is LAYERS, that of `rotortree_faultinject` FAULT_LAYERS."""
    modules = module_names()
    found = [
        message
        for package in ("rotortree", "rotortree_faultinject")
        for source in sources(package)
        for message in upward_imports(source, modules)
    ]
    assert found == [], "\n".join(found)


def test_no_import_cycles() -> None:
    """Not even within a layer."""
    modules = module_names()
    graph = {
        source.name: frozenset(name for _, name in imports(source, modules)) - {source.name}
        for source in all_sources()
    }
    assert import_cycle(graph) == []


MODULES = frozenset(
    {
        "rotortree",
        "rotortree.errors",
        "rotortree.storage.directory",
        "rotortree.storage.log",
        "rotortree.storage.os_directory",
    }
)


def test_reports_a_forbidden_package() -> None:
    """Absolute, aliased, nested and computed imports are all seen."""
    source = snippet(
        """
        import os.path, numpy as np
        from rotortree_model import tree
        def f():
            import rotortree_faultinject.disk
            __import__("numpy")
        if TYPE_CHECKING:
            from typing_extensions import Buffer
            import numpy
        else:
            import typing_extensions
        """
    )
    assert forbidden_imports(source, MODULES, MAY_IMPORT["rotortree"]) == [
        "rotortree.geometry:2 imports numpy",
        "rotortree.geometry:3 imports rotortree_model",
        "rotortree.geometry:5 imports rotortree_faultinject.disk",
        "rotortree.geometry:9 imports numpy",
        "rotortree.geometry:11 imports typing_extensions",
        "rotortree.geometry:6 imports by a computed name",
    ]


def test_reports_a_model_that_imports_production() -> None:
    """A name that only begins alike is no permission."""
    source = snippet("from rotortree import errors\nimport blake3_extra", "rotortree_model.tree")
    assert forbidden_imports(source, MODULES, MAY_IMPORT["rotortree_model"]) == [
        "rotortree_model.tree:1 imports rotortree.errors",
        "rotortree_model.tree:2 imports blake3_extra",
    ]


def test_reports_a_fault_layer_that_reaches_behind_the_seam() -> None:
    """The fault layer sees the seams, of files and of tasks, and the errors only."""
    source = snippet(
        """
        from rotortree.storage import directory, log
        from rotortree.errors import StorageError
        import rotortree
        """,
        "rotortree_faultinject.disk.disk",
    )
    assert forbidden_imports(source, MODULES, MAY_IMPORT["rotortree_faultinject"]) == [
        "rotortree_faultinject.disk.disk:2 imports rotortree.storage.log",
        "rotortree_faultinject.disk.disk:4 imports rotortree",
    ]


def test_the_rules_of_the_fault_layer_are_told_apart() -> None:
    """The core, its tree and its command line: what one may import is reported in the others."""
    text = """
        from rotortree import storage
        from rotortree.storage.log import append
        import rich, typer
        from rotortree.storage.directory import FileSystem
        import numpy
        """
    found = {}
    for name in ("explorer", "subjects.tree.life", "cli.output", "trees", "client"):
        source = snippet(text, f"rotortree_faultinject.{name}")
        messages = forbidden_imports(source, MODULES, may_import(source))
        found[name] = [message.rpartition(" ")[2] for message in messages]
    everything = ["rotortree", "rotortree.storage.log", "rich", "typer", "numpy"]
    assert found == {
        "explorer": everything,
        "subjects.tree.life": ["rich", "typer", "numpy"],
        "cli.output": ["rotortree", "rotortree.storage.log", "numpy"],
        "trees": everything,
        "client": everything,
    }


def test_reports_a_core_that_knows_trees_or_command_lines() -> None:
    """The core of the fault layer imports neither, nor the package that puts it together."""
    modules = module_names()
    text = """
        from rotortree_faultinject import explore
        from rotortree_faultinject.cli.output import Monitor
        from rotortree_faultinject.subjects.tree import workloads
        from rotortree_faultinject.disk import SimulatedDisk
        """
    core = snippet(text, "rotortree_faultinject.exploring.explorer")
    assert [message.split(" imports ")[1] for message in upward_imports(core, modules)] == [
        "rotortree_faultinject, which is in a higher layer",
        "rotortree_faultinject.cli.output, which is in a higher layer",
        "rotortree_faultinject.subjects.tree.workloads, which is in a higher layer",
    ]
    tree = snippet(text, "rotortree_faultinject.subjects.tree.fuzz")
    assert [message.split(" imports ")[1] for message in upward_imports(tree, modules)] == [
        "rotortree_faultinject.cli.output, which is in a higher layer",
    ]
    assert upward_imports(snippet(text, "rotortree_faultinject.cli.exploring"), modules) == []
    assert len(upward_imports(snippet("", "rotortree_faultinject.news"), modules)) == 1


def fakes_files(text: str) -> bool:
    """Whether a test uses pyfakefs: it imports it, or takes its fixture."""
    tree = ast.parse(text)
    imported = any(
        name.split(".")[0] == "pyfakefs"
        for _, name in imports(Source("tests", True, text), frozenset())
    )
    arguments = (node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
    return imported or bool(set(arguments) & {"fs_class", "fs_module", "fs_session"})


def test_pyfakefs_is_for_command_lines() -> None:
    """Never under the engine: specs/decisions/0002-pyfakefs.md."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if fakes_files(path.read_text(encoding="utf-8"))
    }
    assert users == {"tests/cli/test_files.py", "tests/faultinject/test_cli_files.py"}


def test_reports_a_use_of_pyfakefs() -> None:
    """By an import, or by the name of a fixture that nothing else has."""
    assert fakes_files("from pyfakefs.fake_filesystem import FakeFilesystem")
    assert fakes_files("def test_it(fs_module): pass")
    assert not fakes_files("def append(fs): import os")


def test_reports_what_another_module_may_import() -> None:
    """A permission is for one module and those below it."""
    text = "import apsw"
    for name, found in (("sqlite", 0), ("sqlite.files", 0), ("sqlite_other", 1), ("toy", 1)):
        source = snippet(text, f"rotortree_faultinject.subjects.{name}")
        assert len(forbidden_imports(source, MODULES, may_import(source))) == found


def test_reports_an_upward_import() -> None:
    """Also one that is relative, or for type checking only."""
    source = snippet(
        """
        from .storage import log
        from rotortree import LeanIMT
        from . import errors
        if TYPE_CHECKING:
            from .storage.os_directory import OsFileSystem
        """
    )
    assert upward_imports(source, MODULES) == [
        "rotortree.geometry:2 imports rotortree.storage.log, which is in a higher layer",
        "rotortree.geometry:3 imports rotortree, which is in a higher layer",
        "rotortree.geometry:6 imports rotortree.storage.os_directory, which is in a higher layer",
    ]


def test_reports_a_module_without_a_layer() -> None:
    """Whoever adds a module decides where it belongs."""
    unknown = f"rotortree.storage.cache is in no layer: add it in {__name__}"
    assert upward_imports(snippet("", "rotortree.storage.cache"), MODULES) == [unknown]
    assert upward_imports(snippet("", "rotortree.cli.tree"), MODULES) == []
    assert upward_imports(snippet("from rotortree.news import x", "rotortree.cli"), MODULES) == [
        "rotortree.cli:1 imports rotortree.news, which is in no layer"
    ]


def test_reports_an_import_cycle() -> None:
    """What lies above a cycle is reported with it, what lies below is not."""
    graph = {
        "a": frozenset({"b"}),
        "b": frozenset({"c", "d"}),
        "c": frozenset({"b"}),
        "d": frozenset({"typing"}),
    }
    assert import_cycle(graph) == ["a", "b", "c"]
