"""Threads of tests, and what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["SOON", "Running"]

SOON = 20.0
"""Seconds after which something that should have happened is taken for lost."""


class Running:
    """A function in a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self.error = error

    def ends(self) -> bool:
        """Whether it does, soon."""
        self._thread.join(SOON)
        return not self._thread.is_alive()
