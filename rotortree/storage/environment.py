"""The world that a tree lives in, all of which a test or a simulation may replace."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from rotortree.scheduler import Scheduler, ThreadScheduler
from rotortree.storage.files import FileSystem, OsFileSystem

__all__ = ["Environment"]


@dataclass(frozen=True, slots=True)
class Environment:
    """Disk, threads, clock, randomness and the sizes that the format leaves open.

    ``frame_leaves``: leaves in one log frame at most (2 Mi, 64 MiB).  ``zeros_ahead``: bytes of
    zeros behind the log's last unit at most.  ``shard_nodes``: nodes in one level file of a tree
    that is created, a multiple of n; None for about 33 million.
    """

    files: FileSystem = field(default_factory=OsFileSystem)
    scheduler: Scheduler = field(default_factory=ThreadScheduler)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    frame_leaves: int = 2 << 20
    zeros_ahead: int = 64 << 10
    shard_nodes: int | None = None
