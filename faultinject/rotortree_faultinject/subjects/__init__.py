"""Programs under test.

subject     what a program under test is
toy, sqlite examples of programs under test
litmus      programs that show whether a profile is like a real file system
tree        RotorTree under test; the only part that knows trees
"""

from __future__ import annotations

__all__: list[str] = []
