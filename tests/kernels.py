"""Prints the kernels that this machine has besides the one that it chooses, for ROTORTREE_NATIVE.

``make test`` runs the tests of the tree once more with each of them, ``make test-kernels`` all.
"""

from __future__ import annotations

import sys


def others() -> list[str]:
    """Such as "off", "4" and "8" where 16 lanes are the best; none where nothing was built."""
    try:
        import rotortree.kernel._native as _native
    except ImportError:
        print("The native kernel was not built: all was tested without it.", file=sys.stderr)
        return []
    return ["off", *[str(lanes) for lanes in (4, 8, 16) if _native.machine_has(lanes)][:-1]]


if __name__ == "__main__":
    print(*others())
