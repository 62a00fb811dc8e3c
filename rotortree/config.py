"""Configuration of a durable tree: parameters, policies, tiering."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TypeAlias

from rotortree.errors import InvalidConfigError
from rotortree.geometry import check_parameters
from rotortree.hashing import Hasher, check_hasher

__all__ = [
    "AnyCheckpointPolicy",
    "AnyFlushPolicy",
    "CheckpointPolicy",
    "FlushPolicy",
    "RotorTreeConfig",
    "TieringConfig",
]


_LONGEST_INTERVAL = 24 * 60 * 60


def _check_at_least(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise InvalidConfigError(name, value, f"it must be an integer of at least {least}")


def _can_be_encoded(path: str) -> bool:
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


class FlushPolicy:
    """When pending leaves are written to the log and fsynced."""

    @dataclass(frozen=True, slots=True)
    class Interval:
        """In the background, at most ``seconds`` after the first pending leaf."""

        seconds: float = 0.01

        def __post_init__(self) -> None:
            seconds: object = self.seconds
            if type(seconds) not in (int, float) or not 0 <= self.seconds <= _LONGEST_INTERVAL:
                requirement = f"it must be a number from 0 to {_LONGEST_INTERVAL}"
                raise InvalidConfigError("seconds", seconds, requirement)

    @dataclass(frozen=True, slots=True)
    class Manual:
        """Only when a caller asks: flush, checkpoint, close, insert_durable, or a token's wait."""


class CheckpointPolicy:
    """When complete nodes are written to the level files, and old log segments removed."""

    @dataclass(frozen=True, slots=True)
    class Manual:
        """Only when ``checkpoint`` is called."""

    @dataclass(frozen=True, slots=True)
    class OnClose:
        """When the tree is closed."""

    @dataclass(frozen=True, slots=True)
    class EveryNEntries:
        """In the background, whenever ``n`` leaves were inserted since the last checkpoint."""

        n: int

        def __post_init__(self) -> None:
            _check_at_least("n", self.n, 1)

    @dataclass(frozen=True, slots=True)
    class MemoryThreshold:
        """In the background, whenever nodes that no checkpoint holds take ``bytes`` of memory."""

        bytes: int

        def __post_init__(self) -> None:
            _check_at_least("bytes", self.bytes, 1)


AnyFlushPolicy: TypeAlias = FlushPolicy.Interval | FlushPolicy.Manual
"""Any of the flush policies."""

AnyCheckpointPolicy: TypeAlias = (
    CheckpointPolicy.Manual
    | CheckpointPolicy.OnClose
    | CheckpointPolicy.EveryNEntries
    | CheckpointPolicy.MemoryThreshold
)
"""Any of the checkpoint policies."""


@dataclass(frozen=True, slots=True)
class TieringConfig:
    """Which levels stay in memory.

    Levels at or above ``pin_above_level`` stay in memory.  Lower levels are read through mapped
    level files as soon as a checkpoint holds them.  0 keeps all levels in memory; None, the
    default, maps every level.
    """

    pin_above_level: int | None = None

    def __post_init__(self) -> None:
        if self.pin_above_level is not None:
            _check_at_least("pin_above_level", self.pin_above_level, 0)

    def is_mapped(self, level: int) -> bool:
        """Whether a level is read through its files."""
        return self.pin_above_level is None or level < self.pin_above_level


@dataclass(frozen=True, slots=True)
class RotorTreeConfig:
    """All parameters of `RotorTree.open`.

    ``path``: the tree's directory.

    ``n``, ``max_depth``, ``hasher``: the parameters of a new tree; None stands for 4, 20 and
    blake3.  An existing tree keeps its own; opening it with others raises ConfigMismatchError.

    ``verify_checkpoint``: opening recomputes every stored node from the leaves.  Without it,
    opening only computes the root from the right edge; a damaged leaf or node then shows later, as
    a proof that does not verify.

    ``create``: make a tree where there is none.

    ``read_only``: change nothing on disk.  Several readers may have the tree open together.

    ``record_acknowledgements``: each flush also records in COMMIT what it made durable, which
    takes another fsync.  Opening then notices damage to the last flushes before a crash, too.
    """

    path: str
    n: int | None = None
    max_depth: int | None = None
    hasher: Hasher | None = None
    flush_policy: AnyFlushPolicy = field(default_factory=FlushPolicy.Interval)
    checkpoint_policy: AnyCheckpointPolicy = field(default_factory=CheckpointPolicy.Manual)
    tiering: TieringConfig = field(default_factory=TieringConfig)
    verify_checkpoint: bool = True
    create: bool = True
    read_only: bool = False
    record_acknowledgements: bool = False

    def __post_init__(self) -> None:
        path: object = self.path
        if not isinstance(path, str) or not path or "\0" in path or not _can_be_encoded(path):
            raise InvalidConfigError("path", path, "it must be the path of a directory")
        object.__setattr__(self, "path", PurePath(self.path).as_posix())
        check_parameters(
            4 if self.n is None else self.n, 20 if self.max_depth is None else self.max_depth
        )
        if self.hasher is not None:
            check_hasher(self.hasher)
        for name, kind, what in (
            ("flush_policy", AnyFlushPolicy, "a FlushPolicy"),
            ("checkpoint_policy", AnyCheckpointPolicy, "a CheckpointPolicy"),
            ("tiering", TieringConfig, "a TieringConfig"),
            ("verify_checkpoint", bool, "True or False"),
            ("create", bool, "True or False"),
            ("read_only", bool, "True or False"),
            ("record_acknowledgements", bool, "True or False"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise InvalidConfigError(name, getattr(self, name), f"it must be {what}")
