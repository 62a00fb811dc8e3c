"""`tests.campaigns.trace`: whatever is untraced, stale, unknown or did not run is reported."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaigns.trace.citations import mentions, model_citations
from tests.campaigns.trace.lock import accept, changes, entry, read_lock
from tests.campaigns.trace.matrix import build
from tests.campaigns.trace.pages import html, markdown
from tests.campaigns.trace.records import FOLDER, LOCK, Inputs, Record, RecordError, read_records
from tests.campaigns.trace.requirements import SpecificationError, parse, read_requirements
from tests.specs.projects import RECORDS, ROOT, Project, traced_project


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """One in which everything is as it must be."""
    return traced_project(tmp_path, capsys)


# Texts


def test_the_texts_of_this_project_are_well_formed() -> None:
    """All five have requirements; no identifier in the model, sources and texts is unknown."""
    requirements = read_requirements(ROOT)
    assert len({found.document for found in requirements.values()}) == 5
    assert len(requirements) > 200
    known = requirements.keys() | read_lock(ROOT).keys()
    cited = [*model_citations(ROOT), *mentions(ROOT)]
    assert [citation for citation in cited if citation.identifier not in known] == []


def test_no_sentence_changed_since_somebody_looked_at_its_evidence() -> None:
    """Texts and lock agree; after a change: look, then ``tests.campaigns.trace accept ID``."""
    assert changes(read_requirements(ROOT), read_lock(ROOT)) == {}


def test_an_item_is_what_markdown_makes_of_it() -> None:
    """Lines that go on, paragraphs and tables after blank lines belong to it; what follows not."""
    text = (
        "# Title\n\n## 1. Shape\n\n- **TREE-1** (MUST) One\ngoes on\n  and on.\n\n"
        "  | a |\n  |---|\n  | b |\n\n  - nested\n\n"
        "Prose.\n\n* **TREE-3** (MAY) Two.\n* no requirement\n\n"
        "```text\n- **TREE-4** (MUST) Code.\n```\n\nProse with `**TREE-5** (MUST)` as code.\n"
    )
    requirements, problems = parse("tree.md", text)
    assert problems == []
    assert [(found.identifier, found.level, found.line) for found in requirements] == [
        ("TREE-1", "MUST", 5),
        ("TREE-3", "MAY", 17),
    ]
    one, two = requirements
    assert one.markdown == "One\ngoes on\nand on.\n\n| a |\n|---|\n| b |\n\n- nested"
    assert (two.markdown, two.section, two.place) == ("Two.", "1. Shape", "specs/tree.md:17")


def test_the_digest_sees_words_and_not_lines() -> None:
    """Wrapping a text anew is no change; one letter of its table is."""
    ((one,), (wrapped,), (changed,)) = (
        parse("tree.md", f"- **TREE-1** (MUST) {text}")[0]
        for text in ("A b.\n\n  | c |", "A\n  b.\n\n\n  | c |", "A b.\n\n  | d |")
    )
    assert one.digest == wrapped.digest
    assert one.digest != changed.digest
    assert re.fullmatch("[0-9a-f]{16}", one.digest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- **TREE-1** (must) Text.", "2: write it as"),
        ("- **TREE-1** (WILL) Text.", "2: TREE-1 has the level WILL"),
        ("- **TREE-1** Text.", "2: write it as"),
        ("- **TREE-1** (MUST)", "2: write it as"),
        ("- **TREE-01** (MUST) Text.", "2: write it as"),
        ("- **TREE 1** (MUST) Text.", "2: write it as"),
        ("- **tree-1** (MUST) Text.", "2: write it as"),
        ("- **TREE-1:** (MUST) Text.", "2: write it as"),
        ("- TREE-1 (MUST) Text.", "2: a level belongs"),
        ("- (MUST) Text.", "2: a level belongs"),
        ("**TREE-1** (MUST) Text.", "2: write it as"),
        ("- Text\n  - **TREE-1** (MUST) Text.", "3: write it as"),
        ("- **TREE-1** (MUST) Text.\n  - **TREE-2** (MUST) Text.", "3: write it as"),
        ("- **TREE-1** (MUST) Text.\n\n  **TREE-2** (MUST) Text.", "4: write it as"),
        ("- **PROOF-1** (MUST) Text.", "2: PROOF-1 does not begin with TREE"),
        ("- **NEWS-1** (MUST) Text.", "2: NEWS-1 does not begin with TREE"),
    ],
)
def test_a_requirement_that_is_badly_written_is_an_error(text: str, message: str) -> None:
    """With the line; it is never just left out."""
    _, problems = parse("tree.md", f"\n{text}\n")
    assert len(problems) == 1
    assert problems[0].startswith(f"specs/tree.md:{message}")


def test_all_errors_of_all_texts_are_reported(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Identifiers that are given twice, a text that is missing."""
    project.replace("specs/tree.md", "TREE-2", "TREE-1")
    (project.root / "specs/durability.md").unlink()
    assert project.problems(capsys) == [
        "specs/tree.md:8: TREE-1 is at specs/tree.md:5 already",
        "specs/durability.md: there is no such text",
    ]


# The lock


def test_the_lock_notices_every_change(project: Project) -> None:
    """Of a word, of a level, a new requirement, one that is gone; accepted, none is left."""
    lock, before = read_lock(project.root), read_requirements(project.root)
    assert changes(before, lock) == {}
    after = dict(before)
    after["TREE-1"] = replace(before["TREE-1"], markdown="A tree shrinks.")
    after["TREE-2"] = replace(before["TREE-2"], level="MUST")
    after["TREE-3"] = replace(before["TREE-2"], identifier="TREE-3")
    del after["PROOF-1"]
    assert changes(after, lock) == {
        "TREE-1": "has changed",
        "TREE-2": "has changed",
        "TREE-3": "is new",
        "PROOF-1": "is no longer in the texts",
    }
    accepted = accept(after, lock, changes(after, lock))
    assert changes(after, accepted) == {}
    assert accepted["PROOF-1"] == "retired"


def test_accepting_one_accepts_no_other(project: Project) -> None:
    """The rest of the lock stays, and it is sorted by text and number."""
    lock, requirements = read_lock(project.root), read_requirements(project.root)
    requirements["TREE-10"] = replace(requirements["TREE-2"], identifier="TREE-10")
    requirements["TREE-1"] = replace(requirements["TREE-1"], markdown="New.")
    assert accept(requirements, lock, ["TREE-10"]) == {
        **lock,
        "TREE-10": entry(requirements["TREE-10"]),
    }
    project.replace("specs/tree.md", "- **TREE-2", "- **TREE-10** (MAY) More.\n\n- **TREE-2")
    assert project.trace("accept", "TREE-10") == 0
    lines = (project.root / LOCK).read_text().splitlines()
    assert [line.split()[0] for line in lines] == "TREE-1 TREE-2 TREE-10 PROOF-1 FORMAT-1".split()


def test_a_number_is_never_given_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was retired cannot come back; `new` goes past it, and past the largest number."""
    project.replace("specs/storage-format.md", "FORMAT-1", "FORMAT-12")
    text = (project.root / "specs/proofs.md").read_text()
    project.write("specs/proofs.md", "# Proofs\n")
    assert project.trace("accept", "PROOF-1") == 0
    capsys.readouterr()
    assert project.trace("new") == 0
    assert capsys.readouterr().out.split() == "TREE-3 PROOF-2 FORMAT-13 DURABLE-1 CRASH-1".split()
    project.write("specs/proofs.md", text)
    for arguments in (["PROOF-1"], ["--all"]):
        assert project.trace("accept", *arguments) == 1
    project.record(*RECORDS)
    assert any("PROOF-1 is retired" in problem for problem in project.problems(capsys))


def test_what_is_no_requirement_cannot_be_accepted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the pen locks nothing."""
    assert project.trace("accept", "TREE-1", "TREE-9") == 1
    assert capsys.readouterr().err == "TREE-9: there is no such requirement\n"


@pytest.mark.parametrize("line", ["TREE-9", "TREE-9 WILL 0123456789abcdef", "TREE-9 MUST 01", ""])
def test_a_damaged_lock_is_an_error(project: Project, line: str) -> None:
    """It says which line; so does one with two lines for the same."""
    text = (project.root / LOCK).read_text()
    project.write(str(LOCK), f"{text}{line}\n{text.splitlines()[0]}\n")
    with pytest.raises(SpecificationError) as error:
        read_lock(project.root)
    assert len(error.value.problems) == 2
    assert error.value.problems[0].startswith(f"{LOCK}:5: ")
    assert error.value.problems[1] == f"{LOCK}:6: TREE-1 is there twice"


# Records


def test_records_are_read_as_they_were_written(project: Project) -> None:
    """And the documented keys are those in the file."""
    path = project.root / FOLDER / "tests.jsonl"
    project.record(replace(RECORDS[2], line=7))
    inputs, records = read_records(path)
    assert (records, inputs.paths) == (
        [replace(RECORDS[2], line=7)],
        ("model", "rotortree", "specs", "tests"),
    )
    assert json.loads(path.read_text().splitlines()[1]) == {
        "kind": "property",
        "source": "tests/test_it.py::test_it_grows",
        "requirements": ["TREE-1", "TREE-2"],
        "outcome": "passed",
        "cases": 3,
        "line": 7,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: does not say what"),
        ('{"kind": "property"}\n', ":1: does not say what"),
        ('{"inputs": [], "digest": ""}\n[]\n', ":2: no JSON object"),
        ('{"inputs": [], "digest": ""}\n{"ki\n', ":2: no JSON"),
        ('{"inputs": [], "digest": ""}\n{"kind": "property"}\n', ":2: source is missing"),
        (
            (
                '{"inputs": [], "digest": ""}\n'
                '{"kind": "model", "source": "x", "requirements": [], "outcome": "ok"}\n'
            ),
            ":2: the outcome is 'ok'",
        ),
    ],
)
def test_a_damaged_record_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """With file and line; it is never just left out."""
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match=re.escape(f"{path}{message}")):
        read_records(path)


def test_the_digest_is_that_of_the_sources(project: Project) -> None:
    """It changes with a byte, a name, a new and a removed file, and not with what is compiled."""
    paths = ("specs", "tests", "pyproject.toml")
    seen = {Inputs.now(project.root, paths).digest}
    for name, text in (
        ("tests/__pycache__/test_it.py", "compiled"),
        ("tests/native.so", "compiled"),
        ("tests/.cache/x", "cached"),
        ("model/shape.py", "elsewhere"),
        (str(LOCK), "accepted"),
    ):
        project.write(name, text)
        assert Inputs.now(project.root, paths).digest in seen, name
    for number, name in enumerate(("tests/test_it.py", "tests/a.c", "pyproject.toml"), start=2):
        project.write(name, "changed")
        seen.add(Inputs.now(project.root, paths).digest)
        assert len(seen) == number
    (project.root / "tests/a.c").rename(project.root / "tests/b.c")
    seen.add(Inputs.now(project.root, paths).digest)
    (project.root / "tests/b.c").unlink()
    seen.add(Inputs.now(project.root, paths).digest)
    assert len(seen) == 6


# The matrix


def test_a_stale_text_is_reported_with_what_cites_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checks that pass are no excuse; accepting it needs no new run."""
    project.replace("specs/tree.md", "grows.", "shrinks.")
    project.record(*RECORDS)
    assert project.problems(capsys) == [
        (
            "specs/tree.md:5: TREE-1 has changed; look at its evidence, then accept it: "
            "tests/test_it.py::TestProofs::test_it_proves, tests/test_it.py::test_it_grows, "
            "model/shape.py::grow"
        )
    ]
    project.trace("accept", "TREE-1")
    assert project.problems(capsys) == []


def test_new_and_removed_texts_are_reported(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until they are accepted."""
    project.write("specs/storage-format.md", "- **FORMAT-2** (MAY) Bits.\n")
    project.record(*RECORDS)
    assert project.problems(capsys) == [
        f"{LOCK}: FORMAT-1 is no longer in the texts; accept it to retire it",
        (
            "specs/storage-format.md:1: FORMAT-2 is new; look at its evidence, then accept it: "
            "nothing cites it"
        ),
    ]


def test_a_must_needs_a_check_that_passed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is no evidence, nor is a skipped or failed test; SHOULD and MAY need none."""
    bad = replace(RECORDS[2], requirements=("TREE-1", "TREE-2"))
    project.replace("tests/test_it.py", '"crash", "PROOF-1", "TREE-1"', '"crash", "PROOF-1"')
    proofs = (replace(RECORDS[0], requirements=("PROOF-1",)), RECORDS[1])
    must = "specs/tree.md:5: TREE-1 is a MUST, and no check of it passed"
    for outcome, what in (("skipped", "did not run (skipped)"), ("failed", "failed")):
        project.record(*proofs, replace(bad, outcome=outcome))
        cited = f"tests/test_it.py::test_it_grows: {what}; it is cited for TREE-1, TREE-2"
        assert project.problems(capsys) == [cited, must]
    project.replace("tests/test_it.py", '@pytest.mark.evidence("property", "TREE-1", "TREE-2")', "")
    project.record(*proofs)
    assert project.problems(capsys) == [must]


def test_make_test_asks_tests_alone_for_evidence_of_every_must(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """What other checkers recorded, or did not, is not asked for and is no evidence."""
    project.write("tests/campaigns/symbolic/__main__.py", "")
    project.record(*RECORDS)
    project.record(*RECORDS, name="more")
    assert project.trace("tests") == 0
    assert project.trace() == 1
    bad = replace(RECORDS[2], outcome="skipped", requirements=("TREE-1",))
    proofs = replace(RECORDS[0], requirements=("PROOF-1",))
    project.record(bad, proofs, RECORDS[1])
    capsys.readouterr()
    assert project.trace("tests") == 1
    assert "TREE-1 is a MUST, and no check of it passed" in capsys.readouterr().err
    (project.root / FOLDER / "tests.jsonl").unlink()
    assert project.trace("tests") == 1
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (
        '$(RECORD)\n\t@echo "requirements"\n'
        "\t@$(BIN)/python -m tests.campaigns.trace tests $(SKIPPING)\n" in text
    )


def test_only_who_allows_it_may_skip_a_cited_test(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told then, and is no evidence; CI, which has Spin, does not allow it."""
    project.record(*RECORDS, replace(RECORDS[2], kind="fuzz", outcome="skipped"))
    skipped = "tests/test_it.py::test_it_grows: did not run (skipped); it is cited for"
    assert project.trace("tests") == 1
    assert skipped in capsys.readouterr().err
    assert project.trace("tests", "--allow-skipped") == 0
    assert skipped in capsys.readouterr().out
    project.record(*RECORDS, replace(RECORDS[2], kind="fuzz", outcome="failed"))
    assert project.trace("tests", "--allow-skipped") == 1
    project.record(*(replace(record, outcome="skipped") for record in RECORDS))
    assert project.trace("tests", "--allow-skipped") == 1
    assert "TREE-1 is a MUST, and no check of it passed" in capsys.readouterr().err
    for spin, allowed in (("", True), ("0", True), ("1", False)):
        command = ["make", "--dry-run", "test", f"ROTORTREE_REQUIRE_SPIN={spin}", "MAKE=true"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert ("-m tests.campaigns.trace tests --allow-skipped\n" in shown.stdout) == allowed
    assert "ROTORTREE_REQUIRE_SPIN=1" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_cited_check_that_did_not_pass_is_reported(
    project: Project, capsys: pytest.CaptureFixture[str], outcome: str
) -> None:
    """Even if there is other evidence."""
    project.record(*RECORDS[:2], RECORDS[2], replace(RECORDS[2], kind="fuzz", outcome=outcome))
    (problem,) = project.problems(capsys)
    assert problem.startswith("tests/test_it.py::test_it_grows: ")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            replace(RECORDS[2], requirements=("TREE-1", "TREE-9")),
            "cites TREE-9, which there is not",
        ),
        (replace(RECORDS[2], kind="proof"), "'proof' is no kind of evidence"),
        (replace(RECORDS[2], requirements=()), "is property evidence of nothing"),
    ],
)
def test_a_wrong_mark_is_reported(
    project: Project, capsys: pytest.CaptureFixture[str], record: Record, message: str
) -> None:
    """Of whatever does not exist, or says nothing."""
    project.record(*RECORDS, record, name="more")
    project.record(*RECORDS)
    (problem,) = project.problems(capsys)
    assert problem.startswith(f"tests/test_it.py::test_it_grows: {message}")


def test_unknown_and_retired_citations_are_reported(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """In docstrings, texts and sources, with the line; a list that nobody can read as well."""
    project.write("specs/storage-format.md", "# As FORMAT-1 said\n\nAnd FORMAT-7.\n")
    project.trace("accept", "--all")
    project.write("rotortree/tree.py", "\n# as PROOF-2 has it\n")
    project.replace("model/shape.py", "TREE-1, TREE-2.", "FORMAT-1, TREE-2.")
    project.replace("model/shape.py", "Requirements: TREE-2.", "Requirements: TREE-2")
    project.record(*RECORDS)
    assert project.problems(capsys) == [
        (
            "model/shape.py:4: MAX does not say which requirements, like this: "
            "Requirements: TREE-7, TREE-8."
        ),
        "model/shape.py:10: grow cites FORMAT-1, which is retired",
        "specs/storage-format.md:3: cites FORMAT-7, which there is not",
        "rotortree/tree.py:2: cites PROOF-2, which there is not",
    ]


def test_records_of_another_state_count_for_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """One byte of what the checker read is enough; what lacks evidence then is not known."""
    project.replace("rotortree/tree.py", "# as", "# As")
    path = f"{FOLDER}/tests.jsonl"
    state = "of another state of model, rotortree, specs, tests; run make trace"
    assert project.problems(capsys) == [f"{path}: {state}"]
    project.replace("rotortree/tree.py", "# As", "# as")
    assert project.problems(capsys) == []


def test_every_checker_of_the_project_must_have_recorded(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing, damaged or foreign file of records is a problem."""
    project.write("tests/campaigns/protocol/__main__.py", "")
    project.record(*RECORDS)
    missing = f"{FOLDER}/protocol.jsonl: missing, run make spec"
    assert project.problems(capsys) == [missing]
    project.record(replace(RECORDS[2], kind="model", source="specs/tree.md"), name="protocol")
    assert project.problems(capsys) == []
    project.write(str(FOLDER / "other.jsonl"), "")
    assert project.problems(capsys) == [
        f"{FOLDER}/other.jsonl:1: does not say what its checker read"
    ]
    (project.root / FOLDER / "other.jsonl").unlink()
    (project.root / FOLDER / "tests.jsonl").unlink()
    assert project.problems(capsys) == [f"{FOLDER}/tests.jsonl: missing, run make trace"]


# Pages


def test_the_page_needs_nothing_else(project: Project) -> None:
    """No resource of another file, no text that is taken for HTML, no link to what is not there."""
    page = html(build(project.root), project.root)
    assert not re.search(r"<(link|img|iframe|object|embed)|src=|@import|url\(|https?:", page)
    assert "green &amp; &lt;tall&gt;" in page
    folder = project.root / "build/trace"
    links = re.findall(r'href="([^"#]+)', page)
    assert {"../../tests/test_it.py", "../../specs/proofs.md", "../../model/shape.py"} <= set(links)
    assert [link for link in links if not (folder / link).resolve().is_file()] == []


def test_the_pages_show_each_requirement_and_what_is_wrong(project: Project) -> None:
    """Both have a row for each, counts by kind, the evidence and all problems."""
    project.record(*RECORDS, replace(RECORDS[1], kind="fuzz", outcome="failed"))
    matrix = build(project.root)
    in_html, in_markdown = html(matrix, project.root), markdown(matrix, project.root)
    assert "| [TREE-1](#tree-1) | MUST | 1 |  |  |  | 1 |  | 1 |  |  |  |  |" in in_markdown
    assert "| [PROOF-1](#proof-1) | MUST |  |  |  |  |  | 1 | 1 |  |  | ✗ |  |" in in_markdown
    for page in (in_html, in_markdown):
        assert len(re.findall(r'<tr id="|^### ', page, re.MULTILINE)) == 4
        assert "with evidence that passed: 2 of 2 MUST, 1 of 1 SHOULD, 0 of 1 MAY" in page
        assert "1 problems" in page
        assert "test_it_proves: failed; it is cited for PROOF-1" in page
        assert "✓ passed (3 cases)" in page
