"""The state of an open tree: what other threads meet when a flush or a checkpoint of it fails."""

from __future__ import annotations

import errno
import itertools

import pytest

from rotortree import (
    CheckpointFailedError,
    CheckpointPolicy,
    FlushFailedError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.threads import SOON, Gate, Running, abandon_threaded, open_threaded
from tests.storage.trees import (
    leaf,
    leaves,
)

# A failed tree.


@pytest.mark.evidence("fault", "DURABLE-28", "DURABLE-29", "FORMAT-37")
@pytest.mark.parametrize("name", ["checkpoint", "flush", "close"])
@pytest.mark.parametrize("policy", [CheckpointPolicy.Manual(), CheckpointPolicy.OnClose()])
def test_what_waited_for_a_flush_that_failed_acknowledges_nothing(
    name: str, policy: CheckpointPolicy.Manual | CheckpointPolicy.OnClose
) -> None:
    """It waits for the lock, the fsync fails, and it raises; nothing is written any more."""
    disk = SimulatedDisk()
    gate = Gate("sync", "/wal/", OSError(errno.EIO, "broken"))
    tree = open_threaded(disk, 2, checkpoint_policy=policy)
    tree.insert_many(leaves(0, 4))
    disk.on_call = gate
    first = Running(tree.flush)
    assert gate.is_reached()
    second = Running(getattr(tree, name))
    second.thread.join(0.05)
    before = disk.files()
    gate.open()
    assert first.ends()
    assert second.ends()
    for error in (first.error, second.error):
        assert isinstance(error, FlushFailedError)
        assert not error.retryable
    assert tree.durable_size == 0
    assert disk.files() == before
    abandon_threaded(tree)


@pytest.mark.evidence("fault", "DURABLE-28", "FORMAT-37")
@pytest.mark.parametrize("part", ["/levels/0/", "/levels/1/"])
def test_a_checkpoint_is_not_committed_when_a_flush_fails_meanwhile(part: str) -> None:
    """While level files are written, a sync of the log fails: no record, no file removed."""
    disk, gate = SimulatedDisk(), Gate("sync", part)
    tree = open_threaded(disk, 2)
    tree.insert_many(leaves(0, 4))
    disk.on_call = gate
    checkpoint = Running(tree.checkpoint)
    assert gate.is_reached()

    def fail_log(call: Call) -> None:
        if call.kind == "sync" and "/wal/" in call.path:
            raise OSError(errno.EIO, "broken")

    disk.on_call = fail_log
    tree.insert(leaf(4))
    with pytest.raises(FlushFailedError):
        tree.flush()
    before = len(disk.calls)
    gate.open()
    assert checkpoint.ends()
    assert isinstance(checkpoint.error, FlushFailedError)
    assert not checkpoint.error.retryable
    later = disk.calls[before:]
    assert not [call for call in later if call.kind in ("rename", "unlink", "truncate")]
    assert not [call for call in later if call.kind == "pwritev" and "/levels/" not in call.path]
    assert tree.checkpoint_size == 0
    abandon_threaded(tree)


@pytest.mark.evidence("example", "DURABLE-25")
def test_waiting_waits_for_a_checkpoint_that_was_asked_for() -> None:
    """False while it runs and the time is over, True when it has ended."""
    disk, gate = SimulatedDisk(), Gate("sync", "/levels/")
    with open_threaded(disk, 2) as tree:
        tree.insert_many(leaves(0, 4))
        disk.on_call = gate
        checkpoint = Running(tree.checkpoint)
        assert gate.is_reached()
        assert not tree.wait_for_checkpoint(0)
        gate.open()
        assert tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size == 4
        assert checkpoint.ends()


@pytest.mark.evidence("fault", "DURABLE-25")
def test_the_error_of_a_background_checkpoint_outlives_the_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It failed, the retry did not: the next wait raises the error, the one after that nothing."""
    monkeypatch.setattr("rotortree.durable.checkpointing.RETRY_SECONDS", 0.001)
    disk = SimulatedDisk()
    failures = itertools.count()

    def fail_once(call: Call) -> None:
        if call.kind == "sync" and "/levels/" in call.path and not next(failures):
            raise OSError(errno.EIO, "broken")

    with open_threaded(disk, 2, checkpoint_policy=CheckpointPolicy.EveryNEntries(4)) as tree:
        disk.on_call = fail_once
        tree.insert_many(leaves(0, 4))
        Running(lambda: [None for _ in iter(lambda: tree.checkpoint_size, 4)]).ends()
        with pytest.raises(CheckpointFailedError):
            tree.wait_for_checkpoint(SOON)
        assert tree.checkpoint_size == 4
        assert tree.wait_for_checkpoint(SOON)
