"""The decoders, and the kept corpus: valid encodings, mutants of them, and what once failed.

A corpus is a folder of small files, ``tests/data/corpus/DECODER/``. What is there is made by this
module, the same bytes each time, but for files that begin with ``found-``: those are inputs that
broke a law, which the fuzzer wrote, and which stay.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rotortree import LeanIMT, Snapshot
from tests.campaigns.decoders import files, proofs

__all__ = [
    "BOMBS",
    "DECODERS",
    "FOLDER",
    "FOUND",
    "Decoder",
    "changed_everywhere",
    "entries",
    "keep",
    "made",
    "mutant",
    "write",
]

FOLDER = Path("tests/data/corpus")
"""Where the corpus is, from the project's folder."""

FOUND = "found-"
"""How the names of inputs begin that broke a law."""

BOMBS = (2**60, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers that a field of 8 bytes may claim, and that nobody has memory for."""

_MUTANTS = 8
_MOST_CHANGED = 300
_SHAPES = ((2, 1), (2, 2), (2, 13), (3, 10), (5, 26), (255, 300))


class Decoder(NamedTuple):
    """A decoder under test.

    ``law`` raises if what it does with some bytes is wrong, and else says whether they mean
    something. ``valid`` gives what does. ``seal`` makes the seals of changed bytes right again.
    ``numbers``: offsets of fields of 8 bytes. ``special``: more inputs, made of a valid one.
    ``bits``: how single bytes are changed.
    """

    law: Callable[[bytes], bool]
    valid: Callable[[], Iterator[bytes]]
    requirements: tuple[str, ...]
    seal: Callable[[bytes], bytes] = bytes
    numbers: tuple[int, ...] = ()
    special: Callable[[bytes], tuple[bytes, ...]] | None = None
    is_text: bool = False
    bits: tuple[int, ...] = (0x01, 0x20, 0x80)


def _snapshots() -> Iterator[Snapshot]:
    for n, size in _SHAPES:
        tree = LeanIMT(n)
        tree.extend([index.to_bytes(32, "big") for index in range(size)])
        yield tree.snapshot()


def _inclusion() -> Iterator[bytes]:
    for snapshot in _snapshots():
        yield snapshot.prove(snapshot.size - 1).encode()


def _consistency() -> Iterator[bytes]:
    for snapshot in _snapshots():
        yield snapshot.prove_consistency(snapshot.size // 2).encode()


def _inclusion_json() -> Iterator[bytes]:
    for snapshot in list(_snapshots())[:5]:
        yield snapshot.prove(snapshot.size - 1).to_json().encode()


def _consistency_json() -> Iterator[bytes]:
    for snapshot in list(_snapshots())[:5]:
        yield snapshot.prove_consistency(snapshot.size // 2).to_json().encode()


def _heads_json() -> Iterator[bytes]:
    yield LeanIMT(2).head.to_json().encode()
    for snapshot in _snapshots():
        yield snapshot.head.to_json().encode()


def _segments() -> Iterator[bytes]:
    """One frame; two; MORE without end; zeros ahead; none; two, the second one promises nothing.

    One that was begun with its unit, and promises it; and one that promises more than it has.
    """
    [found] = [data for path, data in files.example().items() if path.endswith(".wal")]
    one = found[:64] + struct.pack("<Q", 1) + found[72:]
    yield files.seal_segment(one)
    yield files.seal_segment(one + _second_frame(one, 320))
    yield files.seal_segment(one[:164] + b"\1" + one[165:])
    yield files.seal_segment(one) + bytes(96)
    yield files.seal_segment(one[:160])
    yield files.seal_segment(one + _second_frame(one, 0))
    for promise in (len(one), len(one) + 32):
        yield files.seal_segment(one[:128] + struct.pack("<Q", promise) + one[136:])


def _second_frame(one: bytes, promise: int) -> bytes:
    """A frame of one leaf, to be sealed, behind the only one of a segment."""
    return one[160:168] + struct.pack("<QQQQQ", 1, 9, 1, promise, 0) + one[208:]


def _segment_headers() -> Iterator[bytes]:
    for data in _segments():
        yield data[:160]


def _commits() -> Iterator[bytes]:
    data = files.example()["COMMIT"]
    yield data
    yield files.seal_header(176, data[:64] + bytes(80) + data[144:])


def _frames() -> Iterator[bytes]:
    for data in list(_segments())[:3]:
        yield files.seal_frame(data[160:288])


def _level_files() -> Iterator[bytes]:
    for level, path in enumerate(files.LEVEL_FILES):
        yield bytes([level]) + files.example()[path]


def _seal_level_file(data: bytes) -> bytes:
    return data[:1] + files.seal_header(128, data[1:])


_TEXTS = (
    *(b"", b"null", b"[]", b"{}", b"[" * 3000, b'{"a":' * 2000, b"9" * 5000, b'{"version": 1}'),
    *(b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"\xed\xa0\x80", b"{\0\0\0", b"\x80"),
)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")


def _texts(text: bytes) -> tuple[bytes, ...]:
    """No JSON; JSON in other encodings, and with numbers and strings written in other ways."""
    words = text.decode()
    return (
        *_TEXTS,
        *(words.encode(encoding) for encoding in _ENCODINGS),
        *(text.replace(b'"version": 1', b'"version": ' + one) for one in (b"1.0", b"true", b"1e0")),
        *(text.replace(b'"n": 2', b'"n": ' + one) for one in (b"02", b"-0", b"2.0", b"9" * 4400)),
        text.replace(b"rotortree", b"r\\u006ftortree"),
        text.replace(b'"n"', b'"n": 2, "n"'),
        text.replace(b'"blake3"', b'"\xed\xa0\x80"'),
        text.replace(b'"blake3"', b'"\\ud800"'),
        text[:-1] + b"," + text[-1:],
        b" " + text + b"\n",
    )


def _other_kind(data: bytes) -> tuple[bytes, ...]:
    """The same, called a proof of the other kind."""
    magic = b"RTCP" if data.startswith(b"RTIP") else b"RTIP"
    return (magic + data[4:],)


def _of_another_version(data: bytes) -> tuple[bytes, ...]:
    """The same of version 2: as long, too long, cut, sealed and not."""
    data = data[:8] + b"\2" + data[9:]
    return (data, files.seal_header(176, data), data + b"\0", data[:-1])


def _unchained(data: bytes) -> tuple[bytes, ...]:
    """The same with another chain in either of two frames, all of them sealed."""
    return tuple(
        files.seal_segment(data[:at] + bytes(16) + data[at + 16 :], chained=False)
        for at in (240, 400)
    )


_BINARY = ("PROOF-24", "PROOF-25", "PROOF-26", "PROOF-27")
_HEADER = ("FORMAT-12", "FORMAT-13", "FORMAT-16")
_JSON = ("PROOF-30", "PROOF-31")

DECODERS: Mapping[str, Decoder] = MappingProxyType(
    {
        "inclusion": Decoder(
            proofs.inclusion, _inclusion, _BINARY, numbers=(8, 16), special=_other_kind
        ),
        "consistency": Decoder(
            proofs.consistency, _consistency, _BINARY, numbers=(8, 16), special=_other_kind
        ),
        "inclusion-json": Decoder(
            proofs.inclusion_json,
            _inclusion_json,
            ("PROOF-28", *_JSON),
            special=_texts,
            is_text=True,
        ),
        "consistency-json": Decoder(
            proofs.consistency_json,
            _consistency_json,
            ("PROOF-28", *_JSON),
            special=_texts,
            is_text=True,
        ),
        "head-json": Decoder(
            proofs.head_json, _heads_json, ("PROOF-29", *_JSON), special=_texts, is_text=True
        ),
        "segment-header": Decoder(
            files.segment_header,
            _segment_headers,
            (*_HEADER, "FORMAT-18"),
            partial(files.seal_header, 160),
            numbers=(64, 72, 112, 128, 136),
        ),
        "commit": Decoder(
            files.commit,
            _commits,
            (*_HEADER, "FORMAT-43"),
            partial(files.seal_header, 176),
            numbers=(64, 104, 144, 152),
            special=_of_another_version,
        ),
        "frame": Decoder(
            files.frame,
            _frames,
            ("FORMAT-22", "FORMAT-23", "FORMAT-28"),
            files.seal_frame,
            numbers=(8, 16, 24, 32, 40),
        ),
        "segment": Decoder(
            files.segment,
            _segments,
            (
                *("FORMAT-24", "FORMAT-25", "FORMAT-27", "FORMAT-30", "FORMAT-33", "FORMAT-56"),
                "FORMAT-70",
            ),
            files.seal_segment,
            numbers=(72, 128, 168, 176, 184, 192, 200),
            special=_unchained,
        ),
        "level-file": Decoder(
            files.level_file,
            _level_files,
            ("FORMAT-47", "FORMAT-61", "FORMAT-62", "FORMAT-63", "FORMAT-64"),
            _seal_level_file,
            numbers=(65, 73),
            bits=(0x01,),  # a whole directory is opened for each
        ),
    }
)
"""Every decoder by its name; read-only."""


def made(name: str) -> dict[str, bytes]:
    """The corpus of a decoder, but for what was found, by the names of its files."""
    decoder = DECODERS[name]
    valid = list(decoder.valid())
    entries = {f"valid-{number}": data for number, data in enumerate(valid)}
    special = (*_bombs(decoder, valid[0]), *(decoder.special(valid[1]) if decoder.special else ()))
    entries |= {f"special-{number:02}": data for number, data in enumerate(special)}
    drawn = random.Random(name)
    for number in range(_MUTANTS):
        data = mutant(drawn, drawn.choice(valid))
        entries[f"mutant-{number}"] = decoder.seal(data) if number % 2 else data
    return entries


def _bombs(decoder: Decoder, data: bytes) -> tuple[bytes, ...]:
    """The same data with a number that nobody has memory for, in each field; sealed."""
    return tuple(
        decoder.seal(data[:at] + struct.pack("<Q", number) + data[at + 8 :])
        for at in decoder.numbers
        for number in BOMBS
    )


def changed_everywhere(name: str) -> Iterator[bytes]:
    """The first valid encodings of a decoder with any one byte changed, sealed anew and not."""
    decoder = DECODERS[name]
    for data in itertools.islice(decoder.valid(), 3):
        for at in range(min(len(data), _MOST_CHANGED)):
            for bit in decoder.bits:
                changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
                yield changed
                yield decoder.seal(changed)


def mutant(drawn: random.Random, data: bytes) -> bytes:
    """The same with one or two bytes changed, and perhaps cut or continued."""
    changed = bytearray(data)
    for _ in range(drawn.randint(1, 2)):
        if changed:
            changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    end = drawn.choice((len(changed), len(changed), drawn.randrange(len(changed) + 1)))
    return bytes(changed[:end]) + bytes(drawn.choice((0, 0, 0, 1, 32)))


def entries(root: Path, name: str) -> dict[str, bytes]:
    """The kept corpus of a decoder, by the names of its files."""
    folder = root / FOLDER / name
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


def write(root: Path) -> None:
    """Write the corpora of all decoders anew; what was found stays."""
    for name in DECODERS:
        folder = root / FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*"):
            if not path.name.startswith(FOUND):
                path.unlink()
        for entry, data in made(name).items():
            (folder / entry).write_bytes(data)


def keep(root: Path, name: str, data: bytes) -> Path:
    """Write an input that broke a law into the corpus; return where it is."""
    path = root / FOLDER / name / f"{FOUND}{hashlib.sha256(data).hexdigest()[:16]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
