"""Decoders under the fuzzer's laws: the kept corpus, mutants of it, and faults that must be found.

`python -m tests.campaigns.decoders` goes on with the same for as long as somebody lets it.
"""

from __future__ import annotations

import random
import re
import shutil
import tracemalloc
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from rotortree import encoding
from rotortree.proofs.encoded import check_length
from rotortree.storage import format, log_reader
from rotortree.storage.format import Commit, Frame, SegmentHeader
from rotortree.storage.level_files import LevelFiles
from tests.campaigns.decoders import fuzzing
from tests.campaigns.decoders.__main__ import main
from tests.campaigns.decoders.corpus import (
    DECODERS,
    FOLDER,
    FOUND,
    Decoder,
    changed_everywhere,
    entries,
    made,
)
from tests.campaigns.decoders.fuzzing import BrokenLaw, check, inputs, target
from tests.campaigns.planting import Edit, planted

ROOT = Path(__file__).resolve().parents[2]

EXAMPLES = 150
"""Mutants for each decoder in the default run, always the same ones."""

LEAST_BYTES = 48 << 10
"""What the shortest input may take: a directory of other files, a proof that is compared."""

decoders = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.evidence("fuzz", *decoder.requirements))
        for name, decoder in DECODERS.items()
    ],
)


def fuzz(name: str, examples: int = EXAMPLES) -> None:
    """Every input of the corpus, valid ones with any one byte changed, and mutants."""
    for entry, data in entries(ROOT, name).items():
        assert check(name, data) or not entry.startswith("valid-"), f"{entry} is refused"
    for data in changed_everywhere(name):
        check(name, data)

    @settings(
        derandomize=True,
        database=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name, ROOT))
    def run(data: bytes) -> None:
        check(name, data)

    run()


@decoders
def test_any_bytes_are_refused_or_mean_these_bytes(name: str) -> None:
    """A typed error, or what the same bytes are written for: the corpus and 150 mutants of it.

    And valid encodings with any one of the first 300 bytes changed, sealed anew and not. All is as
    the model's reader, or a predicate from the text, has it, and takes a second at most.
    """
    fuzz(name)


@decoders
def test_no_input_takes_more_memory_than_a_few_times_its_size(name: str) -> None:
    """All of the corpus, where headers claim up to 2^64 - 1 leaves: 48 KiB and 16 times its size.

    That is of the decoder and of its law together.
    """
    for entry, data in entries(ROOT, name).items():
        check(name, data)  # what is remembered for ever is not of this input
        tracemalloc.start()
        try:
            check(name, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < LEAST_BYTES + 16 * len(data), f"{entry}: {peak} bytes for {len(data)}"


@pytest.mark.parametrize("name", list(DECODERS))
def test_the_corpus_is_what_the_script_makes(name: str) -> None:
    """Byte for byte, but for inputs that were found; it has bombs, mutants and valid encodings."""
    kept = {
        entry: data for entry, data in entries(ROOT, name).items() if not entry.startswith(FOUND)
    }
    assert kept == made(name)
    assert {entry.split("-")[0] for entry in kept} == {"valid", "mutant", "special"}


FAULTS: Mapping[str, tuple[str, Edit]] = {
    "too many hashes": (
        "inclusion",
        Edit(check_length, "!= NODE_BYTES * count", "< NODE_BYTES * count"),
    ),
    "the other kind": (
        "consistency",
        Edit(encoding.Codec.decode, "!= (self.magic, VERSION, 0)", "!= (magic, VERSION, 0)"),
    ),
    "reserved bytes": (
        "inclusion",
        Edit(
            encoding.Codec.decode, "!= (self.magic, VERSION, 0)", "!= (self.magic, VERSION, zero)"
        ),
    ),
    "JSON in UTF-16": (
        "inclusion-json",
        Edit(encoding.load_object, 'text = str(text, "utf-8")', "pass"),
    ),
    "uppercase digits": (
        "consistency-json",
        Edit(encoding.from_hex, "_HEX_NODE.fullmatch(value)", "len(value) == 64"),
    ),
    "a key twice": (
        "inclusion-json",
        Edit(encoding._once_each, "len(found) != len(pairs)", "False"),
    ),
    "a version of 1.0": (
        "head-json",
        Edit(encoding.load_object, 'type(found["version"]) is not int or ', ""),
    ),
    "an error of another type": (
        "head-json",
        Edit(encoding.load_object, "(ValueError, TypeError, RecursionError)", "TypeError"),
    ),
    "reserved bytes of a segment": (
        "segment-header",
        Edit(SegmentHeader.decode, " or reserved:", ":"),
    ),
    "any promise of a segment": (
        "segment-header",
        Edit(SegmentHeader.decode, " or promise < SEGMENT_BYTES", ""),
    ),
    "the promise of a segment": (
        "segment",
        Edit(log_reader._Scanner._walk, "promise = self._header.promise", "promise = 0"),
    ),
    "reserved bytes of a frame": (
        "frame",
        Edit(Frame.decode, "None if reserved else ", ""),
    ),
    "bytes behind the record": (
        "commit",
        Edit(Commit.decode, "len(data) > COMMIT_BYTES", "False"),
    ),
    "a head that is impossible": (
        "commit",
        Edit(format._head, "size > MAX_SIZE or ", ""),
    ),
    "any seal": ("frame", Edit(Frame.decode, "if seal(header, key) != mark:", "if False:")),
    "any flags": ("frame", Edit(Frame.decode, "flags == _MORE", "flags != 0")),
    "the last promise": (
        "segment",
        Edit(log_reader._Scanner._walk, "max(promise, frame.promise)", "frame.promise"),
    ),
    "any chain": (
        "segment",
        Edit(
            log_reader._Scanner._frame,
            "frame.chain) == (number, first, chain)",
            "chain) == (number, first, chain)",
        ),
    ),
    "leaves behind the end": (
        "segment",
        Edit(
            log_reader._Scanner._frame,
            "0 < frame.leaves <= (self._size - payload) // NODE_BYTES",
            "frame.leaves > 0",
        ),
    ),
    "any header of a level file": (
        "level-file",
        Edit(
            LevelFiles._load_shard,
            "if header != shard_header",
            "if False and header != shard_header",
        ),
    ),
    "a level file that is short": (
        "level-file",
        Edit(LevelFiles._load_shard, "file is None or size < length", "file is None"),
    ),
}
"""Faults that somebody could make in a decoder, and the decoder."""


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_planted_fault_in_a_decoder_is_found(fault: str) -> None:
    """By the corpus, or by a mutant of the default run."""
    name, edit = FAULTS[fault]
    with planted(edit), pytest.raises((BrokenLaw, BaseExceptionGroup)):
        fuzz(name)


def test_an_input_that_breaks_a_law_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is written into the corpus, is an entry from then on, and breaks the law again."""
    shutil.copytree(ROOT / FOLDER / "frame", tmp_path / FOLDER / "frame")
    before = entries(tmp_path, "frame")
    run = target("frame", tmp_path, keeps=True)
    for number in range(20):
        run(random.Random(number).randbytes(200))
    assert entries(tmp_path, "frame") == before
    fault = FAULTS["any seal"][1]
    drawn = (random.Random(number).randbytes(200) for number in range(200))
    with planted(fault), pytest.raises(BrokenLaw, match=FOUND):
        deque(map(run, drawn), 0)
    [(found, data)] = entries(tmp_path, "frame").items() - before.items()
    assert found.startswith(FOUND)
    assert check("frame", data) is False
    with planted(fault), pytest.raises(BrokenLaw):
        check("frame", data)


def test_a_slow_decoder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes longer than it may."""
    monkeypatch.setattr(fuzzing, "SECONDS", 0.0)
    with pytest.raises(BrokenLaw, match="it took"):
        check("frame", bytes(128))


def test_a_decoder_that_takes_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose law takes a mebibyte for a few bytes; one that takes half of it is not."""

    def takes(count: int) -> Decoder:
        return DECODERS["frame"]._replace(law=lambda data: bool(bytes(count)))

    monkeypatch.setattr(fuzzing, "DECODERS", {"much": takes(1 << 20), "less": takes(1 << 19)})
    assert check("less", b"few")
    with pytest.raises(BrokenLaw, match="bytes of memory"):
        check("much", b"few")


def test_the_fuzzer_runs_without_guidance(capfd: pytest.CaptureFixture[str]) -> None:
    """Half a second from the command line: no law is broken, and it says how many inputs it had."""
    assert main(["fuzz", "--decoder", "frame", "--seconds", "0.5", "--unguided"]) == 0
    assert re.search("frame: [1-9][0-9,]* inputs", capfd.readouterr().out)
