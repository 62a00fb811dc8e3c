"""The tree in memory: level arrays, what is folded from them, snapshots."""

__all__: list[str] = []
