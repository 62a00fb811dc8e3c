"""Exploring crashes, and what is done with what that finds.

recording   what happened to a disk, with or without the program that did it
explorer    crash points × states × crashes in recovery
finding     a failure on paper, which can be replayed
minimise    the same failure, as small as it gets
describe, report   findings as text, results as files
"""

from __future__ import annotations

__all__: list[str] = []
