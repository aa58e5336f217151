"""NVIDIA GPUs: which source is asked when, and what keeps programs from using what is there.

libcuda, then NVML, then nvidia-smi, then the device tree of a Jetson. Nothing but a few names of files is looked at
on a machine where there is no trace of a driver. docs/decisions/0009-host-facts.md has the reasons.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Iterator, Optional

from builder.detect import libcuda
from builder.detect.gpu import Gpu, Seen, hidden, visible
from builder.detect.probe import Probe

_TRACES = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/proc/driver/nvidia/version",
    "/dev/dxg",
    "/dev/nvhost-ctrl",
    "/dev/nvmap",
)
_KERNEL_MODULE = r"NVRM version:.*?\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s"
_VENDOR, _DISPLAY = "10de", "0x03"


def has_driver(probe: Probe) -> bool:
    """Is there any trace of a driver? A handful of names, so that a machine without a GPU costs nothing."""
    return any(probe.exists(path) for path in _TRACES)


def find(probe: Probe, chip: Optional[str]) -> Seen:
    """`chip` is the compute capability by the chip of a Jetson, empty when it is hidden; None on any other machine."""
    cuda = libcuda.load(probe)
    if not has_driver(probe) and chip is None:
        seen = libcuda.ask(cuda) if cuda is not None else Seen()
        return seen if seen.gpus else Seen(problem=_without_driver(probe))
    if cuda is None:
        seen = _without_libcuda(probe, chip)
    else:
        seen = libcuda.ask(cuda)
        if not seen.gpus:
            seen = _refused(probe, seen, chip)
    return seen if seen.driver else dataclasses.replace(seen, driver=_driver(probe))


def _refused(probe: Probe, seen: Seen, chip: Optional[str]) -> Seen:
    """libcuda lists nothing: because it was told to, or because something is broken; then say what is there."""
    if hidden(probe.environ) is not None and "NO_DEVICE" in seen.problem:
        return dataclasses.replace(seen, problem=_hiding(probe))
    there = _hardware(probe, chip)
    newest = seen.cuda or there.cuda
    return dataclasses.replace(there, cuda=newest, problem="; ".join(filter(None, (seen.problem, there.problem))))


def _without_libcuda(probe: Probe, chip: Optional[str]) -> Seen:
    there = _hardware(probe, chip)
    if not there.gpus:
        why = there.problem or (_hiding(probe) if hidden(probe.environ) is not None else "and no GPU is listed")
        return dataclasses.replace(there, problem=f"a driver is there, but libcuda.so.1 is not found; {why}")
    flags = "--runtime nvidia" if chip is not None else "--gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    how = f"libcuda.so.1 is not found, so no program can use it; a container needs {flags}"
    return dataclasses.replace(there, problem=how)


def _hardware(probe: Probe, chip: Optional[str]) -> Seen:
    """What is there, usable or not: by NVML, by nvidia-smi, or by the chip of a Jetson."""
    from builder.detect import nvidia_smi, nvml  # here and below: few machines get this far

    module = nvml.load(probe)
    seen = nvml.ask(module) if module is not None else Seen()
    if not seen.gpus:
        other = nvidia_smi.ask(probe)
        seen = other if other.gpus or not seen.problem else seen
    if not seen.gpus and chip:
        seen = Seen((Gpu(f"Jetson GPU of compute capability {chip}", chip),), "device tree")
    return dataclasses.replace(seen, gpus=visible(seen.gpus, probe.environ)) if seen.gpus else seen


def _hiding(probe: Probe) -> str:
    return f"CUDA_VISIBLE_DEVICES is {hidden(probe.environ)!r}, which hides every GPU"


def _driver(probe: Probe) -> str:
    """The kernel module's version; where it has no such file (WSL), what NVML says."""
    match = re.search(_KERNEL_MODULE, probe.text("/proc/driver/nvidia/version"))
    if match:
        return match.group(1)
    from builder.detect import nvml

    module = nvml.load(probe)
    return nvml.ask(module).driver if module is not None else ""


def _without_driver(probe: Probe) -> str:
    """Something to say where a GPU sits on the PCI bus and no driver of NVIDIA's runs it."""
    for device, driver in _on_the_bus(probe):
        runs = f"run by {driver}" if driver else "without a driver"
        return f"an NVIDIA GPU (PCI {device}) is there {runs}: install NVIDIA's driver and start again"
    return ""


def _on_the_bus(probe: Probe) -> Iterator["tuple[str, str]"]:
    """(device, its driver) of each display controller of NVIDIA's. One file lists all devices but not their class."""
    for line in probe.text("/proc/bus/pci/devices").splitlines():
        fields = line.split("\t")
        if len(fields) < 2 or not fields[1].startswith(_VENDOR) or len(fields[0]) != 4:
            continue
        slot = int(fields[0][2:], 16)
        place = f"0000:{fields[0][:2]}:{slot >> 3:02x}.{slot & 7}"
        if probe.text(f"/sys/bus/pci/devices/{place}/class").startswith(_DISPLAY):
            yield fields[1], fields[-1].strip() if len(fields) > 17 else ""
