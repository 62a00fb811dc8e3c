"""Edits of the model, each a fault that somebody could have made.  Spin must refute each."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.campaigns.planting import Edit

__all__ = ["MUTANTS", "Mutant"]

_LOST = "size>=acknowledged"
_REFUSED = "!(refused)"
_NEEDED = "(older>1)"
_UNSTABLE = "(size==seen)"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault, and a part of the text of what Spin must find, within which bounds.

    ``backwards``: choices are tried in the reverse order, which finds some sooner.
    """

    name: str
    violated: str
    edits: tuple[Edit, ...]
    bounds: dict[str, int] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    file: str = "log.pml"
    backwards: bool = False


def _log(old: str, new: str) -> Edit:
    return Edit("log.pml", old, new)


def _recovery(old: str, new: str) -> Edit:
    return Edit("recovery.pml", old, new)


_TWICE = {"BOOTS": 2, "BATCHES": 1, "SEGMENTS": 4, "CHECKPOINTS": 0, "FOLD": 0}
_ROLLING = {"BATCHES": 3, "SEGMENTS": 6, "ROLLING": 1, "FOLD": 0}
_FOLDING = {"BOOTS": 2, "SEGMENTS": 5}
_FAILING = {"FAULTS": 1, "CHECKPOINTS": 0}
_ENDING = {"BATCHES": 1, "SEGMENTS": 2, "BOOTS": 0, "FAULTS": 1, "CHECKPOINTS": 0}
_TOLD_NOTHING = _log("(failed || ended || failures != mine) -> error", "false -> error")
_LOCK_KEPT = _log(
    "    sync_unit();\n    UNLOCK(append_lock);\n",
    "    sync_unit();\n    if\n    :: failed\n    :: else -> UNLOCK(append_lock)\n    fi;\n",
)

MUTANTS = (
    Mutant(
        "a flush is not synced",
        _LOST,
        (_log("attempt(sync_segment(open_segment); logged = target,", "attempt(logged = target,"),),
        {"CHECKPOINTS": 0},
        requirements=("FORMAT-34",),
    ),
    Mutant(
        "a flush is acknowledged before its sync",
        _LOST,
        (
            _log(
                "        OP(ON(UNIT_WRITE, open_segment));\n",
                "        OP(ON(UNIT_WRITE, open_segment));\n acknowledged = target;\n",
            ),
        ),
        {"CHECKPOINTS": 0},
        requirements=("DURABLE-16", "FORMAT-34"),
    ),
    Mutant(
        "a failed sync is tried again and believed",
        _LOST,
        (
            _log(
                "    fail_sync_of_segment(open_segment);\n    failed = true;\n    error = FATAL\n",
                "    fail_sync_of_segment(open_segment);\n"
                "    sync_segment(open_segment);\n    logged = target\n",
            ),
        ),
        _FAILING,
        requirements=("DURABLE-29", "FORMAT-37"),
    ),
    Mutant(
        "a frame whose unit is torn is trusted",
        "others==",
        (_recovery("        :: wal[segment].b[start] != stop -> break\n", ""),),
        {"CHECKPOINTS": 0},
        requirements=("DURABLE-4", "FORMAT-30"),
    ),
    Mutant(
        "a new segment's header is not synced",
        _REFUSED,
        (
            _log(
                "    TRY(ON(SEGMENT_SYNC, open_segment + 1), sync_segment(open_segment + 1),"
                " fail_call());\n",
                "",
            ),
        ),
        requirements=("FORMAT-19", "FORMAT-41"),
    ),
    Mutant(
        "a new segment is used before its name is durable",
        _REFUSED,
        (_log("TRY(SYNC_WAL, sync_wal(); open_segment++,", "TRY(SYNC_WAL, open_segment++,"),),
        requirements=("FORMAT-41",),
    ),
    Mutant(
        "the log goes on after the name of a new segment failed",
        _LOST,
        (
            _log(
                "fail_rename(name_segment(open_segment + 1)); fail_names());",
                "fail_rename(name_segment(open_segment + 1)));",
            ),
            _log(
                "TRY(SYNC_WAL, sync_wal(); open_segment++, fail_names())",
                "TRY(SYNC_WAL, sync_wal(); open_segment++, fail_call())",
            ),
        ),
        {"FAULTS": 1},
        requirements=("FORMAT-53",),
    ),
    Mutant(
        "level files are not synced",
        _REFUSED,
        (_log("TRY(LEVEL_SYNC, sync_shard(file),", "TRY(LEVEL_SYNC, skip,"),),
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "the directory levels/ is not synced",
        _REFUSED,
        (_log("directory_unsure[LEVEL] = false, fail_names()", "skip, fail_names()"),),
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "the directory levels/0 is not synced",
        _REFUSED,
        (_log("SYNC_LEVEL, sync_level(),", "SYNC_LEVEL, skip,"),),
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "a checkpoint is committed before its level files are synced",
        _REFUSED,
        (
            _log("    write_levels();\n", "    write_commit(durable, stop_at);\n"),
            _log(
                "    :: error == NONE -> write_commit(durable, stop_at)\n",
                "    :: error == NONE -> write_levels()\n",
            ),
        ),
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "nodes of a checkpoint that may have been committed are written again",
        _REFUSED,
        (_log("            written = target\n", "            written = checkpoint_size\n"),),
        {"FAULTS": 1},
        requirements=("FORMAT-73",),
    ),
    Mutant(
        "COMMIT is renamed into place before it is synced",
        _REFUSED,
        (_log("    TRY(COMMIT_SYNC, next_torn = false, fail_call());\n", ""),),
        {"FAULTS": 1},
        requirements=("FORMAT-8",),
    ),
    Mutant(
        "segments are deleted before COMMIT's name is durable",
        _NEEDED,
        (_log("    TRY(SYNC_ROOT, sync_root(), fail_names());\n    next_torn", "    next_torn"),),
        requirements=("DURABLE-22", "FORMAT-50"),
    ),
    Mutant(
        "segments are deleted before the commit",
        _NEEDED,
        (
            _log(
                "    :: error == NONE -> write_commit(durable, stop_at)\n",
                "    :: error == NONE -> d_step { find_counting(stop_at) }; remove_segments(last);"
                " write_commit(durable, stop_at)\n",
            ),
        ),
        requirements=("DURABLE-22", "FORMAT-50"),
    ),
    Mutant(
        "one segment too many is deleted",
        _NEEDED,
        (
            _log(
                "find_counting(first_segment) };\n        remove_segments(last)",
                "find_counting(first_segment + 1) };\n        remove_segments(last + 1)",
            ),
        ),
        requirements=("DURABLE-22",),
    ),
    Mutant(
        "recovery does not write the unpromised tail anew",
        _LOST,
        (_recovery("    found_durable = before; ", "    found_durable = size; "),),
        _TWICE | {"FAULTS": 1},
        requirements=("DURABLE-30", "FORMAT-70"),
    ),
    Mutant(
        "recovery syncs the old segment instead of writing its tail anew",
        _REFUSED,
        (
            _recovery(
                "        where_to_begin();\n",
                "        sync_segment(found_last);\n        tidy();\n"
                "        found_durable = size;\n        where_to_begin();\n",
            ),
        ),
        _TWICE | {"FAULTS": 1},
        requirements=("DURABLE-30", "FORMAT-70"),
    ),
    Mutant(
        "recovery does not sync the tail that it writes anew",
        _REFUSED,
        (
            _recovery(
                "    sync_it(SEGMENT_SYNC);\n",
                "    TRY(ON(SEGMENT_SYNC, open_segment), wal[open_segment].header_unsure = false,"
                " fail_call());\n",
            ),
        ),
        _TWICE,
        requirements=("FORMAT-27", "FORMAT-70"),
    ),
    Mutant(
        "recovery uses its new segment before the name is durable",
        _REFUSED,
        (
            _recovery(
                "sync_wal(), fail_names())\n}\n",
                "skip, fail_names())\n}\n",
            ),
        ),
        _TWICE | {"BATCHES": 1},
        requirements=("FORMAT-41", "FORMAT-70"),
    ),
    Mutant(
        "recovery goes on in a segment that was not closed",
        "others==",
        (
            _recovery(
                "    :: found_clean || found_known -> reopen_segment()\n",
                "    :: true -> reopen_segment()\n",
            ),
            _recovery(
                "    :: else -> go_on_in_new_segment()\n",
                "    :: false -> go_on_in_new_segment()\n",
            ),
        ),
        _TWICE | {"FAULTS": 1},
        requirements=("FORMAT-46", "FORMAT-70"),
    ),
    Mutant(
        "a segment that was closed is not synced before it is used again",
        "size<=issued",
        (
            _recovery(
                "else -> sync_it(UNIT_SYNC)\n",
                "else\n",
            ),
        ),
        _TWICE | {"FAULTS": 1},
        requirements=("DURABLE-5", "FORMAT-69"),
    ),
    Mutant(
        "recovery goes on in a segment whose end is torn",
        "others==",
        (
            _recovery(
                "        found_clean = false;\n        found_known = false\n",
                "        found_clean = false;\n        found_known = true\n",
            ),
        ),
        _TWICE | {"BATCHES": 2, "FAULTS": 1},
        requirements=("FORMAT-69",),
    ),
    Mutant(
        "recovery trusts the names that a killed process left",
        _REFUSED,
        (
            _recovery(
                "inline go_on() {\n    TRY(SYNC_WAL, sync_wal(), fail_names());\n",
                "inline go_on() {\n",
            ),
        ),
        _TWICE | {"CHECKPOINTS": 1, "SEGMENTS": 5},
        requirements=("FORMAT-68",),
    ),
    Mutant(
        "recovery deletes before COMMIT's name is durable",
        _NEEDED,
        (
            _recovery(
                "sync_root(), fail_names());\n    if\n    :: !VALID(commit) -> TRY",
                "skip, fail_names());\n    if\n    :: !VALID(commit) -> TRY",
            ),
            _recovery("    :: goes || !VALID", "    :: !VALID"),
        ),
        {"BOOTS": 2},
        requirements=("DURABLE-22", "FORMAT-79"),
        backwards=True,
    ),
    Mutant(
        "recovery removes what it replaced before COMMIT is durable",
        _NEEDED,
        (
            _recovery(
                "        find_goers()\n    };\n",
                "        find_goers()\n    };\n    remove_segments(open_segment);\n",
            ),
        ),
        _FOLDING,
        requirements=("FORMAT-79", "FORMAT-80"),
    ),
    Mutant(
        "recovery replaces segments and keeps a COMMIT that names them",
        _NEEDED,
        (_recovery("    :: goes || !VALID", "    :: !VALID"),),
        _FOLDING,
        requirements=("FORMAT-79",),
    ),
    Mutant(
        "a segment that was replaced counts",
        _REFUSED,
        (_recovery("            limit = wal[number].base;\n", ""),),
        {"BOOTS": 3, "SEGMENTS": 6, "ROLLING": 1, "FOLD": 2},
        requirements=("FORMAT-77",),
    ),
    Mutant(
        "recovery begins its new segment before the checkpoint",
        _REFUSED,
        (_recovery("        found_start = wal[number].base;\n", "        found_start = 0;\n"),),
        _FOLDING,
        requirements=("FORMAT-70", "FORMAT-78"),
    ),
    Mutant(
        "recovery cuts tails off before its new segment is durable",
        _UNSTABLE,
        (
            _recovery(
                "        open_segment = found_last + 1\n    };\n",
                "        open_segment = found_last + 1\n    };\n    cut_tails();\n",
            ),
        ),
        _TWICE,
        requirements=("FORMAT-70", "FORMAT-80"),
    ),
    Mutant(
        "a new segment begins behind leaves that are not in the log",
        _REFUSED,
        (
            _log(
                "write_segment(open_segment + 1, logged, logged)",
                "write_segment(open_segment + 1, size, size)",
            ),
        ),
        _ROLLING,
        requirements=("FORMAT-41", "FORMAT-76"),
    ),
    Mutant(
        "a flush begins a new segment before the unit before is synced",
        _REFUSED,
        (
            _log(
                "    :: is_long -> next_segment();",
                "    :: is_long -> write_unit(); logged = target; next_segment();",
            ),
        ),
        _ROLLING,
        requirements=("FORMAT-41", "FORMAT-76"),
    ),
    Mutant(
        "a checkpoint is committed with the first segment of the step before",
        _REFUSED,
        (_log("next_first = (stop -> stop : first_segment)", "next_first = first_segment"),),
        _ROLLING,
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "the first step of a checkpoint commits the head of the last",
        _REFUSED,
        (
            _log(
                "    :: error == NONE -> write_commit(durable, stop_at)\n",
                "    :: error == NONE -> write_commit(durable, last)\n",
            ),
        ),
        _ROLLING,
        requirements=("FORMAT-50",),
    ),
    Mutant(
        "a waiter is told of no failure",
        "invalid end state",
        (_TOLD_NOTHING,),
        {"BATCHES": 1, "SEGMENTS": 3, "BOOTS": 0, "FAULTS": 1, "CHECKPOINTS": 0},
        requirements=("DURABLE-14",),
    ),
    Mutant(
        "a lock is kept when the tree is found failed",
        "invalid end state",
        (_LOCK_KEPT,),
        {"SEGMENTS": 3, "BOOTS": 0, "FAULTS": 1},
        requirements=("DURABLE-14",),
    ),
    Mutant(
        "the flusher never rests",
        "acceptance cycle",
        (_log("!failed && durable < size ->", "!failed && durable <= size ->"),),
        {"BOOTS": 0, "SEGMENTS": 2, "CHECKPOINTS": 0, "BATCHES": 1},
        requirements=("DURABLE-14",),
        file="progress.pml",
    ),
    Mutant(
        "the tree is never closed",
        "acceptance cycle",
        (_log("stopping = true; close()", "stopping = true"),),
        {"BOOTS": 0, "SEGMENTS": 2, "CHECKPOINTS": 0, "BATCHES": 1},
        requirements=("DURABLE-14",),
        file="progress.pml",
    ),
    Mutant(
        "a waiter is told of no failure, and waits for ever",
        "acceptance cycle",
        (_TOLD_NOTHING,),
        _ENDING,
        requirements=("DURABLE-14",),
        file="progress.pml",
    ),
    Mutant(
        "a lock is kept when the tree is found failed, and close waits for ever",
        "acceptance cycle",
        (_LOCK_KEPT,),
        _ENDING,
        requirements=("DURABLE-14",),
        file="progress.pml",
    ),
)
"""All of them, in the order of the protocol."""
