"""An image: all that is on a disk after a power failure, or at any other moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

__all__ = ["Image", "fingerprint", "image_of", "parents"]

Image: TypeAlias = Mapping[str, bytes | None]
"""Every path and the bytes of its file, None for a directory.  The root is not listed."""


def parents(path: str) -> Iterable[str]:
    """The directories that hold a path, nearest first, without the root."""
    while (end := path.rfind("/")) > 0:
        path = path[:end]
        yield path


def image_of(files: Mapping[str, bytes]) -> Image:
    """The image with these files and the directories that they need."""
    directories = {parent: None for path in files for parent in parents(path)}
    return {**directories, **files}


def fingerprint(image: Image) -> bytes:
    """16 bytes that two images share only if they are equal."""
    state = hashlib.blake2b(digest_size=16)
    for path in sorted(image):
        data = image[path]
        state.update(f"{path}\0{-1 if data is None else len(data)}\0".encode())
        state.update(data or b"")
    return state.digest()
