"""Every public name exists, is listed, documented and annotated."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pytest

from tests.architecture.sources import Source, all_sources, package_folders, snippet

PACKAGES = sorted(package_folders())
SOURCES = {source.name: source for source in all_sources() if "__main__" not in source.name}


def sort_key(name: str) -> tuple[int, list[tuple[int, str]]]:
    """The order of RUF022: CONSTANTS, Classes, the rest; numbers by value."""
    plain = name.strip("_")
    kind = 0 if plain.isupper() and len(plain) > 1 else 1 if plain[:1].isupper() else 2
    parts = re.findall(r"\d+|\D+", name)
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def defined_names(source: Source) -> dict[str, bool]:
    """What a file defines at its top level, and for constants whether they are documented.

    The docstring stands below a constant, or below the lines of constants that it is one of.
    """
    found = {}
    documented, next_line = False, 0
    for node in reversed(source.tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name], documented = True, False
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            documented = documented and node.end_lineno == next_line - 1
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: documented for target in targets if isinstance(target, ast.Name)}
        else:
            documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        next_line = node.lineno
    return dict(reversed(found.items()))


def public_names(source: Source, module: ModuleType) -> list[str]:
    """``__all__``; of a module that has none, all that it defines without an underscore."""
    defined = [name for name in defined_names(source) if not name.startswith("_")]
    return list(getattr(module, "__all__", defined))


def listing_problems(source: Source, module: ModuleType) -> list[str]:
    """What is wrong with the ``__all__`` of a module, and with its public constants.

    A package must have an ``__all__``.  A module need not, but if it has one it is complete.
    """
    if source.is_package and not hasattr(module, "__all__"):
        return [f"{module.__name__} has no __all__"]
    defined = defined_names(source)
    public = {name for name in defined if not name.startswith("_")}
    listed = public_names(source, module)
    found = [f"{name} is listed twice" for name in sorted(set(listed)) if listed.count(name) > 1]
    found += [f"{name} is listed, but not there" for name in listed if not hasattr(module, name)]
    found += [f"{name} is not listed" for name in sorted(public - set(listed))]
    found += [f"{name} has no docstring" for name in listed if not defined.get(name, True)]
    if hasattr(module, "__all__") and listed != sorted(listed, key=sort_key):
        found.append(f"{module.__name__}.__all__ is not sorted")
    return found


def undocumented_class(cls: type) -> bool:
    """True without a docstring, and with none but the one that a dataclass makes up."""
    return not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}(")


def annotation_problems(function: FunctionType, name: str) -> list[str]:
    """The parameters of a function that have no annotation, and its result."""
    signature = inspect.signature(function)
    missing = [
        parameter.name
        for position, parameter in enumerate(signature.parameters.values())
        if parameter.annotation is parameter.empty
        and not (position == 0 and parameter.name in ("self", "cls", "_cls"))
    ]
    if signature.return_annotation is signature.empty:
        missing.append("return")
    return [f"{name} does not annotate {parameter}" for parameter in missing]


def members(cls: type) -> Iterator[tuple[str, FunctionType, str | None]]:
    """The public methods and properties of a class and ``__init__``: name, function, docstring.

    Those of the project's base classes are included, since callers see them, too.
    """
    for name in sorted(dir(cls)):
        if name.startswith("_") and name != "__init__":
            continue
        attribute = inspect.getattr_static(cls, name)
        function = getattr(attribute, "fget", getattr(attribute, "__func__", attribute))
        function = inspect.unwrap(function) if callable(function) else None
        if isinstance(function, FunctionType) and function.__module__.startswith("rotortree"):
            yield name, function, inspect.getdoc(getattr(cls, name))


def object_problems(value: object, name: str) -> list[str]:
    """What a public function or class lacks: docstrings and annotations."""
    found = []
    if inspect.isclass(value):
        if undocumented_class(value):
            found.append(f"{name} has no docstring")
        for member, function, docstring in members(value):
            if not docstring and member != "__init__":
                found.append(f"{name}.{member} has no docstring")
            found += annotation_problems(function, f"{name}.{member}")
    elif isinstance(value, FunctionType):
        if not value.__doc__:
            found.append(f"{name} has no docstring")
        found += annotation_problems(value, name)
    return found


def api_problems(source: Source, module: ModuleType) -> list[str]:
    """Everything that is wrong with the public names of a module."""
    found = [] if module.__doc__ else [f"{module.__name__} has no docstring"]
    found += listing_problems(source, module)
    for name in dict.fromkeys(public_names(source, module)):
        value = getattr(module, name, None)
        if getattr(value, "__module__", "").split(".")[0] == module.__name__.split(".")[0]:
            found += object_problems(value, name)
    return found


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_public_names_exist_are_listed_documented_and_annotated(name: str) -> None:
    """True of every module, so that `help()` and every editor tell the same."""
    found = api_problems(SOURCES[name], importlib.import_module(name))
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    """Type checkers of applications read our annotations."""
    assert (package_folders()[package] / "py.typed").exists()


def test_rotortree_exports_something() -> None:
    """The check above is no check of nothing."""
    assert len(importlib.import_module("rotortree").__all__) >= 10


BAD = '''
"""Of a module."""
from dataclasses import dataclass
__all__ = ["b", "A", "D", "LIMIT", "missing", "A"]
LIMIT = 3
def b(x, y: int = 0): pass
def unlisted() -> None: pass
class A:
    """Documented."""
    def __init__(self, x): pass
    def method(self) -> None: pass
    @property
    def size(self):
        """Documented, not annotated."""
    @classmethod
    def make(cls, z) -> None:
        """Documented."""
    def _private(self, x): pass
@dataclass
class D:
    x: int
'''


def run_snippet(source: Source) -> ModuleType:
    """A snippet as a module of its name."""
    module = ModuleType(source.name)
    exec(compile(source.text, "<snippet>", "exec", dont_inherit=True), module.__dict__)
    return module


def test_reports_everything_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One module that breaks each rule."""
    source = snippet(BAD, "rotortree_bad")
    monkeypatch.setitem(sys.modules, source.name, ModuleType(source.name))  # dataclass looks it up
    assert api_problems(source, run_snippet(source)) == [
        "A is listed twice",
        "missing is listed, but not there",
        "unlisted is not listed",
        "LIMIT has no docstring",
        "rotortree_bad.__all__ is not sorted",
        "b has no docstring",
        "b does not annotate x",
        "b does not annotate return",
        "A.__init__ does not annotate x",
        "A.__init__ does not annotate return",
        "A.make does not annotate z",
        "A.method has no docstring",
        "A.size does not annotate return",
        "D has no docstring",
    ]


def test_reports_a_package_without_all_and_docstring() -> None:
    """A package says what is public."""
    source = snippet("x = 1", "m", is_package=True)
    assert api_problems(source, run_snippet(source)) == ["m has no docstring", "m has no __all__"]


def test_reports_names_of_a_module_without_all() -> None:
    """Whatever has no underscore is then public."""
    source = snippet("def f() -> None: pass\ndef _g(x): pass\nX = 1\n\nY = 2\nZ = 3\n'both'", "m")
    assert api_problems(source, run_snippet(source)) == [
        "m has no docstring",
        "X has no docstring",
        "f has no docstring",
    ]


def test_sorting_is_that_of_ruff() -> None:
    """Constants, classes, functions; numbers by value."""
    names = ["MAX_SIZE", "Blake3Hasher", "Blake10Hasher", "LeanIMT", "verify", "z"]
    assert sorted(set(names), key=sort_key) == names
