"""The native tree in a process: memory that lacks, signals, threads, forks, changing buffers."""

from __future__ import annotations

import gc
import mmap
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from rotortree import InclusionProof, LeanIMT, TreeHead, kernel, verify_inclusion
from rotortree.tree.accumulator import PortableAccumulator
from tests.tree.hazards import interrupted, run_together
from tests.tree.native import (
    SANITIZED,
    lanes_here,
    native_module,
    native_tree,
    nodes_of,
    proof_of,
    same,
    twin_with,
)

_native = native_module()

LANES = lanes_here(_native)
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="needs /proc, to know what memory is in use"
)
not_sanitized = pytest.mark.skipif(SANITIZED, reason="the sanitizer has memory of its own")


# Memory.

LIMITED = """
import mmap, resource
from tests.tree.native import native_module, native_tree, twin_of
native = native_module()
tree, twin = native_tree(native, 4, threads=2), twin_of(4)
few = bytes(range(32)) * 5000
tree.extend(few)
twin.extend(few)
many = mmap.mmap(-1, 2**30)
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**26, resource.RLIM_INFINITY))
for call in (tree.extend, tree.insert_many):
    try:
        call(many)
    except MemoryError:
        print(tree.size, tree.root(5000) == twin.root(5000))
room = bytearray(2**27)
del room
for count in (1, 100, 5000, 100_000):
    assert tree.insert_many(few[:32] * count) == twin.insert_many(few[:32] * count)
print(tree.size)
"""


def lines_of(code: str) -> list[str]:
    """What code prints in a process of its own, which must succeed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@needs_proc
@not_sanitized
def test_a_batch_that_memory_lacks_for_is_a_memory_error() -> None:
    """Nothing changed, what had been reserved is given back, and the tree goes on."""
    assert lines_of(LIMITED) == ["5000 True", "5000 True", "110101"]


WEIGHED = """
from tests.tree.native import native_module, native_tree

def used():
    with open('/proc/self/status') as status:
        return sum(1024 * int(line.split()[1]) for line in status if line.startswith('RssAnon'))

native = native_module()
chunk = bytes(range(256)) * 2**13
before = used()
tree = native_tree(native, 4, threads=2)
for _ in range(64):
    tree.extend(chunk)
tree.root(tree.size)
print(tree.size, (used() - before) / tree.size)
"""


@needs_proc
@not_sanitized
def test_a_leaf_takes_what_its_nodes_take() -> None:
    """4 million leaves at n = 4: at most 5 % more than 32 bytes for each of the 4/3 nodes."""
    ((size, each),) = [line.split() for line in lines_of(WEIGHED)]
    assert int(size) == 2**22
    assert 32 < float(each) <= 1.05 * 32 * 4 / 3


LEAKING = """
import gc
from tests.tree.native import native_module, native_tree, all_nodes, installed

def used():
    with open('/proc/self/statm') as status:
        return 4096 * int(status.read().split()[1])

native = native_module()
row = bytes(range(256)) * 2500

def work():
    tree = native_tree(native, 3, threads=2)
    tree.extend(row)
    tree.insert_many(row)
    edge = tree.edge(tree.size)
    tree.prove_many(tree.size, edge, list(range(0, 40_000, 100)))
    other = native_tree(native, 3)
    installed(other, [memoryview(level) for level in all_nodes(tree, tree.size)], tree.size)
    other.append(row[:32])
    for wrong in (lambda: tree.extend(row[:-1]), lambda: tree.restore(2**40),
                  lambda: tree.install(0, 0, row), lambda: proof_of(tree, 3, edge, 0)):
        try:
            wrong()
        except Exception:
            continue
        raise AssertionError

for _ in range(20):
    work()
gc.collect()
before = used()
for _ in range(200):
    work()
gc.collect()
print((used() - before) >> 20)
"""


@needs_proc
@not_sanitized
def test_no_memory_is_leaked() -> None:
    """200 pairs of trees of 2 MB, with installed segments and wrong calls: less than 10 MB."""
    ((megabytes),) = lines_of(LEAKING)
    assert int(megabytes) < 10


def test_no_reader_pays_for_all_that_was_written() -> None:
    """A tree settles while it grows: the first root of a million leaves takes next to no time."""
    tree = native_tree(_native, 2)
    few = bytes(32 * 4000)
    started = time.thread_time()
    for _ in range(250):
        tree.extend(few)
    grown = time.thread_time()
    tree.root(1_000_000)
    assert time.thread_time() - grown < (grown - started) / 5


# Signals, and buffers that change.


def test_an_interrupted_batch_changes_all_or_nothing() -> None:
    """By a signal handler that raises at any moment; what had been reserved is given back."""
    row = random.Random(0).randbytes(32 * 1_000_000)
    few = row[: 32 * 5000]
    for threads in (1, 2):
        stopped = 0
        for step in range(12):
            tree = native_tree(_native, 2, lanes=LANES[-1], threads=threads)
            tree.extend(few)
            before = tree.root(5000)
            interrupted(0.001 + 0.004 * step, lambda tree=tree: tree.extend(row))  # type: ignore[misc]
            if tree.size == 5000:
                stopped += 1
                assert tree.root(5000) == before
                assert tree.views(0, 0, 5000) == [few]
                tree.extend(row)
            assert tree.size == 1_005_000
            if step in (0, 5):
                assert same(tree, twin_with(2, few + row))
        assert stopped > 0


def test_leaves_that_change_meanwhile_make_a_tree_of_one_moment_or_another() -> None:
    """Each leaf is copied once, and the nodes above it are those of the copy."""
    count = 200_000
    buffer, ended = bytearray(32 * count), threading.Event()
    contents = [bytes([value]) * (32 * count) for value in (1, 2)]

    def change() -> None:
        while not ended.is_set():
            for content in contents:
                buffer[:] = content

    thread = threading.Thread(target=change)
    thread.start()
    mixed = 0
    try:
        for step in range(30):
            tree = native_tree(_native, 3, threads=1 + step % 2)
            tree.extend(buffer)
            leaves = nodes_of(tree, 0, count)
            mixed += len(set(leaves)) > 1
            assert same(tree, twin_with(3, leaves))
            if mixed > 2:
                break
    finally:
        ended.set()
        thread.join()
    assert mixed > 0, "it never changed"


# Threads and forks.


@pytest.mark.parametrize("segment", [12, 12 * 400, None], ids=["small", "middle", "usual"])
def test_readers_writers_and_installers_do_not_disturb_each_other(segment: int | None) -> None:
    """Two writers of large and of small batches, two readers that verify, one that installs."""
    n, tree = 4, native_tree(_native, 4, threads=2, segment=segment, lanes=LANES[-1])
    whole = segment or 65536
    done = threading.Event()
    counts = {"proven": 0, "installed": 0}

    def write_many() -> None:
        for seed in range(6):
            tree.extend(random.Random(seed).randbytes(32 * 150_000))

    def write_few() -> None:
        numbers = random.Random(5)
        while not done.is_set():
            tree.extend(numbers.randbytes(32 * numbers.randint(1, 300)))
            tree.insert(numbers.randbytes(32))

    def read() -> None:
        numbers = random.Random(9)
        while not done.is_set():
            size = tree.size
            if size == 0:
                continue
            size = numbers.randint(1, size)
            edge, index = tree.edge(size), numbers.randrange(size)
            head = TreeHead(size, tree.root(size), n, "blake3")
            leaf = (
                nodes_of(tree, 0, index + 1)[-32:]
                if index < 99
                else b"".join(tree.views(0, index, index + 1))
            )
            proof = InclusionProof.decode(proof_of(tree, size, edge, index))
            verify_inclusion(head, index, leaf, proof)
            counts["proven"] += 1

    def install() -> None:
        numbers = random.Random(3)
        while not done.is_set():
            level, size = numbers.randint(0, 3), tree.size
            count = size // n**level // whole * whole
            start = numbers.randint(0, count // whole) * whole
            if start < count:
                nodes = b"".join(tree.views(level, start, count))
                tree.install(level, start, memoryview(nodes))
                counts["installed"] += 1

    def main() -> None:
        try:
            write_many()
        finally:
            done.set()

    run_together(main, write_few, read, read, install)
    assert all(counts.values()), counts
    assert same(tree, twin_with(n, nodes_of(tree, 0, tree.size)))


def test_whatever_runs_while_a_view_is_made_may_replace_its_segment() -> None:
    """The collector calls back, which installs: the view is one of what was there, and holds it.

    What nobody holds any more is unmapped at once, and reading it would kill.
    """
    count = 65_536
    row = random.Random(4).randbytes(32 * count)
    tree = native_tree(_native, 2)
    tree.extend(row)
    calls = 0

    def replace(phase: str, information: object) -> None:
        nonlocal calls
        if phase == "start":
            nodes = mmap.mmap(-1, len(row))
            nodes[:] = row
            tree.install(0, 0, memoryview(nodes))
            calls += 1

    thresholds = gc.get_threshold()
    gc.callbacks.append(replace)
    gc.set_threshold(1)
    try:
        for start in range(0, 1000, 10):
            (view,) = tree.views(0, start, start + 10)
            assert view == row[32 * start : 32 * start + 320]
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(replace)
    assert calls > 100
    assert same(tree, twin_with(2, row))


def test_views_outlive_their_tree_and_their_segments() -> None:
    """After growth, after an installation, after the tree is gone."""
    for segment in (4, 64, None):
        row = random.Random(11).randbytes(32 * 3000)
        tree = native_tree(_native, 2, segment=segment)
        held = []
        for at in range(0, 3000, 100):
            tree.extend(row[32 * at : 32 * (at + 100)])
            held.append((at + 100, tree.views(0, 0, at + 100), tree.views(1, 0, (at + 100) // 2)))
            if segment and at % 300 == 0:
                count = (at + 100) // segment * segment
                if count:
                    tree.install(0, 0, memoryview(row[: 32 * count]))
        parents = nodes_of(tree, 1, 1500)
        del tree
        gc.collect()
        for size, leaves, above in held:
            assert b"".join(leaves) == row[: 32 * size]
            assert b"".join(above) == parents[: 32 * (size // 2)]


def test_a_child_process_goes_on_with_its_copy() -> None:
    """A tree with pending leaves, while nobody is at work on it: both go their ways."""
    code = (
        "import os, sys\n"
        "from tests.tree.native import native_module, native_tree, twin_of\n"
        "tree, twin = native_tree(native_module(), 3, threads=4), twin_of(3)\n"
        "row = bytes(range(32)) * 200_000\n"
        "for count in (200_000, 1, 50):\n"
        "    tree.extend(row[:32 * count])\n"
        "    twin.extend(row[:32 * count])\n"
        "child = os.fork()\n"
        "more = row[:32 * 150_000] if child else row[:32 * 170_001]\n"
        "same = tree.insert_many(more) == twin.insert_many(more)\n"
        "if child == 0:\n"
        "    os._exit(0 if same else 1)\n"
        "print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert lines_of(code) == ["True 0"]


def test_whoever_waits_for_a_writer_can_be_interrupted() -> None:
    """An append behind a long batch of another thread: the signal ends the wait, not the batch."""
    tree = native_tree(_native, 2, threads=1, lanes=LANES[0])
    row = bytes(32 * 3_000_000)
    thread = threading.Thread(target=tree.extend, args=(row,))
    thread.start()
    time.sleep(0.02)
    waited = interrupted(0.01, lambda: tree.append(bytes(32)))
    alive = thread.is_alive()
    thread.join()
    assert tree.size in ((3_000_000,) if waited else (3_000_001,))
    assert waited or not alive


def test_a_public_tree_is_a_native_one_where_it_can_be() -> None:
    """Of the two schemes and arities that the kernel hashes, unless it is switched off."""
    assert (kernel.NAME == "portable") == isinstance(LeanIMT(4)._tree, PortableAccumulator)
    assert isinstance(LeanIMT(32)._tree, PortableAccumulator)
