"""The gates of matrix.yaml: how far an artifact may be from the model. Judging by them is `validation/verdict.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple

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
    """Limits for one metric of a task or of speed. What is lost is counted against the model itself on the same cases, or
    against the naive export timed in turns."""

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


# sweep: a tensor, at the worst size of a grid; arithmetic: what the runtime says its layers computed in
Level = Literal["tensor", "task", "speed", "sweep", "arithmetic"]
Bound = Literal["value", "degradation", "percent degradation"]
SPEED = ("p50_ms", "p90_ms", "p99_ms", "speedup")  # the metrics of a speed gate


@dataclass(frozen=True)
class Limit:
    """One number that a cell is held to. `subject` is an output, a task, or `latency`; `bound` says what `value` limits:
    the number itself, or what is lost of it; `select` is the gate's that set it."""

    level: Level
    subject: str
    metric: str
    bound: Bound
    value: float
    select: str
    report_only: bool = False
