"""The life of an open tree: open, maybe failed, closed, ended; and who may still use it."""

from __future__ import annotations

from rotortree.errors import ClosedError, FlushFailedError, IoFailedError, StorageError
from rotortree.storage.files import Home

__all__ = ["Life"]


class Life:
    """In which state a tree is.

    ``failure``: set for good when a sync of the log or of a directory failed, and what is pending
    can never be acknowledged; reads go on.  ``closed``: it refuses every use.  ``ended``: its last
    flush was made, or failed; from then on nothing becomes durable.

    Each is set by one assignment that no call separates from what it follows, because an interrupt
    (Ctrl-C) comes with calls only.  Whoever waits looks at them, and need not have been told.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.home = Home()
        self.closed = False
        self.ended = False
        self.failure: BaseException | str | None = None

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
        """Raise FlushFailedError once the tree is failed."""
        if self.failure is not None:
            raise self.fatal()

    def fatal(self) -> FlushFailedError:
        """The error of a failed tree."""
        return FlushFailedError(f"the tree is failed: {_shown(self.failure)}", retryable=False)

    def fail(self, cause: BaseException) -> None:
        """Nothing is known of what the log holds: only a new open can tell.

        This call may be interrupted: whoever catches the cause sets ``failure`` before.
        """
        self.failure = _shown(cause)  # without what the cause holds

    def fail_if_hidden(self, interrupt: BaseException) -> None:
        """Fail if a call had failed, maybe a sync, and the interrupt came before that was seen."""
        cause = interrupt.__context__
        while cause is not None and self.failure is None:
            if isinstance(cause, (OSError, IoFailedError)):
                self.fail(cause)
            cause = cause.__context__

    def why_not_durable(self) -> StorageError | None:
        """Why no leaf becomes durable any more; None if some may."""
        if self.failure is not None:
            return self.fatal()
        if self.ended:
            return ClosedError(f"{self.path} was closed before the leaves were durable")
        return None


def _shown(cause: object) -> str:
    return str(cause) or type(cause).__name__
