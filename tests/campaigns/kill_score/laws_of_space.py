"""Laws of space: each a function that says how it is broken, or None."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rotortree import FlushFailedError, IoFailedError, RotorTree, StorageError
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Died, Rule
from rotortree_faultinject.subjects.tree.life import Options, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import row

__all__ = ["LAWS_OF_SPACE"]

_ZEROS = 400
_LARGE_FILES = 1 << 10
"""Groups in a level file: none of these trees has a second one."""


def _options(fold_leaves: int, segment_bytes: int = 900) -> Options:
    return Options(
        zeros_ahead=_ZEROS,
        fold_leaves=fold_leaves,
        segment_bytes=segment_bytes,
        groups=_LARGE_FILES,
    )


def _bound(size: int, unfinished: int = 0) -> int:
    """DURABLE-54, for ``size`` leaves, and ``unfinished`` ones of a flush that did not end."""
    return 544 * (size + unfinished) + 2 * _ZEROS + 4096


def _kill(disk: SimulatedDisk, tree: RotorTree) -> None:
    abandon(tree)
    disk.restart()


def _opens_do_not_make_it_grow() -> str | None:
    """Opened and killed again and again, a tree takes the same space."""
    for count in (0, 1, 50):
        disk, options = SimulatedDisk(), _options(4)
        tree = open_tree(disk, options)
        if count:
            tree.insert_many(row(0, count))
            tree.flush()
        sizes = []
        for _ in range(12):
            _kill(disk, tree)
            tree = open_tree(disk, options)
            sizes.append(disk.used())
        abandon(tree)
        if len(set(sizes[1:])) > 1:
            return f"{count} leaves, opened and killed again and again, take {sizes} bytes"
    return None


def _kills_stay_within_the_bound() -> str | None:
    """A process that is killed after each leaf, or in the middle of a larger flush."""
    for fold_leaves in (0, 3, 2048):
        for unfinished in (0, 60):
            disk, options = SimulatedDisk(), _options(fold_leaves)
            for size in range(0, 60, 6):
                tree = open_tree(disk, options)
                for leaf in range(size, size + 6):
                    tree.insert_durable(row(leaf, leaf + 1))
                if unfinished:
                    _die_in_a_flush(disk, tree, unfinished)
                _kill(disk, tree)
                if disk.used() > _bound(size + 6, unfinished):
                    return (
                        f"{size + 6} leaves and kills, {unfinished} leaves not flushed: "
                        f"{disk.used()} bytes, fold_leaves = {fold_leaves}"
                    )
    return None


def _kills_do_not_leave_a_segment_each() -> str | None:
    """A process that is killed after each leaf leaves few segments, which are replaced."""
    disk, options = SimulatedDisk(), _options(3)
    for size in range(40):
        tree = open_tree(disk, options)
        tree.insert_durable(row(size, size + 1))
        _kill(disk, tree)
        segments = sum(path.endswith(".wal") for path in disk.files())
        if segments > 2 + size // 4:
            return f"{size + 1} leaves and as many kills leave {segments} segments"
    return None


def _torn_tails_do_not_add_up() -> str | None:
    """Of a large flush that is killed again and again, one copy is left at most."""
    disk, options = SimulatedDisk(), _options(0)
    for size in range(0, 80, 2):
        tree = open_tree(disk, options)
        for leaf in range(size, size + 2):
            tree.insert_durable(row(leaf, leaf + 1))
        _die_in_a_flush(disk, tree, 60)
        _kill(disk, tree)
        if disk.used() > _bound(size + 2, 60):
            return f"{size + 2} leaves, and as many killed flushes of 60: {disk.used()} bytes"
    return None


def _die_in_a_flush(disk: SimulatedDisk, tree: RotorTree, count: int) -> None:
    disk.faults.rules[:] = [Rule("pwritev", "*.wal", "e")]
    tree.insert_many(row(tree.size, tree.size + count))
    try:
        tree.flush()
    except Died:
        disk.faults.rules.clear()


def _full_segments_have_no_zeros() -> str | None:
    """Flushes of one leaf each, over many segments, stay within the bound."""
    disk = SimulatedDisk()
    tree = open_tree(disk, _options(4, 300))
    for size in range(100):
        tree.insert_durable(row(size, size + 1))
    abandon(tree)
    used = disk.used()
    return None if used <= _bound(100) else f"a log of 100 leaves takes {used} bytes"


def _failed_flush_gives_back_its_space() -> str | None:
    """A unit of which half could be written takes no space."""
    disk = SimulatedDisk()
    tree = open_tree(disk, Options())
    tree.insert_durable(row(0, 1))
    tree.insert_many(row(1, 20))
    used = disk.used()
    for script in ("h", "sx"):
        disk.faults.rules[:] = [Rule("pwritev", "*.wal", script)]
        try:
            tree.flush()
        except FlushFailedError:
            if disk.used() != used:
                return f"a flush that failed ({script}) took {disk.used() - used} bytes"
    abandon(tree)
    return None


def _full_disk_refuses_a_writer_without_a_trace() -> str | None:
    """Where a new segment has no room, opening fails, and takes no space."""
    disk = SimulatedDisk()
    tree = open_tree(disk, Options(frame_leaves=100))
    tree.insert_many(row(0, 30))
    tree.flush()
    abandon(tree)
    for spare in range(0, 1200, 100):
        full = disk.restarted()
        used = full.used()
        full.room = used + spare
        try:
            abandon(open_tree(full, Options()))
        except IoFailedError:
            if full.used() != used:
                return f"refused for lack of room, and {full.used() - used} bytes are taken"
    return None


def _checkpoint_frees_one_segment_after_the_other() -> str | None:
    """A log of many segments becomes level files on a disk with little room left."""
    disk = SimulatedDisk()
    tree = open_tree(disk, _options(4))
    for size in range(100):
        tree.insert_durable(row(size, size + 1))
    disk.room = disk.used() + 1400
    try:
        tree.checkpoint()
    except StorageError as error:
        return f"on a disk with little room: {error!r}"
    finally:
        abandon(tree)
    return None if tree.checkpoint_size == 100 else f"a checkpoint of {tree.checkpoint_size}"


def _checkpoint_spares_what_a_flush_has_just_written() -> str | None:
    """What a checkpoint removes as unfinished is not the segment that a flush begins meanwhile."""
    disk = SimulatedDisk()
    tree = open_tree(disk, Options(segment_bytes=200))
    tree.insert_durable(row(0, 1))
    log = tree._engine._opened.log
    assert log is not None  # it is open for writing
    others = []

    def before(call: Call) -> None:
        if call.kind == "rename":
            disk.on_call = None
            others.append(threading.Thread(target=log.tidy))
            others[0].start()
            others[0].join(0.1)  # it waits for the flush, or is at its end

    disk.on_call = before
    try:
        tree.insert_durable(row(1, 2))
    except StorageError as error:
        return f"a flush that rolls, and a checkpoint that tidies: {error!r}"
    finally:
        abandon(tree)
    others[0].join()
    return None


LAWS_OF_SPACE: Mapping[str, Callable[[], str | None]] = MappingProxyType(
    {
        law.__name__.strip("_").replace("_", " "): law
        for law in (
            _opens_do_not_make_it_grow,
            _kills_stay_within_the_bound,
            _kills_do_not_leave_a_segment_each,
            _torn_tails_do_not_add_up,
            _full_segments_have_no_zeros,
            _failed_flush_gives_back_its_space,
            _full_disk_refuses_a_writer_without_a_trace,
            _checkpoint_frees_one_segment_after_the_other,
            _checkpoint_spares_what_a_flush_has_just_written,
        )
    }
)
"""Every law by its name; read-only."""
