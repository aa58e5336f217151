"""What a machine is: processor, GPUs, driver, surroundings, Python, and installed packages by their metadata.

`Machine` is plain data: tests and the planner use machines that are not this one. `here()` asks builder/detect,
which imports nothing to find out, so it takes milliseconds.
"""

from __future__ import annotations

import difflib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from builder.errors import UsageError
from builder.platforms import gpus, hardware, packages
from builder.platforms.gpus import Gpu
from builder.platforms.packages import Package
from builder.platforms.probe import Probe, real
from builder.records import RecordError, from_json, to_json

__all__ = ["Gpu", "Machine", "Package", "here"]


@dataclass(frozen=True)
class Machine:
    """`driver` is NVIDIA's, `cuda_driver` the newest CUDA that it knows, `cuda` and `cudnn` what is installed.
    `gpus_by` names what listed the GPUs; `gpu_problem` says why no program can use one, listed or not. `board` is what
    the device tree calls the machine. `container` is the engine's name. What is unknown is empty."""

    os: str
    arch: str
    cpu: str
    cores: int
    features: Tuple[str, ...]
    python: str
    gpus: Tuple[Gpu, ...] = ()
    packages: Tuple[Package, ...] = ()
    memory_mib: int = 0
    board: str = ""
    driver: str = ""
    cuda_driver: str = ""
    gpus_by: str = ""
    gpu_problem: str = ""
    cuda: str = ""
    cudnn: str = ""
    jetpack: str = ""
    l4t: str = ""
    container: str = ""
    wsl: bool = False

    def version(self, package: str) -> Optional[str]:
        return next((p.version for p in self.packages if p.name == package), None)

    @property
    def kind(self) -> str:
        """What timings are comparable on: the processor and how many cores of it this machine has."""
        return f"{self.cpu} x{self.cores}"


def here(probe: Optional[Probe] = None) -> Machine:
    """This machine, or the one that `probe` describes."""
    probe = probe or real()
    distributions = packages.distributions(probe)
    installed = packages.named(distributions)
    chip = None
    if hardware.is_jetson(probe) or gpus.has_driver(probe):
        debian = packages.Debian(probe)
        chip = hardware.find(probe, debian) if hardware.is_jetson(probe) else None
        installed += packages.from_debian(probe, debian, installed)
    seen = gpus.find(probe, chip.sm if chip else None)
    return Machine(
        os=platform.system().lower(),
        arch={"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower()),
        cpu=hardware.name(probe),
        cores=hardware.cores(),
        features=hardware.features(probe),
        python="%d.%d.%d" % sys.version_info[:3],
        gpus=seen.gpus,
        packages=tuple(installed),
        memory_mib=hardware.memory_mib(probe),
        board=hardware.board(probe),
        driver=seen.driver,
        cuda_driver=seen.cuda,
        gpus_by=seen.by if seen.gpus else "",
        gpu_problem=seen.problem,
        cuda=packages.cuda(probe, distributions),
        cudnn=packages.cudnn(probe, distributions),
        jetpack=chip.jetpack if chip else "",
        l4t=chip.l4t if chip else "",
        container=hardware.container(probe),
        wsl=hardware.wsl(probe),
    )


# A machine as a file: what `build doctor --json` prints there, and `build plan --facts FILE` reads here.


SCHEMA = 1
_LARGEST = 1 << 20
_HINT = "write it on that machine with: build doctor --json > FILE"


@dataclass(frozen=True)
class FactFile:
    """`source` is where the facts come from, when they were not recorded on such a machine."""

    schema: int
    machine: Machine
    source: str = ""


def text(machine: Machine) -> str:
    return json.dumps(to_json(FactFile(SCHEMA, machine)), indent=1, ensure_ascii=False)


def read(path: Path) -> FactFile:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError("too large for a fact file (at most 1 MiB)", where=str(path), hint=_HINT)
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=str(path), hint=_HINT) from None
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text: a binary file?", where=str(path), hint=_HINT) from None
    except json.JSONDecodeError as problem:
        where = f"{path}:{problem.lineno}:{problem.colno}"
        raise UsageError(f"is not JSON: {problem.msg}", where=where, hint=_HINT) from None
    except RecursionError:
        raise UsageError("is nested too deeply for a fact file", where=str(path), hint=_HINT) from None
    found = data.get("schema") if isinstance(data, dict) else None
    if isinstance(data, dict) and "schema" in data and found != SCHEMA:
        raise UsageError(
            f"has schema {found!r}; this deploymatrix reads schema {SCHEMA}",
            where=str(path),
            hint="write it again with this version of deploymatrix: build doctor --json > FILE",
        )
    try:
        return from_json(FactFile, data)
    except RecordError as problem:
        near = difflib.get_close_matches(problem.wrong, problem.known, n=1, cutoff=0.5)
        raise UsageError(str(problem), where=str(path), hint=f"did you mean {near[0]!r}?" if near else _HINT) from None


# A machine described to a person: one line for each thing that is known of it. Pure.


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
    if said and not _is_known(machine.jetpack):
        said += ": in no table here, so nothing is assumed of its versions; what is installed counts"
    return said


def _is_known(jetpack: str) -> bool:
    from builder.platforms import tables  # here: most machines are no Jetson

    return bool(tables.jetpack_series(jetpack))


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name, f"compute capability {gpu.sm or 'unknown'}"]
    if gpu.memory_mib:
        parts.append(_gib(gpu.memory_mib))
    if gpu.mig:
        parts.append("a MIG instance")
    return ", ".join(parts)


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB" if mib else ""
