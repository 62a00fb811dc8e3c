"""Proofs and heads as bytes and as JSON: canonical, exact, and nothing else is let in."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rotortree import ConsistencyProof, InclusionProof, InvalidProofError, TreeHead
from tests.tree.support import ARITIES, head_of, make_leaves, tree_of

Proof = InclusionProof | ConsistencyProof
Kind = type[InclusionProof] | type[ConsistencyProof]
KINDS: tuple[Kind, ...] = (InclusionProof, ConsistencyProof)
MAGIC = {InclusionProof: b"RTIP", ConsistencyProof: b"RTCP"}
LARGEST = 2**63 - 1

relaxed = settings(max_examples=200)


def samples() -> list[Proof]:
    """Proofs with no, one and many hashes."""
    found: list[Proof] = []
    for n, size in ((2, 1), (2, 2), (2, 13), (3, 10), (5, 26), (255, 300)):
        snapshot = tree_of(n, size).snapshot()
        found += snapshot.prove_many({0, size // 2, size - 1})
        found += [snapshot.prove_consistency(old) for old in {0, 1, size // 2, size - 1, size}]
    return found


@pytest.mark.evidence("example", "PROOF-24")
def test_the_binary_form_is_the_documented_one() -> None:
    """Magic, version 1, n, zero, size, index or old size, hashes: little-endian, 24 + 32·k."""
    for proof in samples():
        number = proof.index if isinstance(proof, InclusionProof) else proof.old_size
        header = struct.pack("<4sBBHQQ", MAGIC[type(proof)], 1, proof.n, 0, proof.size, number)
        assert proof.encode() == header + proof.hashes
        assert len(proof.encode()) % 32 == 24


@pytest.mark.evidence("exhaustive", "PROOF-25", "PROOF-31")
@pytest.mark.parametrize("n", ARITIES)
def test_decode_undoes_encode_and_from_json_undoes_to_json(n: int) -> None:
    """All proofs of sizes and pairs of sizes up to 40; the bytes and the text are one each."""
    for size in range(41):
        snapshot = tree_of(n, size).snapshot()
        extensions = [snapshot.prove_consistency(old) for old in range(size + 1)]
        proofs: list[Proof] = [*snapshot.prove_many(range(size)), *extensions]
        for proof in proofs:
            kind = type(proof)
            assert kind.decode(proof.encode()) == proof
            assert kind.decode(proof.encode()).encode() == proof.encode()
            assert kind.from_json(proof.to_json()) == proof
            assert kind.from_json(proof.to_json()).to_json() == proof.to_json()
            assert kind.from_json(proof.to_json().encode()) == proof
        head = snapshot.head
        assert head == head_of(n, size)
        assert TreeHead.from_json(head.to_json()) == head
        assert TreeHead.from_json(head.to_json()).to_json() == head.to_json()


def test_any_contiguous_buffer_can_be_decoded() -> None:
    """bytes, bytearray and memoryview are the same proof."""
    for proof in samples():
        data = proof.encode()
        for buffer in (data, bytearray(data), memoryview(data)):
            assert type(proof).decode(buffer) == proof


@pytest.mark.evidence("example", "PROOF-28", "PROOF-32")
def test_the_json_form_is_the_documented_one() -> None:
    """One line, one object: type, version, n, size, index or old_size, hashes in lowercase hex."""
    proof = tree_of(2, 3).snapshot().prove(2)
    assert json.loads(proof.to_json()) == {
        "type": "rotortree-inclusion-proof",
        "version": 1,
        "n": 2,
        "size": 3,
        "index": 2,
        "hashes": [proof.hashes.hex()],
    }
    extension = tree_of(2, 2).snapshot().prove_consistency(1)
    assert json.loads(extension.to_json()) == {
        "type": "rotortree-consistency-proof",
        "version": 1,
        "n": 2,
        "size": 2,
        "old_size": 1,
        "hashes": [leaf.hex() for leaf in make_leaves(2)],
    }
    for other in samples():
        assert "\n" not in other.to_json()


@pytest.mark.evidence("example", "PROOF-27")
def test_one_kind_of_proof_is_not_the_other() -> None:
    """Neither as bytes nor as JSON."""
    for proof in samples():
        other = KINDS[isinstance(proof, InclusionProof)]
        with pytest.raises(InvalidProofError):
            other.decode(proof.encode())
        with pytest.raises(InvalidProofError):
            other.from_json(proof.to_json())


# JSON that is not a proof.

WRONG_VALUES: dict[str, list[Any]] = {
    "type": ["rotortree-inclusion-Proof", "", None, 1, ["rotortree-inclusion-proof"], {}],
    "version": [0, 2, "1", None, [1], {}, 10**400],
    "n": [0, 1, 256, -2, 2.0, True, "2", None, [2], {"2": 2}, 10**400, 1e400],
    "size": [0, -1, 2**63, 2**64, 13.0, 1e300, True, "13", None, [13], {}, 10**400],
    "index": [-1, 13, 2**63, 5.0, True, False, "5", None, [5], {}, 10**400],
    "hashes": [None, 0, "", {}, "ab" * 32, [None], [1], [[]], [{}], [""], ["0" * 64] * 1000],
}


def mutated(found: dict[str, Any], key: str, value: object) -> str:
    """The object as JSON with one value exchanged."""
    return json.dumps(found | {key: value})


@pytest.mark.evidence("example", "PROOF-30")
def test_a_wrong_value_in_json_is_an_invalid_proof() -> None:
    """Every key with values of other types, out of range, not finite, huge, or nested."""
    proof = tree_of(2, 13).snapshot().prove(5)
    found = json.loads(proof.to_json())
    for key, values in WRONG_VALUES.items():
        for value in values:
            with pytest.raises(InvalidProofError):
                InclusionProof.from_json(mutated(found, key, value))
    extension = tree_of(2, 13).snapshot().prove_consistency(5)
    found = json.loads(extension.to_json())
    for value in WRONG_VALUES["index"]:
        if value != 13:
            with pytest.raises(InvalidProofError):
                ConsistencyProof.from_json(mutated(found, "old_size", value))
    with pytest.raises(InvalidProofError):
        ConsistencyProof.from_json(mutated(found, "old_size", 14))


@pytest.mark.evidence("example", "PROOF-30")
@pytest.mark.parametrize("version", ["true", "1.0", "1e0", "1.0e0"])
def test_the_version_is_the_integer_1(version: str) -> None:
    """Not true, not 1.0: types are as strict for the version as for every other number."""
    proof = tree_of(2, 13).snapshot().prove(5)
    for value in (proof, tree_of(2, 13).snapshot().prove_consistency(5), tree_of(2, 13).head):
        text = value.to_json().replace('"version": 1', f'"version": {version}')
        assert text != value.to_json()
        with pytest.raises(InvalidProofError):
            type(value).from_json(text)


def test_an_array_of_pairs_is_not_an_object() -> None:
    """[["type", …], ["version", 1], …] is no proof and no head."""
    tree = tree_of(2, 13)
    for value in (tree.snapshot().prove(5), tree.snapshot().prove_consistency(5), tree.head):
        pairs = list(json.loads(value.to_json()).items())
        with pytest.raises(InvalidProofError):
            type(value).from_json(json.dumps(pairs))


@pytest.mark.evidence("exhaustive", "PROOF-28", "PROOF-30")
def test_missing_unknown_and_duplicate_keys_are_an_invalid_proof() -> None:
    """Each key left out, each key twice (with the same value, too), and keys of no meaning."""
    tree = tree_of(3, 13)
    for value in (tree.snapshot().prove(5), tree.snapshot().prove_consistency(5), tree.head):
        read = type(value).from_json
        text, found = value.to_json(), json.loads(value.to_json())
        for key in found:
            with pytest.raises(InvalidProofError):
                read(json.dumps({name: v for name, v in found.items() if name != key}))
            again = f'{text[:-1]}, "{key}": {json.dumps(found[key])}}}'
            assert json.loads(again) == found
            with pytest.raises(InvalidProofError):
                read(again)
            with pytest.raises(InvalidProofError):
                read(text.replace(f'"{key}"', f'"{key.upper()}"'))
        for extra in ("extra", "", "Size", "_"):
            with pytest.raises(InvalidProofError):
                read(mutated(found, extra, 0))


@pytest.mark.evidence("example", "PROOF-28", "PROOF-29", "PROOF-30")
def test_hashes_are_64_lowercase_digits_each() -> None:
    """Uppercase, short, long, prefixed, spaced, other digits: an invalid proof or head."""
    proof = tree_of(2, 13).snapshot().prove(5)
    found = json.loads(proof.to_json())
    right = found["hashes"][-1]
    assert right != right.upper()
    wrong = [
        *(right.upper(), right[:-1], right[:-2], right + "0", right + "00", "0x" + right[2:]),
        *(right[:-1] + " ", right[:-1] + "\n", right + "\n", " " + right, right[:-1] + "g"),
        *(right[:-1] + "\u0661", "\uff10" * 64, right[:31] + " " + right[32:], ""),
    ]
    for value in wrong:
        with pytest.raises(InvalidProofError):
            InclusionProof.from_json(mutated(found, "hashes", [*found["hashes"][:-1], value]))
        with pytest.raises(InvalidProofError):
            TreeHead.from_json(mutated(json.loads(tree_of(2, 13).head.to_json()), "root", value))
    for count in (0, len(found["hashes"]) - 1, len(found["hashes"]) + 1):
        with pytest.raises(InvalidProofError):
            InclusionProof.from_json(mutated(found, "hashes", [right] * count))


TEXTS: list[str | bytes] = [
    *("", " ", "null", "true", "1", "NaN", "Infinity", '"text"', "[]", "{}", "[[]]", "[1, 2]"),
    *("{", "}", '{"type"', "{'type': 1}", '{"type": NaN}', '{"n": 01}', "\x00", "\ud800"),
    *('["ab", "cd"]', '[["a", "b"]]', "[{}]", "[null]", "9" * 5000, '{"size": ' + "9" * 5000 + "}"),
    *("[" * 200_000, '{"a":' * 200_000, "[" * 90_000 + "]" * 90_000),
    *(b"", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\x80abc", b"\x00" * 64, b"\xed\xa0\x80"),
]


@pytest.mark.evidence("example", "PROOF-30")
@pytest.mark.parametrize("position", range(len(TEXTS)))
def test_other_text_is_an_invalid_proof(position: int) -> None:
    """No object, broken, not Unicode, numbers of 5000 digits, 200,000 levels deep: one error."""
    for kind in (InclusionProof, ConsistencyProof, TreeHead):
        with pytest.raises(InvalidProofError):
            kind.from_json(TEXTS[position])


@pytest.mark.evidence("example", "PROOF-30")
def test_a_byte_order_mark_is_not_json() -> None:
    """Before what is one without it, as text and as UTF-8."""
    tree = tree_of(2, 13)
    for value in (tree.snapshot().prove(5), tree.snapshot().prove_consistency(5), tree.head):
        for text in (value.to_json(), value.to_json().encode()):
            assert type(value).from_json(text) == value
        for marked in ("\ufeff" + value.to_json(), value.to_json().encode("utf-8-sig")):
            with pytest.raises(InvalidProofError):
                type(value).from_json(marked)


@pytest.mark.evidence("example", "PROOF-30")
def test_minus_zero_is_zero() -> None:
    """JSON has -0, which is the integer 0; -0.0 is not one."""
    tree = tree_of(2, 13)
    values: tuple[tuple[Proof | TreeHead, str], ...] = (
        (tree.snapshot().prove(0), "index"),
        (tree.snapshot().prove_consistency(0), "old_size"),
        (tree_of(2, 0).head, "size"),
    )
    for value, key in values:
        text = value.to_json()
        for zero in ("-0", "-0.0"):
            changed = text.replace(f'"{key}": 0', f'"{key}": {zero}')
            assert changed != text
            if zero == "-0":
                assert type(value).from_json(changed).to_json() == text
            else:
                with pytest.raises(InvalidProofError):
                    type(value).from_json(changed)


def test_nan_and_infinity_are_no_numbers() -> None:
    """In the place of each number of a proof and of a head."""
    proof, head = tree_of(2, 13).snapshot().prove(5), tree_of(2, 13).head
    for value in (proof, head):
        found = json.loads(value.to_json())
        for key in ("version", "n", "size", "index"):
            for number in (float("nan"), float("inf"), float("-inf")):
                if key in found:
                    with pytest.raises(InvalidProofError):
                        type(value).from_json(mutated(found, key, number))


@pytest.mark.evidence("example", "PROOF-29")
def test_a_head_in_json_is_checked() -> None:
    """Root without leaves, leaves without root, wrong types and ranges of every field."""
    found = json.loads(tree_of(2, 13).head.to_json())
    wrong: dict[str, list[Any]] = {
        "type": ["rotortree-inclusion-proof", None, 1],
        "version": [0, 2, "1", None],
        "n": WRONG_VALUES["n"],
        "size": WRONG_VALUES["size"],
        "scheme": [None, 1, True, ["blake3"], {}],
        "root": [None, 0, "", [], {}, "00", "0" * 63, "0" * 65, "A" * 64],
    }
    assert wrong.keys() == found.keys()
    for key, values in wrong.items():
        for value in values:
            with pytest.raises(InvalidProofError):
                TreeHead.from_json(mutated(found, key, value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@pytest.mark.evidence("fuzz", "PROOF-30")
@relaxed
@given(key=st.sampled_from(sorted(WRONG_VALUES)), value=json_values)
def test_any_json_value_in_a_proof_is_refused_or_is_its_own(key: str, value: object) -> None:
    """Whatever takes one key's place: InvalidProofError, or the proof that says the same."""
    proof = tree_of(2, 13).snapshot().prove(5)
    text = mutated(json.loads(proof.to_json()), key, value)
    try:
        read = InclusionProof.from_json(text)
    except InvalidProofError:
        return
    assert json.loads(read.to_json()) == json.loads(text)


@pytest.mark.evidence("fuzz", "PROOF-30")
@relaxed
@given(text=st.text() | st.binary() | json_values.map(json.dumps))
def test_any_text_is_refused_as_json(text: str | bytes) -> None:
    """Arbitrary text, bytes and JSON values: InvalidProofError and nothing else."""
    for kind in (InclusionProof, ConsistencyProof, TreeHead):
        with pytest.raises(InvalidProofError):
            kind.from_json(text)


# Bytes that are not a proof.

NUMBERS = st.sampled_from([0, 1, 2, 3, 255, 256, 2**32, 2**62, LARGEST, 2**63, 2**64 - 1])
headers = st.builds(
    struct.Struct("<4sBBHQQ").pack,
    st.sampled_from([b"RTIP", b"RTCP", b"RTIp", b"\0\0\0\0"]),
    st.sampled_from([1, 1, 1, 0, 2, 255]),
    st.sampled_from([0, 1, 2, 3, 4, 16, 254, 255]),
    st.sampled_from([0, 0, 0, 1, 256]),
    NUMBERS | st.integers(0, 2**64 - 1),
    NUMBERS | st.integers(0, 2**64 - 1),
)
tails = st.integers(0, 70).map(lambda count: bytes(32 * count)) | st.binary(max_size=100)


@pytest.mark.evidence("fuzz", "PROOF-5", "PROOF-25", "PROOF-26")
@relaxed
@given(data=st.binary(max_size=400) | st.builds(lambda head, tail: head + tail, headers, tails))
@example(data=struct.pack("<4sBBHQQ", b"RTIP", 1, 2, 0, 2**64 - 1, 0))
@example(data=struct.pack("<4sBBHQQ", b"RTIP", 1, 2, 0, LARGEST, 0) + bytes(32 * 63))
@example(data=struct.pack("<4sBBHQQ", b"RTIP", 1, 0, 0, 5, 0))
@example(data=struct.pack("<4sBBHQQ", b"RTCP", 1, 1, 0, 5, 5))
@example(data=struct.pack("<4sBBHQQ", b"RTCP", 1, 255, 0, 2**64 - 1, 2**64 - 1))
def test_any_bytes_are_refused_or_are_canonical_and_quickly(data: bytes) -> None:
    """InvalidProofError, or a proof that encodes to these bytes; in less than a second.

    Headers claim any size up to 2**64 - 1 and any arity, 0 and 1 included.
    """
    for kind in KINDS:
        started = time.process_time()
        try:
            encoded = kind.decode(data).encode()
        except InvalidProofError:
            encoded = data
        assert encoded == data
        assert time.process_time() - started < 1


@pytest.mark.evidence("benchmark", "PROOF-26")
@pytest.mark.parametrize("n", [2, 3, 255])
def test_decoding_takes_memory_for_the_bytes_that_there_are(n: int) -> None:
    """Headers that claim 2**63 - 1 leaves, with no hashes, a few, a thousand: all are refused.

    Not more than 16 KiB and ten times their own length are allocated meanwhile.
    """
    for magic in MAGIC.values():
        for count in (0, 1, 62, 1000):
            header = struct.pack("<4sBBHQQ", magic, 1, n, 0, LARGEST, LARGEST // 2)
            data = header + bytes(32 * count)
            tracemalloc.start()
            try:
                for kind in KINDS:
                    with pytest.raises(InvalidProofError):
                        kind.decode(data)
                assert tracemalloc.get_traced_memory()[1] < 10 * len(data) + (16 << 10)
            finally:
                tracemalloc.stop()


@pytest.mark.parametrize("n", [2, 3, 254, 255])
def test_proofs_of_the_largest_trees_have_a_shape(n: int) -> None:
    """Size 2**63 - 1: exactly one number of hashes is taken, and it round-trips; quickly."""
    started = time.process_time()
    for kind, number in ((InclusionProof, 0), (InclusionProof, LARGEST - 1), (ConsistencyProof, 1)):
        fitting = [
            count for count in range(64 * n) if _fits(kind, n, LARGEST, number, bytes(32 * count))
        ]
        assert len(fitting) == 1
        proof = kind(n, LARGEST, number, bytes(32 * fitting[0]))
        assert kind.decode(proof.encode()) == proof
        if n < 16:
            break
    assert time.process_time() - started < 30


def _fits(kind: Kind, n: int, size: int, number: int, hashes: bytes) -> bool:
    try:
        kind(n, size, number, hashes)
    except InvalidProofError:
        return False
    return True


WRONG_FIELDS: list[Callable[[], object]] = [
    lambda: InclusionProof(2, 0, 0, b""),
    lambda: InclusionProof(2, 1, 1, b""),
    lambda: InclusionProof(2, 1, -1, b""),
    lambda: InclusionProof(2, 1, 0, bytes(32)),
    lambda: InclusionProof(2, 2, 0, bytes(31)),
    lambda: InclusionProof(2, 2, 0, bytearray(32)),  # type: ignore[arg-type]
    lambda: InclusionProof(2, 2, 0, memoryview(bytes(32))),  # type: ignore[arg-type]
    lambda: InclusionProof(2, 2, 0, None),  # type: ignore[arg-type]
    lambda: InclusionProof(2, 2, False, bytes(32)),
    lambda: InclusionProof(2, 2.0, 0, bytes(32)),  # type: ignore[arg-type]
    lambda: InclusionProof(True, 2, 0, bytes(32)),
    lambda: InclusionProof("2", 2, 0, bytes(32)),  # type: ignore[arg-type]
    lambda: InclusionProof(1, 2, 0, bytes(32)),
    lambda: InclusionProof(256, 2, 0, bytes(32)),
    lambda: InclusionProof(2, 2**63, 0, bytes(32 * 63)),
    lambda: ConsistencyProof(2, 1, 2, b""),
    lambda: ConsistencyProof(2, 0, 0, bytes(32)),
    lambda: ConsistencyProof(2, 2, -1, bytes(64)),
    lambda: ConsistencyProof(2, 2, 1, bytes(32)),
    lambda: ConsistencyProof(0, 2, 1, bytes(64)),
    lambda: ConsistencyProof(2, -1, -1, b""),
    lambda: ConsistencyProof(2, 2, True, bytes(64)),
    lambda: TreeHead(0, bytes(32), 2, "blake3"),
    lambda: TreeHead(1, None, 2, "blake3"),
    lambda: TreeHead(1, bytes(31), 2, "blake3"),
    lambda: TreeHead(1, bytearray(32), 2, "blake3"),  # type: ignore[arg-type]
    lambda: TreeHead(-1, bytes(32), 2, "blake3"),
    lambda: TreeHead(2**63, bytes(32), 2, "blake3"),
    lambda: TreeHead(True, bytes(32), 2, "blake3"),
    lambda: TreeHead(1, bytes(32), 1, "blake3"),
    lambda: TreeHead(1, bytes(32), 256, "blake3"),
    lambda: TreeHead(1, bytes(32), 2, None),  # type: ignore[arg-type]
    lambda: TreeHead(1, bytes(32), 2, b"blake3"),  # type: ignore[arg-type]
]


@pytest.mark.evidence("example", "TREE-34")
def test_no_proof_and_no_head_can_be_made_of_wrong_fields() -> None:
    """Every field out of range or of another type: InvalidProofError from the constructor."""
    for position, make in enumerate(WRONG_FIELDS):
        with pytest.raises(InvalidProofError):
            pytest.fail(f"WRONG_FIELDS[{position}] made {make()!r}")


def test_huge_numbers_are_reported_as_any_other() -> None:
    """Integers of more digits than Python prints (4300) are InvalidProofError, too."""
    huge = 10**5000
    makers: list[Callable[[], object]] = [
        lambda: InclusionProof(2, huge, 0, b""),
        lambda: InclusionProof(2, 2, huge, b""),
        lambda: InclusionProof(huge, 2, 0, b""),
        lambda: ConsistencyProof(2, 2, huge, b""),
        lambda: TreeHead(huge, bytes(32), 2, "blake3"),
        lambda: TreeHead(1, bytes(32), huge, "blake3"),
        lambda: TreeHead(1, bytes(32), 2, huge),  # type: ignore[arg-type]
        lambda: TreeHead(1, bytes(32), 2, [huge]),  # type: ignore[arg-type]
    ]
    for make in makers:
        with pytest.raises(InvalidProofError):
            make()


@pytest.mark.parametrize("value", [5, -1, None, "RTIP", [82, 84, 73, 80], 1.5, object()])
def test_decode_of_no_buffer_is_an_error_and_not_an_allocation(value: object) -> None:
    """Numbers, text, lists: InvalidProofError or TypeError, never a buffer of so many zeros."""
    for kind in KINDS:
        with pytest.raises((InvalidProofError, TypeError)) as caught:
            kind.decode(value)  # type: ignore[arg-type]
        assert "too short" not in str(caught.value)
