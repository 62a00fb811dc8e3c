"""Which modules are mutated, and which tests are to notice it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOWEST_SCORE", "NOT_RUN", "TARGETS", "Target"]

LOWEST_SCORE = 0.95
"""The part of a module's mutants that its tests must notice."""


NOT_RUN = (
    "tests/tree/test_encoding.py::test_decoding_takes_memory_for_the_bytes_that_there_are",
    "tests/tree/test_model_agreement.py::test_every_shape_is_the_models",
)
"""One measures memory, and what switches between mutants takes some, too; one takes too long."""


@dataclass(frozen=True)
class Target:
    """A module, and the tests that run against each of its mutants: they take seconds in all."""

    name: str
    path: str
    tests: tuple[str, ...]


def _target(path: str, folder: str, *names: str) -> Target:
    name = path.rpartition("/")[2].removesuffix(".py")
    tests = tuple(f"tests/{folder}/test_{test}.py" for test in names)
    return Target(name, f"rotortree/{path}", tests)


TARGETS = (
    _target("geometry.py", "tree", "geometry", "bad_input"),
    _target("storage/format.py", "storage", "headers", "layout", "frames"),
    _target(
        "storage/log_reader.py",
        "storage",
        *("frames", "scans", "replay", "headers", "layout", "damage"),
    ),
    _target(
        "storage/log.py",
        "storage",
        *("zeros", "layout", "repair", "open_and_close", "promises", "engine", "space", "names"),
        *("log", "resuming", "lost_locks"),
    ),
    _target("encoding.py", "tree", "encoding", "what_is_wrong"),
    _target(
        "proofs/heads.py",
        "tree",
        *("encoding", "what_is_wrong", "attacks", "verify_many", "bad_input", "hashers"),
        "model_agreement",
    ),
    _target(
        "proofs/encoded.py",
        "tree",
        *("encoding", "what_is_wrong", "attacks", "verify_many", "bad_input", "hashers"),
        "model_agreement",
    ),
    _target(
        "proofs/inclusion.py",
        "tree",
        *("encoding", "what_is_wrong", "attacks", "verify_many", "bad_input", "hashers"),
        "model_agreement",
    ),
    _target(
        "proofs/consistency.py",
        "tree",
        *("encoding", "what_is_wrong", "attacks", "verify_many", "bad_input", "hashers"),
        "model_agreement",
    ),
    _target("storage/calls.py", "storage", "calls", "names"),
    _target(
        "storage/level_files.py", "storage", "level_files", "mapping", "layout", "replay", "repair"
    ),
    _target("storage/level_writer.py", "storage", "level_files", "layout", "repair", "names"),
    _target(
        "storage/recovery.py",
        "storage",
        *("decide", "survey", "headers", "replay", "repair", "damage"),
    ),
    _target(
        "durable/opening.py",
        "storage",
        "opening",
        "open_and_close",
        "directory",
        "repair",
        "promises",
    ),
    _target("durable/state.py", "storage", "state", "engine", "life", "tokens"),
    _target("durable/watermark.py", "storage", "watermark", "tokens"),
    *(
        _target(
            f"durable/{name}.py",
            "storage",
            *("engine", "policies", "promises", "open_and_close", "tokens", "locks"),
            "group_commit",
        )
        for name in ("flushing", "checkpointing", "engine")
    ),
    _target("tree/reading.py", "tree", "reading", "model_agreement", "bad_input", "what_is_wrong"),
)
"""The modules, in the order in which they are run.  Their survivors are killed or explained."""
