"""Calls that change a simulated disk, as words; and objects some of whose methods are others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rotortree_faultinject.disk import SimulatedDisk
from tests.storage.trees import PATH

__all__ = ["WRITE_COMMIT", "Replaced", "taken", "write_segment"]

_CHANGING = ("mkdir", "rename", "unlink", "pwritev", "truncate", "sync", "sync_directory")

WRITE_COMMIT = [
    "unlink COMMIT.tmp",
    "pwritev COMMIT.tmp",
    "sync COMMIT.tmp",
    "rename COMMIT",
    "sync_directory .",
]


def taken(disk: SimulatedDisk) -> list[str]:
    """The calls since the last time that change the disk; paths are below the tree's."""
    found = [
        f"{call.kind} .."
        if call.path == "."
        else f"{call.kind} {call.path.removeprefix(PATH).removeprefix('/') or '.'}"
        for call in disk.calls
        if call.kind in _CHANGING
    ]
    disk.calls.clear()
    return found


def write_segment(name: str) -> list[str]:
    """The calls that make a segment, whatever it is begun with, up to its name."""
    temporary = f"{name}.tmp"
    return [
        f"unlink {temporary}",
        f"pwritev {temporary}",
        f"sync {temporary}",
        f"rename {name}",
    ]


class Replaced:
    """An object, but for these methods."""

    def __init__(self, other: object, **methods: Callable[..., object]) -> None:
        self._other = other
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._other, name)
