"""The ``rotortree`` command: create, append, prove, verify and check trees from a shell.

A command prints its result to stdout, as text or, with ``--json``, as one JSON object.  It reports
an error as one line on stderr, and its exit status tells the kind (`rotortree.cli.errors`).
"""

from rotortree.cli.application import app, main

__all__ = ["app", "main"]
