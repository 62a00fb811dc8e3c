"""Hash schemes: named, checked, and harmless to the tree when they fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import rotortree_model as model
from rotortree import (
    Blake3Hasher,
    Blake3PlainHasher,
    BulkHasher,
    ConfigMismatchError,
    CustomHasher,
    FlushFailedError,
    FlushPolicy,
    Hasher,
    InvalidConfigError,
    InvalidProofError,
    LeanIMT,
    ReentrantError,
    RotorTree,
    Sha256Hasher,
    TreeHead,
    verify_consistency,
    verify_inclusion,
    verify_inclusion_many,
)
from tests.tree.support import make_leaves


def double_sha256(children: Sequence[bytes]) -> bytes:
    """A scheme of the tests' own."""
    return hashlib.sha256(hashlib.sha256(b"".join(children)).digest()).digest()


@cache
def own_root(n: int, size: int) -> bytes | None:
    """The root of the first ``size`` of our leaves under it, by the model."""
    return model.root(tuple(make_leaves(size)), n, double_sha256)


class Fragile:
    """The scheme above, which misbehaves after a number of calls if it is told to."""

    def __init__(self, misbehave: Callable[[], Any]) -> None:
        self.misbehave = misbehave
        self.left: int | None = None

    def __call__(self, children: Sequence[bytes]) -> bytes:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                result: bytes = self.misbehave()
                return result
        return double_sha256(children)


def out_of_order() -> bytes:
    """Raises what no library raises."""
    raise ZeroDivisionError("the hash is out of order")


MISBEHAVIOURS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "raises": (out_of_order, ZeroDivisionError),
    "31 bytes": (lambda: bytes(31), InvalidConfigError),
    "33 bytes": (lambda: bytes(33), InvalidConfigError),
    "64 bytes": (lambda: bytes(64), InvalidConfigError),
    "nothing": (lambda: b"", InvalidConfigError),
    "None": (lambda: None, InvalidConfigError),
    "text": (lambda: "0" * 32, InvalidConfigError),
    "bytearray": (lambda: bytearray(32), InvalidConfigError),
    "a list": (lambda: [0] * 32, InvalidConfigError),
}

SHAPES = [(n, size, count) for n in (2, 3) for size in (0, 1, 3, 5, 8) for count in (1, 4, 9)]


def check_failures(misbehaviour: str, insert: Callable[[LeanIMT, list[bytes]], object]) -> None:
    """Whichever call misbehaves: the error comes out, nothing changed, and trying again works."""
    misbehave, error = MISBEHAVIOURS[misbehaviour]
    failures = 0
    for n, size, count in SHAPES:
        fragile = Fragile(misbehave)
        tree = LeanIMT(n, hasher=CustomHasher("fragile", fragile))
        if size:
            tree.extend(make_leaves(size))
        more = make_leaves(count, start=size)
        for call in range(100):
            fragile.left = call
            try:
                insert(tree, more)
            except error:
                fragile.left = None
                failures += 1
                assert (tree.size, tree.root) == (size, own_root(n, size)), (n, size, count, call)
            else:
                break
        fragile.left = None
        assert (tree.size, tree.root) == (size + count, own_root(n, size + count))
        for index, leaf in enumerate(make_leaves(size + count)):
            proof = tree.snapshot().prove(index)
            verify_inclusion(tree.head, index, leaf, proof, hasher=tree.hasher)
    assert failures > len(SHAPES)


@pytest.mark.evidence("exhaustive", "TREE-26")
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
def test_a_hasher_that_fails_in_extend_changes_nothing(misbehaviour: str) -> None:
    """Every call of every append of 1, 4, 9 leaves to 0 to 8, n = 2 and 3."""
    check_failures(misbehaviour, lambda tree, leaves: tree.extend(leaves))


@pytest.mark.evidence("exhaustive", "TREE-26")
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
def test_a_hasher_that_fails_in_insert_many_changes_nothing(misbehaviour: str) -> None:
    """The same where the call also computes the root: a call that raises changes nothing."""
    check_failures(misbehaviour, lambda tree, leaves: tree.insert_many(leaves))


@pytest.mark.evidence("exhaustive", "TREE-26", "DURABLE-35")
def test_a_hasher_that_fails_in_insert_changes_nothing(tmp_path: Path) -> None:
    """The smallest case, one leaf after one, whose parent is the root; in memory and on disk."""
    fragile = Fragile(out_of_order)
    hasher = CustomHasher("fragile", fragile)
    with RotorTree.open(tmp_path, n=3, hasher=hasher, flush_policy=FlushPolicy.Manual()) as durable:
        for tree in (LeanIMT(3, hasher=hasher), durable):
            tree.insert(make_leaves(1)[0])
            fragile.left = 0
            with pytest.raises(ZeroDivisionError):
                tree.insert(bytes(32))
            fragile.left = None
            assert (tree.size, tree.root) == (1, own_root(3, 1))
            tree.insert_many(make_leaves(5, start=1))
            assert (tree.size, tree.root) == (6, own_root(3, 6))


def test_a_hasher_that_fails_in_reads_or_in_a_flush_does_no_harm(tmp_path: Path) -> None:
    """Reads raise what it raised, and flushes that leaves stay pending, because of that.

    Afterwards all of them work, and a reopen, too.
    """
    fragile = Fragile(out_of_order)
    hasher = CustomHasher("fragile", fragile)
    policy = FlushPolicy.Manual()
    with RotorTree.open(tmp_path, n=3, hasher=hasher, flush_policy=policy) as tree:
        _ = tree.extend(make_leaves(11))
        snapshot = tree.snapshot()
        fragile.left = 0
        reads: list[Callable[[], object]] = [
            lambda: tree.root,
            lambda: snapshot.head,
            lambda: snapshot.prove(0),
        ]
        for read in reads:
            with pytest.raises(ZeroDivisionError):
                read()
        for write in (tree.flush, tree.checkpoint):
            with pytest.raises(FlushFailedError, match="the hash is out of order") as caught:
                write()
            assert caught.value.retryable
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert (tree.size, tree.durable_size, tree.checkpoint_size) == (11, 0, 0)
        fragile.left = None
        assert snapshot.root == tree.root == own_root(3, 11)
        tree.flush()
        assert tree.durable_size == 11
        tree.checkpoint()
        assert tree.checkpoint_size == 11
    with RotorTree.open(tmp_path, hasher=hasher) as tree:
        assert (tree.size, tree.root) == (11, own_root(3, 11))
    with pytest.raises(ConfigMismatchError):
        RotorTree.open(tmp_path)
    with pytest.raises(ConfigMismatchError):
        RotorTree.open(tmp_path, hasher=Sha256Hasher())


def test_a_hasher_that_inserts_gets_an_error_and_nothing_changes() -> None:
    """As a signal handler or a finalizer does that interrupts an insert of its own thread."""
    within = [True]

    def insert_within(children: Sequence[bytes]) -> bytes:
        calls: tuple[Callable[[], object], ...] = (
            lambda: tree.insert(bytes(32)),
            lambda: tree.insert_many([bytes(32)] * 3),
            lambda: tree.append(bytes(32)),
            lambda: tree.extend(bytes(96)),
        )
        for call in calls if within else ():
            with pytest.raises(ReentrantError, match="interrupted an insert of the same thread"):
                call()
        return hashlib.sha256(b"".join(children)).digest()

    tree = LeanIMT(n=2, hasher=CustomHasher("within", insert_within))
    for leaf in make_leaves(2):
        tree.insert(leaf)
    within.clear()
    assert tree.size == 2
    assert tree.root == hashlib.sha256(b"".join(make_leaves(2))).digest()


class Bulk:
    """The tests' scheme with bulk hashing, which may be told what to return."""

    name = "bulk"

    def __init__(self) -> None:
        self.result: Any = None

    def parent(self, children: bytes) -> bytes:
        """See `Hasher.parent`."""
        return hashlib.sha256(hashlib.sha256(children).digest()).digest()

    def parents(self, children: bytes, k: int) -> bytes:
        """See `BulkHasher.parents`."""
        if self.result is not None:
            result: bytes = self.result(len(children) // k)
            return result
        step = 32 * k
        return b"".join(self.parent(children[i : i + step]) for i in range(0, len(children), step))


def test_a_bulk_hasher_makes_the_same_tree() -> None:
    """Whether a scheme hashes group by group or many at once is not to be seen in any node."""
    for n in (2, 3, 5):
        tree = LeanIMT(n, hasher=Bulk())
        for size in range(1, 60):
            tree.append(make_leaves(1, start=size - 1)[0])
            assert tree.root == own_root(n, size)
        again = LeanIMT(n, hasher=Bulk())
        assert again.insert_many(make_leaves(59)) == own_root(n, 59)


@pytest.mark.evidence("example", "TREE-19", "TREE-26")
@pytest.mark.parametrize(
    "result",
    [
        lambda length: bytes(length - 1),
        lambda length: bytes(length + 32),
        lambda length: b"",
        lambda length: "0" * length,
        lambda length: [0] * length,
        lambda length: 5,
    ],
    ids=["short", "long", "empty", "text", "list", "number"],
)
def test_a_bulk_hasher_that_returns_nonsense_changes_nothing(result: Any) -> None:
    """Wrong lengths and wrong types are InvalidConfigError; the tree goes on afterwards."""
    bulk = Bulk()
    tree = LeanIMT(3, hasher=bulk)
    tree.extend(make_leaves(7))
    bulk.result = result
    with pytest.raises(InvalidConfigError):
        tree.extend(make_leaves(9, start=7))
    bulk.result = None
    assert (tree.size, tree.root) == (7, own_root(3, 7))
    assert tree.insert_many(make_leaves(9, start=7)) == own_root(3, 16)


BAD_NAMES: list[Any] = ["", "x" * 33, "two words", "tab\t", "null\0", "ä", "a\n", None, 5, b"name"]


@pytest.mark.evidence("example", "TREE-14", "TREE-18")
@pytest.mark.parametrize("name", [*BAD_NAMES, "blake3", "blake3-plain", "sha256"], ids=repr)
def test_a_scheme_has_a_name_of_its_own_that_can_be_stored(name: Any) -> None:
    """1 to 32 printable ASCII characters without space, and not that of a built-in scheme."""
    with pytest.raises(InvalidConfigError):
        CustomHasher(name, double_sha256)


@pytest.mark.evidence("example", "TREE-14", "TREE-18")
@pytest.mark.parametrize("scheme", [Blake3Hasher, Blake3PlainHasher, Sha256Hasher])
def test_the_name_of_a_built_in_scheme_is_that_of_its_class_alone(
    scheme: Any, tmp_path: Path
) -> None:
    """Whatever else calls itself so makes no tree, in memory or on disk, and verifies nothing."""
    tree = LeanIMT(2, hasher=scheme())
    tree.extend(make_leaves(3))
    head, proof, leaf = tree.head, tree.snapshot().prove(1), make_leaves(2)[1]
    other = Blake3Hasher() if head.scheme == "sha256" else Sha256Hasher()
    impostors: list[Any] = [Bulk(), type("Derived", (scheme,), {})(), other]
    for impostor in impostors:
        impostor.name = head.scheme
        with pytest.raises(InvalidConfigError, match="built-in"):
            LeanIMT(hasher=impostor)
        with pytest.raises(InvalidConfigError, match="built-in"):
            RotorTree.open(tmp_path / "tree", hasher=impostor)
        with pytest.raises(InvalidConfigError, match="built-in"):
            verify_inclusion(head, 1, leaf, proof, hasher=impostor)
    assert list(tmp_path.iterdir()) == []
    verify_inclusion(head, 1, leaf, proof, hasher=scheme())


@pytest.mark.evidence("example", "TREE-18")
@pytest.mark.parametrize("name", ["x", "~" * 32, "!", "Poseidon2/bn254"])
def test_a_printable_name_is_a_name(name: str) -> None:
    """It is the head's scheme."""
    assert LeanIMT(hasher=CustomHasher(name, double_sha256)).head.scheme == name


@pytest.mark.parametrize(
    "hasher", ["blake3", 5, Ellipsis, Blake3Hasher, CustomHasher, hashlib.sha256], ids=repr
)
def test_what_is_no_hasher_makes_no_tree(hasher: Any) -> None:
    """Names, numbers, classes and functions are InvalidConfigError."""
    with pytest.raises(InvalidConfigError) as caught:
        LeanIMT(hasher=hasher)
    assert caught.value.parameter == "hasher"


@pytest.mark.evidence("exhaustive", "TREE-15", "TREE-16", "TREE-17")
@pytest.mark.parametrize("hasher", [Blake3Hasher(), Blake3PlainHasher(), Sha256Hasher()], ids=repr)
def test_bulk_and_single_hashing_agree(hasher: BulkHasher) -> None:
    """Built-in schemes, groups of 2 to 255 children, against the model's parent."""
    parent = model.SCHEMES[hasher.name]
    for k in (2, 3, 4, 5, 16, 254, 255):
        rows = [make_leaves(k, start=k * i) for i in range(4)]
        single = [hasher.parent(b"".join(row)) for row in rows]
        assert single == [parent(tuple(row)) for row in rows]
        assert hasher.parents(b"".join(b"".join(row) for row in rows), k) == b"".join(single)


def no_element() -> bytes:
    """Raises what a hash function does that refuses a value."""
    raise ValueError("no element of the field")


@pytest.mark.evidence("example", "TREE-19", "PROOF-5")
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(
    ("misbehave", "error"), [(lambda: bytes(31), InvalidConfigError), (no_element, ValueError)]
)
def test_nonsense_of_a_hasher_is_no_fault_of_the_proof(
    n: int, misbehave: Callable[[], Any], error: type[Exception]
) -> None:
    """A true proof under a function that returns 31 bytes, or raises: its error, as it is."""
    fragile = Fragile(misbehave)
    hasher = CustomHasher("own", fragile)
    tree = LeanIMT(n, hasher=hasher)
    tree.extend(make_leaves(7))
    snapshot, leaf = tree.snapshot(), bytes(32)
    proof, extension = snapshot.prove(0), snapshot.prove_consistency(3)
    head, old = tree.head, tree.snapshot(3).head
    fragile.left = 0
    calls: list[Callable[[], None]] = [
        lambda: verify_inclusion(head, 0, leaf, proof, hasher=hasher),
        lambda: verify_inclusion_many(head, [0], [leaf], [proof], hasher=hasher),
        lambda: verify_consistency(old, head, extension, hasher=hasher),
    ]
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is error
    for index in (2, 7, -1):
        with pytest.raises(InvalidProofError, match=r"index is -1|the proof is of leaf 0"):
            verify_inclusion(head, index, leaf, proof, hasher=hasher)


@pytest.mark.evidence("example", "PROOF-4")
def test_a_head_of_a_scheme_of_ones_own_needs_its_hasher() -> None:
    """InvalidConfigError without it, InvalidProofError with that of another scheme."""
    hasher: Hasher = CustomHasher("own", double_sha256)
    tree = LeanIMT(2, hasher=hasher)
    tree.extend(make_leaves(3))
    old, proof = tree.head, tree.snapshot().prove(1)
    tree.extend(make_leaves(4, start=3))
    extension, leaf = tree.snapshot().prove_consistency(3), make_leaves(2)[1]
    verify_inclusion(old, 1, leaf, proof, hasher=hasher)
    verify_consistency(old, tree.head, extension, hasher=hasher)
    updated = extension.update(proof, leaf, old, tree.head, hasher=hasher)
    assert updated == tree.snapshot().prove(1)
    for wrong, error in ((None, InvalidConfigError), (Sha256Hasher(), InvalidProofError)):
        with pytest.raises(error):
            verify_inclusion(old, 1, leaf, proof, hasher=wrong)
        with pytest.raises(error):
            verify_consistency(old, tree.head, extension, hasher=wrong)
        with pytest.raises(error):
            extension.update(proof, leaf, old, tree.head, hasher=wrong)


@pytest.mark.evidence("example", "TREE-34", "PROOF-29")
@pytest.mark.parametrize("scheme", ["", "two words", "x" * 33, "\ud800", "ä", "null\0"])
def test_any_string_is_the_scheme_of_a_head(scheme: str) -> None:
    """It is written and read; if it is no scheme's name, nothing verifies against the head."""
    tree = LeanIMT(2)
    tree.extend(make_leaves(5))
    head, old = (TreeHead(size, tree.root_at(size), 2, scheme) for size in (5, 0))
    assert TreeHead.from_json(head.to_json()) == head
    own = Bulk()
    own.name = scheme
    proof, extension = tree.snapshot().prove(0), tree.snapshot().prove_consistency(0)
    verify_inclusion(tree.head, 0, bytes(32), proof)
    for hasher in (None, own):
        with pytest.raises(InvalidConfigError):
            verify_inclusion(head, 0, bytes(32), proof, hasher=hasher)
        with pytest.raises(InvalidConfigError):
            verify_consistency(old, head, extension, hasher=hasher)
