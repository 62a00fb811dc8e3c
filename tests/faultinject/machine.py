"""A tree's life on the simulated disk, drawn by Hypothesis: crashes, faults and all.

Each rule is a step of `rotortree_faultinject.subjects.tree.life`, which keeps the model beside the
tree and checks after every step what must be true.  A life that fails is saved as a finding, which
``rotortree-crash replay`` shows again without Hypothesis.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import Failure, describe_error
from rotortree_faultinject.exploring.finding import Finding, class_path
from rotortree_faultinject.subjects.tree.fuzz import FAULTS
from rotortree_faultinject.subjects.tree.life import Life, Options
from rotortree_faultinject.subjects.tree.workloads import TreeSubject

__all__ = ["FINDING", "MOST_LEAVES", "LifeMachine"]

FINDING = Path(".hypothesis/finding.json")
"""Where the last life that failed is; Hypothesis runs the shortest one last."""

MOST_LEAVES = 60
"""No more leaves are inserted into one tree."""

fates = st.just("k" * 80) | st.just("") | st.text("-kzgs", min_size=1, max_size=24)
"""What became of everything that was not synced when power failed."""

rules = st.builds(
    lambda kind, at, works, loud, code: (
        f"{kind[0]} * {'w' * works}{_letter(kind[1], at, loud)} {code}"
    ),
    st.sampled_from(FAULTS),
    st.integers(0, 5),
    st.integers(0, 12),
    st.booleans(),
    st.sampled_from(["EIO", "ENOSPC"]),
)
"""Rules by which calls go wrong."""


def _letter(letters: str, at: int, for_ever: bool) -> str:
    letter = letters[at % len(letters)]
    return letter.upper() if for_ever and letter not in "kde" else letter


class LifeMachine(RuleBasedStateMachine):
    """Steps of a life, any number of crashes among them."""

    def __init__(self) -> None:
        super().__init__()
        self.life: Life | None = None
        self.steps: list[str] = []

    def do(self, *steps: str) -> None:
        """Do steps; if one fails, save the life up to there."""
        assert self.life is not None
        for step in steps:
            self.steps.append(step)
            try:
                self.life.do(step)
            except Exception as error:
                self.save(error)
                raise

    def save(self, error: Exception) -> None:
        """Write the life down as a finding."""
        assert self.life is not None
        subject = TreeSubject(self.steps, self.life.options.changes())
        failure = Failure((), "workload", describe_error(error))
        profile = self.life.options.profile
        path = class_path(TreeSubject)
        finding = Finding(path, subject.parameters(), profile, 512, 0, *failure)
        FINDING.parent.mkdir(exist_ok=True)
        finding.save(FINDING)
        note(f"rotortree-crash replay {FINDING}")

    @property
    def is_open(self) -> bool:
        """Whether there is a tree to work with."""
        return self.life is not None and self.life.tree is not None

    @property
    def is_small(self) -> bool:
        """Whether there is one, and it may grow."""
        tree = self.life.tree if self.life is not None else None
        return tree is not None and tree.size < MOST_LEAVES

    @initialize(
        options=st.builds(
            Options,
            n=st.sampled_from([2, 3, 4]),
            flush=st.sampled_from(["manual", "interval"]),
            checkpoint=st.sampled_from(["manual", "close", "every 3", "memory 500"]),
            pin=st.sampled_from([None, 0, 1]),
            record=st.booleans(),
            verify=st.booleans(),
            frame_leaves=st.sampled_from([1, 3, 100]),
            groups=st.sampled_from([1, 2, 5]),
            zeros_ahead=st.sampled_from([0, 0, 100, 700]),
            profile=st.sampled_from(list(PROFILES)),
            fsync_failure=st.sampled_from(["clean", "dirty", "reverted"]),
        )
    )
    def create(self, options: Options) -> None:
        """A disk that nothing is on, and a tree."""
        self.life = Life(options)
        self.do("open")

    @precondition(lambda self: self.is_small)
    @rule(count=st.integers(1, 13), root=st.booleans())
    def insert(self, count: int, root: bool) -> None:
        """A batch: within a frame, or over several, over groups and shards."""
        self.do(f"{'insert' if root else 'append'} {count}")

    @precondition(lambda self: self.is_small)
    @rule(how=st.sampled_from(["durable", "wait"]))
    def insert_durably(self, how: str) -> None:
        """A leaf, and its promise."""
        self.do(how)

    @precondition(lambda self: self.is_open)
    @rule(what=st.sampled_from(["flush", "checkpoint", "flush"]))
    def make_durable(self, what: str) -> None:
        """Flush, or checkpoint."""
        self.do(what)

    @precondition(lambda self: self.is_open)
    @rule(name=st.sampled_from(["flusher", "checkpointer"]))
    def background(self, name: str) -> None:
        """A background task runs, if it is due."""
        self.do(f"background {name}")

    @precondition(lambda self: self.is_open)
    @rule(index=st.integers(0, 99), old=st.integers(0, 99))
    def prove(self, index: int, old: int) -> None:
        """Proofs at the size of now and at an old one."""
        self.do(f"prove {index} {old}")

    @precondition(lambda self: self.is_open)
    @rule(reopen=st.booleans())
    def close(self, reopen: bool) -> None:
        """Close, and perhaps open again."""
        self.do("close", *(["open"] if reopen else []))

    @rule()
    def reopen(self) -> None:
        """Open; nothing if it is open."""
        self.do("open")

    @rule()
    def kill(self) -> None:
        """The process is killed, and another one opens the tree."""
        self.do("kill", "open")

    @rule(fate=fates)
    def crash(self, fate: str) -> None:
        """Power fails, and the tree is opened."""
        self.do(f"crash {fate}".rstrip(), "open")

    @rule(fate=fates, at=st.integers(0, 40), torn=st.booleans(), other=fates)
    def crash_in_recovery(self, fate: str, at: int, torn: bool, other: str) -> None:
        """Power fails; it fails again at some call of the open that follows."""
        letter = "e" if torn else "d"
        self.do(f"crash {fate}".rstrip(), f"fault * * {'w' * at}{letter}", "open", "mend")
        self.do(f"crash {other}".rstrip(), "open")

    @precondition(lambda self: self.is_open)
    @rule(text=rules)
    def break_calls(self, text: str) -> None:
        """From now on some calls go wrong."""
        self.do(f"fault {text}")

    @rule()
    def mend(self) -> None:
        """All calls work again."""
        self.do("mend")

    def teardown(self) -> None:
        """In the end power fails once more, and everything that was promised is there."""
        if self.life is None:
            return
        try:
            self.do("crash", "open")
        finally:
            self.life.end()
