"""The state of a tree under test, as a fingerprint: all that its future depends on.

Two histories that lead to one state have the same future, because a tree on a simulated disk is
deterministic: no clock, no threads, random bytes that follow from what is on the disk. So the
future of only one of them has to be explored. For that the fingerprint must miss nothing. It has:

- every attribute of every Python object that can be reached from the engine, by its name, and
  what functions among them are closed over;
- of the tree in C its size, and the nodes of every level, segment by segment;
- the disk as processes see it, and everything that a power failure may leave of it; of files and
  directories that are open, their paths;
- the history by the model: the batches, in order, and what was acknowledged.

Locks count as held or free; code and classes by their names. The number of the process means
nothing, nor does that of a file, to which in these histories its name always leads. Of how many
checkpoints were begun and finished, only the difference counts.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from types import MappingProxyType, ModuleType
from typing import cast

import rotortree_model as model
from rotortree.durable.checkpointing import Checkpointer
from rotortree.storage.log import _Segment
from rotortree.storage.process import Home
from rotortree.tree.accumulator import Accumulator
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.cache import Inode
from rotortree_faultinject.disk.image import fingerprint
from rotortree_faultinject.disk.profiles import Profile
from rotortree_faultinject.subjects.tree.life import Life

__all__ = ["Walk", "fingerprint_of"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, Enum, type)
_NOT_STATE = frozenset({"__dict__", "__weakref__"})
_NOT_STATE_OF: Mapping[type, frozenset[str]] = MappingProxyType(
    {
        Home: frozenset({"process"}),
        _Segment: frozenset({"identity"}),
        Checkpointer: frozenset({"_begun", "_finished"}),
    }
)
"""Attributes that mean nothing, or of which `Walk` says by itself what they mean."""

_ALL = 1 << 20
"""More crash states of one point than any short history has."""


def fingerprint_of(life: Life, profile: Profile) -> bytes:
    """16 bytes that two lives share only if their futures are the same."""
    state = hashlib.blake2b(digest_size=16)
    for part in _parts(life, profile):
        state.update(part if isinstance(part, bytes) else repr(part).encode())
        state.update(b"\0")
    return state.digest()


def _parts(life: Life, profile: Profile) -> Iterator[object]:
    disk, history = life.disk, life.history
    yield life.options, life.issued, history.acknowledged
    yield from map(len, history.issued)
    yield model.issued_leaves(history)
    yield [token.size for token in life.tokens], len(life.disk.carried) > 0
    yield fingerprint(disk.image)
    unsynced = disk.unsynced(profile)
    for choice in unsynced.enumerate(_ALL).choices:
        yield fingerprint(unsynced.image(choice))
    if life.tree is not None:
        yield from Walk().parts(life.tree._engine)


class Walk:
    """Everything that can be reached from an object; what was seen before is named by its place."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, object]] = {}

    def parts(self, value: object) -> Iterator[object]:
        """What a value consists of, in an order that does not depend on where it is in memory."""
        if isinstance(value, _PLAIN):
            yield value
        elif isinstance(value, bytearray | memoryview):
            yield bytes(value)
        elif id(value) in self._seen:
            yield "seen", self._seen[id(value)][0]
        else:  # the object is kept, so that no other one gets its number
            self._seen[id(value)] = len(self._seen), value
            yield type(value).__qualname__
            yield from self._inside(value)

    def _inside(self, value: object) -> Iterator[object]:
        if isinstance(value, SimulatedDisk | ModuleType):
            return  # the disk is a part of its own; modules have no state
        if type(value).__module__ == "rotortree.kernel._native":
            yield from _nodes(cast(Accumulator, value))
        elif isinstance(value, Inode):
            yield value.path, value.named
        elif hasattr(value, "_is_owned"):  # a lock that its owner may take again
            yield value._is_owned()
        elif hasattr(value, "locked"):
            yield value.locked()
        elif isinstance(value, partial):
            yield from self._all((value.func, value.args, value.keywords))
        elif isinstance(value, Mapping):
            yield from self._all(itertools.chain.from_iterable(value.items()))
        elif isinstance(value, set | frozenset):
            yield from self._all(sorted(value, key=repr))
        elif isinstance(value, tuple | list | deque):
            yield from self._all(value)
        elif callable(value) and hasattr(value, "__qualname__"):
            yield value.__qualname__
            yield from self.parts(getattr(value, "__self__", None))
            cells = getattr(value, "__closure__", None) or ()
            yield from self._all(cell.cell_contents for cell in cells)
        else:
            yield from self._attributes(value)

    def _all(self, values: Iterable[object]) -> Iterator[object]:
        for value in values:
            yield from self.parts(value)

    def _attributes(self, value: object) -> Iterator[object]:
        """Name and parts of every attribute, those in slots included."""
        slots = {name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())}
        names = {*slots, *getattr(value, "__dict__", ())} - _NOT_STATE
        if isinstance(value, Checkpointer):
            yield value._begun - value._finished.value, len(value._finished._watches)
        for name in sorted(names - _NOT_STATE_OF.get(type(value), frozenset())):
            if hasattr(value, name):
                yield name
                yield from self.parts(getattr(value, name))


def _nodes(tree: Accumulator) -> Iterator[object]:
    """The size of a tree and the complete nodes of every level, segment by segment."""
    yield tree.size
    for level in itertools.count():
        count = tree.size // tree.n**level
        if count == 0:
            return
        yield [bytes(view) for view in tree.views(level, 0, count)]
