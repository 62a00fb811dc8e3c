"""Tree heads: the values that a verifier trusts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from rotortree.encoding import VERSION, from_hex, load_object
from rotortree.errors import InvalidConfigError, InvalidProofError, shown
from rotortree.geometry import MAX_ARITY, MAX_SIZE, NODE_BYTES
from rotortree.hashing import Hasher, builtin_hasher, check_hasher

__all__ = ["TreeHead", "check_arity", "check_count", "hasher_of"]


def check_count(name: str, value: object, stop: int = MAX_SIZE + 1) -> None:
    """Raise InvalidProofError unless ``value`` is an int in [0, stop)."""
    if type(value) is not int or not 0 <= value < stop:
        raise InvalidProofError(f"{name} is {shown(value)}: it must be an integer in [0, {stop})")


def check_arity(n: object) -> None:
    """Raise InvalidProofError unless ``n`` is an int from 2 to 255."""
    if type(n) is not int or not 2 <= n <= MAX_ARITY:
        raise InvalidProofError(f"n is {shown(n)}: it must be an integer from 2 to {MAX_ARITY}")


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a verifier trusts: the size, root, arity and hash scheme of a tree (TREE-34).

    ``size`` is a number of leaves.  ``root`` is 32 bytes, or None for the empty tree.  ``scheme``
    is the name of the hash scheme.  Raises InvalidProofError if a value is out of range, or if only
    one of root and size says that the tree is empty.
    """

    size: int
    root: bytes | None
    n: int
    scheme: str

    def __post_init__(self) -> None:
        check_count("size", self.size)
        if (self.root is None) != (self.size == 0):
            raise InvalidProofError("a head has a root exactly if its size is not 0")
        if self.root is not None and (type(self.root) is not bytes or len(self.root) != NODE_BYTES):
            raise InvalidProofError(f"a root must be {NODE_BYTES} bytes")
        check_arity(self.n)
        if not isinstance(self.scheme, str):
            raise InvalidProofError(f"scheme is {shown(self.scheme)}: it must be a name")

    def to_json(self) -> str:
        """The head as one line of JSON (PROOF-29)."""
        return json.dumps(
            {
                "type": "rotortree-head",
                "version": VERSION,
                "n": self.n,
                "scheme": self.scheme,
                "size": self.size,
                "root": None if self.root is None else self.root.hex(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The head that `to_json` wrote.  Raises InvalidProofError for any other text."""
        keys = ("type", "version", "n", "scheme", "size", "root")
        found = load_object(text, keys, "a tree head")
        if found["type"] != "rotortree-head":
            raise InvalidProofError("not a tree head")
        root = None if found["root"] is None else from_hex(found["root"], "root")
        # The values may be of any type here: __post_init__ checks them.
        return cls(found["size"], root, found["n"], found["scheme"])  # type: ignore[arg-type]


def hasher_of(head: TreeHead, hasher: Hasher | None) -> Hasher:
    """The hasher with which to verify against ``head`` (PROOF-4).

    It is ``hasher`` if one is given, else the built-in one of the head's scheme.  Raises
    InvalidConfigError if the scheme is not built in and no hasher is given, and InvalidProofError
    if the given one is of another scheme.
    """
    if hasher is None:
        hasher = builtin_hasher(head.scheme)
        if hasher is None:
            raise InvalidConfigError(
                "scheme", head.scheme, "it is not built in: pass its hasher, too"
            )
        return hasher
    check_hasher(hasher)
    if hasher.name != head.scheme:
        raise InvalidProofError(f"the head is of scheme {head.scheme!r}, not {hasher.name!r}")
    return hasher
