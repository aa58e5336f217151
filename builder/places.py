"""Where a platform's work can be done: on this machine, or only on its own. Pure: the machine is a parameter."""

from __future__ import annotations

from typing import Optional

from builder.action import Platform
from builder.compat import tables
from builder.facts import Machine
from builder.matrix import Target

PACKAGE = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
EXTRA = {"onnxruntime": "build", "openvino": "build", "tensorrt-rtx": "rtx"}


def platform_of(target: Target, machine: Machine) -> Platform:
    """Declared facts, and for a CPU runtime on this kind of machine the installed version and the processor's features."""
    alike = target.sm is None and (target.os, target.arch) == (machine.os, machine.arch)
    version = target.version or (machine.version(PACKAGE[target.runtime]) if alike else None) or "any"
    features = machine.features if alike else ()
    return Platform(target.runtime, version, target.os, target.arch, target.sm, target.jetpack, features)


def cannot_build(platform: Platform, machine: Machine) -> Optional[str]:
    """Why the artifact cannot be built on `machine`; None when it can. TensorRT-RTX builds ahead of time, GPU or not."""
    if (platform.os, platform.arch) != (machine.os, machine.arch):
        return f"needs {platform.os} on {platform.arch}; this machine is {machine.os} on {machine.arch}"
    if platform.runtime == "tensorrt" and not _has_gpu(platform, machine):
        return f"needs a GPU of compute capability {platform.sm} and TensorRT {platform.version}; {_gpus(machine)}"
    package = PACKAGE[platform.runtime]
    installed = machine.version(package)
    if installed is None:
        return f"{package} is not installed here"
    if platform.version != "any" and not _within(installed, platform.version):
        return f"{package} {installed} is installed here, the target declares {platform.version}"
    return None


def cannot_run(platform: Platform, machine: Machine) -> Optional[str]:
    """Why a built artifact cannot be run, and so not verified, on `machine`; None when it can."""
    if platform.sm is not None and not _has_gpu(platform, machine):
        return f"no GPU of compute capability {platform.sm} here to run it on; {_gpus(machine)}"
    return cannot_build(platform, machine)


def how_to_build(target: Target, machine: Machine, store: str) -> str:
    """What to do so that the cells of `target` get built: a line to type here, or on the target's own machine."""
    extra = EXTRA.get(target.runtime)
    if extra and (target.os, target.arch) == (machine.os, machine.arch):
        return f"pip install 'deploymatrix[{extra}]'" + (
            f" '{PACKAGE[target.runtime]}=={target.version}.*'" if target.version else ""
        )
    return f"copy {store}/ to the {target.machine}{_needs(target)} and run there: build perform '*-{target.name}' --store {store}"


def how_to_verify(target: Target, store: str) -> str:
    return f"copy {store}/ to the {target.machine} and run there: build perform '*-{target.name}' --store {store}"


def _needs(target: Target) -> str:
    """What must be on that machine, from the tables."""
    if target.jetpack is not None:
        row = tables.JETPACK_TENSORRT.get(".".join(target.jetpack.split(".")[:2]))
        return f" (JetPack {target.jetpack}: TensorRT {target.version}" + (
            f", CUDA {row[1]}, Python {row[2]})" if row else ")"
        )
    native = tables.tensorrt_row(target.version) if target.runtime == "tensorrt" and target.version else None
    return f" (TensorRT {target.version}, CUDA {native.cuda}, Python {native.python})" if native else ""


def _has_gpu(platform: Platform, machine: Machine) -> bool:
    return any(gpu.sm == platform.sm for gpu in machine.gpus)


def _gpus(machine: Machine) -> str:
    if not machine.gpus:
        return "this machine has no NVIDIA GPU"
    return "this machine has " + ", ".join(f"{g.name} ({g.sm})" for g in machine.gpus)


def _within(installed: str, declared: str) -> bool:
    """Is 10.16.1.11 the declared 10.16?"""
    return (installed + ".").startswith(declared + ".")
