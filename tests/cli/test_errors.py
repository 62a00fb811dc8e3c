"""Exit statuses, one line on stderr, pipes and signals: the command as a process."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rotortree import errors
from rotortree.cli.errors import CommandError, verdict
from tests.cli.support import COMMAND, environment, hex_lines, leaf, make_tree, process, run


def finish(*words: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command as a process to its end."""
    with process(*words) as running:
        stdout, stderr = running.communicate(stdin, timeout=60)
        return running.returncode, stdout.decode(), stderr.decode()


WRONG = (
    (),
    ("--nonsense",),
    ("nonsense",),
    ("info",),
    ("info", "a", "b"),
    ("root", "tree", "--size"),
    ("root", "tree", "--size", "many"),
    ("create", "new", "--n", "four"),
    ("prove", "tree"),
    ("prove", "tree", "x"),
    ("verify", "proof"),
    ("verify", "--head", "head"),
    ("append", "tree", "--skip", "-1"),
)


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_one_line(words: tuple[str, ...]) -> None:
    """Which says where help is; no box, no usage, no traceback."""
    result = run(*words, status=2)
    assert result.stdout == ""
    assert result.stderr.endswith("--help)\n")


def test_errors_of_a_process_are_one_line_without_a_traceback(tmp_path: Path) -> None:
    """Of every kind: usage, input, storage, verification."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    segment = next((tree / "wal").iterdir())
    (tmp_path / "head").write_text(run("head", tree, "--size", "4").stdout)
    (tmp_path / "proof").write_text(run("prove", tree, "1").stdout)
    assert finish("--nonsense")[::2] == (
        2,
        "rotortree: No such option: --nonsense (see rotortree --help)\n",
    )
    status, _, stderr = finish("append", tree, stdin=b"oops\n")
    assert (status, stderr.count("\n")) == (2, 1)
    status, _, stderr = finish("verify", "--head", tmp_path / "head", tmp_path / "proof")
    assert (status, stderr.count("\n")) == (1, 1)
    data = segment.read_bytes()
    segment.write_bytes(data[:200] + b"damage" + data[206:])
    for command in ("info", "root", "append", "export", "checkpoint"):
        status, stdout, stderr = finish(command, tree)
        assert (status, stdout, stderr.count("\n")) == (1, "", 1)
        assert stderr.startswith(f"rotortree: {segment}, offset 160: leaves 0 to 4 are damaged")


LATE = """
import sys, time
from rotortree.console import application, run

class Late:
    def __del__(self):
        raise KeyboardInterrupt

app = application("late", lambda error: None)

@app.command()
def wait(number: int):
    for _ in range(number):
        Late()
        time.sleep(60)

@app.command()
def other():
    pass

sys.argv = ["late", "wait", "3"]
run(app)
"""


def test_an_interrupt_in_a_finalizer_is_not_lost() -> None:
    """Python drops what a finalizer raises; a command that ran on would have ignored Ctrl-C."""
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        env=environment(),
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"late: interrupted\n")


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    """Whether the output is larger than the buffers or not; exit status 141."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    run("append", tree, "--hash-lines", stdin="".join(f"{number}\n" for number in range(5000)))
    (tmp_path / "leaves").write_text(hex_lines(range(5)))
    append = ("append", tree, "--partial", "--batch", "1", tmp_path / "leaves")
    for words in (("export", tree), ("root", tree), ("dump", tree), append):
        read, write = os.pipe()
        os.close(read)
        with process(*words, stdout=write) as running:
            os.close(write)
            _, stderr = running.communicate(timeout=60)
            assert (running.returncode, stderr) == (141, b"")


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A full disk, and stdout closed from the start; the exit status says so."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    with open("/dev/full", "wb") as full:
        for command in ("export", "root", "head", "check"):
            with process(command, tree, stdout=full) as running:
                _, stderr = running.communicate(timeout=60)
                assert running.returncode == 1
                assert stderr == b"rotortree: output: No space left on device\n"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "root", str(tree)],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"rotortree: stdout is closed\n")


def test_stdin_may_be_closed(tmp_path: Path) -> None:
    """That is an error of the input, not of the command."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "append", str(tree)],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == b"rotortree: <stdin>: closed (nothing was appended)\n"


def test_a_terminal_sees_a_bar_and_a_pipe_sees_none(tmp_path: Path) -> None:
    """The bar is on stderr, and is gone in the end; plain text goes to the pipe."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    ours, theirs = pty.openpty()
    with process("append", tree, "--partial", "--batch", "1", stderr=theirs) as running:
        os.close(theirs)
        stdout, _ = running.communicate(hex_lines(range(5, 8)).encode(), timeout=60)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # what the end of a terminal looks like on Linux
                break
            if not part:
                break
            shown += part
        os.close(ours)
        assert running.returncode == 0, shown
        assert b"3 leaves" in shown
        assert stdout.startswith(
            b"durable 6\ndurable 7\ndurable 8\nappended 3 leaves, durable; size 8"
        )


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    """Whatever bytes it has, it is one line."""
    name = os.fsencode(tmp_path) + b"/\xff\n\x1b[31m"
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"info", name],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(b"/\\udcff\\n\\x1b[31m: no tree there\n")
    assert done.stderr.count(b"\n") == 1


def test_importing_the_library_does_not_import_the_command() -> None:
    """Nor typer, nor rich."""
    code = "import sys, rotortree; print([m for m in sys.modules if m in ('typer', 'rich')])"
    done = subprocess.run(
        [COMMAND[0], "-c", code], env=environment(), capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"


IO = OSError(errno.EIO, "Input/output error")
VERDICTS = [
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(), 141),
    (typer.Exit(7), 7),
    (typer.BadParameter("x"), 2),
    (CommandError("x"), 2),
    (CommandError("x", 1), 1),
    (FileNotFoundError(errno.ENOENT, "x"), 2),
    (PermissionError(errno.EACCES, "x"), 1),
    (IO, 1),
    (errors.IoFailedError("x", "open", IO), 1),
    (errors.IoFailedError("x", "list", NotADirectoryError(errno.ENOTDIR, "x")), 2),
    (errors.SyncFailedError("x", "fsync", IO), 1),
    (errors.InvalidProofError("x"), 1),
    (errors.NoUpdateNeededError(3), 1),
    (errors.InvalidConfigError("n", 1, "x"), 2),
    (errors.InvalidLeafError("x"), 2),
    (errors.EmptyBatchError(), 2),
    (errors.IndexOutOfRangeError("leaf", 1, 1), 2),
    (errors.CapacityExceededError(1, 1, 1, "x"), 2),
    (errors.MaxDepthExceededError(1, 1, 1, "x"), 2),
    (errors.ReentrantError("x"), 2),
    (errors.TreeNotFoundError("x"), 2),
    (errors.NotATreeError("x", "y"), 2),
    (errors.ConfigMismatchError("x", "n", 1, 2), 2),
    (errors.FileLockedError("x"), 1),
    (errors.ClosedError("x"), 1),
    (errors.ReadOnlyError("x"), 1),
    (errors.FlushFailedError("x", retryable=True), 1),
    (errors.DetachedError("x", "was removed"), 1),
    (errors.CheckpointFailedError("x"), 1),
    (errors.UnsupportedFormatError("x", 2, 1), 1),
    (errors.DataCorruptionError("x", 1, "y"), 1),
    (errors.ChecksumMismatchError("x", 1, "y"), 1),
    (errors.WalCorruptedError("x", 1, "y"), 1),
]


@pytest.mark.parametrize(("error", "status"), VERDICTS, ids=lambda value: type(value).__name__)
def test_every_foreseeable_error_has_a_status(error: BaseException, status: int) -> None:
    """Usage is 2, what fails is 1."""
    found = verdict(error)
    assert found is not None
    assert found[0] == status


def test_no_error_of_the_library_was_forgotten() -> None:
    """Each of its classes but the abstract ones is in the table above."""
    abstract = {"RotorTreeError", "TreeError", "StorageError"}
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert classes - abstract <= {type(error).__name__ for error, _ in VERDICTS}


def test_a_bug_keeps_its_traceback() -> None:
    """What nobody foresaw is not made to look like a user's mistake."""
    assert verdict(ZeroDivisionError()) is None
    assert leaf(1) != leaf(2)
