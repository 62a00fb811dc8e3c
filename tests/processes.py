"""Processes that tests start."""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import AnyStr

__all__ = ["Process"]


class Process(subprocess.Popen[AnyStr]):
    """A process that ends with its context at the latest, also where a test fails."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        super().__exit__(kind, value, traceback)
