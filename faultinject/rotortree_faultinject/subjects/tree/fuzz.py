"""Random lives: drawn from a seed, lived, and crashed everywhere at their ends.

The Hypothesis test of this project draws lives from the same steps, and shrinks better; this needs
no Hypothesis, and goes on for as long as somebody lets it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rotortree_faultinject.disk.profiles import PROFILES, Profile
from rotortree_faultinject.exploring.explorer import Bounds, Failure, explore
from rotortree_faultinject.subjects.tree.workloads import TreeSubject

__all__ = [
    "BOUNDS",
    "FAULTS",
    "Trial",
    "fuzz",
    "random_life",
    "random_options",
    "random_rule",
    "random_steps",
    "trial",
]

BOUNDS = Bounds(per_point=12, nested_per_point=4, depth=2, kills=True, states=150)
"""How far the end of a random life is explored."""

FAULTS = (
    ("pwritev", "xhasi"),
    ("sync", "xa"),
    ("sync_directory", "xa"),
    ("rename", "xa"),
    ("open", "x"),
    ("unlink", "xa"),
    ("truncate", "xa"),
    ("mkdir", "xa"),
    ("listdir", "x"),
    ("pread", "xsi"),
    ("map", "x"),
    ("*", "xadek"),
)
"""Kinds of calls, and how they may go wrong without anybody having to be told lies."""

_SIZES = (1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 9, 12)
_CRASHES = ("", "k" * 40, "kz" * 20, "-k" * 20, "kkk-", "ks" * 20, "kg" * 20)


class Trial(NamedTuple):
    """One random life, and the failure that it led to, if any."""

    subject: TreeSubject
    failure: Failure | None
    states: int


def random_options(drawn: random.Random) -> dict[str, object]:
    """What a tree of a random life is opened with."""
    options: dict[str, object] = {
        "n": drawn.choice((2, 2, 3, 4)),
        "flush": drawn.choice(("manual", "interval")),
        "checkpoint": drawn.choice(("manual", "manual", "close", "every 3", "memory 500")),
        "fsync_failure": drawn.choice(("clean", "clean", "reverted", "dirty")),
        "profile": drawn.choice(tuple(PROFILES)),
        "frame_leaves": drawn.choice((1, 3, 3, 100)),
    }
    if drawn.random() < 0.3:
        options["pin"] = drawn.choice((0, 1))
    if drawn.random() < 0.3:
        options["record"] = True
    if drawn.random() < 0.3:
        options["zeros_ahead"] = drawn.choice((100, 700))
    if drawn.random() < 0.3:
        options["segment_bytes"] = drawn.choice((200, 500))
    if drawn.random() < 0.5:
        options["fold_leaves"] = drawn.choice((1, 4, 2048))
    return options


def random_rule(drawn: random.Random) -> str:
    """A rule by which calls go wrong."""
    kind, letters = drawn.choice(FAULTS)
    letter = drawn.choice(letters)
    if drawn.random() < 0.2 and letter not in "kde":
        letter = letter.upper()
    code = drawn.choice(("EIO", "ENOSPC"))
    return f"{kind} * {'w' * drawn.choice((0, 0, 0, 1, 2, 3, 5, 8))}{letter} {code}"


def random_steps(drawn: random.Random) -> Iterator[str]:
    """The steps of a random life."""
    yield "open"
    for _ in range(drawn.randint(3, 25)):
        step = drawn.choice(_STEPS)
        if step in ("insert", "append"):
            yield f"{step} {drawn.choice(_SIZES)}"
        elif step == "crash":
            letters = drawn.choice((*_CRASHES, None, None))
            if letters is None:
                letters = "".join(drawn.choices("-kkzgs", k=drawn.randint(1, 30)))
            yield f"crash {letters}".rstrip()
            yield "open"
        elif step == "kill":
            yield "kill"
            yield "open"
        elif step == "fault":
            yield f"fault {random_rule(drawn)}"
        elif step == "prove":
            yield f"prove {drawn.randrange(30)} {drawn.randrange(30)}"
        else:
            yield step


_STEPS: Sequence[str] = (
    *["insert"] * 5,
    *["append"] * 2,
    *["flush"] * 4,
    *["checkpoint"] * 3,
    *["background"] * 2,
    *["fault"] * 2,
    *["crash"] * 2,
    "durable",
    "wait",
    "kill",
    "close",
    "open",
    "open",
    "mend",
    "mend",
    "prove",
    "background flusher",
    "background checkpointer",
)


def random_life(seed: int) -> TreeSubject:
    """The life that belongs to a seed."""
    drawn = random.Random(seed)
    options = random_options(drawn)
    return TreeSubject(list(random_steps(drawn)), options, f"random life {seed}")


def fuzz(
    seed: int, seconds: float | None = None, profile: Profile = PROFILES["posix"]
) -> Iterator[Trial]:
    """Live random lives, those of ``seed`` and the numbers after it, for ever or for so long.

    Each is run, and then explored under the profile, as far as `BOUNDS` goes.
    """
    started = time.monotonic()
    while seconds is None or time.monotonic() - started < seconds:
        yield trial(seed, profile)
        seed += 1


def trial(seed: int, profile: Profile = PROFILES["posix"]) -> Trial:
    """Live the life of one seed and explore its end."""
    subject = random_life(seed)
    result = explore(subject, profile, BOUNDS)
    failure = result.failures[0] if result.failures else None
    return Trial(subject, failure, result.statistics.recoveries)
