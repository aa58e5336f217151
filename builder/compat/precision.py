"""Precisions: which compute capability has the arithmetic, at what rate, and what was measured on CPUs. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from builder.compat.tables import version


@dataclass(frozen=True)
class Arithmetic:
    """`sm_from` is the lowest compute capability that has it; `without` are newer ones that lack it all the same."""

    precision: str
    sm_from: str
    source: str
    without: Tuple[str, ...] = ()

    def on(self, sm: str) -> bool:
        return version(sm) >= version(self.sm_from) and sm not in self.without


@dataclass(frozen=True)
class Rate:
    """Results per clock beside those of fp32, on one multiprocessor. A rate below 1 is arithmetic that one has to ask for."""

    precision: str
    sm: Tuple[str, ...]
    times: float
    words: str
    source: str


@dataclass(frozen=True)
class CpuSpeed:
    """How many times as fast as the naive export."""

    runtime: str
    precision: str
    times: float


_GUIDE = "CUDA C++ Programming Guide, throughput of native arithmetic instructions"
TENSOR = "NVIDIA TensorRT support matrix, hardware and precision"

ARITHMETIC: Tuple[Arithmetic, ...] = (
    Arithmetic("fp32", "3.0", _GUIDE),
    Arithmetic("fp16", "5.3", _GUIDE),
    Arithmetic("int8", "6.1", _GUIDE + " (dp4a)", without=("6.2",)),
    Arithmetic("bf16", "8.0", _GUIDE),
    Arithmetic("tf32", "8.0", TENSOR),
    Arithmetic("fp8", "8.9", TENSOR),
    Arithmetic("fp4", "10.0", TENSOR),
)

RATES: Tuple[Rate, ...] = (
    Rate("fp16", ("6.1",), 1 / 64, "1/64 of its fp32 rate", _GUIDE + " (2 of 128); NVIDIA/TensorRT#3184 (GTX 10xx)"),
    Rate("fp16", ("5.3", "6.0", "6.2"), 2, "up to twice its fp32 rate", _GUIDE),
    Rate("int8", ("6.1",), 4, "up to four times its fp32 rate (dp4a)", _GUIDE),
)
TENSOR_CORES_FROM = {"fp16": "7.0", "int8": "7.2", "bf16": "8.0"}

# Rules that say "slow", not "impossible", and what each means. A person may ask for such a cell, with a reason.
WAIVABLE: Dict[str, str] = {
    "fp16-rate": "fp16 where the GPU runs it far below its fp32 rate",
    "rtx-int8": "int8 under TensorRT-RTX, whose convolutions run in fp32 all the same",
    "cuda-int8": "int8 under onnxruntime-gpu, which has no int8 convolution",
}

# CPU features that make bf16 arithmetic native -- oneDNN developer guide, data types.
CPU_BF16: Tuple[str, ...] = ("avx512_bf16", "amx_bf16", "bf16")
CPU_BF16_SOURCE = "oneDNN developer guide, data types"

CPU_SPEEDS: Tuple[CpuSpeed, ...] = (
    CpuSpeed("openvino", "fp32", 1.05),
    CpuSpeed("openvino", "bf16", 2.06),
    CpuSpeed("openvino", "fp16", 1.05),
    CpuSpeed("openvino", "int8", 3.73),
    CpuSpeed("onnxruntime", "fp32", 1.0),
    CpuSpeed("onnxruntime", "fp16", 1.01),
    CpuSpeed("onnxruntime", "int8", 2.88),
)
CPU_SPEEDS_ON = "SuperPoint on two AVX-512 VNNI cores (docs/results/cpu.md)"


def arithmetic(precision: str) -> Optional[Arithmetic]:
    return next((row for row in ARITHMETIC if row.precision == precision), None)


def rate(precision: str, sm: str) -> Optional[Rate]:
    return next((row for row in RATES if row.precision == precision and sm in row.sm), None)
