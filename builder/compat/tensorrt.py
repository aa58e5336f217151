"""TensorRT, series by series: GPUs, CUDA, Python and ONNX opset. Data only.

`sm` are GPUs; the software of a Jetson comes with its JetPack (`jetpack.py`). `cuda` are the releases that
NVIDIA lists for x86-64; `sbsa` is the CUDA of the packages for Arm servers, empty where there are none.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Optional, Tuple

from builder.compat.tables import Span, only, version


@dataclass(frozen=True)
class Series:
    """`newest` is the release to install. `opset` is the newest ONNX opset that its parser reads, as far as its own
    documentation was found; else that of the series before."""

    versions: Span
    newest: str
    sm: Tuple[str, ...]
    cuda: Tuple[Span, ...]
    sbsa: str
    python: Span
    opset: int
    source: str

    def has_cuda(self, asked: str) -> bool:
        """Listed, or newer within a listed family: minor version compatibility."""
        number = version(asked)
        return any(
            span.covers(asked) or (number > version(span.first) and number[0] == version(span.last)[0] >= 11)
            for span in self.cuda
        )


_KEPLER, _MAXWELL, _PASCAL, _VOLTA = ("3.5", "3.7"), ("5.0", "5.2"), ("6.0", "6.1"), ("7.0",)
_TURING_TO_HOPPER = ("7.5", "8.0", "8.6", "8.9", "9.0")
_OLD = (*_KEPLER, *_MAXWELL, *_PASCAL, *_VOLTA)
_TO_AMPERE = (*_OLD, "7.5", "8.0", "8.6")
_BLACKWELL = (*_TURING_TO_HOPPER, "10.0", "12.0")
_AND_THOR = (*_TURING_TO_HOPPER, "10.0", "11.0", "12.0")

_MATRIX = "NVIDIA TensorRT {} support matrix and release notes"
# The wheels of 8.6 and of 10.0 on, by Python version, as they are on the package index.
PYTHON_SOURCE = "NVIDIA TensorRT installation guide; the wheels on the package index"

SERIES: Tuple[Series, ...] = (
    Series(only("7.0"), "7.0.0", _OLD + ("7.5",), (only("10.0"), only("10.2")), "", Span("3.6.5"), 11, _MATRIX.format("7.0")),
    Series(
        only("7.1"), "7.1.3", (*_OLD, "7.5", "8.0"), (only("10.2"), only("11.0")), "", Span("3.6.5"), 11, _MATRIX.format("7.1")
    ),
    Series(only("7.2"), "7.2.3", _TO_AMPERE, (only("10.2"), Span("11.0", "11.1")), "", Span("3.6.5"), 13, _MATRIX.format("7.2")),
    Series(
        only("8.0"), "8.0.3", _TO_AMPERE, (only("10.2"), Span("11.0", "11.3")), "", Span("3.6.9"), 13, _MATRIX.format("8.0")
    ),
    Series(
        only("8.2"), "8.2.5", _TO_AMPERE, (only("10.2"), Span("11.0", "11.5")), "", Span("3.6.9"), 13, _MATRIX.format("8.2")
    ),
    Series(
        only("8.4"), "8.4.3", _TO_AMPERE, (only("10.2"), Span("11.0", "11.7")), "", Span("3.6.9", "3.10"), 13,
        _MATRIX.format("8.4"),
    ),
    Series(
        only("8.5"), "8.5.3", (*_OLD, *_TURING_TO_HOPPER), (only("10.2"), Span("11.0", "11.8")), "11.8",
        Span("3.6.9", "3.10"), 17, _MATRIX.format("8.5"),
    ),
    Series(
        only("8.6"), "8.6.1", (*_MAXWELL, *_PASCAL, *_VOLTA, *_TURING_TO_HOPPER),
        (Span("11.0", "11.8"), Span("12.0", "12.1")), "12.0", Span("3.6", "3.11"), 17, _MATRIX.format("8.6"),
    ),
    Series(
        Span("10.0", "10.1"), "10.1.0", (*_VOLTA, *_TURING_TO_HOPPER), (only("11.8"), Span("12.0", "12.4")), "12.4",
        Span("3.8", "3.12"), 20, _MATRIX.format("10.1"),
    ),
    Series(
        Span("10.2", "10.3"), "10.3.0", (*_VOLTA, *_TURING_TO_HOPPER), (only("11.8"), Span("12.0", "12.5")), "12.5",
        Span("3.8", "3.12"), 20, _MATRIX.format("10.3"),
    ),
    Series(
        only("10.4"), "10.4.0", (*_VOLTA, *_TURING_TO_HOPPER), (only("11.8"), Span("12.0", "12.6")), "12.6",
        Span("3.8", "3.12"), 20, _MATRIX.format("10.4"),
    ),
    Series(
        Span("10.5", "10.7"), "10.7.0", _TURING_TO_HOPPER, (only("11.8"), Span("12.0", "12.6")), "12.6",
        Span("3.8", "3.12"), 20, _MATRIX.format("10.7"),
    ),
    Series(
        only("10.8"), "10.8.0.43", _BLACKWELL, (only("11.8"), Span("12.0", "12.8")), "12.8", Span("3.8", "3.12"), 20,
        _MATRIX.format("10.8"),
    ),
    Series(
        only("10.9"), "10.9.0.34", _BLACKWELL, (only("11.8"), Span("12.0", "12.8")), "12.8", Span("3.8", "3.13"), 20,
        _MATRIX.format("10.9"),
    ),
    Series(
        Span("10.10", "10.13.0"), "10.13.0.35", _BLACKWELL, (only("11.8"), Span("12.0", "12.9")), "12.9",
        Span("3.8", "3.13"), 20, _MATRIX.format("10.13"),
    ),
    Series(
        Span("10.13.2", "10.14"), "10.14.1.48", _AND_THOR, (Span("12.0", "12.9"), only("13.0")), "13.0",
        Span("3.8", "3.13"), 20, _MATRIX.format("10.14"),
    ),
    Series(
        only("10.15"), "10.15.1.29", _AND_THOR, (Span("12.0", "12.9"), Span("13.0", "13.1")), "13.1",
        Span("3.8", "3.13"), 24, _MATRIX.format("10.15"),
    ),
    Series(
        only("10.16"), "10.16.1.11", _AND_THOR, (Span("12.0", "12.9"), Span("13.0", "13.2")), "13.2",
        Span("3.8", "3.13"), 24, _MATRIX.format("10.16"),
    ),
    Series(
        only("11.0"), "11.0.0.114", _BLACKWELL, (only("12.9"), Span("13.2", "13.4")), "13.2", Span("3.10", "3.13"), 24,
        _MATRIX.format("11.0"),
    ),
    Series(
        Span("11.1", "11.4"), "11.4.0.106", _BLACKWELL, (only("12.9"), Span("13.2", "13.4")), "13.4",
        Span("3.10", "3.14"), 24, _MATRIX.format("11.4"),
    ),
)  # fmt: skip

TOPK_LARGEST = 3840
TOPK_SOURCE = "NVIDIA/TensorRT#4390; TensorRT-RTX 1.7 says so of ITopKLayer when it builds an engine"
MOST_DIMENSIONS, MOST_ELEMENTS = 8, (1 << 31) - 1
DIMENSIONS_SOURCE = "TensorRT API, Dims.MAX_DIMS"
ELEMENTS_SOURCE = "NVIDIA/TensorRT#3815"
OPSET_SOURCE = "onnx-tensorrt, docs/operators.md; NVIDIA/TensorRT#3467"


@functools.lru_cache(maxsize=None)
def series(declared: str) -> Optional[Series]:
    """The row of a declared version, which has to say at least two numbers: 10.16."""
    if len(version(declared)) < 2:
        return None
    return next((row for row in SERIES if row.versions.covers(declared)), None)
