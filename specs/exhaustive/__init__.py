"""Small-scope exhaustion: everything that is small, production against the model.

``python -m specs.exhaustive`` tries every shape of a tree and every history of a durable tree up to
the bounds of `specs.exhaustive.campaign`, with a crash at every point, and prints how many there
were.
"""
