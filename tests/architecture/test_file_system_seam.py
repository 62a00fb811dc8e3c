"""Production code touches a disk through `rotortree.storage.os_directory` only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from tests.architecture.sources import Source, dotted, snippet, sources

SEAM = "rotortree.storage.os_directory"
"""The one module that touches the operating system's files."""

ALSO_ALLOWED: Mapping[str, frozenset[str]] = {
    "rotortree.storage.process": frozenset({"os.getpid", "os.register_at_fork"})
}
"""Names of `os` that do no I/O, each for one module: which process is this, after a fork?"""

USER_FILE_MODULES = ("rotortree.cli", "rotortree.console", "rotortree.demo")
"""These, and the modules below them, read the user's own input files and scratch folders."""

IO_MODULES = frozenset(
    "_io asyncio.subprocess ctypes dbm fcntl fileinput glob io linecache mmap multiprocessing "
    "portalocker posix shelve shutil socket sqlite3 subprocess tempfile zipfile tarfile".split()
)
"""Not to be imported outside the seam: each opens files, processes or connections."""

PURE_OS_NAMES = frozenset({"os.PathLike", "os.cpu_count", "os.environ", "os.fspath"})
"""The names of `os` that do no I/O and are of use without it."""

PATH_METHODS = frozenset(
    "cwd expanduser hardlink_to home is_dir is_fifo is_file is_symlink iterdir lchmod "
    "lstat read_bytes read_text readlink resolve rglob samefile symlink_to touch walk write_bytes "
    "write_text".split()
)
"""Methods that only a `pathlib.Path` has, and that do I/O."""

SHARED_METHODS = frozenset("absolute chmod exists glob mkdir open rename rmdir stat unlink".split())
"""Methods that do I/O on a `pathlib.Path`, and that the seam may have, too."""

SEAM_RECEIVERS = frozenset(
    "self cls fs files root _root directory _directory wal _wal calls".split()
)
"""What the seam and what is built on it are called where they are used: the name before the dot."""


def is_allowed_receiver(node: ast.expr) -> bool:
    """True for the seam, an object's own method, and a class other than Path or an object of it."""
    name = (dotted(node.func if isinstance(node, ast.Call) else node) or "").rpartition(".")[2]
    if name.lstrip("_")[:1].isupper() and not name.endswith("Path"):
        return True
    return name in SEAM_RECEIVERS and not isinstance(node, ast.Call)


def imported_io(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules and names of an import statement that do I/O."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        top = name.split(".")[0]
        if (
            top in IO_MODULES
            or name.removesuffix(".*") in IO_MODULES
            or (top == "os" and name not in PURE_OS_NAMES | {"os"})
        ):
            yield f"imports {name}"


def called_io(node: ast.Call) -> str | None:
    """What a call does that it must not, if it does."""
    name = dotted(node.func)
    if name in ("open", "builtins.open"):
        return "calls open()"
    if name is not None and (name == "Path" or name.endswith(".Path")):
        return "makes a pathlib.Path"
    if isinstance(node.func, ast.Attribute):
        method = node.func.attr
        if method in PATH_METHODS:
            return f"calls .{method}()"
        if method in SHARED_METHODS and not is_allowed_receiver(node.func.value):
            return f"calls .{method}() of something that is not the seam"
    return None


def direct_io(source: Source) -> list[str]:
    """Every place of a file that touches the operating system by itself."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [(node.lineno, message) for message in imported_io(node)]
        elif isinstance(node, ast.Call) and (message := called_io(node)):
            found.append((node.lineno, message))
        elif isinstance(node, ast.Attribute):
            name = dotted(node) or ""
            allowed = PURE_OS_NAMES | ALSO_ALLOWED.get(source.name, frozenset())
            if re.fullmatch(r"os\.\w+", name) and name not in allowed:
                found.append((node.lineno, f"uses {name}"))
    return [f"{source.name}:{line} {message}" for line, message in sorted(found)]


def may_touch_files(module: str) -> bool:
    """True for the seam and for USER_FILE_MODULES."""
    allowed = (SEAM, *USER_FILE_MODULES)
    return any(f"{module}.".startswith(f"{name}.") for name in allowed)


def test_no_io_outside_the_seam() -> None:
    """So that a simulated disk sees every operation, and can fail every one of them."""
    found = [
        message
        for source in sources("rotortree")
        if not may_touch_files(source.name)
        for message in direct_io(source)
    ]
    assert found == [], "\n".join(found)


def test_the_model_does_no_io() -> None:
    """The executable specification has no I/O at all."""
    assert [m for source in sources("rotortree_model") for m in direct_io(source)] == []


def test_the_seam_is_where_the_io_is() -> None:
    """The check sees the I/O of the one module that has it, so it would see it elsewhere."""
    seam = [source for source in sources("rotortree") if source.name == SEAM]
    assert len(seam) == 1
    assert direct_io(seam[0]) != []


def test_reports_every_kind_of_io() -> None:
    """Imports, functions of `os`, open(), and the methods of paths."""
    source = snippet(
        """
        import mmap
        from shutil import rmtree
        from os import rename
        import os
        os.fsync(3)
        remove = os.remove
        os.path.exists("x")
        open("x")
        path.read_bytes()
        path.parent.mkdir()
        pathlib.Path("x")
        with path.open() as file: pass
        from multiprocessing import shared_memory
        """
    )
    assert direct_io(source) == [
        "rotortree.geometry:2 imports mmap",
        "rotortree.geometry:3 imports shutil.rmtree",
        "rotortree.geometry:4 imports os.rename",
        "rotortree.geometry:6 uses os.fsync",
        "rotortree.geometry:7 uses os.remove",
        "rotortree.geometry:8 calls .exists() of something that is not the seam",
        "rotortree.geometry:8 uses os.path",
        "rotortree.geometry:9 calls open()",
        "rotortree.geometry:10 calls .read_bytes()",
        "rotortree.geometry:11 calls .mkdir() of something that is not the seam",
        "rotortree.geometry:12 makes a pathlib.Path",
        "rotortree.geometry:13 calls .open() of something that is not the seam",
        "rotortree.geometry:14 imports multiprocessing.shared_memory",
    ]


def test_accepts_the_seam_and_pure_names() -> None:
    """The seam's own operations, classes with an open(), and types of paths."""
    source = snippet(
        """
        import os
        from os import PathLike
        from pathlib import PurePath
        def f(path: str | os.PathLike[str], fs):
            fs.mkdir("a")
            self._root.rename("a", "b")
            self._wal.unlink("a")
            name = os.fspath(path).replace("a", "b")
            return RotorTree.open(PurePath(name))
        """
    )
    assert direct_io(source) == []


def test_the_allowed_modules_are_exactly_those_named() -> None:
    """A module that only begins alike is not allowed."""
    assert may_touch_files("rotortree.cli.proofs")
    assert not may_touch_files("rotortree.client")
    assert not may_touch_files("rotortree.storage.os_directory_cache")
    text = "import os\nos.getpid()\nos.register_at_fork()\nos.fork()"
    for name, found in (("rotortree.storage.process", 1), ("rotortree.storage.processes", 3)):
        assert len(direct_io(snippet(text, name))) == found
