"""What a hasher, a callback, a finalizer or a signal handler may do with a tree, and what not.

Each calls the tree while a call of the tree is running.  That succeeds or raises ReentrantError,
which changes nothing; it never hangs.
"""

from __future__ import annotations

import gc
import hashlib
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from rotortree import (
    ClosedError,
    CustomHasher,
    FlushFailedError,
    FlushPolicy,
    ReentrantError,
    RotorTree,
    StorageError,
)
from rotortree_faultinject.disk import Call, SimulatedDisk
from tests.storage.processes import run_script
from tests.storage.threads import (
    Running,
    abandon_threaded,
    has_ended,
    open_threaded,
    until,
)
from tests.storage.trees import leaf, leaves, leaves_of, open_tree

LATER = FlushPolicy.Interval(3600)
"""Nothing is flushed by itself while a test runs."""

MANUAL = FlushPolicy.Manual()
"""Nothing is flushed by itself; whoever waits for a token flushes."""

Use = Callable[[RotorTree], object]

INSERTS: dict[str, Use] = {
    "insert": lambda tree: tree.insert(bytes(32)),
    "append": lambda tree: tree.append(bytes(32)),
    "insert_many": lambda tree: tree.insert_many([bytes(32)] * 3),
    "extend": lambda tree: tree.extend([bytes(32)] * 3),
    "insert_durable": lambda tree: tree.insert_durable(bytes(32)),
}
"""The calls that insert."""

WAITS: dict[str, Use] = {
    "flush": lambda tree: tree.flush(),
    "token.wait": lambda tree: tree._wait(tree.size, None),
    "checkpoint": lambda tree: tree.checkpoint(),
    "wait_for_checkpoint": lambda tree: tree.wait_for_checkpoint(),
}
"""The calls that wait, but for closing."""

USES: dict[str, Use] = {**INSERTS, **WAITS, "close": lambda tree: tree.close()}
"""All calls that change a tree or wait for it."""


class Stranger:
    """Code that is not ours: uses a tree once, when it is its turn, and keeps what came of that."""

    def __init__(self, use: Use) -> None:
        self.use = use
        self.tree: RotorTree | None = None
        self.outcome: BaseException | str = ""

    def __call__(self) -> None:
        """Do it, if it was not done yet and there is a tree."""
        tree, self.tree = self.tree, None
        if tree is None:
            return
        self.outcome = "begun"
        try:
            self.use(tree)
        except BaseException as error:
            self.outcome = error
        else:
            self.outcome = "done"

    def was_refused(self) -> bool:
        """Whether it was told that it may not."""
        return isinstance(self.outcome, ReentrantError)

    def hasher(self) -> CustomHasher:
        """A hash scheme that does it within a hash."""

        def parent(children: Sequence[bytes]) -> bytes:
            self()
            return hashlib.sha256(b"".join(children)).digest()

        return CustomHasher("stranger", parent)


@pytest.mark.evidence("example", "DURABLE-53")
@pytest.mark.parametrize("name", [*WAITS, "insert_durable", "close"])
def test_on_the_thread_of_a_checkpoint_nothing_waits(name: str) -> None:
    """A hasher that runs there, as a finalizer might: within the switch to a new segment.

    Another thread has inserted meanwhile, so that there is something to flush.
    """
    stranger = Stranger(USES[name])

    def parent(children: Sequence[bytes]) -> bytes:
        frames = traceback.extract_stack()
        if stranger.tree is not None and any(frame.name == "switch" for frame in frames):
            inserting = Running(partial(stranger.tree.append, leaf(7)))
            assert inserting.ends()
            stranger()
        return hashlib.sha256(b"".join(children)).digest()

    disk, hasher = SimulatedDisk(), CustomHasher("stranger", parent)
    tree = open_threaded(disk, hasher=hasher, flush_policy=MANUAL)
    tree.insert_many(leaves(0, 7))
    stranger.tree = tree
    calling = Running(tree.checkpoint)
    assert calling.ends()
    assert stranger.was_refused(), stranger.outcome
    check_goes_on(disk, tree, hasher)


def check_goes_on(disk: SimulatedDisk, tree: RotorTree, hasher: CustomHasher) -> None:
    """The tree inserts, flushes, makes checkpoints and is closed; another open has it all."""
    if not tree.closed:
        calling = Running(partial(tree.insert_durable, leaf(99)))
        assert calling.ends()
        assert calling.error is None
        calling = Running(tree.checkpoint)
        assert calling.ends()
        assert calling.error is None
        assert tree.durable_size == tree.checkpoint_size == tree.size
    closing = Running(tree.close)
    assert closing.ends()
    assert closing.error is None
    assert has_ended(tree)
    with open_tree(disk, hasher=hasher) as again:
        assert again.size == tree._engine.tree.size


@pytest.mark.evidence("example", "DURABLE-53")
@pytest.mark.parametrize("use", USES)
def test_a_hasher_within_an_insert_cannot_change_the_tree(use: str) -> None:
    """It is refused whatever changes the tree or waits for it, and changes nothing."""
    disk, stranger = SimulatedDisk(), Stranger(USES[use])
    hasher = stranger.hasher()
    tree = open_threaded(disk, 2, hasher=hasher, flush_policy=MANUAL)
    tree.insert_many(leaves(0, 3))
    stranger.tree = tree
    inserting = Running(partial(tree.insert_many, leaves(3, 6)))
    assert inserting.ends(), "it hangs"
    assert inserting.error is None
    assert stranger.was_refused()
    assert (tree.closed, leaves_of(tree)) == (False, leaves(0, 6))
    check_goes_on(disk, tree, hasher)


@pytest.mark.evidence("example", "DURABLE-53")
@pytest.mark.parametrize("call", ["flush", "checkpoint", "close"])
@pytest.mark.parametrize("use", USES)
def test_a_hasher_within_a_flush_cannot_wait_for_the_tree(use: str, call: str) -> None:
    """The call that hashes ends; where the hasher was refused and says so, nothing is lost."""
    disk, stranger = SimulatedDisk(), Stranger(USES[use])
    hasher = stranger.hasher()
    tree = open_threaded(disk, 2, hasher=hasher, flush_policy=MANUAL)
    _ = tree.extend(leaves(0, 3))  # does not compute the root, which hashes
    stranger.tree = tree
    calling = Running(getattr(tree, call))
    assert calling.ends(), "it hangs"
    is_closed = call == "close" and isinstance(stranger.outcome, ClosedError)
    assert stranger.outcome == "done" or stranger.was_refused() or is_closed
    if use in ("flush", "checkpoint", "close"):
        assert stranger.was_refused() or is_closed
    assert calling.error is None
    assert tree.durable_size >= 3
    check_goes_on(disk, tree, hasher)


@pytest.mark.evidence("example", "DURABLE-53")
@pytest.mark.parametrize("call", ["flush", "checkpoint", "close"])
@pytest.mark.parametrize("use", USES)
def test_a_callback_cannot_wait_for_the_tree(use: str, call: str) -> None:
    """It may insert; it may not wait, which is refused and changes nothing."""
    disk, stranger = SimulatedDisk(), Stranger(USES[use])
    tree = open_threaded(disk, 2, flush_policy=LATER)
    token = tree.insert_many(leaves(0, 3))[1]
    stranger.tree = tree
    token.when_settled(lambda error: stranger())
    calling = Running(getattr(tree, call))
    assert calling.ends(), "it hangs"
    assert calling.error is None
    assert until(lambda: stranger.outcome not in ("", "begun")), "it hangs"
    if call != "close" and use in INSERTS and use != "insert_durable":
        assert stranger.outcome == "done"
        assert tree.size > 3
    elif use in ("checkpoint", "close", "insert_durable") and call != "close":
        assert stranger.was_refused()
    else:
        assert stranger.outcome == "done" or isinstance(
            stranger.outcome, (ReentrantError, ClosedError)
        )
    if not tree.closed:
        tree.insert_durable(leaf(9))
    closing = Running(tree.close)
    assert closing.ends()
    assert closing.error is None
    assert tree.durable_size == tree._engine.tree.size


class Garbage:
    """An object in a cycle; its finalizer is a stranger."""

    def __init__(self, stranger: Stranger) -> None:
        self._stranger = stranger
        self._cycle = self

    def __del__(self) -> None:
        self._stranger()


@pytest.mark.evidence("example", "DURABLE-53")
@pytest.mark.parametrize("where", ["insert_many", "flush"])
@pytest.mark.parametrize("use", USES)
def test_a_finalizer_is_refused_what_would_never_end(use: str, where: str) -> None:
    """Garbage is collected within an insert, and within the hash of a flush."""
    disk, stranger = SimulatedDisk(), Stranger(USES[use])
    collector = Stranger(lambda tree: gc.collect())
    hasher = collector.hasher()
    tree = open_threaded(disk, 2, hasher=hasher, flush_policy=MANUAL)
    _ = tree.extend(leaves(0, 3))
    stranger.tree = collector.tree = tree
    gc.disable()
    try:
        Garbage(stranger)
        given = (leaves(3, 6),) if where == "insert_many" else ()
        calling = Running(partial(getattr(tree, where), *given))
        assert calling.ends(), "it hangs"
    finally:
        gc.enable()
    assert calling.error is None
    assert (collector.outcome, stranger.outcome != "") == ("done", True)
    assert stranger.outcome == "done" or stranger.was_refused()
    check_goes_on(disk, tree, hasher)


@pytest.mark.evidence("example", "DURABLE-14", "DURABLE-53")
@pytest.mark.parametrize("use", WAITS)
def test_what_waits_within_an_insert_does_not_wait_for_a_close_that_waits_for_it(use: str) -> None:
    """Another thread closes the tree meanwhile: it has to wait until the insert has ended."""
    disk = SimulatedDisk()
    closing: list[Running] = []

    def close_and_use(tree: RotorTree) -> object:
        closing.append(Running(tree.close))
        checkpointer = tree._engine._checkpointer
        assert checkpointer is not None
        assert until(lambda: checkpointer._closing)
        closing[0].thread.join(0.05)  # so that it comes as far as it can
        return USES[use](tree)

    stranger = Stranger(close_and_use)
    hasher = stranger.hasher()
    tree = open_threaded(disk, 2, hasher=hasher, flush_policy=MANUAL)
    tree.insert_many(leaves(0, 3))
    stranger.tree = tree
    inserting = Running(partial(tree.insert_many, leaves(3, 6)))
    assert inserting.ends(), "it hangs"
    assert closing[0].ends()
    assert (inserting.error, closing[0].error) == (None, None)
    assert stranger.outcome == "done" or isinstance(stranger.outcome, (ReentrantError, ClosedError))
    assert tree.durable_size == 6


@pytest.mark.evidence("example", "DURABLE-14", "DURABLE-53")
def test_who_flushes_within_an_insert_and_a_callback_that_inserts_do_not_wait_for_each_other() -> (
    None
):
    """The callback of another thread's flush waits for the insert; who is within it, is refused."""
    disk = SimulatedDisk()
    callback = Stranger(INSERTS["insert"])

    def flush(tree: RotorTree) -> None:
        callback.tree = tree
        Running(tree.flush)  # the flush of another thread, which runs the callback
        assert until(lambda: callback.outcome != "")
        tree.flush()

    stranger = Stranger(flush)
    tree = open_threaded(disk, 2, hasher=stranger.hasher(), flush_policy=LATER)
    token = tree.insert_many(leaves(0, 3))[1]
    token.when_settled(lambda error: callback())
    stranger.tree = tree
    inserting = Running(partial(tree.insert_many, leaves(3, 6)))
    assert inserting.ends(), "it hangs"
    assert inserting.error is None
    assert stranger.outcome == "done" or stranger.was_refused()
    assert until(lambda: callback.outcome != "begun")
    assert callback.outcome == "done" or callback.was_refused()
    tree.close()


# Hashers that fail.


@pytest.mark.evidence("fault", "DURABLE-14", "DURABLE-27", "DURABLE-35", "DURABLE-38")
@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("call", ["flush", "checkpoint", "close"])
@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), OSError(5, "mine"), MemoryError(), KeyboardInterrupt(), SystemExit(1)],
)
def test_whatever_a_hasher_raises_fails_the_call_and_not_the_tree(
    error: BaseException, call: str, is_durable: bool
) -> None:
    """A StorageError, at once, also within ``except OSError``; then the tree goes on.

    Unless it was closed: then it is unlocked, and the next open has what was acknowledged.
    """
    disk = SimulatedDisk()
    fails: list[BaseException] = []

    def parent(children: Sequence[bytes]) -> bytes:
        if fails:
            raise fails[0]
        return hashlib.sha256(b"".join(children)).digest()

    hasher = CustomHasher("stranger", parent)
    tree = open_threaded(disk, 2, hasher=hasher, flush_policy=MANUAL)
    _ = tree.extend(leaves(0, 3))
    if is_durable:
        tree.flush()
    acknowledged = tree.durable_size

    def run() -> None:
        try:
            raise OSError(13, "somebody else's")
        except OSError:
            getattr(tree, call)()

    fails.append(error)
    calling = Running(run)
    assert calling.ends(), "it hangs"
    fails.clear()
    if call == "flush" and is_durable:
        assert calling.error is None
    else:
        assert isinstance(calling.error, StorageError)
        assert type(error).__name__ in str(calling.error)
        if isinstance(calling.error, FlushFailedError) and call != "close":
            assert calling.error.retryable
    assert tree.closed == (call == "close")
    if call == "close":
        tree.close()
        with open_tree(disk, hasher=hasher) as again:
            assert again.size >= acknowledged
        return
    check_goes_on(disk, tree, hasher)


@pytest.mark.evidence("fault", "DURABLE-14")
@pytest.mark.parametrize("call", ["flush", "checkpoint", "close"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_whatever_the_seam_raises(call: str) -> None:
    """Even what no call of a disk should raise, such as SystemExit, at any of its calls."""
    count = 0
    while True:
        disk = SimulatedDisk()
        tree = open_threaded(disk, 2, flush_policy=MANUAL)
        token = tree.insert_many(leaves(0, 3))[1]
        told: list[StorageError | None] = []
        token.when_settled(told.append)
        left = [count]

        def on_call(call: Call, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise SystemExit(1)

        disk.on_call = on_call
        calling = Running(getattr(tree, call))
        assert calling.ends(), count
        disk.on_call = None
        closing = Running(tree.close)
        assert closing.ends(), count
        assert len(told) == 1, count
        assert token.is_durable == (told == [None]), count
        abandon_threaded(tree)
        if left[0] >= 0:
            break
        count += 1
    assert count >= 3


# Real signals.

SCRIPT = """
    import hashlib, os, random, signal, sys, threading, time, traceback
    from collections import Counter
    from rotortree import *
    from rotortree.errors import ReentrantError

    use, hasher, seed = sys.argv[2], sys.argv[3], int(sys.argv[4])
    mine = CustomHasher("mine", lambda children: hashlib.sha256(b"".join(children)).digest())
    tree = RotorTree.open(
        sys.argv[1] + "/tree",
        hasher=mine if hasher == "custom" else None,
        checkpoint_policy=CheckpointPolicy.EveryNEntries(500),
    )
    uses = {
        "insert": lambda: tree.insert(bytes(32)),
        "insert_durable": lambda: tree.insert_durable(bytes(32)),
        "flush": tree.flush,
        "checkpoint": tree.checkpoint,
        "wait_for_checkpoint": tree.wait_for_checkpoint,
        "token.wait": lambda: token.wait(),
        "close": tree.close,
    }
    seen, token, depth = Counter(), tree.insert(bytes(32))[1], 0

    def handler(number, frame):
        global depth
        if depth:
            return
        depth += 1
        try:
            uses[use]()
            seen["done"] += 1
        except ReentrantError:
            seen["refused"] += 1
        except ClosedError:
            seen["closed"] += 1
        finally:
            depth -= 1

    def send():
        choose = random.Random(seed)
        while seen.total() < 150:
            time.sleep(choose.uniform(0, 0.002))
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, handler)
    sender = threading.Thread(target=send)
    sender.start()
    inserted = 1
    try:
        while sender.is_alive():
            token = tree.insert_many(os.urandom(32 * 20))[1]
            token = tree.insert(os.urandom(32))[1]
            tree.insert_durable(os.urandom(32))
            if inserted % 5 == 0:
                tree.checkpoint()
            inserted += 1
    except ClosedError:
        seen["the tree was closed"] += 1
    sender.join()
    tree.close()
    print(tree.durable_size == tree._engine.tree.size, *(f"{k}={v}" for k, v in seen.items()))
"""


@pytest.mark.evidence("example", "DURABLE-14", "DURABLE-53")
@pytest.mark.parametrize("hasher", ["custom", "blake3"])
@pytest.mark.parametrize("use", [*WAITS, "insert", "insert_durable", "close"])
def test_a_signal_handler_may_use_the_tree_or_is_refused(
    use: str, hasher: str, tmp_path: Path
) -> None:
    """150 real signals, while the main thread inserts, waits for tokens and makes checkpoints."""
    done = run_script_with(SCRIPT, tmp_path, use, hasher, "1")
    assert done[0] == "True", done
    counts = Counter({name: int(count) for name, _, count in (x.partition("=") for x in done[1:])})
    assert counts["done"] + counts["refused"] + counts["closed"] >= 150
    assert counts["done"] > 0


def run_script_with(script: str, path: Path, *arguments: str) -> list[str]:
    """Run a script with these arguments, and return the words that it prints."""
    given = ", ".join(map(repr, ("", str(path), *arguments)))
    whole = f"import sys\nsys.argv = [{given}]\n" + "\n".join(
        line.removeprefix("    ") for line in script.splitlines()
    )
    done = run_script(whole, path)
    assert done.returncode == 0, done.stdout
    return done.stdout.replace("the tree was closed", "ended").split()


@pytest.mark.evidence("example", "DURABLE-53")
def test_a_handler_that_closes_the_tree_ends_a_service(tmp_path: Path) -> None:
    """SIGTERM during inserts: the handler closes the tree and exits, or is refused and says so.

    What was acknowledged is there.
    """
    script = """
        import os, signal, sys, threading
        from rotortree import *
        from rotortree.errors import ReentrantError

        tree = RotorTree.open(sys.argv[1] + "/tree")
        acknowledged = 0

        def handler(number, frame):
            try:
                tree.close()
            except ReentrantError:
                threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGTERM)).start()
                return
            os.write(1, b"%d" % acknowledged)
            os._exit(0)

        signal.signal(signal.SIGTERM, handler)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while True:
            tree.insert_many(os.urandom(3200))
            tree.insert_durable(os.urandom(32))
            acknowledged = tree.size
    """
    for number in range(3):
        path = tmp_path / str(number)
        path.mkdir()
        done = run_script(script, path)
        assert done.returncode == 0, done.stdout
        with RotorTree.open(path / "tree") as tree:
            assert tree.recovery.clean
            assert tree.size >= int(done.stdout)


def test_the_strangers_of_these_tests_are_called() -> None:
    """A hasher that has a tree uses it, once."""
    stranger = Stranger(lambda tree: threading.current_thread())
    tree = open_tree(SimulatedDisk(), 2, hasher=stranger.hasher())
    with tree:
        stranger.tree = tree
        tree.insert_many(leaves(0, 2))
        assert stranger.outcome == "done"
