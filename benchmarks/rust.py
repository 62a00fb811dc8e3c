"""Builds the original crate, if possible: a Cargo project in `rust`, with both versions in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.workers import Unavailable

__all__ = ["VERSIONS", "build", "compiler"]

VERSIONS = ("0.15", "0.19")
"""The versions that the program can run."""

_FOLDER = Path(__file__).with_name("rust")

_BUILD = Path(__file__).resolve().parent.parent / "build" / "benchmarks-rust"

_NAME = "rotortree-comparison"

_SECONDS = 600
"""The time limit of building, in seconds."""


def compiler() -> str:
    """The version of the Rust compiler.  Raises Unavailable."""
    return _run("rustc", "--version").stdout.strip()


def build() -> Path:
    """Build the program, unless it was built before, and return its path.  Raises Unavailable.

    The first time, this needs the registry of crates.
    """
    manifest = str(_FOLDER / "Cargo.toml")
    _run("cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest)
    return _BUILD / "release" / _NAME


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    path = shutil.which(command[0])
    if path is None:
        short = f"{command[0]}: not installed"
        raise Unavailable(
            short, f"{short}, so the original crate is not measured: see https://rustup.rs"
        )
    target = ("--target-dir", str(_BUILD)) if command[0] == "cargo" else ()
    try:
        return subprocess.run(
            [path, *command[1:], *target],
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable("cargo: too slow", "cargo did not build the crate in time") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()] or ["it failed"]
        raise Unavailable(
            f"{command[0]}: failed", f"the original crate is not measured: {' '.join(lines[:4])}"
        ) from None
