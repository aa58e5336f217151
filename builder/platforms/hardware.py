"""The processor and the memory, from /proc and the limits of a control group."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Tuple

from builder.platforms.packages import Debian
from builder.platforms.probe import Probe

# Only what a rule or a choice reads; the rest of /proc/cpuinfo is noise in a key.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
)

# Arm processors say numbers: (implementer, part). Names from Arm's and NVIDIA's manuals; Linux has the same list.
_ARM: Dict[Tuple[str, str], str] = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}
_APPLE = "0x61"
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1


def name(probe: Probe) -> str:
    text = probe.text("/proc/cpuinfo")
    return _arm(text) or _first(text, ("model name", "Model")) or platform.processor() or platform.machine()


def features(probe: Probe) -> Tuple[str, ...]:
    flags = set(_first(probe.text("/proc/cpuinfo"), ("flags", "Features")).split())
    return tuple(f for f in FEATURES if f in flags)


def clock(probe: Probe) -> Optional[int]:
    """MHz of the first core now: what the kernel's governor says, else /proc/cpuinfo; None where neither tells."""
    governed = probe.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").strip()
    if governed.isdigit():
        return int(governed) // 1000
    said = _first(probe.text("/proc/cpuinfo"), ("cpu MHz",))
    try:
        return round(float(said))
    except ValueError:
        return None


def cores() -> int:
    """Those this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def memory_mib(probe: Probe) -> int:
    """The machine's memory, or what its control group may use when that is less."""
    found = [kib >> 10 for kib in _whole(_first(probe.text("/proc/meminfo"), ("MemTotal",)))]
    for path in _LIMITS:
        found += [octets >> 20 for octets in _whole(probe.text(path))]  # or "max"
    return min(found, default=0)


def _whole(text: str) -> List[int]:
    """The whole number that `text` begins with, if it does."""
    word = text.split()[0] if text.split() else ""
    return [int(word)] if word.isascii() and word.isdecimal() and len(word) < 24 else []


def _first(text: str, keys: Iterable[str]) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _arm(text: str) -> str:
    """Its kinds of cores, in the order of the cores; nothing when one of them is not known here."""
    names: List[str] = []
    implementer = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            found = "Apple silicon" if implementer == _APPLE else _ARM.get((implementer, value), "")
            if not found:
                return ""
            if found not in names:
                names.append(found)
    return " + ".join(names)


# Where the system runs: on a board, in a container, or in the Windows Subsystem for Linux.


# In a control group's path, written by the engine that made it.
_GROUPS = (("kubepods", "kubernetes"), ("libpod", "podman"), ("docker", "docker"), ("containerd", "containerd"))


def board(probe: Probe) -> str:
    """What the device tree calls the machine: `NVIDIA Jetson AGX Orin Developer Kit`, `Raspberry Pi 5 Model B Rev 1.0`."""
    return probe.text("/proc/device-tree/model").strip("\0\n ")


def is_jetson(probe: Probe) -> bool:
    """Containers hide the device tree; the release file is mounted into NVIDIA's."""
    return "nvidia,tegra" in probe.text("/proc/device-tree/compatible") or probe.exists("/etc/nv_tegra_release")


def wsl(probe: Probe) -> bool:
    return "microsoft" in probe.text("/proc/version").lower()


def container(probe: Probe) -> str:
    """docker, podman, kubernetes, lxc, apptainer, ...; nothing outside of one. What says so is left by the engine,
    so an image that was turned into a machine of its own may still say `docker`."""
    if "KUBERNETES_SERVICE_HOST" in probe.environ:
        return "kubernetes"
    if "APPTAINER_CONTAINER" in probe.environ or "SINGULARITY_CONTAINER" in probe.environ:
        return "apptainer"
    if probe.exists("/run/.containerenv"):
        return "podman"
    if probe.exists("/.dockerenv"):
        return "docker"
    said = probe.text("/run/systemd/container").strip() or probe.environ.get("container", "")  # systemd-nspawn, lxc
    if said:
        return said
    groups = probe.text("/proc/1/cgroup")
    return next((engine for mark, engine in _GROUPS if mark in groups), "lxc" if "/lxc" in groups else "")


# A Jetson: its chip, its L4T release and its JetPack.


@dataclass(frozen=True)
class Jetson:
    sm: str
    l4t: str
    jetpack: str


def find(probe: Probe, debian: Debian) -> Jetson:
    from builder.platforms import tables  # here: most machines are no Jetson

    words = _compatible(probe)
    sm = next((chip.sm for chip in tables.jetson().chips if chip.compatible in words), "")
    l4t = _l4t(probe) or debian.version("nvidia-l4t-core")
    return Jetson(sm, l4t, debian.version("nvidia-jetpack") or tables.jetpack_of(l4t) or "")


def _compatible(probe: Probe) -> Tuple[str, ...]:
    return tuple(probe.text("/proc/device-tree/compatible").split("\0"))


def _l4t(probe: Probe) -> str:
    """`# R36 (release), REVISION: 4.3, GCID: ...` -> 36.4.3."""
    match = re.search(r"R([0-9]+) .*?REVISION: *([0-9.]+)", probe.text("/etc/nv_tegra_release"))
    return f"{match.group(1)}.{match.group(2)}" if match else ""
