"""A worker: measures one side, as ``python worker.py KIND DIRECTORY LEAVES SINGLES``.

KIND is ours, pymerkle or bare.  `benchmarks.workers` says what a worker reads and answers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":
    # As a script, Python looks for modules in this folder; they are in a package beside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.leaves import Leaves
from benchmarks.workers import Handler, Inputs, serve

__all__ = ["handlers"]


def handlers(kind: str, inputs: Inputs) -> Mapping[str, Handler]:
    """The operations of a kind of worker.  Imports only the modules that this kind needs."""
    leaves = Leaves(inputs.leaves, inputs.singles)
    if kind == "pymerkle":
        from benchmarks.theirs import pymerkle_handlers

        return pymerkle_handlers(leaves)
    if kind == "bare":
        from benchmarks.limits import limit_handlers

        return limit_handlers(inputs.directory, leaves)
    assert kind == "ours"
    from benchmarks.durable import durable_handlers
    from benchmarks.ours import our_handlers

    return {**our_handlers(leaves), **durable_handlers(inputs.directory, leaves)}


if __name__ == "__main__":
    serve(handlers(sys.argv[1], Inputs(*map(Path, sys.argv[2:]))))
