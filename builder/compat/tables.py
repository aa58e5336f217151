"""Compatibility facts, each row with where it is documented. Data only; `rules.py` draws the conclusions.

Versions compare as tuples of numbers. A row applies from `first` to `last`, both included, as far as written:
last (10, 4) includes 10.4.0.26.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

Version = Tuple[int, ...]


def version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True)
class TensorRT:
    first: Version
    last: Version
    sm_from: str
    cuda: str
    python: str
    source: str

    def covers(self, asked: Version) -> bool:
        return self.first <= asked[: len(self.first)] and asked[: len(self.last)] <= self.last


_NOTES = "NVIDIA TensorRT support matrix and release notes"

TENSORRT: Tuple[TensorRT, ...] = (
    TensorRT((8, 4), (8, 5), "3.5", "10.2, 11.0 to 11.8", "3.6 to 3.10", f"{_NOTES}, 8.5"),
    TensorRT((8, 6), (8, 6), "5.0", "11.0 to 11.8, 12.0 to 12.1", "3.6 to 3.11", f"{_NOTES}, 8.6"),
    TensorRT((10, 0), (10, 4), "7.0", "11.8, 12.4 to 12.6", "3.8 to 3.12", f"{_NOTES}, 10.4"),
    TensorRT((10, 5), (10, 7), "7.5", "11.8, 12.6", "3.8 to 3.12", f"{_NOTES}, 10.7"),
    TensorRT((10, 8), (10, 13, 0), "7.5", "11.8, 12.8 to 12.9", "3.8 to 3.13", f"{_NOTES}, 10.13"),
    TensorRT((10, 13, 2), (10, 16), "7.5", "12.9, 13.0 to 13.2", "3.8 to 3.13", f"{_NOTES}, 10.16"),
    TensorRT((11, 0), (11, 4), "7.5", "12.9, 13.2 to 13.4", "3.10 to 3.14", f"{_NOTES}, 11.4"),
)

JETPACK_TENSORRT: Dict[str, Tuple[str, str, str]] = {
    # JetPack: TensorRT, CUDA, Python -- JetPack release notes
    "5.0": ("8.4", "11.4", "3.8"),
    "5.1": ("8.5.2", "11.4", "3.8"),
    "6.0": ("8.6.2", "12.2", "3.10"),
    "6.1": ("10.3", "12.6", "3.10"),
    "6.2": ("10.3", "12.6", "3.10"),
    "7.0": ("10.13", "13.0", "3.12"),
    "7.1": ("10.13", "13.0", "3.12"),
}

RTX_SM: Tuple[str, ...] = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
RTX_SOURCE = "TensorRT-RTX 1.7, trt.ComputeCapability and its support matrix"

# Lowest compute capability with the arithmetic in hardware -- CUDA C++ Programming Guide, arithmetic throughput.
SM_LOWEST: Dict[str, str] = {"fp16": "5.3", "int8": "6.1", "bf16": "8.0"}
SM_EXCEPT: Tuple[Tuple[str, str], ...] = (("int8", "6.2"),)  # newer than the lowest, and yet without
SM_SLOW_FP16: Tuple[str, ...] = ("6.1",)
SM_SOURCE = "CUDA C++ Programming Guide, arithmetic instruction throughput"
SLOW_FP16_SOURCE = "NVIDIA/TensorRT#3184 (GTX 10xx: 1/64 of the fp32 rate)"

TOPK_LARGEST = 3840
TOPK_SOURCE = "NVIDIA/TensorRT#4390; TensorRT-RTX 1.7 says so of ITopKLayer when it builds an engine"

# CPU features that make bf16 arithmetic native -- oneDNN developer guide, data types.
CPU_BF16: Tuple[str, ...] = ("avx512_bf16", "amx_bf16", "bf16")
CPU_BF16_SOURCE = "oneDNN developer guide, data types"


def tensorrt_row(asked: str) -> Optional[TensorRT]:
    return next((row for row in TENSORRT if row.covers(version(asked))), None)
