"""append: every format, all or nothing, durable before it says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from blake3 import blake3

from rotortree import LeanIMT, RotorTree
from tests.cli.support import hex_lines, leaf, make_tree, process, run, values


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of five leaves."""
    return make_tree(tmp_path / "tree", 0, (5,))


def leaves_of(tree: Path) -> list[bytes]:
    """The leaves as the library reads them."""
    with RotorTree.open(tree, read_only=True) as opened:
        row = opened.snapshot().leaves()
    return [row[at : at + 32] for at in range(0, len(row), 32)]


def test_hexadecimal_lines_are_leaves_in_order(tree: Path, tmp_path: Path) -> None:
    """From stdin and from files, of either case, with either line end or none."""
    (tmp_path / "one").write_text(leaf(6).hex().upper() + "\r\n" + leaf(7).hex())
    run("append", tree, stdin=hex_lines(range(5, 6)))
    run("append", tree, tmp_path / "one", "-", stdin=hex_lines(range(8, 9)))
    assert leaves_of(tree) == [leaf(number) for number in range(9)]


def test_raw_records_are_leaves(tree: Path) -> None:
    """Each 32 bytes are one."""
    run("append", tree, "--raw", stdin=b"".join(leaf(number) for number in range(5, 9)))
    assert leaves_of(tree) == [leaf(number) for number in range(9)]


def test_a_hashed_line_is_the_hash_of_its_bytes_without_the_newline(tree: Path) -> None:
    """An empty line and a last line without a newline are lines; a carriage return is content."""
    run("append", tree, "--hash-lines", stdin=b"one\n\ntwo\r\nthree")
    expected = [blake3(line).digest() for line in (b"one", b"", b"two\r", b"three")]
    assert leaves_of(tree)[5:] == expected


def test_a_line_longer_than_what_is_read_at_once_is_one_leaf(tree: Path) -> None:
    """Lines are hashed piece by piece."""
    long = b"x" * ((1 << 20) + 7)
    run("append", tree, "--hash-lines", stdin=long + b"\n" + long[: 1 << 20])
    assert leaves_of(tree)[5:] == [blake3(long).digest(), blake3(long[: 1 << 20]).digest()]


def test_a_hashed_file_is_the_hash_of_its_content(tree: Path, tmp_path: Path) -> None:
    """Files in the order given, directories in the order of names, a list of names behind them."""
    for name in ("b/2", "b/10", "b/1/x", "a", "c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    names = f"{tmp_path / 'a'}\n{tmp_path / 'b'}\n"
    run(
        *("append", tree, "--hash-files", tmp_path / "c", tmp_path / "b", "--files-from", "-"),
        stdin=names,
    )
    expected = ("c", "b/1/x", "b/10", "b/2", "a", "b/1/x", "b/10", "b/2")
    assert leaves_of(tree)[5:] == [blake3(name.encode()).digest() for name in expected]


@pytest.mark.parametrize("partial", [(), ("--partial",), ("--partial", "--batch", "2")])
def test_skip_goes_on_where_an_append_was_cut_off(
    tree: Path, tmp_path: Path, partial: tuple[str, ...]
) -> None:
    """The first N leaves are left out in every format."""
    for number in range(4):
        (tmp_path / f"{number}").write_text(str(number))
    files = [tmp_path / str(number) for number in range(4)]
    run("append", tree, "--skip", "3", *partial, stdin=hex_lines(range(2, 7)))
    run("append", tree, "--raw", "--skip", "1", *partial, stdin=leaf(0) + leaf(7) + leaf(8))
    run("append", tree, "--hash-lines", "--skip", "9", *partial, stdin="x\n" * 9 + "9\n10")
    run("append", tree, "--hash-files", "--skip", "2", *partial, *files)
    assert leaves_of(tree) == [leaf(number) for number in (*range(11), 2, 3)]


def test_json_says_what_was_appended(tree: Path) -> None:
    """And the root is that of the same leaves in memory."""
    found = values("append", tree, stdin=hex_lines(range(5, 12)))
    seconds = found.pop("seconds")
    assert 0 < seconds < 60
    assert found == {
        "directory": str(tree),
        "first": 5,
        "appended": 7,
        "size": 12,
        "root": LeanIMT(n=3).insert_many([leaf(number) for number in range(12)]).hex(),
        "bytes": 7 * 65,
    }


def test_appending_nothing_is_no_error(tree: Path) -> None:
    """An empty input leaves the tree as it is."""
    assert values("append", tree)["appended"] == 0
    assert run("append", tree, "--partial").stdout.startswith("appended 0 leaves")


BAD = {
    "digit": (b"x" * 64 + b"\n", (), "<stdin>, line 7: "),
    "short": (b"ab" * 31 + b"\n", (), "<stdin>, line 7: "),
    "long": (b"ab" * 33 + b"\n", (), "<stdin>, line 7: "),
    "empty": (b"\n", (), "<stdin>, line 7: "),
    "binary": (b"\xff" * 64, (), "<stdin>, line 7: "),
    "space": (b" " + b"ab" * 31 + b" \n", (), "<stdin>, line 7: "),
    "record": (b"", ("--raw",), "<stdin>, offset 384: 6 bytes"),
    "missing": (b"", ("-", "no-such-file"), "no-such-file: No such file"),
    "list": (b"", ("-", "--files-from", "/nowhere/list"), "/nowhere/list: No such file"),
    "skip": (b"", ("--skip", "7"), "the input has 6 leaves, fewer than the 7 to skip"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_appends_nothing(tree: Path, name: str) -> None:
    """However much of it was right; the error names the place."""
    data, options, place = BAD[name]
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    result = run("append", tree, *options, stdin=hex_lines(range(5, 11)).encode() + data, status=2)
    assert result.stderr.startswith(f"rotortree: {place}")
    assert result.stderr.endswith(" (nothing was appended)\n")
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_partial_keeps_what_came_before_the_error(tree: Path, batch: int) -> None:
    """All of it, a batch that was not full included; and says so."""
    data = hex_lines(range(5, 11)) + "oops\n" + hex_lines(range(11, 12))
    options = ("--partial", "--batch", str(batch))
    result = run("append", tree, *options, stdin=data, status=2)
    assert "line 7: not 64 hexadecimal digits: it begins with 'oops'" in result.stderr
    assert result.stderr.endswith(" (6 leaves were appended, size 11)\n")
    assert leaves_of(tree) == [leaf(number) for number in range(11)]
    acknowledged = [int(line.removeprefix("durable ")) for line in result.stdout.splitlines()]
    assert acknowledged == [*range(5 + batch, 11, batch), 11]


def test_a_batch_is_durable_when_its_line_is_there(tree: Path) -> None:
    """Whoever reads "durable N" and kills the process finds N leaves, and nothing half."""
    with process("append", tree, "--partial", "--batch", "3", bufsize=0) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(hex_lines(range(5, 12)).encode())  # the last leaf fills no batch
        assert [running.stdout.readline() for _ in range(2)] == [b"durable 8\n", b"durable 11\n"]
        running.kill()
        running.communicate()
        assert leaves_of(tree) == [leaf(number) for number in range(11)]


def test_an_interrupt_while_reading_appends_nothing(tree: Path) -> None:
    """Ctrl-C: exit status 130, one line, and no traceback."""
    with process("append", tree, bufsize=0) as running:
        assert running.stdin is not None
        # More than a pipe holds: the process has begun to read when the last of it is written.
        running.stdin.write(hex_lines(range(5, 5000)).encode())
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
        assert stderr.decode() == "rotortree: interrupted (nothing was appended)\n"
        assert running.returncode == 130
        assert len(leaves_of(tree)) == 5


def test_a_tree_that_is_open_elsewhere_is_named(tree: Path) -> None:
    """At once, with exit status 1; readers wait for nobody either."""
    with RotorTree.open(tree):
        for command in ("append", "info", "check", "dump", "checkpoint"):
            stderr = run(command, tree, status=1).stderr
            assert stderr == f"rotortree: {tree}/LOCK: the tree is open elsewhere\n"


@pytest.mark.parametrize(
    "words", [("--raw", "--hash-lines"), ("--hash-files", "--raw"), ("--batch", "0")]
)
def test_contradictory_options_are_usage_errors(tree: Path, words: tuple[str, ...]) -> None:
    """Nothing is read, nothing is appended."""
    run("append", tree, *words, stdin=hex_lines(range(5, 6)), status=2)
    assert len(leaves_of(tree)) == 5


def test_more_leaves_than_fit_are_refused_as_a_whole(tmp_path: Path) -> None:
    """The capacity is n ** max_depth."""
    run("create", tmp_path / "tree", "--n", "2", "--max-depth", "2")
    stderr = run("append", tmp_path / "tree", stdin=hex_lines(range(5)), status=2).stderr
    assert "its capacity is 4" in stderr
    assert stderr.endswith(" (nothing was appended)\n")
    assert leaves_of(tmp_path / "tree") == []
    options = ("--partial", "--batch", "3")
    stderr = run("append", tmp_path / "tree", *options, stdin=hex_lines(range(5)), status=2).stderr
    assert stderr.endswith(" (3 leaves were appended, size 3)\n")
    assert leaves_of(tmp_path / "tree") == [leaf(number) for number in range(3)]


def test_a_full_disk_is_one_line_and_says_what_stays(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, and the leaves that were not written are not there later either."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    stderr = run("append", tree, stdin=hex_lines(range(5, 9)), status=1).stderr
    assert "No space left on device" in stderr
    assert stderr.endswith(" (nothing was appended)\n")
    monkeypatch.undo()
    assert len(leaves_of(tree)) == 5
