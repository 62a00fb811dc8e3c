"""What a planted fault is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.campaigns.planting import Edit, planted

__all__ = ["PlantedFault"]


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault that somebody could have made.

    ``redundant``: why it does no harm under any profile; empty if it does.
    """

    name: str
    description: str
    edits: tuple[Edit, ...]
    redundant: str = ""

    def apply(self) -> AbstractContextManager[None]:
        """The fault is there within the context, as `planted` says."""
        return planted(*self.edits)
