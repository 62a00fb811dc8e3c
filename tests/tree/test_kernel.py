"""The kernel in use: which one it is, that all make the same nodes, what a tree makes of it."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from blake3 import blake3

import rotortree_model as model
from rotortree import (
    Blake3Hasher,
    Blake3PlainHasher,
    CustomHasher,
    Hasher,
    InvalidConfigError,
    LeanIMT,
    Sha256Hasher,
    kernel,
)
from rotortree.kernel import _portable
from tests.tree.hazards import interrupted
from tests.tree.support import make_leaves

ROOT = Path(__file__).resolve().parents[2]
BUILT = "rotortree.kernel._native" in sys.modules
"""Whether the native kernel was built; `rotortree.kernel` imports it, whether it is used or not."""

KERNELS = pytest.mark.parametrize("which", [kernel, _portable], ids=lambda which: str(which.NAME))
"""The kernel in use and the portable one, which may be the same."""


def digest(scheme: str, children: bytes) -> bytes:
    """The parent of one group, written down once more."""
    tag = bytes((1, len(children) // 32))
    if scheme == "blake3":
        return blake3(tag + children).digest()
    if scheme == "blake3-plain":
        return blake3(children).digest()
    return hashlib.sha256(tag + children).digest()


HASHERS: tuple[Hasher, ...] = (
    Blake3Hasher(),
    Blake3PlainHasher(),
    Sha256Hasher(),
    CustomHasher("custom", lambda children: digest("sha256", b"".join(children))),
)


@cache
def children_of(k: int) -> bytes:
    """35 groups of k children."""
    return random.Random(k).randbytes(32 * k * 35)


@KERNELS
@pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: str(hasher.name))
def test_parents_are_those_of_the_scheme(which: ModuleType, hasher: Hasher) -> None:
    """Groups of 2 to 255 children, one or many."""
    for k in range(2, 256):
        row = children_of(k)
        expected = b"".join(
            digest(hasher.name, row[at : at + 32 * k]) for at in range(0, len(row), 32 * k)
        )
        for count in (0, 1, 2, 17, 35):
            children, parents = row[: 32 * k * count], expected[: 32 * count]
            assert which.hash_groups(hasher, children, k) == parents
            assert which.hash_groups(hasher, memoryview(bytearray(children)), k) == parents
        assert which.hash_group(hasher, row[: 32 * k]) == expected[:32]


@KERNELS
@pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: str(hasher.name))
def test_wrong_arguments_raise(which: ModuleType, hasher: Hasher) -> None:
    """The same types of errors for either kernel and every scheme."""
    for length, k in ((256, 3), (255, 2), (256, 1), (256, 0), (256, -2), (256 * 32, 256)):
        with pytest.raises(ValueError, match="children"):
            which.hash_groups(hasher, bytes(length), k)
    with pytest.raises(TypeError):
        which.hash_groups(hasher, "0" * 256, 2)


class Reversed(Blake3Hasher):
    """A subclass that hashes otherwise, and so has another name."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "reversed"

    def parent(self, children: bytes) -> bytes:
        """Not that of the scheme."""
        return super().parent(children)[::-1]

    def parents(self, children: bytes, k: int) -> bytes:
        """See `parent`."""
        step = 32 * k
        return b"".join(self.parent(children[i : i + step]) for i in range(0, len(children), step))


def test_a_subclass_of_a_built_in_scheme_is_asked_itself() -> None:
    """The native kernel is for the built-in schemes and for nothing that looks like them."""
    leaves = make_leaves(33)
    tree = LeanIMT(3, hasher=Reversed())
    root = tree.insert_many(leaves)

    def parent(group: Sequence[bytes]) -> bytes:
        return digest("blake3", b"".join(group))[::-1]

    assert root == model.root(tuple(leaves), 3, parent)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16, 31, 32, 33, 255])
def test_trees_across_segments_are_those_of_the_package(n: int) -> None:
    """200,000 leaves in batches of all sizes: every level, against parents by the package."""
    leaves = random.Random(n).randbytes(32 * 200_000)
    tree = LeanIMT(n)
    at = 0
    for count in (1, n, 65_535, 2, 70_001, 64_459 - n, 2):
        tree.extend(leaves[32 * at : 32 * (at + count)])
        at += count
    assert at == tree.size == 200_000
    snapshot, row, level = tree.snapshot(), leaves, 0
    while len(row) > 32:
        count = len(row) // (32 * n)
        rest = row[32 * n * count :]
        row = b"".join(
            digest("blake3", row[i : i + 32 * n]) for i in range(0, 32 * n * count, 32 * n)
        ) + (digest("blake3", rest) if len(rest) > 32 else rest)
        level += 1
        assert [snapshot.get_node(level, i) for i in range(len(row) // 32)] == [
            row[i : i + 32] for i in range(0, len(row), 32)
        ]
    assert (level, row) == (snapshot.depth, snapshot.root)


def test_an_interrupted_insertion_changes_all_or_nothing() -> None:
    """A signal handler that raises at any moment of it, and then the same insertion once more.

    What comes when all is done ends no insertion any more, but the code behind it.
    """
    leaves = random.Random(0).randbytes(32 * 300_000)
    few, many, expected = leaves[:320], leaves[320:], LeanIMT(2).insert_many(leaves)
    before = LeanIMT(2).insert_many(few)
    stopped = 0
    for step in range(20):
        tree = LeanIMT(2)
        tree.extend(few)
        alarmed = interrupted(0.0002 + 0.0005 * step, lambda tree=tree: tree.extend(many))  # type: ignore[misc]
        if alarmed and tree.size == 10:
            stopped += 1
            assert tree.root == before
            tree.extend(many)
        assert tree.root == expected
    assert stopped > 0


def last_line(environment: Iterable[tuple[str, str]], code: str) -> str:
    """What code prints last in a fresh interpreter, or the last line of its error."""
    variables = {name: value for name, value in os.environ.items() if "ROTORTREE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables | dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else done.stderr).splitlines()[-1]


def name_in(environment: Iterable[tuple[str, str]], before: str = "") -> str:
    """The name of the kernel that is chosen there, or the error."""
    return last_line(environment, f"{before}\nfrom rotortree import kernel\nprint(kernel.NAME)")


ABSENT = "import sys; sys.modules['rotortree.kernel._native'] = None"


def stub(version: int, *lanes: int) -> str:
    """Code that puts a native kernel of that version into place, on a machine of those lanes."""
    return (
        "import sys, types\n"
        "name = 'rotortree.kernel._native'\n"
        "stub = sys.modules[name] = types.ModuleType(name)\n"
        f"stub.VERSION = {version}\n"
        f"stub.machine_has = {lanes!r}.__contains__\n"
        "stub.Encoded = type('Encoded', (), {'__slots__': ('_encoded',)})\n"
        "stub.leads_to = None\n"
    )


def test_the_best_lanes_are_chosen() -> None:
    """As many as the machine has."""
    for lanes in ((4,), (4, 8), (4, 8, 16), (4, 16)):
        found = name_in([], stub(kernel.NATIVE_VERSION, *lanes))
        assert found == f"native, {max(lanes)} lanes"


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_environment_chooses_lanes(lanes: int) -> None:
    """Those and no others, even if the machine has more."""
    found = name_in([("ROTORTREE_NATIVE", str(lanes))], stub(kernel.NATIVE_VERSION, 4, 8, 16))
    assert found == f"native, {lanes} lanes"


@pytest.mark.parametrize(
    "wanted", ["16", "1", "2", "0", "32", " 4", "4 ", "04", "on", "OFF", "avx2"]
)
def test_lanes_that_the_machine_has_not_are_an_import_error(wanted: str) -> None:
    """And so is whatever is no number of lanes; the message says what there is."""
    found = name_in([("ROTORTREE_NATIVE", wanted)], stub(kernel.NATIVE_VERSION, 4, 8))
    assert found == (
        f"ImportError: ROTORTREE_NATIVE is {wanted!r}: on this machine it must be off or 8, 4"
    )


def test_the_kernel_can_be_switched_off() -> None:
    """Also where it is required: who switches it off knows."""
    for required in ("", "0", "1"):
        environment = [("ROTORTREE_NATIVE", "off"), ("ROTORTREE_REQUIRE_NATIVE", required)]
        for before in ("", ABSENT, stub(kernel.NATIVE_VERSION, 4)):
            assert name_in(environment, before) == "portable"


def test_without_the_native_kernel_the_portable_one_is_used() -> None:
    """Unless it is required, or lanes of it are asked for."""
    assert name_in([], ABSENT) == "portable"
    assert name_in([("ROTORTREE_REQUIRE_NATIVE", "0"), ("ROTORTREE_NATIVE", "")], ABSENT) == (
        "portable"
    )
    for variable in (("ROTORTREE_REQUIRE_NATIVE", "1"), ("ROTORTREE_NATIVE", "4")):
        assert name_in([variable], ABSENT) == (
            "ImportError: the native kernel, which the environment asks for, was not built"
        )


def test_a_stale_kernel_is_an_import_error() -> None:
    """Whoever changed it, or this module, must build it again."""
    for version in (kernel.NATIVE_VERSION - 1 or 99, kernel.NATIVE_VERSION + 1):
        assert name_in([], stub(version, 4)) == (
            f"ImportError: the native kernel is of version {version}, not {kernel.NATIVE_VERSION}:"
            " reinstall rotortree, so that it is built again"
        )


def test_a_broken_kernel_is_an_import_error() -> None:
    """A library that cannot be loaded is not one that was not built."""
    before = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rotortree.kernel._native':\n"
        "            raise ImportError('undefined symbol')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    assert name_in([], before) == "ImportError: undefined symbol"


@pytest.mark.skipif(not BUILT, reason="the native kernel was not built")
def test_the_built_kernel_can_be_chosen() -> None:
    """With every number of lanes that this machine has: the most of them without being asked."""
    names = [name_in([("ROTORTREE_NATIVE", str(lanes))]) for lanes in (4, 8, 16)]
    found = [name for name in names if "ImportError" not in name]
    assert found == [f"native, {lanes} lanes" for lanes in (4, 8, 16)][: len(found)]
    assert found
    assert name_in([]) == found[-1]
    if platform.machine() not in ("x86_64", "AMD64"):
        assert found == ["native, 4 lanes"]


@pytest.mark.skipif(not BUILT, reason="the native kernel was not built")
def test_hashing_agrees_whichever_lanes_are_chosen() -> None:
    """One root, by every kernel that this machine has."""
    code = (
        "from rotortree import LeanIMT\n"
        "row = b''.join(i.to_bytes(32, 'big') for i in range(5000))\n"
        "print(*[LeanIMT(n).insert_many(row).hex() for n in (2, 3, 4, 5, 8, 16, 31, 32)])\n"
    )
    wanted = ("off", "4", "8", "16", "")
    found = [last_line([("ROTORTREE_NATIVE", value)], code) for value in wanted]
    assert len({line for line in found if "ImportError" not in line}) == 1
    assert "ImportError" not in found[0] + found[1] + found[-1]


@pytest.mark.evidence("example", "TREE-19")
def test_a_hasher_of_wrong_results_is_named() -> None:
    """Whichever kernel: its parents must be 32 bytes."""
    bad = CustomHasher("bad", lambda children: bytes(31))
    for which in (kernel, _portable):
        with pytest.raises(InvalidConfigError):
            which.hash_group(bad, bytes(64))
        with pytest.raises(InvalidConfigError):
            which.hash_groups(bad, bytes(128), 2)
