"""Bad input: the documented error, and a tree that is as it was and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotortree import (
    Blake3Hasher,
    CapacityExceededError,
    CheckpointPolicy,
    CustomHasher,
    EmptyBatchError,
    FlushPolicy,
    IndexOutOfRangeError,
    InvalidConfigError,
    InvalidLeafError,
    LeanIMT,
    MaxDepthExceededError,
    RotorTree,
    RotorTreeConfig,
    TieringConfig,
    verify_inclusion,
)
from rotortree.geometry import MAX_SIZE
from rotortree.tree.accumulator import PortableAccumulator
from tests.storage.interrupting import everywhere
from tests.tree.support import head_of, make_leaves, model_root

LEAVES = make_leaves(7)
DATA = b"".join(LEAVES)

Tree = LeanIMT | RotorTree


@pytest.fixture(params=["LeanIMT", "RotorTree"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    """A tree of seven leaves, n = 2, max_depth = 4, in memory and on disk."""
    if request.param == "LeanIMT":
        made: Tree = LeanIMT(2, 4)
        made.extend(DATA)
        yield made
        return
    policy = FlushPolicy.Manual()
    with RotorTree.open(tmp_path / "tree", n=2, max_depth=4, flush_policy=policy) as durable:
        _ = durable.extend(DATA)
        yield durable


def refuse(
    tree: Tree, error: type[BaseException], call: Callable[..., object], *arguments: object
) -> Any:
    """The call raises exactly this error; nothing changed, and the tree is still of use."""
    before = tree.size, tree.root, tree.head
    with pytest.raises(error) as caught:
        call(*arguments)
    assert type(caught.value) is error
    assert (tree.size, tree.root, tree.head) == before
    verify_inclusion(tree.head, 3, LEAVES[3], tree.snapshot().prove(3))
    return caught.value


def one_leaf_methods(tree: Tree) -> list[Callable[[Any], object]]:
    """The methods that take one leaf."""
    methods: list[Callable[[Any], object]] = [tree.insert, tree.append]
    return [*methods, tree.insert_durable] if isinstance(tree, RotorTree) else methods


def batch_methods(tree: Tree) -> list[Callable[[Any], object]]:
    """The methods that take a batch."""
    return [tree.insert_many, tree.extend]


NOT_BUFFERS: list[object] = [None, 0, 32, 1.5, True, "0" * 32, int, ...]

BAD_BUFFERS: dict[str, Callable[[], object]] = {
    "31 bytes": lambda: bytes(31),
    "33 bytes": lambda: bytes(33),
    "1 byte": lambda: b"x",
    "every second byte": lambda: memoryview(bytes(64))[::2],
    "backwards": lambda: memoryview(bytes(32))[::-1],
    "NumPy, every second": lambda: np.zeros(64, np.uint8)[::2],
    "NumPy, a column": lambda: np.zeros((32, 2), np.uint8)[:, 0],
    "NumPy, transposed": lambda: np.zeros((32, 2), np.uint8).T,
    "uint16": lambda: np.zeros(16, np.uint16),
    "uint32": lambda: np.zeros((1, 8), np.uint32),
    "int64": lambda: np.zeros(4, np.int64),
    "float64": lambda: np.zeros(4),
    "objects": lambda: np.zeros(32, object),
    "text": lambda: np.zeros(8, "U1"),
    "records": lambda: np.zeros(4, [("a", np.uint64)]),
    "rows of 16": lambda: np.zeros((2, 16), np.uint8),
    "rows of 64": lambda: np.zeros((1, 64), np.uint8)[:, :33].copy(),
    "columns": lambda: np.zeros((32, 1), np.uint8),
    "rows of 0": lambda: np.zeros((3, 0), np.uint8),
    "3 dimensions": lambda: np.zeros((1, 1, 32), np.uint8),
    "0 dimensions": lambda: np.array(5, np.uint8),
}


@pytest.mark.evidence("example", "TREE-20")
@pytest.mark.parametrize("value", NOT_BUFFERS, ids=repr)
def test_no_buffer_is_no_leaf_and_no_batch(tree: Tree, value: object) -> None:
    """Numbers, text, None, objects: InvalidLeafError, alone and in the middle of a batch."""
    for method in (*one_leaf_methods(tree), *batch_methods(tree)):
        refuse(tree, InvalidLeafError, method, value)
    for method in batch_methods(tree):
        error = refuse(tree, InvalidLeafError, method, [bytes(32), value, bytes(32)])
        assert error.index == 1


@pytest.mark.evidence("example", "TREE-20")
@pytest.mark.parametrize("name", BAD_BUFFERS)
def test_a_buffer_of_another_shape_is_no_leaf(tree: Tree, name: str) -> None:
    """Length, stride, item size and dimensions: InvalidLeafError, and which leaf it was."""
    value = BAD_BUFFERS[name]()
    for method in (*one_leaf_methods(tree), *batch_methods(tree)):
        refuse(tree, InvalidLeafError, method, value)
    for position in (0, 2, 4):
        batch: list[object] = [bytes(32)] * 5
        batch[position] = value
        for kind in (list, tuple, iter):
            for method in batch_methods(tree):
                error = refuse(
                    tree,
                    InvalidLeafError,
                    method,
                    kind(batch),
                )
                assert error.index == position


UNREADABLE: dict[str, Callable[[], object]] = {
    "dates": lambda: np.zeros(4, "M8[s]"),
    "released": lambda: _released(),
}


def _released() -> memoryview:
    view = memoryview(bytes(32))
    view.release()
    return view


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_buffer_that_cannot_be_read_is_no_leaf(tree: Tree, name: str) -> None:
    """Where taking a view raises ValueError, too: InvalidLeafError."""
    value = UNREADABLE[name]()
    for method in (*one_leaf_methods(tree), *batch_methods(tree)):
        refuse(tree, InvalidLeafError, method, value)
    for method in batch_methods(tree):
        error = refuse(tree, InvalidLeafError, method, [bytes(32), value])
        assert error.index == 1


def test_leaves_are_counted_by_bytes_and_not_on_average(tree: Tree) -> None:
    """Two items of together 64 bytes, neither of 32, are not two leaves, whatever their len."""
    wide, none = np.zeros(32, np.uint16), np.zeros((32, 0), np.uint8)
    for batch in ([bytes(31), bytes(33)], [bytes(64), b""], [b"", bytes(64)], [wide, none]):
        for method in batch_methods(tree):
            error = refuse(tree, InvalidLeafError, method, batch)
            assert error.index == 0


@pytest.mark.evidence("example", "TREE-21")
def test_an_empty_batch_is_refused(tree: Tree) -> None:
    """EmptyBatchError for every kind of nothing."""
    nothings: list[Callable[[], object]] = [
        *(bytes, bytearray, list, tuple, lambda: memoryview(b""), lambda: iter(())),
        *(lambda: np.zeros((0, 32), np.uint8), lambda: np.zeros(0, np.uint8)),
        *(lambda: np.zeros((0, 7), np.uint8), lambda: filter(None, [])),
    ]
    for nothing in nothings:
        for method in batch_methods(tree):
            refuse(tree, EmptyBatchError, method, nothing())
    for method in one_leaf_methods(tree):
        refuse(tree, InvalidLeafError, method, b"")


@pytest.mark.evidence("example", "TREE-21")
@pytest.mark.parametrize("length", [1, 31, 33, 63, 65, 95])
def test_a_buffer_is_whole_leaves(tree: Tree, length: int) -> None:
    """Any other number of bytes is InvalidLeafError that names the leaf that is cut."""
    for method in batch_methods(tree):
        for buffer in (bytes(length), bytearray(length), np.zeros(length, np.uint8)):
            error = refuse(tree, InvalidLeafError, method, buffer)
            assert error.index == length // 32


def test_what_has_no_order_is_no_batch(tree: Tree) -> None:
    """Sets, mappings and their views of keys are InvalidLeafError; so is text."""
    unordered: list[object] = [
        *(set(LEAVES[:2]), frozenset(LEAVES[:2]), dict.fromkeys(LEAVES[:2])),
        *(dict.fromkeys(LEAVES[:2]).keys(), "", "a" * 64),
    ]
    for value in unordered:
        for method in batch_methods(tree):
            refuse(tree, InvalidLeafError, method, value)


@pytest.mark.evidence("example", "TREE-26")
def test_a_generator_that_raises_changes_nothing(tree: Tree) -> None:
    """Its own error comes out; the leaves that it gave before do not count."""

    def broken() -> Iterator[bytes]:
        yield bytes(32)
        raise KeyError("no more")

    for method in batch_methods(tree):
        refuse(tree, KeyError, method, broken())


@pytest.mark.evidence("exhaustive", "TREE-23", "TREE-26")
@pytest.mark.parametrize("n", [2, 33])
def test_an_interrupt_at_any_moment_inserts_all_or_nothing(n: int) -> None:
    """KeyboardInterrupt, which may come when the leaves are in: the tree goes on from there.

    Of one leaf and of a batch, by the native kernel and, for n = 33, by the portable one.
    """
    for batch in (False, True):
        trees: list[LeanIMT] = []

        def prepare(batch: bool = batch, trees: list[LeanIMT] = trees) -> Callable[[], object]:
            tree = LeanIMT(n)
            tree.extend(DATA[:64])
            trees.append(tree)
            if batch:
                return lambda: tree.insert_many(DATA[64:128])
            return lambda: tree.insert(DATA[64:96])

        sizes = set()
        for _ in everywhere(prepare):
            tree = trees[-1]
            sizes.add(tree.size)
            assert tree.root == model_root(n, tree.size)
            tree.extend(DATA[32 * tree.size :])
            assert tree.root == model_root(n, 7)
        after = 4 if batch else 3
        assert after in sizes <= {2, after}


@pytest.mark.evidence("example", "TREE-23", "TREE-25", "TREE-26")
def test_a_batch_beyond_the_capacity_inserts_nothing(tree: Tree) -> None:
    """MaxDepthExceededError with size, count and capacity; 9 leaves fit, then not even one."""
    for count in (10, 11, 1000):
        for method in batch_methods(tree):
            error = refuse(tree, MaxDepthExceededError, method, bytes(32 * count))
            assert (error.size, error.count, error.capacity) == (7, count, 16)
            assert isinstance(error, CapacityExceededError)
    tree.extend(b"".join(make_leaves(9, start=7)))
    assert (tree.size, tree.root, tree.depth) == (16, model_root(2, 16), 4)
    for method in one_leaf_methods(tree):
        refuse(tree, MaxDepthExceededError, method, bytes(32))
    for method in batch_methods(tree):
        refuse(tree, MaxDepthExceededError, method, bytes(32))


@pytest.mark.evidence("example", "TREE-25")
def test_no_tree_holds_more_than_can_be_counted() -> None:
    """CapacityExceededError, and not of depth, where 2**63 - 1 leaves are the limit."""
    tree = PortableAccumulator(255, 255, Blake3Hasher(), 255)
    tree.size = MAX_SIZE - 1  # nobody has the time
    with pytest.raises(CapacityExceededError) as caught:
        tree.extend(bytes(64))
    assert type(caught.value) is CapacityExceededError
    assert (caught.value.size, caught.value.count) == (MAX_SIZE - 1, 2)
    assert caught.value.capacity == MAX_SIZE


# Indices.

NOT_INTEGERS: list[Any] = [None, 1.0, "1", b"1", True, False, [1], Ellipsis]


def index_reads(tree: Tree) -> list[Callable[[Any], object]]:
    """Every read that takes an index or a size."""
    snapshot = tree.snapshot()
    return [
        *(snapshot.prove, snapshot.prove_consistency, snapshot.leaves),
        *(lambda i: snapshot.get_node(0, i), lambda i: snapshot.get_node(i, 0)),
        *(lambda i: snapshot.prove_many([0, i]), lambda i: snapshot.leaves(0, i)),
        *(tree.root_at, tree.snapshot),
    ]


@pytest.mark.evidence("example", "TREE-28", "TREE-30", "PROOF-9", "PROOF-15")
@pytest.mark.parametrize("value", [-1, -(2**70), 8, 9, 2**63, 2**70])
def test_an_index_out_of_range_is_refused(tree: Tree, value: int) -> None:
    """IndexOutOfRangeError, an IndexError, with the value; negative ones do not count back."""
    for read in index_reads(tree):
        error = refuse(tree, IndexOutOfRangeError, read, value)
        assert error.value == value
        assert error.stop <= 8


@pytest.mark.parametrize("value", [v for v in NOT_INTEGERS if v is not None], ids=repr)
def test_what_is_no_integer_is_no_index(tree: Tree, value: object) -> None:
    """TypeError for numbers of other kinds, text, and booleans, which are no indices either."""
    for read in index_reads(tree):
        refuse(tree, TypeError, read, value)


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
def test_what_is_no_integer_is_no_level(tree: Tree, value: Any) -> None:
    """level_len takes what get_node takes."""
    refuse(tree, TypeError, tree.snapshot().level_len, value)


@pytest.mark.evidence("example", "TREE-30")
def test_a_level_above_the_root_is_empty(tree: Tree) -> None:
    """level_len is 0 there and IndexOutOfRangeError below 0; get_node is out of range."""
    snapshot = tree.snapshot()
    assert [snapshot.level_len(level) for level in (0, 3, 4, 5, 300)] == [7, 1, 0, 0, 0]
    for level in (2**31, 2**63 - 1, 2**63, 2**64, 10**5000, np.uint64(2**64 - 1)):
        assert snapshot.level_len(level) == 0
    for level in (-1, -(2**63), -(2**70)):
        assert refuse(tree, IndexOutOfRangeError, snapshot.level_len, level).value == level
    refuse(tree, IndexOutOfRangeError, snapshot.get_node, 4, 0)
    refuse(tree, IndexOutOfRangeError, snapshot.get_node, 1, 4)


@pytest.mark.evidence("exhaustive", "TREE-31")
def test_ranges_of_leaves_are_half_open_and_checked(tree: Tree) -> None:
    """All 0 <= start <= stop <= 7 are leaves; a start beyond the stop is out of range."""
    snapshot = tree.snapshot()
    for start in range(8):
        assert snapshot.leaves(start) == DATA[32 * start :]
        for stop in range(8):
            if start <= stop:
                assert snapshot.leaves(start, stop) == DATA[32 * start : 32 * stop]
            else:
                refuse(tree, IndexOutOfRangeError, snapshot.leaves, start, stop)


def test_numpy_integers_are_indices(tree: Tree) -> None:
    """What has __index__ is an integer for every read, and the result is the same."""
    snapshot = tree.snapshot()
    kinds: list[Any] = [np.int64, np.uint8]
    for kind in kinds:
        assert snapshot.get_node(kind(1), kind(2)) == snapshot.get_node(1, 2)
        assert snapshot.leaves(kind(1), kind(3)) == snapshot.leaves(1, 3)
        assert tree.root_at(kind(5)) == tree.root_at(5)
        assert tree.snapshot(kind(5)).head == tree.snapshot(5).head
        assert snapshot.prove(kind(5)) == snapshot.prove(5)
        assert snapshot.prove_consistency(kind(5)) == snapshot.prove_consistency(5)


@pytest.mark.evidence("example", "TREE-12")
def test_an_empty_tree_has_no_root_and_no_leaf() -> None:
    """Root None, head of size 0, no node, an empty consistency proof."""
    tree = LeanIMT(3)
    snapshot = tree.snapshot()
    assert (tree.root, tree.size, tree.depth, snapshot.level_len(0)) == (None, 0, 0, 0)
    assert tree.head == head_of(3, 0)
    assert snapshot.leaves() == b""
    assert snapshot.prove_consistency(0).hashes == b""
    for read in (lambda: snapshot.prove(0), lambda: snapshot.get_node(0, 0)):
        with pytest.raises(IndexOutOfRangeError):
            read()


# Parameters.

WRONG_CONFIGS: list[dict[str, Any]] = [
    *({"n": value} for value in (0, 1, -1, 256, 2.0, True, "4", [4])),
    *({"max_depth": value} for value in (0, -1, 256, 1.0, True, "4")),
    *({"hasher": value} for value in ("blake3", 5, Ellipsis, CustomHasher)),
    {"path": None},
    {"path": 5},
    {"path": b"tree"},
    {"flush_policy": FlushPolicy},
    {"flush_policy": FlushPolicy.Manual},
    {"flush_policy": CheckpointPolicy.Manual()},
    {"flush_policy": 0.5},
    {"flush_policy": None},
    {"checkpoint_policy": FlushPolicy.Manual()},
    {"checkpoint_policy": "manual"},
    {"checkpoint_policy": 100},
    {"tiering": 0},
    {"tiering": None},
]


@pytest.mark.parametrize("wrong", WRONG_CONFIGS, ids=repr)
def test_a_config_checks_its_fields(wrong: dict[str, Any], tmp_path: Path) -> None:
    """InvalidConfigError that names the field; nothing is made on disk."""
    with pytest.raises(InvalidConfigError) as caught:
        RotorTreeConfig(**({"path": str(tmp_path / "tree")} | wrong))
    assert caught.value.parameter in {*wrong, "hasher.name"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["verify_checkpoint", "create", "read_only", "record_acknowledgements"]
)
def test_the_switches_of_a_config_are_booleans(name: str) -> None:
    """read_only="no" would be true, and "0", 1 or [] are no better: InvalidConfigError."""
    values: list[Any] = ["no", "", 1, 0.0, None, []]
    for value in values:
        with pytest.raises(InvalidConfigError):
            RotorTreeConfig("tree", **{name: value})


WRONG_POLICIES: list[tuple[Callable[[Any], object], list[Any]]] = [
    (FlushPolicy.Interval, [-1, -0.1, float("nan"), True, "1", None]),
    (CheckpointPolicy.EveryNEntries, [0, -1, 1.0, True, "1", None]),
    (CheckpointPolicy.MemoryThreshold, [0, -1, 1.5, True, "1", None]),
    (TieringConfig, [-1, 0.0, True, False, "0"]),
]


def test_policies_check_their_numbers() -> None:
    """Negative, zero where it means nothing, not a number, booleans, text."""
    for make, values in WRONG_POLICIES:
        for value in values:
            with pytest.raises(InvalidConfigError):
                make(value)


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf")])
def test_an_endless_interval_is_refused_or_waited_for(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InvalidConfigError, or a background thread that does not die of it."""
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    try:
        policy = FlushPolicy.Interval(seconds)
    except InvalidConfigError:
        return
    with RotorTree.open(tmp_path, flush_policy=policy) as tree:
        token = tree.append(bytes(32))
        with pytest.raises(TimeoutError):
            token.wait(0.05)
        tree.flush()
        assert token.is_durable
    assert [str(getattr(error, "exc_value", error)) for error in died] == []
