"""What checkers write when they ran: which checks, of which requirements, with which outcome.

A file ``build/evidence/NAME.jsonl`` has one JSON object per line.  The first one says what the
checker read, a digest of that and the kernel that ran, if one did; each of the others is a check.
A checker deletes its file when it starts, takes the digest before it checks anything, and writes
the file when it is done:

    path.unlink(missing_ok=True)
    inputs = Inputs.now(root, ("rotortree", "tests/campaigns/symbolic"))
    ...
    write_records(path, inputs, records)

So a file that is there is of a complete run, and one whose digest is that of the sources as they
are now is of these sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = [
    "FOLDER",
    "KINDS",
    "LOCK",
    "OUTCOMES",
    "Inputs",
    "Record",
    "RecordError",
    "read_records",
    "write_records",
]

FOLDER = Path("build/evidence")
"""Where the record files are, below the folder of the project."""

LOCK = Path("specs/requirements.lock")
"""The one file that no checker reads: to accept a text is not to check anything."""

KINDS = (
    "model",
    "symbolic",
    "exhaustive",
    "property",
    "example",
    "crash",
    "fault",
    "damage",
    "fuzz",
    "benchmark",
)
"""The kinds of evidence, in the order of the matrix's columns."""

OUTCOMES = ("passed", "skipped", "failed")
"""What may become of a check, from good to bad."""


class RecordError(Exception):
    """A file of records that cannot be understood: which, which line, and why."""


@dataclass(frozen=True)
class Record:
    """One check that ran."""

    kind: str
    """One of `KINDS`."""
    source: str
    """Where it is: a path from the project's folder, and ``::`` and a name, if it has one."""
    requirements: tuple[str, ...]
    """The identifiers of what it is evidence of."""
    outcome: str
    """One of `OUTCOMES`."""
    cases: int = 1
    """How many cases had this outcome; of a test with parameters there are several."""
    line: int | None = None
    """Its line in its file, from 1."""


@dataclass(frozen=True)
class Inputs:
    """What a checker read, and a digest of it."""

    paths: tuple[str, ...]
    """Files and folders, from the project's folder."""
    digest: str
    """SHA-256 over the names and bytes of all files there, in hex."""
    kernel: str = ""
    """Which kernel of the tree ran, for it is compiled and not in the digest; empty if none did."""

    @classmethod
    def now(cls, root: Path, paths: Iterable[str], kernel: str = "") -> Inputs:
        """These inputs as they are at this moment in the project at ``root``."""
        found = tuple(sorted(paths))
        state = sha256()
        for path in _files(root, found):
            content = sha256(path.read_bytes()).hexdigest()
            state.update(f"{content} {path.relative_to(root).as_posix()}\n".encode())
        return cls(found, state.hexdigest(), kernel)


def _files(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    """The source files at these paths, sorted; what is compiled from them is left out.

    A path that is not there has no files, so that its appearance changes the digest.
    """
    found: set[Path] = set()
    for name in paths:
        top = root / name
        found |= {top} if top.is_file() else set(top.rglob("*"))
    for path in sorted(found):
        parts = path.relative_to(root).parts
        made = path.suffix in (".pyc", ".so") or "__pycache__" in parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not made and not hidden and path != root / LOCK:
            yield path


def write_records(path: Path, inputs: Inputs, records: Iterable[Record]) -> None:
    """Write a file of records, replacing what is there."""
    lines: list[dict[str, Any]] = [{"inputs": inputs.paths, "digest": inputs.digest}]
    if inputs.kernel:
        lines[0]["kernel"] = inputs.kernel
    for record in records:
        line: dict[str, Any] = {
            "kind": record.kind,
            "source": record.source,
            "requirements": record.requirements,
            "outcome": record.outcome,
        }
        if record.cases != 1:
            line["cases"] = record.cases
        if record.line is not None:
            line["line"] = record.line
        lines.append(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".tmp")
    new.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    new.replace(path)


def read_records(path: Path) -> tuple[Inputs, list[Record]]:
    """The inputs and the records of a file; raises RecordError."""
    found = list(_objects(path))
    if not found or not {"inputs", "digest"} <= found[0].keys():
        raise RecordError(f"{path}:1: does not say what its checker read")
    first = found[0]
    paths = tuple(map(str, first["inputs"]))
    inputs = Inputs(paths, str(first["digest"]), str(first.get("kernel", "")))
    return inputs, [
        _record(f"{path}:{number}", line) for number, line in enumerate(found[1:], start=2)
    ]


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise RecordError(f"{path}:{number}: no JSON: {error}") from None
        if not isinstance(line, dict):
            raise RecordError(f"{path}:{number}: no JSON object")
        yield line


def _record(place: str, line: dict[str, Any]) -> Record:
    fields = {"kind": str, "source": str, "requirements": list, "outcome": str}
    for name, kind in fields.items():
        if not isinstance(line.get(name), kind):
            raise RecordError(f"{place}: {name} is missing or no {kind.__name__}")
    if line["outcome"] not in OUTCOMES:
        raise RecordError(f"{place}: the outcome is {line['outcome']!r}, none of {OUTCOMES}")
    return Record(
        line["kind"],
        line["source"],
        tuple(map(str, line["requirements"])),
        line["outcome"],
        int(line.get("cases", 1)),
        line.get("line"),
    )
