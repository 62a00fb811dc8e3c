"""Commands that create a tree, read from it, or make a checkpoint."""

from collections.abc import Iterator
from typing import Annotated

import typer

from rotortree import CheckpointPolicy, FlushPolicy, RotorTree, Snapshot, TreeNotFoundError
from rotortree.cli.errors import CommandError
from rotortree.cli.files import STANDARD, write_output
from rotortree.cli.options import Directory, Json, Output, Size
from rotortree.cli.output import hexadecimal, show
from rotortree.geometry import NODE_BYTES, capacity
from rotortree.hashing import builtin_hasher
from rotortree.tree.snapshot import check_range

__all__ = [
    "checkpoint",
    "create",
    "export",
    "head",
    "info",
    "open_to_read",
    "open_to_write",
    "root",
]

_EXPORT_LEAVES = 1 << 15


def open_to_read(directory: str) -> RotorTree:
    """Open the tree of a directory read-only."""
    return RotorTree.open(directory, read_only=True, create=False)


def open_to_write(directory: str) -> RotorTree:
    """Open the tree of a directory for writing; it flushes only when told to."""
    return RotorTree.open(
        directory,
        create=False,
        flush_policy=FlushPolicy.Manual(),
        checkpoint_policy=CheckpointPolicy.Manual(),
    )


def create(
    directory: Directory,
    n: Annotated[int, typer.Option("--n", help="Children of a node, 2 to 255.")] = 4,
    max_depth: Annotated[int, typer.Option(help="Levels above the leaves, 1 to 255.")] = 20,
    scheme: Annotated[
        str, typer.Option(help="How children are hashed: blake3, blake3-plain or sha256.")
    ] = "blake3",
    as_json: Json = False,
) -> None:
    """Make a new, empty tree.

    DIR must not hold a tree already.  The command makes DIR if it is missing, but not the directory
    above it.

    JSON: directory, n, max_depth, scheme, capacity.
    """
    hasher = builtin_hasher(scheme)
    if hasher is None:
        raise CommandError(f"no scheme {scheme!r}: choose blake3, blake3-plain or sha256")
    if _exists(directory):
        raise CommandError(f"{directory}: there is a tree already")
    with RotorTree.open(directory, n=n, max_depth=max_depth, hasher=hasher) as tree:
        values = _parameters(directory, tree)
    text = f"created {directory}: n = {n}, max depth = {max_depth}, scheme {scheme}"
    show(values, text, as_json=as_json)


def _parameters(directory: str, tree: RotorTree) -> dict[str, object]:
    """The parameters of a tree, as `create` and `info` print them."""
    return {
        "directory": directory,
        "n": tree.n,
        "max_depth": tree.max_depth,
        "scheme": tree.hasher.name,
        "capacity": capacity(tree.n, tree.max_depth),
    }


def _exists(directory: str) -> bool:
    try:
        open_to_read(directory).close()
    except TreeNotFoundError:
        return False
    return True


def info(directory: Directory, as_json: Json = False) -> None:
    """Print what the tree is.

    The command opens the tree read-only, which verifies all that it stores, and reports what the
    last process left behind.

    JSON: directory, n, max_depth, scheme, capacity, size, depth, root (hex or null),
    checkpoint_size, log_leaves, clean (whether the tree was closed cleanly), torn_bytes and
    torn_leaves (written, never acknowledged, and dropped), damages (a list of what the next writer
    will repair), seconds (how long opening took).
    """
    with open_to_read(directory) as tree:
        report = tree.recovery
        values = {
            **_parameters(directory, tree),
            "size": tree.size,
            "depth": tree.depth,
            "root": hexadecimal(tree.root),
            "checkpoint_size": report.checkpoint_size,
            "log_leaves": report.replayed_leaves,
            "clean": report.clean,
            "torn_bytes": report.torn_bytes,
            "torn_leaves": report.torn_leaves,
            "damages": list(report.repaired),
            "seconds": report.seconds,
        }
    show(values, as_json=as_json)


def root(directory: Directory, size: Size = None, as_json: Json = False) -> None:
    """Print the root, now or at a past size.

    The root is 64 hexadecimal digits, or "none" if there is no leaf.

    JSON: size, root (hex or null).
    """
    with open_to_read(directory) as tree:
        snapshot = tree.snapshot(size)
        values = {"size": snapshot.size, "root": hexadecimal(snapshot.root)}
    show(values, str(values["root"] or "none"), as_json=as_json)


def head(
    directory: Directory,
    size: Size = None,
    output: Output = STANDARD,
    as_json: Json = False,
) -> None:
    """Write the head, now or at a past size.

    A head is what a verifier trusts.  The file is one JSON object: type, version, n, scheme, size,
    root.

    JSON, with -o FILE: output, size, root.
    """
    with open_to_read(directory) as tree:
        found = tree.snapshot(size).head
    write_output(output, [found.to_json().encode() + b"\n"], tree=directory)
    if output != STANDARD:
        values = {"output": output, "size": found.size, "root": hexadecimal(found.root)}
        show(values, f"wrote {output}: the head at size {found.size}", as_json=as_json)


def export(
    directory: Directory,
    start: Annotated[int, typer.Option(metavar="I", help="The first leaf.", min=0)] = 0,
    stop: Annotated[
        int | None,
        typer.Option(metavar="I", help="The leaf behind the last one.", show_default="all", min=0),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="32 bytes for each leaf.")] = False,
    output: Output = STANDARD,
    as_json: Json = False,
) -> None:
    """Write leaves as `append` reads them.

    Each leaf is a line of 64 hexadecimal digits.

    JSON: start, stop, leaves (a list of hex strings).  With -o FILE the leaves go to that file, and
    JSON is: start, stop, output, bytes.
    """
    to_file = output != STANDARD
    if raw and as_json and not to_file:
        raise CommandError("--raw and --json cannot both go to stdout: name a file with -o")
    with open_to_read(directory) as tree:
        snapshot = tree.snapshot()
        end = snapshot.size if stop is None else stop
        check_range("stop", end, snapshot.size + 1)
        check_range("start", start, end + 1)
        values: dict[str, object] = {"start": start, "stop": end}
        if as_json and not to_file:
            values["leaves"] = _hex_leaves(snapshot.leaves(start, end))
        else:
            written = write_output(output, _exported(snapshot, start, end, raw=raw), tree=directory)
            values |= {"output": output, "bytes": written}
    if to_file or as_json:
        show(values, f"wrote {output}: {end - start} leaves from {start} on", as_json=as_json)


def _exported(snapshot: Snapshot, start: int, stop: int, *, raw: bool) -> Iterator[bytes]:
    for first in range(start, stop, _EXPORT_LEAVES):
        leaves = snapshot.leaves(first, min(stop, first + _EXPORT_LEAVES))
        yield leaves if raw else "".join(f"{leaf}\n" for leaf in _hex_leaves(leaves)).encode()


def _hex_leaves(leaves: bytes) -> list[str]:
    return [leaves[at : at + NODE_BYTES].hex() for at in range(0, len(leaves), NODE_BYTES)]


def checkpoint(directory: Directory, as_json: Json = False) -> None:
    """Write the level files and cut the log.

    The next opening reads the level files and need not replay the log.

    JSON: directory, size (leaves in the checkpoint), new (leaves since the last checkpoint), root
    (hex or null).
    """
    with open_to_write(directory) as tree:
        now = tree.checkpoint_size
        tree.checkpoint()
        values = {
            "directory": directory,
            "size": tree.checkpoint_size,
            "new": tree.checkpoint_size - now,
            "root": hexadecimal(tree.root),
        }
    text = f"checkpoint of {values['size']} leaves, {values['new']} of them new"
    show(values, text, as_json=as_json)
