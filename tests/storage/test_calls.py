"""The few ways of writing durably: which calls they make, and what becomes of each one's error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rotortree import DetachedError, FileLockedError, IoFailedError, SyncFailedError
from rotortree.storage import calls

NAME = "file"
PATH = f"tree/{NAME}"


class Seam:
    """A file, a directory, a file system and a lock in one.

    Calls are kept, and answered as a test says: by a value, an error to raise, or a list of these,
    one for each call.
    """

    def __init__(self, **answers: Any) -> None:
        self.path = "tree"
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
    ("directory", "open", PATH, lambda seam: calls.open_root(seam, PATH)),
    ("directory", "open", PATH, lambda seam: calls.open_directory(seam, NAME)),
    ("parent", "open the directory above", "tree", lambda seam: calls.open_parent(seam)),
    ("mkdir", "mkdir", PATH, lambda seam: calls.make_directory(seam, NAME)),
    ("directory", "open", PATH, lambda seam: calls.make_directory(seam, NAME)),
    ("listdir", "list", "tree", lambda seam: calls.listdir(seam)),
    ("identify", "stat", "tree", lambda seam: calls.identity_of(seam)),
    ("identify", "stat", PATH, lambda seam: calls.check_named(seam, NAME, 1)),
    ("lock", "lock", PATH, lambda seam: calls.take_lock(seam, NAME, shared=False)),
    ("lock", "lock", PATH, lambda seam: calls.take_lock(seam, NAME, shared=True)),
    ("open", "open", PATH, lambda seam: calls.open_file(seam, NAME)),
    ("open_writable", "open", PATH, lambda seam: calls.open_writable(seam, NAME)),
    ("size", "stat", PATH, lambda seam: calls.file_size(seam, PATH)),
    ("pread", "read", PATH, lambda seam: calls.read_exactly(seam, PATH, 5, 0)),
    ("pwritev", "write", PATH, lambda seam: calls.write_all(seam, PATH, [b"12"], 0)),
    ("pread", "read", PATH, lambda seam: calls.check_written(seam, PATH, [b"12"], 0)),
    ("sync", "fsync", PATH, lambda seam: calls.sync_file(seam, PATH)),
    ("sync", "fsync of the directory", "tree", lambda seam: calls.sync_directory(seam)),
    ("unlink", "unlink", PATH, lambda seam: calls.unlink(seam, NAME)),
    ("rename", "rename", PATH, lambda seam: calls.publish(seam, NAME)),
    ("unlink", "unlink", PATH + ".tmp", lambda seam: calls.write_temporary(seam, NAME, [])),
    ("open_writable", "create", PATH + ".tmp", lambda seam: calls.write_temporary(seam, NAME, [])),
    ("pwritev", "write", PATH + ".tmp", lambda seam: calls.write_temporary(seam, NAME, [b"1"])),
    ("sync", "fsync", PATH + ".tmp", lambda seam: calls.write_temporary(seam, NAME, [])),
)
"""A call of the seam; the operation and the path that its error is to name; who makes it."""


@pytest.mark.parametrize(("call", "operation", "path", "run"), CALLS)
def test_an_error_of_the_system_names_the_file_and_the_operation(
    call: str, operation: str, path: str, run: Callable[[Any], object]
) -> None:
    """Only that of a directory's sync says that what counts already may be lost."""
    with pytest.raises(IoFailedError) as caught:
        run(answering(**{call: failing(errno.ENOSPC)}))
    assert (caught.value.path, caught.value.operation) == (path, operation)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value.__cause__, OSError)
    is_directory = operation == "fsync of the directory"
    assert type(caught.value) is (SyncFailedError if is_directory else IoFailedError)


def test_what_may_be_missing_may_be_missing_and_nothing_else() -> None:
    """Of a file, a directory and the tree; a lock and what is made must be there."""
    gone = failing(errno.ENOENT)
    assert calls.open_file(answering(open=gone), NAME) is None
    assert calls.open_directory(answering(directory=gone), NAME) is None
    assert calls.open_root(answering(directory=gone), PATH) is None
    calls.unlink(answering(unlink=gone), NAME)
    calls.make_directory(answering(mkdir=failing(errno.EEXIST)), NAME)
    others: Sequence[tuple[str, Callable[[Any], object]]] = (
        ("lock", lambda seam: calls.take_lock(seam, NAME, shared=False)),
        ("lock", lambda seam: calls.take_lock(seam, NAME, shared=True)),
        ("open_writable", lambda seam: calls.open_writable(seam, NAME, create=True)),
        ("mkdir", lambda seam: calls.make_directory(seam, NAME)),
        ("directory", lambda seam: calls.make_directory(seam, NAME)),
        ("parent", lambda seam: calls.open_parent(seam)),
        ("listdir", lambda seam: calls.listdir(seam)),
        ("size", lambda seam: calls.file_size(seam, PATH)),
        ("rename", lambda seam: calls.publish(seam, NAME)),
    )
    for name, run in others:
        with pytest.raises(IoFailedError):
            run(answering(**{name: gone}))


@pytest.mark.parametrize("shared", [False, True])
def test_a_lock_that_is_held_elsewhere_is_its_own_error(shared: bool) -> None:
    """It names the lock file, and nobody waits or tries again."""
    seam = answering(lock=failing(errno.EAGAIN))
    with pytest.raises(FileLockedError) as caught:
        calls.take_lock(seam, NAME, shared=shared)
    assert caught.value.path == PATH
    assert seam.calls == [("lock", NAME, shared)]


def test_giving_back_never_fails() -> None:
    """A file, a directory and a lock are given back, whatever the system says."""
    seam = answering(close=failing(errno.EIO), release=failing(errno.EIO))
    calls.close(seam)
    calls.release_lock(seam)
    assert seam.calls == [("close",), ("release",)]


def test_answers_are_passed_on() -> None:
    """What the seam says, from one call each."""
    seam = answering(absolute="/here", listdir=("b", "a"), size=7, identify=3)
    assert calls.absolute(seam, PATH) == "/here"
    assert calls.listdir(seam) == ["a", "b"]
    assert calls.file_size(seam, PATH) == 7
    assert calls.identity_of(seam) == 3
    handles: list[object] = [
        calls.open_file(seam, NAME),
        calls.open_writable(seam, NAME),
        calls.open_writable(seam, NAME, create=True),
        calls.open_root(seam, PATH),
        calls.open_directory(seam, NAME),
        calls.make_directory(seam, NAME),
        calls.open_parent(seam),
        calls.take_lock(seam, NAME, shared=True),
    ]
    assert all(handle is seam for handle in handles)
    calls.sync_directory(seam)
    calls.sync_file(seam, PATH)
    calls.unlink(seam, NAME)
    assert [call for call in seam.calls if call[0] != "size"] == [
        ("absolute", PATH),
        ("listdir",),
        ("identify", "."),
        ("open", NAME),
        ("open_writable", NAME, False),
        ("open_writable", NAME, True),
        ("directory", PATH),
        ("directory", NAME, True),
        ("mkdir", NAME),
        ("directory", NAME, False),
        ("parent",),
        ("lock", NAME, True),
        ("sync",),
        ("sync",),
        ("unlink", NAME),
    ]


@pytest.mark.evidence("example", "FORMAT-34")
def test_a_name_leads_to_its_file_or_the_tree_is_detached() -> None:
    """Same identity: one call.  Anything else says what happened to the file.

    Only what cannot be told is an error of the system.
    """
    seam = answering(identify="us")
    calls.check_named(seam, NAME, "us")
    assert seam.calls == [("identify", NAME)]
    for answer, words in (
        ("them", "was replaced by another file"),
        *((failing(code), "was removed or moved") for code in LEADS_NOWHERE),
    ):
        with pytest.raises(DetachedError) as caught:
            calls.check_named(answering(identify=answer), NAME, "us")
        assert caught.value.path == PATH
        assert str(caught.value).endswith(f"{PATH} {words}")
    with pytest.raises(IoFailedError):
        calls.check_named(answering(identify=failing(errno.EACCES)), NAME, "us")


LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Errors of a path that does not lead to a file any more."""


def test_a_path_of_an_open_tree_that_leads_nowhere_was_moved_or_removed() -> None:
    """Within `owning`: DetachedError; any other error stays what it is."""
    for code in (*LEADS_NOWHERE, errno.EIO, errno.ENOSPC):
        expected = DetachedError if code in LEADS_NOWHERE else IoFailedError
        with pytest.raises(expected, match=f"{PATH}") as caught, calls.owning():
            calls.open_writable(answering(open_writable=failing(code)), NAME)
        assert type(caught.value) is expected
        if expected is DetachedError:
            assert str(caught.value).endswith(f"{PATH} was removed or moved")


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


@pytest.mark.evidence("example", "FORMAT-8")
def test_a_small_file_is_replaced_call_by_call() -> None:
    """What is left of another attempt is removed first; the new one is synced before its name."""
    seam = answering(pwritev=3)
    calls.replace_file(seam, NAME, b"new")
    assert seam.calls == [
        ("unlink", "file.tmp"),
        ("open_writable", "file.tmp", True),
        ("pwritev", [memoryview(b"new")], 0),
        ("sync",),
        ("close",),
        ("rename", "file.tmp", "file"),
        ("sync",),
    ]


def test_replacing_says_whether_the_new_file_may_be_there() -> None:
    """Up to the rename it failed and nothing changed; afterwards the sync of the names failed."""
    for sync, error in (
        ([failing(errno.EIO)], IoFailedError),
        ([None, failing(5)], SyncFailedError),
    ):
        with pytest.raises(error) as caught:
            calls.replace_file(answering(pwritev=3, sync=sync), NAME, b"new")
        assert type(caught.value) is error


def test_a_temporary_file_stays_open_unless_it_failed() -> None:
    """Then it is closed, and removed to give its space back."""
    seam = answering(pwritev=3)
    file: Any = calls.write_temporary(seam, NAME, [b"new"])
    assert file is seam
    assert ("close",) not in seam.calls
    for name in ("pwritev", "sync"):
        seam = answering(**{"pwritev": 3, name: failing(errno.EIO)})
        with pytest.raises(IoFailedError):
            calls.write_temporary(seam, NAME, [b"new"])
        assert seam.calls[-2:] == [("close",), ("unlink", "file.tmp")]
