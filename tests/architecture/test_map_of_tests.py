"""tests/README.md, the map of the tests, names every module that is there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import ROOT

HEADING = re.compile(r"^## (.*)$")
NAME = re.compile(r"`([\w./*-]+(?:/|\.(?:c|md|pml|py|toml|txt)))`")
"""A folder or a file; stars stand for anything but a slash."""


def names(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every name in a map, and what it may mean, from `tests`, the likeliest first.

    A name is below the folder that is the heading of its section; in a row of a table, below the
    folder that stands before it; or below `tests`.
    """
    section = ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            section = heading[1] if heading[1].endswith("/") else ""
        folder = ""
        for name in NAME.findall(line):
            yield name, list(dict.fromkeys([f"{section}{folder}{name}", f"{section}{name}", name]))
            if name.endswith("/") and line.startswith("|"):
                folder = name


def problems(root: Path) -> list[str]:
    """What is not as it must be in the map of the project at ``root``."""
    tests = root / "tests"
    found, missing = set[Path](), []
    for name, meanings in names((tests / "README.md").read_text(encoding="utf-8")):
        paths = next(filter(None, (list(tests.glob(path)) for path in meanings)), [])
        if not paths and not (root / name).exists():
            missing.append(f"{name} is named, and is not there")
        found.update(paths)
    there = {path for path in tests.rglob("*.py") if path.name != "__init__.py"}
    there |= {path for path in tests.iterdir() if path.is_dir() and path.name != "__pycache__"}
    unnamed = [path.relative_to(tests).as_posix() for path in sorted(there - found)]
    return missing + [f"{name} is not named" for name in unnamed]


def test_the_map_is_true() -> None:
    """Every module and every folder of tests is in it, and all that is in it is there."""
    assert problems(ROOT) == []


MAP = """
`one/` and `README.md` and `setup.py`

## one/

| `test_*.py`, `helper.py` |
| `two/` `deep.py` | of the project: `model/shape.py` |

## Rules

`one/more.py`, `conftest.py`
"""


def project(root: Path, *paths: str) -> Path:
    """A project with a map and these files below `tests`."""
    own = ("setup.py", "model/shape.py")
    for path in (*own, *(f"tests/{name}" for name in paths)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "tests/README.md").write_text(MAP, encoding="utf-8")
    return root


THERE = ("conftest.py", "one/__init__.py", "one/helper.py", "one/more.py", "one/test_a.py")
DEEP = "one/two/deep.py"


def test_a_true_map_has_no_problems(tmp_path: Path) -> None:
    """Stars, folders in rows, names from `tests` and from the project's folder are understood."""
    assert problems(project(tmp_path, *THERE, DEEP)) == []


def test_reports_what_the_map_lacks_and_what_it_invents(tmp_path: Path) -> None:
    """A module and a folder that are new; a module that is gone, as one that moved is."""
    found = problems(project(tmp_path, *THERE, "deep.py", "three/test_b.py"))
    assert found == [
        "two/ is named, and is not there",
        "three is not named",
        "three/test_b.py is not named",
    ]
    moved = problems(project(tmp_path / "other", *THERE, "one/two/deeper.py"))
    assert moved == ["deep.py is named, and is not there", "one/two/deeper.py is not named"]
