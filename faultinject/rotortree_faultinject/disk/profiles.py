"""Profiles: what a kind of file system lets survive a power failure.

A profile is a small predicate, `requires`: "may b survive without a?", asked of two
micro-operations of which a was done before b; and a few flags.  Whatever the profile, of two
micro-operations that change one place the later one decides, and what was synced has survived.

The predicates are checked by the litmus programs of `rotortree_faultinject.subjects.litmus` against
what Bornholt et al. measured on real file systems (ASPLOS 2016, figure 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from rotortree_faultinject.disk.operations import MicroOperation, Name, Operation, Sector, Size

__all__ = [
    "PROFILES",
    "Profile",
    "Requires",
    "covers",
    "failed",
    "inode_of",
    "profile_named",
]

Requires: TypeAlias = Callable[[MicroOperation, MicroOperation], bool]
"""Of two micro-operations, the first done before: whether the second survives only with it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of file system allows.

    ``requires(a, b)``: b, done after a, survives only if a does.  ``torn``: what a sector that was
    written may hold instead of the data, besides what it held before: ``z`` zeros, ``g`` garbage,
    ``s`` stale bytes of a removed file; only within the range that was written, and only behind
    the file's old end unless ``torn_in_place``.  ``atomic_rename``: both halves of a rename survive
    or neither.  ``sync_covers_names``: syncing a file makes its names durable, too;
    ``sync_covers_all_names``: and every other name that was changed before;
    ``sync_covers_everything``: and whatever was done before.
    """

    name: str
    description: str
    requires: Requires
    torn: str = ""
    torn_in_place: bool = False
    atomic_rename: bool = True
    sync_covers_names: bool = True
    sync_covers_all_names: bool = False
    sync_covers_everything: bool = False


def inode_of(micro: MicroOperation) -> int:
    """The inode that a micro-operation is about."""
    return micro.moved if isinstance(micro, Name) else micro.inode


def covers(profile: Profile, sync: Operation, micro: MicroOperation) -> bool:
    """Whether a sync that succeeded makes a micro-operation, done before it, durable."""
    if profile.sync_covers_everything:
        return True
    if sync.kind.endswith("sync_directory"):
        if not isinstance(micro, Name):
            return False
        return profile.sync_covers_all_names or micro.directory == sync.inode
    if isinstance(micro, Name):
        if profile.sync_covers_all_names:
            return True
        return profile.sync_covers_names and micro.moved == sync.inode
    return micro.inode == sync.inode


def failed(sync: Operation, micro: MicroOperation) -> bool:
    """Whether a sync that failed was about a micro-operation, under whatever profile.

    A failing file is its sectors and sizes, a failing directory the names in it.
    """
    if isinstance(micro, Name):
        return sync.kind.endswith("sync_directory") and micro.directory == sync.inode
    return micro.inode == sync.inode


def _all(a: MicroOperation, b: MicroOperation) -> bool:
    return True


def _nothing(a: MicroOperation, b: MicroOperation) -> bool:
    return False


def _metadata_of_one_file(a: MicroOperation, b: MicroOperation) -> bool:
    """Sizes and names of one inode reach the journal in order."""
    return not isinstance(a, Sector) and not isinstance(b, Sector) and inode_of(a) == inode_of(b)


def _size_after_data(a: MicroOperation, b: MicroOperation) -> bool:
    """A size reaches the disk only after the data that it covers."""
    return isinstance(a, Sector) and isinstance(b, Size) and a.inode == b.inode


def _xfs(a: MicroOperation, b: MicroOperation) -> bool:
    names = isinstance(a, Name) and isinstance(b, Name)  # one log, in order
    sizes = isinstance(a, Size) and isinstance(b, Size) and a.inode == b.inode
    return names or sizes or _size_after_data(a, b)


def _btrfs(a: MicroOperation, b: MicroOperation) -> bool:
    """A rename that replaces a file waits for the new file's data and size."""
    replacing = isinstance(b, Name) and b.replaces and b.rename is not None
    if replacing and not isinstance(a, Name) and inode_of(a) == inode_of(b):
        return True
    sizes = isinstance(a, Size) and isinstance(b, Size) and a.inode == b.inode
    names = isinstance(a, Name) and isinstance(b, Name) and a.moved == b.moved
    return sizes or names or _size_after_data(a, b)


_ALL = (
    Profile(
        "prefix",
        "strict order: what survives is a prefix of what was done; a sync makes all of it durable",
        _all,
        sync_covers_everything=True,
    ),
    Profile(
        "ext4-ordered",
        "sizes and names of one file in order, nothing else; a size may survive without its data,"
        " which then reads as zeros",
        _metadata_of_one_file,
    ),
    Profile(
        "ext4-writeback",
        "as ext4-ordered, but new blocks may hold garbage, or what a removed file left in them",
        _metadata_of_one_file,
        torn="gs",
    ),
    Profile(
        "xfs",
        "names in order, a size only after its data; a renamed file may still be empty",
        _xfs,
        sync_covers_all_names=True,
    ),
    Profile(
        "btrfs",
        "a size only after its data, a rename that replaces a file only after both; names of"
        " different files in any order",
        _btrfs,
    ),
    Profile(
        "posix",
        "the adversary: whatever was not synced survives or not, sectors also as zeros, garbage or"
        " stale bytes; a rename is two names, and a file's sync covers no name",
        _nothing,
        torn="zgs",
        torn_in_place=True,
        atomic_rename=False,
        sync_covers_names=False,
    ),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})
"""Every profile by its name, the strictest order first; read-only."""


def profile_named(name: str) -> Profile:
    """The profile of that name.  Raises ValueError, which lists the names there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}") from None
