"""What runs and what does not, what is shipped and what is not, lie in different folders."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.sources import ROOT, all_sources

DATA = frozenset({".json", ".lock", ".md", ".pml"})
"""How the names of texts and data end."""

PLANTING = ("__code__", "getsource")
"""What planting a fault in a function takes."""


def programs(folder: Path) -> list[str]:
    """The files below a folder that are neither texts nor data."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.suffix not in DATA or path.stat().st_mode & 0o111)
    )


def plants(text: str) -> bool:
    """Whether a source edits functions."""
    return any(word in text for word in PLANTING)


def test_the_specification_holds_nothing_that_runs() -> None:
    """Its texts, vectors and models are for everybody; what checks them is in `tests/`."""
    assert programs(ROOT / "specs") == []


def test_reports_a_program_in_the_specification(tmp_path: Path) -> None:
    """A module, and a text that may be executed; a text in a folder of its own is none."""
    for name in ("run.py", "protocol/log.pml", "protocol/README.md", "check.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "check.md").chmod(0o755)
    assert programs(tmp_path) == ["check.md", "run.py"]


def test_nothing_that_plants_faults_is_shipped() -> None:
    """No package edits functions, and none imports from `tests`, as `test_imports.py` says."""
    assert [source.name for source in all_sources() if plants(source.text)] == []


def test_reports_what_plants_faults() -> None:
    """By how it puts code in the place of other code, or by how it gets at the source."""
    assert plants("function.__code__ = wrong")
    assert plants("source = inspect.getsource(function)")
    assert not plants("code = 1")
