"""Planted faults of reading: what is checked, and what is trusted."""

from __future__ import annotations

from rotortree.storage import log as logs
from rotortree.storage import recovery
from rotortree.storage.format import Frame, Identity, SegmentHeader
from rotortree.storage.level_files import LevelFiles
from rotortree.storage.level_writer import LevelWriter
from rotortree.storage.log_reader import SegmentScan, _Scanner
from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.planting import Edit

__all__ = ["READING"]

_SEALS = (
    PlantedFault(
        "segment header's seal not checked",
        "a log segment whose header is damaged is read",
        (
            Edit(
                Identity.unsealed,
                "if seal(sealed) != mark:",
                "if magic == COMMIT_MAGIC and seal(sealed) != mark:",
            ),
        ),
    ),
    PlantedFault(
        "commit record's seal not checked",
        "a damaged commit record is believed",
        (
            Edit(
                Identity.unsealed,
                "if seal(sealed) != mark:",
                "if magic == SEGMENT_MAGIC and seal(sealed) != mark:",
            ),
        ),
    ),
    PlantedFault(
        "frame header's seal not checked",
        "whatever begins like a frame is one",
        (Edit(Frame.decode, "if seal(header, key) != mark:", "if False:"),),
    ),
    PlantedFault(
        "payload's seal not checked",
        "the leaves of a frame may be anything",
        (Edit(_Scanner._is_sealed, "payload_seal(parts, self._key) == payload.seal", "True"),),
    ),
    PlantedFault(
        "level header not checked",
        "a level file may be another's",
        (
            Edit(
                LevelFiles._load_shard,
                "if header != shard_header(self._identity, level, shard):",
                "if False:",
            ),
        ),
    ),
    PlantedFault(
        "version not checked",
        "a file of another format version is read",
        (Edit(Identity.unsealed, "if version != FORMAT_VERSION:", "if False:"),),
    ),
)

_FRAMES = (
    PlantedFault(
        "chain ignored",
        "a frame need not name the one before it",
        (
            Edit(
                _Scanner._frame,
                "(frame.number, frame.first, frame.chain) == (number, first, chain)",
                "(frame.number, frame.first) == (number, first)",
            ),
        ),
    ),
    PlantedFault(
        "frame number ignored",
        "a frame may have any number",
        (
            Edit(
                _Scanner._frame,
                "(frame.number, frame.first, frame.chain) == (number, first, chain)",
                "(frame.first, frame.chain) == (first, chain)",
            ),
        ),
    ),
    PlantedFault(
        "first leaf ignored",
        "a frame may begin at any leaf",
        (
            Edit(
                _Scanner._frame,
                "(frame.number, frame.first, frame.chain) == (number, first, chain)",
                "(frame.number, frame.chain) == (number, chain)",
            ),
        ),
    ),
    PlantedFault(
        "promise not checked",
        "a frame may promise what is behind it",
        (Edit(_Scanner._frame, "and frame.promise <= offset", "and True"),),
    ),
    PlantedFault(
        "payload may end behind the file",
        "a frame's leaves need not be there",
        (
            Edit(
                _Scanner._frame,
                "0 < frame.leaves <= (self._size - payload) // NODE_BYTES",
                "0 < frame.leaves",
            ),
        ),
    ),
    PlantedFault(
        "empty frames accepted",
        "a frame without leaves is a frame",
        (Edit(_Scanner._frame, "0 < frame.leaves <=", "0 <= frame.leaves <="),),
    ),
    PlantedFault(
        "one key for all segments",
        "a frame is valid in any segment of its tree",
        (
            Edit(
                SegmentHeader.key,
                "blake3(self.encode())",
                "blake3(self.identity.sealed(SEGMENT_MAGIC, b''))",
            ),
        ),
    ),
    PlantedFault(
        "MORE not read",
        "a flush of which the last frames are missing counts",
        (Edit(_Scanner._walk, "if not frame.more:", "if True:"),),
    ),
    PlantedFault(
        "unfinished unit not dropped",
        "a clean log goes on behind the frames of a flush that is not whole",
        (
            Edit(
                SegmentScan.end,
                "self.units[-1].end if self.units",
                "self.stop if self.units",
            ),
        ),
        redundant="Every profile: a log goes on in its last segment only where nothing lies behind"
        " the last whole unit.",
    ),
)

_SEGMENTS = (
    PlantedFault(
        "next base not the end",
        "units behind the point where the next segment begins are read",
        (Edit(recovery._links, " if unit.stop <= stop", ""),),
    ),
    PlantedFault(
        "next base not compared",
        "a log segment need not lead to the next one's base",
        (
            Edit(
                recovery._links,
                "if following.base != head:",
                "if following.base.size < 0:",
            ),
        ),
    ),
    PlantedFault(
        "checkpoint not compared",
        "the first live segment may begin anywhere",
        (
            Edit(
                recovery._links,
                "if commit is not None and commit.checkpoint != header.base:",
                "if commit is not None and header.base.size < 0:",
            ),
        ),
    ),
    PlantedFault(
        "replayed into an empty tree",
        "without a commit record, the log is taken to begin with nothing",
        (
            Edit(
                recovery.Decision.base,
                "return self.links[0].base",
                "return EMPTY if self.must_prove else self.links[0].base",
            ),
        ),
    ),
    PlantedFault(
        "replaced segments counted",
        "a segment counts though a later one begins where it does, or before",
        (Edit(recovery._not_replaced, "while kept and", "while False and"),),
    ),
    PlantedFault(
        "only the segment before is replaced",
        "of several segments that a later one replaces, the first ones count",
        (Edit(recovery._not_replaced, "while kept and", "if kept and"),),
    ),
    PlantedFault(
        "segment's promise ignored",
        "what a new segment was begun with may be torn, whatever its header promises",
        (Edit(_Scanner._walk, "promise = self._header.promise", "promise = 0"),),
    ),
    PlantedFault(
        "every segment live",
        "segments that a checkpoint made useless are read",
        (
            Edit(
                recovery._live_segments,
                "if scan.number >= found.commit.first_segment",
                "if scan.number",
            ),
        ),
    ),
    PlantedFault(
        "last segment not missed",
        "the segment that was open at the last commit may be missing",
        (
            Edit(
                recovery._live_segments,
                "_check_is_there(found, found.commit.last_segment)",
                "pass",
            ),
        ),
    ),
    PlantedFault(
        "identity of segments not compared",
        "the log may be made of segments of several trees",
        (
            Edit(
                recovery._check_identities,
                "if header.identity != headers[-1].identity:",
                "if False:",
            ),
        ),
    ),
    PlantedFault(
        "missing log not missed",
        "a directory without a log has no tree, whatever else is there",
        (
            Edit(
                recovery._check_never_created,
                "if found.commit or found.commit_error or found.level_files:",
                "if False:",
            ),
        ),
    ),
    PlantedFault(
        "acknowledged size ignored",
        "a log that is shorter than what COMMIT says was acknowledged is read",
        (
            Edit(
                recovery._check_acknowledged,
                "if commit is not None and commit.acknowledged.size > head.size:",
                "if False:",
            ),
            Edit(recovery.load, "if found.commit is not None:", "if False:"),
        ),
    ),
    PlantedFault(
        "promises ignored",
        "a damaged flush with others behind it is taken for a torn one",
        (Edit(recovery._check_acknowledged, "if last.promise > last.stop:", "if False:"),),
    ),
    PlantedFault(
        "no reading ahead",
        "promises behind the first invalid frame are not looked for",
        (
            Edit(
                _Scanner._walk,
                "max(promise, self._promise_behind(offset))",
                "promise",
            ),
        ),
    ),
    PlantedFault(
        "no reading ahead behind zeros",
        "where the first invalid frame is zeros, the rest is taken for zeros ahead",
        (
            Edit(
                _Scanner._promise_behind,
                "at = data.find(FRAME_MAGIC)\n        while",
                "at = data.find(FRAME_MAGIC) if any(data[:32]) else -1\n        while",
            ),
        ),
    ),
    PlantedFault(
        "reading ahead in large steps",
        "promises are looked for at every 512th byte only",
        (Edit(_Scanner._promise_behind, "at % _ALIGNMENT == 0", "at % 512 == 0"),),
    ),
)

_LOADING = (
    PlantedFault(
        "log's root not compared",
        "the root of the last frame is not compared with that of the leaves",
        (
            Edit(
                recovery.load,
                "_check_root(tree, decision.head, decision.last.path, SEGMENT_BYTES)",
                "pass",
            ),
        ),
    ),
    PlantedFault(
        "level files not proven",
        "without a commit record, nobody checks every node of the level files",
        (Edit(recovery.load, "verify=verify or decision.must_prove", "verify=verify"),),
    ),
    PlantedFault(
        "nodes not verified",
        "the root of the level files is checked, not what is below it",
        (Edit(LevelFiles._agrees, "if every_node else ()", "if False else ()"),),
    ),
    PlantedFault(
        "repair in memory only",
        "a damaged level file is not written again",
        (Edit(logs.resume_log, "if repair is not None:", "if False:"),),
    ),
    PlantedFault(
        "no fsync of repaired level files",
        "a repaired level file is not synced",
        (
            Edit(
                LevelWriter.repair,
                "self._write_nodes(tree, level, shard, start, stop)",
                "mock = __import__('unittest.mock').mock\n"
                "            with mock.patch.object(calls, 'sync_file'):\n"
                "                self._write_nodes(tree, level, shard, start, stop)",
            ),
        ),
        redundant="Every profile: a repair that is lost leaves the damage that the next open finds"
        " and repairs again; the nodes that it is computed from are not written to.",
    ),
)

READING = (*_SEALS, *_FRAMES, *_SEGMENTS, *_LOADING)
"""Faults of how the log, the commit record and the level files are read."""
