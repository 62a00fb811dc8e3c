"""Planted faults of recovery: what is written anew, made durable, and called clean."""

from __future__ import annotations

from rotortree.storage import calls, recovery
from rotortree.storage import log as logs
from rotortree.storage.log import Log
from rotortree.storage.log_reader import SegmentScan
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["RECOVERY"]

_KNOWN = "known = max(last.scan.durable_size, commit.acknowledged.size if commit else 0)"

_WRITING_ANEW = (
    PlantedFault(
        "unpromised tail not written anew",
        "recovery takes all that it read to be on the disk",
        (Edit(recovery._durable_size, _KNOWN, "known = last.head.size"),),
    ),
    PlantedFault(
        "old segment synced instead of its tail written anew",
        "recovery syncs what it read, which proves nothing after an fsync that failed",
        (
            Edit(
                logs._begin_behind,
                "stay, size = _where_to_begin(decision, log._environment.fold_leaves)",
                "stay, size = len(decision.links), decision.head.size\n"
                "    old = calls.open_writable(log._wal, segment_name(decision.last.number))\n"
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
        (Edit(recovery._durable_size, _KNOWN, "known = last.scan.durable_size"),),
        redundant="Every profile: more is written anew than has to be, and the same leaves.",
    ),
    PlantedFault(
        "tail written anew without fsync",
        "recovery syncs the header of a new segment, then writes the leaves",
        (
            Edit(
                Log._begin_at,
                "file = calls.write_temporary(self._wal, name, [data, *buffers])",
                "file = calls.write_temporary(self._wal, name, [data])\n"
                "    calls.write_all(file, path, buffers, SEGMENT_BYTES)",
            ),
        ),
    ),
    PlantedFault(
        "tail written after the name",
        "the new segment gets its name, then the tail is written into it",
        (
            Edit(
                Log._begin_at,
                "file = calls.write_temporary(self._wal, name, [data, *buffers])",
                "file = calls.write_temporary(self._wal, name, [data])",
            ),
            Edit(
                Log._begin_at,
                "calls.sync_directory(self._wal)",
                "calls.sync_directory(self._wal)\n"
                "        calls.write_all(file, path, buffers, SEGMENT_BYTES)\n"
                "        file.sync()",
            ),
        ),
    ),
    PlantedFault(
        "goes on behind the torn tail's start",
        "recovery appends to the old segment, over what is torn",
        (Edit(logs.resume_log, "if decision.is_known:", "if True:"),),
    ),
    PlantedFault(
        "goes on though not all is known",
        "recovery appends to a last segment whose end may be in memory only",
        (Edit(recovery.Decision.is_known, "self.durable_size == self.head.size and", ""),),
    ),
    PlantedFault(
        "goes on over torn bytes",
        "recovery appends to a last segment behind whose end there is something",
        (Edit(recovery.Decision.is_known, " and not self.torn_bytes", ""),),
        redundant="Every profile: the next unit is written over the torn bytes, which nobody was"
        " promised; what is left of them behind it continues another chain.",
    ),
    PlantedFault(
        "tails cut off before the new segment",
        "recovery cuts off what is torn before the new segment is durable",
        (
            Edit(
                logs._begin_behind,
                "log._begin_at(Head",
                "last = decision.links[-1]\n"
                "    if last.scan.size > last.end:\n"
                "        file = log._wal.open_writable(segment_name(last.scan.number))\n"
                "        file.truncate(last.end)\n"
                "    log._begin_at(Head",
            ),
        ),
        redundant="Every profile: the bytes behind the last whole unit count for nothing, and no"
        " promise is among them, or the open would have been refused.",
    ),
    PlantedFault(
        "copied tail cut off before the new segment",
        "recovery cuts off what it copies before the copy is durable",
        (
            Edit(
                logs._begin_behind,
                "log._begin_at(Head",
                "last = decision.links[-1]\n"
                "    file = log._wal.open_writable(segment_name(last.scan.number))\n"
                "    file.truncate(last.end_at(size))\n"
                "    log._begin_at(Head",
            ),
        ),
    ),
    PlantedFault(
        "replacement begins at the wrong base",
        "a new segment that replaces others begins where it would without that",
        (Edit(logs._where_to_begin, "size = decision.links[stay].base.size", "pass"),),
    ),
    PlantedFault(
        "replacement forgets leaves",
        "a new segment has the durable leaves that it copies, and not those behind them",
        (
            Edit(
                logs._begin_behind,
                "decision.head.size, leaves, root_of)",
                "decision.durable_size, leaves, root_of)",
            ),
        ),
    ),
    PlantedFault(
        "one segment too many replaced",
        "off by one: the segment before those that a new one replaces is not kept either",
        (
            Edit(
                logs._begin_behind,
                "decision.links[:stay]}",
                "decision.links[: max(stay - 1, 0)]}",
            ),
        ),
    ),
    PlantedFault(
        "leftover of a recovery not removed",
        "a new segment is written over the temporary file that a crashed recovery left",
        (
            Edit(
                calls.write_temporary,
                "    unlink(directory, temporary)\n    with translated",
                "    with translated",
            ),
        ),
    ),
)

_NAMES_AT_OPEN = (
    PlantedFault(
        "no sync of wal/ at open",
        "the names of the log that a killed process left are trusted",
        (Edit(logs.resume_log, "calls.sync_directory(wal)", "pass"),),
    ),
    PlantedFault(
        "no sync of wal/ by recovery",
        "recovery does not make its new segment's name durable",
        (
            Edit(
                Log._begin_at,
                "calls.sync_directory(self._wal)",
                "before is None or calls.sync_directory(self._wal)",
            ),
        ),
    ),
    PlantedFault(
        "no sync of the root directory at open",
        "the names that a killed process left are trusted",
        (Edit(logs.resume_log, "calls.sync_directory(root)", "pass"),),
        redundant="Every profile: creation syncs it before there is a segment, and a commit record"
        " on whose name anything depends is written anew.",
    ),
    PlantedFault(
        "no sync of the parent at open",
        "the tree's own name, that a killed process left, is trusted",
        (Edit(logs.resume_log, "_sync_with_parent(root)", "calls.sync_directory(root)"),),
        redundant="Every profile: creation syncs it before there is a segment; where there is none,"
        " the tree is created again.",
    ),
    PlantedFault(
        "no sync of the root directory",
        "neither creation nor opening makes the names in the root directory durable",
        (Edit(logs._sync_with_parent, "calls.sync_directory(root)", "pass"),),
    ),
    PlantedFault(
        "no sync of the parent",
        "neither creation nor opening makes the tree's own name durable",
        (Edit(logs._sync_with_parent, "calls.sync_directory(parent)", "pass"),),
    ),
    PlantedFault(
        "no sync at creation",
        "creation leaves all names to the open that follows",
        (Edit(logs.create_log, "_sync_with_parent(root)", "pass"),),
        redundant="Every profile: the open that creates syncs the same names once more, before"
        " anything is acknowledged; until then, whatever is lost, no tree was ever created.",
    ),
)

_DECIDED = (
    PlantedFault(
        "clean though more was acknowledged",
        "a log counts as closed cleanly whatever COMMIT says was acknowledged",
        (Edit(recovery.decide, "and commit.acknowledged == last.head", "and True"),),
    ),
    PlantedFault(
        "clean in another segment",
        "a log counts as closed cleanly though COMMIT names an older last segment",
        (
            Edit(
                recovery.decide,
                "and commit.last_segment == last.scan.number\n",
                "",
            ),
        ),
    ),
    PlantedFault(
        "goes on in a segment that may lose its name",
        "recovery appends to a last segment that no commit record names",
        (Edit(recovery.Decision.is_known, "self.is_named and", ""),),
    ),
    PlantedFault(
        "leaves in a segment that may lose its name taken for durable",
        "recovery believes the promise of a last segment whose name may not be durable",
        (
            Edit(
                recovery.decide,
                "_durable_size(last, commit) if is_named else last.base.size",
                "_durable_size(last, commit)",
            ),
        ),
    ),
    PlantedFault(
        "named segments removed early",
        "recovery removes replaced segments before the next record, though the last one names them",
        (Edit(logs._remove_unnamed, "scan.number > named and", ""),),
    ),
    PlantedFault(
        "segments that a damaged record names removed early",
        "recovery removes replaced segments before the next record, though a damaged one may name"
        " them",
        (Edit(logs._remove_unnamed, "if found.commit_error is not None:", "if False:"),),
    ),
    PlantedFault(
        "zeros taken for torn",
        "a log that ends with zeros ahead does not count as closed cleanly",
        (
            Edit(
                recovery.decide,
                "torn_bytes = last.scan.used - last.end",
                "torn_bytes = last.scan.size - last.end",
            ),
        ),
    ),
    PlantedFault(
        "zeros ahead kept over a clean close",
        "the zeros that an earlier process wrote are built on",
        (Edit(logs._reopen, "log.cut_zeros()", "pass"),),
        redundant="Every profile: the flush before the clean close synced them with itself; what"
        " could be otherwise, pages of a failed sync that left the cache, is not simulated.",
    ),
    PlantedFault(
        "no fsync of a segment that goes on",
        "what a killed process cut off the last segment may come back behind a clean close",
        (Edit(logs._reopen, "calls.sync_file(file, last.path)", "pass"),),
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
        (Edit(logs.resume_log, "min(log._bases))", "max(log._bases))"),),
    ),
    PlantedFault(
        "commit rebuilt with too little acknowledged",
        "a commit record that was rebuilt says that only the checkpoint was acknowledged",
        (
            Edit(
                logs.resume_log,
                "log.commit(decision.head.size, root_of)",
                "log._recorded = 0\n            log.commit(decision.base.size, root_of)",
            ),
        ),
    ),
    PlantedFault(
        "commit acknowledges a head within a unit",
        "a commit record that an open writes acknowledges what was durable before, which a new"
        " segment may have in the middle of a unit",
        (
            Edit(
                logs.resume_log,
                "log.commit(decision.head.size, root_of)",
                "log._recorded = 0\n            log.commit(decision.durable_size, root_of)",
            ),
        ),
    ),
    PlantedFault(
        "commit rebuilt before the new segment",
        "recovery rebuilds the commit record, then makes the segment that it names durable",
        (
            Edit(
                logs._begin_behind,
                "log._begin_at(Head",
                "head = Head(decision.head.size, root_of(decision.head.size))\n"
                "    first, last = decision.links[0].scan.number, decision.last.number\n"
                "    commit = Commit(decision.identity, decision.base, head, first, last + 1)\n"
                "    calls.replace_file(log._root, COMMIT, commit.encode())\n"
                "    log._begin_at(Head",
            ),
        ),
    ),
    PlantedFault(
        "commit not rebuilt",
        "a damaged commit record is left as it is",
        (Edit(logs.resume_log, "if acknowledged is None or", "if"),),
    ),
    PlantedFault(
        "no commit record of a new tree",
        "nothing says that there is a tree whose only segment is lost",
        (
            Edit(
                logs.resume_log,
                "if acknowledged is None or",
                "if found.commit_error is not None or",
            ),
        ),
    ),
    PlantedFault(
        "old segments deleted under an uncertain commit",
        "recovery deletes what a commit record makes useless whose own name may not be durable",
        (Edit(logs.resume_log, "or goes or", "or"),),
    ),
)

RECOVERY = (*_WRITING_ANEW, *_NAMES_AT_OPEN, *_DECIDED)
"""Faults of how a writer goes on with what was read."""
