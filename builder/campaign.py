"""What the executors that work elsewhere know of the run that they serve. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import AbstractSet, Mapping, Optional

from builder.config.remote_machines import FleetSettings, Reached


@dataclass(frozen=True)
class Campaign:
    """`id`: hex digits; machines keep what they began for it. `shared`: machines that need not be waited for long, since
    another one can take each of their jobs."""

    id: str
    environ: Mapping[str, str]
    shared: AbstractSet[Reached] = frozenset()
    fleet: Optional[FleetSettings] = None
