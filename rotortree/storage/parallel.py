"""Work that several threads share when a tree is opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rotortree import kernel

__all__ = ["count_passing", "made_ahead"]

_Item = TypeVar("_Item")


def count_passing(passes: Callable[[_Item], bool], items: Sequence[_Item]) -> int:
    """How many items pass before the first that does not, tried by several threads.

    If all items before it pass, the first exception that ``passes`` raises is raised.
    """
    count = min(len(items), kernel.THREADS)
    if count < 2:
        return sum(itertools.takewhile(bool, map(passes, items)))
    threads = ThreadPoolExecutor(count, "rotortree-verifier")
    try:
        return sum(itertools.takewhile(bool, threads.map(passes, items)))
    finally:
        threads.shutdown(cancel_futures=True)


def made_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, none of them None, each made by another thread while the last is in use."""
    with ThreadPoolExecutor(1, "rotortree-reader") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
