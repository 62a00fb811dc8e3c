"""Schemes and trees: the roots of the original crate, tiny trees by hand, and laws."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict, cast

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_model import (
    SCHEMES,
    Scheme,
    depth,
    is_complete,
    level_length,
    levels,
    node,
    root,
)

Leaves = tuple[bytes, ...]


class Reference(TypedDict):
    """One root computed by the original crate."""

    n: int
    size: int
    depth: int
    root: str


def load_references() -> list[Reference]:
    """All reference roots; the data file says how their leaves are made."""
    path = Path(__file__).parents[1] / "data" / "reference-roots.json"
    return cast("list[Reference]", json.loads(path.read_text())["roots"])


def make_leaves(size: int) -> Leaves:
    """Leaf i = i as 4 little-endian bytes, zero-padded to 32."""
    return tuple(i.to_bytes(4, "little").ljust(32, b"\0") for i in range(size))


def bottom_up(leaves: Leaves, n: int, parent: Scheme) -> list[Leaves]:
    """All levels, by another algorithm: cut each level into groups of n until one node is left."""
    rows = [leaves]
    while len(rows[-1]) > 1:
        groups = [rows[-1][i : i + n] for i in range(0, len(rows[-1]), n)]
        rows.append(tuple(g[0] if len(g) == 1 else parent(g) for g in groups))
    return rows


def join(*children: bytes) -> bytes:
    """Not a hash: shows on paper which children were joined."""
    return b"(" + b"".join(children) + b")"


def show(children: Leaves) -> bytes:
    """`join` as a scheme."""
    return join(*children)


LEAVES = st.lists(st.binary(min_size=32, max_size=32), max_size=70).map(tuple)
NAMES = st.sampled_from(sorted(SCHEMES))

# --- the original crate


@pytest.mark.evidence("example", "TREE-3", "TREE-9", "TREE-11", "TREE-15")
@pytest.mark.parametrize("reference", load_references(), ids=lambda r: f"n{r['n']}-size{r['size']}")
def test_root_and_depth_are_those_of_the_original_crate(reference: Reference) -> None:
    """All roots and depths that rotortree 0.15.0 (Rust) computed."""
    n, size = reference["n"], reference["size"]
    assert depth(size, n) == reference["depth"]
    computed = root(make_leaves(size), n, SCHEMES["blake3"])
    assert computed is not None
    assert computed.hex() == reference["root"]


def test_the_references_are_all_there() -> None:
    """27 roots: 9 sizes for each of n = 2, 4, 16."""
    references = load_references()
    assert len({(r["n"], r["size"]) for r in references}) == len(references) == 27
    assert {r["n"] for r in references} == {2, 4, 16}


# --- schemes


@pytest.mark.evidence("example", "TREE-15", "TREE-16", "TREE-17")
def test_schemes_hash_these_bytes() -> None:
    """Tag 0x01 and the number of children before the children, or just the children."""
    two = (b"a" * 32, b"b" * 32)
    tagged = b"\x01\x02" + b"a" * 32 + b"b" * 32
    assert SCHEMES["blake3"](two) == blake3.blake3(tagged).digest()
    assert SCHEMES["blake3-plain"](two) == blake3.blake3(tagged[2:]).digest()
    assert SCHEMES["sha256"](two) == hashlib.sha256(tagged).digest()
    most = (b"c" * 32,) * 255
    assert SCHEMES["sha256"](most) == hashlib.sha256(b"\x01\xff" + b"c" * 8160).digest()


@pytest.mark.evidence("example", "TREE-14")
def test_schemes_are_named_and_read_only() -> None:
    """Exactly three, and nobody can add one."""
    assert set(SCHEMES) == {"blake3", "blake3-plain", "sha256"}
    with pytest.raises(TypeError):
        SCHEMES["mine"] = show  # type: ignore[index]


# --- trees by hand


@pytest.mark.evidence("example", "TREE-12")
def test_empty_tree_has_no_root_and_no_levels() -> None:
    """None and (), for every scheme."""
    for parent in SCHEMES.values():
        assert root((), 2, parent) is None
        assert levels((), 2, parent) == ()


@pytest.mark.evidence("example", "TREE-8", "TREE-11")
def test_one_leaf_is_its_own_root() -> None:
    """Stored as given, hashed not even once."""
    for parent in SCHEMES.values():
        assert root((b"x" * 32,), 2, parent) == b"x" * 32
        assert levels((b"x" * 32,), 255, parent) == ((b"x" * 32,),)


@pytest.mark.evidence("example", "TREE-9", "TREE-10", "TREE-11")
@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("ab", 2, "(ab)"),
        ("abc", 2, "((ab)c)"),
        ("abcd", 2, "((ab)(cd))"),
        ("abcde", 2, "(((ab)(cd))e)"),
        ("abcdef", 2, "(((ab)(cd))(ef))"),
        ("abcdefg", 2, "(((ab)(cd))((ef)g))"),
        ("abc", 3, "(abc)"),
        ("abcd", 3, "((abc)d)"),
        ("abcde", 3, "((abc)(de))"),
        ("abcdefghij", 3, "(((abc)(def)(ghi))j)"),
        ("abcdefghijk", 3, "(((abc)(def)(ghi))(jk))"),
        ("abcdefghijklm", 3, "(((abc)(def)(ghi))((jkl)m))"),
        ("abcde", 4, "((abcd)e)"),
        ("abcde", 255, "(abcde)"),
    ],
)
def test_root_by_hand(text: str, n: int, expected: str) -> None:
    """One letter a leaf, brackets for a hash: a lone last child is lifted, at any level."""
    leaves = tuple(letter.encode() for letter in text)
    assert root(leaves, n, show) == expected.encode()


@pytest.mark.evidence("example", "TREE-4", "TREE-10")
def test_levels_by_hand() -> None:
    """The right edge is part of every level, incomplete and lifted nodes included."""
    expected = ((b"a", b"b", b"c", b"d", b"e"), (b"(ab)", b"(cd)", b"e"))
    expected_above = ((b"((ab)(cd))", b"e"), (b"(((ab)(cd))e)",))
    assert levels((b"a", b"b", b"c", b"d", b"e"), 2, show) == expected + expected_above


def test_three_leaves_in_sha256_by_hand() -> None:
    """SHA-256(1, 2, SHA-256(1, 2, a, b), c): spelled out for n = 2."""
    a, b, c = make_leaves(3)
    inner = hashlib.sha256(b"\x01\x02" + a + b).digest()
    expected = hashlib.sha256(b"\x01\x02" + inner + c).digest()
    assert root((a, b, c), 2, SCHEMES["sha256"]) == expected


@pytest.mark.parametrize(
    ("level", "index"), [(0, 5), (0, -1), (1, 3), (2, 2), (3, 1), (4, 0), (9, 0), (-1, 0)]
)
def test_a_node_that_does_not_exist_has_no_value(level: int, index: int) -> None:
    """Right of a level, above the root, negative: ValueError. Five leaves, n = 2."""
    with pytest.raises(ValueError, match=r"no node|negative"):
        node(make_leaves(5), 2, level, index, SCHEMES["blake3"])


# --- laws


@pytest.mark.evidence("property", "TREE-4", "TREE-9")
@given(leaves=LEAVES, n=st.integers(2, 255), name=NAMES)
def test_recursion_agrees_with_grouping_from_the_bottom(leaves: Leaves, n: int, name: str) -> None:
    """levels, root and level_length equal a bottom-up construction; up to 70 leaves, any n."""
    parent = SCHEMES[name]
    rows = bottom_up(leaves, n, parent) if leaves else []
    assert levels(leaves, n, parent) == tuple(rows)
    assert root(leaves, n, parent) == (rows[-1][0] if rows else None)
    assert [level_length(len(leaves), n, k) for k in range(len(rows))] == [len(r) for r in rows]


@pytest.mark.evidence("property", "TREE-7")
@given(leaves=LEAVES.filter(bool), n=st.integers(2, 6), data=st.data())
def test_a_complete_node_never_changes(leaves: Leaves, n: int, data: st.DataObject) -> None:
    """Every node complete at a smaller size has the same value later; up to 70 leaves, n to 6."""
    parent = SCHEMES["blake3"]
    old = leaves[: data.draw(st.integers(1, len(leaves)))]
    now = levels(leaves, n, parent)
    for level, row in enumerate(levels(old, n, parent)):
        for index, value in enumerate(row):
            if is_complete(len(old), n, level, index):
                assert now[level][index] == value


@pytest.mark.evidence("example", "TREE-35")
def test_leaves_that_are_nodes_give_the_same_root_at_another_size() -> None:
    """The root of 4 leaves is that of the 2 nodes of level 1 as leaves: sizes must be trusted.

    Case F of prior art. Leaves are stored as given, so no scheme can tell, tagged or not.
    """
    for parent in SCHEMES.values():
        four = make_leaves(4)
        assert root(levels(four, 2, parent)[1], 2, parent) == root(four, 2, parent)


def test_sizes_and_arities_of_one_sequence_have_different_roots() -> None:
    """All roots of the first 1 to 40 leaves differ from one another, for n = 2 to 6."""
    for n in range(2, 7):
        roots = {root(make_leaves(size), n, SCHEMES["blake3"]) for size in range(1, 41)}
        assert len(roots) == 40
