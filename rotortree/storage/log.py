"""The log and the commit record: the one owner of these files while a tree is open for writing.

Creating a tree, going on with a recovered one, flushing and checkpointing all come here; nothing
else writes in ``wal/`` or replaces ``COMMIT``.  A `Log` writes one unit for each flush:

::

    ┌────────────────┬────────────┬──────────┬────────────┬──────────┬────────────┬─────────
    │ segment header │ frame hdr 0│ leaves   │ frame hdr 1│ leaves   │ frame hdr 2│ leaves …
    └────────────────┴────────────┴──────────┴────────────┴──────────┴────────────┴─────────
                     └─ unit: one flush ─────┘└─ unit of two frames, the first flagged MORE ─┘

A unit holds every leaf that was pending.  It counts whole or not at all, so a batch, which becomes
visible in one step, is never split by a crash.

Behind the last unit the open segment may have zeros, written ahead: a flush into them changes no
length and allocates nothing, which takes a journalling file system about two thirds of the time.
Close cuts them off.

An `IoFailedError` says that nothing changed, and the call may be repeated.  `SyncFailedError` and
`DetachedError` say that the log can no longer be trusted: whoever gets one must not call again.

Any other exception may come from anywhere (Ctrl-C, out of memory), also just after a call of the
system did its work.  Then nobody knows what the open segment holds behind its end, as after a kill,
and the next append does what an open after a kill does: it goes on in a new segment.
"""

from __future__ import annotations

import contextlib
import copy
import errno
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from rotortree.errors import DetachedError, IoFailedError, SyncFailedError
from rotortree.geometry import NODE_BYTES
from rotortree.storage import calls
from rotortree.storage.directory import File, Lock, WritableDirectory
from rotortree.storage.environment import Environment
from rotortree.storage.format import (
    COMMIT,
    EMPTY,
    FRAME_BYTES,
    LEVELS,
    LOCK,
    MAX_SEGMENT,
    SALT_BYTES,
    SEAL_BYTES,
    SEGMENT_BYTES,
    WAL,
    Commit,
    Frame,
    Head,
    Identity,
    SegmentHeader,
    segment_name,
    segment_number,
)
from rotortree.storage.log_reader import SegmentScan, payload_seal
from rotortree.storage.recovery import Decision, Link, Survey

__all__ = ["Checkpoint", "Leaves", "Log", "Root", "create_log", "resume_log"]

Leaves: TypeAlias = Callable[[int, int], Iterable[memoryview]]
"""Gives leaves [start, stop), as rows of 32 bytes each."""

Root: TypeAlias = Callable[[int], bytes]
"""Gives the root of the first so many leaves."""


class Checkpoint(NamedTuple):
    """What the level files hold, and the number of the segment that begins there."""

    head: Head
    first_segment: int


class _End(NamedTuple):
    """Where a segment's next unit begins: offset, chain and number of its first frame."""

    offset: int
    chain: bytes
    frames: int


class _Segment:
    """The open segment: its file, and where its next unit begins."""

    def __init__(self, file: File, path: str, header: SegmentHeader, end: _End) -> None:
        self.file = file
        self.identity = file.identity
        self.path = path
        self.name = f"{WAL}/{segment_name(header.number)}"
        """The file's path below the tree's directory."""
        self.header = header
        self.key = header.key()
        self.end = end
        self.written = end.offset
        """The file's length, zeros ahead included."""

    def cut(self, length: int) -> None:
        """Cut the file to ``length`` bytes.  Raises IoFailedError."""
        with calls.translated(self.path, "truncate"):
            self.file.truncate(length)
        self.written = length


def create_log(root: WritableDirectory, environment: Environment, identity: Identity) -> None:
    """Make a new, empty tree in an empty directory.  Requirements: FORMAT-11.

    The name of its first segment is the commit point.  That name is not durable yet: `resume_log`
    makes it so.  Raises IoFailedError.
    """
    wal = calls.make_directory(root, WAL)
    try:
        calls.close(calls.make_directory(root, LEVELS))
        _sync_with_parent(root)
        header = SegmentHeader(identity, 1, EMPTY, environment.random_bytes(SALT_BYTES))
        name = segment_name(1)
        calls.close(calls.write_temporary(wal, name, [header.encode()]))
        calls.publish(wal, name)
    finally:
        calls.close(wal)


def _sync_with_parent(root: WritableDirectory) -> None:
    parent = calls.open_parent(root)
    try:
        calls.sync_directory(root)
        calls.sync_directory(parent)
    finally:
        calls.close(parent)


def _always() -> None:
    """The default check of a commit: it is always allowed."""


class Log:
    """The log of one tree, open at its end.

    One thread at a time appends.  Another one may begin segments and replace the commit record
    meanwhile.
    """

    def __init__(
        self,
        root: WritableDirectory,
        wal: WritableDirectory,
        lock: Lock,
        environment: Environment,
        identity: Identity,
    ) -> None:
        self.identity = identity
        self.checkpoint = Checkpoint(EMPTY, 1)
        self.size = 0
        """How many leaves the log leads to, all of them durable."""
        self._root = root
        self._identify = root.identify  # for each flush
        self._wal = wal
        self._environment = environment
        self._lock_file = None if lock.guards_directory else _lock_file(root)
        self._appending = environment.scheduler.lock()
        self._committing = environment.scheduler.lock()
        self._segment: _Segment | None = None
        self._interrupted: _Segment | None = None
        self._broken: IoFailedError | DetachedError | None = None
        self._number = 0
        self._commit: Commit | None = None
        self._recorded = 0
        self._bases: dict[int, Head] = {}

    # _segment: the open one; None if nobody knows what lies behind its end, as while a thread
    # appends; _interrupted: the one that was appended to last.
    # _broken: why the log cannot be trusted any more.
    # _number: the largest one that a segment may have; _bases: where each one that counts begins.
    # _commit: the record as it stands on disk, None if that is not known; _recorded: what any
    # record that was written may have acknowledged.

    # Appending.

    def append(self, stop: int, leaves: Leaves, root: Root) -> None:
        """Write the leaves from ``size`` up to ``stop`` as one unit; they are durable then.

        Raises IoFailedError: they are not in the log, and may be written again.  Raises
        SyncFailedError, DetachedError, and what ``root`` raises, before anything was written.
        """
        with self._appending:
            self._check_sound()
            try:
                self._append(self._writable(root), stop, leaves, root)
            except (IoFailedError, DetachedError) as error:
                raise self._noted(error) from error.__cause__

    def _append(self, segment: _Segment, stop: int, leaves: Leaves, root: Root) -> None:
        place, room = (segment.key, segment.end), self._environment.frame_leaves
        buffers, end = _unit(place, (self.size, stop), leaves, root, room)
        if self._lock_file is not None:
            self._check_lock()
        self._segment, self._interrupted = None, segment
        try:
            self._write(segment, buffers, end.offset)
        except IoFailedError:
            self._segment = segment  # its end is where it was
            raise
        try:
            segment.file.sync()
        except OSError as error:
            raise SyncFailedError(segment.path, "fsync", error) from error
        try:
            self._check_named(segment)
        except IoFailedError:
            self._segment = segment  # the same is written there again
            raise
        segment.end, self.size, self._segment = end, stop, segment

    def _check_sound(self) -> None:
        """Raise again what made the log one that cannot be trusted."""
        if self._broken is not None:
            raise copy.copy(self._broken)

    def _noted(self, error: IoFailedError | DetachedError) -> IoFailedError | DetachedError:
        """What an error means; where it says that the log cannot be trusted, that is noted."""
        found = calls.explained(error) if isinstance(error, IoFailedError) else error
        if isinstance(found, (SyncFailedError, DetachedError)):
            self._broken = copy.copy(found)
        return found

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        self._check_sound()
        try:
            yield
        except (IoFailedError, DetachedError) as error:
            raise self._noted(error) from error.__cause__

    def _writable(self, root: Root) -> _Segment:
        """The segment to append to: the open one, or a new one."""
        segment = self._segment
        if segment is None:
            return self._begin(root)
        if segment.end.offset >= self._environment.segment_bytes:
            try:
                return self._begin(root)
            except SyncFailedError:
                raise
            except IoFailedError:
                pass  # the new one has no name: the log goes on in the one that it has
        return segment

    def _write(self, segment: _Segment, buffers: list[bytes | memoryview], stop: int) -> None:
        begin = segment.end.offset
        try:
            calls.write_all(segment.file, segment.path, buffers, begin)
        except IoFailedError:
            # Cutting only frees space: what stays behind the end is torn, and is written over.
            with contextlib.suppress(IoFailedError):
                segment.cut(begin)
            raise
        if stop > segment.written:
            segment.written = stop
            self._write_zeros(segment, stop)

    def _write_zeros(self, segment: _Segment, start: int) -> None:
        """Write zeros for the next units: as many bytes as the log has, within the limit.

        A disk without room for them still has room for what counts: then there are none.
        """
        zeros = bytes(min(start, self._environment.zeros_ahead))
        try:
            segment.written = calls.write_all(segment.file, segment.path, [zeros], start)
        except IoFailedError:
            with contextlib.suppress(IoFailedError):
                segment.cut(start)

    def _check_named(self, segment: _Segment) -> None:
        """Raise DetachedError unless the tree's directory still holds the segment.

        Asked after a sync: nothing is acknowledged in a file without a name.
        """
        try:
            is_named = self._identify(segment.name) == segment.identity
        except OSError:
            is_named = False
        if not is_named:  # asked once more, to say what is wrong
            calls.check_named(self._root, segment.name, segment.identity)
        if self._lock_file is not None:
            self._check_lock()

    def _check_lock(self) -> None:
        """Raise DetachedError if somebody took away the lock, where that is possible."""
        if self._lock_file is not None:
            calls.check_named(self._root, LOCK, self._lock_file)

    def cut_zeros(self) -> None:
        """Cut off the zeros ahead, if there are any.  Raises IoFailedError.

        Not synced: with them or without, this is the same log.
        """
        segment = self._segment
        if segment is not None and segment.written > segment.end.offset:
            segment.cut(segment.end.offset)

    # Segments.

    def switch(self, root: Root) -> list[Checkpoint]:
        """Begin a new segment unless the open one is empty; return what may be checkpointed.

        These are the places at which a segment begins behind the last checkpoint, in order; the
        last one is the end of the log.  Raises as `append` does.
        """
        with self._appending, self._noting():
            segment = self._segment
            if segment is None or self.size > segment.header.base.size:
                segment = self._begin(root)
            self._check_named(segment)
            behind = self.checkpoint.head.size
            stops = [Checkpoint(head, number) for number, head in sorted(self._bases.items())]
            return [stop for stop in stops if stop.head.size > behind] or stops[-1:]

    def _begin(self, root: Root) -> _Segment:
        """Go on in a new segment that begins at the log's end."""
        self._check_lock()
        with contextlib.suppress(IoFailedError):  # this only frees space
            self.cut_zeros()
        return self._begin_at(Head(self.size, root(self.size)), self.size, _no_leaves, root)

    def _begin_at(self, base: Head, stop: int, leaves: Leaves, root: Root) -> _Segment:
        """Go on in a new segment, durable, that begins at ``base`` and has leaves up to ``stop``.

        Once its name exists, nothing may be written to the segment before, because a recovery that
        finds the name reads that one only up to here; and nothing to the new one before its name is
        durable.  So an error between the two is as bad as a failed sync, and whatever else happens
        there makes the next append begin another segment, which replaces this one.  Before,
        nothing changed.
        """
        number, frame_leaves = self._number + 1, self._environment.frame_leaves
        name = segment_name(number)
        path = calls.path_of(self._wal, name)
        if number > MAX_SEGMENT:
            raise IoFailedError(path, "create", OSError(errno.EOVERFLOW, "no number is left"))
        promise = SEGMENT_BYTES + _unit_bytes(stop - base.size, frame_leaves)
        salt = self._environment.random_bytes(SALT_BYTES)
        header = SegmentHeader(self.identity, number, base, salt, promise)
        data = header.encode()
        begin = header.key(), _End(SEGMENT_BYTES, data[-SEAL_BYTES:], 0)
        buffers, end = _unit(begin, (base.size, stop), leaves, root, frame_leaves)
        file = calls.write_temporary(self._wal, name, [data, *buffers])
        before, self._segment, self._number = self._segment, None, number
        try:
            with calls.syncing(path, "rename"):
                self._wal.rename(name + calls.TEMPORARY, name)
            calls.sync_directory(self._wal)
        except BaseException:
            calls.close(file)
            raise
        finally:
            if before is not None:
                calls.close(before.file)
        # It replaces those that begin there, too: an interrupt may have left one.
        self._bases = {at: head for at, head in self._bases.items() if head.size < base.size}
        self._bases[number] = base
        self.size = stop
        self._segment = _Segment(file, path, header, end)
        if before is None and (interrupted := self._interrupted) is not None:
            with contextlib.suppress(IoFailedError):  # this only frees space
                interrupted.cut(interrupted.end.offset)
            calls.close(interrupted.file)
        self._interrupted = None
        return self._segment

    # The commit record.

    def commit(
        self,
        acknowledged: int,
        root: Root,
        to: Checkpoint | None = None,
        check: Callable[[], None] = _always,
    ) -> None:
        """Record that ``acknowledged`` leaves are durable, and a new checkpoint if one was made.

        Calls ``check`` when nobody else commits, and raises what it raises.  Raises IoFailedError,
        SyncFailedError, DetachedError.  Requires that ``acknowledged`` leaves end a unit.
        """
        with self._committing, self._noting():
            check()
            checkpoint = to or self.checkpoint
            size = max(acknowledged, self._recorded, checkpoint.head.size)
            commit = Commit(
                identity=self.identity,
                checkpoint=checkpoint.head,
                acknowledged=Head(size, root(size)),
                first_segment=checkpoint.first_segment,
                last_segment=max(self._bases),
            )
            if (segment := self._segment) is not None:
                self._check_named(segment)
            else:  # another thread appends to it, or was interrupted
                calls.check_named(self._root, WAL, calls.identity_of(self._wal))
                self._check_lock()
            if commit != self._commit:
                self._commit, self._recorded = None, size  # unknown until it is durable
                calls.replace_file(self._root, COMMIT, commit.encode())
            self._commit, self._recorded, self.checkpoint = commit, size, checkpoint

    def tidy(self) -> None:
        """Remove what the durable commit record made useless: segments, unfinished files.

        What cannot be removed is left, until the next time.  Raises IoFailedError if it cannot be
        seen what there is.
        """
        with self._appending:
            first = self.checkpoint.first_segment
            self._bases = {number: at for number, at in self._bases.items() if number >= first}
            names = calls.listdir(self._wal)
            for name in names:
                if name.endswith(calls.TEMPORARY):  # under the lock: nobody is writing it
                    self._remove(name)
            kept, last = self._bases.keys(), max(self._bases)
        for name in names:
            number = segment_number(name)
            if number is not None and number < last and number not in kept:
                self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove a file of the log, if that works: it only frees space."""
        with contextlib.suppress(IoFailedError):
            calls.unlink(self._wal, name)

    def close(self) -> None:
        """Release the files.  Idempotent."""
        if self._segment is not None:
            calls.close(self._segment.file)
        calls.close(self._wal)


def resume_log(
    root: WritableDirectory,
    lock: Lock,
    environment: Environment,
    found: Survey,
    decision: Decision,
    leaves: Leaves,
    root_of: Root,
    *,
    repair: Callable[[], None] | None,
    record: bool,
    created: bool,
) -> Log:
    """Make what was recovered durable, and a place for what comes: the writer's open.

    What was read may be in memory only, if a process was killed before it synced, or if its fsync
    failed; and then another fsync would say nothing.  So what is not known to be on the disk is
    written anew, into the next segment, before that has a name and before anything older changes.

    ``repair`` writes damaged level files again; None if there is nothing to repair.  ``record``:
    acknowledgements are recorded.  ``created``: the tree was made just now.  The comments number
    the steps as section 7 of the format does.  Raises IoFailedError, DetachedError; whatever was
    changed then, the next open does again.
    """
    wal = calls.open_directory(root, WAL, follow=False)
    if wal is None:
        raise DetachedError(calls.path_of(root, WAL), "was removed or moved")
    if calls.identity_of(wal) != found.wal:
        calls.close(wal)
        raise DetachedError(calls.path_of(root, WAL), "was replaced by another directory")
    log = Log(root, wal, lock, environment, decision.identity)
    try:
        # 1. The names that were found become durable, those above the tree in its first life only.
        calls.sync_directory(wal)
        if found.commit is None:
            _sync_with_parent(root)
        else:
            calls.sync_directory(root)
        log._commit, log._recorded = found.commit, decision.head.size
        log._number = decision.last.number
        # 2. A place to write: the last segment, or a new one with what is not known to be durable.
        if decision.is_known:
            stay = len(decision.links)
            _reopen(log, decision, is_new=created)
        else:
            stay = _begin_behind(log, decision, leaves, root_of)
            _remove_unnamed(log, found)
        log.checkpoint = Checkpoint(decision.base, min(log._bases))
        if log._segment is not None:
            log._check_named(log._segment)
        # 3. What is damaged above the leaves is written again.
        if repair is not None:
            repair()
        # 4. The commit record must be there, and durable, and name no segment that goes.
        goes = any(scan.number not in log._bases for scan in found.segments)
        if goes:
            log._commit = None  # even an equal one: its name may not be durable
        acknowledged = None if found.commit is None else found.commit.acknowledged
        if acknowledged is None or goes or (record and acknowledged != decision.head):
            log.commit(decision.head.size, root_of)
        # 5. This only frees space: what fails is done the next time.
        with contextlib.suppress(IoFailedError):
            log.tidy()
        with contextlib.suppress(IoFailedError):
            _cut_tails(log, decision.links[:stay])
    except BaseException:
        log.close()
        raise
    return log


def _reopen(log: Log, decision: Decision, *, is_new: bool) -> None:
    """Go on in the last segment, where nothing in it is in doubt.  Requirements: FORMAT-69."""
    last = decision.links[-1].scan
    assert last.header is not None  # the decision found it sound
    log._bases = {link.scan.number: link.base for link in decision.links}
    file = calls.open_writable(log._wal, segment_name(last.number))
    if not _is_that(file, last):
        calls.close(file)
        raise DetachedError(last.path, "was replaced by another file")
    end = _End(last.end, last.chain, last.frames)
    log.size, log._segment = decision.head.size, _Segment(file, last.path, last.header, end)
    log._segment.written = last.size
    # Zeros ahead: if their sync failed, and the disk was read again since, then nobody knows
    # whether it has them; so their length must be written anew.
    log.cut_zeros()
    if not is_new:
        # A process that was killed may have cut off a unit that the disk still has.
        calls.sync_file(file, last.path)


def _begin_behind(log: Log, decision: Decision, leaves: Leaves, root_of: Root) -> int:
    """Go on in a new segment; return how many of the others stay.  Requirements: FORMAT-70."""
    stay, size = _where_to_begin(decision, log._environment.fold_leaves)
    log._bases = {link.scan.number: link.base for link in decision.links[:stay]}
    log._begin_at(Head(size, root_of(size)), decision.head.size, leaves, root_of)
    return stay


def _remove_unnamed(log: Log, found: Survey) -> None:
    """Remove what the new segment replaced and no commit record names.

    It may go before the next record is there.  So an open that always fails behind this, or is
    killed, does not leave a segment each time.
    """
    if found.commit_error is not None:
        return  # nobody knows which ones it names: the disk may have it as it was
    named = 0 if found.commit is None else found.commit.last_segment
    for scan in found.segments:
        if scan.number > named and scan.number not in log._bases:
            log._remove(segment_name(scan.number))


def _where_to_begin(decision: Decision, fold_leaves: int) -> tuple[int, int]:
    """How many of the log's segments stay, and the size at which the new one begins.

    It begins where nothing is known to be durable any more; or earlier, at the base of a segment
    that it replaces, if no more than ``fold_leaves`` durable leaves are copied for that.  So a
    process that is killed again and again does not leave a segment each time.
    """
    stay, size = len(decision.links), decision.durable_size
    while stay and decision.durable_size - decision.links[stay - 1].base.size <= fold_leaves:
        stay -= 1
        size = decision.links[stay].base.size
    return stay, size


def _cut_tails(log: Log, links: Iterable[Link]) -> None:
    """Cut off what lies behind where the next segment begins, which is nothing that counts."""
    begins = sorted(log._bases.items())
    for link in links:
        following = (base.size for number, base in begins if number > link.scan.number)
        end = link.end_at(next(following, link.scan.size))
        if link.scan.number < log._number and link.scan.size > end:
            file = calls.open_writable(log._wal, segment_name(link.scan.number))
            try:
                if _is_that(file, link.scan):
                    with calls.translated(link.scan.path, "truncate"):
                        file.truncate(end)
            finally:
                calls.close(file)


def _is_that(file: File, scan: SegmentScan) -> bool:
    """Whether a file that a name led to is the segment that was read, and not another one."""
    assert scan.header is not None  # it counts
    header = calls.read_exactly(file, scan.path, SEGMENT_BYTES, 0)
    return file.identity == scan.identity and header == scan.header.encode()


def _lock_file(root: WritableDirectory) -> Hashable:
    """The identity of the lock file, where nothing else guards the tree."""
    with calls.translated(calls.path_of(root, LOCK), "stat"):
        return root.identify(LOCK)


def _no_leaves(start: int, stop: int) -> Iterable[memoryview]:
    return ()


def _unit_bytes(leaves: int, frame_leaves: int) -> int:
    """The length of a unit of so many leaves; 0 for none."""
    return leaves * NODE_BYTES + -(-leaves // frame_leaves) * FRAME_BYTES


def _unit(
    place: tuple[bytes, _End],
    sizes: tuple[int, int],
    leaves: Leaves,
    root: Root,
    frame_leaves: int,
) -> tuple[list[bytes | memoryview], _End]:
    """The bytes of the unit that leads from one size to another, and where the next one begins.

    ``place`` is the segment's key, and where the unit begins in it.  No leaves are no bytes.
    """
    (key, end), (first, stop) = place, sizes
    offset = end.offset + _unit_bytes(stop - first, frame_leaves)
    buffers: list[bytes | memoryview] = []
    chain, frames = end.chain, end.frames
    while first < stop:
        behind = min(first + frame_leaves, stop)
        payload = list(leaves(first, behind))
        frame = Frame(
            more=behind < stop,
            number=frames,
            first=first,
            leaves=behind - first,
            promise=end.offset,
            root=root(behind),
            chain=chain,
            payload_seal=payload_seal(payload, key),
        ).encode(key)
        buffers += (frame, *payload)
        chain, frames, first = frame[-SEAL_BYTES:], frames + 1, behind
    return buffers, _End(offset, chain, frames)
