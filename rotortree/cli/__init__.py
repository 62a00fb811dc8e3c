"""The ``rotortree`` command: create, append, prove, verify and check trees from a shell.

What a command has to say goes to stdout, as text or, with ``--json``, as one JSON object.  What
goes wrong is one line on stderr, and the exit status tells its kind (`rotortree.cli.errors`).
"""

from rotortree.cli.application import app, main

__all__ = ["app", "main"]
