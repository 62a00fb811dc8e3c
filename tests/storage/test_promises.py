"""Sentences of the texts of which other tests show a part, each shown as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    ClosedError,
    FlushFailedError,
    FlushPolicy,
    IoFailedError,
    RotorTree,
    RotorTreeConfig,
    StorageError,
)
from rotortree.geometry import complete_count, depth
from rotortree.storage.format import COMMIT, Commit, Head
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.disk import after_crash, disk_of, go_wrong
from tests.storage.trees import (
    PATH,
    abandon,
    check_tree,
    environment,
    leaf,
    leaves,
    log_path,
    model_root,
    open_tree,
)

NAMES = re.compile(r"LOCK|COMMIT(\.tmp)?|wal/[0-9]{8}\.wal(\.tmp)?|levels/[0-9]+/[0-9]{8}\.nodes")
"""What may be in a tree's directory, or is about to be renamed to that."""


def files_of(disk: SimulatedDisk) -> dict[str, bytes]:
    """All files of the tree, by their names in its directory."""
    return {path.removeprefix(f"{PATH}/"): data for path, data in disk.files().items()}


def live(tree: RotorTree) -> None:
    """Flushes and checkpoints, and a close."""
    with tree:
        for start in range(tree.size, tree.size + 60, 6):
            tree.insert_many(leaves(start, start + 6))
            tree.flush()
            if start % 4 == 0:
                tree.checkpoint()


@pytest.mark.evidence("example", "FORMAT-1")
def test_a_directory_has_the_names_of_the_text_and_only_the_last_segment_grows() -> None:
    """Between any two calls of two lives: LOCK stays an empty file, and is the same one; the other
    files are those of the text.  The log's last segment grows, the others stay as they are; level
    files grow; COMMIT is only ever replaced, by a whole record.
    """
    disk = SimulatedDisk()
    before: dict[str, bytes] = {}
    grown = set()

    def on_call(call: Call) -> None:
        nonlocal before
        files = files_of(disk)
        assert all(NAMES.fullmatch(name) for name in files)
        assert files.get("LOCK", b"") == b""
        assert "LOCK" not in before or "LOCK" in files
        assert call.kind == "lock" or not call.path.endswith("LOCK")
        last = max((name for name in before if name.endswith(".wal")), default="")
        for name in files.keys() & before.keys():
            if name.startswith("levels") or name == last:
                assert files[name].startswith(before[name])
                grown.add(name.partition("/")[0])
            elif name.endswith(".wal"):
                assert files[name] == before[name]
        if COMMIT in files:
            Commit.decode(files[COMMIT], COMMIT)
        assert not (call.kind in ("pwritev", "truncate") and call.path.endswith(COMMIT))
        before = files

    disk.on_call = on_call
    live(open_tree(disk, 2))
    live(open_tree(disk))
    assert grown == {"wal", "levels"}
    assert not any(name.endswith(".tmp") for name in files_of(disk))


@pytest.mark.evidence("example", "FORMAT-3")
def test_level_files_are_named_by_level_and_shard() -> None:
    """All of 2,048 leaves, n = 2, with 4 nodes in a file: levels to 11, 512 files of leaves."""
    disk = SimulatedDisk()
    with open_tree(disk, 2, environment=environment(disk, 2, 4096)) as tree:
        tree.insert_many(leaves(0, 2048))
        tree.checkpoint()
    expected = {
        f"levels/{level}/{shard:08d}.nodes"
        for level in range(depth(2048, 2) + 1)
        for shard in range(-(-complete_count(2048, 2, level) // 4))
    }
    assert {"levels/0/00000511.nodes", "levels/11/00000000.nodes"} < expected
    assert {name for name in files_of(disk) if name.startswith("levels")} == expected


def is_held(disk: SimulatedDisk, *, shared: bool) -> bool:
    """Whether somebody holds a lock that excludes such a one."""
    watching, disk.on_call = disk.on_call, None
    try:
        disk.directory(PATH).lock("LOCK", shared=shared).release()
    except FileNotFoundError:
        return False  # there is no directory
    except BlockingIOError:
        return True
    finally:
        disk.on_call = watching
    return False


@pytest.mark.evidence("example", "FORMAT-6")
@pytest.mark.parametrize("read_only", [False, True])
def test_a_tree_is_locked_from_its_first_call_for_a_file_to_its_last(read_only: bool) -> None:
    """A writer's lock excludes everybody, a reader's all writers; a missing LOCK is made anew."""
    disk = SimulatedDisk()
    live(open_tree(disk, 2))
    files = disk.files()
    if not read_only:
        del files[f"{PATH}/LOCK"]
    disk = disk_of(files)
    looked = 0

    def on_call(call: Call) -> None:
        nonlocal looked
        if call.kind in ("lock", "listdir", "mkdir", "open_directory"):
            return
        assert is_held(disk, shared=False)
        assert is_held(disk, shared=True) != read_only
        looked += 1

    disk.on_call = on_call
    if read_only:
        with open_tree(disk, read_only=True) as tree:
            check_tree(tree, 2, 60)
    else:
        live(open_tree(disk))
    disk.on_call = None
    assert looked > 8
    assert not is_held(disk, shared=False)
    assert f"{PATH}/LOCK" in disk.files()


@pytest.mark.evidence("example", "FORMAT-45")
@pytest.mark.parametrize("record", [False, True])
def test_a_close_replaces_the_commit_record_exactly_if_it_would_change(record: bool) -> None:
    """After new leaves it says them, of the segment that is open; after none nothing is renamed.
    A checkpoint replaces it exactly if there is a new leaf.
    """
    disk = SimulatedDisk()
    for size in (1, 1, 3, 3):
        tree = open_tree(disk, 2, record_acknowledgements=record)
        tree.insert_many(leaves(tree.size, size)) if tree.size < size else None
        had, renamed = disk.files()[f"{PATH}/{COMMIT}"], disk.counts["rename"]
        tree.close()
        found = disk.files()[f"{PATH}/{COMMIT}"]
        root = model_root(size, 2)
        assert root is not None
        assert Commit.decode(found, COMMIT).acknowledged == Head(size, root)
        assert (disk.counts["rename"] > renamed) == (found != had)
    with open_tree(disk, record_acknowledgements=record) as tree:
        for is_new in (True, False, True, False):
            if is_new:
                tree.insert_durable(leaf(tree.size))
            renamed = disk.counts["rename"]
            tree.checkpoint()
            assert (disk.counts["rename"] > renamed) == is_new or tree.size == 4
            assert Commit.decode(files_of(disk)[COMMIT], COMMIT).checkpoint.size == tree.size


@pytest.mark.evidence("damage", "DURABLE-9")
def test_a_report_says_what_was_found() -> None:
    """Created or not, clean or not; leaves of the log and of the level files; a unit of four
    frames, three leaves in each, that ends after any byte: its bytes but zeros at the end, and the
    leaves of its whole frames.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    assert (tree.recovery.created, tree.recovery.clean) == (True, True)
    tree.insert_many(leaves(0, 4))
    tree.checkpoint()
    tree.insert_many(leaves(4, 6))
    tree.flush()
    path = log_path(disk.files())
    start = len(disk.files()[path])
    tree.insert_many(leaves(6, 16))
    tree.flush()
    files = after_crash(disk).files()
    abandon(tree)
    for length in range(start, len(files[path]) + 1):
        left = disk_of({**files, path: files[path][:length]})
        with open_tree(left, read_only=True) as tree:
            found = tree.recovery
            assert (found.created, found.clean, found.checkpoint_size) == (False, False, 4)
            if length == len(files[path]):
                assert (found.torn_bytes, found.torn_leaves, found.replayed_leaves) == (0, 0, 12)
            else:
                torn = files[path][start:length].rstrip(b"\0")
                frames = (length - start) // (128 + 96)
                assert (found.torn_bytes, found.torn_leaves) == (len(torn), 3 * frames)
                assert found.replayed_leaves == 2


@pytest.mark.evidence("example", "DURABLE-18")
def test_leaves_are_flushed_in_a_hundredth_of_a_second_by_default() -> None:
    """That is the default policy, and the default of the policy."""
    assert RotorTreeConfig("tree").flush_policy == FlushPolicy.Interval()
    assert FlushPolicy.Interval() == FlushPolicy.Interval(0.01)


@pytest.mark.evidence("fault", "DURABLE-33")
def test_a_failed_open_leaves_what_the_next_one_would_have_made() -> None:
    """Each call of an open fails once: but for names in ``.tmp``, the directory is then as it is
    before some call of an open that does not fail, which began with the same directory.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 4))
    tree.checkpoint()
    tree.insert_many(leaves(4, 6))
    tree.flush()
    files = after_crash(disk).files()
    abandon(tree)
    files[f"{PATH}/levels/1/00000000.nodes"] = b"damaged"
    for start in (files, {}):
        seen: list[dict[str, bytes]] = []

        def lasting(disk: SimulatedDisk) -> dict[str, bytes]:
            return {name: data for name, data in disk.files().items() if name[-4:] != ".tmp"}

        good = disk_of(start)
        good.on_call = lambda call, good=good, seen=seen: seen.append(lasting(good))
        tree = open_tree(good, 2)
        seen.append(lasting(good))
        count = len(good.calls)
        tree.close()
        refused = 0
        for number in range(count):
            disk = disk_of(start)
            go_wrong(disk, "x", number)
            try:
                open_tree(disk, 2).close()
            except IoFailedError:
                refused += 1
                assert lasting(disk) in seen
                assert not is_held(disk, shared=False)
        assert refused > 15


@pytest.mark.evidence("example", "DURABLE-36", "DURABLE-37")
def test_every_use_after_close_is_refused() -> None:
    """All names that a tree has but those of the text; closing again is none; a snapshot stays."""
    arguments: dict[str, tuple[object, ...]] = {
        "append": (leaf(3),),
        "extend": (leaves(3, 5),),
        "insert": (leaf(3),),
        "insert_durable": (leaf(3),),
        "insert_many": (leaves(3, 5),),
        "root_at": (1,),
    }
    known = {"path", "recovery", "closed", "durable_size", "checkpoint_size", "open", "close"}
    tree = open_tree(SimulatedDisk(), 2)
    tokens = [tree.append(leaf(index)) for index in range(3)]
    snapshot = tree.snapshot()
    tree.close()
    tree.close()
    names = {name for name in dir(RotorTree) if not name.startswith("_")}
    assert known < names
    assert len(names - known) > 14
    for name in sorted(names - known):
        with pytest.raises(ClosedError):
            getattr(tree, name)(*arguments.get(name, ()))
    assert (tree.closed, tree.durable_size, tree.checkpoint_size) == (True, 3, 0)
    assert tree.path == PATH
    assert tree.recovery.created
    assert all(token.is_durable for token in tokens)
    assert snapshot.leaves() == b"".join(leaves(0, 3))


@pytest.mark.evidence("fault", "DURABLE-38")
def test_a_close_that_fails_closes_and_unlocks_all_the_same() -> None:
    """Each call of a close with a flush, a checkpoint and a record fails once.

    Where that is reported, tokens of what is not durable raise, and those of the rest do not.
    """
    failed: set[str] = set()
    number = 0
    while True:
        disk = SimulatedDisk()
        tree = open_tree(disk, 2, checkpoint_policy=CheckpointPolicy.OnClose())
        tokens = [tree.append(leaf(0))]
        tree.flush()
        tokens.append(tree.append(leaf(1)))
        start = len(disk.calls)
        go_wrong(disk, "x", number)
        try:
            tree.close()
        except StorageError as error:
            call = disk.calls[start + number]
            failed.add(type(error).__name__)
            failed.add(f"{call.kind} {call.path.removeprefix(PATH)}")
        disk.faults.rules.clear()
        assert tree.closed
        assert not is_held(disk, shared=False)
        assert tokens[0].is_durable
        check_settled(tokens[1].is_durable, tokens[1].wait)
        with open_tree(disk) as tree:
            assert tree.size >= 1 + tokens[1].is_durable
            check_tree(tree, 2, tree.size)
        if start + number >= len(disk.calls):
            break
        number += 1
    assert {FlushFailedError.__name__, CheckpointFailedError.__name__} <= failed
    assert {"pwritev /wal/00000001.wal", "sync /levels/0/00000000.nodes"} <= failed
    assert "rename /COMMIT" in failed


def check_settled(is_durable: bool, wait: Callable[[], None]) -> None:
    """A wait ends at once: without an error exactly if it is durable."""
    if is_durable:
        wait()
    else:
        with pytest.raises((ClosedError, FlushFailedError)):
            wait()
