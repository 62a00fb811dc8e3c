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
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from rotortree_faultinject.disk.image import Content, Image
from rotortree_faultinject.disk.operations import (
    ROOT,
    SECTOR_BYTES,
    MicroOperation,
    Name,
    Operation,
    Place,
    Sector,
    Size,
)
from rotortree_faultinject.disk.profiles import Profile, covers, failed

__all__ = ["Enumeration", "Unsynced"]

_T = TypeVar("_T")

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
        self._entries: dict[int, dict[str, int]] = {ROOT: {}}
        self._contents: dict[int, Content] = {}
        self._micro: list[MicroOperation] = []
        self._units: list[_Unit] = []
        self._clean: set[int] = set()
        numbers = {"": ROOT}
        for number, path in enumerate(sorted(start)):
            above, _, name = path.rpartition("/")
            numbers[path] = number
            self._entries.setdefault(numbers[above], {})[name] = number
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
            self._clean |= {micro.sequence for micro in self._micro if failed(operation, micro)}
            self._keep(self._micro)
        elif kind == "lost_sync":
            assert isinstance(operation.value, bytes)  # the content that the file went back to
            self._keep([micro for micro in self._micro if not failed(operation, micro)])
            self._contents[operation.inode] = operation.value
        for micro in operation.micro:
            self._add(micro)

    def _keep(self, micro: Sequence[MicroOperation]) -> None:
        """Go on with only these."""
        self._micro, self._units = [], []
        for one in micro:
            self._add(one)

    def _add(self, micro: MicroOperation) -> None:
        bit = 1 << len(self._micro)
        unit = _Unit(bit, self._required(micro))
        last = self._micro[-1] if self._micro else None
        if self.profile.atomic_rename and _are_one_rename(last, micro):
            first = self._units.pop()
            unit = _Unit(first.bits | bit, first.requires | (unit.requires & ~first.bits))
        self._units.append(unit)
        self._micro.append(micro)

    def _required(self, micro: MicroOperation) -> int:
        """Those among the earlier micro-operations that one cannot survive without, as bits.

        Nothing waits for what counts as clean: the file system believes that it is on the disk.
        """
        requires, place, clean = self.profile.requires, micro.place, self._clean
        cut = micro.cut if isinstance(micro, Sector) else None
        mask = 0
        for at, earlier in enumerate(self._micro):
            if (
                earlier.place == place
                or earlier.sequence == cut
                or (requires(earlier, micro) and earlier.sequence not in clean)
            ):
                mask |= 1 << at
        return mask

    def _covered(self, sync: Operation) -> int:
        """What a sync makes durable, with all that it cannot be durable without, as bits."""
        mask = 0
        for at, micro in enumerate(self._micro):
            if micro.sequence not in self._clean and covers(self.profile, sync, micro):
                mask |= 1 << at
        return self._closed(mask)

    def _closed(self, mask: int) -> int:
        """The set with all that its members require, and the other halves of atomic renames."""
        for unit in reversed(self._units):
            if unit.bits & mask:
                mask |= unit.bits | unit.requires
        return mask

    def _settle(self, mask: int) -> None:
        settled = [micro for at, micro in enumerate(self._micro) if mask >> at & 1]
        chosen = {micro.place: (micro, "k") for micro in settled}
        for micro in settled:
            if isinstance(micro, Name):
                _apply_name(self._entries.setdefault(micro.directory, {}), micro)
                if micro.inode is not None:
                    self._contents.setdefault(micro.inode, micro.made)
        for inode in {micro.inode for micro in settled if not isinstance(micro, Name)}:
            self._contents[inode] = self._content(inode, chosen)
        self._keep([micro for at, micro in enumerate(self._micro) if not mask >> at & 1])

    # Choices.

    def legal(self, choice: str) -> str:
        """The choice that a string of letters stands for."""
        asked = choice[: len(self._micro)].ljust(len(self._micro), "-")
        wanted = sum(1 << at for at, letter in enumerate(asked) if letter != "-")
        mask = self._allowed(wanted)
        letters = []
        for at, micro in enumerate(self._micro):
            torn = asked[at] in self._torn(micro)
            letters.append("-" if not mask >> at & 1 else asked[at] if torn else "k")
        return "".join(letters)

    def _allowed(self, wanted: int) -> int:
        """The part of a set that survives under the profile."""
        mask = 0
        for unit in self._units:
            if unit.bits & wanted == unit.bits and unit.requires & mask == unit.requires:
                mask |= unit.bits
        return mask

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
        else all subsets, if there is room for them, and samples of torn sectors; else none, all,
        every single omission and survivor, pairs of them, and samples of both.
        """
        drawn = random.Random(seed)
        tears = any(map(self._torn, self._micro))
        room = max(1, limit // 2) if tears else limit  # for whole sectors
        masks = list(itertools.islice(self._sets(new), limit + 1))
        existing = sum(map(self._torn_count, masks))
        if existing <= limit:
            masks.sort(key=self._smallness)
            whole = [letters for mask in masks for letters in self._letters(mask)]
            return Enumeration(whole, existing, True, True, True)
        exact, subsets = len(masks) <= limit, len(masks) <= room
        existing = existing if exact else self._bound()
        if subsets:
            masks.sort(key=self._smallness)
        else:
            masks = _first(room, self._some_sets(new, room, drawn))
        plain = [self._kept(mask) for mask in masks]
        torn = self._tears(masks, limit - len(plain), drawn) if tears else ()
        choices = _first(limit, itertools.chain(plain, torn))
        return Enumeration(choices, existing, exact, False, subsets)

    def _smallness(self, mask: int) -> tuple[int, int]:
        """Sorts sets: the fewest omissions or survivors first."""
        count = mask.bit_count()
        return min(count, len(self._micro) - count), mask

    def _sets(self, new: int) -> Iterator[int]:
        """Every set that may survive, once, as bits; with one of the last ``new`` if that is not 0.

        Of those, first the ones with the first of them, then the others with the second…
        """
        if not new:
            yield from self._supersets(0, 0)
        barred = 0
        for unit in self._units:
            if new and unit.bits >> (len(self._micro) - new):
                needed = self._closed(unit.bits)
                if not needed & barred:
                    yield from self._supersets(needed, barred)
                barred |= unit.bits

    def _supersets(self, needed: int, barred: int) -> Iterator[int]:
        """Every set that may survive, has all of a closed set, and nothing that is barred."""
        units = [unit for unit in self._units if not unit.bits & (needed | barred)]
        stack = [(0, needed)]
        while stack:
            at, mask = stack.pop()
            while at < len(units):
                unit = units[at]
                at += 1
                if unit.requires & mask == unit.requires:
                    stack.append((at, mask | unit.bits))
            yield mask

    def _some_sets(self, new: int, attempts: int, drawn: random.Random) -> Iterator[int]:
        """None, all, single and paired omissions and survivors, then random sets.

        Each as far as the profile allows, and some more than once.
        """
        last = (1 << new) - 1 << (len(self._micro) - new)
        for mask in itertools.chain(self._small_sets(), self._random_sets(attempts, drawn)):
            if not new or mask & last:
                yield mask

    def _small_sets(self) -> Iterator[int]:
        everything = (1 << len(self._micro)) - 1
        bits = [unit.bits for unit in self._units]
        pairs = (a | b for a, b in itertools.combinations(bits, 2))
        for mask in itertools.chain([0], bits, pairs):
            yield self._closed(mask)
            yield self._allowed(everything & ~mask)

    def _random_sets(self, count: int, drawn: random.Random) -> Iterator[int]:
        for _ in range(count):
            chance = drawn.random()
            yield self._allowed(
                sum(unit.bits for unit in self._units if drawn.random() < chance),
            )

    # Torn sectors.

    def _tops(self, mask: int) -> list[int]:
        """The positions of surviving sectors that may be torn and no later one replaces."""
        tops: dict[Place, int] = {}
        for at, micro in enumerate(self._micro):
            if mask >> at & 1 and isinstance(micro, Sector):
                tops[micro.place] = at
        return [at for at in tops.values() if self._torn(self._micro[at])]

    def _torn_count(self, mask: int) -> int:
        if not self.profile.torn:
            return 1
        return math.prod(1 + len(self._torn(self._micro[at])) for at in self._tops(mask))

    def _kept(self, mask: int) -> str:
        return "".join("k" if mask >> at & 1 else "-" for at in range(len(self._micro)))

    def _letters(self, mask: int) -> Iterator[str]:
        """The choices in which exactly this set survives, each torn in every way."""
        plain = self._kept(mask)
        tops = self._tops(mask) if self.profile.torn else []
        for torn in itertools.product(*("k" + self._torn(self._micro[at]) for at in tops)):
            yield _changed(plain, dict(zip(tops, torn, strict=True)))

    def _tears(self, masks: Sequence[int], count: int, drawn: random.Random) -> Iterator[str]:
        """Torn choices: every single torn sector and all of them, of half of them, then random."""
        yield from itertools.islice(self._simple_tears(masks), (count + 1) // 2)
        for _ in range(count):
            mask = drawn.choice(masks)
            tops = self._tops(mask)
            letters = (drawn.choice("k" + self._torn(self._micro[at])) for at in tops)
            yield _changed(self._kept(mask), dict(zip(tops, letters, strict=True)))

    def _simple_tears(self, masks: Sequence[int]) -> Iterator[str]:
        for mask in masks:
            plain, tops = self._kept(mask), self._tops(mask)
            for letter in self.profile.torn:
                torn = [at for at in tops if letter in self._torn(self._micro[at])]
                if len(torn) > 1:
                    yield _changed(plain, dict.fromkeys(torn, letter))
                for at in torn:
                    yield _changed(plain, {at: letter})

    def _bound(self) -> int:
        return math.prod(2 + len(self._torn(micro)) for micro in self._micro)

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
        entries: dict[int, dict[str, int]] = {}
        made: dict[int, Content] = {}
        changed = set()
        for micro, _ in chosen.values():
            if not isinstance(micro, Name):
                changed.add(micro.inode)
                continue
            there = entries.get(micro.directory)
            if there is None:
                there = entries[micro.directory] = dict(self._entries.get(micro.directory, ()))
            _apply_name(there, micro)
            if micro.inode is not None:
                made[micro.inode] = micro.made
        image: dict[str, Content] = {}
        for path, inode in self._reachable(entries, made):
            content = self._contents.get(inode, made.get(inode, b""))
            if inode in changed:
                content = self._content(inode, chosen)
            image[path] = content
        return image

    def _reachable(
        self, entries: Mapping[int, Mapping[str, int]], made: Mapping[int, Content]
    ) -> Iterator[tuple[str, int]]:
        """Every path from the root on and its inode; ``entries`` are those of changed directories.

        Where a rename is not atomic, a directory may have two names, and is there twice then.  It
        is never there below itself.
        """
        durable, contents = self._entries, self._contents
        stack: list[tuple[int, str, tuple[int, ...]]] = [(ROOT, "", ())]
        while stack:
            directory, start, above = stack.pop()
            there = entries.get(directory)
            for name, inode in (durable.get(directory, {}) if there is None else there).items():
                if contents.get(inode, made.get(inode, b"")) is None:
                    if inode in above or inode == directory:
                        continue
                    stack.append((inode, f"{start}{name}/", (*above, directory)))
                yield start + name, inode

    def _content(self, inode: int, chosen: dict[Place, tuple[MicroOperation, str]]) -> bytes:
        old = self._contents.get(inode)
        data = bytearray(old if isinstance(old, bytes) else b"")
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


def _are_one_rename(first: MicroOperation | None, second: MicroOperation) -> bool:
    """Whether these are the halves of a rename, which follow one another."""
    return (
        isinstance(first, Name)
        and isinstance(second, Name)
        and first.rename is not None
        and first.rename == second.rename
    )


def _apply_name(entries: dict[str, int], micro: Name) -> None:
    if micro.inode is None:
        entries.pop(micro.name, None)
    else:
        entries[micro.name] = micro.inode


def _changed(choice: str, letters: Mapping[int, str]) -> str:
    changed = list(choice)
    for at, letter in letters.items():
        changed[at] = letter
    return "".join(changed)


def _first(count: int, values: Iterable[_T]) -> list[_T]:
    """The first different values."""
    found: dict[_T, None] = {}
    for value in values:
        if len(found) >= count:
            break
        found[value] = None
    return list(found)
