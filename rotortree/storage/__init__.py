"""The storage engine: what is on disk, how it gets there, and how it is read back."""

__all__: list[str] = []
