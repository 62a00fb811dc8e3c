"""Every damaged, missing or additional byte: the same tree, or an error that names the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rotortree import DataCorruptionError, RotorTree, UnsupportedFormatError
from tests.storage.disk import Disk
from tests.storage.trees import (
    PATH,
    abandon,
    check_tree,
    head,
    leaf,
    leaves,
    leaves_of,
    model_root,
    open_tree,
)

TYPED = (DataCorruptionError, UnsupportedFormatError)
"""What opening a damaged directory may raise.  Both have the attribute ``path``."""

CHECKPOINT = {2: 9, 3: 14}
"""Leaves in the level files, which are in several shards; the last is not in a complete group."""

FLUSHES = (1, 2, 5)
"""Leaves in each flush behind the checkpoint; the last is a batch of two frames."""


class Kind(NamedTuple):
    """A way to damage a file: from its bytes to what is there instead, None for nothing."""

    name: str
    outcomes: Callable[[bytes], Iterator[bytes | None]]
    takes_away: bool = False


def _flips(mask: int) -> Callable[[bytes], Iterator[bytes | None]]:
    def outcomes(data: bytes) -> Iterator[bytes | None]:
        for at in range(len(data)):
            yield data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]

    return outcomes


def _cuts(data: bytes) -> Iterator[bytes | None]:
    yield None
    for length in range(len(data)):
        yield data[:length]


def _zeros(data: bytes) -> Iterator[bytes | None]:
    for at in range(0, len(data), 32):
        yield data[:at] + bytes(len(data[at : at + 32])) + data[at + 32 :]


def _appendices(data: bytes) -> Iterator[bytes | None]:
    for more in (b"\0", b"\xff", bytes(31), b"RtFr" * 8, b"RtFr" * 80, bytes(5000), data):
        yield data + more


KINDS = (
    Kind("every byte xor 0x01", _flips(0x01)),
    Kind("every byte xor 0xff", _flips(0xFF)),
    Kind("every length, and no file", _cuts, takes_away=True),
    Kind("every 32 bytes zeroed", _zeros),
    Kind("bytes appended", _appendices),
)


def build(n: int, *, record: bool = False) -> tuple[RotorTree, Disk, list[int]]:
    """An open tree with several shards per level, and its size after each flush."""
    disk = Disk()
    tree = open_tree(disk, n, record_acknowledgements=record)
    tree.insert_many(leaves(0, CHECKPOINT[n]))
    tree.checkpoint()
    sizes = [tree.size]
    for count in FLUSHES:
        tree.insert_many(leaves(tree.size, tree.size + count))
        tree.flush()
        sizes.append(tree.size)
    return tree, disk, sizes


def closed_files(n: int) -> tuple[dict[str, bytes], int]:
    """The files of a closed tree with a checkpoint and a log, and its size."""
    tree, disk, sizes = build(n)
    tree.close()
    return disk.files(), sizes[-1]


def unclosed_files(n: int, *, record: bool) -> tuple[dict[str, bytes], list[int]]:
    """The files of a tree whose process was killed, and its size after each flush."""
    tree, disk, sizes = build(n, record=record)
    abandon(tree)
    return disk.after_crash().files(), sizes


def damaged(
    files: dict[str, bytes], kind: Kind, part: str = ""
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """For every file (with ``part`` in its path) and every outcome: the file, and all files."""
    for path, data in files.items():
        if part not in path:
            continue
        for outcome in kind.outcomes(data):
            others = {name: bytes_ for name, bytes_ in files.items() if name != path}
            if outcome != data:
                yield path, others if outcome is None else {**others, path: outcome}


def check_quickly(tree: RotorTree, n: int, size: int) -> None:
    """Leaves and root; proofs are a matter of `check_tree`."""
    assert tree.size == size
    assert leaves_of(tree) == leaves(0, size)
    assert tree.root == model_root(size, n)


def check_refusal(error: DataCorruptionError | UnsupportedFormatError, disk: Disk) -> None:
    """It names a file (or a directory) of this tree and an offset in the file."""
    assert error.path.startswith(f"{PATH}/")
    if isinstance(error, DataCorruptionError):
        assert 0 <= error.offset <= len(disk.files().get(error.path, b""))
        assert error.path in str(error)


def open_damaged(disk: Disk, n: int, sizes: set[int]) -> str:
    """Open, check, go on, reopen; or be refused, with nothing changed."""
    before = disk.files()
    try:
        tree = open_tree(disk)
    except TYPED as error:
        assert before == {path: data for path, data in disk.files().items() if path in before}
        check_refusal(error, disk)
        return "refused"
    with tree:
        size = tree.size
        assert size in sizes
        check_quickly(tree, n, size)
        tree.insert(leaf(size))
    with open_tree(disk, read_only=True) as tree:
        assert tree.recovery.clean
        check_quickly(tree, n, size + 1)
    return "same" if size == max(sizes) else "shorter"


def read_damaged(disk: Disk, n: int, size: int) -> str:
    """The same, read-only: nothing changes either way."""
    before = disk.files()
    try:
        tree = open_tree(disk, read_only=True)
    except TYPED as error:
        check_refusal(error, disk)
        return "refused"
    finally:
        assert disk.files() == before
    with tree:
        check_quickly(tree, n, size)
    assert disk.files() == before
    return "same"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
@pytest.mark.parametrize("n", [2, 3])
def test_damage_to_a_closed_tree_is_harmless_or_reported(n: int, kind: Kind) -> None:
    """Any one damage anywhere: the same leaves and root, and it goes on; or a typed error.

    Exhaustive for this tree: 17 or 22 leaves, checkpoint and log, two or three shards per level, a
    flush of two frames; every file; the kinds above.  A refused open changes no file.
    """
    files, size = closed_files(n)
    outcomes = Counter[str]()
    for _, others in damaged(files, kind):
        outcomes[open_damaged(Disk(others), n, {size})] += 1
    assert set(outcomes) == {"same", "refused"} - ({"refused"} if "append" in kind.name else set())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_reading_a_damaged_tree_is_harmless_or_reported(kind: Kind) -> None:
    """As above for a read-only open, n = 3: it changes no byte and needs no second chance."""
    files, size = closed_files(3)
    outcomes = Counter(read_damaged(Disk(others), 3, size) for _, others in damaged(files, kind))
    assert set(outcomes) == {"same", "refused"} - ({"refused"} if "append" in kind.name else set())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_damage_to_an_unclosed_tree_costs_at_most_the_last_flush(kind: Kind) -> None:
    """Any one damage after the process was killed: at most the last flush is missing, or refused.

    Where bytes are taken away, a suffix of the flushes behind the checkpoint may be missing: no
    record of them is left.  Never a batch in part, never another leaf.  n = 2, every file.
    """
    files, sizes = unclosed_files(2, record=False)
    legal = set(sizes) if kind.takes_away else set(sizes[-2:])
    outcomes = Counter(open_damaged(Disk(others), 2, legal) for _, others in damaged(files, kind))
    assert outcomes["same"]
    assert outcomes["shorter"] or kind.name == "bytes appended"
    assert outcomes["refused"] or kind.name == "bytes appended"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_recorded_acknowledgements_close_the_gap(kind: Kind) -> None:
    """With record_acknowledgements, an unclosed tree promises what a closed one does.

    n = 3; COMMIT and the log, since the level files are as those of a closed tree.
    """
    files, sizes = unclosed_files(3, record=True)
    legal = {sizes[-1]}
    outcomes = Counter[str]()
    for part in ("COMMIT", "/wal/"):
        for _, others in damaged(files, kind, part):
            outcomes[open_damaged(Disk(others), 3, legal)] += 1
    assert outcomes["same"]
    assert outcomes["refused"] or kind.name == "bytes appended"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_without_verification_the_root_is_still_right(kind: Kind) -> None:
    """verify_checkpoint=False: the root and every leaf of the log are right, or a typed error.

    Weaker than with it: what lies in the level files below the nodes that the root is folded from,
    leaves and inner nodes alike, is believed.  A damaged one shows when a proof does not verify.
    """
    files, size = closed_files(2)
    outcomes = Counter[str]()
    for path, others in damaged(files, kind):
        disk = Disk(others)
        try:
            tree = open_tree(disk, verify_checkpoint=False)
        except TYPED as error:
            check_refusal(error, disk)
            outcomes["refused"] += 1
            continue
        with tree:
            assert (tree.size, tree.root) == (size, model_root(size, 2))
            assert leaves_of(tree)[CHECKPOINT[2] :] == leaves(CHECKPOINT[2], size)
            tree.insert(leaf(size))
            assert tree.root == model_root(size + 1, 2)
            outcomes["same"] += 1
        if "/levels/" not in path:
            with open_tree(disk, read_only=True) as tree:
                check_quickly(tree, 2, size + 1)
    assert outcomes["same"]


def test_files_of_the_operating_system_are_read_without_a_signal(tmp_path: Path) -> None:
    """Every length of every file of a closed tree (n = 2), mapped for real: no SIGBUS.

    Read-only, so that nothing is synced 2,000 times.
    """
    files, size = closed_files(2)
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    outcomes = Counter[str]()
    for path, data in files.items():
        for length in reversed(range(len(data))):
            with (tmp_path / path).open("r+b") as file:
                file.truncate(length)
            try:
                tree = RotorTree.open(tmp_path / PATH, read_only=True)
            except TYPED as error:
                outcomes["refused" if str(tmp_path) in error.path else "nameless"] += 1
            else:
                with tree:
                    check_quickly(tree, 2, size)
                outcomes["same"] += 1
        (tmp_path / path).write_bytes(data)
    assert set(outcomes) == {"same", "refused"}
    with RotorTree.open(tmp_path / PATH, read_only=True) as tree:
        check_tree(tree, 2, size)
        assert tree.head == head(size, 2)
