"""RotorTree under test: the fault layer's first user.

Everything here knows the tree; nothing outside of this package does.

    oracle      what must be true of a tree, whatever happened
    life        a tree's life on a simulated disk, step by step, with the model beside it
    workloads   lives as subjects of the explorer, and the built-in ones
    interleaving   several threads of a tree under every schedule
    fuzz        random lives
    failures    every call of a life goes wrong, in every way
    specimens   trees to be damaged, and what must come of it
    damage      every kind of damage (damage_kinds) to every file, and what came of it
    reach       what explorations reached, and how often they must
"""

from __future__ import annotations

__all__: list[str] = []
