"""What matrix.yaml measures with: photographs, calibration, tasks, timing. Records; nothing here reads a file.

Sizes are (height, width) in pixels, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple

from builder.contract import Agreement
from builder.records import Setting, described

Method = Literal["minmax", "percentile", "mse", "entropy"]


@dataclass(frozen=True)
class Photographs:
    files: Tuple[str, ...] = field(
        metadata=described("File names inside `folder`, in order; one with * stands for all that match, by name.")
    )
    folder: str = field(default=".", metadata=described("Beside matrix.yaml, or inside `package`."))
    package: Optional[str] = field(
        default=None, metadata=described("An installed Python package that ships the files.")
    )


@dataclass(frozen=True)
class ParitySet:
    photographs: Photographs
    sizes: Tuple[Tuple[int, int], ...] = field(
        metadata=described("(height, width) at which every photograph is compared.")
    )
    agreement: Tuple[Agreement, ...] = field(
        default=(),
        metadata=described(
            "By output, the axis of class scores: how often the largest is at the same index is measured too.",
            keyed=True,
        ),
    )


@dataclass(frozen=True)
class Calibration:
    photographs: Optional[Photographs] = field(
        default=None,
        metadata=described("The photographs whose activations set the ranges. Use others than for parity."),
    )
    source: Optional[str] = field(
        default=None,
        metadata=described(
            "Instead of photographs: module:attr, called without arguments; gives images, uint8 [H, W, 3] or [H, W]."
        ),
    )
    count: Optional[int] = field(
        default=None, metadata=described("Use only so many, drawn at random; all when left out.")
    )
    seed: int = field(default=0, metadata=described("Of that draw."))
    size: Tuple[int, int] = field(default=(240, 320), metadata=described("(height, width) of the calibration images."))
    method: Method = field(
        default="mse",
        metadata=described(
            "Range of an activation: extremes, a percentile, least squared error, or least information lost."
        ),
    )
    percentile: float = field(default=99.999, metadata=described("Used by method: percentile."))


@dataclass(frozen=True)
class TaskSet:
    """What the model is for, as cases with known answers. Metrics of it can be gated."""

    name: str
    metric: str = field(
        metadata=described(
            "module:attr beside matrix.yaml, or one of validation.keypoint_tasks; called as attr(**options)."
        )
    )
    data: Photographs = field(metadata=described("The files that the cases are made of."))
    size: Tuple[int, int] = field(metadata=described("(height, width) of the cases' images."))
    options: Tuple[Setting, ...] = field(
        default=(), metadata=described("Keyword arguments for the metric.", keyed=True)
    )
    heads: Tuple[str, ...] = field(default=(), metadata=described("Heads that are scored; all when left out."))


@dataclass(frozen=True)
class LatencySettings:
    seconds: float = field(default=3.0, metadata=described("Measuring time per artifact, after warm-up."))
    threads: int = field(default=0, metadata=described("Threads for CPU runtimes; 0 takes every core."))
