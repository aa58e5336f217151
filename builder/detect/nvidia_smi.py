"""GPUs through the program nvidia-smi, the last resort: it comes with every driver, and takes up to seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Optional, Tuple

from builder.detect.gpu import NO_INSTANCE, Gpu, Seen
from builder.detect.probe import TIMED_OUT, Answer, Probe

_PLACES = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
# Drivers before 510 do not know the compute capability, those before 450 no MIG mode.
_FIELDS = (
    ("name", "uuid", "driver_version", "memory.total", "compute_cap", "mig.mode.current"),
    ("name", "uuid", "driver_version", "memory.total"),
)
# From driver 610 on "CUDA UMD Version". Either is the newest CUDA that the driver knows, not an installed toolkit.
_NEWEST = re.compile(r"CUDA (?:UMD )?Version: *([0-9]+\.[0-9]+)")
_MIB = re.compile(r"[0-9]{1,9}")
_SM = re.compile(r"[0-9]+\.[0-9]+")
# `  MIG 1g.10gb     Device  0: (UUID: MIG-...)`, below `GPU 0: NAME (UUID: GPU-...)`
_LISTED = re.compile(r"(?:GPU +[0-9]+: (?P<gpu>.+?)|MIG (?P<mig>\S+) +Device +[0-9]+:) +\(UUID: (?P<uuid>\S+?)\)")


def ask(probe: Probe) -> Seen:
    for place in _PLACES:
        seen = _ask(probe, place) if not place.startswith("/") or probe.exists(place) else None
        if seen is not None:
            return seen
    return Seen(by="nvidia-smi", problem="nvidia-smi is not installed")


def _ask(probe: Probe, program: str) -> Optional[Seen]:
    """None where the program is not there."""
    answer, rows = Answer(None, ""), []  # type: Answer, List[_Row]
    for fields in _FIELDS:
        answer = probe.command([program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        rows = _rows(answer.text, fields) if answer.code == 0 else []
        if rows or answer.code in (None, TIMED_OUT):
            break
    if answer.code is None:
        return None
    if not rows:
        return Seen(by="nvidia-smi", problem=f"nvidia-smi says {_first_line(answer.text)}")
    header = probe.command([program])
    newest = _NEWEST.search(header.text)
    gpus: List[Gpu] = []
    for row in rows:
        gpus += _instances(probe, program, row.gpu) if row.in_mig_mode else [row.gpu]
    cuda = newest.group(1) if newest else ""
    return Seen(tuple(gpus), "nvidia-smi", rows[0].driver, cuda, "" if gpus else NO_INSTANCE)


@dataclass(frozen=True)
class _Row:
    gpu: Gpu
    driver: str
    in_mig_mode: bool


def _rows(text: str, fields: Tuple[str, ...]) -> List[_Row]:
    """A row for each line that has the fields asked for. What else a driver prints is left out."""
    found = []
    for row in ([part.strip() for part in line.split(",")] for line in text.splitlines()):
        if len(row) != len(fields) or not row[1].startswith("GPU-"):
            continue
        said = dict(zip(fields, row))
        sm, memory = said.get("compute_cap", ""), said["memory.total"]
        mib = int(memory) if _MIB.fullmatch(memory) else 0
        gpu = Gpu(said["name"], sm if _SM.fullmatch(sm) else "", mib, said["uuid"])
        found.append(_Row(gpu, said["driver_version"], said.get("mig.mode.current") == "Enabled"))
    return found


def _instances(probe: Probe, program: str, gpu: Gpu) -> List[Gpu]:
    """The MIG instances of `gpu`, from `nvidia-smi -L`."""
    found, mine = [], False
    for match in _LISTED.finditer(probe.command([program, "-L"]).text):
        if match.group("gpu"):
            mine = match.group("uuid") == gpu.uuid
        elif mine:
            found.append(Gpu(f"{gpu.name} MIG {match.group('mig')}", gpu.sm, 0, match.group("uuid"), True))
    return found


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else "nothing"
