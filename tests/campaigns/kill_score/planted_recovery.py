"""Planted faults of recovery: what is written anew, made durable, and called clean."""

from __future__ import annotations

from rotortree.durable import opening
from rotortree.storage import calls, recovery
from rotortree.storage.wal import SegmentScan
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["RECOVERY"]

_WRITING_ANEW = (
    PlantedFault(
        "unpromised tail not written anew",
        "recovery takes all that it read to be on the disk",
        (
            Edit(
                recovery.decide,
                "durable_size=max(last.durable_size, commit.acknowledged.size if commit else 0)",
                "durable_size=head.size",
            ),
        ),
    ),
    PlantedFault(
        "old segment synced instead of its tail written anew",
        "recovery syncs what it read, which proves nothing after an fsync that failed",
        (
            Edit(
                opening._go_on,
                "base = Head(decision.durable_size, tree.root(decision.durable_size))",
                "base = decision.head\n"
                "    old = calls.open_file(fs, decision.last.path, 'write')\n"
                "    calls.sync_file(old, decision.last.path)",
            ),
        ),
    ),
    PlantedFault(
        "last flush taken for promised",
        "off by one: what a promise ends at is taken for what it covers",
        (
            Edit(
                SegmentScan.durable_size, "unit.end <= self.promise", "unit.offset <= self.promise"
            ),
        ),
    ),
    PlantedFault(
        "promises not used",
        "recovery writes the last segment's units anew, though they are promised",
        (Edit(SegmentScan.durable_size, "if unit.end <= self.promise", "if False"),),
        redundant="Every profile: more is written anew than has to be, and the same leaves.",
    ),
    PlantedFault(
        "acknowledged size not used",
        "recovery writes anew what COMMIT says was acknowledged",
        (
            Edit(
                recovery.decide,
                "durable_size=max(last.durable_size, commit.acknowledged.size if commit else 0)",
                "durable_size=last.durable_size",
            ),
        ),
        redundant="Every profile: more is written anew than has to be, and the same leaves.",
    ),
    PlantedFault(
        "tail written anew without fsync",
        "recovery does not sync the tail that it writes into the new segment",
        (Edit(opening._go_on, "writer.sync()", "pass"),),
    ),
    PlantedFault(
        "tail written after the name",
        "the new segment gets its name, then the tail is written into it",
        (
            Edit(
                opening._go_on,
                "if base != decision.head:",
                "calls.publish(fs, writer.path)\n        if base != decision.head:",
            ),
            Edit(
                opening._go_on,
                "calls.publish(fs, writer.path)\n        calls.sync_directory",
                "calls.sync_directory",
            ),
        ),
    ),
    PlantedFault(
        "goes on behind the torn tail's start",
        "recovery appends to the old segment, over what is torn",
        (Edit(opening._go_on, "if decision.clean and not damages:", "if not damages:"),),
    ),
    PlantedFault(
        "torn tail cut off",
        "recovery cuts the old segment's torn tail off before the new segment is durable",
        (
            Edit(
                opening._go_on,
                "base = Head(decision.durable_size, tree.root(decision.durable_size))",
                "base = Head(decision.durable_size, tree.root(decision.durable_size))\n"
                "    old = calls.open_file(fs, decision.last.path, 'write')\n"
                "    old.truncate(decision.last.end)",
            ),
        ),
        redundant="Every profile: the bytes behind the last whole unit count for nothing, and no"
        " promise is among them, or the open would have been refused.",
    ),
    PlantedFault(
        "leftover of a recovery not removed",
        "a new segment is written over the temporary file that a crashed recovery left",
        (Edit(calls.write_temporary, "    unlink(fs, temporary)\n", ""),),
    ),
)

_NAMES_AT_OPEN = (
    PlantedFault(
        "no sync of wal/ at open",
        "the names of the log that a killed process left are trusted",
        (
            Edit(
                opening._go_on,
                'calls.sync_directory(fs, f"{path}/{WAL}")\n    # A commit',
                "# A commit",
            ),
        ),
    ),
    PlantedFault(
        "no sync of wal/ by recovery",
        "recovery does not make its new segment's name durable",
        (
            Edit(
                opening._go_on,
                'calls.sync_directory(fs, f"{path}/{WAL}")\n        levels.repair',
                "levels.repair",
            ),
        ),
    ),
    PlantedFault(
        "no sync of the root directory at open",
        "the names that a killed process left are trusted",
        (
            Edit(
                opening._go_on,
                "_sync_names(environment, path, with_parent=found.commit is None)",
                "if found.commit is None:\n"
                "        calls.sync_directory(fs, posixpath.dirname(path) or '.')",
            ),
        ),
        redundant="Every profile: creation syncs it before there is a segment, and a commit record"
        " on whose name anything depends is written anew.",
    ),
    PlantedFault(
        "no sync of the parent at open",
        "the tree's own name, that a killed process left, is trusted",
        (
            Edit(
                opening._go_on,
                "with_parent=found.commit is None",
                "with_parent=False",
            ),
        ),
        redundant="Every profile: creation syncs it before there is a segment; where there is none,"
        " the tree is created again.",
    ),
    PlantedFault(
        "no sync of the root directory",
        "neither creation nor opening makes the names in the root directory durable",
        (Edit(opening._sync_names, "calls.sync_directory(environment.files, path)", "pass"),),
    ),
    PlantedFault(
        "no sync of the parent",
        "neither creation nor opening makes the tree's own name durable",
        (Edit(opening._sync_names, "if with_parent:", "if False:"),),
    ),
    PlantedFault(
        "no sync at creation",
        "creation leaves all names to the open that follows",
        (Edit(opening._create, "    _sync_names(environment, path, with_parent=True)\n", ""),),
        redundant="Every profile: the open that creates syncs the same names once more, before"
        " anything is acknowledged; until then, whatever is lost, no tree was ever created.",
    ),
)

_DECIDED = (
    PlantedFault(
        "clean though more was acknowledged",
        "a log counts as closed cleanly whatever COMMIT says was acknowledged",
        (Edit(recovery.decide, "and commit.acknowledged == head", "and True"),),
    ),
    PlantedFault(
        "clean in another segment",
        "a log counts as closed cleanly though COMMIT names an older last segment",
        (Edit(recovery.decide, "and commit.last_segment == last.number", "and True"),),
    ),
    PlantedFault(
        "zeros taken for torn",
        "a log that ends with zeros ahead does not count as closed cleanly",
        (
            Edit(
                recovery.decide,
                "torn_bytes = last.used - last.end",
                "torn_bytes = last.size - last.end",
            ),
        ),
    ),
    PlantedFault(
        "zeros ahead kept over a clean close",
        "the zeros that an earlier process wrote are built on",
        (Edit(opening._reopen_segment, "if scan.size > scan.end:", "if False:"),),
        redundant="Every profile: the flush before the clean close synced them with itself; what"
        " could be otherwise, pages of a failed sync that left the cache, is not simulated.",
    ),
    PlantedFault(
        "clean with a torn tail",
        "a log counts as closed cleanly though there is something behind its end",
        (Edit(recovery.decide, "and not torn_bytes", "and True"),),
        redundant="Every profile: the next unit is written over the torn bytes, which nobody was"
        " promised; what is left of them behind it continues another chain.",
    ),
    PlantedFault(
        "commit rebuilt with the wrong segment",
        "a commit record that was rebuilt names the new segment as the checkpoint's",
        (
            Edit(
                opening._write_commit,
                "decision.first_segment, last_segment",
                "last_segment, last_segment",
            ),
        ),
    ),
    PlantedFault(
        "commit rebuilt with too little acknowledged",
        "a commit record that was rebuilt says that only the checkpoint was acknowledged",
        (Edit(opening._write_commit, "decision.head,", "decision.base,"),),
    ),
    PlantedFault(
        "commit rebuilt before the new segment",
        "recovery rebuilds the commit record, then makes the segment that it names durable",
        (
            Edit(
                opening._go_on,
                "calls.publish(fs, writer.path)\n"
                '        calls.sync_directory(fs, f"{path}/{WAL}")\n'
                "        levels.repair",
                "levels.repair",
            ),
            Edit(
                opening._go_on,
                "with contextlib.suppress(IoFailedError):",
                "calls.publish(fs, writer.path)\n"
                '        calls.sync_directory(fs, f"{path}/{WAL}")\n'
                "        with contextlib.suppress(IoFailedError):",
            ),
        ),
    ),
    PlantedFault(
        "commit not rebuilt",
        "a damaged commit record is left as it is",
        (Edit(opening._needs_commit, "if found.commit is None or", "if"),),
    ),
    PlantedFault(
        "no commit record of a new tree",
        "nothing says that there is a tree whose only segment is lost",
        (
            Edit(
                opening._go_on,
                "found.commit or _write_commit(fs, path, decision, decision.last.number)",
                "found.commit",
            ),
            Edit(opening._needs_commit, "found.commit is None", "found.commit_error is not None"),
        ),
    ),
    PlantedFault(
        "old segments deleted under an uncertain commit",
        "recovery deletes what a commit record makes useless whose own name may not be durable",
        (
            Edit(
                opening._needs_commit,
                "found.commit is None or found.segments[0].number < decision.first_segment",
                "found.commit is None",
            ),
        ),
    ),
)

RECOVERY = (*_WRITING_ANEW, *_NAMES_AT_OPEN, *_DECIDED)
"""Faults of how a writer goes on with what was read."""
