"""The few ways of writing durably: which calls they make, and what becomes of each one's error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rotortree import FileLockedError, IoFailedError
from rotortree.storage import calls

PATH = "tree/file"


class Seam:
    """A file, a file system and a lock in one: calls are kept, and answered as a test says.

    An answer is a value, an error to raise, or a list of these, one for each call.
    """

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls.append((name, *arguments, *keywords.values()))
            answer = self._answers.get(name)
            if isinstance(answer, list):
                answer = answer.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return self if answer is None else answer

        return call


def answering(**answers: Any) -> Any:
    """Such a seam; it is not typed as one."""
    return Seam(**answers)


def failing(code: int) -> OSError:
    return OSError(code, os.strerror(code))


CALLS: Sequence[tuple[str, str, str, Callable[[Any], object]]] = (
    ("absolute", "getcwd", PATH, lambda seam: calls.absolute(seam, PATH)),
    ("lock", "lock", PATH, lambda seam: calls.take_lock(seam, PATH, shared=False)),
    ("lock", "lock", PATH, lambda seam: calls.take_lock(seam, PATH, shared=True)),
    ("listdir", "list", PATH, lambda seam: calls.listdir(seam, PATH)),
    ("open", "open", PATH, lambda seam: calls.open_file(seam, PATH, "read")),
    ("size", "stat", PATH, lambda seam: calls.file_size(seam, PATH)),
    ("pread", "read", PATH, lambda seam: calls.read_exactly(seam, PATH, 5, 0)),
    ("pwritev", "write", PATH, lambda seam: calls.write_all(seam, PATH, [b"12"], 0)),
    ("pread", "read", PATH, lambda seam: calls.check_written(seam, PATH, [b"12"], 0)),
    ("sync", "fsync", PATH, lambda seam: calls.sync_file(seam, PATH)),
    (
        "sync_directory",
        "fsync of the directory",
        PATH,
        lambda seam: calls.sync_directory(seam, PATH),
    ),
    ("mkdir", "mkdir", PATH, lambda seam: calls.make_directory(seam, PATH)),
    ("unlink", "unlink", PATH, lambda seam: calls.unlink(seam, PATH)),
    ("rename", "rename", PATH, lambda seam: calls.publish(seam, PATH)),
    ("unlink", "unlink", PATH + ".tmp", lambda seam: calls.write_temporary(seam, PATH, b"")),
    ("open", "create", PATH + ".tmp", lambda seam: calls.write_temporary(seam, PATH, b"")),
    ("pwritev", "write", PATH + ".tmp", lambda seam: calls.write_temporary(seam, PATH, b"1")),
    ("sync", "fsync", PATH + ".tmp", lambda seam: calls.write_temporary(seam, PATH, b"")),
)
"""A call of the seam; the operation and the path that its error is to name; who makes it."""


@pytest.mark.parametrize(("call", "operation", "path", "run"), CALLS)
def test_an_error_of_the_system_names_the_file_and_the_operation(
    call: str, operation: str, path: str, run: Callable[[Any], object]
) -> None:
    with pytest.raises(IoFailedError) as caught:
        run(answering(**{call: failing(errno.ENOSPC)}))
    assert (caught.value.path, caught.value.operation) == (path, operation)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value.__cause__, OSError)


def test_what_may_be_missing_may_be_missing_and_nothing_else() -> None:
    gone = failing(errno.ENOENT)
    assert calls.take_lock(answering(lock=gone), PATH, shared=True) is None
    assert calls.listdir(answering(listdir=gone), PATH) == []
    for mode in ("read", "write"):
        assert calls.open_file(answering(open=gone), PATH, mode) is None
    calls.unlink(answering(unlink=gone), PATH)
    calls.make_directory(answering(mkdir=failing(errno.EEXIST)), PATH)
    others: Sequence[Callable[[Any], object]] = (
        lambda seam: calls.take_lock(seam, PATH, shared=False),
        lambda seam: calls.open_file(seam, PATH, "create"),
        lambda seam: calls.make_directory(seam, PATH),
        lambda seam: calls.file_size(seam, PATH),
        lambda seam: calls.publish(seam, PATH),
    )
    names = ("lock", "open", "mkdir", "size", "rename")
    for name, run in zip(names, others, strict=True):
        with pytest.raises(IoFailedError):
            run(answering(**{name: failing(errno.ENOENT)}))


@pytest.mark.parametrize("shared", [False, True])
def test_a_lock_that_is_held_elsewhere_is_its_own_error(shared: bool) -> None:
    seam = answering(lock=failing(errno.EAGAIN))
    with pytest.raises(FileLockedError) as caught:
        calls.take_lock(seam, PATH, shared=shared)
    assert caught.value.path == PATH
    assert seam.calls == [("lock", PATH, shared)]


def test_giving_back_never_fails() -> None:
    seam = answering(close=failing(errno.EIO), release=failing(errno.EIO))
    calls.close_file(seam)
    calls.release_lock(seam)
    assert seam.calls == [("close",), ("release",)]


def test_answers_are_passed_on() -> None:
    seam = answering(absolute="/here", listdir=("b", "a"), size=7)
    assert calls.absolute(seam, PATH) == "/here"
    assert calls.listdir(seam, PATH) == ["a", "b"]
    assert calls.file_size(seam, PATH) == 7
    file: object = calls.open_file(seam, PATH, "write")
    lock: object = calls.take_lock(seam, PATH, shared=True)
    assert [file, lock] == [seam, seam]
    for run in (calls.sync_directory, calls.make_directory, calls.unlink):
        run(seam, PATH)
    calls.sync_file(seam, PATH)
    assert [call for call in seam.calls if call[0] != "size"] == [
        ("absolute", PATH),
        ("listdir", PATH),
        ("open", PATH, "write"),
        ("lock", PATH, True),
        ("sync_directory", PATH),
        ("mkdir", PATH),
        ("unlink", PATH),
        ("sync",),
    ]


def test_reading_goes_on_until_all_is_there_or_the_file_ends() -> None:
    seam = answering(pread=[b"abc", b"d", b"ef"])
    assert calls.read_exactly(seam, PATH, 6, 10) == b"abcdef"
    assert seam.calls == [("pread", 6, 10), ("pread", 3, 13), ("pread", 2, 14)]
    assert calls.read_exactly(answering(pread=[b"abc", b"", b"x"]), PATH, 6, 0) == b"abc"
    assert calls.read_exactly(answering(pread=b""), PATH, 6, 0) == b""
    seam = answering()
    assert calls.read_exactly(seam, PATH, 0, 0) == b""
    assert not seam.calls
    whole = b"one read, and no copy"
    assert calls.read_exactly(answering(pread=whole), PATH, len(whole), 0) is whole


class Taking:
    """A file that takes a few bytes of each write."""

    def __init__(self, *takes: int) -> None:
        self.contents = bytearray()
        self.buffers: list[int] = []
        self._takes = list(takes)

    def pwritev(self, buffers: Sequence[memoryview], offset: int) -> int:
        row = b"".join(buffers)
        took = row[: self._takes.pop(0)] if self._takes else row
        self.buffers.append(len(buffers))
        self.contents[offset : offset + len(took)] = took
        return len(took)


@pytest.mark.parametrize(
    "takes", [(), (1,), (2,), (3,), (4,), (5,), (6,), (1, 1, 1, 1, 1, 1, 1), (2, 3), (3, 4)]
)
def test_writing_goes_on_where_the_system_stopped(takes: Sequence[int]) -> None:
    file: Any = Taking(*takes)
    file.contents += b"##"
    rows: list[bytes | memoryview] = [b"ab", b"", memoryview(b"cde"), b"", b"fg"]
    assert calls.write_all(file, PATH, rows, 2) == 9
    assert file.contents == b"##abcdefg"
    assert 0 not in file.buffers


def test_no_write_has_more_buffers_than_systems_take_and_all_are_written() -> None:
    file: Any = Taking()
    rows: list[bytes | memoryview] = [bytes([number % 256]) for number in range(1_200)]
    assert calls.write_all(file, PATH, rows, 0) == 1_200
    assert file.contents == b"".join(rows)
    assert file.buffers == [512, 512, 176]


def test_nothing_to_write_is_no_call() -> None:
    seam = answering()
    assert calls.write_all(seam, PATH, [b"", b""], 7) == 7
    assert not seam.calls


@pytest.mark.parametrize("written", [0, -1])
def test_a_system_that_writes_nothing_is_an_error_and_no_endless_loop(written: int) -> None:
    with pytest.raises(IoFailedError, match=r": the system wrote nothing$") as caught:
        calls.write_all(answering(pwritev=written), PATH, [b"a"], 0)
    assert (caught.value.operation, caught.value.errno) == ("write", None)


def test_what_was_written_is_read_back_buffer_by_buffer() -> None:
    seam = answering(pread=[b"ab", b"cde"])
    calls.check_written(seam, PATH, [b"ab", memoryview(b"cde")], 100)
    assert seam.calls == [("pread", 2, 100), ("pread", 3, 102)]


@pytest.mark.parametrize("second", [b"cdX", b"cd", b""])
def test_something_else_than_what_was_written_is_an_error_that_says_where(second: bytes) -> None:
    answers = [b"ab", second, b""]
    with pytest.raises(IoFailedError, match=r"read back failed.*offset 102") as caught:
        calls.check_written(answering(pread=answers), PATH, [b"ab", b"cde"], 100)
    assert (caught.value.operation, caught.value.errno) == ("read back", errno.EIO)


def test_a_small_file_is_replaced_call_by_call() -> None:
    seam = answering(pwritev=3)
    calls.replace_file(seam, "tree", "name", b"new")
    assert seam.calls == [
        ("unlink", "tree/name.tmp"),
        ("open", "tree/name.tmp", "create"),
        ("pwritev", [memoryview(b"new")], 0),
        ("sync",),
        ("close",),
        ("rename", "tree/name.tmp", "tree/name"),
        ("sync_directory", "tree"),
    ]


def test_a_temporary_file_stays_open_unless_it_failed() -> None:
    seam = answering(pwritev=3)
    file: object = calls.write_temporary(seam, PATH, b"new")
    assert file == seam
    assert ("close",) not in seam.calls
    for name in ("pwritev", "sync"):
        seam = answering(**{"pwritev": 3, name: failing(errno.EIO)})
        with pytest.raises(IoFailedError):
            calls.write_temporary(seam, PATH, b"new")
        assert seam.calls[-1] == ("close",)
