"""CUDA and GPUs: which toolkit knows which compute capability, and which driver it needs. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder.compat.tables import version


@dataclass(frozen=True)
class Toolkit:
    """One family of CUDA. Within a family any newer driver will do: minor version compatibility, from 11 on."""

    family: str
    last: str  # its newest release
    driver: str  # the oldest driver, Linux
    sm_from: str
    source: str


@dataclass(frozen=True)
class Gpu:
    """`cuda_from` is the first toolkit that knows it. `jetson`: its software comes with JetPack."""

    sm: str
    architecture: str
    example: str
    cuda_from: str
    source: str
    jetson: bool = False


_DRIVERS = "CUDA toolkit 13.1 release notes, table of drivers, and NVIDIA's guide to CUDA compatibility"
_DROPPED = "CUDA toolkit release notes, deprecated architectures"

TOOLKITS: Tuple[Toolkit, ...] = (
    Toolkit("10.0", "10.0", "410.48", "3.0", f"{_DRIVERS}; {_DROPPED}, 10.0"),
    Toolkit("10.2", "10.2", "440.33", "3.0", f"{_DRIVERS}; {_DROPPED}, 10.2"),
    Toolkit("11", "11.8", "450.80.02", "3.5", f"{_DRIVERS}; {_DROPPED}, 11.0"),
    Toolkit("12", "12.9", "525.60.13", "5.0", f"{_DRIVERS}; {_DROPPED}, 12.0"),
    Toolkit("13", "13.4", "580.65.06", "7.5", f"{_DRIVERS}; {_DROPPED}, 13.0"),
)

_GUIDE = "CUDA C++ Programming Guide, compute capabilities; CUDA toolkit {} release notes"

GPUS: Tuple[Gpu, ...] = (
    Gpu("3.5", "Kepler", "Tesla K40", "5.0", _GUIDE.format("5.0")),
    Gpu("3.7", "Kepler", "Tesla K80", "6.5", _GUIDE.format("6.5")),
    Gpu("5.0", "Maxwell", "GTX 750", "6.5", _GUIDE.format("6.5")),
    Gpu("5.2", "Maxwell", "GTX 970", "7.0", _GUIDE.format("7.0")),
    Gpu("5.3", "Maxwell", "Jetson Nano, TX1", "7.0", _GUIDE.format("7.0"), jetson=True),
    Gpu("6.0", "Pascal", "Tesla P100", "8.0", _GUIDE.format("8.0")),
    Gpu("6.1", "Pascal", "GTX 1060", "8.0", _GUIDE.format("8.0")),
    Gpu("6.2", "Pascal", "Jetson TX2", "8.0", _GUIDE.format("8.0"), jetson=True),
    Gpu("7.0", "Volta", "Tesla V100", "9.0", _GUIDE.format("9.0")),
    Gpu("7.2", "Volta", "Jetson Xavier", "10.0", _GUIDE.format("10.0"), jetson=True),
    Gpu("7.5", "Turing", "RTX 2080, T4", "10.0", _GUIDE.format("10.0")),
    Gpu("8.0", "Ampere", "A100", "11.0", _GUIDE.format("11.0")),
    Gpu("8.6", "Ampere", "RTX 3090, A10", "11.1", _GUIDE.format("11.1")),
    Gpu("8.7", "Ampere", "Jetson Orin", "11.4", _GUIDE.format("11.4"), jetson=True),
    Gpu("8.9", "Ada", "RTX 4090, L4", "11.8", _GUIDE.format("11.8")),
    Gpu("9.0", "Hopper", "H100", "11.8", _GUIDE.format("11.8")),
    Gpu("10.0", "Blackwell", "B200", "12.8", _GUIDE.format("12.8")),
    Gpu("10.3", "Blackwell", "B300", "12.9", _GUIDE.format("12.9")),
    Gpu("11.0", "Blackwell", "Jetson Thor", "13.0", _GUIDE.format("13.0"), jetson=True),
    Gpu("12.0", "Blackwell", "RTX 5090", "12.8", _GUIDE.format("12.8")),
    Gpu("12.1", "Blackwell", "GB10", "12.9", _GUIDE.format("12.9")),
)

# The last branch of drivers for GPUs before 7.5.
LAST_DRIVER, LAST_DRIVER_BELOW = "580", "7.5"
LAST_DRIVER_SOURCE = "NVIDIA's notice on the 580 driver branch: the last for Maxwell, Pascal and Volta"

# Jetson Xavier and Orin have DLA cores, though not each module of them (Orin Nano has none).
DLA = ("7.2", "8.7")
DLA_SOURCE = "NVIDIA TensorRT documentation, working with DLA; NVIDIA's table of Jetson modules"


def toolkit(cuda: str) -> Optional[Toolkit]:
    """The family that release `cuda` belongs to, if it is known."""
    asked = version(cuda)
    for row in TOOLKITS:
        family = version(row.family)
        if asked[: len(family)] == family:
            return row
    return None


def gpu(sm: str) -> Optional[Gpu]:
    return next((row for row in GPUS if row.sm == sm), None)


def drivers(cuda: str, sm: str) -> str:
    """The drivers for this CUDA on this GPU, in words: 525.60.13 or newer."""
    row = toolkit(cuda)
    if row is None:
        return ""
    ends = version(sm) < version(LAST_DRIVER_BELOW)
    return f"{row.driver} to {LAST_DRIVER}" if ends else f"{row.driver} or newer"
