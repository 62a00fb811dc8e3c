"""Directory: an independent reader of the storage format, written from `specs/storage-format.md`.

A directory is a mapping from the paths in it to bytes. `read_directory` returns the tree that is
there or raises DamagedError. It follows section 7 of the text: first the decision table, row by
row, then loading.
"""

from collections.abc import Container, Mapping
from itertools import islice, pairwise
from typing import NamedTuple

from rotortree_model.layouts import (
    COMMIT,
    LEVEL_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Commit,
    DamagedError,
    Head,
    Identity,
    Segment,
    Unit,
    commit_record,
    level_header,
    pieces,
    segment,
    segments,
)
from rotortree_model.schemes import HASH_BYTES, SCHEMES, Scheme
from rotortree_model.shape import depth, span
from rotortree_model.tree import combine


class Contents(NamedTuple):
    """The tree in a directory, and what its reader found.

    ``closed``: whether it was closed cleanly. ``torn``: the segment and the offsets [start, stop)
    of torn bytes, or None. ``repaired``: the damaged files, which a writer repairs.
    ``checkpoint``: the number of leaves in the level files. ``durable``: the number of leaves that
    are known to be durable.
    """

    identity: Identity
    leaves: tuple[bytes, ...]
    root: bytes | None
    closed: bool
    torn: tuple[str, int, int] | None
    repaired: tuple[str, ...]
    checkpoint: int
    durable: int

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self.leaves)


class Log(NamedTuple):
    """The result of survey and decision: the segments that count, and the commit record if valid.

    ``units`` are those that count, in order; ``end`` is the head that they lead to.
    """

    counting: tuple[Segment, ...]
    units: tuple[Unit, ...]
    end: Head
    commit: Commit | None


class Shard(NamedTuple):
    """A level file that the checkpoint needs. A node that is missing in it is ``b""``."""

    path: str
    level: int
    first: int
    header_is_right: bool
    nodes: tuple[bytes, ...]
    length: int


class Rows(NamedTuple):
    """The complete nodes of a tree, level by level."""

    n: int
    parent: Scheme
    levels: tuple[tuple[bytes, ...], ...]


def read_directory(
    files: Mapping[str, bytes],
    *,
    verify: bool = True,
    schemes: Mapping[str, Scheme] = SCHEMES,
) -> Contents | None:
    """The tree in a directory, None if none was ever created; DamagedError if it is damaged.

    Without ``verify`` the level files are believed if the root follows from their right edge.
    Requirements: FORMAT-9, FORMAT-54, FORMAT-58.
    """
    check_names(files)
    numbers = segments(files)
    if not numbers:
        check_never_created(files)
        return None
    log = decide(files, numbers)
    tree, base = log.counting[-1].identity, log.counting[0].base
    if tree.scheme not in schemes:
        raise DamagedError("ConfigMismatchError")
    shards = shards_at(files, tree, base.size)
    verify = verify or log.commit is None
    rows, repaired = loaded(shards, tree, base, schemes[tree.scheme], verify)
    rows = grown(rows, tuple(leaf for unit in log.units for leaf in unit.leaves))
    check_roots(rows, log)
    return contents(files, log, rows, repaired)


def check_names(files: Mapping[str, bytes]) -> None:
    """DamagedError if the directory holds something other than a tree. Requirements: FORMAT-10."""
    names = {path.split("/")[0] for path in files}
    ours = {"LOCK", COMMIT, f"{COMMIT}.tmp", "wal", "levels"}
    if names - ours and COMMIT not in names and not segments(files):
        raise DamagedError("NotATreeError")


def check_never_created(files: Mapping[str, bytes]) -> None:
    """Rows 0 to 3: DamagedError if a tree was created here, although there is no segment."""
    commit_record(files)
    parts = [path.split("/") for path in files if path.startswith("levels/")]
    stored = any(len(part) > 2 and is_level(part[1]) for part in parts)
    if COMMIT in files or stored:
        raise DamagedError("DataCorruptionError", "wal", 0)


def is_level(name: str) -> bool:
    """Whether this is the name of a level's directory. Requirements: FORMAT-3."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def decide(files: Mapping[str, bytes], numbers: Mapping[int, str]) -> Log:
    """Rows 0 and 4 to 11, for a directory with these segments; DamagedError is a verdict.

    Requirements: FORMAT-54, FORMAT-55, FORMAT-57, FORMAT-74, FORMAT-77.
    """
    commit = commit_record(files)
    if commit is not None and commit.last not in numbers:
        raise missing(commit.last)
    first = commit.first if commit else 1
    live = tuple(segment(path, files[path], at) for at, path in numbers.items() if at >= first)
    check_identities(live, commit)
    counting = not_replaced(live)
    check_checkpoint(counting[0], numbers, commit)
    units = followed(counting, numbers)
    end = units[-1].head if units else counting[0].base
    check_end(live[-1], end, commit)
    return Log(counting, units, end, commit)


def missing(number: int) -> DamagedError:
    """The error of a segment that is missing."""
    return DamagedError("DataCorruptionError", f"wal/{number:08}.wal", 0)


def check_identities(live: tuple[Segment, ...], commit: Commit | None) -> None:
    """Rows 6 and 7: DamagedError if files belong to different trees."""
    for one in live:
        if one.identity != live[-1].identity:
            raise DamagedError("DataCorruptionError", one.path, 0)
    if commit is not None and commit.identity != live[-1].identity:
        raise DamagedError("DataCorruptionError", COMMIT, 0)


def not_replaced(live: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments that count: those behind which no other one begins there or before.

    Requirements: FORMAT-77.
    """
    return tuple(
        one
        for at, one in enumerate(live)
        if all(one.base.size < later.base.size for later in live[at + 1 :])
    )


def check_checkpoint(first: Segment, numbers: Container[int], commit: Commit | None) -> None:
    """Row 8: DamagedError if the first segment that counts does not begin at the checkpoint."""
    if commit is not None and commit.checkpoint != first.base:
        if commit.first not in numbers:
            raise missing(commit.first)
        raise DamagedError("DataCorruptionError", first.path, 64)


def followed(counting: tuple[Segment, ...], numbers: Container[int]) -> tuple[Unit, ...]:
    """Row 9: the units that count, of all segments that do. Requirements: FORMAT-42, FORMAT-57."""
    units: tuple[Unit, ...] = ()
    for one, following in pairwise(counting):
        heads = [one.base, *(unit.head for unit in one.units)]
        if following.base not in heads:
            if one.number + 1 not in numbers:
                raise missing(one.number + 1)
            raise DamagedError("WalCorruptedError", one.path, one.invalid)
        units += one.units[: heads.index(following.base)]
    return units + counting[-1].units


def check_end(last: Segment, end: Head, commit: Commit | None) -> None:
    """Rows 9a to 11: DamagedError if there are more leaves than fit, or fewer than were durable."""
    if end.size > last.identity.capacity:
        raise DamagedError("DataCorruptionError", last.path, 0)
    acknowledged = commit.acknowledged.size if commit else 0
    if acknowledged > end.size or last.promise > last.invalid:
        raise DamagedError("WalCorruptedError", last.path, last.invalid)


def shards_at(files: Mapping[str, bytes], tree: Identity, size: int) -> tuple[Shard, ...]:
    """The level files that must hold a tree of this size, level by level.

    Requirements: FORMAT-3, FORMAT-47, FORMAT-49.
    """
    shards, level = [], 0
    while (complete := size // span(tree.n, level)) > 0:
        for first in range(0, complete, tree.shard_nodes):
            number = first // tree.shard_nodes
            path = f"levels/{level}/{number:08}.nodes"
            data, wanted = files.get(path, b""), min(tree.shard_nodes, complete - first)
            found = pieces(data[LEVEL_HEADER_BYTES:])[:wanted]
            nodes = found + (b"",) * (wanted - len(found))
            right = data[:LEVEL_HEADER_BYTES] == level_header(tree, level, number)
            shards.append(Shard(path, level, first, right, nodes, len(data)))
        level += 1
    return tuple(shards)


def loaded(
    shards: tuple[Shard, ...], tree: Identity, base: Head, parent: Scheme, verify: bool
) -> tuple[Rows, tuple[str, ...]]:
    """The complete nodes of the base, and the level files that do not hold them.

    Requirements: FORMAT-59, FORMAT-60, FORMAT-61, FORMAT-62.
    """
    check_leaves_are_there(shards)
    levels = range(max((shard.level for shard in shards), default=0) + 1)
    stored = Rows(tree.n, parent, tuple(row(shards, level) for level in levels))
    whole = all(shard.header_is_right and all(shard.nodes) for shard in shards)
    if whole and not verify and root_at(stored, base.size) == base.root:
        return stored, ()
    computed = grown(Rows(tree.n, parent, ((),)), stored.levels[0])
    if root_at(computed, base.size) != base.root:
        raise untrusted(stored, computed, tree)
    return computed, differing(shards, computed)


def row(shards: tuple[Shard, ...], level: int) -> tuple[bytes, ...]:
    """The nodes of a level as they are stored."""
    return tuple(node for shard in shards if shard.level == level for node in shard.nodes)


def check_leaves_are_there(shards: tuple[Shard, ...]) -> None:
    """DamagedError of the first leaf that is missing. Requirements: FORMAT-63."""
    for shard in shards:
        if shard.level == 0 and not all(shard.nodes):
            leaf = shard.first + shard.nodes.index(b"")
            raise DamagedError("DataCorruptionError", shard.path, shard.length, (leaf, leaf + 1))


def untrusted(stored: Rows, computed: Rows, tree: Identity) -> DamagedError:
    """The error that names the leaves that cannot be trusted. Requirements: FORMAT-64."""
    size = len(computed.levels[0])
    said, true = (next(iter(rows.levels[1:]), ()) for rows in (stored, computed))
    wrong = [at * tree.n for at, parent in enumerate(said) if parent != true[at]]
    incomplete = size - size % tree.n
    start, stop = (wrong[0], wrong[0] + tree.n) if wrong else (incomplete, size)
    start = start if start < stop else 0
    path = f"levels/0/{start // tree.shard_nodes:08}.nodes"
    offset = LEVEL_HEADER_BYTES + start % tree.shard_nodes * HASH_BYTES
    return DamagedError("DataCorruptionError", path, offset, (start, stop))


def differing(shards: tuple[Shard, ...], computed: Rows) -> tuple[str, ...]:
    """The level files whose header or nodes differ from those that the leaves give."""
    true = [iter(nodes) for nodes in computed.levels]
    right = [shard.nodes == tuple(islice(true[shard.level], len(shard.nodes))) for shard in shards]
    return tuple(
        shard.path
        for shard, nodes_are_right in zip(shards, right, strict=True)
        if not (shard.header_is_right and nodes_are_right)
    )


def grown(rows: Rows, leaves: tuple[bytes, ...]) -> Rows:
    """The complete nodes after these leaves were appended."""
    levels = [rows.levels[0] + leaves]
    while len(levels[-1]) >= rows.n:
        old = next(iter(rows.levels[len(levels) :]), ())
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
        return bytes(HASH_BYTES)
    edge: tuple[bytes, ...] = ()
    for level in range(depth(size, rows.n)):
        complete = size // span(rows.n, level)
        below = (*rows.levels[level][complete - complete % rows.n : complete], *edge)
        edge = (combine(below, rows.parent),) if below else ()
    return edge[0] if edge else rows.levels[depth(size, rows.n)][0]


def check_roots(rows: Rows, log: Log) -> None:
    """DamagedError if the leaves do not lead to the roots. Requirements: FORMAT-58."""
    if root_at(rows, log.end.size) != log.end.root:
        raise DamagedError("DataCorruptionError", log.counting[-1].path, SEGMENT_HEADER_BYTES)
    acknowledged = log.commit.acknowledged if log.commit else log.end
    if root_at(rows, acknowledged.size) != acknowledged.root:
        raise DamagedError("DataCorruptionError", COMMIT, 64)


def contents(
    files: Mapping[str, bytes], log: Log, rows: Rows, repaired: tuple[str, ...]
) -> Contents:
    """Rows 12 to 14: the tree. Requirements: FORMAT-33, FORMAT-46, FORMAT-70."""
    last, commit = log.counting[-1], log.commit
    torn = (last.path, last.end, last.used) if last.used > last.end else None
    recorded = commit is not None and commit.last == last.number
    closed = recorded and commit is not None and commit.acknowledged == log.end
    damaged = (COMMIT,) if commit is None and COMMIT in files else ()
    return Contents(
        identity=last.identity,
        leaves=rows.levels[0],
        root=log.end.root if log.end.size else None,
        closed=closed and torn is None,
        torn=torn,
        repaired=damaged + repaired,
        checkpoint=log.counting[0].base.size,
        durable=last.durable(commit.acknowledged.size if commit else 0, recorded=recorded),
    )
