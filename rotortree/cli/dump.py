"""The contents of a tree's files, as JSON values and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from rotortree.geometry import NODE_BYTES
from rotortree.storage import calls
from rotortree.storage.audit import opened_to_read
from rotortree.storage.directory import FileSystem, ReadableDirectory, ReadableFile
from rotortree.storage.format import (
    FRAME_BYTES,
    LEVELS,
    SHARD_BYTES,
    WAL,
    Commit,
    Frame,
    Head,
    Identity,
    is_level,
    segment_name,
)
from rotortree.storage.log_reader import SegmentScan
from rotortree.storage.recovery import opened, survey

__all__ = ["Description", "described", "description_lines"]

Description: TypeAlias = dict[str, Any]
"""Values that JSON can hold, by name."""


def described(fs: FileSystem, directory: str) -> Description:
    """Everything that the files of a tree hold, without leaves and nodes.

    Raises TreeNotFoundError, FileLockedError, IoFailedError.
    """
    with opened_to_read(fs, directory) as root:
        found = survey(root)
        with opened(root, WAL) as wal, opened(root, LEVELS) as levels:
            return {
                "directory": directory,
                "identity": found.identity and _identity(found.identity),
                "commit": found.commit and _commit(found.commit),
                "commit_error": found.commit_error and str(found.commit_error),
                "segments": [_segment(wal, scan) for scan in found.segments],
                "levels": [] if levels is None else list(_level_files(levels)),
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


def _segment(wal: ReadableDirectory | None, scan: SegmentScan) -> Description:
    return {
        "path": scan.path,
        "number": scan.number,
        "bytes": scan.size,
        "error": scan.error and str(scan.error),
        "base": scan.header and _head(scan.header.base),
        "frames": list(_frames(wal, scan)),
        "end": scan.end,
        "used": scan.used if scan.header is not None else scan.size,
    }


def _frames(wal: ReadableDirectory | None, scan: SegmentScan) -> Iterator[Description]:
    """The headers of the frames that the survey found valid."""
    file = None if wal is None else calls.open_file(wal, segment_name(scan.number))
    if file is None or scan.header is None:
        return
    try:
        key = scan.header.key()
        for unit in scan.units:
            for payload, _ in unit.frames:
                yield from _frame(file, scan.path, payload - FRAME_BYTES, key)
    finally:
        calls.close(file)


def _frame(file: ReadableFile, path: str, offset: int, key: bytes) -> Iterator[Description]:
    frame = Frame.decode(calls.read_exactly(file, path, FRAME_BYTES, offset), key)
    if frame is not None:
        names = "number", "first", "leaves", "promise", "more"
        values = {name: getattr(frame, name) for name in names}
        yield {"offset": offset, **values, "root": frame.root.hex()}


def _level_files(levels: ReadableDirectory) -> Iterator[Description]:
    for level in sorted(filter(is_level, calls.listdir(levels)), key=int):
        with opened(levels, level) as directory:
            for name in () if directory is None else calls.listdir(directory):
                assert directory is not None  # it has names
                yield from _level_file(directory, level, name)


def _level_file(directory: ReadableDirectory, level: str, name: str) -> Iterator[Description]:
    file, path = calls.open_file(directory, name), calls.path_of(directory, name)
    if file is None:
        return
    try:
        size = calls.file_size(file, path)
    finally:
        calls.close(file)
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
            f" {frame['first']} on, durable below {frame['promise']},"
            f" root {frame['root']}{more}"
        )
    end, used, size = (segment[name] for name in ("end", "used", "bytes"))
    if end < used:
        yield f"  offset {end}: {used - end} torn bytes"
    if used < size:
        yield f"  offset {used}: {size - used} zeros ahead"
