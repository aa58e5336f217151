"""onnxruntime-gpu and cuDNN: the CUDA that each needs, and the GPUs whose code is inside.

The rows are about the wheels for Linux on the package index; the Windows wheels hold code for other GPUs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Optional, Tuple

from builder.compat.tables import Span, only, version


@dataclass(frozen=True)
class OrtSeries:
    """`cudnn` is the first number. `code` is what its kernels are compiled for on x86-64; `ptx` the oldest that the driver
    can compile for any newer GPU, empty where there is none; `arm` the code of the wheel for Arm servers."""

    versions: Span
    newest: str
    cuda: Span
    cudnn: str
    code: Tuple[str, ...]
    ptx: str
    python: Span
    arm: Tuple[str, ...]
    source: str

    @property
    def arches(self) -> Tuple[str, ...]:
        return ("x86_64", "aarch64") if self.arm else ("x86_64",)

    def code_on(self, arch: str) -> Tuple[str, ...]:
        return self.arm if arch == "aarch64" else self.code

    def runs_on(self, sm: str, arch: str = "x86_64") -> bool:
        """Code for 8.0 runs on 8.6 too, but not on 9.0; what PTX there is, the driver compiles for anything newer."""
        wanted = version(sm)
        if self.ptx and arch == "x86_64" and wanted >= version(self.ptx):
            return True
        return any(version(code)[0] == wanted[0] and version(code) <= wanted for code in self.code_on(arch))


@dataclass(frozen=True)
class CudnnSeries:
    versions: Span
    newest: str
    sm_from: str
    source: str


_SOURCE = "onnxruntime.ai, CUDA execution provider, requirements; the code inside the wheel of {}, looked at"
_CUDA11, _CUDA12, _CUDA13 = Span("11.6", "11.8"), Span("12.0", "12.9"), Span("13.0", "13.4")
_FROM_MAXWELL = ("5.2", "6.0", "6.1", "7.0", "7.5", "8.0")
_FROM_PASCAL = ("6.0", "7.0", "7.5", "8.0", "8.6", "9.0")
_FROM_TURING = ("7.5", "8.0", "8.6", "8.9", "9.0")
_ARM = ("8.9", "9.0", "12.0", "12.1")


def _row(
    versions: Span, newest: str, cuda: Span, code: Tuple[str, ...], ptx: str, python: Span, arm: Tuple[str, ...] = ()
) -> OrtSeries:
    cudnn = "8" if cuda is _CUDA11 else "9"
    return OrtSeries(versions, newest, cuda, cudnn, code, ptx, python, arm, _SOURCE.format(newest))


ORT: Tuple[OrtSeries, ...] = (
    _row(Span("1.15", "1.16"), "1.16.3", _CUDA11, _FROM_MAXWELL, "5.2", Span("3.8", "3.11")),
    _row(Span("1.17", "1.18"), "1.18.1", _CUDA11, _FROM_MAXWELL, "5.2", Span("3.8", "3.12")),
    _row(only("1.19"), "1.19.2", _CUDA12, _FROM_MAXWELL, "5.2", Span("3.8", "3.12")),
    _row(only("1.20"), "1.20.2", _CUDA12, _FROM_MAXWELL, "5.2", Span("3.10", "3.13")),
    _row(Span("1.21", "1.23"), "1.23.2", _CUDA12, _FROM_PASCAL, "9.0", Span("3.10", "3.13")),
    _row(Span("1.24", "1.26"), "1.26.0", _CUDA12, _FROM_PASCAL, "9.0", Span("3.11", "3.14")),
    _row(Span("1.27", "1.28"), "1.28.0", _CUDA13, (*_FROM_TURING, "10.0", "12.0"), "12.0", Span("3.11", "3.14")),
    _row(Span("1.29", "1.31"), "1.31.1", _CUDA13, (*_FROM_TURING, "12.0"), "", Span("3.11", "3.14"), _ARM),
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
