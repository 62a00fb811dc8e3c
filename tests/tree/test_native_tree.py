"""The native tree is the one in Python, bit by bit, whatever its lanes, threads and segments."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import rotortree_model as model
from rotortree.geometry import complete_count, depth
from rotortree.tree.accumulator import Accumulator, PortableAccumulator
from rotortree.tree.levels import segment_nodes
from tests.tree.native import (
    MOST,
    all_nodes,
    installed,
    lanes_here,
    native_module,
    native_tree,
    nodes_of,
    proof_of,
    twin_of,
)
from tests.tree.support import make_leaves, model_levels, scheme

_native = native_module()

LANES = lanes_here(_native)
THREADS = (1, 2, 5)
SCHEMES = {True: "blake3", False: "blake3-plain"}
ARITIES = {tagged: range(2, MOST[tagged] + 1) for tagged in (True, False)}

by_lanes = pytest.mark.parametrize("lanes", LANES)
by_threads = pytest.mark.parametrize("threads", THREADS)
by_scheme = pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "plain"])


def random_row(count: int, seed: int) -> bytes:
    """Leaves that nobody saw before."""
    return random.Random(seed).randbytes(32 * count)


def check_size(tree: Accumulator, twin: PortableAccumulator, size: int, indices: list[int]) -> None:
    """One size, present or past: the root, the edge, and these proofs are equal."""
    edge = twin.edge(size)
    assert tree.root(size) == twin.root(size)
    assert tree.edge(size) == edge
    expected = [proof_of(twin, size, edge, index) for index in indices]
    assert [proof_of(tree, size, edge, index) for index in indices] == expected
    proven = tree.prove_many(size, edge, indices)
    assert proven is not None
    assert proven[0] == b"".join(expected)
    ends = array("Q", proven[1])
    assert [stop - start for start, stop in zip([0, *ends], ends, strict=False)] == [
        len(proof) for proof in expected
    ]


def check(
    tree: Accumulator, twin: PortableAccumulator, numbers: random.Random, *, most: int = 8
) -> None:
    """All nodes, some sizes of those that there were and the present one, and proofs at them."""
    assert tree.size == twin.size
    assert all_nodes(tree, tree.size) == all_nodes(twin, twin.size)
    sizes = {twin.size, *(numbers.randint(0, twin.size) for _ in range(most))}
    for size in sorted(sizes):
        places = [numbers.randrange(size) for _ in range(min(size, most))]
        ends = [0, size - 1, size - size % tree.n - 1, size - size % tree.n]
        check_size(tree, twin, size, places + [index for index in ends if 0 <= index < size])


@by_lanes
@by_scheme
def test_small_trees_are_those_of_the_model(tagged: bool, lanes: int) -> None:
    """Every arity: all sizes up to two groups of groups, at most 40, and nodes and proofs of each.

    They are read from the tree of the largest size, and from one that has no more.
    """
    name = SCHEMES[tagged]
    for n in ARITIES[tagged]:
        most = min(40, 2 * n * n + 1)
        leaves = make_leaves(most)
        large = native_tree(_native, n, tagged=tagged, lanes=lanes, segment=n)
        large.extend(leaves)
        for size in range(1, most + 1):
            tree = native_tree(_native, n, tagged=tagged, lanes=lanes, segment=n)
            assert tree.insert_many(b"".join(leaves[:size])) == large.root(size)
            levels = model_levels(n, size, name)
            edge = large.edge(size)
            assert (large.root(size),) == levels[-1]
            for level, row in enumerate(levels):
                count = complete_count(size, n, level)
                last = edge[32 * level : 32 * level + 32] if count < len(row) else b""
                assert nodes_of(large, level, count) + last == b"".join(row)
            index = size * 7 % size
            hashes = model.inclusion_proof(tuple(leaves[:size]), n, index, scheme(name))
            assert proof_of(large, size, edge, index)[24:] == b"".join(hashes)
            assert proof_of(tree, size, tree.edge(size), index)[24:] == b"".join(hashes)


def histories(n: int, tagged: bool, lanes: int, seed: int) -> None:
    """Random calls on both kinds of trees, compared all the way."""
    numbers = random.Random(seed)
    segment = (n, 3 * n, segment_nodes(n))[seed % 3]
    threads = THREADS[numbers.randrange(3)]
    tree = native_tree(_native, n, tagged=tagged, lanes=lanes, threads=threads, segment=segment)
    twin = twin_of(n, tagged=tagged)
    for step in range(12):
        for _ in range(numbers.randint(0, 3)):
            leaf = numbers.randbytes(32)
            tree.append(leaf)
            twin.append(leaf)
        count = numbers.choice((1, n - 1, n, n + 1, n * n, numbers.randint(1, 300)))
        row = numbers.randbytes(32 * count)
        if step % 2:
            assert tree.insert_many(row) == twin.insert_many(row)
        else:
            tree.extend(row)
            twin.extend(row)
        if step % 4 == 3:
            check(tree, twin, numbers, most=3)
        if step == 7:  # from files, say
            nodes, size = all_nodes(tree, tree.size), tree.size
            tree = native_tree(
                _native, n, tagged=tagged, lanes=lanes, threads=threads, segment=segment
            )
            installed(tree, nodes, size)
    check(tree, twin, numbers)


@by_lanes
@by_scheme
def test_random_histories_are_those_of_the_twin(tagged: bool, lanes: int) -> None:
    """Every arity, with segments of one group, of three and of the usual size."""
    for n in ARITIES[tagged]:
        for seed in range(3):
            histories(n, tagged, lanes, n * 3 + seed)


BORDERS = (4095, 4096, 4097, 8191, 8192, 8193)
"""Around the number of pending leaves at which a tree settles, and twice of it."""


@by_threads
@by_lanes
def test_a_tree_settles_by_itself_whatever_is_pending(lanes: int, threads: int) -> None:
    """Batches and single leaves around 4096 and 8192 that nobody reads in between."""
    numbers = random.Random(lanes)
    for n, before, count in ((2, 0, 1), (3, 1, 2), (4, 5, 3), (5, 4095, 1), (32, 4000, 97)):
        tagged = n < 32
        for border in BORDERS:
            tree = native_tree(_native, n, tagged=tagged, lanes=lanes, threads=threads)
            twin = twin_of(n, tagged=tagged)
            row = random_row(border + 4200, border)
            twin.extend(row)
            at = 0
            while at < border + 4200:
                some = before if at == 0 and before else border if at == before else count
                some = min(some, border + 4200 - at)
                part = row[32 * at : 32 * (at + some)]
                if some == 1:
                    tree.append(part)
                else:
                    tree.extend(part)
                at += some
            check(tree, twin, numbers, most=3)


@by_lanes
def test_leaves_one_by_one_are_a_batch(lanes: int) -> None:
    """5000 of them, appended with and without their roots."""
    row = random_row(5000, lanes)
    twin = twin_of(3)
    twin.extend(row)
    for reading in (False, True):
        tree = native_tree(_native, 3, lanes=lanes)
        for at in range(5000):
            leaf = row[32 * at : 32 * at + 32]
            if reading and at % 7 == 0:
                assert tree.insert(leaf) == twin.root(at + 1)
            else:
                tree.append(leaf)
        check(tree, twin, random.Random(1))


@by_threads
@by_lanes
def test_batches_of_any_number_of_segments_are_the_twins(lanes: int, threads: int) -> None:
    """Around 64 and 128 segments of a group and of hundreds, which several threads then hash.

    Whatever was there before: nothing, a part of a group, of a segment, a whole one.
    """
    numbers = random.Random(lanes + threads)
    for n, groups in ((2, 1), (2, 320), (3, 200), (4, 130), (8, 80), (31, 20)):
        segment = n * groups
        for segments, more in ((63, 1), (64, 0), (64, 1), (65, -1), (129, 5)):
            before = numbers.choice((0, 1, n, n + 1, segment - 1, segment, segment + 1))
            count = segment * segments + more - numbers.choice((0, before % segment))
            if count < 4096:
                count += 4096 // segment * segment
            row = numbers.randbytes(32 * (before + count))
            tree = native_tree(_native, n, lanes=lanes, threads=threads, segment=segment)
            if before:
                tree.extend(row[: 32 * before])
            tree.extend(memoryview(row)[32 * before :])
            twin = twin_of(n)
            twin.extend(row)
            check(tree, twin, numbers, most=2)


@by_threads
@by_lanes
def test_large_batches_are_the_twins(lanes: int, threads: int) -> None:
    """Several segments of the usual size, at once and behind what is there."""
    numbers = random.Random(lanes * threads)
    for n in (2, 4, 7, 31):
        tree, twin = native_tree(_native, n, lanes=lanes, threads=threads), twin_of(n)
        for count in (140_001, 65_535, 70_000):
            row = numbers.randbytes(32 * count)
            tree.extend(row)
            twin.extend(row)
        check(tree, twin, numbers)


@by_lanes
def test_the_first_segment_grows_and_keeps_what_it_has(lanes: int) -> None:
    """It doubles from 32 nodes on; views of it, taken at every size, stay what they were."""
    numbers = random.Random(lanes)
    for n in (2, 3, 8, 31):
        for step in (1, 5, 31, 33, 64):
            row = random_row(700, n + step)
            tree, twin = native_tree(_native, n, lanes=lanes), twin_of(n)
            held = []
            for at in range(0, 700, step):
                part = row[32 * at : 32 * (at + step)]
                tree.extend(part)
                twin.extend(part)
                held.append(
                    (tree.size, tree.views(0, 0, tree.size), tree.views(1, 0, tree.size // n))
                )
            check(tree, twin, numbers, most=4)
            for size, leaves, parents in held:
                assert b"".join(leaves) == row[: 32 * size]
                assert b"".join(parents) == nodes_of(twin, 1, size // n)


def test_growth_copies_each_leaf_a_few_times_at_most() -> None:
    """10,000 leaves one by one: the first segment is replaced 9 times, once for each doubling."""
    tree = native_tree(_native, 2)
    owners: list[object] = []
    for _ in range(10_000):
        tree.append(bytes(32))
        owner = tree.views(0, 0, 1)[0].obj
        if not owners or owners[-1] is not owner:
            owners.append(owner)
    assert len(owners) == 1 + 9  # 32 << 9 is more than 10,000


def test_views_are_cut_where_segments_end() -> None:
    """One for each segment; every range is the part of the row that it names; all are read-only."""
    for n in (2, 3, 5):
        tree = native_tree(_native, n, segment=2 * n)
        row = random_row(11 * n, n)
        tree.extend(row)
        for start in range(11 * n + 1):
            for stop in range(start, 11 * n + 1):
                views = tree.views(0, start, stop)
                assert b"".join(views) == row[32 * start : 32 * stop]
                assert all(len(view) for view in views)
                ends = range(start - start % (2 * n), stop, 2 * n)
                assert len(views) == (len(ends) if start < stop else 0)
        assert all(view.readonly for view in tree.views(0, 0, 11 * n))


@by_lanes
def test_what_is_installed_is_read_and_never_written(lanes: int) -> None:
    """Whole segments and tails, of any number of leaves: then the tree goes on, in copies."""
    numbers = random.Random(lanes)
    for n in (2, 3, 4, 31):
        for segment in (n, 3 * n, segment_nodes(n)):
            for size in (1, n, 3 * n, 3 * n + 1, 100, 300):
                row = random_row(size + 400, size)
                twin = twin_of(n)
                twin.extend(row[: 32 * size])
                nodes = [bytearray(level) for level in all_nodes(twin, size)]
                copies = [bytes(level) for level in nodes]
                tree = native_tree(_native, n, lanes=lanes, segment=segment)
                installed(tree, nodes, size)
                check(tree, twin, numbers, most=3)
                for at in range(size, size + 400, 80):
                    part = row[32 * at : 32 * (at + 80)]
                    assert tree.insert_many(part) == twin.insert_many(part)
                check(tree, twin, numbers, most=3)
                assert nodes == copies


@by_lanes
def test_installing_what_was_there_changes_nothing(lanes: int) -> None:
    """As a checkpoint does, whole segments, while leaves above them wait to be hashed."""
    numbers = random.Random(lanes)
    for n in (2, 3, 5):
        segment = 3 * n
        tree, twin = native_tree(_native, n, lanes=lanes, segment=segment), twin_of(n)
        for step in range(30):
            row = numbers.randbytes(32 * numbers.randint(1, 60))
            tree.extend(row)
            twin.extend(row)
            size = tree.size
            for level in range(depth(size, n) + 1):
                count = complete_count(size, n, level)
                whole = count - count % segment
                if whole and step % 2:
                    tree.append(bytes(32))
                    twin.append(bytes(32))
                    start = numbers.randrange(0, whole, segment)
                    part = bytearray(b"".join(tree.views(level, start, whole)))
                    tree.append(bytes(32))
                    twin.append(bytes(32))
                    tree.install(level, start, memoryview(part).toreadonly())
            if step % 3 == 0:
                check(tree, twin, numbers, most=2)
        check(tree, twin, numbers)


MOST_LEAVES = 12_000


class NativeMachine(RuleBasedStateMachine):
    """A native tree and its twin, of any shape, with any calls."""

    numbers: random.Random
    tree: Any
    twin: PortableAccumulator

    @initialize(
        tagged=st.booleans(),
        n=st.integers(2, 31),
        lanes=st.sampled_from(LANES),
        threads=st.sampled_from(THREADS),
        groups=st.sampled_from([1, 2, 3, 40, 0]),
        seed=st.integers(0, 2**32),
    )
    def make(self, tagged: bool, n: int, lanes: int, threads: int, groups: int, seed: int) -> None:
        """An empty tree; no groups: segments of the usual size."""
        self.numbers, self.tagged, self.n = random.Random(seed), tagged, n
        self.shape = {"lanes": lanes, "threads": threads, "segment": groups * n or None}
        self.segment = groups * n or segment_nodes(n)
        self.tree = native_tree(_native, n, tagged=tagged, **self.shape)  # type: ignore[arg-type]
        self.twin = twin_of(n, tagged=tagged)
        self.held: list[tuple[int, int, list[memoryview]]] = []

    def full(self) -> bool:
        """Whether to stop growing."""
        return self.twin.size > MOST_LEAVES

    @precondition(lambda self: not self.full())
    @rule(count=st.integers(1, 70), with_root=st.booleans())
    def add_leaves_one_by_one(self, count: int, with_root: bool) -> None:
        for _ in range(count):
            leaf = self.numbers.randbytes(32)
            if with_root:
                assert self.tree.insert(leaf) == self.twin.insert(leaf)
            else:
                self.tree.append(leaf)
                self.twin.append(leaf)

    @precondition(lambda self: not self.full())
    @rule(
        count=st.integers(1, 200) | st.sampled_from([4095, 4096, 4097, 5000]),
        with_root=st.booleans(),
        given=st.sampled_from([bytes, bytearray, memoryview]),
    )
    def add_a_batch(self, count: int, with_root: bool, given: Any) -> None:
        row = self.numbers.randbytes(32 * count)
        if with_root:
            assert self.tree.insert_many(given(row)) == self.twin.insert_many(row)
        else:
            self.tree.extend(given(row))
            self.twin.extend(row)

    @rule()
    def read_at_some_size(self) -> None:
        size = self.numbers.randint(0, self.twin.size)
        indices = [self.numbers.randrange(size) for _ in range(min(5, size))]
        check_size(self.tree, self.twin, size, indices)

    @rule()
    def view_a_part_of_some_level(self) -> None:
        level = self.numbers.randint(0, depth(self.twin.size, self.n))
        stop = self.numbers.randint(0, complete_count(self.twin.size, self.n, level))
        start = self.numbers.randint(0, stop)
        views = self.tree.views(level, start, stop)
        assert b"".join(views) == b"".join(self.twin.views(level, start, stop))
        if level == 0:
            self.held = [*self.held[-3:], (start, stop, views)]

    @rule()
    def install_whole_segments_again(self) -> None:
        level = self.numbers.randint(0, depth(self.twin.size, self.n))
        count = complete_count(self.twin.size, self.n, level)
        number = self.numbers.randint(0, count // self.segment)
        start = number * self.segment
        stop = self.numbers.choice([count, count - count % self.segment])
        if start < stop:
            nodes = b"".join(self.twin.views(level, start, stop))
            self.tree.install(level, start, memoryview(nodes))

    @rule()
    def open_it_again(self) -> None:
        size, nodes = self.twin.size, all_nodes(self.twin, self.twin.size)
        self.tree = native_tree(_native, self.n, tagged=self.tagged, **self.shape)  # type: ignore[arg-type]
        if size:
            installed(self.tree, nodes, size)

    @invariant()
    def the_root_is_the_twins(self) -> None:
        if hasattr(self, "tree") and self.numbers.random() < 0.3:
            assert self.tree.size == self.twin.size
            assert self.tree.root(self.tree.size) == self.twin.root(self.twin.size)

    def teardown(self) -> None:
        """All nodes are equal, and what was viewed is what it was."""
        if hasattr(self, "tree"):
            check(self.tree, self.twin, self.numbers, most=4)
            for start, stop, views in self.held:
                assert b"".join(views) == b"".join(self.twin.views(0, start, stop))


def test_any_history_is_that_of_the_twin() -> None:
    """150 histories of up to 25 calls: any shape, up to 17,000 leaves and more."""
    quiet = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    run_state_machine_as_test(
        NativeMachine,
        settings=settings(max_examples=150, stateful_step_count=25, suppress_health_check=quiet),
    )
