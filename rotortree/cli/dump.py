"""The contents of a tree's files, as JSON values and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from rotortree.errors import TreeNotFoundError
from rotortree.geometry import NODE_BYTES
from rotortree.storage import calls
from rotortree.storage.audit import shared_lock
from rotortree.storage.files import File, FileSystem
from rotortree.storage.format import (
    COMMIT,
    FRAME_BYTES,
    LEVELS,
    SHARD_BYTES,
    WAL,
    Commit,
    Frame,
    Head,
    Identity,
    is_level,
)
from rotortree.storage.recovery import survey
from rotortree.storage.wal import SegmentScan

__all__ = ["Description", "described", "description_lines"]

Description: TypeAlias = dict[str, Any]
"""Values that JSON can hold, by name."""


def described(fs: FileSystem, directory: str) -> Description:
    """Everything that the files of a tree hold, without leaves and nodes.

    Raises TreeNotFoundError, FileLockedError, IoFailedError.
    """
    if {WAL, COMMIT, LEVELS}.isdisjoint(calls.listdir(fs, directory)):
        raise TreeNotFoundError(directory)
    with shared_lock(fs, directory):
        found = survey(fs, directory)
        return {
            "directory": directory,
            "identity": found.identity and _identity(found.identity),
            "commit": found.commit and _commit(found.commit),
            "commit_error": found.commit_error and str(found.commit_error),
            "segments": [_segment(fs, scan) for scan in found.segments],
            "levels": list(_level_files(fs, f"{directory}/{LEVELS}")),
        }


def _identity(identity: Identity) -> Description:
    return {**identity._asdict(), "tree_id": identity.tree_id.hex()}


def _head(head: Head) -> Description:
    return {"size": head.size, "root": head.root.hex() if head.size else None}


def _commit(commit: Commit) -> Description:
    return {
        "checkpoint": _head(commit.checkpoint),
        "acknowledged": _head(commit.acknowledged),
        "first_segment": commit.first_segment,
        "last_segment": commit.last_segment,
    }


def _segment(fs: FileSystem, scan: SegmentScan) -> Description:
    return {
        "path": scan.path,
        "number": scan.number,
        "bytes": scan.size,
        "error": scan.error and str(scan.error),
        "base": scan.header and _head(scan.header.base),
        "frames": list(_frames(fs, scan)),
        "end": scan.end,
        "used": scan.used if scan.header is not None else scan.size,
    }


def _frames(fs: FileSystem, scan: SegmentScan) -> Iterator[Description]:
    """The headers of the frames that the survey found valid."""
    file = calls.open_file(fs, scan.path, "read")
    if file is None or scan.header is None:
        return
    try:
        key = scan.header.key()
        for unit in scan.units:
            for payload, _ in unit.frames:
                yield from _frame(file, scan.path, payload - FRAME_BYTES, key)
    finally:
        file.close()


def _frame(file: File, path: str, offset: int, key: bytes) -> Iterator[Description]:
    frame = Frame.decode(calls.read_exactly(file, path, FRAME_BYTES, offset), key)
    if frame is not None:
        names = "number", "first", "leaves", "calls", "promise", "more"
        values = {name: getattr(frame, name) for name in names}
        yield {"offset": offset, **values, "root": frame.root.hex()}


def _level_files(fs: FileSystem, directory: str) -> Iterator[Description]:
    names = filter(is_level, calls.listdir(fs, directory))
    for level in sorted(names, key=int):
        for name in calls.listdir(fs, f"{directory}/{level}"):
            path = f"{directory}/{level}/{name}"
            file = calls.open_file(fs, path, "read")
            if file is None:
                continue
            try:
                size = calls.file_size(file, path)
            finally:
                file.close()
            nodes = max(0, size - SHARD_BYTES) // NODE_BYTES
            shard = name.partition(".")[0]
            yield {"path": path, "level": level, "shard": shard, "bytes": size, "nodes": nodes}


def description_lines(values: Description) -> Iterator[str]:
    """A description as text, line by line."""
    yield f"tree {values['directory']}"
    for name, value in (values["identity"] or {}).items():
        yield f"  {name}: {value}"
    yield from _commit_lines(values)
    for segment in values["segments"]:
        yield from _segment_lines(segment)
    for file in values["levels"]:
        yield f"level file {file['path']}: {file['bytes']} bytes, {file['nodes']} nodes"


def _commit_lines(values: Description) -> Iterator[str]:
    commit = values["commit"]
    if commit is None:
        yield f"commit record: {values['commit_error'] or 'none'}"
        return
    yield "commit record"
    yield f"  checkpoint: {_head_text(commit['checkpoint'])}"
    yield f"  acknowledged: {_head_text(commit['acknowledged'])}"
    yield f"  segments: {commit['first_segment']} to {commit['last_segment']}"


def _head_text(head: Description) -> str:
    return f"{head['size']} leaves, root {head['root'] or 'none'}"


def _segment_lines(segment: Description) -> Iterator[str]:
    yield f"log segment {segment['path']}: {segment['bytes']} bytes"
    if segment["error"] is not None:
        yield f"  damaged: {segment['error']}"
        return
    yield f"  base: {_head_text(segment['base'])}"
    for frame in segment["frames"]:
        more = ", unit continues in the next frame" if frame["more"] else ""
        yield (
            f"  offset {frame['offset']}: frame {frame['number']}, {frame['leaves']} leaves from"
            f" {frame['first']} on, {frame['calls']} calls, durable below {frame['promise']},"
            f" root {frame['root']}{more}"
        )
    end, used, size = (segment[name] for name in ("end", "used", "bytes"))
    if end < used:
        yield f"  offset {end}: {used - end} torn bytes"
    if used < size:
        yield f"  offset {used}: {size - used} zeros ahead"
