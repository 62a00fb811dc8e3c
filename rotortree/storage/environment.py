"""The world that a tree lives in, all of which a test or a simulation may replace."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from rotortree.errors import InvalidConfigError
from rotortree.scheduler import Scheduler, ThreadScheduler
from rotortree.storage.directory import FileSystem
from rotortree.storage.os_directory import OsFileSystem

__all__ = ["Environment"]

_LIMIT = 2**32
"""Above all sizes: the format has 32 bits for nodes per level file, and no size needs more."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Disk, threads, clock, randomness and the sizes that the format leaves open.

    ``frame_leaves``: leaves in one log frame at most (2 Mi, 64 MiB).  ``segment_bytes``: a flush
    that finds the open log segment as long as this begins another one (64 MiB).  ``fold_leaves``:
    leaves that an open after a crash copies at most to replace small segments (2 Ki, 64 KiB).
    ``zeros_ahead``: bytes of zeros behind the log's last unit at most.  ``shard_nodes``: nodes in
    one level file of a tree that is created, a multiple of n; None for about 33 million.  Raises
    InvalidConfigError.
    """

    files: FileSystem = field(default_factory=OsFileSystem)
    scheduler: Scheduler = field(default_factory=ThreadScheduler)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    frame_leaves: int = 2 << 20
    segment_bytes: int = 64 << 20
    fold_leaves: int = 2 << 10
    zeros_ahead: int = 64 << 10
    shard_nodes: int | None = None

    def __post_init__(self) -> None:
        nodes = 1 if self.shard_nodes is None else self.shard_nodes
        for name, value, least in (
            ("frame_leaves", self.frame_leaves, 1),
            ("segment_bytes", self.segment_bytes, 1),
            ("fold_leaves", self.fold_leaves, 0),
            ("zeros_ahead", self.zeros_ahead, 0),
            ("shard_nodes", nodes, 1),
        ):
            if type(value) is not int or not least <= value < _LIMIT:
                raise InvalidConfigError(name, value, f"it must be from {least} to {_LIMIT - 1}")
