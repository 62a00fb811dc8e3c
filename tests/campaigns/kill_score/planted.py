"""All planted faults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.kill_score.planted_errors import ERRORS
from tests.campaigns.kill_score.planted_names import NAMES
from tests.campaigns.kill_score.planted_order import ORDER
from tests.campaigns.kill_score.planted_reading import READING
from tests.campaigns.kill_score.planted_recovery import RECOVERY

__all__ = ["PLANTED"]

PLANTED: Mapping[str, PlantedFault] = MappingProxyType(
    {fault.name: fault for fault in (*ORDER, *ERRORS, *NAMES, *READING, *RECOVERY)}
)
"""Every planted fault by its name; read-only."""
