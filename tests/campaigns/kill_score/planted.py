"""All planted faults, and which check noticed each of them when somebody last looked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.campaigns.kill_score.fault import PlantedFault
from tests.campaigns.kill_score.planted_errors import ERRORS
from tests.campaigns.kill_score.planted_names import NAMES
from tests.campaigns.kill_score.planted_order import ORDER
from tests.campaigns.kill_score.planted_reading import READING
from tests.campaigns.kill_score.planted_recovery import RECOVERY

__all__ = ["NOTHING", "PLANTED", "read_noticed", "write_noticed"]

NOTHING = "nothing"
"""The fault that is none: the tree as it is.  A battery that notices something is wrong itself."""

PLANTED: Mapping[str, PlantedFault] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            PlantedFault(
                NOTHING,
                "the tree as it is",
                (),
                "Every profile: what the battery notices here is a fault of its own.",
            ),
            *ORDER,
            *ERRORS,
            *NAMES,
            *READING,
            *RECOVERY,
        )
    }
)
"""Every planted fault by its name; read-only."""

_NOTICED = Path(__file__).with_name("noticed.json")
"""By name of the fault, the check that noticed it: asking that one first saves most of the time."""


def read_noticed() -> dict[str, str]:
    """Which check noticed which fault.  It only orders the checks, so either may be missing."""
    noticed: dict[str, str] = json.loads(_NOTICED.read_text(encoding="utf-8"))
    return noticed


def write_noticed(noticed: Mapping[str, str]) -> None:
    """Keep which check noticed which fault."""
    text = json.dumps(dict(sorted(noticed.items())), indent=1)
    _NOTICED.write_text(f"{text}\n", encoding="utf-8")
