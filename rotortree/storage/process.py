"""Which process an object belongs to: what was open before a fork is the parent's."""

from __future__ import annotations

import functools
import os
import weakref

__all__ = ["Home"]


class Home:
    """The process that made this object.

    ``process`` is its number.  ``left`` becomes True in a child that it forked, before anything
    runs there but what other modules have had called first, by `os.register_at_fork`, and garbage.
    Reading it is cheap.  What would do harm in a child asks `has_left`, which is a system call.
    """

    __slots__ = ("__weakref__", "left", "process")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.left = False
        _homes().add(self)

    def has_left(self) -> bool:
        """Whether this is such a child.  It is right from the child's first moment on."""
        if not self.left and os.getpid() != self.process:
            self.left = True
        return self.left

    def leave(self) -> None:
        """What a child does first."""
        self.left = True


@functools.cache
def _homes() -> weakref.WeakSet[Home]:
    """All homes of this process.

    There is one set, because a function that is to be called in a child can be registered, but
    never removed again.
    """
    homes = weakref.WeakSet[Home]()
    os.register_at_fork(after_in_child=functools.partial(_leave, homes))
    return homes


def _leave(homes: weakref.WeakSet[Home]) -> None:
    for home in homes:
        home.leave()
