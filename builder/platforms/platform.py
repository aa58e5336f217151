"""What an artifact depends on, files by content, and what it requires of a machine: system, GPU, driver, package, version.

Planning, executors and hosts ask one function, `cannot_run`. Pure: the machine is a parameter. Apart from
builder/actions/action.py, so that a host that pulls need not load every recipe of a build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional, Tuple

from builder.config.contract import PACKAGE
from builder.config.matrix import Target, gpu_model
from builder.platforms import gpu_models
from builder.platforms.machines import Machine
from builder.platforms.versions import first, release, within

if TYPE_CHECKING:
    from builder.store.manifest import Artifact


@dataclass(frozen=True)
class Platform:
    """All that an artifact depends on outside its inputs. `gpu` is a canonical name of a GPU model (builder/platforms/gpu_models.py),
    None where any of compute capability `sm` will do."""

    runtime: str
    version: str
    os: str
    arch: str
    sm: Optional[str] = None
    jetpack: Optional[str] = None
    features: Tuple[str, ...] = ()
    gpu: Optional[str] = None


@dataclass(frozen=True)
class Pinned:
    """`name` is the path of the file in the step's input folder; a name without a file is a fact (code, ...)."""

    name: str
    digest: str


@dataclass(frozen=True)
class Tool:
    name: str
    version: str


@dataclass(frozen=True)
class Blob:
    """A file made by a step, by content."""

    name: str
    digest: str
    size: int

    @property
    def is_plain(self) -> bool:
        """Is the name one part, that hides nothing? It becomes a file's, wherever it comes from."""
        plain = bool(self.name) and "/" not in self.name and not self.name.startswith(".") and self.name.isprintable()
        return plain and len(self.name.encode()) < 250


# What builds the artifact. That of onnxruntime-gpu is an ONNX file, which any onnxruntime can check.
BUILDER = {**PACKAGE, "onnxruntime-gpu": "onnxruntime"}
PARSER = "tensorrt_rtx"  # the package that brings TensorRT's ONNX parser to a machine without a GPU
# Runtimes whose artifact any version reads (plain ONNX). Others are only proven for the version that was measured.
_ANY_VERSION = ("onnxruntime", "onnxruntime-gpu")
_Check = Callable[[Platform, Machine, "Optional[Artifact]"], Optional[str]]


def platform_of(target: Target, machine: Machine) -> Platform:
    """Declared facts, and for a CPU runtime on this very machine the installed version and the processor's features."""
    alike = target.sm is None and not target.reached and (target.os, target.arch) == (machine.os, machine.arch)
    version = target.version or (machine.version(PACKAGE[target.runtime]) if alike else None) or "any"
    features = machine.features if alike else ()
    model = gpu_model(target.gpu) if target.gpu else None
    return Platform(target.runtime, version, target.os, target.arch, target.sm, target.jetpack, features, model)


def is_meant(target: Target, machine: Machine) -> bool:
    """Has this machine the GPU that the target is about? Then nothing is to be carried anywhere."""
    alike = (target.os, target.arch) == (machine.os, machine.arch)
    return alike and target.sm is not None and bool(gpu_models.fitting(machine, target.sm, target.gpu))


def cannot_build(platform: Platform, machine: Machine) -> Optional[str]:
    """Why the artifact cannot be built on `machine`; None when it can. TensorRT-RTX builds ahead of time, GPU or not, and
    onnxruntime-gpu opens a plain ONNX file."""
    other = _other_system(platform, machine, None)
    if other is not None:
        return other
    if platform.runtime == "tensorrt" and not gpu_models.fitting(machine, platform.sm, platform.gpu):
        return f"needs a {_gpu_of(platform)} and TensorRT {platform.version}; {gpus_of(machine)}"
    if platform.runtime == "onnxruntime-gpu" and machine.version(BUILDER[platform.runtime]) is not None:
        return None
    wrong = _first(_PACKAGE, platform, machine, None)
    return no_cuda(platform.runtime, machine) if wrong is None and platform.runtime == "tensorrt" else wrong


def cannot_run(platform: Platform, machine: Machine, artifact: Optional[Artifact] = None) -> Optional[str]:
    """Why an artifact of `platform` cannot run on `machine`; None when it can.

    Without `artifact`, the platform is what a target declares: its GPU model and version have to be there. With it, the
    machine is a host: a built artifact loads where its portability says, in the versions that its numbers count for.
    """
    return _first(_OF_A_TARGET if artifact is None else _ON_A_HOST, platform, machine, artifact)


def _first(
    checks: Tuple[_Check, ...], platform: Platform, machine: Machine, artifact: Optional[Artifact]
) -> Optional[str]:
    return next(filter(None, (check(platform, machine, artifact) for check in checks)), None)


def _other_system(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    wanted, here = f"{platform.os} on {platform.arch}", f"{machine.os} on {machine.arch}"
    if wanted == here:
        return None
    return f"needs {wanted}; this machine is {here}" if artifact is None else f"it is for {wanted}, this host is {here}"


def _no_gpu(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    if platform.sm is None:
        return None
    if artifact is None:
        there = bool(gpu_models.fitting(machine, platform.sm, platform.gpu))
        return None if there else f"no {_gpu_of(platform)} here to run it on; {gpus_of(machine)}"
    if any(_loads_on(artifact, platform.sm, gpu.sm) for gpu in machine.gpus):
        return None
    return f"it needs compute capability {platform.sm}, {gpus_of(machine, 'this host')}"


def _loads_on(artifact: Artifact, built_for: str, sm: str) -> bool:
    """Does an engine built for one compute capability load on a GPU of another? An `ampere-plus` one does from 8.0 on."""
    if artifact.portability.startswith("ampere-plus"):
        return release(sm) >= (8, 0)  # empty where the driver does not say
    return sm == built_for


def _gpu_problem(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    problem = machine.gpu_problem if platform.sm is not None else ""
    return f"its GPU cannot be used: {problem}" if problem else None


def _no_bf16(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    if artifact is None or artifact.compute != "bf16":
        return None
    from builder.platforms import tables  # here, as below: most hosts need no table

    return None if set(tables.cpu_bf16()) & set(machine.features) else f"it computes in bf16, which {machine.cpu} lacks"


def _no_package(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    package = PACKAGE[platform.runtime]
    if machine.version(package) is not None:
        return None
    return f"{package} is not installed {'here' if artifact is None else 'on this host'}"


def _other_version(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    package = PACKAGE[platform.runtime]
    installed = machine.version(package) or ""
    if artifact is None:
        if platform.version == "any" or within(installed, platform.version):
            return None
        return f"{package} {installed} is installed here, the target declares {platform.version}"
    if platform.runtime in _ANY_VERSION or same_series(installed, platform.version):
        return None
    proven = release(platform.version)
    if artifact.portability.endswith("+version") and proven and release(installed) >= proven:
        return None
    return f"it was proven with {platform.runtime} {platform.version}, this host has {installed}"


def same_series(installed: str, proven: str) -> bool:
    """Do the first two numbers agree, as far as `proven` says any? 2026.4.1 and 2026.4.0 are one series."""
    return proven == "any" or installed == proven or within(installed, first(proven, 2))


def _other_jetpack(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    if not platform.jetpack or not release(machine.jetpack) or within(machine.jetpack, platform.jetpack):
        return None
    return f"JetPack {machine.jetpack} is installed here, the target declares {platform.jetpack}"


def _no_cuda(platform: Platform, machine: Machine, artifact: Optional[Artifact]) -> Optional[str]:
    return no_cuda(platform.runtime, machine) if platform.sm is not None else None


_PACKAGE: Tuple[_Check, ...] = (_no_package, _other_version, _other_jetpack)
_OF_A_TARGET: Tuple[_Check, ...] = (_no_gpu, _gpu_problem, _other_system, *_PACKAGE, _no_cuda)
_ON_A_HOST: Tuple[_Check, ...] = (_other_system, _no_gpu, _no_bf16, _no_package, _other_version, _no_cuda)


def no_cuda(runtime: str, machine: Machine) -> Optional[str]:
    """Why `runtime` cannot use the GPU that is there: CUDA does not start, or the driver is older than the CUDA that
    the installed runtime was made for. A CUDA of the same first number is enough: minor version compatibility."""
    if machine.gpu_problem:
        return f"its GPU cannot be used: {machine.gpu_problem}"
    made_for, known = _cuda_of(runtime, machine), release(machine.cuda_driver)
    if made_for is None or not known:
        return None
    from builder.platforms import tables

    for row in tables.cuda().toolkits:
        if made_for[1] == row.family and known[0] < release(row.family)[0]:
            return (
                f"its {f'NVIDIA driver {machine.driver}'.rstrip()} knows CUDA up to {machine.cuda_driver}; "
                f"{made_for[0]} needs CUDA {row.family}: install driver {row.driver} or newer"
            )
    return None


def _cuda_of(runtime: str, machine: Machine) -> Optional[Tuple[str, str]]:
    """(what is installed for `runtime`, the family of CUDA that it was made for), if that is known."""
    from builder.platforms import tables

    if runtime == "onnxruntime-gpu":
        installed = machine.version(PACKAGE[runtime]) or ""
        row = tables.ort_series(installed)
        return (f"onnxruntime-gpu {installed}", first(row.cuda.first, 1)) if row else None
    for family in (row.family for row in tables.cuda().toolkits):
        libraries = f"{PACKAGE[runtime]}_cu{family}_libs"
        if machine.version(libraries) is not None:
            return libraries, family
    return None


def _gpu_of(platform: Platform) -> str:
    return f"GPU of compute capability {platform.sm}" + (f" ({platform.gpu})" if platform.gpu else "")


def gpus_of(machine: Machine, named: str = "this machine") -> str:
    if not machine.gpus:
        why = f" that it can use: {machine.gpu_problem}" if machine.gpu_problem else ""
        return f"{named} has no NVIDIA GPU{why}"
    return f"{named} has " + ", ".join(gpu.described for gpu in machine.gpus)
