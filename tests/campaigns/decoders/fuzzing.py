"""Fuzzing one decoder: Hypothesis makes the inputs, of choices that a fuzzer may make for it."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.campaigns.decoders.corpus import BOMBS, DECODERS, Decoder, entries, keep

__all__ = ["MEMORY", "SECONDS", "BrokenLaw", "check", "inputs", "target"]

MEMORY = 1 << 20
"""How many bytes a decoder and its law may take for one input, of some kilobytes at the most."""

SECONDS = 1.0
"""How long a decoder and its law may take for one input, in processor time."""

_MOST_BYTES = 512
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"0", b"-0", b"1.0", b"1e400"),
    *(
        b"NaN",
        b"\\ud800",
        b"\\u0000",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b" ",
        b"\n",
        b"00",
        b"9" * 40,
    ),
)


class BrokenLaw(AssertionError):
    """An input that a decoder does something wrong with, and where it is kept."""


def check(name: str, data: bytes, root: Path | None = None) -> bool:
    """Whether some bytes mean something to a decoder, if its law holds in little time and memory.

    Raises `BrokenLaw` otherwise, with the bytes kept in the corpus below ``root``, if it is given.
    """
    started = time.process_time()
    try:
        with _little_memory():
            found = DECODERS[name].law(data)
        seconds = time.process_time() - started
        assert seconds < SECONDS, f"it took {seconds:.1f} s"
    except Exception as error:
        kept = f", kept as {keep(root, name, data)}" if root else ""
        message = f"{name}, {data[:64]!r}…: {type(error).__name__}: {error}{kept}"
        raise BrokenLaw(message) from error
    return found


@contextmanager
def _little_memory() -> Iterator[None]:
    """An AssertionError if what is done there takes more than `MEMORY`; whoever traces goes on."""
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not was_tracing:
            tracemalloc.stop()
    assert taken < MEMORY, f"it took {taken} bytes of memory"


def inputs(name: str, root: Path) -> st.SearchStrategy[bytes]:
    """Inputs for a decoder: mutants of its corpus, sealed anew or not, and any bytes."""
    decoder = DECODERS[name]
    bases = st.sampled_from(sorted(entries(root, name).values()))
    pieces = st.sampled_from(_TOKENS) if decoder.is_text else st.binary(min_size=1, max_size=8)
    numbers = st.sampled_from(BOMBS).map(lambda number: number.to_bytes(8, "little"))
    places = st.integers(0, _MOST_BYTES) | st.sampled_from((*decoder.numbers, 0))
    edits = st.lists(st.tuples(places, pieces | numbers, st.booleans()), max_size=4)
    ends = st.none() | st.integers(0, _MOST_BYTES)
    tails = st.just(b"") | st.binary(max_size=64)
    made = st.builds(_mutant, st.just(decoder), bases, edits, ends, tails, st.booleans())
    return made | st.binary(max_size=_MOST_BYTES)


def _mutant(
    decoder: Decoder,
    data: bytes,
    edits: list[tuple[int, bytes, bool]],
    end: int | None,
    tail: bytes,
    sealed: bool,
) -> bytes:
    """Some bytes with pieces written over or put between others, cut, continued, sealed."""
    for place, piece, between in edits:
        at = place % (len(data) + 1)
        data = data[:at] + piece + data[at + (0 if between else len(piece)) :]
    data = data[:end] + tail
    return decoder.seal(data) if sealed else data


def target(name: str, root: Path, *, keeps: bool) -> Callable[[bytes], object]:
    """What a fuzzer calls with any bytes; they are the choices of which an input is made.

    Raises `BrokenLaw`; ``keeps``: the input is then written into the corpus.
    """

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(name, root))
    def run(data: bytes) -> None:
        check(name, data, root if keeps else None)

    found: Callable[[bytes], object] = cast(Any, run).hypothesis.fuzz_one_input
    return found
