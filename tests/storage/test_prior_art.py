"""What went wrong in the original and in others, case by case, and does not here.

Case 4 of the list, a damaged length in the log, is ``test_repair.test_damage_between_flushes_is_
not_torn`` for leaves and the first test below for lengths.
"""

from __future__ import annotations

import errno
import posixpath
import random
import threading
from dataclasses import replace

import pytest

from rotortree import (
    CheckpointFailedError,
    DataCorruptionError,
    FlushFailedError,
    FlushPolicy,
    RotorTree,
    RotorTreeConfig,
    WalCorruptedError,
)
from rotortree.scheduler import ThreadScheduler
from rotortree.storage.format import FRAME_BYTES, SEGMENT_BYTES
from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.disk.faults import Died
from tests.storage.disk import CRASHES, after_crash, after_crashes, disk_of, go_wrong
from tests.storage.trees import (
    PATH,
    abandon,
    check_goes_on,
    check_tree,
    environment,
    leaf,
    leaves,
    log_path,
    open_tree,
)

COMMIT = f"{PATH}/COMMIT"


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 12])
def test_1_no_stale_node_is_ever_mapped_back(n: int) -> None:
    """40 random histories of inserts, checkpoints and reopens: all leaves, roots, proofs right.

    Up to 60 leaves; shards and memory segments of 2n nodes, so that every history maps many.
    """
    for seed in range(40):
        choose = random.Random(100 * n + seed)
        disk, size = SimulatedDisk(), 0
        tree = open_tree(disk, n)
        while size < 60:
            count = choose.randint(1, 3 * n)
            tree.insert_many(leaves(size, size + count))
            size += count
            if choose.random() < 0.5:
                tree.checkpoint()
            if choose.random() < 0.3:
                tree.close()
                tree = open_tree(disk)
            assert tree.size == size
        check_tree(tree, n, size)
        tree.close()
        with open_tree(disk) as tree:
            check_tree(tree, n, size)


def test_2_no_flipped_bit_of_the_commit_record_empties_or_rebases_the_tree() -> None:
    """Every bit of COMMIT after the log was cut (n = 4, 130 leaves + 3): the same tree.

    But for those of the version: another one is refused.
    """
    disk = SimulatedDisk()
    with open_tree(disk, 4, environment=environment(disk, 4, 50)) as tree:
        tree.insert_many(leaves(0, 130))
        tree.checkpoint()
        tree.insert_many(leaves(130, 133))
        root = tree.root
    files = disk.files()
    for bit in (*range(64), *range(80, 8 * len(files[COMMIT]))):
        data = bytearray(files[COMMIT])
        data[bit // 8] ^= 1 << bit % 8
        damaged = disk_of({**files, COMMIT: bytes(data)})
        with open_tree(damaged, read_only=True) as tree:
            assert (tree.size, tree.root) == (133, root)
            assert tree.snapshot().leaves(128, 133) == b"".join(leaves(128, 133))
            assert COMMIT in tree.recovery.repaired[0]


@pytest.mark.evidence("crash", "FORMAT-49", "FORMAT-52")
def test_3_a_crash_between_level_files_and_commit_record_opens() -> None:
    """At every call of a second checkpoint: the level files are newer than COMMIT, or not."""
    started = SimulatedDisk()
    with open_tree(started, 3) as tree:
        tree.insert_many(leaves(0, 20))
        tree.checkpoint()
        tree.insert_many(leaves(20, 50))
    older = started.files()[COMMIT]
    between = 0
    for number in range(1000):
        disk = disk_of(started.files())
        tree = open_tree(disk)
        go_wrong(disk, "d", number)
        try:
            tree.checkpoint()
        except Died:
            files = disk.files()
            grown = (
                files[f"{PATH}/levels/0/00000003.nodes"]
                != started.files()[f"{PATH}/levels/0/00000003.nodes"]
            )
            between += grown and files[COMMIT] == older
            check_goes_on(after_crash(disk), 3, 50)
        else:
            disk.faults.rules.clear()
            tree.close()
            break
        finally:
            abandon(tree)
    assert between > 5


@pytest.mark.evidence("damage", "FORMAT-54", "DURABLE-41")
def test_4_a_damaged_length_in_the_log_is_not_the_end_of_it() -> None:
    """Each bit of each length of 20 frames but the last: WalCorruptedError, and nothing is cut."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    for index in range(20):
        tree.insert_durable(leaf(index))
    files = after_crash(disk).files()
    tree.close()
    path = log_path(disk.files())
    for frame in range(19):
        offset = SEGMENT_BYTES + frame * (FRAME_BYTES + 32)
        for bit in range(64):
            data = bytearray(files[path])
            data[offset + 24 + bit // 8] ^= 1 << bit % 8
            damaged = disk_of({**files, path: bytes(data)})
            with pytest.raises(WalCorruptedError) as caught:
                open_tree(damaged)
            assert (caught.value.path, caught.value.offset) == (path, offset)
            assert damaged.files() == {**files, path: bytes(data)}


@pytest.mark.evidence("crash", "FORMAT-9", "DURABLE-8")
def test_5_an_interrupted_creation_is_no_tree_yet() -> None:
    """Death at each call of creating, then every crash: it opens as empty, and goes on.

    Until the first segment has its name, a reader is told that there is no tree.
    """
    for number in range(1000):
        disk = SimulatedDisk()
        go_wrong(disk, "e", number)
        try:
            tree = open_tree(disk, 2)
        except Died:
            for left in after_crashes(disk):
                with open_tree(left, 2) as tree:
                    assert tree.size == 0
                    if not any(path.endswith(".wal") for path in disk.files()):
                        assert tree.recovery.created
                check_goes_on(left, 2, 0)
        else:
            disk.faults.rules.clear()
            tree.close()
            assert number > 20
            return


@pytest.mark.evidence("fault", "DURABLE-13", "DURABLE-14")
@pytest.mark.parametrize("policy", [FlushPolicy.Manual(), FlushPolicy.Interval(0.001)])
@pytest.mark.parametrize("kind", ["pwritev", "sync"])
def test_6_a_token_does_not_wait_for_ever_when_the_flush_fails(
    kind: str, policy: FlushPolicy.Manual | FlushPolicy.Interval
) -> None:
    """Waiting with no timeout ends with FlushFailedError, whoever flushes."""
    disk = SimulatedDisk()
    threads_of_its_own = replace(environment(disk), scheduler=ThreadScheduler())
    tree = open_tree(disk, 2, flush_policy=policy, environment=threads_of_its_own)
    may_fail = threading.Event()

    def broken(call: Call) -> None:
        if call.kind == kind:
            may_fail.wait(10)
            raise OSError(errno.EIO, "broken")

    disk.on_call = broken
    token = tree.insert(leaf(0))[1]
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            token.wait()
        except FlushFailedError as error:
            raised.append(error)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    may_fail.set()
    for thread in threads:
        thread.join(20)
    assert len(raised) == 5
    disk.on_call = None
    if kind == "pwritev":
        tree.close()
        assert token.is_durable
    else:
        with pytest.raises(FlushFailedError):
            tree.close()
        with pytest.raises(FlushFailedError):
            token.wait()


@pytest.mark.evidence("damage", "FORMAT-33", "DURABLE-43")
@pytest.mark.parametrize(
    "length", [1, 15, 16, 31, 32, 127, 128, 159, 160, 161, 511, 512, 4096, 65536, 5_000_000]
)
def test_7_a_zero_filled_log_tail_opens(length: int) -> None:
    """Zeros behind the last frame: as if they were not there, and it goes on."""
    for closed in (False, True):
        disk = SimulatedDisk()
        tree = open_tree(disk, 2)
        tree.insert_many(leaves(0, 5))
        tree.flush()
        left = after_crash(disk)
        tree.close()
        files = (disk if closed else left).files()
        path = log_path(disk.files())
        disk = disk_of({**files, path: files[path] + bytes(length)})
        with open_tree(disk) as tree:
            assert tree.recovery.torn_bytes == 0
            assert tree.recovery.clean == closed
            check_tree(tree, 2, 5)
        check_goes_on(disk, 2, 5)


@pytest.mark.evidence("crash", "FORMAT-30", "FORMAT-31", "DURABLE-4")
def test_7_a_large_batch_over_several_frames_is_whole_or_absent() -> None:
    """Its write cut at every byte, the process dead: 2 leaves or 12, n = 2, frames of 3 leaves."""
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 2))
    tree.flush()
    path = log_path(disk.files())
    start = len(disk.files()[path])
    tree.insert_many(leaves(2, 12))
    tree.flush()
    files = after_crash(disk).files()
    tree.close()
    frames = 4
    assert len(files[path]) == start + frames * FRAME_BYTES + 10 * 32
    for length in range(start, len(files[path]) + 1):
        for tail in (b"", bytes(len(files[path]) - length)):
            left = disk_of({**files, path: files[path][:length] + tail})
            with open_tree(left, read_only=True) as tree:
                expected = 12 if length == len(files[path]) else 2
                # The last leaf may end in zeros, which zeros do not damage.
                assert tree.size == expected or files[path] == left.files()[path]


def test_7_a_damaged_upper_level_is_seen() -> None:
    """A flipped bit above the leaves is not believed: ``recovery.repaired`` names it."""
    disk = SimulatedDisk()
    with open_tree(disk, 4) as tree:
        tree.insert_many(leaves(0, 70))
        tree.checkpoint()
    files = disk.files()
    path = f"{PATH}/levels/2/00000000.nodes"
    damaged = bytearray(files[path])
    damaged[130] ^= 1
    with open_tree(disk_of({**files, path: bytes(damaged)})) as tree:
        assert path in tree.recovery.repaired[0]
        check_tree(tree, 4, 70)


# The order of system calls.


def relevant(disk: SimulatedDisk, start: int, newest: str) -> list[str]:
    """The calls that change the disk or make it durable, as words; ``newest`` is segment K.

    That a file is removed which is there by accident only, ``NAME.tmp``, is left out.
    """
    old = posixpath.basename(newest).removesuffix(".wal")
    new = f"{int(old) + 1:08d}"
    changing = {"pwritev", "truncate", "sync", "rename", "unlink", "sync_directory", "mkdir"}
    return [
        f"{call.kind} {call.path.removeprefix(PATH).lstrip('/') or '.'}".replace(
            f"wal/{old}", "wal/K"
        ).replace(f"wal/{new}", "wal/K+1")
        for call in disk.calls[start:]
        if call.kind in changing and not (call.kind == "unlink" and call.path.endswith(".tmp"))
    ]


@pytest.mark.evidence("example", "FORMAT-19", "FORMAT-40", "FORMAT-41", "FORMAT-50")
def test_7_a_checkpoint_makes_its_calls_in_this_order() -> None:
    """Log and next segment, level files, their directories, COMMIT, and only then deletion.

    Each file's sync is before the directories', these before COMMIT's rename, its directory's sync
    after it, and the deletion of segments last.
    """
    disk = SimulatedDisk()
    with open_tree(disk, 2, environment=environment(disk, 2, 100)) as tree:
        tree.insert_many(leaves(0, 4))
        start, newest = len(disk.calls), log_path(disk.files())
        tree.checkpoint()
        calls = relevant(disk, start, newest)
    assert calls == [
        "pwritev wal/K.wal",
        "sync wal/K.wal",
        "pwritev wal/K+1.wal.tmp",
        "sync wal/K+1.wal.tmp",
        "rename wal/K+1.wal",
        "sync_directory wal",
        "mkdir levels",
        "mkdir levels/0",
        "pwritev levels/0/00000000.nodes",
        "sync levels/0/00000000.nodes",
        "mkdir levels/1",
        "pwritev levels/1/00000000.nodes",
        "sync levels/1/00000000.nodes",
        "mkdir levels/2",
        "pwritev levels/2/00000000.nodes",
        "sync levels/2/00000000.nodes",
        "sync_directory .",
        "sync_directory levels",
        "sync_directory levels/0",
        "sync_directory levels/1",
        "sync_directory levels/2",
        "pwritev COMMIT.tmp",
        "sync COMMIT.tmp",
        "rename COMMIT",
        "sync_directory .",
        "unlink wal/K.wal",
    ]


@pytest.mark.evidence("example", "FORMAT-8", "FORMAT-11")
def test_7_replacing_a_file_begins_with_removing_what_is_left_of_another_attempt() -> None:
    """All calls about the record of a new tree, and that the tree is locked before it has files."""
    disk = SimulatedDisk()
    open_tree(disk, 2).close()
    calls = [f"{call.kind} {call.path.removeprefix(PATH)}" for call in disk.calls]
    first = calls.index("unlink /COMMIT.tmp")
    named = [call for call in calls[first:] if "COMMIT" in call or call == "sync_directory "]
    assert [call for call in named if "open" not in call and "close" not in call][:5] == [
        "unlink /COMMIT.tmp",
        "pwritev /COMMIT.tmp",
        "sync /COMMIT.tmp",
        "rename /COMMIT",
        "sync_directory ",
    ]
    assert calls[:5] == [
        "open_directory ",
        "mkdir ",
        "open_directory ",
        "listdir ",
        "lock /LOCK",
    ]


@pytest.mark.evidence("example", "FORMAT-11", "FORMAT-19")
def test_7_creating_makes_its_calls_in_this_order() -> None:
    """Directories, their names, the first segment, its name, and COMMIT last."""
    disk = disk_of({"above/other": b""})
    with open_tree(disk, 2, path="above/tree"):
        calls = [call.replace("above/tree/", "") for call in relevant(disk, 0, "00000000.wal")]
    assert calls == [
        "mkdir above/tree",
        "mkdir wal",
        "mkdir levels",
        "sync_directory above/tree",
        "sync_directory above",
        "pwritev wal/K+1.wal.tmp",
        "sync wal/K+1.wal.tmp",
        "rename wal/K+1.wal",
        "sync_directory wal",
        "sync_directory above/tree",
        "sync_directory above",
        "pwritev COMMIT.tmp",
        "sync COMMIT.tmp",
        "rename COMMIT",
        "sync_directory above/tree",
    ]


@pytest.mark.evidence("example", "FORMAT-11")
def test_7_the_parent_directory_is_synced_when_a_tree_is_created() -> None:
    """The name of the tree is durable, however its path is spelled."""
    for path in ("above/tree", "above/tree/", RotorTreeConfig("above/tree/")):
        disk = disk_of({"above/other": b""})
        with RotorTree.open(path, environment=environment(disk)):
            assert Call("sync_directory", "above") in disk.calls


@pytest.mark.evidence("fault", "FORMAT-37", "DURABLE-28", "DURABLE-29")
def test_7_a_failed_fsync_is_never_retried_into_an_acknowledgement() -> None:
    """The pages of a failed fsync are gone: no later call of that tree acknowledges them.

    For each fsync of a flush and of a checkpoint of the log; then power fails, and what had been
    acknowledged is there.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 3))
    tree.flush()
    token = tree.insert_many(leaves(3, 5))[1]
    go_wrong(disk, "x", kind="sync")
    for change in (tree.flush, tree.flush, tree.checkpoint, token.wait, tree.close):
        with pytest.raises(FlushFailedError) as caught:
            change()
        assert not caught.value.retryable
        assert not token.is_durable
        assert tree.durable_size == 3
    check_goes_on(after_crash(disk, CRASHES[-1]), 2, 3)
    with pytest.raises(DataCorruptionError):
        open_tree(disk_of({COMMIT: b""}))


@pytest.mark.evidence("fault", "FORMAT-52", "FORMAT-73")
def test_7_a_checkpoint_that_is_repeated_writes_no_node_again() -> None:
    """COMMIT was renamed and that was reported as an error: what it counts is left alone."""
    disk = SimulatedDisk()
    with open_tree(disk, 2, environment=environment(disk, 2, 100)) as tree:
        tree.insert_many(leaves(0, 4))
        go_wrong(disk, "wa", kind="rename")
        with pytest.raises(CheckpointFailedError):
            tree.checkpoint()
        tree.insert_many(leaves(4, 6))
        start, newest = len(disk.calls), log_path(disk.files())
        tree.checkpoint()
        written = [call for call in relevant(disk, start, newest) if "pwritev levels" in call]
        check_goes_on(after_crash(disk, CRASHES[-1]), 2, 6)
    assert written == ["pwritev levels/0/00000001.nodes", "pwritev levels/1/00000000.nodes"]


@pytest.mark.evidence("fault", "FORMAT-53", "DURABLE-28")
@pytest.mark.parametrize("number", range(7))
def test_7_a_failed_sync_of_a_directory_fails_the_tree(number: int) -> None:
    """Each of a checkpoint's: from then on every change raises, and nothing more is written.

    After a power failure that keeps nothing, what was flushed is there.
    """
    disk = SimulatedDisk()
    tree = open_tree(disk, 2)
    tree.insert_many(leaves(0, 4))
    tree.flush()
    go_wrong(disk, "x", number, kind="sync_directory")
    with pytest.raises(FlushFailedError):
        tree.checkpoint()
    before = disk.files()
    for change in (lambda: tree.insert(leaf(4)), tree.flush, tree.checkpoint):
        with pytest.raises(FlushFailedError) as caught:
            change()
        assert not caught.value.retryable
    tree.close()
    assert disk.files() == before
    check_goes_on(after_crash(disk, CRASHES[-1]), 2, 4)
