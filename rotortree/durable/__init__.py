"""The durable tree: opening, flushing, checkpointing, and waiting for it."""

__all__: list[str] = []
