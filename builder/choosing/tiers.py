"""How close a machine is to the one that an artifact was made for and timed on: a name for each tier. Pure.

gpu-model           the GPU model that it was made for
compute-capability  another GPU of the same compute capability
gpu-family          a GPU of another compute capability; the engine was built to load there
cpu-model           the processor that it was timed on, with as many cores
cpu-cores           that processor with another number of cores
cpu-features        another processor of the same vendor and with the same instruction sets
cpu                 any other processor of the architecture
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from builder.platforms.gpu_models import is_called
from builder.platforms.machines import Machine
from builder.store.manifest import Entry

Name = Literal["gpu-model", "compute-capability", "gpu-family", "cpu-model", "cpu-cores", "cpu-features", "cpu"]
Device = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Tier:
    """`distance` is 0 where a time that was measured there holds here, and grows from there; it ranks, it measures nothing.
    `words` end the sentence "it was made for"."""

    name: Name
    distance: int
    words: str


# Names of processors begin with the vendor, but for Arm's cores (Cortex-A76, Neoverse-V1), which have one vendor.
_VENDOR = re.compile(r"(?:[0-9]+th gen )?(amd|intel|apple|cortex|neoverse|ampere|arm)", re.IGNORECASE)


def device_of(entry: Entry) -> Device:
    """What it computes on. An entry without an artifact counts by its platform, and without one as for the CPU."""
    return "gpu" if entry.platform is not None and entry.platform.sm is not None else "cpu"


def has_gpu(machine: Machine) -> bool:
    """Has it a GPU of NVIDIA's, usable or not?"""
    return bool(machine.gpus) or bool(machine.gpu_problem)


def tier_of(entry: Entry, machine: Machine) -> Tier:
    """The tier of an entry that `machine` can run."""
    return _of_gpu(entry, machine) if device_of(entry) == "gpu" else _of_cpu(entry, machine)


def benched(tier: Tier) -> Tier:
    """The tier of what `build bench` timed on this class of machine: for the CPU, where else it was timed says no more."""
    here = "any processor, and timed on this class of machine by build bench"
    return Tier("cpu-model", 0, here) if tier.name.startswith("cpu") else tier


def same_class(timed_on: str, entry: Entry, machine: Machine) -> bool:
    """Does a time of this entry from the machine called `timed_on` hold on this one?"""
    if device_of(entry) == "cpu":
        return timed_on == machine.kind
    named = _model_of(entry) if timed_on == entry.machine else timed_on
    return timed_on == machine.kind or any(is_called(named, gpu, machine) for gpu in machine.gpus)


def _of_gpu(entry: Entry, machine: Machine) -> Tier:
    assert entry.platform is not None
    sm = entry.platform.sm or ""
    alike = [gpu for gpu in machine.gpus if gpu.sm == sm]
    named = entry.machine if entry.machine else f"compute capability {sm}"
    if any(is_called(_model_of(entry), gpu, machine) for gpu in alike):
        return Tier("gpu-model", 0, f"this GPU model, {named}")
    if alike:
        return Tier("compute-capability", 1, f"{named}, another GPU of the same compute capability, {sm}")
    return Tier("gpu-family", 2, f"{named}, of another compute capability, {sm}, in a form that loads on this GPU too")


def _model_of(entry: Entry) -> str:
    """The GPU model that it was made for: what the target declares, or else what people call its machine."""
    return (entry.platform.gpu if entry.platform is not None else None) or entry.machine


def _of_cpu(entry: Entry, machine: Machine) -> Tier:
    timed_on = entry.latency.machine if entry.latency is not None else ""
    features = entry.platform.features if entry.platform is not None else ()
    if timed_on == machine.kind:
        return Tier("cpu-model", 0, "any processor, and timed on this kind, with as many cores")
    if timed_on and _processor(timed_on) == machine.cpu:
        return Tier("cpu-cores", 1, "any processor, and timed on this one, with another number of cores")
    if timed_on and features == machine.features and _vendor(timed_on) == _vendor(machine.cpu):
        return Tier("cpu-features", 2, f"any processor, and timed on a similar one ({timed_on})")
    return Tier("cpu", 3, f"any processor, and timed on another one ({timed_on})" if timed_on else "any processor")


def _processor(kind: str) -> str:
    """`AMD EPYC` of `AMD EPYC x2`."""
    return re.sub(r" x[0-9]+$", "", kind)


def _vendor(cpu: str) -> str:
    found = _VENDOR.match(cpu)
    return found.group(1).lower() if found else _processor(cpu)
