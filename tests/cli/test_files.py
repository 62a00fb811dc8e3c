"""The user's own files, on a file system in memory; no tree is ever made on it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest
from blake3 import blake3
from pyfakefs.fake_filesystem import FakeFilesystem

from rotortree.cli import files, inputs
from rotortree.cli.errors import CommandError
from rotortree.cli.inputs import Form, LeafReader
from tests.cli.support import hex_lines, leaf


def lines(*paths: str) -> list[str]:
    """What these arguments stand for."""
    return list(files.expand(paths))


def test_a_directory_stands_for_its_files_in_the_order_of_their_names(fs: FakeFilesystem) -> None:
    """By bytes, a subdirectory's files in its place, however deep; capitals before the rest."""
    names = ("b", "B", "a/z", "a/y/1", "a/y/0", "a.txt", "é", ".hidden")
    for name in names:
        fs.create_file(f"/d/{name}")
    fs.create_dir("/d/empty")
    expected = (".hidden", "B", "a/y/0", "a/y/1", "a/z", "a.txt", "b", "é")
    assert lines("/d") == [f"/d/{name}" for name in expected]
    assert lines("/d/b", "/d/a", "-", "missing") == [
        *("/d/b", "/d/a/y/0", "/d/a/y/1", "/d/a/z", "-", "missing"),
    ]


def test_links_to_files_count_and_links_to_directories_do_not(fs: FakeFilesystem) -> None:
    """So that no walk is endless; one that leads nowhere is no file."""
    fs.create_file("/d/file")
    fs.create_symlink("/d/link", "/d/file")
    fs.create_symlink("/d/loop", "/d")
    fs.create_symlink("/d/nowhere", "/missing")
    fs.create_symlink("/to-d", "/d")
    assert lines("/d") == ["/d/file", "/d/link"]
    assert lines("/to-d") == ["/to-d/file", "/to-d/link"]


def test_errors_name_the_file(fs: FakeFilesystem) -> None:
    """Missing, a directory, and one that cannot be written."""
    fs.create_dir("/d")
    for name in ("/missing", "/d"):
        with pytest.raises(OSError, match=r"\w") as caught:
            files.read_small(name)
        assert caught.value.filename == name
    with pytest.raises(FileNotFoundError, match="/missing"):
        files.write_output("/missing/file", [b""], tree="/tree")


def test_an_error_in_the_middle_of_a_file_names_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system does not say which file a read failed on."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    with pytest.raises(OSError, match="gone") as caught, files.opened("-"):
        raise OSError(5, "gone")
    assert caught.value.filename == "<stdin>"


def test_what_is_written_is_what_is_read(fs: FakeFilesystem) -> None:
    """Parts one behind the other; an older file is replaced."""
    fs.create_file("/file", contents="much longer than what is written")
    assert files.write_output("/file", [b"one", b"", b"two"], tree="/tree") == 6
    assert files.read_small("/file") == b"onetwo"


def test_an_endless_file_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off, not read to its end."""
    monkeypatch.setattr(files, "_SMALL_BYTES", 1000)
    assert len(files.read_small(os.devnull.replace("null", "zero"))) == 1000


def test_listed_names_are_lines(fs: FakeFilesystem) -> None:
    """Of any bytes but the line end."""
    fs.create_file("/list", contents=b"a b\n\xff\n\nlast")
    assert list(files.listed_names("/list")) == ["a b", "\udcff", "", "last"]


def read(form: Form, *names: str, skip: int = 0, row_leaves: int = 4) -> list[bytes]:
    """The leaves of some inputs."""
    rows = LeafReader(form, names, skip, row_leaves).rows()
    joined = b"".join(row for row, _ in rows)
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


@pytest.mark.parametrize("skip", [0, 1, 4, 5, 9])
def test_every_form_reads_leaves_across_files(fs: FakeFilesystem, skip: int) -> None:
    """In order, the skipped ones left out wherever the files' borders are."""
    for number, numbers in enumerate((range(4), range(4), range(4, 5), range(5, 9))):
        if number != 1:
            raw = b"".join(map(leaf, numbers))
            fs.create_file(f"/hex/{number}", contents=hex_lines(numbers))
            fs.create_file(f"/raw/{number}", contents=raw)
            fs.create_file(f"/lines/{number}", contents="".join(f"{i}\n" for i in numbers))
    for name in range(9):
        fs.create_file(f"/files/{name}", contents=str(name))
    expected = [leaf(number) for number in range(skip, 9)]
    assert read(Form.HEX, *lines("/hex"), skip=skip) == expected
    assert read(Form.RAW, *lines("/raw"), skip=skip) == expected
    assert read(Form.LINES, *lines("/lines"), skip=skip) == expected
    assert read(Form.FILES, *lines("/files"), skip=skip) == expected


@pytest.mark.parametrize("form", Form)
def test_skipping_more_than_there_is_is_an_error(fs: FakeFilesystem, form: Form) -> None:
    """It would be a mistake of whoever counted."""
    with pytest.raises(CommandError, match="the input has 0 leaves, fewer than the 3 to skip"):
        read(form, skip=3)


def test_a_skipped_file_is_not_even_opened(fs: FakeFilesystem) -> None:
    """With whole files, skipping costs nothing."""
    fs.create_file("/there", contents="x")
    assert read(Form.FILES, "/gone", "/there", skip=1) == [blake3(b"x").digest()]


def test_an_empty_file_has_no_lines_and_no_records_but_a_hash(fs: FakeFilesystem) -> None:
    """The hash of nothing."""
    fs.create_file("/empty")
    assert read(Form.HEX, "/empty") == read(Form.RAW, "/empty") == read(Form.LINES, "/empty") == []
    assert read(Form.FILES, "/empty") == [blake3(b"").digest()]


@pytest.mark.parametrize("form", [Form.HEX, Form.RAW, Form.LINES, Form.FILES])
def test_the_bytes_of_input_are_counted(fs: FakeFilesystem, form: Form) -> None:
    """All of them, line ends included."""
    contents = {Form.HEX: hex_lines(range(5)), Form.RAW: "x" * 160}.get(form, "a\nbc\n\n")
    fs.create_file("/file", contents=contents)
    rows = list(LeafReader(form, ["/file"], 0, 2).rows())
    assert sum(consumed for _, consumed in rows) == len(contents)


def test_a_bad_place_is_named_behind_the_leaves_before_it(fs: FakeFilesystem) -> None:
    """File and line or offset; nothing that follows is read."""
    fs.create_file("/good", contents=hex_lines(range(3)))
    fs.create_file("/bad", contents=hex_lines(range(3, 5)) + "no\n" + hex_lines(range(2)))
    rows = inputs.in_batches(LeafReader(Form.HEX, ["/good", "/bad"], 0, 4).rows(), 4)
    found: list[bytes] = []
    with pytest.raises(CommandError, match=r"^/bad, line 3: not 64 hexadecimal digits: .*'no'"):
        found.extend(row for row, _ in rows)
    assert found == [b"".join(map(leaf, range(4))), leaf(4)]


@pytest.mark.parametrize("leaves", [1, 3, 4, 100])
def test_batches_are_of_equal_size_but_for_the_last(leaves: int) -> None:
    """However the rows were cut; bytes of input are counted once."""

    def rows() -> Iterator[inputs.Row]:
        for count in (0, 5, 1, 1, 7):
            yield bytes(32) * count, count

    batches = list(inputs.in_batches(rows(), leaves))
    assert [len(row) // 32 for row, _ in batches[:-1]] == [leaves] * (14 // leaves)
    assert sum(len(row) for row, _ in batches) == 14 * 32
    assert sum(consumed for _, consumed in batches) == 14


@pytest.mark.parametrize("text", [b"", b"ab" * 31, b"ab" * 33, b"zz" * 32, b" " * 64, b"\xff" * 64])
def test_a_leaf_is_exactly_64_hexadecimal_digits(text: bytes) -> None:
    """Nothing else that Python would take for digits."""
    assert inputs.parse_leaf(text) is None
    assert inputs.parse_leaf(b"aB" * 32) == b"\xab" * 32
