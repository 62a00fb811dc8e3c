"""A finding as text: readable without the code, and without the program that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rotortree_faultinject.disk.image import Image, Link
from rotortree_faultinject.disk.operations import MicroOperation, Name, Operation, Sector
from rotortree_faultinject.exploring.finding import Finding, Rerun, Stage, rerun

__all__ = ["describe"]

_FATES: Mapping[str, str] = {
    "-": "lost",
    "k": "kept",
    "z": "kept, as zeros",
    "g": "kept, as garbage",
    "s": "kept, as stale bytes of a removed file",
}
_SHOWN_BYTES = 16
_SHOWN_CHARACTERS = 120


def describe(finding: Finding, name: str = "FINDING", again: Rerun | None = None) -> str:
    """What happens in a finding, and whether it still fails; it is replayed for that.

    ``name`` is the file that it is in; ``again`` a replay, if there was one already.  Raises
    FindingError if the finding cannot be replayed.
    """
    return "\n".join(_lines(finding, name, rerun(finding) if again is None else again))


def _lines(finding: Finding, name: str, again: Rerun) -> Iterator[str]:
    made = ", ".join(f"{key}={value!r}" for key, value in finding.parameters.items())
    yield f"Finding: {again.subject.name}, profile {finding.profile}, check “{finding.check}”"
    yield f"  subject   {finding.subject} ({made})"
    yield f"  disk      sectors of {finding.sector_bytes} bytes, seed {finding.seed}"
    yield f"  crashes   {'; '.join(map(_crash, again.stages)) or 'none: the workload failed'}"
    yield f"  found     {finding.message}"
    yield f"  replay    rotortree-crash replay {name}"
    # Where the workload fails by now there are no stages.
    for number, (stage, asked) in enumerate(zip(again.stages, finding.crashes, strict=False)):
        yield ""
        yield from _stage(stage, "Workload" if number == 0 else f"Recovery {number}")
        if asked.choice is not None and len(asked.choice) != len(stage.unsynced.micro):
            yield "  (the program has changed since: what was not synced is not as many things)"
        yield ""
        yield f"Recovery {number + 1} {_short(stage.recovered)}"
    yield ""
    yield from _verdict(finding, again)


def _verdict(finding: Finding, again: Rerun) -> Iterator[str]:
    if again.failure is None:
        yield "It does not fail any more."
    elif again.failure.check == finding.check:
        yield f"It still fails, check “{finding.check}”: {again.failure.message}"
    else:
        yield (f"It fails, and differently: check “{again.failure.check}”, {again.failure.message}")


def _crash(stage: Stage) -> str:
    kind = "process killed" if stage.crash.choice is None else "power failure"
    return f"{kind} after operation {stage.crash.point} of {len(stage.disk.log)}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _stage(stage: Stage, title: str) -> Iterator[str]:
    """The operations before a crash, the crash, and what became of the disk."""
    log, point = stage.disk.log, stage.crash.point
    yield f"{title}: operations {stage.begin + 1} to {point}"
    for number, operation in enumerate(log[stage.begin : point], stage.begin + 1):
        yield f"  {number:4}  {_operation(operation)}"
    yield f"  ----  {_crash(stage)}"
    yield ""
    yield from _fates(stage)
    yield ""
    yield "Files, as the process saw them → after the crash"
    yield from _differences(stage.before, stage.after)


def _operation(operation: Operation) -> str:
    """An operation in one line, with what it changed."""
    if operation.kind == "mark":
        return _short(f"mark {_value(operation.value)}")
    line = f"{operation.kind} {operation.path}"
    if operation.kind == "rename":
        line = f"rename {operation.value} to {operation.path}"
    elif operation.kind == "symlink":
        line += f" to {operation.value}"
    elif operation.kind == "truncate":
        line += f" to {operation.value} bytes"
    elif operation.kind == "write" and isinstance(operation.value, tuple):
        line += " bytes [{}, {})".format(*operation.value)
    return line


def _value(value: object) -> str:
    """A mark's value: bytes as the first few in hex and how many there are."""
    if isinstance(value, tuple):
        return " ".join(map(_value, value))
    if isinstance(value, bytes):
        return f"{value[:4].hex()}{'…' if len(value) > 4 else ''} ({len(value)} bytes)"
    return str(value)


def _fates(stage: Stage) -> Iterator[str]:
    """What was not synced, and what became of each."""
    micro, choice = stage.unsynced.micro, stage.crash.choice
    if not micro:
        yield "Everything was synced"
        return
    yield "Not synced, and what became of it"
    done = _operations_of(stage.disk.log[: stage.crash.point])
    for one, letter in zip(micro, choice or "?" * len(micro), strict=True):
        fate = _FATES.get(letter, "in the cache")
        number, path = done.get(one.sequence, (0, "?"))
        yield f"  {number:4}  {_micro(one, path):44} {fate}"


def _operations_of(log: Sequence[Operation]) -> dict[int, tuple[int, str]]:
    """For every micro-operation's sequence the number of its operation, and the path."""
    return {
        micro.sequence: (number, operation.path)
        for number, operation in enumerate(log, 1)
        for micro in operation.micro
    }


def _micro(micro: MicroOperation, path: str) -> str:
    if isinstance(micro, Name):
        return f"name {micro.path}{' removed' if micro.inode is None else ''}"
    if isinstance(micro, Sector):
        return f"sector {micro.number} of {path}, bytes [{micro.start}, {micro.stop}) of it"
    return f"size of {path}, {micro.length} bytes"


def _differences(before: Image, after: Image) -> Iterator[str]:
    """One line for every path of either, and two more for where a file's bytes differ."""
    for path in sorted(before.keys() | after.keys()):
        old, new = _extent(before, path), _extent(after, path)
        if path in before and path in after and before[path] == after[path]:
            yield f"  {path}: {old}, unchanged"
            continue
        yield f"  {path}: {old} → {new}"
        was, now = before.get(path), after.get(path)
        if isinstance(was, bytes) and isinstance(now, bytes):
            yield from _hex(was, now)


def _extent(image: Image, path: str) -> str:
    if path not in image:
        return "not there"
    data = image[path]
    if isinstance(data, Link):
        return f"link to {data.target}"
    return "directory" if data is None else f"{len(data)} bytes"


def _hex(was: bytes, now: bytes) -> Iterator[str]:
    """The bytes of both from the first that differs."""
    pairs = enumerate(zip(was, now, strict=False))
    at = next((index for index, (a, b) in pairs if a != b), min(len(was), len(now)))
    for label, data in (("was", was), ("now", now)):
        part = data[at : at + _SHOWN_BYTES]
        more = " …" if len(data) > at + _SHOWN_BYTES else ""
        yield f"      from byte {at} {label}  {part.hex(' ') or 'nothing'}{more}"
