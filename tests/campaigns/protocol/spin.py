"""Spin, from outside: a model in a folder of its own, translated, compiled, searched."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.planting import Edit

__all__ = ["MODEL", "SPIN_VERSION", "Found", "ProtocolError", "check_tools", "search"]

MODEL = Path(__file__).parents[3] / "specs/protocol"
"""The folder of the model's files."""

SPIN_VERSION = "6.5.2"
"""The version that the model was written for."""

_MEGABYTES = 3000
"""The most that one search may use."""

_SAFETY: tuple[str, ...] = ("-DSAFETY",)
_PROGRESS: tuple[str, ...] = ("-DNFAIR=3",)


class ProtocolError(Exception):
    """Spin or the compiler is missing, or does not take the model."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: the assertion or claim that is violated, or nothing.

    ``complete``: every state was looked at.
    """

    violated: str
    complete: bool
    states: int
    seconds: float
    calls: tuple[str, ...]


def check_tools() -> None:
    """Raise ProtocolError if Spin or gcc is missing, or Spin is of another version."""
    for program, package in (("spin", "spin"), ("gcc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            raise ProtocolError(f"There is no {program}. On Debian: apt-get install {package}")
    version = _run(["spin", "-V"], MODEL)
    if f"Version {SPIN_VERSION} " not in version:
        raise ProtocolError(f"The model is for Spin {SPIN_VERSION}, and this is: {version.strip()}")


def search(
    file: str,
    bounds: Mapping[str, int],
    edits: Sequence[Edit] = (),
    *,
    word: Sequence[str] = (),
    backwards: bool = False,
) -> Found:
    """Search all states of a model within bounds, or until something is violated.

    With a ``word`` the model does nothing but what that says next, and violates ``word_at`` at its
    end.  A symbol that is ON a segment ends in its number.  ``backwards``: choices are tried in the
    reverse order.

    Raises PlantingError if an edit does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="rotortree-protocol-") as name:
        folder = Path(name)
        _copy(folder, edits)
        (folder / "checked.pml").write_text(
            f'{_spelled(word)}#include "{file}"\n', encoding="utf-8"
        )
        started = time.monotonic()
        defined = [f"-D{key}={value}" for key, value in bounds.items()]
        said = _run(["spin", "-a", *defined, "checked.pml"], folder)
        if "Error" in said or not (folder / "pan.c").exists():
            raise ProtocolError(f"Spin does not take {file}: {said.strip()}")
        is_progress = file == "progress.pml"
        compile_flags = _PROGRESS if is_progress else _SAFETY
        compile_flags += ("-DT_REVERSE",) if backwards else ()
        limit = f"-DMEMLIM={_MEGABYTES}"
        _run(
            ["gcc", "-O0", "-w", "-DCOLLAPSE", limit, *compile_flags, "-o", "pan", "pan.c"], folder
        )
        flags = ["-a", "-f"] if is_progress else ["-E"] if word else []
        output = _run(["./pan", "-m1000000", "-n", *flags], folder)
        seconds = time.monotonic() - started
        trail = ""
        if (folder / "checked.pml.trail").exists():
            trail = _run(["spin", "-t", *defined, "checked.pml"], folder)
    return _found(output, trail, seconds)


def _copy(folder: Path, edits: Sequence[Edit]) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in MODEL.glob("*.pml")}
    for edit in edits:
        texts[str(edit.where)] = edit.edited(texts[str(edit.where)])
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _spelled(word: Sequence[str]) -> str:
    """A word as the model takes it; a symbol without a number has one that is not looked at."""
    if not word:
        return ""
    symbols, _, segments = zip(*(symbol.partition(" ") for symbol in word), strict=True)
    return (
        f"#define WORD {', '.join(symbols)}\n"
        f"#define WORD_SEGMENTS {', '.join(segment or '0' for segment in segments)}\n"
        f"#define WORD_LENGTH {len(word)}\n"
    )


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    output = done.stdout.decode(errors="replace")
    if command[0] == "gcc" and done.returncode:
        raise ProtocolError(f"gcc does not take Spin's verifier: {output[:300]}")
    return output


def _found(output: str, trail: str, seconds: float) -> Found:
    violation = re.search(r"^pan:1: (.*) \(at depth", output, re.MULTILINE)
    states = re.search(r"^\s*(\d+) states, stored", output, re.MULTILINE)
    stopped = "Search not completed" in output or "max search depth too small" in output
    if states is None:
        raise ProtocolError(f"the search said nothing: {output[-300:].strip()}")
    calls = tuple(line.strip() for line in trail.splitlines() if re.fullmatch(r"\s*[A-Z_]+", line))
    violated = "" if violation is None else violation[1].strip()
    return Found(violated, not stopped, int(states[1]), seconds, calls)
