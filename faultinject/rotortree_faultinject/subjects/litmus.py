"""Litmus programs: what a profile is believed by.

Three small programs that people write, and whether their crashes surprised their authors on real
file systems: Bornholt et al., "Specifying and Checking File System Crash-Consistency Models"
(ASPLOS 2016), figure 3.  Here they run on the simulated disk, every crash state that a profile
allows is looked at, and what is surprising must be the same as what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.image import Image, file_in, fingerprint
from rotortree_faultinject.disk.operations import SECTOR_BYTES
from rotortree_faultinject.disk.paths import PathFileSystem
from rotortree_faultinject.disk.profiles import PROFILES, Profile

__all__ = ["LITMUS_PROGRAMS", "PUBLISHED", "SOURCE", "LitmusProgram", "Row", "Surprise", "litmus"]

SOURCE = "Bornholt et al., ASPLOS 2016, figure 3"
"""Where the published values come from; those of prefix and posix are by definition."""

_OLD = b"o" * (2 * SECTOR_BYTES)
_NEW = b"n" * (2 * SECTOR_BYTES)
_APPENDED = b"a" * (2 * SECTOR_BYTES), b"b" * (2 * SECTOR_BYTES)
_LIMIT = 1 << 20


class LitmusProgram(NamedTuple):
    """A program, the files that it starts with, and which files its author expects after a crash.

    ``expects`` is told the content of ``file``, None if there is none.
    """

    name: str
    description: str
    start: Mapping[str, bytes]
    run: Callable[[PathFileSystem], None]
    file: str
    expects: Callable[[bytes | None], bool]


def _write(fs: PathFileSystem, path: str, data: bytes) -> None:
    file = fs.open(path, "create")
    file.pwritev([data], file.size())
    file.close()


def _append(fs: PathFileSystem) -> None:
    for data in _APPENDED:
        _write(fs, "file", data)


def _replace(fs: PathFileSystem) -> None:
    _write(fs, "temporary", _NEW)
    fs.rename("temporary", "file")


def _is_prefix(content: bytes | None) -> bool:
    whole = _OLD + b"".join(_APPENDED)
    return content is not None and len(content) >= len(_OLD) and whole.startswith(content)


def _is_old_or_new(content: bytes | None) -> bool:
    return content in (_OLD, _NEW)


def _is_missing_or_new(content: bytes | None) -> bool:
    return content in (None, _NEW)


LITMUS_PROGRAMS: Sequence[LitmusProgram] = (
    LitmusProgram(
        "prefix-append",
        "appends twice; expects the file with a prefix of what was appended",
        MappingProxyType({"file": _OLD}),
        _append,
        "file",
        _is_prefix,
    ),
    LitmusProgram(
        "atomic-replace-via-rename",
        "writes a new file and renames it over the old one; expects the old content or the new",
        MappingProxyType({"file": _OLD}),
        _replace,
        "file",
        _is_old_or_new,
    ),
    LitmusProgram(
        "atomic-create-via-rename",
        "writes a file and gives it its name; expects no file of that name, or the content",
        MappingProxyType({}),
        _replace,
        "file",
        _is_missing_or_new,
    ),
)
"""The programs; none of them ever syncs."""

PUBLISHED: Mapping[str, tuple[bool, bool, bool]] = MappingProxyType(
    {
        "prefix": (False, False, False),
        "ext4-ordered": (True, True, True),
        "ext4-writeback": (True, True, True),
        "xfs": (False, True, True),
        "btrfs": (False, False, True),
        "posix": (True, True, True),
    }
)
"""For each profile, which of the programs surprise: those of LITMUS_PROGRAMS, in their order."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """A crash that a program's author does not expect.

    ``choice`` is what became of everything that the ``point`` operations before it did, as letters
    of `rotortree_faultinject.disk.crashes`; ``files``: what is left.
    """

    point: int
    choice: str
    files: Image


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a program under a profile.

    ``states``: the different disks that its crashes leave; ``surprises``: how many of them are
    surprising, and ``example`` the one with the fewest operations; ``published``: whether there
    were any on the file system that the profile stands for.
    """

    program: str
    profile: str
    states: int
    surprises: int
    example: Surprise | None
    published: bool

    @property
    def surprising(self) -> bool:
        """Whether there is a surprise."""
        return self.surprises > 0

    @property
    def ok(self) -> bool:
        """Whether this is what was published."""
        return self.surprising == self.published


def litmus(profiles: Sequence[Profile] = tuple(PROFILES.values())) -> list[Row]:
    """Run every program under every profile, and look at all crash states of each.

    Raises KeyError for a profile without published values.
    """
    return [
        _row(program, profile, PUBLISHED[profile.name][number])
        for number, program in enumerate(LITMUS_PROGRAMS)
        for profile in profiles
    ]


def _row(program: LitmusProgram, profile: Profile, published: bool) -> Row:
    seen: set[bytes] = set()
    found: list[Surprise] = []
    for point, choice, image in _states(program, profile):
        mark = fingerprint(image)
        if mark not in seen and not program.expects(file_in(image, program.file)):
            found.append(Surprise(point, choice, image))
        seen.add(mark)
    example = found[0] if found else None
    return Row(program.name, profile.name, len(seen), len(found), example, published)


def _states(program: LitmusProgram, profile: Profile) -> Iterator[tuple[int, str, Image]]:
    """Everything that a crash of a program may leave, by the point at which power failed."""
    disk = SimulatedDisk(program.start)
    program.run(disk)
    state = Unsynced(disk.start, profile, disk.sector_bytes)
    yield 0, "", state.image("")
    for point, operation in enumerate(disk.log, 1):
        state.apply(operation)
        listing = state.enumerate(_LIMIT, new=len(operation.micro))
        assert listing.exhaustive  # the programs are that small
        for choice in listing.choices:
            yield point, choice, state.image(choice)
