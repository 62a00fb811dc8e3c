"""The durable tree: opening, flushing, checkpointing, and waiting for it."""
