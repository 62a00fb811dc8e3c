"""No global mutable state, and no work at import time."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.architecture.sources import SOURCE_ROOTS, Source, all_sources, dotted, snippet

REASONS: Mapping[str, str] = {}
"""Global mutable state that there has to be, ``module.name``, and why."""

MUTABLE_TYPES = frozenset(
    "Counter OrderedDict WeakKeyDictionary WeakSet WeakValueDictionary array bytearray "
    "count cycle defaultdict deque dict iter list local set ContextVar Queue SimpleQueue".split()
)
"""What makes a mutable object, when called."""

READ_ONLY_TYPES = frozenset({"Mapping", "Sequence", "Collection", "AbstractSet"})
"""Annotations through which mypy lets nobody change a value."""

HEAVY_MODULES = ("asyncio", "multiprocessing", "numpy", "rich", "typer", "unittest")
"""What `import rotortree` does not load: the command line, and what a user may never need."""


def is_read_only(annotation: ast.expr | None) -> bool:
    """True for ``Mapping[...]``, ``Final[Sequence[...]]`` and their like."""
    if annotation is None:
        return False
    if isinstance(annotation, ast.Subscript):
        name = (dotted(annotation.value) or "").rpartition(".")[2]
        inner = annotation.slice
        return name in READ_ONLY_TYPES or (name in ("Final", "ClassVar") and is_read_only(inner))
    return (dotted(annotation) or "").rpartition(".")[2] in READ_ONLY_TYPES


def is_mutable(value: ast.expr | None) -> bool:
    """True for a list, dict or set display or comprehension, and for a call that makes one."""
    if isinstance(value, ast.Call):
        function = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        return (dotted(function) or "").rpartition(".")[2] in MUTABLE_TYPES
    displays = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    return isinstance(value, displays)


def shared_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at import time, those of class bodies included."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from shared_statements(getattr(node, field, []))


def mutable_state(source: Source) -> list[str]:
    """The module and class variables of a file that can change, and its ``global`` statements."""
    found = []
    for node in shared_statements(source.tree.body):
        if isinstance(node, ast.Assign):
            targets, annotation = node.targets, None
        elif isinstance(node, ast.AnnAssign):
            targets, annotation = [node.target], node.annotation
        else:
            continue
        names = [dotted(target) or "?" for target in targets]
        if names == ["__all__"] or is_read_only(annotation) or not is_mutable(node.value):
            continue
        found += [f"{source.name}.{name}" for name in names]
    found += [
        f"{source.name}.{name}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Global)
        for name in node.names
    ]
    return found


PROBE = """
import json, sys, threading
before, opened, started = set(sys.modules), [], []

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.append(str(arguments[0]))
    elif event.startswith(("socket.", "subprocess.", "os.system", "os.mkdir", "os.fork")):
        opened.append(event)

sys.path[:0] = json.loads(sys.argv[2])
sys.addaudithook(hook)
__import__(sys.argv[1])
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
threads = threading.active_count() - 1
print(json.dumps({"loaded": sorted(loaded), "opened": opened, "threads": threads}))
"""
"""Imports one package in a fresh interpreter and prints what it did."""


def import_work(package: str, source_roots: tuple[Path, ...] = SOURCE_ROOTS) -> list[str]:
    """What importing a package does besides loading modules: files, threads, heavy modules."""
    roots = json.dumps([str(root) for root in source_roots])
    command = [sys.executable, "-B", "-I", "-c", PROBE, package, roots]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or done.stderr:
        return [f"importing {package} fails or warns: {done.stderr}"]
    probe = json.loads(done.stdout.splitlines()[-1])
    printed = done.stdout.splitlines()[:-1]
    code = (".py", ".pyc", ".so")
    return [
        *[f"prints {line}" for line in printed],
        *[f"loads {name}" for name in HEAVY_MODULES if name in probe["loaded"]],
        *[f"opens {name}" for name in probe["opened"] if not name.endswith(code)],
        *[f"starts {probe['threads']} threads" for _ in [0] if probe["threads"]],
    ]


def test_no_global_mutable_state() -> None:
    """Two trees in one process share nothing that can change."""
    found = [name for source in all_sources() for name in mutable_state(source)]
    without_reason = [name for name in found if name not in REASONS]
    assert without_reason == [], "\n".join(without_reason)
    assert [name for name in REASONS if name not in found] == [], "reasons for nothing"


def test_importing_rotortree_does_no_work() -> None:
    """It opens no file, starts no thread, prints nothing and loads no heavy module."""
    assert import_work("rotortree") == []


def test_importing_the_model_does_no_work() -> None:
    """The specification is as cheap to import."""
    assert import_work("rotortree_model") == []


def test_importing_the_fault_layer_does_no_work() -> None:
    """So is the fault layer."""
    assert import_work("rotortree_faultinject") == []


def test_reports_mutable_state() -> None:
    """At module level, behind a condition, in a class, and through ``global``."""
    source = snippet(
        """
        from collections import defaultdict
        import weakref
        __all__ = ["f"]
        CACHE = {}
        SEEN: set[int] = set()
        TABLE: Final[Mapping[str, int]] = {"a": 1}
        if True:
            trees = weakref.WeakSet()
        class A:
            members = defaultdict[str, int](int)
            names = ("a", "b")
        def f():
            global counter
            mine = []
        """
    )
    assert mutable_state(source) == [
        "rotortree.geometry.CACHE",
        "rotortree.geometry.SEEN",
        "rotortree.geometry.trees",
        "rotortree.geometry.members",
        "rotortree.geometry.counter",
    ]


def test_reports_work_at_import(tmp_path: Path) -> None:
    """Every kind of work is seen, and so is a failing import."""
    (tmp_path / "notes.txt").touch()
    (tmp_path / "busy.py").write_text(
        "import threading, rich\n"
        "print('hello')\n"
        f"open({str(tmp_path / 'notes.txt')!r}).close()\n"
        "threading.Thread(target=threading.Event().wait, args=(1,)).start()\n"
    )
    assert import_work("busy", (tmp_path,)) == [
        "prints hello",
        "loads rich",
        f"opens {tmp_path / 'notes.txt'}",
        "starts 1 threads",
    ]
    (message,) = import_work("does_not_exist", (tmp_path,))
    assert "ModuleNotFoundError" in message
