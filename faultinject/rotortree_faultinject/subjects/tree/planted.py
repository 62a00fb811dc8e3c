"""All planted faults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rotortree_faultinject.subjects.tree.planted_errors import ERRORS
from rotortree_faultinject.subjects.tree.planted_order import ORDER
from rotortree_faultinject.subjects.tree.planted_reading import READING
from rotortree_faultinject.subjects.tree.planted_recovery import RECOVERY
from rotortree_faultinject.subjects.tree.planting import PlantedFault

__all__ = ["PLANTED"]

PLANTED: Mapping[str, PlantedFault] = MappingProxyType(
    {fault.name: fault for fault in (*ORDER, *ERRORS, *READING, *RECOVERY)}
)
"""Every planted fault by its name; read-only."""
