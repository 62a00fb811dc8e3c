"""Directory: an independent reader of the storage format, from `specs/storage-format.md` alone.

A directory is a mapping from paths, relative to it, to bytes. `read_directory` says what tree is
in it, or what is damaged: section 7 of the text, its decision table row by row, then its loading.
"""

from collections.abc import Mapping
from itertools import islice, pairwise
from typing import NamedTuple

from rotortree_model.layouts import (
    COMMIT,
    LEVEL_HEADER_BYTES,
    Commit,
    DamagedError,
    Head,
    Identity,
    Kind,
    Segment,
    Unit,
    commit_record,
    level_identity,
    numbered,
    pieces,
    segment,
)
from rotortree_model.schemes import HASH_BYTES, SCHEMES, Scheme
from rotortree_model.shape import depth, span
from rotortree_model.tree import combine

NOTHING = Head(0, bytes(HASH_BYTES))
"""The head of the empty tree."""


class Contents(NamedTuple):
    """What is in a directory."""

    identity: Identity
    leaves: tuple[bytes, ...]
    root: bytes | None
    closed: bool
    """Whether it was closed cleanly."""
    torn: tuple[str, int, int] | None
    """The segment and the offsets [start, stop) of what was never acknowledged."""
    repaired: tuple[str, ...]
    """The level files that a writer would write again."""

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self.leaves)


class Rows(NamedTuple):
    """The complete nodes of a tree, level by level, each level as far as it goes."""

    n: int
    parent: Scheme
    levels: tuple[tuple[bytes, ...], ...]


class Shard(NamedTuple):
    """A level file that must be there, and what is."""

    path: str
    level: int
    sound: bool
    """Whether it is there, with a header that is not damaged."""
    nodes: tuple[bytes, ...]
    """Those that are complete at the head that is loaded; empty where they are missing."""

    @property
    def whole(self) -> bool:
        """Whether there is nothing to be seen that is wrong with it."""
        return self.sound and all(self.nodes)


def read_directory(
    files: Mapping[str, bytes],
    *,
    verify: bool = False,
    schemes: Mapping[str, Scheme] = SCHEMES,
) -> Contents | None:
    """The tree in a directory, None if none was ever created; DamagedError if it is damaged.

    With ``verify`` every complete node is computed from the leaves, as an open does it that was
    asked to verify the checkpoint; without, only the right edge is, if that is enough.
    """
    logs = numbered(files, "wal/{}.wal")
    commit = commit_record(files[COMMIT]) if COMMIT in files else None
    if not logs:
        check_never_created(files)
        return None
    live = live_segments(files, logs, commit)
    check_headers(live, logs, commit)
    units, end = follow(live, logs)
    check_end(live[-1], end, commit)
    return load(files, live, units, end, commit, verify, schemes)


def check_never_created(files: Mapping[str, bytes]) -> None:
    """Rows 1 to 3: no segment is there."""
    if COMMIT in files or level_files(files):
        raise DamagedError("DataCorruptionError", "the log is missing")


def level_files(files: Mapping[str, bytes]) -> list[str]:
    """The paths of all level files."""
    levels = {path.split("/")[1] for path in files if path.startswith("levels/")}
    canonical = [level for level in levels if level.isdecimal() and str(int(level)) == level]
    return [
        path for at in canonical for path in numbered(files, f"levels/{at}/{{}}.nodes").values()
    ]


def segment_path(number: int) -> str:
    """Where the segment with this number is."""
    return f"wal/{number:08}.wal"


def live_segments(
    files: Mapping[str, bytes], logs: Mapping[int, str], commit: Commit | None
) -> list[Segment]:
    """Rows 4 and 5: the live segments, in order; at least one."""
    if commit is not None and commit.last not in logs:
        missing = segment_path(commit.last)
        raise DamagedError("DataCorruptionError", "the segment is missing", missing)
    first = commit.first if commit else 0
    return [segment(path, files[path], at) for at, path in logs.items() if at >= first]


def check_headers(live: list[Segment], logs: Mapping[int, str], commit: Commit | None) -> None:
    """Rows 6 to 8: headers that do not belong together."""
    identities = {one.identity for one in live} | ({commit.identity} if commit else set())
    if len(identities) > 1:
        raise DamagedError("DataCorruptionError", "another tree's")
    if commit is not None and commit.checkpoint != live[0].base:
        missing = segment_path(commit.first) if commit.first not in logs else None
        raise DamagedError("DataCorruptionError", "the log begins elsewhere", missing)


def follow(live: list[Segment], logs: Mapping[int, str]) -> tuple[list[Unit], Head]:
    """Row 9: the units of all live segments, and the head that they lead to."""
    units: list[Unit] = []
    for one, following in pairwise(live):
        heads = [one.base, *(unit.head for unit in one.units)]
        if following.base not in heads:
            between = range(one.number + 1, following.number)
            kind: Kind = "DataCorruptionError" if between else "WalCorruptedError"
            raise DamagedError(kind, "a segment does not lead to the next one", one.path)
        units += one.units[: heads.index(following.base)]
    units += live[-1].units
    return units, units[-1].head if units else live[0].base


def check_end(last: Segment, end: Head, commit: Commit | None) -> None:
    """Rows 9a to 11: too many leaves, or fewer than there must be."""
    if end.size > last.identity.capacity:
        raise DamagedError("DataCorruptionError", "more leaves than the capacity")
    if commit is not None and commit.acknowledged.size > end.size:
        raise DamagedError("WalCorruptedError", "acknowledged leaves are missing", last.path)
    if last.contradicted:
        raise DamagedError("WalCorruptedError", "not a torn write", last.path, last.invalid)


def load(
    files: Mapping[str, bytes],
    live: list[Segment],
    units: list[Unit],
    end: Head,
    commit: Commit | None,
    verify: bool,
    schemes: Mapping[str, Scheme],
) -> Contents:
    """Rows 12 to 14, and the loading: the base, then the units."""
    last, tree, base = live[-1], live[-1].identity, live[0].base
    if tree.scheme not in schemes:
        raise DamagedError("UnsupportedFormatError", "an unknown scheme")
    shards = shards_at(files, tree, base.size)
    stored, repaired = checked(shards, tree, base, schemes[tree.scheme], verify or commit is None)
    rows = grown(stored, tuple(leaf for unit in units for leaf in unit.leaves))
    for head in (end, commit.acknowledged if commit else end):
        if root_at(rows, head.size) != head.root:
            raise DamagedError("DataCorruptionError", "the leaves do not lead to the root")
    used = last.used > last.end
    closed = commit is not None and (commit.acknowledged, commit.last) == (end, last.number)
    return Contents(
        tree,
        rows.levels[0],
        end.root if end.size else None,
        closed and not used,
        (last.path, last.end, last.used) if used else None,
        repaired,
    )


def shards_at(files: Mapping[str, bytes], tree: Identity, size: int) -> list[Shard]:
    """The level files that must hold a head of this size, level by level."""
    shards, level = [], 0
    while (complete := size // span(tree.n, level)) > 0:
        for shard in range(-(-complete // tree.shard_nodes)):
            path = f"levels/{level}/{shard:08}.nodes"
            data = files.get(path, b"")
            wanted = min(tree.shard_nodes, complete - shard * tree.shard_nodes)
            found = pieces(data[LEVEL_HEADER_BYTES:])[:wanted]
            nodes = found + (b"",) * (wanted - len(found))
            sound = level_identity(path, data, level, shard) == tree
            shards.append(Shard(path, level, sound, nodes))
        level += 1
    return shards


def checked(
    shards: list[Shard], tree: Identity, base: Head, parent: Scheme, verify: bool
) -> tuple[Rows, tuple[str, ...]]:
    """The complete nodes of the base, and the files that do not hold them.

    What looks right is believed if the root follows from its right edge, unless all is to be
    verified. Otherwise everything is computed from the leaves.
    """
    stored = Rows(tree.n, parent, tuple(row(shards, at) for at in range(top(shards) + 1)))
    quick = not verify and all(shard.whole for shard in shards)
    if quick and root_at(stored, base.size) == base.root:
        return stored, ()
    check_leaves_are_there(shards)
    computed = grown(Rows(tree.n, parent, ((),)), stored.levels[0])
    if root_at(computed, base.size) != base.root:
        raise untrusted(stored, computed, tree)
    return computed, tuple(differing(shards, computed))


def top(shards: list[Shard]) -> int:
    """The highest level that has files; 0 if there are none."""
    return max((shard.level for shard in shards), default=0)


def row(shards: list[Shard], level: int) -> tuple[bytes, ...]:
    """The nodes of a level, as they are stored."""
    return tuple(node for shard in shards if shard.level == level for node in shard.nodes)


def check_leaves_are_there(shards: list[Shard]) -> None:
    """DamagedError at the first leaf that is missing."""
    for shard in shards:
        if shard.level == 0 and not all(shard.nodes):
            offset = LEVEL_HEADER_BYTES + shard.nodes.index(b"") * HASH_BYTES
            raise DamagedError("DataCorruptionError", "leaves are missing", shard.path, offset)


def untrusted(stored: Rows, computed: Rows, tree: Identity) -> DamagedError:
    """Which leaves cannot be trusted: a group whose stored parent says otherwise, or the last."""
    said, true = (next(iter(rows.levels[1:]), ()) for rows in (stored, computed))
    wrong = (at for at, parent in enumerate(said) if parent not in (b"", true[at]))
    leaf = next(wrong, (len(computed.levels[0]) - 1) // tree.n) * tree.n
    path = f"levels/0/{leaf // tree.shard_nodes:08}.nodes"
    offset = LEVEL_HEADER_BYTES + leaf % tree.shard_nodes * HASH_BYTES
    return DamagedError("DataCorruptionError", "leaves do not lead to the root", path, offset)


def differing(shards: list[Shard], computed: Rows) -> list[str]:
    """The files whose header is damaged or whose nodes are not what follows from the leaves."""
    true = [iter(nodes) for nodes in computed.levels]
    found = [(shard, tuple(islice(true[shard.level], len(shard.nodes)))) for shard in shards]
    return [shard.path for shard, nodes in found if not shard.sound or shard.nodes != nodes]


def grown(rows: Rows, leaves: tuple[bytes, ...]) -> Rows:
    """The complete nodes when these leaves are appended."""
    levels = [rows.levels[0] + leaves]
    while len(levels[-1]) >= rows.n:
        level = len(levels)
        old = rows.levels[level] if level < len(rows.levels) else ()
        below = levels[-1]
        starts = range(len(old) * rows.n, len(below) - rows.n + 1, rows.n)
        new = (combine(below[start : start + rows.n], rows.parent) for start in starts)
        levels.append((*old, *new))
    return rows._replace(levels=tuple(levels))


def root_at(rows: Rows, size: int) -> bytes:
    """The root of the first ``size`` leaves, from complete nodes; zeros for size 0.

    An incomplete node's children are the complete nodes of the level below that no complete node
    covers, and the incomplete one there, if there is one.
    """
    if size == 0:
        return NOTHING.root
    edge: tuple[bytes, ...] = ()
    for level in range(depth(size, rows.n)):
        complete = size // span(rows.n, level)
        covered = complete - complete % rows.n
        below = (*rows.levels[level][covered:complete], *edge)
        edge = (combine(below, rows.parent),) if below else ()
    return edge[0] if edge else rows.levels[depth(size, rows.n)][0]
