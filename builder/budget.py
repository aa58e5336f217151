"""How much may be spent on looking for the layers of a cell that must stay in float32: `search:` in its settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from builder.records import described


@dataclass(frozen=True)
class Search:
    """When the cell misses its gates, find the fewest layers which, kept in float32, make it meet them."""

    trials: int = field(default=12, metadata=described("At most so many artifacts are built and judged; 0: no search."))
    minutes: float = field(
        default=60.0,
        metadata=described(
            "No trial begins when the work so far took longer than this. Work that is recalled counts as it took then."
        ),
    )
