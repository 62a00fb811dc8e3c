"""Commands that write and verify proofs.  Verifying needs no tree: heads and proofs are files.

The file of an inclusion proof also has the leaf that it is about::

    {"type": "rotortree-inclusion-statement", "version": 1, "leaf": HEX, "proof": {...}}

where ``proof`` is `InclusionProof.to_json`.  A verifier trusts the heads alone.  So a malformed
head is an error of usage, and a malformed proof is a proof that fails.
"""

import json
from typing import Annotated, NamedTuple

import typer

from rotortree import (
    ConsistencyProof,
    InclusionProof,
    InvalidConfigError,
    InvalidProofError,
    TreeHead,
    verify_inclusion,
)
from rotortree import (
    verify_consistency as verify_consistency_of,
)
from rotortree.cli.errors import FAILED, CommandError
from rotortree.cli.files import STANDARD, display_name, read_small, write_output
from rotortree.cli.inputs import file_leaf, parse_leaf
from rotortree.cli.options import Binary, Directory, Json, Output, Size
from rotortree.cli.output import Values, hexadecimal, show
from rotortree.cli.trees import open_to_read

__all__ = ["prove", "prove_consistency", "verify", "verify_consistency"]

_TYPE = "rotortree-inclusion-statement"
_VERSION = 1


def prove(
    directory: Directory,
    index: Annotated[int, typer.Argument(metavar="INDEX", help="The leaf, counted from 0.")],
    size: Size = None,
    binary: Binary = False,
    output: Output = STANDARD,
    as_json: Json = False,
) -> None:
    """Write a proof that a leaf is in the tree.

    The proof is of leaf INDEX, in the tree as it is now or was at a past size.

    The file is one JSON object: type, version, leaf (hex), proof (type, version, n, size, index,
    hashes).  With --binary the file does not hold the leaf: tell `verify` which it is.

    JSON, with -o FILE: output, index, size, leaf.
    """
    with open_to_read(directory) as tree:
        snapshot = tree.snapshot(size)
        proof = snapshot.prove(index)
        leaf = snapshot.leaves(index, index + 1)
    statement = {
        "type": _TYPE,
        "version": _VERSION,
        "leaf": leaf.hex(),
        "proof": json.loads(proof.to_json()),
    }
    data = proof.encode() if binary else json.dumps(statement).encode() + b"\n"
    values = {"output": output, "index": index, "size": proof.size, "leaf": leaf.hex()}
    text = f"that leaf {index} is in the tree of {proof.size}"
    _write(directory, output, data, values, text, as_json)


def prove_consistency(
    directory: Directory,
    old: Annotated[int, typer.Argument(metavar="OLD", help="The older size.")],
    new: Annotated[
        int | None, typer.Argument(metavar="[NEW]", help="The newer size; all by default.")
    ] = None,
    binary: Binary = False,
    output: Output = STANDARD,
    as_json: Json = False,
) -> None:
    """Write a proof that nothing was rewritten.

    It proves that the tree of NEW leaves begins with the tree of OLD leaves.

    The file is one JSON object: type, version, n, size, old_size, hashes.

    JSON, with -o FILE: output, old_size, size.
    """
    with open_to_read(directory) as tree:
        proof = tree.snapshot(new).prove_consistency(old)
    data = proof.encode() if binary else proof.to_json().encode() + b"\n"
    values = {"output": output, "old_size": old, "size": proof.size}
    text = f"that the tree of {proof.size} begins with that of {old}"
    _write(directory, output, data, values, text, as_json)


def _write(
    directory: Directory, output: str, data: bytes, values: Values, text: str, as_json: bool
) -> None:
    write_output(output, [data], tree=directory)
    if output != STANDARD:
        show(values, f"wrote {output}: a proof {text}", as_json=as_json)


def verify(
    proof_file: Annotated[str, typer.Argument(metavar="PROOFFILE", help="What `prove` wrote.")],
    head_file: Annotated[
        str, typer.Option("--head", metavar="HEADFILE", help="The head that you trust.")
    ],
    leaf: Annotated[
        str | None, typer.Option(metavar="HEX", help="The leaf that it must be about.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="PATH", help="The file whose hash that leaf must be.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify that a leaf is in a tree.

    The command needs the proof and a head, and no tree.  The proof is JSON or binary.  Without
    --leaf or --file, the leaf is the one that the proof's file names: compare the leaf that the
    command prints with the one that you expect.

    JSON: verified (true), leaf, index, size, root, n, scheme.
    """
    head = _read_head(head_file)
    expected = _expected_leaf(leaf, file)
    try:
        proof, stated = _parse_inclusion(read_small(proof_file))
        node = expected or stated
        if node is None:
            raise CommandError(f"{proof_file} does not name its leaf: give --leaf or --file")
        if stated not in (None, node):
            raise InvalidProofError(f"the proof is about leaf {stated.hex()}, not {node.hex()}")
        verify_inclusion(head, proof.index, node, proof)
    except (InvalidProofError, InvalidConfigError) as error:
        raise _unproven(proof_file, error) from None
    values = {
        "verified": True,
        "leaf": node.hex(),
        "index": proof.index,
        **_head_values(head),
    }
    text = (
        f"verified: {node.hex()}\nis leaf {proof.index} of the {head.size} leaves with root"
        f" {hexadecimal(head.root)} (n = {head.n}, scheme {head.scheme})"
    )
    show(values, text, as_json=as_json)


def verify_consistency(
    old_head_file: Annotated[
        str, typer.Argument(metavar="OLDHEAD", help="The older head that you trust.")
    ],
    new_head_file: Annotated[str, typer.Argument(metavar="NEWHEAD", help="The newer head.")],
    proof_file: Annotated[
        str, typer.Argument(metavar="PROOFFILE", help="What `prove-consistency` wrote.")
    ],
    as_json: Json = False,
) -> None:
    """Verify that nothing was rewritten.

    It verifies that the tree of NEWHEAD begins with the tree of OLDHEAD, and needs no tree.

    JSON: verified (true), old_size, old_root, size, root, n, scheme.
    """
    old, new = _read_head(old_head_file), _read_head(new_head_file)
    try:
        verify_consistency_of(old, new, _parse_consistency(read_small(proof_file)))
    except (InvalidProofError, InvalidConfigError) as error:
        raise _unproven(proof_file, error) from None
    values = {
        "verified": True,
        "old_size": old.size,
        "old_root": hexadecimal(old.root),
        **_head_values(new),
    }
    text = (
        f"verified: the {new.size} leaves with root {hexadecimal(new.root) or 'none'}\nbegin with"
        f" the {old.size} leaves with root {hexadecimal(old.root) or 'none'}"
        f" (n = {new.n}, scheme {new.scheme})"
    )
    show(values, text, as_json=as_json)


def _unproven(proof_file: str, error: Exception) -> CommandError:
    return CommandError(f"{display_name(proof_file)}: not proven: {error}", FAILED)


def _head_values(head: TreeHead) -> dict[str, object]:
    return {"size": head.size, "root": hexadecimal(head.root), "n": head.n, "scheme": head.scheme}


def _read_head(name: str) -> TreeHead:
    try:
        return TreeHead.from_json(read_small(name))
    except InvalidProofError as error:
        raise CommandError(f"{display_name(name)}: {error}") from None


def _expected_leaf(leaf: str | None, file: str | None) -> bytes | None:
    """The leaf that the user named by --leaf or --file; None without them."""
    given = None
    if leaf is not None:
        given = parse_leaf(leaf.encode())
        if given is None:
            raise CommandError(f"--leaf {leaf!r}: a leaf is 64 hexadecimal digits")
    if file is not None:
        hashed, _ = file_leaf(file)
        if given not in (None, hashed):
            raise CommandError(f"--leaf and --file disagree: {file} has the hash {hashed.hex()}")
        given = hashed
    return given


class _Inclusion(NamedTuple):
    """An inclusion proof, and the leaf that its file names."""

    proof: InclusionProof
    leaf: bytes | None


def _parse_inclusion(data: bytes) -> _Inclusion:
    """Read a statement, a proof alone as JSON, or a proof in its binary encoding."""
    if not _is_json(data):
        return _Inclusion(InclusionProof.decode(data), None)
    found = _json_object(data)
    if found.get("type") != _TYPE:
        return _Inclusion(InclusionProof.from_json(data), None)
    if sorted(found) != ["leaf", "proof", "type", "version"] or found["version"] != _VERSION:
        raise InvalidProofError(f"not a {_TYPE} of version {_VERSION}")
    leaf = parse_leaf(str(found["leaf"]).encode())
    if leaf is None:
        raise InvalidProofError("the leaf is not 64 hexadecimal digits")
    return _Inclusion(InclusionProof.from_json(json.dumps(found["proof"])), leaf)


def _parse_consistency(data: bytes) -> ConsistencyProof:
    return ConsistencyProof.from_json(data) if _is_json(data) else ConsistencyProof.decode(data)


def _is_json(data: bytes) -> bool:
    return data.lstrip().startswith(b"{")


def _json_object(data: bytes) -> dict[str, object]:
    """Read a JSON object in which no key, at any depth, occurs twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        found: dict[str, object] = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidProofError(f"not a JSON object: {error}") from None
    return found
