"""JetPack: the software of a Jetson, all of one piece. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from builder.compat.tables import Span, only


@dataclass(frozen=True)
class JetPack:
    versions: Span
    newest: str
    l4t: str
    tensorrt: str
    cuda: str
    cudnn: str
    python: str
    sm: Tuple[str, ...]
    source: str


_NANO_TO_XAVIER, _XAVIER, _ORIN, _THOR = ("5.3", "6.2", "7.2"), ("7.2",), ("8.7",), ("11.0",)


def _source(number: str) -> str:
    return f"NVIDIA JetPack {number} release notes"


JETPACKS: Tuple[JetPack, ...] = (
    JetPack(
        Span("4.4", "4.5"), "4.5.1", "32.4 to 32.5", "7.1.3", "10.2", "8.0", "3.6", _NANO_TO_XAVIER, _source("4.5.1")
    ),
    JetPack(Span("4.6", "4.6.0"), "4.6", "32.6.1", "8.0.1", "10.2", "8.2.1", "3.6", _NANO_TO_XAVIER, _source("4.6")),
    JetPack(
        Span("4.6.1", "4.6"), "4.6.6", "32.7.1 to 32.7.6", "8.2.1", "10.2", "8.2.1", "3.6", _NANO_TO_XAVIER,
        _source("4.6.6"),
    ),
    JetPack(
        only("5.0"), "5.0.2", "34.1 to 35.1", "8.4", "11.4", "8.3.3", "3.8", (*_XAVIER, *_ORIN), _source("5.0.2")
    ),
    JetPack(
        only("5.1"), "5.1.7", "35.2.1 to 35.6.5", "8.5.2", "11.4", "8.6", "3.8", (*_XAVIER, *_ORIN), _source("5.1.6")
    ),
    JetPack(only("6.0"), "6.0", "36.3", "8.6.2", "12.2", "8.9.4", "3.10", _ORIN, _source("6.0")),
    JetPack(Span("6.1", "6.2"), "6.2.3", "36.4 to 36.5.2", "10.3", "12.6", "9.3", "3.10", _ORIN, _source("6.2")),
    JetPack(Span("7.0", "7.1"), "7.1", "38.2 to 38.4", "10.13", "13.0", "9.12", "3.12", _THOR, _source("7.1")),
    # The patch numbers are those of NVIDIA's package repository for L4T 39.2: nvidia-jetpack 7.2.1-b49 and what it needs.
    JetPack(
        only("7.2"), "7.2.1", "39.2 to 39.2.1", "10.16.2", "13.2", "9.20", "3.12", (*_ORIN, *_THOR),
        "OE4T/meta-tegra#2224 and the packages of NVIDIA's r39.2 repository; NVIDIA's release notes were not at hand",
    ),
)  # fmt: skip


def named(declared: str) -> Tuple[JetPack, ...]:
    """The rows that a declared version may mean: 4.6 says too little to tell 4.6.0 from 4.6.1."""
    return tuple(row for row in JETPACKS if row.versions.covers(declared))
