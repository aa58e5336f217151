"""The gates and drift limits of matrix.yaml: how far an artifact may be from the model, and from the last release.

`validation/verdict.py` judges by gates; `builder/audit/ledger.py` judges by the limits of the `drift:` section and of
`--fail-on`. A drift limit is a number in the metric's own unit, a share of the earlier value (`10%`), or `off`. The
later limit wins.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple, Union

from builder.errors import UsageError
from builder.records import described


@dataclass(frozen=True)
class OutputGate:
    """Limits for one output. Errors are at most, similarities at least."""

    output: str
    max_abs: Optional[float] = field(default=None, metadata=described("Largest absolute difference of any element."))
    mean_abs: Optional[float] = field(default=None, metadata=described("Mean absolute difference, worst photograph."))
    median_abs: Optional[float] = field(
        default=None, metadata=described("Median absolute difference, worst photograph.")
    )
    p99_abs: Optional[float] = field(
        default=None, metadata=described("99th percentile absolute difference, worst photograph.")
    )
    max_rel: Optional[float] = field(default=None, metadata=described("Largest relative difference of any element."))
    mean_rel: Optional[float] = field(default=None, metadata=described("Mean relative difference, worst photograph."))
    median_rel: Optional[float] = field(
        default=None, metadata=described("Median relative difference, worst photograph.")
    )
    p99_rel: Optional[float] = field(
        default=None, metadata=described("99th percentile relative difference, worst photograph.")
    )
    cosine: Optional[float] = field(default=None, metadata=described("Lowest cosine similarity of a whole tensor."))
    snr_db: Optional[float] = field(
        default=None, metadata=described("Lowest signal-to-noise ratio of a whole tensor, decibels.")
    )
    psnr_db: Optional[float] = field(
        default=None, metadata=described("Lowest peak signal-to-noise ratio of a whole tensor, decibels.")
    )
    agreement: Optional[float] = field(
        default=None,
        metadata=described(
            "Outputs named in `parity.agreement`: lowest fraction of places with the same largest index."
        ),
    )
    matched: Optional[float] = field(
        default=None, metadata=described("Heads with `align`: lowest fraction of points found again.")
    )


@dataclass(frozen=True)
class MetricGate:
    """Limits for one metric of a task or of speed.

    A loss counts against the model itself on the same cases, or against the naive export timed in turns.
    """

    metric: str
    threshold: Optional[float] = field(
        default=None, metadata=described("The artifact's own value must be at least this (at most, for an error).")
    )
    max_degradation: Optional[float] = field(
        default=None, metadata=described("It may be worse than the model itself by at most this.")
    )
    percent_max_degradation: Optional[float] = field(
        default=None, metadata=described("The same, in percent of the model's own value.")
    )


@dataclass(frozen=True)
class TaskGate:
    task: str
    metrics: Tuple[MetricGate, ...] = field(metadata=described("Limits by metric.", keyed=True))


@dataclass(frozen=True)
class Gate:
    select: str = field(metadata=described("Cell ids, with * and {a,b}; later gates win, limit by limit."))
    outputs: Tuple[OutputGate, ...] = field(
        default=(), metadata=described("Limits by output name; * is every output.", keyed=True)
    )
    tasks: Tuple[TaskGate, ...] = field(default=(), metadata=described("Limits by task, then by metric.", keyed=True))
    speed: Tuple[MetricGate, ...] = field(
        default=(),
        metadata=described(
            "Limits for p50_ms, p90_ms, p99_ms (what is lost: against the naive export), speedup.", keyed=True
        ),
    )
    report_only: bool = field(
        default=False, metadata=described("A miss is told and recorded, and does not fail the cell.")
    )


# sweep: a tensor, at the worst size of a grid; arithmetic: precisions that the layers computed in
Level = Literal["tensor", "task", "speed", "sweep", "arithmetic"]
Bound = Literal["value", "degradation", "percent degradation"]
SPEED = ("p50_ms", "p90_ms", "p99_ms", "speedup")  # the metrics of a speed gate


@dataclass(frozen=True)
class Limit:
    """One limit of a cell. `subject`: an output, a task, or `latency`; `select`: selector of its gate.

    `bound`: whether `value` limits the number itself or the loss.
    """

    level: Level
    subject: str
    metric: str
    bound: Bound
    value: float
    select: str
    report_only: bool = False


# ------------------------------------------------------------------------------------------- drift


LATENCY = "latency"  # the speed-up where a yardstick was timed beside the artifact, else the time itself


@dataclass(frozen=True)
class MetricLimit:
    """`metric` is a name with * and {a,b}, or the first part of one: `views` is every metric of that task."""

    metric: str
    limit: Union[float, str] = field(metadata=described("A number, '10%' of the earlier value, or 'off'."))


@dataclass(frozen=True)
class DriftLimits:
    select: str = field(metadata=described("Cell ids, with * and {a,b}; later limits win."))
    limits: Tuple[MetricLimit, ...] = field(
        metadata=described("How much worse each metric may be than in the last release.", keyed=True)
    )


@dataclass(frozen=True)
class DriftLimit:
    """At most `amount` worse, in the metric's unit or (`percent`) in percent of the earlier value."""

    amount: float
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.amount:g}{'%' if self.percent else ''}"

    def exceeded(self, worse: float, before: float) -> bool:
        """Whether a loss of `worse` from the value `before` exceeds the limit."""
        allowed = abs(before) * self.amount / 100 if self.percent else self.amount
        return worse > allowed + 1e-12  # 0.914 - 0.894 is not more than 0.02


def parse_drift_limit(value: Union[float, str], where: str) -> Optional[DriftLimit]:
    """Parse a limit; None for `off`. Raises UsageError with the valid forms."""
    if isinstance(value, str):
        word = value.strip()
        if word == "off":
            return None
        percent = word.endswith("%")
        try:
            amount = float(word[:-1] if percent else word)
        except ValueError:
            amount = math.nan
    else:
        amount, percent = float(value), False
    if not math.isfinite(amount) or amount < 0:
        raise UsageError(f"{value!r} is no limit", where=where, hint="a limit is a number (0.02), a share (10%) or off")
    return DriftLimit(amount, percent)


def names_metric(pattern: str, metric: str, *, timed_in_turns: bool) -> bool:
    """Whether `pattern` selects the metric. `timed_in_turns`: the cell has a speed-up, so `latency` selects that."""
    if pattern == LATENCY:
        return metric == ("latency.speedup" if timed_in_turns else "latency.p50_ms")
    return metric == pattern or metric.partition(".")[0] == pattern or fnmatch.fnmatchcase(metric, pattern)
