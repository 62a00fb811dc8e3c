"""Crash states: everything that a disk may hold after power fails at some point of its log.

`Unsynced` walks along a log.  It keeps what is certainly on the disk, and the micro-operations of
which nobody knows.  A *choice* says of each of those what became of it, one letter each:

====  ==========================================================================================
 -    it did not survive (anything past the end of a choice did not, either)
 k    it was kept
 z    kept, but the range that was written reads as zeros
 g    kept, but it reads as garbage
 s    kept, but it reads as what a removed file left there
====  ==========================================================================================

Any string of letters is a choice: what the profile forbids counts as not survived.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rotortree_faultinject.image import Image, parents
from rotortree_faultinject.operations import (
    SECTOR_BYTES,
    MicroOperation,
    Name,
    Operation,
    Place,
    Sector,
    Size,
)
from rotortree_faultinject.profiles import Profile, covers, inode_of

__all__ = ["Enumeration", "Unsynced"]

_GARBAGE = bytes((index * 181 + 97) & 0xFF for index in range(1 << 16))


class Enumeration(NamedTuple):
    """The choices of one crash point.

    ``existing`` is how many there are, or a bound if not ``exact``; ``exhaustive``: ``choices`` has
    all of them, or every subset of what survives if only ``subsets``.
    """

    choices: Sequence[str]
    existing: int
    exact: bool
    exhaustive: bool
    subsets: bool


class _Unit(NamedTuple):
    """Micro-operations that survive together, and those that must survive for it, as bits."""

    bits: int
    requires: int


class Unsynced:
    """What is on a disk, and what may be, at one point of its log.

    ``start`` is what the disk held before the log; all of that is durable.
    """

    def __init__(self, start: Image, profile: Profile, sector_bytes: int = SECTOR_BYTES) -> None:
        self.profile = profile
        self._sector_bytes = sector_bytes
        self._names: dict[str, int] = {}
        self._contents: dict[int, bytes | None] = {}
        self._micro: list[MicroOperation] = []
        self._clean: set[int] = set()
        for number, path in enumerate(sorted(start)):
            self._names[path] = number
            self._contents[number] = start[path]

    @property
    def micro(self) -> Sequence[MicroOperation]:
        """The micro-operations that may or may not survive, in the order they were done."""
        return self._micro

    # Walking along the log.

    def apply(self, operation: Operation) -> None:
        """Go on by one operation."""
        kind = operation.kind
        if kind in ("sync", "sync_directory"):
            self._settle(self._covered(operation))
        elif kind in ("failed_sync", "failed_sync_directory"):
            self._clean.update(self._micro[at].sequence for at in self._covered(operation))
        elif kind == "lost_sync":
            self._drop(self._covered(operation))
        self._micro += operation.micro

    def _covered(self, sync: Operation) -> set[int]:
        """Positions of what a sync makes durable, with all that it cannot be durable without."""
        covered = {
            at
            for at, micro in enumerate(self._micro)
            if micro.sequence not in self._clean and covers(self.profile, sync, micro)
        }
        for at in sorted(covered, reverse=True):
            mask = self._required(at)
            covered |= {other for other in range(at) if mask >> other & 1}
        return self._closed(covered)

    def _closed(self, positions: set[int]) -> set[int]:
        """With the other halves of atomic renames, and everything that anything in it requires."""
        while True:
            mask = 0
            for unit in self._units():
                if any(unit.bits >> at & 1 for at in positions):
                    mask |= unit.bits | unit.requires
            closed = {at for at in range(len(self._micro)) if mask >> at & 1}
            if closed <= positions:
                return positions
            positions = positions | closed

    def _settle(self, positions: set[int]) -> None:
        letters = ["k" if at in positions else "-" for at in range(len(self._micro))]
        chosen = self._chosen("".join(letters))
        for micro, _ in chosen.values():
            if isinstance(micro, Name):
                _apply_name(self._names, micro)
        for inode in {inode_of(self._micro[at]) for at in positions}:
            if not self._is_directory(inode):
                self._contents[inode] = self._content(inode, chosen)
        for micro in (self._micro[at] for at in positions):
            if isinstance(micro, Name) and micro.inode is not None:
                self._contents.setdefault(micro.inode, None if micro.is_directory else b"")
        self._drop(positions)

    def _drop(self, positions: set[int]) -> None:
        self._micro = [micro for at, micro in enumerate(self._micro) if at not in positions]

    def _is_directory(self, inode: int) -> bool:
        if inode in self._contents:
            return self._contents[inode] is None
        return any(
            isinstance(micro, Name) and micro.inode == inode and micro.is_directory
            for micro in self._micro
        )

    # What depends on what.

    def _required(self, at: int) -> int:
        """The earlier micro-operations that one cannot survive without, as bits."""
        micro, requires = self._micro[at], self.profile.requires
        mask = 0
        for other in range(at):
            earlier = self._micro[other]
            cut = isinstance(micro, Sector) and micro.cut == earlier.sequence
            if earlier.place == micro.place or cut or requires(earlier, micro):
                mask |= 1 << other
        return mask

    def _units(self) -> list[_Unit]:
        """What survives together, in the order of the log."""
        units: list[_Unit] = []
        renames: dict[int, int] = {}
        for at, micro in enumerate(self._micro):
            rename = micro.rename if isinstance(micro, Name) else None
            unit = _Unit(1 << at, self._required(at))
            if rename is None or not self.profile.atomic_rename:
                units.append(unit)
            elif rename in renames:
                first = units[renames[rename]]
                bits = first.bits | unit.bits
                units[renames[rename]] = _Unit(bits, (first.requires | unit.requires) & ~bits)
            else:
                renames[rename] = len(units)
                units.append(unit)
        return units

    def legal(self, choice: str) -> str:
        """The choice that a string of letters stands for."""
        asked = choice[: len(self._micro)].ljust(len(self._micro), "-")
        mask = 0
        for unit in self._units():
            wanted = all(asked[at] != "-" for at in range(len(asked)) if unit.bits >> at & 1)
            if wanted and unit.requires & mask == unit.requires:
                mask |= unit.bits
        letters = []
        for at, micro in enumerate(self._micro):
            torn = asked[at] in self._torn(micro)
            letters.append("-" if not mask >> at & 1 else asked[at] if torn else "k")
        return "".join(letters)

    def _torn(self, micro: MicroOperation) -> str:
        """How a sector may be torn under the profile."""
        if not isinstance(micro, Sector):
            return ""
        if not self.profile.torn_in_place and micro.fresh >= micro.stop:
            return ""
        return self.profile.torn if micro.stale else self.profile.torn.replace("s", "")

    # Enumeration.

    def enumerate(self, limit: int, seed: int = 0, new: int = 0) -> Enumeration:
        """The choices to check at this point, ``limit`` at the most, the same for a seed.

        Only those in which one of the last ``new`` micro-operations survives, if it is not 0: with
        none of them the state is one of an earlier point.  All if there are no more than ``limit``;
        else all subsets, if there are no more than that, and samples of torn sectors; else none,
        all, every single omission and survivor, every pair of them, and samples.
        """
        units = self._units()
        least = 1 << (len(self._micro) - new) if new else 0
        some = list(itertools.islice(self._masks(units), 4 * limit + 1))
        masks = [mask for mask in some if mask >= least]
        if len(some) <= 4 * limit and len(masks) <= limit:
            existing = sum(self._torn_count(mask) for mask in masks)
            if existing <= limit:
                whole = [letters for mask in masks for letters in self._letters(mask)]
                return Enumeration(whole, existing, True, True, True)
            plain = [self._kept(mask) for mask in masks]
            choices = plain + self._samples(masks, limit - len(plain), random.Random(seed))
            return Enumeration(_unique(choices), existing, True, False, True)
        masks = [mask for mask in self._small_sets(units) if mask >= least][:limit]
        plain = [self._kept(mask) for mask in masks]
        choices = plain + self._samples(masks, limit - len(plain), random.Random(seed))
        return Enumeration(_unique(choices), self._bound(), False, False, False)

    @staticmethod
    def _masks(units: Sequence[_Unit]) -> Iterator[int]:
        """Every set that may survive, once, as bits."""
        last = len(units)
        stack = [(0, 0)]
        while stack:
            at, mask = stack.pop()
            while at < last:
                unit = units[at]
                at += 1
                if unit.requires & mask == unit.requires:
                    stack.append((at, mask | unit.bits))
            yield mask

    def _small_sets(self, units: Sequence[_Unit]) -> Iterator[int]:
        """None, all, single and paired omissions and survivors, each closed under the profile."""
        everything = (1 << len(self._micro)) - 1
        seen = set()
        pairs = list(itertools.combinations(range(len(units)), 2))
        singles = [(at,) for at in range(len(units))]
        for group in [(), *singles, *pairs]:
            for mask in (
                self._without(units, group, everything),
                self._with_only(units, group),
            ):
                if mask not in seen:
                    seen.add(mask)
                    yield mask

    @staticmethod
    def _without(units: Sequence[_Unit], omitted: tuple[int, ...], everything: int) -> int:
        mask = everything
        for at in omitted:
            mask &= ~units[at].bits
        kept = 0
        for unit in units:
            if unit.bits & mask == unit.bits and unit.requires & kept == unit.requires:
                kept |= unit.bits
        return kept

    @staticmethod
    def _with_only(units: Sequence[_Unit], survivors: tuple[int, ...]) -> int:
        mask = 0
        for at in survivors:
            mask |= units[at].bits | units[at].requires
        for unit in reversed(units):
            if unit.bits & mask:
                mask |= unit.bits | unit.requires
        return mask

    def _tops(self, mask: int) -> list[int]:
        """The positions of the surviving sectors that no later surviving one replaces."""
        tops: dict[Place, int] = {}
        for at, micro in enumerate(self._micro):
            if mask >> at & 1 and isinstance(micro, Sector):
                tops[micro.place] = at
        return list(tops.values())

    def _torn_count(self, mask: int) -> int:
        count = 1
        for at in self._tops(mask) if self.profile.torn else ():
            count *= 1 + len(self._torn(self._micro[at]))
        return count

    def _kept(self, mask: int) -> str:
        return "".join("k" if mask >> at & 1 else "-" for at in range(len(self._micro)))

    def _letters(self, mask: int) -> Iterator[str]:
        """The choices in which exactly this set survives, each torn in every way."""
        plain = self._kept(mask)
        tops = [at for at in self._tops(mask) if self._torn(self._micro[at])]
        for torn in itertools.product(*("k" + self._torn(self._micro[at]) for at in tops)):
            letters = list(plain)
            for at, letter in zip(tops, torn, strict=True):
                letters[at] = letter
            yield "".join(letters)

    def _samples(self, masks: Sequence[int], count: int, drawn: random.Random) -> list[str]:
        """Torn choices: every single torn sector of the first sets, then random ones."""
        found: list[str] = []
        if not self.profile.torn:
            return found
        for mask in masks:
            if len(found) >= count // 2:
                break
            for at in self._tops(mask):
                plain = self._kept(mask)
                torn = self._torn(self._micro[at])
                found += [plain[:at] + letter + plain[at + 1 :] for letter in torn]
        while len(found) < count:
            mask = drawn.choice(masks)
            letters = list(self._kept(mask))
            for at in self._tops(mask):
                letters[at] = drawn.choice("k" + self._torn(self._micro[at]))
            found.append("".join(letters))
        return found

    def _bound(self) -> int:
        bound = 1
        for micro in self._micro:
            bound *= 2 + len(self._torn(micro))
        return bound

    # What is left.

    def _chosen(self, choice: str) -> dict[Place, tuple[MicroOperation, str]]:
        """For every place that changed, the micro-operation that decides, and how it survived."""
        return {
            micro.place: (micro, letter)
            for micro, letter in zip(self._micro, choice, strict=True)
            if letter != "-"
        }

    def image(self, choice: str) -> Image:
        """What is on the disk after a legal choice."""
        chosen = self._chosen(choice)
        names = dict(self._names)
        made: dict[int, bool] = {}
        changed = set()
        for micro, _ in chosen.values():
            if isinstance(micro, Name):
                _apply_name(names, micro)
                if micro.inode is not None:
                    made[micro.inode] = micro.is_directory
            else:
                changed.add(micro.inode)
        image: dict[str, bytes | None] = {}
        for path, inode in names.items():
            if any(parent not in names for parent in parents(path)):
                continue
            if made.get(inode, self._contents.get(inode, b"") is None):
                image[path] = None
            elif inode in changed:
                image[path] = self._content(inode, chosen)
            else:
                image[path] = self._contents.get(inode, b"")
        return image

    def _content(self, inode: int, chosen: dict[Place, tuple[MicroOperation, str]]) -> bytes:
        data = bytearray(self._contents.get(inode) or b"")
        size = len(data)
        for micro, letter in chosen.values():
            if isinstance(micro, Sector) and micro.inode == inode:
                self._put(data, micro, letter)
            elif isinstance(micro, Size) and micro.inode == inode:
                size = micro.length
        return bytes(data[:size].ljust(size, b"\0"))

    def _put(self, data: bytearray, micro: Sector, letter: str) -> None:
        sector = micro.data.ljust(self._sector_bytes, b"\0")
        if letter != "k":
            start = micro.start if self.profile.torn_in_place else max(micro.start, micro.fresh)
            length = max(0, micro.stop - start)
            if letter == "s":
                filling = micro.stale[start : start + length].ljust(length, b"\0")
            else:
                filling = _GARBAGE[:length] if letter == "g" else bytes(length)
            sector = sector[:start] + filling + sector[start + length :]
        offset = micro.number * self._sector_bytes
        if len(data) < offset + self._sector_bytes:
            data.extend(bytes(offset + self._sector_bytes - len(data)))
        data[offset : offset + self._sector_bytes] = sector


def _apply_name(names: dict[str, int], micro: Name) -> None:
    if micro.inode is None:
        names.pop(micro.path, None)
    else:
        names[micro.path] = micro.inode


def _unique(choices: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(choices))
