"""A choice in words and as JSON: what is first and why, what was rejected and why, and what is said of a fallback."""

from __future__ import annotations

from typing import Dict, List, Optional

from builder.digest import Json
from builder.host.choose import Choice, Fallback, Standing, device_of, other_version
from builder.platforms.machines import Machine
from builder.store.manifest import Manifest


def explained(choice: Choice, manifest: Manifest, head: str) -> str:
    lines: List[str] = [f"Head {head} of {manifest.model.name} v{manifest.version}, on this machine:"]
    for number, standing in enumerate(choice.standings, 1):
        lines.append(f"  {number}. {standing.entry.cell}  {speed(standing)}")
        lines.append(f"     {standing.tier.name}: made for {standing.tier.words}")
    if not choice.standings:
        lines.append("  no artifact may be used")
    lines.append("Rejected:" if choice.rejected else "Nothing is rejected.")
    lines += [f"  {rejected.cell}: {rejected.reason}" for rejected in choice.rejected]
    return "\n".join(lines)


def as_json(choice: Choice) -> Json:
    return {
        "ranked": [_standing(standing) for standing in choice.standings],
        "rejected": [{"cell": rejected.cell, "reason": rejected.reason} for rejected in choice.rejected],
        "fallback": _fallback(choice.fallback),
    }


def placed_as_json(choice: Choice, folder: str, cells: List[str]) -> Dict[str, Json]:
    first = choice.standings[0]
    return {
        "placed": folder,
        "cells": list(cells),
        "tier": first.tier.name,
        "device": device_of(first.entry),
        "fallback": _fallback(choice.fallback),
    }


def speed(standing: Standing) -> str:
    latency = standing.latency
    if latency is None:
        return "never timed"
    by = " by build bench" if standing.benched else ""
    ratio = f", {latency.speedup:.2f} times as fast as the naive export" if latency.speedup else ""
    return f"p50 {latency.artifact.p50:.1f} ms on {latency.machine}{by}{ratio}"


def notes(choice: Choice, machine: Machine) -> List[str]:
    """What a person should know of the first choice: that it is another device's, or another version's."""
    first, said = choice.standings[0], []
    if choice.fallback is not None:
        gpus = ", ".join(gpu.described for gpu in machine.gpus) or "a GPU that cannot be used"
        said.append(
            f"note: this host has {gpus}, and {first.entry.cell} runs on the CPU. For the GPU there is"
            f" {choice.fallback.cell}: {choice.fallback.reason}. With --no-fallback this is an error."
        )
    unlike = other_version(first.entry, machine)
    if unlike and first.entry.platform is not None:
        proven = f"{first.entry.platform.runtime} {first.entry.platform.version}"
        said.append(f"note: it was proven with {proven}; this host has {unlike}")
    return said


def _standing(standing: Standing) -> Json:
    latency = standing.latency
    timed: Optional[Json] = None
    if latency is not None:
        timed = {
            "p50_ms": latency.artifact.p50,
            "machine": latency.machine,
            "speedup": round(latency.speedup, 4) if latency.speedup else None,
            "by": "build bench" if standing.benched else "the manifest",
            "this_class": standing.here,
        }
    return {
        "cell": standing.entry.cell,
        "tier": standing.tier.name,
        "device": device_of(standing.entry),
        "made_for": standing.tier.words,
        "timed": timed,
    }


def _fallback(fallback: Optional[Fallback]) -> Json:
    return {"cell": fallback.cell, "reason": fallback.reason} if fallback is not None else None
