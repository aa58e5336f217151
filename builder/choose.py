"""Choosing artifacts for a machine: which it can run, ranked, and why each of the others was rejected. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from builder.compat.precision import CPU_BF16
from builder.compat.tables import version as numbers_of
from builder.facts import Machine
from builder.manifest import Artifact, Entry, Manifest
from builder.matrix import Profile
from builder.places import PACKAGE, no_cuda

# Without any measurement, what usually is faster comes first: GPU engines, then fewer bits.
_PRIOR = {"tensorrt": 0.0, "tensorrt-rtx": 0.0, "onnxruntime-gpu": 0.5, "openvino": 1.0, "onnxruntime": 2.0}
_BITS = {"int8": 0.1, "bf16": 0.2, "fp16": 0.3, "fp32": 0.4}
# Runtimes whose artifact any version reads (plain ONNX). Others are only proven for the version that was measured.
_ANY_VERSION = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Rejected:
    cell: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """`ranked` best first. `rejected` in the manifest's order."""

    ranked: Tuple[Entry, ...]
    rejected: Tuple[Rejected, ...]


def choose(manifest: Manifest, machine: Machine, head: str, *, unverified: bool = False) -> Choice:
    """Entries of `head` that `machine` can run: those that passed, and with `unverified` those never measured."""
    ranked: List[Entry] = []
    rejected: List[Rejected] = []
    for entry in manifest.entries:
        if entry.head != head:
            continue
        reason = _not_offered(entry, unverified) or cannot_run(entry, machine)
        if reason is None:
            ranked.append(entry)
        else:
            rejected.append(Rejected(entry.cell, reason))
    return Choice(tuple(sorted(ranked, key=lambda e: _rank(e, machine))), tuple(rejected))


def covering(ranked: Sequence[Entry]) -> Tuple[Entry, ...]:
    """The best entry, and after it each one that accepts sizes which none before it accepts: the fallback chain."""
    chain: List[Entry] = []
    for entry in ranked:
        if not chain or not any(_within(entry, kept) for kept in chain):
            chain.append(entry)
    return tuple(chain)


def accepts(entry: Entry, name: str, shape: Tuple[int, ...]) -> bool:
    """Is `shape` of input `name` inside one of the entry's profiles?"""
    return any(
        all(low <= size <= high for low, size, high in zip(r.min, shape, r.max))
        for profile in entry.profiles
        for r in profile.inputs
        if r.name == name
    )


def _not_offered(entry: Entry, unverified: bool) -> Optional[str]:
    status = entry.verdict.status
    if status == "passed" or (status == "unverified" and unverified and entry.artifact is not None):
        return None
    if status == "unverified":
        return f"unverified: {entry.verdict.reason}"
    return f"{status}: {entry.verdict.reason}"


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
    return no_cuda(platform.runtime, machine) if platform.sm is not None else None


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


def _rank(entry: Entry, machine: Machine) -> Tuple[int, int, int, float]:
    """Passed before unverified; proven with this host's version of the runtime before others; measured on this kind of
    machine before others; then by time relative to the naive export (both were timed side by side, so a noisy day
    cancels out), else by the prior."""
    unproven = 0 if entry.verdict.status == "passed" else 1
    version = 1 if other_version(entry, machine) else 0
    latency, platform = entry.latency, entry.platform
    assert platform is not None
    if latency is None:
        return unproven, version, 2, _PRIOR[platform.runtime] + _BITS[entry.precision]
    speedup = latency.speedup
    cost = 1 / speedup if speedup else latency.artifact.p50
    return unproven, version, 0 if latency.machine == machine.kind else 1, cost


def _within(entry: Entry, other: Entry) -> bool:
    """Does `other` accept every shape that `entry` accepts, profile by profile?"""
    return all(any(_holds(wide, profile) for wide in other.profiles) for profile in entry.profiles)


def _holds(wide: Profile, narrow: Profile) -> bool:
    """Is every shape of `narrow` also one of `wide`?"""
    ranges = {r.name: r for r in wide.inputs}
    return all(
        r.name in ranges
        and all(low >= least for low, least in zip(r.min, ranges[r.name].min))
        and all(high <= most for high, most in zip(r.max, ranges[r.name].max))
        for r in narrow.inputs
    )
