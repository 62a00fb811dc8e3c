"""The matrix, requirement × kind of evidence, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns.trace.citations import Citation, marked_tests, mentions, model_citations
from tests.campaigns.trace.lock import changes, read_lock
from tests.campaigns.trace.records import (
    FOLDER,
    KINDS,
    LOCK,
    Inputs,
    Record,
    RecordError,
    read_records,
)
from tests.campaigns.trace.requirements import Requirement, read_requirements

__all__ = ["FUNCTION", "TARGETS", "Matrix", "Row", "Run", "build"]

FUNCTION = "model function"
"""The column of what the model cites: it shows where that is code, and is no evidence."""

TARGETS: Mapping[str, str] = {"tests": "trace", "protocol": "spec", "symbolic": "symbolic"}
"""Which ``make`` target writes which file of records."""


@dataclass
class Row:
    """A requirement, and what there is for it."""

    requirement: Requirement
    functions: list[Citation] = field(default_factory=list)
    """Where the model has it."""
    evidence: dict[str, list[Record]] = field(default_factory=dict)
    """Checks by kind, whatever became of them."""
    problems: list[str] = field(default_factory=list)
    """Why it is not traced, if it is not."""

    @property
    def sources(self) -> list[str]:
        """All that cites it."""
        checks = [record.source for records in self.evidence.values() for record in records]
        return list(dict.fromkeys([*checks, *(citation.source for citation in self.functions)]))

    @property
    def has_evidence(self) -> bool:
        """Whether a check of it passed."""
        records = [record for records in self.evidence.values() for record in records]
        return any(record.outcome == "passed" for record in records)


@dataclass
class Run:
    """What one checker recorded."""

    name: str
    inputs: Inputs
    records: list[Record]


@dataclass
class Matrix:
    """Everything that the pages show."""

    rows: dict[str, Row]
    runs: list[Run]
    problems: list[str]
    """All of them, those of single requirements included: empty if everything is as it must be."""
    notes: list[str]
    """What is no problem because the caller allows it."""


def build(root: Path, *, tests_alone: bool = False, allow_skipped: bool = False) -> Matrix:
    """The matrix of the project at ``root``; SpecificationError if its texts cannot be read.

    ``tests_alone``: judge by the records of the tests, whatever other checkers recorded.
    ``allow_skipped``: a cited check may be skipped, and is no evidence then.
    """
    lock, notes = read_lock(root), list[str]()
    rows = {name: Row(requirement) for name, requirement in read_requirements(root).items()}
    runs, problems = _runs(root, {"tests"} if tests_alone else _all_checkers(root))
    for citation in model_citations(root):
        if citation.identifier in rows:
            rows[citation.identifier].functions.append(citation)
        else:
            problems.append(_unknown(citation, lock))
    known = rows.keys() | lock.keys()  # a text may say what is retired
    problems += [
        _unknown(citation, lock) for citation in mentions(root) if citation.identifier not in known
    ]
    for run in runs:
        for record in run.records:
            problems += _add(record, rows, lock)
            if record.outcome != "passed":
                is_allowed = allow_skipped and record.outcome == "skipped"
                (notes if is_allowed else problems).append(_not_passed(record))
    problems += _not_run(root, runs)
    _judge(rows, changes({name: row.requirement for name, row in rows.items()}, lock), problems)
    return Matrix(rows, runs, problems, notes)


def _runs(root: Path, names: set[str]) -> tuple[list[Run], list[str]]:
    """What these checkers recorded of the sources as they are, and which did not."""
    runs, problems = [], []
    for name in sorted(names):
        path = FOLDER / f"{name}.jsonl"
        again = f"run make {TARGETS[name]}" if name in TARGETS else "remove it, or write it anew"
        if not (root / path).exists():
            problems.append(f"{path}: missing, {again}")
            continue
        try:
            inputs, records = read_records(root / path)
        except RecordError as error:
            problems.append(str(error).replace(f"{root}/", ""))
            continue
        if inputs.digest != Inputs.now(root, inputs.paths).digest:
            problems.append(f"{path}: of another state of {', '.join(inputs.paths)}; {again}")
            continue
        runs.append(Run(name, inputs, records))
    return runs, problems


def _all_checkers(root: Path) -> set[str]:
    """Pytest, the other programs beside this one, and whatever else left records."""
    programs = {path.parent.name for path in (root / "tests/campaigns").glob("*/__main__.py")}
    recorded = {path.stem for path in (root / FOLDER).glob("*.jsonl")}
    return {"tests"} | (programs & TARGETS.keys()) | recorded


def _unknown(citation: Citation, lock: Mapping[str, str]) -> str:
    path, _, name = citation.source.partition("::")
    place = f"{path}:{citation.line}: {f'{name} ' if name else ''}"
    if not citation.identifier:
        return f"{place}does not say which requirements, like this: Requirements: TREE-7, TREE-8."
    return f"{place}cites {citation.identifier}, {_why_unknown(citation.identifier, lock)}"


def _why_unknown(identifier: str, lock: Mapping[str, str]) -> str:
    return "which is retired" if identifier in lock else "which there is not"


def _add(record: Record, rows: Mapping[str, Row], lock: Mapping[str, str]) -> Iterator[str]:
    """Enter a check into the rows that it cites; say what is wrong with it."""
    place = record.source
    if record.kind not in KINDS:
        yield f"{place}: {record.kind!r} is no kind of evidence: {', '.join(KINDS)}"
        return
    if not record.requirements:
        yield f"{place}: is {record.kind} evidence of nothing"
    for identifier in dict.fromkeys(record.requirements):
        if identifier in rows:
            rows[identifier].evidence.setdefault(record.kind, []).append(record)
        else:
            yield f"{place}: cites {identifier}, {_why_unknown(identifier, lock)}"


def _not_passed(record: Record) -> str:
    what = "did not run (skipped)" if record.outcome == "skipped" else "failed"
    return f"{record.source}: {what}; it is cited for {', '.join(record.requirements)}"


def _not_run(root: Path, runs: list[Run]) -> list[str]:
    """The tests that are marked in the sources and are in no record."""
    tests = [run for run in runs if run.name == "tests"]
    records = [record for run in tests for record in run.records]
    missing = [
        f"{test} did not run"
        for test in marked_tests(root)
        if tests and not any(map(test.is_source_of, records))
    ]
    return list(dict.fromkeys(missing))  # once, however many marks it has


def _judge(rows: Mapping[str, Row], changed: Mapping[str, str], problems: list[str]) -> None:
    """Add what is wrong with single requirements, to their rows and to the problems.

    Without the records of some checker nobody knows which evidence is missing.
    """
    complete = not any(problem.startswith(str(FOLDER)) for problem in problems)
    for identifier, how in changed.items():
        row = rows.get(identifier)
        if row is None:
            problems.append(f"{LOCK}: {identifier} {how}; accept it to retire it")
            continue
        sources = ", ".join(row.sources) or "nothing cites it"
        row.problems.append(f"{how}; look at its evidence, then accept it: {sources}")
    for row in rows.values():
        if complete and row.requirement.level == "MUST" and not row.has_evidence:
            row.problems.append("is a MUST, and no check of it passed")
        name = f"{row.requirement.place}: {row.requirement.identifier}"
        problems += [f"{name} {problem}" for problem in row.problems]
