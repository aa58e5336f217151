"""TensorRT-RTX, series by series: GPUs, CUDA and Python. Data only."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Optional, Tuple

from builder.compat.tables import Span, only, version


@dataclass(frozen=True)
class RtxSeries:
    versions: Span
    newest: str
    sm: Tuple[str, ...]
    cuda: Tuple[Span, ...]
    python: Span
    source: str


_MATRIX = "NVIDIA TensorRT-RTX {} support matrix and prerequisites"
_CUDA = (only("12.9"), Span("13.0", "13.4"))

RTX: Tuple[RtxSeries, ...] = (
    RtxSeries(
        Span("1.0", "1.4"), "1.4.0.76", ("7.5", "8.6", "8.9", "12.0"), _CUDA, Span("3.8", "3.13"), _MATRIX.format("1.4")
    ),
    RtxSeries(
        Span("1.5", "1.6"),
        "1.6.1.120",
        ("7.5", "8.6", "8.9", "12.0", "12.1"),
        _CUDA,
        Span("3.8", "3.13"),
        _MATRIX.format("1.5"),
    ),
    RtxSeries(
        only("1.7"),
        "1.7.1.116",
        ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
        _CUDA,
        Span("3.8", "3.13"),
        _MATRIX.format("1.5") + "; the members of trt.ComputeCapability in 1.7, looked at",
    ),
)

PACKAGED_CUDA = "13.0"  # what its packages on the package index bring
PLATFORMS: Tuple[Tuple[str, str], ...] = (("linux", "x86_64"), ("windows", "x86_64"))
PLATFORMS_SOURCE = _MATRIX.format("1.5")


@functools.lru_cache(maxsize=None)
def series(declared: str) -> Optional[RtxSeries]:
    if len(version(declared)) < 2:
        return None
    return next((row for row in RTX if row.versions.covers(declared)), None)
