"""An image: all that is on a disk after a power failure, or at any other moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

__all__ = [
    "Content",
    "Image",
    "Link",
    "PlainImage",
    "file_in",
    "fingerprint",
    "image_of",
    "parents",
    "plain",
]


class Link(NamedTuple):
    """A symbolic link.  A relative ``target`` starts at the directory that holds the link."""

    target: str


Content: TypeAlias = bytes | Link | None
"""What is at a path: a file's bytes, a symbolic link, or None for a directory."""

Image: TypeAlias = Mapping[str, Content]
"""Every path and what is there.  The root is not listed."""


PlainImage: TypeAlias = Mapping[str, bytes | None]
"""An image without symbolic links."""


def plain(image: Image) -> PlainImage:
    """The same image.  Raises ValueError if there is a symbolic link in it."""
    files: dict[str, bytes | None] = {}
    for path, content in image.items():
        if isinstance(content, Link):
            raise ValueError(f"{path} is a symbolic link")
        files[path] = content
    return files


def file_in(image: Image, path: str) -> bytes | None:
    """The bytes of a file; None if there is none at that path."""
    content = image.get(path)
    return content if isinstance(content, bytes) else None


def parents(path: str) -> Iterable[str]:
    """The directories that hold a path, nearest first, without the root."""
    while (end := path.rfind("/")) > 0:
        path = path[:end]
        yield path


def image_of(files: Mapping[str, bytes]) -> PlainImage:
    """The image with these files and the directories that they need."""
    directories = {parent: None for path in files for parent in parents(path)}
    return {**directories, **files}


def fingerprint(image: Image) -> bytes:
    """16 bytes that two images share only if they are equal."""
    state = hashlib.blake2b(digest_size=16)
    for path in sorted(image):
        data = image[path]
        length: int | str = -1 if data is None else len(data)
        if isinstance(data, Link):
            data = data.target.encode()
            length = f"link {len(data)}"
        state.update(f"{path}\0{length}\0".encode())
        state.update(data or b"")
    return state.digest()
