"""Small-scope exhaustion: everything that is small, production against the model.

``python -m tests.campaigns.exhaustive`` tries every shape of a tree and every history of a durable
tree up to the bounds of `tests.campaigns.exhaustive.campaign`, with a crash at every point, and
prints how many there were.
"""
