"""RotorTree under test: the fault layer's first user.

Everything here knows the tree; nothing outside of this package does.

    oracle      what must be true of a tree, whatever happened
    life        a tree's life on a simulated disk, step by step, with the model beside it
    workloads   lives as subjects of the explorer, and the built-in ones
"""

from __future__ import annotations

__all__: list[str] = []
