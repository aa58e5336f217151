"""onnxruntime-gpu and cuDNN: the CUDA that each needs, and the GPUs whose code is inside. Data only.

The rows are about the wheels for Linux on the package index; the Windows wheels hold code for other GPUs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Optional, Tuple

from builder.compat.tables import Span, only, version


@dataclass(frozen=True)
class OrtSeries:
    """`cudnn` is the first number. `sm_from`: the lowest compute capability that its code runs on; newer ones run the
    code of their generation, or are compiled for where `ptx` is inside. `arches`: wheels there are."""

    versions: Span
    newest: str
    cuda: Span
    cudnn: str
    sm_from: str
    ptx: bool
    python: Span
    arches: Tuple[str, ...]
    source: str


@dataclass(frozen=True)
class CudnnSeries:
    versions: Span
    newest: str
    sm_from: str
    source: str


_PAGE = "onnxruntime.ai, CUDA execution provider, requirements"
_INDEX = "the wheels on the package index"
_LOOKED = f"{_PAGE}; the code inside {_INDEX}, looked at"
_UNSEEN = f"{_PAGE}; compute capability as in 1.18, whose wheel was looked at"
_X86, _BOTH = ("x86_64",), ("x86_64", "aarch64")
_CUDA12 = Span("12.0", "12.9")

ORT: Tuple[OrtSeries, ...] = (
    OrtSeries(
        Span("1.15", "1.16"), "1.16.3", Span("11.6", "11.8"), "8", "5.2", True, Span("3.8", "3.11"), _X86, _UNSEEN
    ),
    OrtSeries(only("1.17"), "1.17.1", Span("11.6", "11.8"), "8", "5.2", True, Span("3.8", "3.12"), _X86, _UNSEEN),
    OrtSeries(only("1.18"), "1.18.1", Span("11.6", "11.8"), "8", "5.2", True, Span("3.8", "3.12"), _X86, _LOOKED),
    OrtSeries(only("1.19"), "1.19.2", _CUDA12, "9", "5.2", True, Span("3.8", "3.12"), _X86, _LOOKED),
    OrtSeries(only("1.20"), "1.20.2", _CUDA12, "9", "5.2", True, Span("3.10", "3.13"), _X86, _LOOKED),
    OrtSeries(Span("1.21", "1.23"), "1.23.2", _CUDA12, "9", "6.0", True, Span("3.10", "3.13"), _X86, _LOOKED),
    OrtSeries(Span("1.24", "1.26"), "1.26.0", _CUDA12, "9", "6.0", True, Span("3.11", "3.14"), _X86, _LOOKED),
    OrtSeries(
        Span("1.27", "1.28"), "1.28.0", Span("13.0", "13.4"), "9", "7.5", True, Span("3.11", "3.14"), _X86, _LOOKED
    ),
    OrtSeries(
        Span("1.29", "1.30"), "1.30.0", Span("13.0", "13.4"), "9", "7.5", True, Span("3.11", "3.14"), _BOTH, _LOOKED
    ),
    OrtSeries(only("1.31"), "1.31.1", Span("13.0", "13.4"), "9", "7.5", False, Span("3.11", "3.14"), _BOTH, _LOOKED),
)

CUDNN: Tuple[CudnnSeries, ...] = (
    CudnnSeries(Span("8.2", "8.9"), "8.9.7.29", "5.0", "NVIDIA cuDNN 8.9.6 support matrix"),
    CudnnSeries(
        Span("9.0", "9.10"), "9.10.2.21", "5.0", "NVIDIA cuDNN 9.5 support matrix; the kernels of 9.10.2, looked at"
    ),
    CudnnSeries(Span("9.11"), "", "7.5", "NVIDIA cuDNN release notes, 9.11; its kernels, looked at"),
)

FIRST_WITH_EXTRAS = "1.21"  # pip install 'onnxruntime-gpu[cuda,cudnn]'
INT8_SOURCE = "microsoft/onnxruntime#12229, #24807: the CUDA provider has no QLinearConv"


@functools.lru_cache(maxsize=None)
def series(declared: str) -> Optional[OrtSeries]:
    if len(version(declared)) < 2:
        return None
    return next((row for row in ORT if row.versions.covers(declared)), None)


def cudnn(declared: str) -> Optional[CudnnSeries]:
    return next((row for row in CUDNN if row.versions.covers(declared)), None)


def cudnn_for(row: OrtSeries, sm: str) -> Optional[CudnnSeries]:
    """The newest cuDNN that `row` takes and that has kernels for `sm`."""
    fitting = [c for c in CUDNN if c.versions.first.split(".")[0] == row.cudnn and version(sm) >= version(c.sm_from)]
    return fitting[-1] if fitting else None
