"""Ctrl-C wherever the interpreter looks for one, one place after the other; and while it waits."""

from __future__ import annotations

import dis
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["STANDARD", "everywhere", "interrupted_while"]

_LOOKS_AFTER = frozenset(
    {
        "RESUME",
        "CALL",
        "CALL_FUNCTION_EX",
        "CALL_KW",
        "JUMP_BACKWARD",
        "POP_JUMP_BACKWARD_IF_FALSE",
        "POP_JUMP_BACKWARD_IF_NONE",
        "POP_JUMP_BACKWARD_IF_NOT_NONE",
        "POP_JUMP_BACKWARD_IF_TRUE",
    }
)
"""Behind these instructions the interpreter looks for signals, unless they raise; nowhere else."""

STANDARD = ("threading", "queue", "contextlib", "functools", "weakref", "copy")
"""Modules of the standard library that are written in Python and run within this library's calls.

`queue.SimpleQueue` is in C: a signal that comes while a thread waits in it is as one before it.
"""


class _Interrupt:
    """Traces instructions, and raises KeyboardInterrupt at the place of a number.

    Those of `rotortree` and `STANDARD`; but none in ``__del__``, from which nothing is raised.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self.place = ""
        self._before: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package != "rotortree" and package not in STANDARD:
            return None
        if event == "call" and _is_in_finalizer(frame):
            return None
        frame.f_trace_opcodes = True
        if event == "exception":
            self._before[frame] = ""
        elif event == "opcode":
            before = self._before.get(frame, "RESUME")
            self._before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before in _LOOKS_AFTER and not self.place:
                self.left -= 1
                if self.left < 0:
                    where = f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}"
                    self.place = f"{where}, line {frame.f_lineno}"
                    raise KeyboardInterrupt
        return self


def _is_in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def everywhere(prepare: Callable[[], Callable[[], object]]) -> Iterator[str]:
    """Let what ``prepare`` returns run, interrupted at each place in turn; yield the place."""
    for number in itertools.count():
        function = prepare()
        interrupt = _Interrupt(number)
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            function()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
            interrupt._before.clear()  # frames, and what their variables hold
        if not interrupt.place:
            return
        yield interrupt.place


def interrupted_while(wait: Callable[[], object], is_waiting: Callable[[], bool]) -> bool:
    """Call what waits, on the main thread; send real SIGINTs when it does.  Whether that raised.

    KeyboardInterrupt is raised once.  A signal that comes just before the thread goes to sleep does
    not wake it, so more are sent.  Requires that the wait does not end by itself before that.
    """
    main = threading.main_thread()
    assert threading.current_thread() is main, "signals come to the main thread"
    waited, handled, is_over = list[bool](), list[int](), threading.Event()

    def handler(number: int, frame: object) -> None:
        handled.append(number)
        if len(handled) == 1:
            raise KeyboardInterrupt

    def send() -> None:
        waited.append(is_waiting())  # where it never does, the signal ends a test that fails
        assert main.ident is not None
        while not is_over.is_set() and not handled:
            signal.pthread_kill(main.ident, signal.SIGINT)
            is_over.wait(0.05)

    sender = threading.Thread(target=send, daemon=True)
    before = signal.signal(signal.SIGINT, handler)
    was_raised = False
    try:
        sender.start()
        wait()
    except KeyboardInterrupt:
        was_raised = True
    finally:
        is_over.set()
        sender.join()
        signal.signal(signal.SIGINT, before)
    return was_raised and waited == [True]
