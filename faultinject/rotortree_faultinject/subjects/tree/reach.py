"""What an exploration reached: branches of recovery and of the write path, counted from outside.

A run that finds nothing proves something only of what it came to.  `observed` counts facts while
anything opens trees and works with them; `unreached` names those that came up too seldom.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from rotortree.durable import opening, rotor_tree
from rotortree.durable.engine import Engine, OpenedTree
from rotortree.durable.opening import RecoveryReport
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.recovery import Decision, Survey
from rotortree.storage.wal import SegmentWriter, _Scanner
from rotortree_faultinject.disk import SimulatedDisk

__all__ = ["LEAST", "observed", "unreached"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

LEAST: Mapping[str, int] = MappingProxyType(
    {
        # What opening reports.
        "created": 20,
        "closed cleanly": 20,
        "not closed": 100,
        "torn bytes": 100,
        "torn bytes with whole leaves": 20,
        "repaired": 10,
        "leaves from the log": 100,
        "leaves from level files": 100,
        # Rows of the decision table that crashes can lead to; the others are refusals.
        "row 1: no tree": 20,
        "row 12: the tree, closed cleanly": 20,
        "row 13: the tree, with a commit record": 100,
        "row 14: no commit record": 100,
        "row 14: a damaged commit record": 10,
        # What the log holds.
        "a unit of several frames": 100,
        "a frame that another should follow": 20,
        "units of several segments": 20,
        "units behind the next segment's base": 20,
        "a sealed frame behind the first invalid one": 20,
        "zeros ahead": 20,
        "segments that a commit made useless": 20,
        "a file that was never finished": 20,
        # What recovery does.
        "a promise vouches for units": 100,
        "the commit record vouches for units": 20,
        "nothing vouches for the last unit": 100,
        "a commit record rebuilt": 20,
        "a commit record written anew to be sure of it": 20,
        # What writing does.
        "a unit of several frames written": 20,
        "a unit written before zeros": 20,
        "the log cut back": 1,
        "a tree failed": 1,
        "a level file begun": 100,
        "a level file goes on": 20,
        "a checkpoint over several files of a level": 20,
        "a checkpoint without a new segment": 1,
    }
)
"""How often each fact has to come up in the default run, at the least; read-only."""


def unreached(counts: Mapping[str, int], least: Mapping[str, int] = LEAST) -> list[str]:
    """The facts that came up less often than they have to, with both numbers."""
    return [
        f"{fact}: {counts.get(fact, 0)} of {number}"
        for fact, number in least.items()
        if counts.get(fact, 0) < number
    ]


@contextlib.contextmanager
def observed() -> Iterator[Counter[str]]:
    """Count facts, for as long as the context lasts, in this process."""
    counts = Counter[str]()

    def count(facts: Mapping[str, object]) -> None:
        counts.update(fact for fact, holds in facts.items() if holds)

    with contextlib.ExitStack() as stack:
        for owner, name, facts in _watched():
            right = getattr(owner, name)
            stack.enter_context(patch.object(owner, name, _watch(right, facts, count)))
        yield counts


_Facts = Callable[..., Mapping[str, object]]
"""From what a function returned, then its arguments, to facts and whether they hold."""


def _watch(
    function: Callable[_P, _R], facts: _Facts, count: Callable[[Mapping[str, object]], None]
) -> Callable[_P, _R]:
    @functools.wraps(function)
    def watched(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        result = function(*args, **kwargs)
        count(facts(result, *args, **kwargs))
        return result

    return watched


def _watched() -> Iterator[tuple[object, str, _Facts]]:
    """What is watched: where it is looked up, its name there, the facts."""
    yield rotor_tree, "open_tree", _opened
    yield opening, "survey", _surveyed
    yield opening, "decide", _decided
    yield opening, "_needs_commit", _commit_needed
    yield _Scanner, "_promise_behind", _read_ahead
    yield SegmentWriter, "write", _unit_written
    yield SegmentWriter, "cut_back", lambda result, *_: {"the log cut back": True}
    yield Engine, "_fail", lambda result, *_: {"a tree failed": True}
    yield Engine, "_checkpoint", _checkpointed
    yield LevelFiles, "write", _level_files_written
    yield LevelFiles, "_write_shard", _level_file_written


# What opening finds.


def _opened(result: tuple[OpenedTree, RecoveryReport], *_: object) -> Mapping[str, object]:
    report = result[1]
    return {
        "created": report.created,
        "closed cleanly": report.clean and not report.created,
        "not closed": not report.clean,
        "torn bytes": report.torn_bytes,
        "torn bytes with whole leaves": report.torn_leaves,
        "repaired": report.repaired,
        "leaves from the log": report.replayed_leaves,
        "leaves from level files": report.checkpoint_size,
    }


def _surveyed(found: Survey, fs: object, directory: str) -> Mapping[str, object]:
    names = fs.files() if isinstance(fs, SimulatedDisk) else ()
    return {
        "a file that was never finished": any(name.endswith(".tmp") for name in names),
        "a unit of several frames": any(
            len(unit.frames) > 1 for scan in found.segments for unit in scan.units
        ),
        "a frame that another should follow": any(scan.dropped for scan in found.segments),
    }


def _decided(decision: Decision | None, found: Survey) -> Mapping[str, object]:
    if decision is None:
        return {"row 1: no tree": True}
    live = [scan for scan in found.segments if scan.number >= decision.first_segment]
    bases = [scan.header.base.size for scan in live[1:] if scan.header is not None]
    behind = [
        unit
        for scan, base in zip(live, bases, strict=False)
        for unit in scan.units
        if unit.stop > base
    ]
    acknowledged = found.commit.acknowledged.size if found.commit else 0
    last = decision.last
    return {
        "row 12: the tree, closed cleanly": decision.clean,
        "row 13: the tree, with a commit record": found.commit and not decision.clean,
        "row 14: no commit record": not found.commit and not found.commit_error,
        "row 14: a damaged commit record": found.commit_error,
        "units of several segments": len({path for path, _ in decision.units}) > 1,
        "units behind the next segment's base": behind,
        "segments that a commit made useless": len(live) < len(found.segments),
        "zeros ahead": last.size > last.used,
        "a promise vouches for units": last.header and last.durable_size > last.header.base.size,
        "the commit record vouches for units": acknowledged > last.durable_size,
        "nothing vouches for the last unit": decision.durable_size < decision.head.size,
    }


def _commit_needed(
    needed: bool, _: object, found: Survey, decision: Decision
) -> Mapping[str, object]:
    return {
        "a commit record rebuilt": needed and not found.commit,
        "a commit record written anew to be sure of it": needed and found.commit,
    }


def _read_ahead(promise: int, scanner: _Scanner, offset: int) -> Mapping[str, object]:
    return {"a sealed frame behind the first invalid one": promise}


# What writing does.


def _unit_written(result: None, log: SegmentWriter, stop: int, *_: object) -> Mapping[str, object]:
    return {
        "a unit of several frames written": stop - log.stop > log._frame_leaves,
        "a unit written before zeros": log._allocated > log._next[0],
    }


def _checkpointed(result: None, engine: Engine, log: SegmentWriter) -> Mapping[str, object]:
    return {"a checkpoint without a new segment": engine._log is log}


def _level_files_written(
    result: None, levels: LevelFiles, tree: object, old_size: int, size: int
) -> Mapping[str, object]:
    shard_nodes = levels._identity.shard_nodes
    return {
        "a checkpoint over several files of a level": size // shard_nodes > old_size // shard_nodes,
    }


def _level_file_written(
    result: None, levels: LevelFiles, tree: object, level: int, shard: int, start: int, stop: int
) -> Mapping[str, object]:
    begins = start % levels._identity.shard_nodes == 0
    return {"a level file begun": begins, "a level file goes on": not begins}
