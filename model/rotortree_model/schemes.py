"""Schemes: functions from the values of 2 to 255 children to the value of their parent."""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from blake3 import blake3 as _blake3

Scheme: TypeAlias = Callable[[tuple[bytes, ...]], bytes]
"""From the values of 2 or more children, left to right, 32 bytes each, to 32 bytes."""

HASH_BYTES = 32
"""Length of every leaf and every node value, in bytes."""

NODE_TAG = b"\x01"
"""First byte hashed by the tagged schemes."""


def tagged(children: tuple[bytes, ...]) -> bytes:
    """The input of the tagged schemes: 0x01, the number of children as one byte, the children.

    Requirements: TREE-15, TREE-17.
    """
    return NODE_TAG + bytes([len(children)]) + b"".join(children)


def blake3(children: tuple[bytes, ...]) -> bytes:
    """BLAKE3(0x01 || u8(number of children) || children), 32 bytes. The default scheme.

    Requirements: TREE-15.
    """
    return _blake3(tagged(children)).digest()


def blake3_plain(children: tuple[bytes, ...]) -> bytes:
    """BLAKE3(children), 32 bytes, without a tag.

    Requirements: TREE-16.
    """
    return _blake3(b"".join(children)).digest()


def sha256(children: tuple[bytes, ...]) -> bytes:
    """SHA-256(0x01 || u8(number of children) || children), 32 bytes.

    Requirements: TREE-17.
    """
    return hashlib.sha256(tagged(children)).digest()


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {"blake3": blake3, "blake3-plain": blake3_plain, "sha256": sha256}
)
"""Every scheme by its name in files and test vectors; read-only."""
