"""Laws of the tree that need no crash: each a function that says how it is broken, or None."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    ClosedError,
    CustomHasher,
    DataCorruptionError,
    FileLockedError,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
    StorageError,
    UnsupportedFormatError,
)
from rotortree.storage.environment import Environment
from rotortree.storage.format import (
    FRAME_BYTES,
    SEAL_BYTES,
    SEGMENT_BYTES,
    Commit,
    Frame,
    SegmentHeader,
    seal,
)
from rotortree.storage.log_reader import scan_segment
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import Rule
from rotortree_faultinject.disk.image import Image, file_in
from rotortree_faultinject.disk.schedule import StepScheduler
from rotortree_faultinject.subjects.tree.life import PATH, Life, Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import row
from rotortree_faultinject.subjects.tree.specimens import prepare

__all__ = ["LAWS"]

_COMMIT = f"{PATH}/COMMIT"
_SEGMENT = f"{PATH}/wal/00000001.wal"
_LEAF = row(0, 1)
_PLAIN = Options()


@contextlib.contextmanager
def _new(options: Options = _PLAIN) -> Iterator[tuple[SimulatedDisk, RotorTree, StepScheduler]]:
    disk, scheduler = SimulatedDisk(), StepScheduler()
    tree = open_tree(disk, options, scheduler)
    try:
        yield disk, tree, scheduler
    finally:
        abandon(tree)


def _raised(operation: Callable[[], object]) -> BaseException | None:
    try:
        operation()
    except Exception as error:
        return error
    return None


# Locks.


def _open_tree_is_locked() -> str | None:
    """Nobody else can open a tree that is open."""
    with _new() as (disk, _, _):
        error = _raised(partial(open_tree, disk, _PLAIN))
    return None if isinstance(error, FileLockedError) else f"opened twice: {error!r}"


def _closed_tree_is_not_locked() -> str | None:
    """A tree that was closed can be opened again."""
    with _new() as (disk, tree, _):
        tree.close()
        again = open_tree(disk, _PLAIN)
        abandon(again)
    return None


def _failed_open_unlocks() -> str | None:
    """An open that fails leaves no lock behind."""
    disk = SimulatedDisk(rules=[Rule("sync_directory", "*", "wx")])
    error = _raised(partial(open_tree, disk, _PLAIN))
    if not isinstance(error, StorageError):
        return f"an open whose sync failed: {error!r}"
    abandon(open_tree(disk, _PLAIN))
    return None


# Errors and tokens.


def _failed_write_is_retryable() -> str | None:
    """After a write that failed, the leaves are pending, and the next flush writes them."""
    for letter in "xhas":
        with _new() as (disk, tree, _):
            token = tree.insert_many(row(0, 5))[1]
            disk.faults.rules.append(Rule("pwritev", "*", f"{letter}x"))
            error = _raised(tree.flush)
            if not isinstance(error, FlushFailedError) or not error.retryable:
                return f"a flush whose write failed ({letter}): {error!r}"
            if tree.durable_size:
                return f"{tree.durable_size} leaves are durable after a flush that failed"
            disk.faults.rules.clear()
            tree.flush()
            if not token.is_durable:
                return "a flush that returned did not settle a token"
    return None


def _no_room_for_zeros_is_no_error() -> str | None:
    """A flush that fits succeeds, whatever room there is for zeros behind it, and keeps none."""
    for spare in (0, 1, 99):
        with _new(Options(zeros_ahead=400)) as (disk, tree, _):
            _ = tree.append(_LEAF)
            disk.room = disk.used() + FRAME_BYTES + len(_LEAF) + spare
            error = _raised(tree.flush)
            if error is not None or tree.durable_size != 1:
                return f"{spare} bytes more than a flush takes are free, and: {error!r}"
            if spare and disk.used() == disk.room:
                return "zeros take the last of the room"
    return None


def _zeros_that_stay_are_no_error() -> str | None:
    """A close that cannot cut off the zeros ahead is a close: the next open finds it clean."""
    options = Options(zeros_ahead=400)
    with _new(options) as (disk, tree, _):
        tree.insert_durable(_LEAF)
        disk.faults.rules.append(Rule("truncate", "*.wal", "x"))
        error = _raised(tree.close)
        if error is not None:
            return f"a close that could not cut off zeros: {error!r}"
        disk.faults.rules.clear()
        again = open_tree(disk, options)
        try:
            return None if again.recovery.clean and again.size == 1 else f"{again.recovery}"
        finally:
            abandon(again)


def _failed_sync_is_fatal() -> str | None:
    """After an fsync of the log that failed, everything but reading raises, and so do tokens."""
    options = Options(flush="interval")
    with _new(options) as (disk, tree, _):
        token = tree.append(_LEAF)
        disk.faults.rules.append(Rule("sync", "*.wal", "x"))
        for operation in (
            tree.flush,
            tree.flush,
            tree.checkpoint,
            lambda: tree.insert(row(1, 2)),
            lambda: token.wait(0),
            tree.close,
        ):
            error = _raised(operation)
            if not isinstance(error, FlushFailedError) or error.retryable:
                return f"after a failed fsync of the log: {error!r}"
        if not tree.closed or tree.durable_size:
            return f"{tree.durable_size} leaves are durable, closed: {tree.closed}"
    return None


def _close_settles_tokens() -> str | None:
    """After a close that could not flush, tokens raise at once."""
    with _new(Options(flush="interval")) as (disk, tree, _):
        token = tree.append(_LEAF)
        disk.faults.rules.append(Rule("pwritev", "*", "X"))
        closing = _raised(tree.close)
        error = _raised(lambda: token.wait(0))
    if isinstance(closing, StorageError) and isinstance(error, ClosedError | FlushFailedError):
        return None
    return f"close raised {closing!r}, and then a token {error!r}"


def _flusher_tries_again() -> str | None:
    """The background flusher flushes what it could not flush before."""
    with _new(Options(flush="interval")) as (disk, tree, scheduler):
        token = tree.append(_LEAF)
        disk.faults.rules.append(Rule("pwritev", "*", "xx"))
        runs = sum(scheduler.run_due("flusher") for _ in range(4))
    return None if token.is_durable else f"after {runs} runs of the flusher: {token!r}"


# What is on the disk.


def _checkpoint_leaves_one_segment() -> str | None:
    """After a checkpoint the log is one segment."""
    with _new() as (disk, tree, _):
        for count in (3, 1, 4):
            tree.insert_many(row(tree.size, tree.size + count))
            tree.checkpoint()
            segments = [path for path in disk.files() if path.endswith(".wal")]
            if len(segments) != 1:
                return f"the log after a checkpoint: {segments}"
    return None


def _lost_write_of_a_level_file_is_noticed() -> str | None:
    """A checkpoint reads back what it wrote: the log that has it, too, goes next."""
    with _new() as (disk, tree, _):
        tree.insert_many(row(0, 5))
        for letter in "lm":
            disk.faults.rules[:] = [Rule("pwritev", "*.nodes", letter)]
            error = _raised(tree.checkpoint)
            if not isinstance(error, CheckpointFailedError):
                return f"a write to a level file went wrong ({letter}), and: {error!r}"
    return None


def _acknowledgements_are_recorded() -> str | None:
    """With recorded acknowledgements, what is durable is in the commit record on the disk."""
    with _new(Options(record=True)) as (disk, tree, _):
        for script in ("", "x", "wx", "wwx", "h"):
            disk.faults.rules[:] = [Rule("*", f"{PATH}/COMMIT*", script)]
            tree.insert(_LEAF)
            error = _raised(tree.flush)
            record = file_in(disk.crash().image, _COMMIT)
            size = Commit.decode(record, _COMMIT).acknowledged.size if record else 0
            if tree.durable_size > size:
                return f"{tree.durable_size} leaves are durable, {size} recorded; {error!r}"
            disk.faults.rules.clear()
            tree.flush()
    return None


def _killed_tree_was_not_closed() -> str | None:
    """After a kill the next open does not say that the tree was closed cleanly."""
    in_a_checkpoint = "insert, close, open, fault rename tree/COMMIT X, checkpoint"
    for steps in ("insert, flush", "insert, flush, insert, flush", in_a_checkpoint):
        life = Life(_PLAIN)
        life.live(["open", *steps.split(", "), "kill", "open"])
        if life.tree is None or life.tree.recovery.clean:
            return f"{steps}, and a kill, and the next open finds a clean close"
        abandon(life.tree)
    return None


def _leftovers_are_not_built_on() -> str | None:
    """What a crash left of a new segment is no part of the one that is written in its place."""
    life = Life(_PLAIN)
    life.live(["open", "insert 2", "flush", "kill"])
    disk = SimulatedDisk({**life.disk.image, f"{PATH}/wal/00000002.wal.tmp": b"?" * 5000})
    open_tree(disk, _PLAIN).close()
    tree = open_tree(disk, _PLAIN)
    abandon(tree)
    return None if tree.recovery.clean else f"after it was closed: {tree.recovery}"


def _closed() -> SimulatedDisk:
    """A closed tree: a checkpoint of 11 leaves in several level files, and 3 more in the log."""
    life = Life(_PLAIN)
    life.live(["open", "insert 11", "checkpoint", "insert 3", "close"])
    return life.disk


def _flipped(image: Image, path: str, offset: int) -> Image:
    data = bytearray(file_in(image, path) or b"")
    data[offset] ^= 0x01
    return {**image, path: bytes(data)}


def _repairs_are_written() -> str | None:
    """A level file that is damaged, but for its leaves, is as before when the tree was opened."""
    image = _closed().image
    for path, data in image.items():
        if not path.endswith(".nodes") or data is None:
            continue
        for offset in (0, 12, 40, 70, 130) if "/levels/0/" not in path else (0, 12, 40, 70):
            disk = SimulatedDisk(_flipped(image, path, offset))
            tree = open_tree(disk, _PLAIN)
            tree.close()
            if not tree.recovery.repaired or disk.image[path] != data:
                return f"{path} was damaged at {offset}, and is not repaired"
    return None


def _rebuilt_commit_acknowledges_everything() -> str | None:
    """A commit record that is rebuilt vouches for all that was recovered."""
    whole = _closed().image
    for image in (_flipped(whole, _COMMIT, 70), {**whole, _COMMIT: b""}):
        disk = SimulatedDisk(image)
        for _ in range(2):
            tree = open_tree(disk, _PLAIN)
            abandon(tree)
            disk.restart()
            record = Commit.decode(file_in(disk.image, _COMMIT) or b"", _COMMIT)
            if (tree.size, record.acknowledged.size) != (14, 14):
                return f"{tree.size} leaves were recovered, and the commit record is {record}"
    return None


def _leaves_prove_a_lost_commit() -> str | None:
    """Without a commit record, and with a wrong leaf, opening fails, asked to verify or not."""
    image = dict(_closed().image)
    del image[_COMMIT]
    for number in range(8):
        path = f"{PATH}/levels/0/{number // 4:08d}.nodes"
        disk = SimulatedDisk(_flipped(image, path, 128 + 32 * (number % 4)))
        error = _raised(partial(open_tree, disk, Options(verify=False)))
        if not isinstance(error, DataCorruptionError):
            return f"leaf {number} is damaged, nobody vouches for it, and: {error!r}"
    return None


def _lost_segment_is_named() -> str | None:
    """If a live segment is missing, nothing that it held is; or the error names it."""
    life = Life(_PLAIN)
    life.live(["open", "insert 11", "checkpoint", "insert 3", "flush", "insert", "flush", "kill"])
    life.live(["open", "insert", "flush", "insert", "flush", "kill", "open", "insert", "close"])
    image = life.disk.image
    for number in (2, 3, 4):
        path = f"{PATH}/wal/{number:08d}.wal"
        disk = SimulatedDisk({name: data for name, data in image.items() if name != path})
        try:
            tree = open_tree(disk, _PLAIN)
        except DataCorruptionError as error:
            if error.path != path:
                return f"{path} is missing, and: {error!r}"
            continue
        abandon(tree)
        if tree.size != life.issued:
            return f"{path} is missing, and {tree.size} of {life.issued} leaves are left"
    return None


def _lost_name_of_a_segment_loses_no_leaf() -> str | None:
    """An open cannot sync the new segment's name, the next one shows the tree, power fails."""
    life = Life(_PLAIN)
    life.live(["open", "insert 3", "flush", "kill", "fault sync_directory */wal wx", "open"])
    if life.tree is not None:
        return "opened, though a name could not be synced"
    life.live(["mend", "open"])
    error = _raised(partial(life.live, ["crash", "open"]))
    return None if error is None else f"the next open, and power fails: {error!r}"


def _lost_log_is_no_new_tree() -> str | None:
    """A tree that was never closed, and whose only segment is missing, is not created anew."""
    life = Life(_PLAIN)
    life.live(["open", "insert", "flush", "kill"])
    left = {path: data for path, data in life.disk.image.items() if path != _SEGMENT}
    error = _raised(partial(open_tree, SimulatedDisk(left), _PLAIN))
    return None if isinstance(error, DataCorruptionError) else f"without its log: {error!r}"


def _segments_of_another_tree_are_refused() -> str | None:
    """A segment of another tree is refused, though it leads from the same head to the same."""
    specimen = prepare("killed twice")
    path, other = specimen.segments[0], specimen.others[0]
    disk = SimulatedDisk({**specimen.image, path: other[path]})
    error = _raised(partial(open_tree, disk, specimen.options))
    return None if isinstance(error, DataCorruptionError) else f"{path} is foreign, and: {error!r}"


# What is sealed, and still not right.


def _frames_that_do_not_fit_end_the_log() -> str | None:
    """A frame of another chain, number, place, length or promise is not the next one."""
    with _new() as (disk, tree, _):
        tree.insert_durable(row(0, 1))
        tree.insert_durable(row(1, 2))
        data = disk.files()[_SEGMENT]
    second = SEGMENT_BYTES + FRAME_BYTES + len(_LEAF)
    key = SegmentHeader.decode(data, _SEGMENT).key()
    frame = Frame.decode(data[second:], key)
    if frame is None:
        return "the second frame cannot be read"
    for forged in (
        frame._replace(chain=bytes(SEAL_BYTES)),
        frame._replace(number=0),
        frame._replace(first=0),
        frame._replace(leaves=0, payload_seal=seal(b"", key)),
        frame._replace(leaves=2**63),
        frame._replace(promise=second + 32),
        frame._replace(payload_seal=bytes(SEAL_BYTES)),
    ):
        log = data[:second] + forged.encode(key) + data[second + FRAME_BYTES :]
        scan = scan_segment(SimulatedDisk({"log": log}).open("log", "read"), "log", 1)
        if [unit.stop for unit in scan.units] != [1] or scan.stop != second:
            return f"{forged} is taken for the frame behind {frame.first} leaves"
    return None


def _other_versions_are_not_read() -> str | None:
    """A file of another format version is not read, whatever its seal says."""
    image = _closed().image
    for path, length in ((_COMMIT, 176), (f"{PATH}/wal/00000002.wal", SEGMENT_BYTES)):
        data = file_in(image, path) or b""
        header = data[:8] + b"\x02\x00" + data[10 : length - SEAL_BYTES]
        changed = {**image, path: header + seal(header) + data[length:]}
        error = _raised(partial(open_tree, SimulatedDisk(changed), _PLAIN))
        if not isinstance(error, UnsupportedFormatError) and path != _COMMIT:
            return f"{path} is of another version, and: {error!r}"
    return None


def _with_own_hash(disk: SimulatedDisk, place: int) -> RotorTree:
    """A tree whose nodes are equal to one of their children."""
    return RotorTree.open(
        PATH,
        hasher=CustomHasher("own", lambda children: children[place]),
        flush_policy=FlushPolicy.Manual(),
        checkpoint_policy=CheckpointPolicy.Manual(),
        environment=Environment(files=disk, scheduler=StepScheduler(), shard_nodes=4),
    )


def _another_hash_function_is_noticed() -> str | None:
    """A log is not replayed by a hasher that has the scheme's name and is not the scheme."""
    disk = SimulatedDisk()
    tree = _with_own_hash(disk, place=0)
    tree.insert_many(row(0, 3))
    tree.flush()
    abandon(tree)
    error = _raised(partial(_with_own_hash, SimulatedDisk(disk.image), place=1))
    return None if isinstance(error, DataCorruptionError) else f"another hasher: {error!r}"


LAWS: Mapping[str, Callable[[], str | None]] = MappingProxyType(
    {
        law.__name__.strip("_").replace("_", " "): law
        for law in (
            _open_tree_is_locked,
            _closed_tree_is_not_locked,
            _failed_open_unlocks,
            _failed_write_is_retryable,
            _no_room_for_zeros_is_no_error,
            _zeros_that_stay_are_no_error,
            _failed_sync_is_fatal,
            _close_settles_tokens,
            _flusher_tries_again,
            _checkpoint_leaves_one_segment,
            _lost_write_of_a_level_file_is_noticed,
            _acknowledgements_are_recorded,
            _killed_tree_was_not_closed,
            _leftovers_are_not_built_on,
            _repairs_are_written,
            _rebuilt_commit_acknowledges_everything,
            _leaves_prove_a_lost_commit,
            _lost_segment_is_named,
            _lost_name_of_a_segment_loses_no_leaf,
            _lost_log_is_no_new_tree,
            _segments_of_another_tree_are_refused,
            _frames_that_do_not_fit_end_the_log,
            _other_versions_are_not_read,
            _another_hash_function_is_noticed,
        )
    }
)
"""Every law by its name; read-only."""
