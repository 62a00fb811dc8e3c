"""What an exploration reached: branches of recovery and of the write path, counted from outside.

A run that finds nothing proves something only of what it came to.  `observed` counts facts while
anything opens trees and works with them; `unreached` names those that came up too seldom.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from rotortree.durable import opening, rotor_tree
from rotortree.durable.engine import OpenedTree
from rotortree.durable.opening import RecoveryReport
from rotortree.durable.state import TreeState
from rotortree.storage import log as logs
from rotortree.storage.directory import Lock, WritableDirectory
from rotortree.storage.environment import Environment
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log import Log, _Segment
from rotortree.storage.log_reader import _Scanner
from rotortree.storage.recovery import Decision, Link, Survey
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.handles import SimulatedDirectory

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
        "a replaced segment": 10,
        "a sealed frame behind the first invalid one": 20,
        "zeros ahead": 20,
        "segments that a commit made useless": 20,
        "a file that was never finished": 20,
        # What recovery does.
        "a promise vouches for units": 100,
        "the commit record vouches for units": 20,
        "nothing vouches for the last unit": 100,
        "an acknowledged head before the last segment": 20,
        "a new segment begun with leaves": 100,
        "a new segment begun without leaves": 20,
        "segments replaced": 100,
        "segments kept": 100,
        "tails cut": 20,
        "a commit record rebuilt": 20,
        "a commit record written anew": 20,
        "removed what another process left": 20,
        "a removal failed": 1,
        # What writing does.
        "a unit of several frames written": 20,
        "a unit written before zeros": 5,
        "the log cut": 1,
        "a flush rolled": 3,
        "a flush after an interrupted one": 1,
        "a checkpoint of several segments": 1,
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

_Begun = Callable[..., Callable[[object], Mapping[str, object]]]
"""From a function's arguments, before it is called, to what says the facts from its result."""


def _after(facts: _Facts) -> _Begun:
    """Facts that are there when the function returned."""
    return lambda *args, **kwargs: lambda result: facts(result, *args, **kwargs)


def _watch(
    function: Callable[_P, _R], begun: _Begun, count: Callable[[Mapping[str, object]], None]
) -> Callable[_P, _R]:
    @functools.wraps(function)
    def watched(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        facts = begun(*args, **kwargs)
        result = function(*args, **kwargs)
        count(facts(result))
        return result

    return watched


def _watched() -> Iterator[tuple[object, str, _Begun]]:
    """What is watched: where it is looked up, its name there, the facts."""
    yield rotor_tree, "open_tree", _after(_opened)
    yield opening, "survey", _after(_surveyed)
    yield opening, "decide", _after(_decided)
    yield opening, "resume_log", _after(_resumed)
    yield logs, "_cut_tails", _after(_tails_cut)
    yield _Scanner, "_promise_behind", _after(_read_ahead)
    yield Log, "append", _appending
    yield Log, "switch", _switching
    yield Log, "_write", _writing
    yield _Segment, "cut", lambda *_: lambda result: {"the log cut": True}
    yield TreeState, "fail", lambda *_: lambda result: {"a tree failed": True}
    yield LevelWriter, "write", _after(_level_files_written)
    yield LevelWriter, "_write_nodes", _after(_level_file_written)


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


def _surveyed(found: Survey, root: WritableDirectory) -> Mapping[str, object]:
    disk = root._machine if isinstance(root, SimulatedDirectory) else None
    names = disk.files() if isinstance(disk, SimulatedDisk) else ()
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
    counted = {link.scan.number for link in decision.links}
    first = min(counted)
    if found.commit is not None:
        first = min(first, found.commit.first_segment)
    live = [scan.number for scan in found.segments if scan.number >= first]
    acknowledged = found.commit.acknowledged.size if found.commit else 0
    last, base = decision.last, decision.links[-1].base
    return {
        "row 12: the tree, closed cleanly": decision.clean,
        "row 13: the tree, with a commit record": found.commit and not decision.clean,
        "row 14: no commit record": not found.commit and not found.commit_error,
        "row 14: a damaged commit record": found.commit_error,
        "units of several segments": sum(bool(link.units) for link in decision.links) > 1,
        "units behind the next segment's base": any(
            len(link.units) < len(link.scan.units) for link in decision.links
        ),
        "a replaced segment": set(live) - counted,
        "segments that a commit made useless": len(live) < len(found.segments),
        "zeros ahead": last.size > last.used,
        "a promise vouches for units": last.durable_size > base.size,
        "the commit record vouches for units": acknowledged > last.durable_size,
        "nothing vouches for the last unit": decision.durable_size < decision.head.size,
        "an acknowledged head before the last segment": 0 < acknowledged < base.size,
    }


def _resumed(
    log: Log,
    root: WritableDirectory,
    lock: Lock,
    environment: Environment,
    found: Survey,
    decision: Decision,
    *_: object,
    **__: object,
) -> Mapping[str, object]:
    """How a writer went on; nothing of that after a clean close."""
    assert log._segment is not None  # it was just opened, or begun
    last = log._segment.header
    is_new = last.number > decision.last.number
    written = is_new and log._commit != found.commit
    disk = environment.files
    names = set(disk.files()) if isinstance(disk, SimulatedDisk) else set[str]()
    counted = {link.scan.number for link in decision.links}
    left = [scan.path for scan in found.segments if scan.number not in counted]
    goes = [scan.path for scan in found.segments if scan.number not in log._bases]
    return {
        "a new segment begun with leaves": is_new and log.size > last.base.size,
        "a new segment begun without leaves": is_new and log.size == last.base.size,
        "segments replaced": is_new and not counted <= log._bases.keys(),
        "segments kept": is_new and counted & log._bases.keys(),
        "a commit record rebuilt": written and not found.commit,
        "a commit record written anew": written and found.commit,
        "removed what another process left": is_new and left and not names.intersection(left),
        "a removal failed": is_new and names.intersection(goes),
    }


def _tails_cut(result: None, log: Log, links: Sequence[Link]) -> Mapping[str, object]:
    return {"tails cut": any(link.scan.size > link.end for link in links)}


def _read_ahead(promise: int, scanner: _Scanner, offset: int) -> Mapping[str, object]:
    return {"a sealed frame behind the first invalid one": promise}


# What writing does.


def _appending(log: Log, stop: int, *_: object) -> Callable[[object], Mapping[str, object]]:
    """A flush: whether it is of several frames, and begins a segment."""
    leaves, before = stop - log.size, log._segment
    return lambda result: {
        "a unit of several frames written": leaves > log._environment.frame_leaves,
        "a flush rolled": before is not None and log._segment is not before,
        "a flush after an interrupted one": before is None,
    }


def _writing(
    log: Log, segment: _Segment, buffers: object, stop: int
) -> Callable[[object], Mapping[str, object]]:
    return lambda result: {"a unit written before zeros": segment.written > stop}


def _switching(log: Log, *_: object) -> Callable[[object], Mapping[str, object]]:
    before = log._segment

    def facts(result: object) -> Mapping[str, object]:
        assert isinstance(result, list)
        return {
            "a checkpoint without a new segment": log._segment is before,
            "a checkpoint of several segments": len(result) > 1,
        }

    return facts


def _level_files_written(
    result: None, writer: LevelWriter, tree: object, old_size: int, size: int
) -> Mapping[str, object]:
    shard_nodes = writer._identity.shard_nodes
    return {
        "a checkpoint over several files of a level": size // shard_nodes > old_size // shard_nodes,
    }


def _level_file_written(
    result: None, writer: LevelWriter, tree: object, level: int, shard: int, start: int, stop: int
) -> Mapping[str, object]:
    begins = start % writer._identity.shard_nodes == 0
    return {"a level file begun": begins, "a level file goes on": not begins}
