"""Whether a machine can run an artifact, and the fact that keeps it from it. Pure. How good a match it is: `builder/choosing/tiers.py`."""

from __future__ import annotations

from typing import Optional

from builder.compat.precision import CPU_BF16
from builder.compat.tables import version as numbers_of
from builder.config.contract import PACKAGE
from builder.platforms.machines import Machine
from builder.store.manifest import Artifact, Entry

# Runtimes whose artifact any version reads (plain ONNX). Others are only proven for the version that was measured.
_ANY_VERSION = ("onnxruntime", "onnxruntime-gpu")


def cannot_run(entry: Entry, machine: Machine) -> Optional[str]:
    """The first fact of `machine` that keeps it from running the entry; None when it can."""
    platform = entry.platform
    if platform is None or entry.artifact is None:
        return "it has no artifact"
    if (platform.os, platform.arch) != (machine.os, machine.arch):
        return f"it is for {platform.os} on {platform.arch}, this host is {machine.os} on {machine.arch}"
    if platform.sm is not None and not any(_loads_on(entry.artifact, platform.sm, gpu.sm) for gpu in machine.gpus):
        has = ", ".join(gpu.described for gpu in machine.gpus) or "no NVIDIA GPU"
        why = f" that it can use: {machine.gpu_problem}" if machine.gpu_problem and not machine.gpus else ""
        return f"it needs compute capability {platform.sm}, this host has {has}{why}"
    if entry.artifact.compute == "bf16" and not set(CPU_BF16) & set(machine.features):
        return f"it computes in bf16, which {machine.cpu} lacks"
    installed = machine.version(PACKAGE[platform.runtime])
    if installed is None:
        return f"{PACKAGE[platform.runtime]} is not installed on this host"
    newer = entry.artifact.portability.endswith("+version") and _at_least(installed, platform.version)
    if platform.runtime not in _ANY_VERSION and not newer and not _same_series(installed, platform.version):
        return f"it was proven with {platform.runtime} {platform.version}, this host has {installed}"
    return _no_cuda(platform.runtime, machine) if platform.sm is not None else None


def _no_cuda(runtime: str, machine: Machine) -> Optional[str]:
    from builder.platforms.platform import no_cuda  # here, so that only a host with a GPU pays for the tables

    return no_cuda(runtime, machine)


def _loads_on(artifact: Artifact, built_for: str, sm: str) -> bool:
    """Does an engine built for one compute capability load on a GPU of another? An `ampere-plus` one does from 8.0 on."""
    if artifact.portability.startswith("ampere-plus"):
        return bool(sm) and numbers_of(sm) >= (8, 0)  # empty where the driver does not say
    return sm == built_for


def _at_least(installed: str, proven: str) -> bool:
    numbers = [int(part) for part in installed.split(".") if part.isdigit()]
    return proven != "any" and tuple(numbers) >= numbers_of(proven)


def _same_series(installed: str, proven: str) -> bool:
    """The first two numbers agree, as far as `proven` says any: 2026.4.1 and 2026.4.0 are one series."""
    if proven == "any":
        return True
    wanted = proven.split(".")[:2]
    return installed.split(".")[: len(wanted)] == wanted


def other_version(entry: Entry, machine: Machine) -> Optional[str]:
    """The host's version of the runtime, when it is not of the series that the entry was proven with."""
    assert entry.platform is not None
    installed = machine.version(PACKAGE[entry.platform.runtime])
    if installed is None or _same_series(installed, entry.platform.version):
        return None
    return installed
