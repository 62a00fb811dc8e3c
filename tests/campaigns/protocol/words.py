"""What production does to a disk, as words, and whether they are words of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rotortree_faultinject.disk.operations import Operation
from tests.campaigns.protocol.spin import search

__all__ = ["UnknownOperationError", "accepts", "known_calls", "word_of"]

_CALLS = (
    ("mkdir tree", "MKDIR_TREE"),
    ("mkdir tree/wal", "MKDIR_WAL"),
    ("mkdir tree/levels", "MKDIR_LEVELS"),
    ("mkdir tree/levels/LEVEL", "MKDIR_LEVEL"),
    (r"create tree/wal/(\d+)\.wal\.tmp", "SEGMENT_CREATE"),
    (r"write tree/wal/(\d+)\.wal\.tmp", "SEGMENT_WRITE"),
    (r"sync tree/wal/(\d+)\.wal\.tmp", "SEGMENT_SYNC"),
    (r"rename tree/wal/(\d+)\.wal", "SEGMENT_RENAME"),
    (r"unlink tree/wal/(\d+)\.wal", "SEGMENT_UNLINK"),
    (r"write tree/wal/(\d+)\.wal", "UNIT_WRITE"),
    (r"(?:failed_)?sync tree/wal/(\d+)\.wal", "UNIT_SYNC"),
    (r"truncate tree/wal/(\d+)\.wal", "UNIT_CUT"),
    (r"create tree/COMMIT\.tmp", "COMMIT_CREATE"),
    (r"write tree/COMMIT\.tmp", "COMMIT_WRITE"),
    (r"sync tree/COMMIT\.tmp", "COMMIT_SYNC"),
    ("rename tree/COMMIT", "COMMIT_RENAME"),
    (r"create tree/levels/LEVEL/\d+\.nodes", "LEVEL_CREATE"),
    (r"write tree/levels/LEVEL/\d+\.nodes", "LEVEL_WRITE"),
    (r"sync tree/levels/LEVEL/\d+\.nodes", "LEVEL_SYNC"),
    (r"sync_directory \.", "SYNC_PARENT"),
    ("sync_directory tree", "SYNC_ROOT"),
    ("sync_directory tree/wal", "SYNC_WAL"),
    ("sync_directory tree/levels", "SYNC_LEVELS"),
    ("sync_directory tree/levels/LEVEL", "SYNC_LEVEL"),
)
"""Every operation of production on a tree named ``tree``, and the model's name of it.

A number in parentheses is that of the segment, which belongs to the word.
"""

_IGNORED = ("create tree/LOCK", r"unlink tree/(wal/\d+\.wal|COMMIT)\.tmp")
"""Operations that the model leaves out: it has no lock, and temporary files mean nothing to it."""


class UnknownOperationError(Exception):
    """Production did something to the disk that the model has no name for."""


def known_calls() -> set[str]:
    """The calls that words may have, as the model names them."""
    return {symbol for _, symbol in _CALLS}


def word_of(log: Iterable[Operation], level: int = 0) -> list[str]:
    """The calls and marks of a log, as the model names them; of level files one level alone.

    A call on a segment has its number: ``UNIT_WRITE 2``.

    A mark whose value is a string is one of the model.  Raises UnknownOperationError.
    """
    word = []
    for entry in log:
        if entry.kind == "mark":
            word += [entry.value] if isinstance(entry.value, str) else []
        elif not _is_of_another_level(entry, level):
            word += _symbols(f"{entry.kind} {entry.path}", level)
    return word


def _is_of_another_level(entry: Operation, level: int) -> bool:
    found = re.match(r"tree/levels/(\d+)(/|$)", entry.path)
    return found is not None and int(found[1]) != level


def _symbols(operation: str, level: int) -> Iterator[str]:
    if any(re.fullmatch(pattern, operation) for pattern in _IGNORED):
        return
    for pattern, symbol in _CALLS:
        if found := re.fullmatch(pattern.replace("LEVEL", str(level)), operation):
            yield " ".join([symbol, *(str(int(number)) for number in found.groups())])
            return
    raise UnknownOperationError(operation)


def accepts(word: Sequence[str], bounds: dict[str, int]) -> bool:
    """Whether the model can make these calls and marks, and no others, in this order.

    The model is let do nothing but what the word says next; at the end an assertion fails.
    """
    found = search("log.pml", bounds, word=word)
    return "word_at" in found.violated
