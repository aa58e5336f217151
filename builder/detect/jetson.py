"""A Jetson: its chip, its L4T release and its JetPack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from builder.detect.packages import Debian
from builder.detect.probe import Probe

# Compute capability of the GPU on each chip -- NVIDIA, CUDA GPU compute capability.
_CHIPS: Dict[str, str] = {
    "nvidia,tegra264": "11.0",  # Thor
    "nvidia,tegra234": "8.7",  # Orin
    "nvidia,tegra194": "7.2",  # Xavier
    "nvidia,tegra186": "6.2",  # TX2
    "nvidia,tegra210": "5.3",  # TX1, Nano
}

# L4T (Jetson Linux) -> JetPack, each row up to the next of the same major version, and the last of a major version for
# its patches only: what comes after it is not known here -- NVIDIA JetPack archive and Jetson Linux archive.
_JETPACKS: Tuple[Tuple[Tuple[int, ...], str], ...] = (
    ((32, 6, 1), "4.6"),
    ((32, 7, 1), "4.6.1"),
    ((32, 7, 2), "4.6.2"),
    ((32, 7, 3), "4.6.3"),
    ((32, 7, 4), "4.6.4"),
    ((32, 7, 5), "4.6.5"),
    ((32, 7, 6), "4.6.6"),
    ((34, 1), "5.0"),
    ((34, 1, 1), "5.0.1"),
    ((35, 1), "5.0.2"),
    ((35, 2, 1), "5.1"),
    ((35, 3, 1), "5.1.1"),
    ((35, 4, 1), "5.1.2"),
    ((35, 5, 0), "5.1.3"),
    ((35, 6, 0), "5.1.4"),
    ((35, 6, 1), "5.1.5"),
    ((35, 6, 4), "5.1.6"),
    ((35, 6, 5), "5.1.7"),
    ((36, 2), "6.0"),
    ((36, 4), "6.1"),
    ((36, 4, 3), "6.2"),
    ((36, 4, 4), "6.2.1"),
    ((36, 5), "6.2.2"),
    ((36, 5, 2), "6.2.3"),
    ((38, 2), "7.0"),
    ((38, 4), "7.1"),
    ((39, 2), "7.2"),
    ((39, 2, 1), "7.2.1"),
)


@dataclass(frozen=True)
class Jetson:
    sm: str
    l4t: str
    jetpack: str


def find(probe: Probe, debian: Debian) -> Jetson:
    sm = next((_CHIPS[word] for word in _compatible(probe) if word in _CHIPS), "")
    l4t = _l4t(probe) or debian.version("nvidia-l4t-core")
    return Jetson(sm, l4t, debian.version("nvidia-jetpack") or jetpack_of(l4t) or "")


def jetpack_of(l4t: str) -> Optional[str]:
    """36.4.4 -> 6.2.1. None for a release that is in no table here."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", l4t):
        return None
    release = tuple(int(part) for part in l4t.split("."))
    rows = [(first, jetpack) for first, jetpack in _JETPACKS if first[0] == release[0]]
    known = [jetpack for first, jetpack in rows if first <= release]
    newer = rows and release[:2] > rows[-1][0][:2]
    return known[-1] if known and not newer else None


def _compatible(probe: Probe) -> Tuple[str, ...]:
    return tuple(probe.text("/proc/device-tree/compatible").split("\0"))


def _l4t(probe: Probe) -> str:
    """`# R36 (release), REVISION: 4.3, GCID: ...` -> 36.4.3."""
    match = re.search(r"R([0-9]+) .*?REVISION: *([0-9.]+)", probe.text("/etc/nv_tegra_release"))
    return f"{match.group(1)}.{match.group(2)}" if match else ""
