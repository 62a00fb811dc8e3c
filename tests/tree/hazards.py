"""What native code meets: memory beside pages that nobody may touch, signals at any time."""

from __future__ import annotations

import ctypes
import mmap
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAGE = mmap.PAGESIZE
_PROT_NONE = 0


@contextmanager
def guarded(size: int, *, at_the_end: bool) -> Iterator[memoryview]:
    """``size`` writable bytes, at the end or at the beginning of pages between forbidden ones."""
    inside = -(-size // PAGE) * PAGE
    with mmap.mmap(-1, inside + 2 * PAGE) as memory:
        anchor = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(anchor)
        del anchor
        for page in (address, address + PAGE + inside):
            assert _mprotect(page, PAGE, _PROT_NONE) == 0
        start = PAGE + (inside - size if at_the_end else 0)
        with memoryview(memory) as whole, whole[start : start + size] as view:
            yield view


@contextmanager
def guarded_bytes(content: bytes) -> Iterator[bytes]:
    """A bytes object before a forbidden page: at most 8 bytes behind its last one may be read."""
    size = bytes.__basicsize__ + len(content)
    with guarded(-(-size // 8) * 8, at_the_end=True) as view:  # objects are aligned
        view[:size] = ctypes.string_at(id(content), size)
        view[:8] = (1 << 20).to_bytes(8, "little")  # references: nobody frees it
        anchor = ctypes.c_char.from_buffer(view)
        found: bytes = ctypes.cast(ctypes.addressof(anchor), ctypes.py_object).value
        del anchor
        yield found
        del found


@contextmanager
def read_only(content: bytes) -> Iterator[memoryview]:
    """The content at the end of pages that kill whoever writes to them, before a forbidden one."""
    inside = -(-len(content) // PAGE) * PAGE
    with mmap.mmap(-1, inside + PAGE) as memory:
        memory[inside - len(content) : inside] = content
        anchor = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(anchor)
        del anchor
        assert _mprotect(address, inside, mmap.PROT_READ) == 0
        assert _mprotect(address + inside, PAGE, _PROT_NONE) == 0
        with memoryview(memory) as whole, whole[inside - len(content) : inside] as view:
            yield view


def _mprotect(address: int, length: int, protection: int) -> int:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    result: int = function(address, length, protection)
    return result


class Alarm(Exception):
    """What the signal handler below raises."""


def interrupted(seconds: float, call: Callable[[], object]) -> bool:
    """Call something, and let a signal handler raise Alarm after some time: whether it did."""

    def ring(number: int, frame: object) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        call()
    except Alarm:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return False


def run_together(*works: Callable[[], object]) -> None:
    """Run every function in a thread of its own; raise the first error of any of them."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
