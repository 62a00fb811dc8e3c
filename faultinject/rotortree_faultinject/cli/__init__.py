"""The ``rotortree-crash`` command: explore crashes, replay findings, judge the laboratory.

Results go to stdout, or to files that options name.  What goes wrong is one line on stderr, and the
exit status tells its kind (`rotortree_faultinject.cli.errors`).
"""

from rotortree_faultinject.cli.application import app, main

__all__ = ["app", "main"]
