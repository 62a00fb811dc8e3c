"""A demonstration of a tree that is killed, recovered, proven, damaged and checked.

Usage: ``python -m rotortree.demo [--dir DIR] [--keep] [--source DIR]``.

It keeps an integrity log of this computer's Python standard library: the hash of every file is a
leaf.  It kills the process that writes the log half-way and starts it again.  Then other processes,
which have no tree, verify proofs, and ``check`` finds a bit that was flipped in a copy.  Every step
is a command that a user could type, and every number that it prints was measured.  A step that
fails ends the demonstration with exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

__all__ = ["main"]

_LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__"})
_LEAST_FILES = 16
_TIMEOUT_SECONDS = 300.0


class _Failure(Exception):
    """A step of the demonstration failed."""


def _expect(holds: bool, claim: str) -> None:
    if not holds:
        raise _Failure(claim)


@dataclass(frozen=True, slots=True)
class _Done:
    """Exit status and output of a command that has ended."""

    status: int
    stdout: str
    stderr: str


class _Shell:
    """Runs and prints ``rotortree`` commands in a directory, each in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        package = Path(__file__).resolve().parent.parent
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command whose stdin and stdout are pipes."""
        print(f"  $ {shlex.join(('rotortree', *words))}", flush=True)
        return subprocess.Popen(
            [sys.executable, "-m", "rotortree.cli", *words],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, status: int = 0) -> _Done:
        """Run a command to its end; raise _Failure if it has another exit status."""
        process = self.start(*words)
        try:
            stdout, stderr = process.communicate(timeout=_TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        done = _Done(process.returncode, stdout.decode(), stderr.decode())
        said = done.stderr.strip() or done.stdout.strip()
        _expect(done.status == status, f"exit status {done.status}, not {status}: {said}")
        return done

    def values(self, *words: str) -> dict[str, Any]:
        """Run a command with --json; return the values that it printed."""
        found: dict[str, Any] = json.loads(self.run(*words, "--json").stdout)
        return found


def _say(*lines: str) -> None:
    for line in lines:
        print(f"    {line}", flush=True)


def _title(number: int, text: str) -> None:
    print(f"\n{number}. {text}", flush=True)


def _short(root: object) -> str:
    return f"{str(root)[:12]}…"


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def _files_of(source: Path) -> list[str]:
    """All readable regular files below a directory, sorted: leaf i is file i."""
    found = []
    for folder, names, files in os.walk(source):
        names[:] = [name for name in names if name not in _LEFT_OUT]
        paths = (os.path.join(folder, name) for name in files)
        found += [path for path in paths if _is_readable_file(path)]
    return sorted(found)


def _is_readable_file(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK) and "\n" not in path


class _Demonstration:
    """The steps, in order.  Each uses the files that the steps before it left."""

    def __init__(self, directory: Path, source: Path) -> None:
        self.shell = _Shell(directory)
        self.directory = directory
        self.files = _files_of(source)
        self.source = source
        self.batch = max(1, len(self.files) // 128)

    def run(self) -> None:
        """Run all steps.  Raises _Failure at the first step that fails."""
        _expect(
            len(self.files) >= _LEAST_FILES,
            f"{self.source} has {len(self.files)} files, and at least {_LEAST_FILES} are needed",
        )
        old_size = self._first_quarter()
        size = self._killed(old_size)
        self._rest(size)
        self._compared()
        self._inclusion()
        self._consistency(old_size)
        self._damage()

    def _list(self, name: str, files: Sequence[str]) -> str:
        (self.directory / name).write_bytes(b"".join(os.fsencode(file) + b"\n" for file in files))
        return name

    def _first_quarter(self) -> int:
        total = sum(os.path.getsize(file) for file in self.files)
        _title(1, "A log of the standard library: the hash of every file is a leaf")
        _say(f"{self.source}: {len(self.files):,} files, {_mebibytes(total)}")
        self.shell.run("create", "log")
        names = self._list("first.txt", self.files[: len(self.files) // 4])
        self._appended(self.shell.values("append", "log", "--hash-files", "--files-from", names))
        self.shell.run("head", "log", "-o", "before.json")
        head = json.loads((self.directory / "before.json").read_text())
        _say(f"before.json: {head['size']:,} leaves, root {_short(head['root'])}")
        return int(head["size"])

    def _appended(self, values: dict[str, Any]) -> None:
        rate = values["bytes"] / max(values["seconds"], 1e-9)
        _say(
            f"{values['appended']:,} files, {_mebibytes(values['bytes'])} hashed and durable in"
            f" {values['seconds']:.2f} s, {_mebibytes(int(rate))}/s;"
            f" size {values['size']:,}, root {_short(values['root'])}"
        )

    def _killed(self, old_size: int) -> int:
        """Kill the process that appends; return the size that was recovered."""
        _title(2, "The process that appends is killed half-way (SIGKILL)")
        _say("the pipe never delivers the last quarter of the names, so the process cannot finish")
        fed = self.files[old_size : len(self.files) * 3 // 4]
        options = ("--hash-files", "--partial", "--batch", str(self.batch), "--files-from", "-")
        process = self.shell.start("append", "log", *options)
        acknowledged = _kill_in_the_middle(process, fed, len(self.files) // 2)
        _expect(
            process.returncode == -signal.SIGKILL, f"the process ended with {process.returncode}"
        )
        _say(f"killed; the last size that it had acknowledged as durable was {acknowledged:,}")
        found = self.shell.values("info", "log")
        size = int(found["size"])
        _say(
            f"recovered {size:,} leaves in {found['seconds'] * 1000:.1f} ms,"
            f" {found['log_leaves']:,} of them from the log; torn:"
            f" {found['torn_bytes']} bytes; closed cleanly: {'yes' if found['clean'] else 'no'}"
        )
        _expect(acknowledged <= size, f"{acknowledged - size} acknowledged leaves were lost")
        _expect(size <= old_size + len(fed), "there are more leaves than were given")
        _say(f"nothing acknowledged was lost: {acknowledged:,} ≤ {size:,}")
        return size

    def _rest(self, size: int) -> None:
        _title(3, "A new process appends the files that are missing")
        names = self._list("all.txt", self.files)
        arguments = ("--hash-files", "--files-from", names, "--skip", str(size))
        values = self.shell.values("append", "log", *arguments)
        self._appended(values)
        _expect(values["size"] == len(self.files), "not every file is a leaf")
        done = self.shell.values("checkpoint", "log")
        _expect(done["size"] == len(self.files), "the checkpoint does not hold every leaf")
        self.shell.run("head", "log", "-o", "after.json")
        files = (path for path in (self.directory / "log").rglob("*") if path.is_file())
        stored = sum(path.stat().st_size for path in files)
        _say(f"checkpoint of {done['size']:,} leaves; the tree takes {stored:,} bytes on disk")

    def _compared(self) -> None:
        _title(4, "Every leaf is compared with its file, which is hashed once more")
        self.shell.run("export", "log", "--raw", "-o", "leaves.bin")
        started = time.monotonic()
        expected = b"".join(blake3(Path(file).read_bytes()).digest() for file in self.files)
        _expect((self.directory / "leaves.bin").read_bytes() == expected, "a leaf is wrong")
        _say(f"{len(self.files):,} leaves are right ({time.monotonic() - started:.2f} s)")

    def _verifier(self, *names: str) -> _Shell:
        """A shell in an empty directory, with copies of these files and nothing else."""
        directory = Path(tempfile.mkdtemp(prefix="verifier-", dir=self.directory))
        for name in names:
            shutil.copy(self.directory / name, directory)
        return _Shell(directory)

    def _inclusion(self) -> None:
        named_os = (index for index, file in enumerate(self.files) if Path(file).name == "os.py")
        index = next(named_os, len(self.files) // 2)
        file = self.files[index]
        _title(5, f"Proof that {os.path.relpath(file, self.source)} is in the log")
        self.shell.run("prove", "log", str(index), "-o", "proof.json")
        length = (self.directory / "proof.json").stat().st_size
        _say(f"proof.json: {length:,} bytes.  A verifier with only head, proof and file:")
        verifier = self._verifier("after.json", "proof.json")
        command = ("verify", "--head", "after.json", "proof.json", "--file")
        found = verifier.values(*command, file)
        _expect((found["verified"], found["index"]) == (True, index), "it proves something else")
        _say(
            f"verified: leaf {found['index']:,} of {found['size']:,}, root {_short(found['root'])}"
        )
        changed = bytearray(Path(file).read_bytes() or b"\0")
        changed[len(changed) // 2] ^= 1
        (verifier.directory / "changed").write_bytes(changed)
        _say("With one bit of the file changed, verification must fail:")
        done = verifier.run(*command, "changed", status=1)
        _say(f"exit status {done.status}: {done.stderr.strip()}")

    def _consistency(self, old_size: int) -> None:
        _title(6, "Proof that the log only grew since before the kill")
        self.shell.run("prove-consistency", "log", str(old_size), "-o", "consistency.json")
        length = (self.directory / "consistency.json").stat().st_size
        _say(f"consistency.json: {length:,} bytes.  A verifier with only the proof and two heads:")
        verifier = self._verifier("before.json", "after.json", "consistency.json")
        names = ("before.json", "after.json", "consistency.json")
        found = verifier.values("verify-consistency", *names)
        sizes = (found["old_size"], found["size"])
        _expect(sizes == (old_size, len(self.files)), "it proves something else")
        _say(
            f"verified: the {found['size']:,} leaves with root {_short(found['root'])} begin with"
            f" the {found['old_size']:,} leaves with root {_short(found['old_root'])}"
        )

    def _damage(self) -> None:
        _title(7, "One bit of a copy is flipped, and found")
        print("  $ cp -r log damaged", flush=True)
        shutil.copytree(self.directory / "log", self.directory / "damaged")
        name = "damaged/levels/0/00000000.nodes"
        path = self.directory / name
        data = bytearray(path.read_bytes())
        offset = len(data) // 2
        data[offset] ^= 1
        path.write_bytes(data)
        _say(f"flipped a bit of {name} at offset {offset:,}")
        done = self.shell.run("check", "damaged", status=1)
        _say(*done.stdout.splitlines())
        _expect(name in done.stdout, f"check does not name {name}")
        done = self.shell.run("check", "log")
        _say(*done.stdout.splitlines())


def _kill_in_the_middle(process: subprocess.Popen[bytes], names: Sequence[str], size: int) -> int:
    """Feed names; kill when ``size`` or more is acknowledged; return the last acknowledged size."""
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    assert process.stderr is not None
    data = b"".join(os.fsencode(name) + b"\n" for name in names)
    feeder = threading.Thread(target=_feed, args=(process.stdin.fileno(), data))
    feeder.start()
    watchdog = threading.Timer(_TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        acknowledged = 0
        for line in process.stdout:
            word, _, number = line.partition(b" ")
            if word != b"durable" or not line.endswith(b"\n"):
                continue  # the kill may have cut off the last line
            acknowledged = int(number)
            if acknowledged >= size:
                process.kill()
        said = process.stderr.read().decode().strip()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        feeder.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
    _expect(acknowledged >= size, f"the process ended before it was killed: {said}")
    return acknowledged


def _feed(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _work_directory(parent: str | None, *, keep: bool) -> Iterator[Path]:
    """Make a directory to work in; remove it in the end unless ``keep`` is set."""
    path = Path(tempfile.mkdtemp(prefix="rotortree-demo-", dir=parent))
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rotortree.demo", description="Demonstrate RotorTree on real files."
    )
    parser.add_argument("--dir", help="where to make the directory to work in")
    parser.add_argument("--keep", action="store_true", help="do not remove it in the end")
    parser.add_argument(
        "--source",
        default=sysconfig.get_path("stdlib"),
        help="the directory to keep a log of; Python's standard library by default",
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        with _work_directory(options.dir, keep=options.keep) as directory:
            print(f"RotorTree at work in {directory}")
            _Demonstration(directory, Path(options.source).resolve()).run()
            print(f"\nEvery step succeeded, in {time.monotonic() - started:.1f} s.")
            if options.keep:
                print(f"All files are still in {directory}")
    except (_Failure, OSError, subprocess.SubprocessError) as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
