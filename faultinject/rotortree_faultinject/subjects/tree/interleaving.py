"""Crashes × schedules: threads of one tree that take turns in every way, and power that fails.

Each schedule is a run of its own; what a crash may leave of any of them is recovered and judged.
Different schedules leave mostly the same states, which are recovered once.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rotortree import ClosedError, RotorTree
from rotortree.storage.format import COMMIT, Commit
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.image import file_in
from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.disk.schedule import Decision, Interleaver, schedules
from rotortree_faultinject.exploring.explorer import Bounds, Exploration, Known, explore
from rotortree_faultinject.subjects.tree.life import PATH, Life, abandon
from rotortree_faultinject.subjects.tree.oracle import OracleError, check_proofs, check_root
from rotortree_faultinject.subjects.tree.workloads import TreeSubject

__all__ = [
    "BOUNDS",
    "CONCURRENT",
    "Concurrent",
    "Schedules",
    "explore_schedules",
    "sample_schedules",
]


BOUNDS = Bounds(per_point=256, go_on=False)
"""How far the crashes of one schedule are explored."""


class Concurrent(TreeSubject):
    """A life that begins alone and goes on in several threads at once, under one schedule.

    ``actors``: for each thread the steps that it does; ``choices``: the schedule, as
    `rotortree_faultinject.disk.schedule.Interleaver` takes it.  Threads can ``insert``, ``append``,
    ``flush``, ``checkpoint``, run ``background`` tasks, ``read`` and ``close``.
    """

    def __init__(
        self,
        steps: Sequence[str],
        actors: Mapping[str, Sequence[str]],
        options: Mapping[str, object] = MappingProxyType({}),
        choices: Sequence[int] = (),
        name: str = "",
    ) -> None:
        super().__init__(steps, options, name)
        self.actors = {actor: tuple(doings) for actor, doings in actors.items()}
        self.choices = tuple(choices)
        self.decisions: Sequence[Decision] = ()

    def run(self, disk: SimulatedDisk) -> None:
        """Live alone, then all threads under the schedule; nobody closes the tree at the end."""
        interleaver = Interleaver(self.choices)
        life = Life(self.options, disk, interleaver)
        life.live(self.steps)
        tree = life.tree
        assert tree is not None  # the first steps open it
        for actor, doings in self.actors.items():
            interleaver.add(actor, _Actor(life, tree, doings).act)

        def before(call: Call) -> None:
            life.acknowledge()
            interleaver.switch()

        disk.on_call = before
        try:
            interleaver.run()
            life.acknowledge()
            self._check_end(life, tree, disk)
        finally:
            disk.on_call = None
            self.decisions = interleaver.decisions
            abandon(tree)

    def _check_end(self, life: Life, tree: RotorTree, disk: SimulatedDisk) -> None:
        """What was recorded is not taken back; what was inserted before a close is durable."""
        size = sum(map(len, life.history.issued))
        if tree.closed and tree.durable_size < size:
            raise OracleError(f"closed, and {tree.durable_size} of {size} leaves are durable")
        if self.options.record:
            record = f"{PATH}/{COMMIT}"
            recorded = Commit.decode(file_in(disk.image, record) or b"", record).acknowledged.size
            if recorded < life.history.acknowledged:
                promised = life.history.acknowledged
                raise OracleError(f"{recorded} leaves are recorded, {promised} were acknowledged")

    def with_choices(self, choices: Sequence[int]) -> Concurrent:
        """The same under another schedule."""
        options = self.options.changes()
        return Concurrent(self.steps, self.actors, options, choices, self.name)

    def with_arity(self, n: int) -> Concurrent:
        """The same for trees of another arity."""
        options = {**self.options.changes(), "n": n}
        return Concurrent(self.steps, self.actors, options, self.choices, self.name)

    def parameters(self) -> Mapping[str, object]:
        """See `Subject.parameters`."""
        actors = {actor: list(doings) for actor, doings in self.actors.items()}
        choices = {"actors": actors, "choices": list(self.choices)}
        return {**super().parameters(), **choices}

    def smaller(self) -> Sequence[Concurrent]:
        """Schedules with fewer turns."""
        ends = [at for at, choice in enumerate(self.choices) if choice]
        return [self.with_choices((*self.choices[:at], 0, *self.choices[at + 1 :])) for at in ends]


class _Actor:
    """One thread of a tree, and what must be true for it while others work, too."""

    def __init__(self, life: Life, tree: RotorTree, steps: Sequence[str]) -> None:
        self._life = life
        self._tree = tree
        self._steps = steps

    def act(self) -> None:
        """Do all steps."""
        for step in self._steps:
            name = step.partition(" ")[0]
            if name in ("flush", "checkpoint", "close"):
                self._durably(getattr(self._tree, name))
            elif name == "read":
                self._read()
            else:
                with contextlib.suppress(ClosedError):
                    self._life.do(step)

    def _durably(self, operation: Callable[[], None]) -> None:
        """What was there when the call began is durable when it returns."""
        tree = self._tree
        try:
            size = tree.size
            operation()
        except ClosedError:
            if not tree.closed:
                raise
            return
        if tree.durable_size < size:
            raise OracleError(f"{tree.durable_size} leaves are durable, not the {size} there were")

    def _read(self) -> None:
        """A snapshot holds together while others write."""
        found = check_root(self._tree)
        check_proofs(self._tree, found.leaves)


CONCURRENT: Mapping[str, Concurrent] = MappingProxyType(
    {
        one.name: one
        for one in (
            Concurrent(
                ("open", "insert 3", "flush"),
                {"checkpointer": ["checkpoint"], "writer": ["insert 2", "flush"]},
                name="checkpoint and flush",
            ),
            Concurrent(
                ("open", "insert 2"),
                {
                    "first": ["insert", "flush"],
                    "second": ["insert 4", "flush"],
                    "third": ["checkpoint"],
                },
                name="two flushes and a checkpoint",
            ),
            Concurrent(
                ("open",),
                {
                    "first": ["insert", "flush"],
                    "second": ["insert 2", "flush"],
                    "third": ["insert", "flush"],
                },
                {"zeros_ahead": 400},
                name="three flushes",
            ),
            Concurrent(
                ("open",),
                {
                    "first": ["insert", "flush"],
                    "second": ["insert 2", "flush", "insert", "flush"],
                    "third": ["insert", "flush"],
                },
                name="three flushes, and one more",
            ),
            Concurrent(
                ("open", "insert"),
                {
                    "flusher": ["background flusher"],
                    "first": ["insert 2", "flush", "insert", "flush"],
                    "second": ["insert", "flush"],
                },
                {"flush": "interval"},
                name="a background flush and two others",
            ),
            Concurrent(
                ("open",),
                {
                    "first": ["insert", "flush"],
                    "second": ["insert", "flush"],
                    "closer": ["close"],
                },
                name="two flushes and a close",
            ),
            Concurrent(
                ("open", "insert 2", "flush", "insert 2"),
                {"checkpointer": ["checkpoint"], "writer": ["flush", "insert", "flush"]},
                {"segment_bytes": 200},
                name="rolls and a checkpoint",
            ),
            Concurrent(
                ("open", "insert 3", "checkpoint", "insert 3"),
                {"one": ["checkpoint", "read"], "other": ["insert", "checkpoint"]},
                name="two checkpoints",
            ),
            Concurrent(
                ("open", "insert 3"),
                {
                    "flusher": ["background flusher"],
                    "checkpointer": ["background checkpointer"],
                    "writer": ["insert 2", "flush"],
                },
                {"flush": "interval", "checkpoint": "every 3"},
                name="background tasks and a flush",
            ),
            Concurrent(
                ("open", "insert 2", "flush", "insert"),
                {"closer": ["close"], "checkpointer": ["checkpoint"]},
                name="close during a checkpoint",
            ),
            Concurrent(
                ("open", "insert 2", "flush", "insert"),
                {"closer": ["close"], "writer": ["append 2", "append"], "other": ["flush"]},
                name="close during inserts",
            ),
            Concurrent(
                ("open", "insert", "flush"),
                {"writer": ["insert 2", "flush"], "checkpointer": ["checkpoint"]},
                {"record": True},
                name="recorded acknowledgements and a checkpoint",
            ),
        )
    }
)
"""Built-in short workloads of several threads, by their names; read-only."""


@dataclass(slots=True)
class Schedules:
    """What came of exploring schedules: how many, how many turns, and the explorations that failed.

    ``states`` counts crash states over all schedules, ``distinct`` those that were recovered.
    """

    schedules: int = 0
    decisions: int = 0
    states: int = 0
    distinct: int = 0
    failed: list[Exploration] = field(default_factory=list)


def _explore(
    subject: Concurrent, profile: Profile, bounds: Bounds, known: Known, into: Schedules
) -> None:
    before = len(known)
    result = explore(subject, profile, bounds, known=known)
    into.schedules += 1
    into.decisions += len(subject.decisions)
    into.states += result.statistics.checked
    into.distinct += len(known) - before
    if result.failures:
        into.failed.append(result)


def explore_schedules(
    subject: Concurrent,
    preemptions: int = 1,
    profile: Profile = PROFILES["posix"],
    bounds: Bounds = BOUNDS,
) -> Schedules:
    """Explore every schedule of at most so many preemptions; stop at the first that fails."""
    found = Schedules()
    known: Known = {}

    def run(choices: tuple[int, ...]) -> Sequence[Decision]:
        one = subject.with_choices(choices)
        _explore(one, profile, bounds, known, found)
        return one.decisions

    for _ in schedules(run, preemptions):
        if found.failed:
            break
    return found


def sample_schedules(
    subject: Concurrent,
    count: int,
    seed: int = 0,
    profile: Profile = PROFILES["posix"],
    bounds: Bounds = BOUNDS,
) -> Schedules:
    """Explore so many random schedules, with as many turns as come; stop at one that fails."""
    found = Schedules()
    known: Known = {}
    for choices in _random_choices(count, seed):
        _explore(subject.with_choices(choices), profile, bounds, known, found)
        if found.failed:
            break
    return found


def _random_choices(count: int, seed: int) -> Iterator[tuple[int, ...]]:
    drawn = random.Random(seed)
    for _ in range(count):
        often = drawn.choice((0.1, 0.3, 0.7))
        yield tuple(drawn.randrange(1, 4) if drawn.random() < often else 0 for _ in range(200))
