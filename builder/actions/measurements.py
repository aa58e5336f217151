"""What was measured of an artifact: parity with the reference, task metrics, latency. Numbers only, no judgement.

Differences are candidate minus reference, in the tensor's own unit; `snr_db` is in decibels; times are in
milliseconds. Judging them against gates is `validation/verdict.py`, so a changed gate measures nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple

from builder.records import KEYED

# Statistics of tensors of which more is better; of all others, less.
AT_LEAST = frozenset({"cosine", "snr_db", "psnr_db", "agreement", "matched"})


@dataclass(frozen=True)
class OutputParity:
    """One output on one sample. A number is None when the tensors hold NaN or Inf, or their shapes differ."""

    output: str
    sample: str
    problem: Optional[str]
    max_abs: Optional[float] = None
    mean_abs: Optional[float] = None
    p99_abs: Optional[float] = None
    max_rel: Optional[float] = None
    p99_rel: Optional[float] = None
    cosine: Optional[float] = None
    snr_db: Optional[float] = None
    matched: Optional[float] = None
    median_abs: Optional[float] = None
    mean_rel: Optional[float] = None
    median_rel: Optional[float] = None
    psnr_db: Optional[float] = None
    agreement: Optional[float] = None


@dataclass(frozen=True)
class Arithmetic:
    """So many layers that multiply and add were run in this precision, as the runtime itself says."""

    precision: str
    layers: int


@dataclass(frozen=True)
class Parity:
    """Every output on every sample. `arithmetic` is empty where the runtime does not tell."""

    outputs: Tuple[OutputParity, ...]
    arithmetic: Tuple[Arithmetic, ...] = field(default=(), metadata=KEYED)
    kind: Literal["parity"] = "parity"


@dataclass(frozen=True)
class LayerError:
    """What lowering does to one layer. `nodes` are the graph's nodes that it is made of, the first gives it its name.

    `alone_db`: signal-to-noise ratio of the worst output, `output`, when only this layer is lowered. `through_db` and
    `max_abs`: of the layer's own result when all layers are. Each is against the float32 graph on the same samples;
    None when the numbers are not finite. `problem`: why it cannot be lowered at all. `work`: multiply-accumulates of its
    convolutions on the first sample, for which layer costs more to keep.
    """

    nodes: Tuple[str, ...]
    operator: str
    alone_db: Optional[float] = None
    output: str = ""
    through_db: Optional[float] = None
    max_abs: Optional[float] = None
    problem: str = ""
    work: int = 0

    @property
    def name(self) -> str:
        return self.nodes[0]


@dataclass(frozen=True)
class LayerErrors:
    """Every layer that a lowering lowers, the one that hurts most first."""

    layers: Tuple[LayerError, ...]
    kind: Literal["layers"] = "layers"


@dataclass(frozen=True)
class Score:
    """One metric of a task over all its cases; None where it has no value. More is better unless said otherwise."""

    metric: str
    value: Optional[float]
    lower_is_better: bool = False


@dataclass(frozen=True)
class CaseScore:
    """One number of one case. Its name is a metric's, or of something that only the total makes use of."""

    case: str
    metric: str
    value: Optional[float]


@dataclass(frozen=True)
class TaskScores:
    """A task's metrics, and the numbers of each case that they were made of."""

    scores: Tuple[Score, ...]
    cases: Tuple[CaseScore, ...]
    kind: Literal["task"] = "task"


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds per run."""

    p50: float
    p90: float
    p99: float
    runs: int


@dataclass(frozen=True)
class Latency:
    """The artifact and the naive export (fp32, default onnxruntime session), timed in turns in one process.

    `noise` is how far the median moves by chance, as a fraction of it (see `validation/timing.py`); `mhz` the processor's
    clock just after, where the machine tells it.
    """

    artifact: Percentiles
    naive: Optional[Percentiles]
    shape: Tuple[int, ...]
    threads: int
    machine: str
    method: str
    noise: Optional[float] = None
    mhz: Optional[int] = None
    kind: Literal["latency"] = "latency"

    @property
    def speedup(self) -> Optional[float]:
        """How many times as fast as the naive export, from medians taken side by side."""
        return self.naive.p50 / self.artifact.p50 if self.naive and self.artifact.p50 else None


Place = Tuple[int, int]


@dataclass(frozen=True)
class MapDifference:
    """An output that is a map, on one sample: its largest absolute difference over channels, and where on the picture
    (x, y) that is. `classes` is how many channels the pictures of the winning channel have, 0 where there are none;
    `agreement` is the share of places where the same channel wins."""

    output: str
    largest: float
    at: Place
    classes: int = 0
    agreement: Optional[float] = None


@dataclass(frozen=True)
class WorstCase:
    """The model and an artifact on one sample, to be looked at. Places are (x, y) in pixels of the pictures, which are
    `size` (width, height). `both` are keypoints that the two found within 3 pixels of each other, where the model has
    them and where the artifact has them; `lost` only the model found, `new` only the artifact."""

    size: Place
    keypoints: bool = False
    both: Tuple[Tuple[int, int, int, int], ...] = ()
    lost: Tuple[Place, ...] = ()
    new: Tuple[Place, ...] = ()
    map: Optional[MapDifference] = None
    kind: Literal["worst-case"] = "worst-case"


@dataclass(frozen=True)
class Cost:
    """An artifact with layers kept in float32 beside the one with everything lowered, timed in turns in one process."""

    kept: Percentiles
    lowered: Percentiles
    shape: Tuple[int, ...]
    threads: int
    machine: str
    method: str
    noise: Optional[float] = None
    kind: Literal["cost"] = "cost"

    @property
    def ms(self) -> float:
        """What keeping costs, milliseconds per run, from medians taken side by side."""
        return self.kept.p50 - self.lowered.p50

    @property
    def ratio(self) -> float:
        """How many times as long it takes."""
        return self.kept.p50 / self.lowered.p50


# The nouns of the resolution sweep: what `sweep:` in matrix.yaml says, a size of the grid, and what was found there.
#
# The grid itself is `builder/planning/sweep_grid.py`; judging what was found is `validation/verdict.py`. Sizes are (height, width) in
# pixels, times milliseconds.


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
