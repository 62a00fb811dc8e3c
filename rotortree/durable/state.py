"""The state of an open tree: open, maybe failed, closed, ended; and who may still use it."""

from __future__ import annotations

import copy

from rotortree.errors import ClosedError, DetachedError, FlushFailedError, StorageError
from rotortree.storage.process import Home

__all__ = ["TreeState"]


class TreeState:
    """In which state a tree is.

    ``failure``: set for good when a sync of the log or of a directory failed, or files of the tree
    were removed or replaced: what is pending can never be acknowledged; reads go on.  ``closed``:
    the tree refuses every use.  ``ended``: its last flush was made, or failed; from then on nothing
    becomes durable.

    The code that sets one of these must then call `Watermark.end`, which wakes all waiters.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.home = Home()
        self.closed = False
        self.ended = False
        self.failure: FlushFailedError | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether this is a forked child of the process that opened the tree.  A system call."""
        return self.home.has_left()

    def check_readable(self) -> None:
        """Raise ClosedError after close and in a forked child.  Cheap."""
        if self.home.left:
            raise ClosedError(
                f"{self.path} was opened by process {self.home.process}, of which this is a fork"
            )
        if self.closed:
            raise ClosedError(f"{self.path} is closed")

    def check_not_failed(self) -> None:
        """Raise the error of a failed tree, if it is."""
        if self.failure is not None:
            raise copy.copy(self.failure)

    def fail(self, cause: BaseException) -> None:
        """Fail the tree for good: only a new open can tell what the disk holds."""
        if isinstance(cause, DetachedError):
            self.failure = copy.copy(cause)  # without the frames that it holds
        else:
            shown = str(cause) or type(cause).__name__
            self.failure = FlushFailedError(f"the tree is failed: {shown}", retryable=False)

    def why_not_durable(self) -> StorageError | None:
        """Why no leaf becomes durable any more; None if some may."""
        if self.failure is not None:
            return copy.copy(self.failure)
        if self.ended:
            return ClosedError(f"{self.path} was closed before the leaves were durable")
        return None
