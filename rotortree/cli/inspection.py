"""Commands that inspect a tree's files: ``check`` and ``dump``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

from rotortree.cli.dump import described, description_lines
from rotortree.cli.errors import FAILED, CommandError
from rotortree.cli.options import Directory, Json
from rotortree.cli.output import show
from rotortree.storage.audit import AuditFinding, audit
from rotortree.storage.os_directory import OsFileSystem

__all__ = ["check", "dump"]


def check(directory: Directory, as_json: Json = False) -> None:
    """Verify everything that is stored.

    Changes nothing.  Prints each finding with its severity, its file and the offset in it.
    damaged: data that was durable cannot be trusted; repairable: opening the tree for writing
    repairs it; note: harmless, such as the rest that a crash left.  Exits with 1 if a finding is
    damaged or repairable.

    JSON: directory, ok, findings (a list of objects: path, offset (bytes or null), message,
    severity).
    """
    path = PurePath(directory).as_posix()
    findings = audit(OsFileSystem(), path)
    problems = [finding for finding in findings if finding.severity != "note"]
    values = {
        "directory": path,
        "ok": not problems,
        "findings": [finding._asdict() for finding in findings],
    }
    show(values, "\n".join(_check_lines(path, findings)), as_json=as_json)
    if problems:
        raise CommandError(f"{path}: {_count(problems)} found", FAILED)


def _check_lines(path: str, findings: list[AuditFinding]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.severity:10}  {finding}"
    if all(finding.severity == "note" for finding in findings):
        yield f"{path}: everything stored is right"


def _count(problems: list[AuditFinding]) -> str:
    counted = Counter(finding.severity for finding in problems)
    return ", ".join(f"{count} {severity}" for severity, count in counted.items())


def dump(directory: Directory, as_json: Json = False) -> None:
    """Print what the files hold.

    That is commit record, log frames and level files.  The command does not judge them.

    JSON: directory, identity (n, max_depth, scheme, shard_nodes, tree_id; or null), commit
    (checkpoint and acknowledged, each with size and root; first_segment, last_segment; or null),
    commit_error (or null), segments (a list: path, number, bytes, error, base, frames, end (offset
    behind the last unit), used (offset where zeros ahead begin)), levels (a list: path, level,
    shard, bytes, nodes).  A frame: offset, number, first, leaves, promise, more, root.
    """
    values = described(OsFileSystem(), PurePath(directory).as_posix())
    show(values, "\n".join(description_lines(values)), as_json=as_json)
