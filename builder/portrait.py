"""A machine described to a person: one line for each thing that is known of it. Pure."""

from __future__ import annotations

import re
from typing import Iterator, List, Tuple

from builder.compat import jetpack
from builder.detect.gpu import Gpu
from builder.facts import Machine

TIED = "\N{NO-BREAK SPACE}"  # between a name and its version, for whoever breaks lines


def lines(machine: Machine) -> List[Tuple[str, str]]:
    """(what, what it is); what is not known has no line, but for the GPU, which people look for."""
    return [(what, said) for what, said in _lines(machine) if said]


def in_short(machine: Machine) -> str:
    """One line: `linux on x86_64, AMD Ryzen 9 x32, NVIDIA GeForce RTX 3090 (8.6)`."""
    return ", ".join([f"{machine.os} on {machine.arch}", machine.kind, *(gpu.described for gpu in machine.gpus)])


def _lines(machine: Machine) -> Iterator[Tuple[str, str]]:
    yield "system", f"{machine.os} on {machine.arch}{_surroundings(machine)}"
    yield "board", machine.board
    yield "processor", f"{machine.cpu}, {machine.cores} {'core' if machine.cores == 1 else 'cores'}"
    yield "features", ", ".join(machine.features)
    yield "memory", _gib(machine.memory_mib)
    for gpu in machine.gpus:
        yield "GPU", _gpu(gpu)
    if not machine.gpus:
        yield "GPU", "no NVIDIA GPU" + (" that can be used" if machine.gpu_problem else "")
    yield "", machine.gpu_problem
    if machine.gpus and machine.gpus_by != "libcuda" and machine.gpus_by:
        yield "", f"listed by {machine.gpus_by}"
    newest = f"knows CUDA up to {machine.cuda_driver}" if machine.cuda_driver else ""
    yield "driver", ", ".join(filter(None, (machine.driver, newest)))
    yield "CUDA", ", ".join(filter(None, (machine.cuda, f"cuDNN {machine.cudnn}" if machine.cudnn else "")))
    yield "JetPack", _jetpack(machine)
    yield "Python", machine.python
    installed = ", ".join(f"{package.name}{TIED}{package.version}" for package in machine.packages)
    yield "packages", installed or "none that deploymatrix uses"


def _surroundings(machine: Machine) -> str:
    wsl = ", in the Windows Subsystem for Linux" if machine.wsl else ""
    return wsl + (f", in a container ({machine.container})" if machine.container else "")


def _jetpack(machine: Machine) -> str:
    l4t = f"L4T {machine.l4t}" if machine.l4t else ""
    said = f"{machine.jetpack} ({l4t})" if machine.jetpack and l4t else machine.jetpack or l4t
    known = re.fullmatch(r"[0-9]+(\.[0-9]+)*", machine.jetpack) and jetpack.named(machine.jetpack)
    if said and not known:
        said += ": in no table here, so nothing is assumed of its versions; what is installed counts"
    return said


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name, f"compute capability {gpu.sm or 'unknown'}"]
    if gpu.memory_mib:
        parts.append(_gib(gpu.memory_mib))
    if gpu.mig:
        parts.append("a MIG instance")
    return ", ".join(parts)


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB" if mib else ""
