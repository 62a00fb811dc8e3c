"""The fault layer: nothing here yet.

Simulated disks, crash states and injected I/O faults will live in this package, behind the same
file-system interface as the real disk (`rotortree.storage.files`).  Until then it exports nothing,
and no claim about crashes or failing disks rests on it.
"""

from __future__ import annotations

__all__: list[str] = []
