"""Ctrl-C wherever the interpreter looks for one, one place after the other."""

from __future__ import annotations

import dis
import itertools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["everywhere"]

_LOOKS_AFTER = frozenset({"RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD"})
"""Behind these instructions the interpreter looks for signals, unless they raise; nowhere else."""


class _Interrupt:
    """Traces instructions, and raises KeyboardInterrupt at the place of a number.

    Those of `rotortree`, and of `threading`, which is written in Python, too; but none in
    ``__del__``, from which nothing is raised.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self.place = ""
        self._before: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(("rotortree.", "threading")):
            return None
        if "__del__" in (frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name):
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
                    self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                    raise KeyboardInterrupt
        return self


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
