"""Who may have a tree open together, and when the lock is given back."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest

from rotortree import (
    CheckpointPolicy,
    ClosedError,
    ConfigMismatchError,
    DurabilityToken,
    FileLockedError,
    FlushPolicy,
    RotorTree,
)
from rotortree.storage.calls import take_lock
from rotortree.storage.os_directory import OsFileSystem
from tests.storage.interrupting import everywhere
from tests.storage.processes import run_script
from tests.storage.trees import check_tree, leaf, leaves

HOLDER = """
import sys
from rotortree import RotorTree
with RotorTree.open(sys.argv[1], read_only=sys.argv[2] == "reader"):
    print("open", flush=True)
    sys.stdin.read()
"""


def is_locked(path: Path, *, read_only: bool = False) -> bool:
    """Whether an open is refused now."""
    try:
        RotorTree.open(path, read_only=read_only).close()
    except FileLockedError as error:
        return error.path == f"{path}/LOCK"
    return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory with a closed tree of three leaves."""
    path = tmp_path / "tree"
    with RotorTree.open(path, n=2) as tree:
        tree.insert_many(leaves(0, 3))
    return path


@pytest.mark.evidence("example", "DURABLE-46", "DURABLE-47")
@pytest.mark.parametrize("role", ["writer", "reader"])
def test_another_process_excludes_writers_and_a_writer_everybody(path: Path, role: str) -> None:
    """FileLockedError at once; readers share; the lock ends with the holder, killed or not."""
    for how in ("exit", "kill"):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == b"open\n"
            assert is_locked(path)
            assert is_locked(path, read_only=True) == (role == "writer")
            if how == "kill":
                holder.kill()
            holder.stdin.close()
            holder.wait()
        assert not is_locked(path)


@pytest.mark.evidence("example", "DURABLE-46")
def test_two_objects_in_one_process_exclude_each_other(path: Path) -> None:
    """A writer excludes everybody, many readers read together and exclude a writer."""
    with RotorTree.open(path):
        assert is_locked(path)
        assert is_locked(path, read_only=True)
    readers = [RotorTree.open(path, read_only=True) for _ in range(20)]
    assert is_locked(path)
    for reader in readers:
        check_tree(reader, 2, 3)
        assert is_locked(path)
        reader.close()
    assert not is_locked(path)


def test_a_copy_is_a_tree_of_its_own(path: Path) -> None:
    """A copy of the directory, made while the tree is open, opens beside it."""
    with RotorTree.open(path) as tree:
        tree.insert_durable(leaf(3))
        shutil.copytree(path, path.parent / "copy")
        with RotorTree.open(path.parent / "copy") as copy:
            check_tree(copy, 2, 4)
        assert is_locked(path)
        check_tree(tree, 2, 4)


def test_a_failed_open_gives_the_lock_back(path: Path) -> None:
    """After ConfigMismatchError the tree opens."""
    for _ in range(3):
        with pytest.raises(ConfigMismatchError):
            RotorTree.open(path, n=3)
    assert not is_locked(path)


@pytest.mark.evidence("example", "DURABLE-39")
def test_a_forgotten_tree_is_closed_with_a_warning(path: Path) -> None:
    """Garbage: ResourceWarning, every leaf durable, a clean end, and the lock given back."""
    tree = RotorTree.open(path, flush_policy=FlushPolicy.Manual())
    tree.insert(leaf(3))
    held = [tree]
    del tree
    with pytest.warns(ResourceWarning, match="was not closed"):
        held.clear()
    with RotorTree.open(path) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 4)


def test_a_token_keeps_its_tree_open(path: Path) -> None:
    """Whoever holds a token can wait for it, even if nobody holds the tree."""

    def promise() -> DurabilityToken:
        return RotorTree.open(path, flush_policy=FlushPolicy.Manual()).insert(leaf(3))[1]

    token = promise()
    gc.collect()
    assert not token.is_durable
    token.wait(10)
    held = [token]
    del token
    with pytest.warns(ResourceWarning):
        held.clear()
    with RotorTree.open(path) as tree:
        check_tree(tree, 2, 4)


@pytest.mark.parametrize("policy", ["Interval(60)", "Interval(0)", "Manual()"])
def test_a_tree_forgotten_at_the_end_of_the_interpreter_is_closed(path: Path, policy: str) -> None:
    """Its leaves are there, it ended cleanly, and stderr says so under ``-W always``."""
    script = f"""
        import sys
        from rotortree import FlushPolicy, RotorTree
        from tests.storage.trees import leaf
        tree = RotorTree.open(sys.argv[1], flush_policy=FlushPolicy.{policy})
        for index in range(3, 9):
            tree.insert(leaf(index))
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(script), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "model")])},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert "ResourceWarning" in done.stderr
    assert "Traceback" not in done.stderr
    with RotorTree.open(path) as tree:
        assert tree.recovery.clean
        check_tree(tree, 2, 9)


# Forks.


def in_a_child(body: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter, where forking is safe: no threads but the tree's."""
    prologue = """
        import gc, glob, os, sys, warnings
        from rotortree import *
        from tests.storage.trees import *
        path = sys.argv[1]

        def child(function):
            # Run it in a forked child; return what it says in the end.
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(read)
                try:
                    said = function()
                except BaseException as error:
                    said = type(error).__name__
                os.write(write, str(said).encode())
                sys.exit(0)  # with everything that an exit does
            os.close(write)
            said = os.read(read, 1000).decode()
            assert os.waitpid(pid, 0)[1] == 0
            return said
    """
    script = textwrap.dedent(prologue) + textwrap.dedent(body)
    return run_script(script, path, "-W", "ignore::DeprecationWarning")


@pytest.mark.evidence("example", "DURABLE-48")
def test_a_forked_child_cannot_use_the_tree(path: Path) -> None:
    """Every use raises ClosedError there; its close, its garbage and its exit write nothing.

    The parent still holds the lock, has its pending leaves, and goes on.
    """
    body = """
        tree = RotorTree.open(path, flush_policy=FlushPolicy.Manual())
        token = tree.insert(leaf(3))[1]
        uses = [
            lambda: tree.insert(leaf(4)), lambda: tree.insert_many(leaves(4, 6)),
            lambda: tree.insert_durable(leaf(4)), lambda: tree.append(leaf(4)),
            tree.flush, tree.checkpoint, tree.wait_for_checkpoint, tree.snapshot,
            lambda: tree.root, lambda: tree.size, lambda: tree.head, token.wait,
        ]
        before = sorted((root, tuple(files)) for root, _, files in os.walk(path))
        size = sum(map(os.path.getsize, glob.glob(path + "/wal/*")))
        for use in uses:
            assert child(use) == "ClosedError", use
        def forget():
            global tree, token
            del tree, token
            uses.clear()
            gc.collect()
        assert child(forget) == "None"
        assert child(tree.close) == "None"
        assert before == sorted((root, tuple(files)) for root, _, files in os.walk(path))
        assert size == sum(map(os.path.getsize, glob.glob(path + "/wal/*")))
        assert child(lambda: RotorTree.open(path)) == "FileLockedError"
        assert not token.is_durable
        tree.insert(leaf(4))
        tree.close()
        with RotorTree.open(path) as tree:
            assert tree.recovery.clean
            check_tree(tree, 2, 5)
    """
    done = in_a_child(body, path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.evidence("example", "DURABLE-48")
def test_a_token_does_not_wait_for_ever_in_a_forked_child(path: Path) -> None:
    """Whatever the flush policy: the child has no flusher, so waiting there must raise."""
    body = """
        tree = RotorTree.open(path, flush_policy=FlushPolicy.Interval(60))
        token = tree.insert(leaf(3))[1]
        assert child(lambda: token.wait(0.5)) == "ClosedError", child(lambda: token.wait(0.5))
        tree.close()
    """
    done = in_a_child(body, path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.evidence("example", "DURABLE-47")
def test_a_forked_child_does_not_keep_the_lock(path: Path) -> None:
    """After the parent closed the tree it can be opened, even while a child still lives."""
    body = """
        tree = RotorTree.open(path)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)  # live until the parent is done
            os._exit(0)
        os.close(read)
        tree.close()
        try:
            RotorTree.open(path).close()
        finally:
            os.close(write)
            os.waitpid(pid, 0)
    """
    done = in_a_child(body, path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.evidence("example", "DURABLE-47")
def test_a_living_child_does_not_keep_the_lock_of_a_process_that_was_killed(path: Path) -> None:
    """The process that holds the tree forks and is killed: then the tree can be opened."""
    body = """
        import signal
        read, write = os.pipe()
        holder = os.fork()
        if holder == 0:
            tree = RotorTree.open(path)
            living = os.fork()
            os.write(write, f"{living} ".encode() if living else b"")
            if living == 0:
                os.write(write, b"lives")
            signal.pause()
        said = b""
        while b" " not in said or b"lives" not in said:
            said += os.read(read, 100)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        try:
            RotorTree.open(path).close()
        finally:
            os.kill(int(said.replace(b"lives", b"")), signal.SIGKILL)
    """
    done = in_a_child(body, path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.evidence("example", "DURABLE-48")
@pytest.mark.parametrize("how", ["flush", "checkpoint", "close"])
def test_what_runs_first_in_a_child_does_not_write_for_its_parent(path: Path, how: str) -> None:
    """A hook of before this library flushes, checkpoints or closes there: nothing is written."""
    body = f"""
        said = []
        def first():
            try:
                said.append(tree.{how}())
            except ClosedError:
                said.append("ClosedError")
        os.register_at_fork(after_in_child=first)
        tree = RotorTree.open(path, flush_policy=FlushPolicy.Manual())
        tree.insert(leaf(3))
        def contents():
            names = sorted(glob.glob(path + "/**", recursive=True))
            return [(name, os.path.isfile(name) and open(name, "rb").read()) for name in names]
        before = contents()
        print(child(lambda: said), contents() == before)
        try:
            RotorTree.open(path)
        except FileLockedError:
            print("still locked")
        tree.close()
        with RotorTree.open(path) as tree:
            print(tree.recovery.clean, tree.size)
    """
    done = in_a_child(body, path)
    said = f"{[None] if how == 'close' else ['ClosedError']} True\nstill locked\nTrue 4\n"
    assert (done.returncode, done.stdout) == (0, said)


@pytest.mark.evidence("example", "DURABLE-48")
@pytest.mark.parametrize("how", ["lock.release()", "del lock"])
def test_what_runs_first_in_a_child_does_not_unlock_for_its_parent(path: Path, how: str) -> None:
    """Not even what was registered before anything of this library."""
    body = f"""
        def first():
            global lock
            {how}
        os.register_at_fork(after_in_child=first)
        from rotortree.storage.os_directory import OsFileSystem
        directory = OsFileSystem().directory(path)
        lock = directory.lock("LOCK", shared=False)
        assert child(lambda: "done") == "done"
        try:
            directory.lock("LOCK", shared=True)
        except BlockingIOError:
            print("still locked")
    """
    done = in_a_child(body, path)
    assert (done.returncode, done.stdout) == (0, "still locked\n")


@pytest.mark.evidence("fault", "DURABLE-34")
def test_an_interrupt_anywhere_in_taking_the_lock_leaves_nothing_locked(path: Path) -> None:
    """As soon as what the interrupt unwound is forgotten, it can be taken again."""
    directory = OsFileSystem().directory(str(path))
    directory.lock("LOCK", shared=False).release()

    def take_and_release() -> None:
        take_lock(directory, "LOCK", shared=False).release()

    places = list[str]()
    for place in everywhere(lambda: take_and_release):
        places.append(place)
        directory.lock("LOCK", shared=False).release()
    assert any("take" in place for place in places)
    assert any("release" in place for place in places)


@pytest.mark.evidence("example", "DURABLE-36")
def test_use_after_close_is_refused(path: Path) -> None:
    """Every use raises ClosedError; close is idempotent; snapshots stay valid."""
    tree = RotorTree.open(path)
    snapshot = tree.snapshot()
    token = tree.insert(leaf(3))[1]
    tree.close()
    tree.close()
    for use in (
        lambda: tree.insert(leaf(4)),
        tree.flush,
        tree.checkpoint,
        tree.snapshot,
        tree.wait_for_checkpoint,
        lambda: tree.root,
    ):
        with pytest.raises(ClosedError):
            use()
    assert snapshot.leaves() == b"".join(leaves(0, 3))
    token.wait()
    assert token.is_durable


def test_a_closed_tree_gives_its_memory_back_at_once(tmp_path: Path) -> None:
    """Without the garbage collector: tree, threads and engine are no cycle."""
    gc.disable()
    try:
        tree = RotorTree.open(
            tmp_path / "tree", checkpoint_policy=CheckpointPolicy.EveryNEntries(9)
        )
        tree.insert(bytes(32))
        engine = weakref.ref(tree._engine)
        tree.close()
        del tree
        assert engine() is None
    finally:
        gc.enable()
