"""Choosing artifacts for a machine: which it can run, ranked, and why each of the others was rejected. Pure.

An entry is considered when it passed, the machine can run it, and it is what the person asked for. Of these comes first:

1. what passed, before what was never measured (asked for with `unverified`);
2. what runs on the GPU, unless an artifact for the GPU was timed on this class of machine, so that its time and the CPU's compare;
3. what was proven with this host's version of the runtime;
4. what was timed on this class of machine, then on the closest one (`builder/host/choose.py`);
5. the fastest; without a time, by a prior;
6. by name, so that the order never depends on the manifest's.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from typing import Dict, List, Literal, Mapping, Optional, Sequence, Tuple

from builder.actions.measurements import Latency
from builder.config.contract import PACKAGE, Profile
from builder.host import demands
from builder.platforms.gpu_models import is_called
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_run, same_series
from builder.store.manifest import Entry, Manifest

# How close a machine is to the one that an artifact was made for and timed on: a name for each tier. Pure.
#
# gpu-model           the GPU model that it was made for
# compute-capability  another GPU of the same compute capability
# gpu-family          a GPU of another compute capability; the engine was built to load there
# cpu-model           the processor that it was timed on, with as many cores
# cpu-cores           that processor with another number of cores
# cpu-features        another processor of the same vendor and with the same instruction sets
# cpu                 any other processor of the architecture


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


def other_version(entry: Entry, machine: Machine) -> Optional[str]:
    """The host's version of the runtime, when it is not of the series that the entry was proven with."""
    assert entry.platform is not None
    installed = machine.version(PACKAGE[entry.platform.runtime])
    return None if installed is None or same_series(installed, entry.platform.version) else installed


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


# Without any measurement, what usually is faster comes first: GPU engines, then fewer bits.
_PRIOR = {"tensorrt": 0.0, "tensorrt-rtx": 0.0, "onnxruntime-gpu": 0.5, "openvino": 1.0, "onnxruntime": 2.0}
_BITS = {"int8": 0.1, "bf16": 0.2, "fp16": 0.3, "fp32": 0.4}
_STATUSES = ("passed", "unverified", "failed", "waiting", "skipped")
_HERE, _NEVER = -1, 9  # distances beside those of the tiers: timed by `build bench` on this class; never timed


@dataclass(frozen=True)
class Asked:
    """What the person asks for. `no_fallback`: nothing but what was made and proven for the best device that is here."""

    unverified: bool = False
    no_fallback: bool = False
    require_gpu: bool = False
    accuracy: Tuple[demands.Demand, ...] = ()


@dataclass(frozen=True)
class Timed:
    """What `build bench` found of an artifact on this class of machine: its time, or why it did not run."""

    artifact: str
    latency: Optional[Latency]
    problem: str = ""


@dataclass(frozen=True)
class Standing:
    """An entry that may be used, and what its place in the ranking comes from. `here`: its time is of this class of
    machine; `benched`: taken by `build bench`. `milliseconds` is what it is compared by, None without any time."""

    entry: Entry
    tier: Tier
    latency: Optional[Latency]
    here: bool
    benched: bool
    milliseconds: Optional[float]


@dataclass(frozen=True)
class Rejected:
    cell: str
    reason: str


@dataclass(frozen=True)
class Fallback:
    """The host has a GPU (or one was asked for) and the first choice, if there is any, does not use it. `cell` is the
    artifact that most nearly would, `reason` why it is not first."""

    cell: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """`standings` best first. `rejected` in the manifest's order."""

    standings: Tuple[Standing, ...]
    rejected: Tuple[Rejected, ...]
    fallback: Optional[Fallback] = None

    @property
    def ranked(self) -> Tuple[Entry, ...]:
        return tuple(standing.entry for standing in self.standings)


def choose(
    manifest: Manifest,
    machine: Machine,
    head: str,
    asked: Asked = Asked(),
    measured: Sequence[Timed] = (),
    failed: Optional[Mapping[str, str]] = None,
) -> Choice:
    """Entries of `head` that `machine` can run and that are what was asked for, best first. `measured` are times of this
    class of machine; `failed` says, by cell, why it did not pass its self-test here."""
    known = {timed.artifact: timed for timed in measured}
    entries = [entry for entry in manifest.entries if entry.head == head]
    reasons: Dict[str, str] = {}
    for entry in entries:
        reason = _not_offered(entry, asked) or _unusable(entry, machine) or _unasked(entry, machine, asked)
        reason = reason or _did_not_run(entry, known) or (failed or {}).get(entry.cell)
        if reason is not None:
            reasons[entry.cell] = reason
    ranked = _ranked([entry for entry in entries if entry.cell not in reasons], machine, known)
    rejected = tuple(Rejected(entry.cell, reasons[entry.cell]) for entry in entries if entry.cell in reasons)
    wanted = has_gpu(machine) or asked.require_gpu
    return Choice(ranked, rejected, _fallback(ranked, entries, reasons, machine) if wanted else None)


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


# ---------------------------------------------------------------------------------------------- why not


def _not_offered(entry: Entry, asked: Asked) -> Optional[str]:
    status = entry.verdict.status
    if status == "passed" or (status == "unverified" and asked.unverified and entry.artifact is not None):
        return None
    return f"{status}: {entry.verdict.reason}"


def _unusable(entry: Entry, machine: Machine) -> Optional[str]:
    if entry.platform is None or entry.artifact is None:
        return "it has no artifact"
    return cannot_run(entry.platform, machine, entry.artifact)


def _unasked(entry: Entry, machine: Machine, asked: Asked) -> Optional[str]:
    """Why an entry that runs here is not what the person asked for."""
    if device_of(entry) == "cpu" and asked.require_gpu:
        return "it runs on the CPU, and --require-gpu was asked for"
    if asked.no_fallback:
        if device_of(entry) == "cpu" and has_gpu(machine):
            return "it runs on the CPU, this host has a GPU, and --no-fallback was asked for"
        unlike, tier = other_version(entry, machine), tier_of(entry, machine)
        if unlike is not None and entry.platform is not None:
            proven = f"{entry.platform.runtime} {entry.platform.version}"
            return f"it was proven with {proven}, this host has {unlike}, and --no-fallback was asked for"
        if device_of(entry) == "gpu" and tier.distance > 0:
            return f"it was made for {tier.words}, and --no-fallback was asked for"
    return demands.unmet(asked.accuracy, entry)


def _did_not_run(entry: Entry, known: Mapping[str, Timed]) -> Optional[str]:
    timed = known.get(entry.artifact.digest) if entry.artifact is not None else None
    return (
        f"`build bench` on this class of machine could not run it: {timed.problem}" if timed and timed.problem else None
    )


def _fallback(
    ranked: Sequence[Standing], entries: Sequence[Entry], reasons: Mapping[str, str], machine: Machine
) -> Optional[Fallback]:
    for_gpu = [entry for entry in entries if device_of(entry) == "gpu"]
    if not for_gpu or (ranked and device_of(ranked[0].entry) == "gpu"):
        return None
    best = min(for_gpu, key=lambda entry: _meant(entry, machine))
    slower = "timed on this class of machine, it is slower"
    behind = slower if best.verdict.status == "passed" else "it was never checked on a GPU, and what passed comes first"
    return Fallback(best.cell, reasons.get(best.cell, behind))


def _meant(entry: Entry, machine: Machine) -> Tuple[bool, bool, bool, int, float, str]:
    platform = entry.platform
    assert platform is not None
    elsewhere = (platform.os, platform.arch) != (machine.os, machine.arch)
    other = all(gpu.sm != platform.sm for gpu in machine.gpus)
    cannot = _unusable(entry, machine) is not None
    return elsewhere, other and cannot, cannot, _STATUSES.index(entry.verdict.status), _prior(entry), entry.cell


# ---------------------------------------------------------------------------------------------- the ranking


def _ranked(entries: Sequence[Entry], machine: Machine, known: Mapping[str, Timed]) -> Tuple[Standing, ...]:
    usual = _usual_yardsticks(entries)
    standings = [_standing(entry, machine, known, usual) for entry in entries]
    compared = any(one.here and device_of(one.entry) == "gpu" for one in standings)

    def rank(one: Standing) -> Tuple[int, int, int, int, float, str]:
        entry = one.entry
        unproven = 0 if entry.verdict.status == "passed" else 1
        device = 0 if compared or device_of(entry) == "gpu" else 1
        version = 1 if other_version(entry, machine) else 0
        if one.milliseconds is None:
            return unproven, device, version, _NEVER, _prior(entry), entry.cell
        distance = _HERE if one.benched else 0 if one.here else 1 + one.tier.distance
        return unproven, device, version, distance, one.milliseconds, entry.cell

    return tuple(sorted(standings, key=rank))


def _standing(entry: Entry, machine: Machine, known: Mapping[str, Timed], usual: Mapping[str, float]) -> Standing:
    tier = tier_of(entry, machine)
    timed = known.get(entry.artifact.digest) if entry.artifact is not None else None
    if timed is not None and timed.latency is not None:
        return Standing(entry, benched(tier), timed.latency, True, True, timed.latency.artifact.p50)
    latency = entry.latency
    if latency is None:
        return Standing(entry, tier, None, False, False, None)
    here, speedup = same_class(latency.machine, entry, machine), latency.speedup
    milliseconds = usual[latency.machine] / speedup if speedup else latency.artifact.p50
    return Standing(entry, tier, latency, here, False, milliseconds)


def _usual_yardsticks(entries: Sequence[Entry]) -> Dict[str, float]:
    """By machine, the usual time of the naive export there, ms. Each artifact was timed in turns with it: its share of that
    time, and not its own milliseconds, is what a noisy minute leaves alone."""
    found: Dict[str, List[float]] = {}
    for latency in (entry.latency for entry in entries):
        if latency is not None and latency.naive is not None:
            found.setdefault(latency.machine, []).append(latency.naive.p50)
    return {machine: statistics.median(times) for machine, times in found.items()}


def _prior(entry: Entry) -> float:
    assert entry.platform is not None
    return _PRIOR[entry.platform.runtime] + _BITS[entry.precision]


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
