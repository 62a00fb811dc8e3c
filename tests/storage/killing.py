"""Kill a writer at random moments, again and again, and see what is left.

Run as ``python -m tests.storage.killing DIRECTORY ROUNDS SEED``.  A process of its own without
threads, so that it may fork: a round is a fork, not the start of an interpreter.  A pipe carries
what the writer issued ("i SIZE") and what was acknowledged ("a SIZE"), one line per event, each
written before the insertion and after the acknowledgement.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import rotortree_model as model
from rotortree import CheckpointPolicy, FlushPolicy, RotorTree
from rotortree.storage.environment import Environment
from tests.storage.trees import check_tree, leaves, leaves_of

ROUNDS_PER_TREE = 6


def write_until_killed(path: Path, n: int, seed: int, pipe: int) -> None:
    """Everything a writer does, in random order; what it says on the pipe is true."""
    choose = random.Random(seed)
    every = CheckpointPolicy.EveryNEntries(choose.randint(1, 40))
    tree = RotorTree.open(
        path,
        n=n,
        flush_policy=FlushPolicy.Interval(0.001) if choose.random() < 0.5 else FlushPolicy.Manual(),
        checkpoint_policy=every if choose.random() < 0.5 else CheckpointPolicy.Manual(),
        record_acknowledgements=choose.random() < 0.25,
        environment=Environment(frame_leaves=8, shard_nodes=8 * n),
    )
    os.write(pipe, b"a %d\n" % tree.size)
    for _ in range(150):
        count = choose.choice([1, 1, 2, 30])
        size = tree.size + count
        os.write(pipe, b"i %d\n" % size)
        token = tree.extend(leaves(tree.size, size))
        action = choose.choice(["nothing", "token", "flush", "flush", "checkpoint"])
        if action == "token":
            token.wait()
        elif action == "flush":
            tree.flush()
        elif action == "checkpoint" and choose.random() < 0.3:
            tree.checkpoint()
        else:
            continue
        os.write(pipe, b"a %d\n" % size)
    tree.close()
    os.write(pipe, b"a %d\n" % tree._engine.tree.size)
    signal.pause()


def one_round(path: Path, n: int, seed: int, before: int) -> tuple[int, model.History]:
    """Let a writer begin with ``before`` leaves or more, kill it, check; return what is there."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            write_until_killed(path, n, seed, write)
        finally:
            os._exit(1)  # only after an exception: the parent sees it
    os.close(write)
    if seed % 5:  # else it may be killed while it opens the tree
        select.select([read], [], [], 10)
    time.sleep(random.Random(seed).uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), "the writer failed by itself"
    with os.fdopen(read) as said:
        lines = [line.split() for line in said]
    history = model.History((leaves(0, before),) if before else (), before)
    for kind, number in lines:
        size = len(model.issued_leaves(history))
        if kind == "i":
            history = model.issue(history, leaves(size, int(number)))
        else:
            history = model.acknowledge(history, int(number))
    if not (path / "wal").exists():
        assert history.acknowledged == 0
        return 0, history
    manual = FlushPolicy.Manual()
    with RotorTree.open(path, n=n, flush_policy=manual) as tree:
        recovered = leaves_of(tree)
        assert model.allowed(history, recovered), (len(recovered), history.acknowledged)
        check_tree(tree, n, len(recovered)) if len(recovered) < 300 else None
        assert tree.root == model.root(recovered, n, model.SCHEMES["blake3"])
    return len(recovered), history


def main() -> None:
    """Many rounds; prints what they ran into, as ``name count`` lines."""
    directory, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    seen = Counter[str]()
    size = 0
    for number in range(rounds):
        path = directory / f"tree{number // ROUNDS_PER_TREE}"
        if number % ROUNDS_PER_TREE == 0:
            size = 0
            shutil.rmtree(directory / f"tree{number // ROUNDS_PER_TREE - 1}", ignore_errors=True)
        n = 2 + number // ROUNDS_PER_TREE % 4
        before = size
        size, history = one_round(path, n, seed * 1000 + number, before)
        seen["kills"] += 1
        seen["grown"] += size > before
        seen["lost what was not acknowledged"] += size < len(model.issued_leaves(history))
        seen["had more than was acknowledged"] += size > history.acknowledged
        seen["checkpointed"] += any((path / "levels").glob("*/*"))
    for name, count in seen.items():
        print(f"{count} {name}")


if __name__ == "__main__":
    main()
