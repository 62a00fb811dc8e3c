"""The hashing of the kernel by every compiler that is here: sanitized, and for AArch64 by qemu."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from blake3 import blake3

DRIVER = Path(__file__).with_name("driver.c")
STRICT = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

BUILDS: dict[str, tuple[list[str], list[str]]] = {
    "gcc": (["gcc", *STRICT], []),
    "gcc, sanitized": (["gcc", *STRICT, "-O1", *SANITIZED], []),
    "clang": (["clang", *STRICT], []),
    "aarch64": (["aarch64-linux-gnu-gcc", *STRICT, "-static"], ["qemu-aarch64"]),
}
"""How the driver is compiled, and how it is run."""


def case(k: int, tagged: bool, groups: int) -> bytes:
    """What `driver.c` reads of one case, with the parents that the blake3 package finds."""
    children = random.Random(k).randbytes(32 * k * groups)
    tag = bytes((1, k)) if tagged else b""
    rows = (children[at : at + 32 * k] for at in range(0, len(children), 32 * k))
    parents = b"".join([blake3(tag + row).digest() for row in rows])
    return struct.pack("<4I", k, tagged, groups, 0) + children + parents


def cases() -> Iterator[bytes]:
    """Every k of one chunk and both schemes, around every multiple of the lanes up to 33."""
    for k in range(2, 33):
        for groups in (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33):
            for tagged in (False, True) if k < 32 else (False,):
                yield case(k, tagged, groups)


@cache
def all_cases() -> tuple[bytes, int]:
    """The driver's input, and how many cases it holds."""
    rows = list(cases())
    return b"".join(rows), len(rows)


@pytest.fixture(scope="module", params=BUILDS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the driver; skips if a program that this needs is not there."""
    compiler, runner = BUILDS[request.param]
    for program in (compiler[0], *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    program = str(tmp_path_factory.mktemp("driver") / "driver")
    subprocess.run([*compiler, str(DRIVER), "-o", program], check=True)
    return [*runner, program]


def test_every_build_hashes_alike(driver: list[str]) -> None:
    """It compiles without a warning; no wrong parent, and nothing that a sanitizer sees."""
    given, count = all_cases()
    done = subprocess.run(driver, input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"%d cases\n" % count, b"")


def test_the_driver_notices_a_wrong_parent(driver: list[str]) -> None:
    """The test above is none of nothing: one bit of the last parent is enough."""
    right = case(3, True, 5)
    given = right + right[:-1] + bytes([right[-1] ^ 1])
    done = subprocess.run(driver, input=given, capture_output=True, check=False)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert lines[:2] == [f"4 lanes{how}: 5 groups of 3 are wrong" for how in ("", ", alone")]
    assert lines[-1] == "2 cases"
