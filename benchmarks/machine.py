"""Describes the machine of a run, without anything that names the machine or its user."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rotortree import kernel

__all__ = ["IN_MEMORY", "Resident", "describe", "file_system", "load", "resident"]

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems on which nothing becomes durable."""


def describe(directory: Path) -> dict[str, str]:
    """Facts about the machine and our software, in the order of printing."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "transparent huge pages": _huge_pages(),
        "file system": file_system(directory),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "rotortree kernel": kernel.NAME,
        "rotortree": _version("rotortree"),
        "blake3": _version("blake3"),
    }


class Resident(NamedTuple):
    """The resident memory of this process in bytes: with no file behind it, and with one."""

    anonymous: int
    mapped: int


def resident() -> Resident:
    """The resident memory of this process; zeros where the system does not report it."""
    status = _read("/proc/self/status")
    anonymous, mapped = (_field(status, name).partition(" ")[0] for name in ("RssAnon", "RssFile"))
    return Resident(int(anonymous or 0) * 1024, int(mapped or 0) * 1024)


def load() -> float | None:
    """The average number of running processes in the last minute; None where it is not known."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _processor() -> str:
    info = _read("/proc/cpuinfo")
    name = _field(info, "model name") or platform.processor() or "unknown"
    features = [name for name in ("avx2", "avx512f", "sha_ni") if name in _field(info, "flags")]
    return f"{name} ({', '.join(features)})" if features else name


def _cores() -> str:
    count = os.cpu_count() or 0
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else count
    return str(count) if usable == count else f"{usable} of {count}"


def _memory() -> str:
    kibibytes = _field(_read("/proc/meminfo"), "MemTotal").partition(" ")[0]
    return f"{int(kibibytes) / 2**20:.0f} GiB" if kibibytes.isdigit() else "unknown"


def _huge_pages() -> str:
    setting = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.partition("[")[2].partition("]")[0] or "unknown"


def file_system(directory: Path) -> str:
    """The type of the file system that holds a directory."""
    path = directory.resolve()
    best: tuple[int, str] = (-1, "unknown")
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        mounted = Path(left.split()[4].replace("\\040", " "))
        if mounted == path or mounted in path.parents:
            best = max(best, (len(mounted.parts), right.split()[0]), key=lambda found: found[0])
    return best[1]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "from source"
