"""Files that ``rotortree-crash`` reads and writes: every kind of path that can be wrong.

On a file system in memory (pyfakefs), where a user without rights can be anybody, root included.
Nothing of the engine is tested on it: `specs/decisions/0002-pyfakefs.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem, set_uid

from rotortree_faultinject.exploring.finding import Finding
from tests.faultinject.commands import TOY, run
from tests.faultinject.notes import FINDING

FAILING = (*TOY, "--parameter", 'forgets="sync"')
"""An exploration with one failure."""

OPTIONS = ("--jsonl", "--junit", "--findings")
"""What can be written."""

HERE = Path("/here")
"""The current directory."""


@pytest.fixture
def here(fs: FakeFilesystem) -> Iterator[FakeFilesystem]:
    """An empty directory that is the current one, of a user who is not root."""
    fs.create_dir(HERE)
    fs.cwd = str(HERE)
    set_uid(1000)
    fs.chmod(str(HERE), 0o777, force_unix_mode=True)
    yield fs
    set_uid(0)


def listing() -> set[str]:
    """Every path below the current directory."""
    return {str(path.relative_to(HERE)) for path in HERE.rglob("*")}


@pytest.mark.usefixtures("here")
def test_each_output_is_a_file_of_its_own() -> None:
    """JSON lines, XML, and a finding in a directory."""
    words = ("--jsonl", "out.jsonl", "--junit", "out.xml", "--findings", "a/b")
    run("explore", *FAILING, *words, status=1)
    (finding,) = (HERE / "a" / "b").iterdir()
    assert listing() == {"out.jsonl", "out.xml", "a", "a/b", f"a/b/{finding.name}"}
    lines = (HERE / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["exploration", "failure"]
    assert ElementTree.parse(HERE / "out.xml").getroot().tag == "testsuites"
    run("replay", finding, status=1)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", OPTIONS[:2])
def test_an_existing_file_is_replaced(option: str) -> None:
    """All of it, also if the new one is shorter."""
    (HERE / "out").write_text("x" * 100_000, encoding="utf-8")
    run("explore", *TOY, option, "out")
    assert "xx" not in (HERE / "out").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_other_findings_are_left_alone() -> None:
    """A directory collects them; the name of each says what it is."""
    (HERE / "found").mkdir()
    FINDING.save(HERE / "found" / "other.json")
    run("explore", *FAILING, "--findings", "found", status=1)
    names = {path.name for path in (HERE / "found").iterdir()}
    assert len(names) == 2
    assert Finding.load(HERE / "found" / "other.json") == FINDING


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", OPTIONS[:2])
def test_a_file_in_a_missing_directory_is_a_wrong_request(option: str) -> None:
    """Only --findings makes directories."""
    result = run("explore", *TOY, option, "missing/out", status=2)
    assert "missing" in result.stderr
    assert listing() == set()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", OPTIONS)
def test_a_directory_is_no_file_and_a_file_no_directory(option: str) -> None:
    """One stands where the other is expected, or on the way there."""
    (HERE / "file").write_text("old", encoding="utf-8")
    (HERE / "directory").mkdir()
    wrong = "file" if option == "--findings" else "directory"
    for name in (wrong, "file/below"):
        assert name.split("/")[0] in run("explore", *TOY, option, name, status=2).stderr
    assert (HERE / "file").read_text(encoding="utf-8") == "old"
    assert listing() == {"file", "directory"}


@pytest.mark.parametrize("option", OPTIONS)
def test_what_may_not_be_written_is_a_wrong_request(option: str, here: FakeFilesystem) -> None:
    """A read-only directory; and a read-only file stays as it is."""
    here.create_dir(HERE / "closed")
    here.chmod(str(HERE / "closed"), 0o555, force_unix_mode=True)
    assert "closed" in run("explore", *TOY, option, "closed/out", status=2).stderr
    if option != "--findings":
        here.create_file(HERE / "old", contents="old")
        here.chmod(str(HERE / "old"), 0o444, force_unix_mode=True)
        assert "old" in run("explore", *TOY, option, "old", status=2).stderr
        assert (HERE / "old").read_text(encoding="utf-8") == "old"


@pytest.mark.usefixtures("here")
def test_a_finding_is_read_from_where_it_is() -> None:
    """By a relative path, an absolute one, one with spaces, one that is not ASCII."""
    for name in ("finding.json", "/here/absolute.json", "a b.json", "ünï.json"):
        FINDING.save(HERE / name)
        assert f"rotortree-crash replay {name}\n" in run("replay", name, status=1).stdout


def test_a_finding_that_cannot_be_read_is_a_wrong_request(here: FakeFilesystem) -> None:
    """Missing, a directory, below a file, forbidden."""
    here.create_file(HERE / "secret", contents="{}")
    here.chmod(str(HERE / "secret"), 0o000, force_unix_mode=True)
    here.create_dir(HERE / "directory")
    here.create_file(HERE / "file", contents="{}")
    for name in ("missing", "directory", "file/below", "secret"):
        assert name in run("replay", name, status=2).stderr
