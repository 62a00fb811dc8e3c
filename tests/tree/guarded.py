"""Memory between pages that may not be touched: whoever reads or writes outside of it is killed."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
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


def _mprotect(address: int, length: int, protection: int) -> int:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    result: int = function(address, length, protection)
    return result
