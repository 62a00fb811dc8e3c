"""The tree in memory.

===============  ==============================================================
module           contents
===============  ==============================================================
``levels``       append-only arrays of the nodes of a level
``reading``      pure functions that fold and prove over complete nodes
``accumulator``  appends leaves, completes nodes; native or portable
``snapshot``     the tree at one size, with all that can be read of it
``lean_imt``     `LeanIMT`, the public tree in memory
===============  ==============================================================
"""

__all__: list[str] = []
