"""Every error that RotorTree raises on purpose, in one tree.

::

    RotorTreeError
    ├── TreeError                      the call was wrong; nothing changed
    │   ├── InvalidConfigError         a parameter is outside its range
    │   ├── InvalidLeafError           not a 32-byte value, or not a buffer of them
    │   ├── EmptyBatchError            a batch of no leaves
    │   ├── CapacityExceededError      more leaves than a size can count
    │   │   └── MaxDepthExceededError  more leaves than n ** max_depth
    │   ├── IndexOutOfRangeError       no such leaf, node, level or past size
    │   ├── InvalidProofError          a proof that does not prove its statement
    │   │   └── NoUpdateNeededError    the old and the new head have the same size
    │   └── ReentrantError             called by what interrupted a call of the same thread
    └── StorageError                   the durable tree cannot do what the caller asked for
        ├── ClosedError                used after close(), or in a forked child
        ├── ReadOnlyError              a change of a tree that was opened read-only
        ├── FileLockedError            another process (or object) has the tree open
        ├── TreeNotFoundError          no tree there, and the caller did not ask to create one
        ├── NotATreeError              the directory holds something else
        ├── ConfigMismatchError        the stored parameters differ from the given ones
        ├── IoFailedError              the operating system refused an operation
        │   └── SyncFailedError        a sync failed: what it covered may be lost
        ├── FlushFailedError           leaves did not become durable
        │   └── DetachedError          files of the open tree were removed, moved or replaced
        ├── CheckpointFailedError      a checkpoint was not committed
        ├── UnsupportedFormatError     written by another version of the format
        └── DataCorruptionError        stored bytes are damaged, missing or misplaced
            ├── ChecksumMismatchError  a seal does not match the bytes that it seals
            └── WalCorruptedError      acknowledged leaves of the log are damaged

The values in a message are also attributes.  A call that is rejected leaves the tree unchanged.
"""

from __future__ import annotations

import copyreg
from typing import Any

__all__ = [
    "CapacityExceededError",
    "CheckpointFailedError",
    "ChecksumMismatchError",
    "ClosedError",
    "ConfigMismatchError",
    "DataCorruptionError",
    "DetachedError",
    "EmptyBatchError",
    "FileLockedError",
    "FlushFailedError",
    "IndexOutOfRangeError",
    "InvalidConfigError",
    "InvalidLeafError",
    "InvalidProofError",
    "IoFailedError",
    "MaxDepthExceededError",
    "NoUpdateNeededError",
    "NotATreeError",
    "ReadOnlyError",
    "ReentrantError",
    "RotorTreeError",
    "StorageError",
    "SyncFailedError",
    "TreeError",
    "TreeNotFoundError",
    "UnsupportedFormatError",
    "WalCorruptedError",
    "shown",
]


def shown(value: object) -> str:
    """A value as text for a message.  Python refuses to print integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    try:
        return repr(value)
    except ValueError:  # the value contains such an integer
        return f"a value of type {type(value).__name__}"


class RotorTreeError(Exception):
    """Base of all errors of this library.  They can be pickled, and so cross processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Restores the message and the attributes without __init__, which takes other arguments.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed lacks it


class TreeError(RotorTreeError):
    """The call was wrong: its arguments, or its moment, do not fit the tree.  Nothing changed."""


class InvalidConfigError(TreeError, ValueError):
    """A parameter is outside its range.

    Attributes: ``parameter`` (its name) and ``value`` (what was given).
    """

    def __init__(self, parameter: str, value: object, requirement: str) -> None:
        super().__init__(f"{parameter} is {shown(value)}, but {requirement}")
        self.parameter = parameter
        self.value = value


class InvalidLeafError(TreeError, ValueError):
    """A leaf is not 32 bytes, or a buffer is not a row of 32-byte leaves.

    Attribute: ``index``, the position in the batch of the first bad leaf, or None.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class EmptyBatchError(TreeError, ValueError):
    """A batch must hold at least one leaf."""

    def __init__(self) -> None:
        super().__init__("the batch is empty: it must hold at least one leaf")


class CapacityExceededError(TreeError):
    """The leaves do not fit into the tree.

    Attributes: ``size`` (leaves now), ``count`` (leaves to insert), ``capacity`` (leaves at most).
    """

    def __init__(self, size: int, count: int, capacity: int, limit: str) -> None:
        super().__init__(
            f"{count} more leaves do not fit into a tree of {size}: its capacity is {capacity}"
            f" ({limit})"
        )
        self.size = size
        self.count = count
        self.capacity = capacity


class MaxDepthExceededError(CapacityExceededError):
    """The leaves would make the tree deeper than ``max_depth``."""


class IndexOutOfRangeError(TreeError, IndexError):
    """There is no such leaf, node, level or past size.

    Attributes: ``what`` ("leaf", "size", ...), ``value`` (the one that was asked for), ``stop``
    (the first one that does not exist).
    """

    def __init__(self, what: str, value: int, stop: int) -> None:
        super().__init__(f"{what} {shown(value)} is outside of [0, {stop})")
        self.what = what
        self.value = value
        self.stop = stop


class InvalidProofError(TreeError, ValueError):
    """A proof is malformed, or does not prove its statement against the given head."""


class NoUpdateNeededError(InvalidProofError):
    """The old and the new head have the same size, so there is nothing to update."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the proof is of size {size} already")
        self.size = size


class ReentrantError(TreeError):
    """A signal handler, a finalizer or a callback called the tree where that could never end.

    It interrupted an insert of the same thread, which holds the lock that the call would wait for;
    or it runs on the tree's own background thread, for which the call would wait.  Nothing changed.
    """


class StorageError(RotorTreeError):
    """The durable tree cannot do what the caller asked for."""


class ClosedError(StorageError):
    """The tree was closed, or belongs to the parent process of a fork."""


class ReadOnlyError(StorageError):
    """The caller tried to change a tree that was opened read-only."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was opened read-only")
        self.path = path


class FileLockedError(StorageError):
    """Another process, or another object in this one, has the tree open.

    Attribute: ``path``, the lock file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: the tree is open elsewhere")
        self.path = path


class TreeNotFoundError(StorageError):
    """There is no tree at ``path``, and the caller did not ask to create one."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: no tree there")
        self.path = path


class NotATreeError(StorageError):
    """``path`` is not a directory, or holds something other than a tree.  Nothing was written.

    Attribute: ``path``.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: not a tree: {reason}")
        self.path = path


class ConfigMismatchError(StorageError):
    """The stored tree was made with parameters that differ from the given ones.

    Attributes: ``path``, ``parameter``, ``stored``, ``given``.
    """

    def __init__(self, path: str, parameter: str, stored: object, given: object) -> None:
        super().__init__(f"{path}: {parameter} is {stored!r} in the stored tree, not {given!r}")
        self.path = path
        self.parameter = parameter
        self.stored = stored
        self.given = given


class IoFailedError(StorageError):
    """The operating system refused an operation.

    Attributes: ``path``, ``operation`` ("open", "fsync", ...), ``errno`` (or None).
    """

    def __init__(self, path: str, operation: str, cause: OSError) -> None:
        super().__init__(f"{path}: {operation} failed: {cause.strerror or cause}")
        self.path = path
        self.operation = operation
        self.errno = cause.errno


class SyncFailedError(IoFailedError):
    """A sync failed: what it covered may be lost, although the system calls it written.

    No later sync can tell, so the tree that meets this is failed for good.
    """


class FlushFailedError(StorageError):
    """Leaves did not become durable.

    Attribute: ``retryable``.  True: nothing was lost; the leaves are still pending, and the next
    flush tries again.  False: the tree is failed for good; it can still be read, and only a new
    open recovers it.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class DetachedError(FlushFailedError):
    """Files of an open tree were removed, moved or replaced: it may not acknowledge any more.

    The tree is failed for good, and changed nothing that is not its own.  Attribute: ``path``, the
    file as it was called when the tree was opened.
    """

    def __init__(self, path: str, happened: str) -> None:
        super().__init__(f"the tree is failed: {path} {happened}", retryable=False)
        self.path = path


class CheckpointFailedError(StorageError):
    """A checkpoint was not committed.  The tree and its log are unchanged; try again later."""


class UnsupportedFormatError(StorageError):
    """A file has a version of the format that this library does not read.

    Attributes: ``path``, ``version`` (of the file), ``supported`` (by this library).
    """

    def __init__(self, path: str, version: int, supported: int) -> None:
        super().__init__(f"{path}: format version {version}; this library reads {supported}")
        self.path = path
        self.version = version
        self.supported = supported


class DataCorruptionError(StorageError):
    """Stored bytes are damaged, missing or misplaced.

    Attributes: ``path``, ``offset`` (bytes from the start of the file), ``leaves`` (the half-open
    range of leaves that cannot be trusted, or None).
    """

    def __init__(
        self, path: str, offset: int, message: str, leaves: tuple[int, int] | None = None
    ) -> None:
        super().__init__(f"{path}, offset {offset}: {message}")
        self.path = path
        self.offset = offset
        self.leaves = leaves


class ChecksumMismatchError(DataCorruptionError):
    """A seal does not match the bytes that it seals."""


class WalCorruptedError(DataCorruptionError):
    """Leaves of the log that were acknowledged as durable are damaged or missing."""
