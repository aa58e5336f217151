"""The nouns of the resolution sweep: what `sweep:` in matrix.yaml says, a size of the grid, and what was found there.

The grid itself is `builder/sweep_grid.py`; judging what was found is `validation/sweep.py`. Sizes are (height, width) in
pixels, times milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple

from builder.measurements import OutputParity, Percentiles
from builder.records import described


@dataclass(frozen=True)
class Sweep:
    """Parity and latency over a grid of sizes, and what happens just outside of it."""

    select: str = field(metadata=described("Cells to sweep: ids, with * and {a,b}."))
    photograph: Optional[str] = field(
        default=None, metadata=described("One of the parity photographs; the first when left out.")
    )
    points: int = field(
        default=12, metadata=described("Sizes inside each profile: opt, corners, portrait, odd multiples, then drawn.")
    )
    seed: int = field(default=0, metadata=described("Of the sizes that are drawn."))
    seconds: float = field(default=0.5, metadata=described("Measuring time per size inside, after warm-up."))


@dataclass(frozen=True)
class SweepPoint:
    """`inside`: a size that the profile accepts. `why` it is in the grid."""

    size: Tuple[int, int]
    why: str
    inside: bool = True

    @property
    def named(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"


@dataclass(frozen=True)
class SweepRow:
    """What an artifact did at one size. `refused` and `model_refused`: in whose words it, or the model itself, gave no
    answer. `parity` has a row per output when both answered; sizes outside are not timed."""

    point: SweepPoint
    parity: Tuple[OutputParity, ...] = ()
    time: Optional[Percentiles] = None
    refused: str = ""
    model_refused: str = ""

    @property
    def ms_per_megapixel(self) -> Optional[float]:
        height, width = self.point.size
        return round(self.time.p50 * 1e6 / (height * width), 3) if self.time else None


@dataclass(frozen=True)
class Swept:
    """Every size of the grid, in its order. `machine` is what was timed, with so many threads (0: every core)."""

    rows: Tuple[SweepRow, ...]
    photograph: str
    seconds: float
    threads: int
    machine: str
    kind: Literal["sweep"] = "sweep"
