"""Hash schemes: how the children of a node become the node.

A scheme has a name.  Every stored file and every tree head carries it, so that nobody takes roots
of different schemes for each other.  Three schemes are built in (TREE-14 to TREE-17):

=================  ==================================================  ==========================
name               parent of k >= 2 children                           note
=================  ==================================================  ==========================
``blake3``         BLAKE3(0x01 ‖ u8(k) ‖ child₀ ‖ … ‖ child₍ₖ₋₁₎)      the default
``blake3-plain``   BLAKE3(child₀ ‖ … ‖ child₍ₖ₋₁₎)                     for interoperability
``sha256``         SHA-256(0x01 ‖ u8(k) ‖ child₀ ‖ … ‖ child₍ₖ₋₁₎)
=================  ==================================================  ==========================

Leaves are 32 bytes that the application has hashed already; they are stored as given (TREE-8).  A
lone last child is lifted unchanged (TREE-10).  The tag tells nodes of different numbers of children
apart.  ``blake3-plain`` has no tag, so that only the trusted size of the head tells a node from a
leaf (TREE-35).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from blake3 import blake3

from rotortree.errors import InvalidConfigError
from rotortree.geometry import MAX_ARITY, NODE_BYTES

__all__ = [
    "MAX_SCHEME_NAME",
    "Blake3Hasher",
    "Blake3PlainHasher",
    "BulkHasher",
    "CustomHasher",
    "Digest",
    "Hasher",
    "Sha256Hasher",
    "builtin_hasher",
    "check_hasher",
    "digest_function",
    "is_scheme_name",
]

MAX_SCHEME_NAME = 32
"""Length of the longest scheme name, in ASCII characters: file headers have room for so many."""


@runtime_checkable
class Hasher(Protocol):
    """A hash scheme.  An implementation must be pure, thread-safe and total.

    Total means that it hashes any children.  A function that refuses some values, for example
    because they are not elements of its field, must never see them: let the application refuse such
    leaves before it inserts them.  A leaf that is in the tree and cannot be hashed makes every
    later insertion raise.  Insertions and reads raise what the hasher raises; a flush raises
    FlushFailedError because of it, and the leaves stay pending.
    """

    @property
    def name(self) -> str:
        """The scheme's name: 1 to 32 printable ASCII characters without space (TREE-18).

        It must not be the name of a built-in scheme.
        """

    def parent(self, children: bytes) -> bytes:
        """The parent, 32 bytes, of k children, given as 32·k bytes.  Requires 2 <= k <= 255."""


class BulkHasher(Hasher, Protocol):
    """A Hasher that also hashes many groups in one call, which is faster from Python."""

    def parents(self, children: bytes, k: int) -> bytes:
        """The parents of g consecutive groups of exactly k children: 32·g bytes from 32·k·g."""


class Digest(Protocol):
    """The object that a hash function of hashlib or blake3 returns."""

    def digest(self) -> bytes:
        """The hash, 32 bytes."""


_TAGS = tuple(bytes((1, k)) for k in range(MAX_ARITY + 1))
_NO_TAGS = (b"",) * (MAX_ARITY + 1)


class _DigestHasher:
    """A scheme whose parent is one hash of an optional tag and the children."""

    __slots__ = ("_function", "_prefixes", "name")

    def __init__(self, name: str, function: Callable[[bytes], Digest], *, tagged: bool) -> None:
        self.name = name
        self._function = function
        self._prefixes = _TAGS if tagged else _NO_TAGS

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def parent(self, children: bytes) -> bytes:
        """The parent, 32 bytes, of k children, given as 32·k bytes.  Requires 2 <= k <= 255."""
        return self._function(self._prefixes[len(children) // NODE_BYTES] + children).digest()

    def parents(self, children: bytes, k: int) -> bytes:
        """The parents of consecutive groups of exactly k children: `parent` in one fast loop."""
        function, prefix, step = self._function, self._prefixes[k], NODE_BYTES * k
        return b"".join(
            [
                function(prefix + children[at : at + step]).digest()
                for at in range(0, len(children), step)
            ]
        )


class Blake3Hasher(_DigestHasher):
    """Scheme ``blake3``, the default: BLAKE3 over a tag, the number of children, the children."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("blake3", blake3, tagged=True)


class Blake3PlainHasher(_DigestHasher):
    """Scheme ``blake3-plain``: BLAKE3 over the children alone, as in other LeanIMT libraries."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("blake3-plain", blake3, tagged=False)


class Sha256Hasher(_DigestHasher):
    """Scheme ``sha256``: SHA-256 over a tag byte, the number of children and the children."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("sha256", hashlib.sha256, tagged=True)


class CustomHasher:
    """A scheme of your own: a name and a pure function of the tuple of children.

    Example: ``CustomHasher("poseidon", lambda children: poseidon(*children))``.  The function gets
    2 to 255 children of 32 bytes, and returns 32 bytes.  If it returns anything else, the call that
    needed the hash raises InvalidConfigError and leaves the tree unchanged (TREE-19).  Raises
    InvalidConfigError for a name that is none or a built-in scheme's.
    """

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[[Sequence[bytes]], bytes]) -> None:
        self.name = name
        self._function = function
        check_hasher(self)

    def __repr__(self) -> str:
        return f"CustomHasher({self.name!r}, {self._function!r})"

    def parent(self, children: bytes) -> bytes:
        """The parent, 32 bytes, of k children, given as 32·k bytes.  Requires 2 <= k <= 255."""
        return self._function(
            tuple(children[at : at + NODE_BYTES] for at in range(0, len(children), NODE_BYTES))
        )


_BUILT_IN: Mapping[str, Hasher] = {
    scheme.name: scheme for scheme in (Blake3Hasher(), Blake3PlainHasher(), Sha256Hasher())
}


_BUILT_IN_TYPES = frozenset(map(type, _BUILT_IN.values()))


def builtin_hasher(name: str) -> Hasher | None:
    """The built-in scheme of that name; None if there is none."""
    return _BUILT_IN.get(name)


def digest_function(hasher: Hasher, k: int) -> tuple[Callable[[bytes], Digest], bytes] | None:
    """The hash function of a built-in scheme, and its tag for k children; None for other schemes.

    The parent is the hash of the tag followed by the children.
    """
    if type(hasher) not in _BUILT_IN_TYPES:
        return None
    assert isinstance(hasher, _DigestHasher)
    return hasher._function, hasher._prefixes[k]


def is_scheme_name(name: str) -> bool:
    """Whether ``name`` is a scheme name: 1 to 32 printable ASCII characters without space."""
    printable = all("!" <= character <= "~" for character in name)
    return printable and 1 <= len(name) <= MAX_SCHEME_NAME


def check_hasher(hasher: object) -> None:
    """Raise InvalidConfigError unless ``hasher`` is a `Hasher` with a valid name (TREE-18).

    A valid name is a scheme name, and is the name of a built-in scheme only if ``hasher`` is of
    that scheme's own class.
    """
    if isinstance(hasher, type) or not isinstance(hasher, Hasher):
        raise InvalidConfigError("hasher", hasher, "it must be a Hasher")
    name: object = hasher.name
    if not isinstance(name, str) or not is_scheme_name(name):
        raise InvalidConfigError(
            "hasher.name", name, f"it must be 1 to {MAX_SCHEME_NAME} printable ASCII characters"
        )
    if type(hasher) is not type(_BUILT_IN.get(name, hasher)):
        raise InvalidConfigError("hasher.name", name, "that is the name of a built-in scheme")
