"""Bulk hashing by the native kernel: every parent, every boundary, wrong calls, signals."""

from __future__ import annotations

import gc
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from typing import Any

import pytest
from blake3 import blake3

from tests.tree.hazards import guarded, interrupted
from tests.tree.native import MOST, SANITIZED, lanes_here, native_module

_native = native_module()

LANES = lanes_here(_native)
TAGGED = (True, False)
GROUPS = 40
"""More than twice as many as there are lanes."""


@cache
def children_of(k: int) -> bytes:
    """GROUPS groups of k children."""
    return random.Random(k).randbytes(32 * k * GROUPS)


@cache
def parents_of(k: int, tagged: bool) -> bytes:
    """Their parents, by the blake3 package."""
    tag = bytes((1, k)) if tagged else b""
    row = children_of(k)
    return b"".join(
        blake3(tag + row[at : at + 32 * k]).digest() for at in range(0, len(row), 32 * k)
    )


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("tagged", TAGGED, ids=["tagged", "plain"])
def test_every_parent_is_that_of_the_blake3_package(tagged: bool, lanes: int) -> None:
    """All k of one chunk, 0 to 40 groups."""
    for k in range(2, MOST[tagged] + 1):
        for count in range(GROUPS + 1):
            children = memoryview(children_of(k))[: 32 * k * count]
            expected = parents_of(k, tagged)[: 32 * count]
            assert _native.hash_groups(children, k, tagged, lanes) == expected, (k, count)


@pytest.mark.parametrize("lanes", LANES)
def test_children_need_no_alignment(lanes: int) -> None:
    """They are at every offset from a multiple of 64."""
    for k in (2, 3, 4, 7):
        for tagged in TAGGED:
            size, expected = 32 * k * 33, parents_of(k, tagged)[: 32 * 33]
            for offset in range(64):
                children = memoryview(bytearray(size + 64))[offset : offset + size]
                children[:] = children_of(k)[:size]
                assert _native.hash_groups(children, k, tagged, lanes) == expected


@pytest.mark.parametrize("at_the_end", [True, False], ids=["at the end", "at the beginning"])
@pytest.mark.parametrize("lanes", LANES)
def test_nothing_beside_the_children_is_touched(lanes: int, at_the_end: bool) -> None:
    """They lie beside pages whose use kills; every remainder of the lanes."""
    for k in (2, 3, 4, 5, 8, 16, 30, 31, 32):
        for count in (*range(1, 2 * lanes + 2), GROUPS):
            for tagged in TAGGED:
                if k > MOST[tagged]:
                    continue
                with guarded(32 * k * count, at_the_end=at_the_end) as children:
                    children[:] = children_of(k)[: 32 * k * count]
                    parents = _native.hash_groups(children, k, tagged, lanes)
                    assert parents == parents_of(k, tagged)[: 32 * count]


@pytest.mark.parametrize("at_the_end", [True, False], ids=["at the end", "at the beginning"])
def test_the_guard_kills(at_the_end: bool) -> None:
    """The test above is none of nothing: one byte further is a segmentation fault."""
    code = (
        "import ctypes\n"
        "from tests.tree.hazards import guarded\n"
        f"with guarded(100, at_the_end={at_the_end}) as view:\n"
        "    address = ctypes.addressof(ctypes.c_char.from_buffer(view))\n"
        "    print(len(ctypes.string_at(address, 100)), flush=True)\n"
        f"    ctypes.string_at(address + ({100 if at_the_end else -1}), 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("100\n", -signal.SIGSEGV)


ROW = bytes(32 * 8)
STRIDED = memoryview(bytes(512))[::2]

WRONG_CALLS: dict[str, tuple[type[Exception], tuple[Any, ...]]] = {
    "no argument": (TypeError, ()),
    "too few": (TypeError, (ROW, 2, True)),
    "too many": (TypeError, (ROW, 2, True, 4, None)),
    "children: text": (TypeError, ("0" * 256, 2, True, 4)),
    "children: a list": (TypeError, ([ROW], 2, True, 4)),
    "children: every second byte": (BufferError, (STRIDED, 2, True, 4)),
    "children: half a group": (ValueError, (ROW[:-32], 2, True, 4)),
    "children: a byte less": (ValueError, (ROW[:-1], 2, True, 4)),
    "k: text": (TypeError, (ROW, "2", True, 4)),
    "k: a fraction": (TypeError, (ROW, 2.0, True, 4)),
    "k: 1": (ValueError, (ROW, 1, True, 4)),
    "k: 0": (ValueError, (ROW, 0, True, 4)),
    "k: -2": (ValueError, (ROW, -2, True, 4)),
    "k: 32, tagged": (ValueError, (bytes(32 * 32), 32, True, 4)),
    "k: 33, plain": (ValueError, (bytes(32 * 33), 33, False, 4)),
    "k: 2**32 + 2": (ValueError, (ROW, 2**32 + 2, True, 4)),
    "k: 2**70": (OverflowError, (ROW, 2**70, True, 4)),
    "lanes: 1": (ValueError, (ROW, 2, True, 1)),
    "lanes: 0": (ValueError, (ROW, 2, True, 0)),
    "lanes: 32": (ValueError, (ROW, 2, True, 32)),
    "lanes: None": (TypeError, (ROW, 2, True, None)),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_raises(name: str) -> None:
    """Each with the exception that Python has for it."""
    error, arguments = WRONG_CALLS[name]
    with pytest.raises(error) as caught:
        _native.hash_groups(*arguments)
    assert str(caught.value)


def test_lanes_are_a_number() -> None:
    """TypeError for what is none; any other number is just not there."""
    with pytest.raises(TypeError):
        _native.machine_has("4")
    assert [lanes for lanes in range(-64, 65) if _native.machine_has(lanes)] == list(LANES)


def test_memory_that_cannot_be_had_is_a_memory_error() -> None:
    """And the call works again when it can."""
    code = (
        "import mmap, resource\n"
        "from rotortree.kernel import _native\n"
        "children = mmap.mmap(-1, 2**30)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    _native.hash_groups(children, 2, True, 4)\n"
        "except MemoryError:\n"
        "    print(len(_native.hash_groups(bytes(640), 2, True, 4)))\n"
    )
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc, to know how much memory is in use")
    if SANITIZED:
        pytest.skip("the sanitizer reserves address space without end")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("320\n", "")


LONG = 2**27
"""Bytes of children that take a while: 70 ms in 4 lanes, 20 ms in 16."""


def zeros(length: int) -> mmap.mmap:
    """Zeros that cost no memory as long as nobody writes to them."""
    return mmap.mmap(-1, length)


def test_other_threads_run_and_the_children_stay_where_they_are() -> None:
    """During a long call in another thread this one goes on, and cannot resize the buffer."""
    children, parents = bytearray(LONG), list[bytes]()

    def work() -> None:
        parents.append(_native.hash_groups(children, 16, True, 4))

    thread = threading.Thread(target=work)
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            children.append(0)
        except BufferError:
            refused += 1
        else:
            children.pop()
    thread.join()
    assert refused > 0
    assert parents == [parents[0][:32] * (LONG // 512)]


def test_threads_do_not_disturb_each_other() -> None:
    """Four threads hash four buffers, each large enough to let the others run."""
    rows = [random.Random(seed).randbytes(32 * 4 * 20_000) for seed in range(4)]
    lanes = LANES[-1]
    expected = [_native.hash_groups(row, 4, True, lanes) for row in rows]
    found: dict[int, list[bytes]] = {index: [] for index in range(4)}

    def work(index: int) -> None:
        for _ in range(5):
            found[index].append(_native.hash_groups(rows[index], 4, True, lanes))

    threads = [threading.Thread(target=work, args=(index,)) for index in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [expected[index]] * 5 for index in found}


def test_a_signal_ends_a_long_call() -> None:
    """The exception of its handler comes out within milliseconds, not when all is hashed."""
    children = zeros(8 * LONG)
    started = time.thread_time()
    assert interrupted(0.005, lambda: _native.hash_groups(children, 16, True, LANES[-1]))
    assert time.thread_time() - started < (2 if SANITIZED else 0.1)


def test_a_child_process_hashes_as_well() -> None:
    """There is no state that a fork could tear."""
    code = (
        "import os, sys\n"
        "from rotortree.kernel import _native\n"
        "before = _native.hash_groups(bytes(640), 2, True, 4)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(before != _native.hash_groups(bytes(640), 2, True, 4))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_reference_is_leaked() -> None:
    """Neither of calls that succeed nor of calls that raise."""
    children = bytearray(children_of(2))
    count, calls = sys.getrefcount(children), 10_000
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(calls):
        _native.hash_groups(children, 2, True, 4)
        for k, lanes in ((3, 4), (2, 5), (1, 4)):
            with pytest.raises(ValueError, match=r"."):
                _native.hash_groups(children, k, True, lanes)
    assert sys.getrefcount(children) == count
    children.append(0)  # no buffer is held
    gc.collect()
    assert sys.getallocatedblocks() - before < calls // 10
