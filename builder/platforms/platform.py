"""The nouns that hosts and builds share: files by content, and what an artifact depends on.

Apart from builder/actions/action.py, so that a host that pulls need not load every recipe of a build.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

from builder import release
from builder.compat import cuda, install, onnxruntime_gpu
from builder.config.contract import PACKAGE
from builder.config.matrix import Target, gpu_model
from builder.platforms import gpu_models
from builder.platforms.machines import Machine


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


# Where a platform's work can be done: on this machine, or only on its own. Pure: the machine is a parameter.


# What builds the artifact. That of onnxruntime-gpu is an ONNX file, which any onnxruntime can check.
BUILDER = {**PACKAGE, "onnxruntime-gpu": "onnxruntime"}
PARSER = "tensorrt_rtx"  # the package that brings TensorRT's ONNX parser to a machine without a GPU
EXTRA = {"onnxruntime": "build", "openvino": "build", "onnxruntime-gpu": "build", "tensorrt-rtx": "rtx"}


def platform_of(target: Target, machine: Machine) -> Platform:
    """Declared facts, and for a CPU runtime on this very machine the installed version and the processor's features."""
    alike = target.sm is None and not target.reached and (target.os, target.arch) == (machine.os, machine.arch)
    version = target.version or (machine.version(PACKAGE[target.runtime]) if alike else None) or "any"
    features = machine.features if alike else ()
    model = gpu_model(target.gpu) if target.gpu else None
    return Platform(target.runtime, version, target.os, target.arch, target.sm, target.jetpack, features, model)


def cannot_build(platform: Platform, machine: Machine) -> Optional[str]:
    """Why the artifact cannot be built on `machine`; None when it can. TensorRT-RTX builds ahead of time, GPU or not, and
    onnxruntime-gpu opens a plain ONNX file."""
    if (platform.os, platform.arch) != (machine.os, machine.arch):
        return f"needs {platform.os} on {platform.arch}; this machine is {machine.os} on {machine.arch}"
    if platform.runtime == "tensorrt" and not _has_gpu(platform, machine):
        return f"needs a {_gpu_of(platform)} and TensorRT {platform.version}; {gpus_of(machine)}"
    if platform.runtime == "onnxruntime-gpu" and machine.version(BUILDER[platform.runtime]) is not None:
        return None
    wrong = _wrong_package(platform, machine)
    if wrong is not None:
        return wrong
    return no_cuda(platform.runtime, machine) if platform.runtime == "tensorrt" else None


def _wrong_package(platform: Platform, machine: Machine) -> Optional[str]:
    package = PACKAGE[platform.runtime]
    installed = machine.version(package)
    if installed is None:
        return f"{package} is not installed here"
    if platform.version != "any" and not _within(installed, platform.version):
        return f"{package} {installed} is installed here, the target declares {platform.version}"
    if platform.jetpack and numbers(machine.jetpack) and not _within(machine.jetpack, platform.jetpack):
        return f"JetPack {machine.jetpack} is installed here, the target declares {platform.jetpack}"
    return None


def cannot_run(platform: Platform, machine: Machine) -> Optional[str]:
    """Why a built artifact cannot be run, and so not verified, on `machine`; None when it can."""
    if platform.sm is not None and not _has_gpu(platform, machine):
        return f"no {_gpu_of(platform)} here to run it on; {gpus_of(machine)}"
    if platform.sm is not None and machine.gpu_problem:
        return no_cuda(platform.runtime, machine)
    if cannot_build(platform, machine) is not None or platform.sm is None:
        return cannot_build(platform, machine)
    return _wrong_package(platform, machine) or no_cuda(platform.runtime, machine)


def no_cuda(runtime: str, machine: Machine) -> Optional[str]:
    """Why `runtime` cannot use the GPU that is there: CUDA does not start, or the driver is older than the CUDA that
    the installed runtime was made for. A CUDA of the same first number is enough: minor version compatibility."""
    if machine.gpu_problem:
        return f"its GPU cannot be used: {machine.gpu_problem}"
    made_for, known = _cuda_of(runtime, machine), numbers(machine.cuda_driver)
    for row in cuda.TOOLKITS:
        if made_for is not None and made_for[1] == row.family and known[:1] and known[0] < numbers(row.family)[0]:
            return (
                f"its {f'NVIDIA driver {machine.driver}'.rstrip()} knows CUDA up to {machine.cuda_driver}; "
                f"{made_for[0]} needs CUDA {row.family}: install driver {row.driver} or newer"
            )
    return None


def _cuda_of(runtime: str, machine: Machine) -> Optional[Tuple[str, str]]:
    """(what is installed for `runtime`, the family of CUDA that it was made for), if that is known."""
    if runtime == "onnxruntime-gpu":
        installed = numbers(machine.version(PACKAGE[runtime]) or "")
        row = onnxruntime_gpu.series(".".join(map(str, installed))) if installed else None
        return (f"onnxruntime-gpu {machine.version(PACKAGE[runtime])}", row.cuda.first.split(".")[0]) if row else None
    for family in (row.family for row in cuda.TOOLKITS):
        libraries = f"{PACKAGE[runtime]}_cu{family}_libs"
        if machine.version(libraries) is not None:
            return libraries, family
    return None


def numbers(text: str) -> Tuple[int, ...]:
    """The numbers that an installed version begins with: 10.14.1.48.post1 is (10, 14, 1, 48)."""
    match = re.match(r"[0-9]{1,9}(\.[0-9]{1,9})*", text)
    return tuple(map(int, match.group().split("."))) if match else ()


def how_to_build(target: Target, machine: Machine, store: str, *, tasks: bool = True) -> str:
    """What to do so that the cells of `target` get built: a line to type here, or lines for the target's own machine.
    `tasks`: the matrix has metrics to score there."""
    extra = EXTRA.get(target.runtime)
    if extra and (target.os, target.arch) == (machine.os, machine.arch) and not is_meant(target, machine):
        named = PACKAGE[target.runtime] if target.runtime != "onnxruntime-gpu" else None
        pinned = [f"'{named}=={target.version}.*'"] if named and target.version else []
        return install_here(extra, *pinned)
    return how_to_verify(target, machine, store, tasks=tasks)


def install_here(extra: str, *more: str) -> str:
    """A sentence, and the line to type here for an extra of this program."""
    return f"install it here:\n{release.pip_install(extra, *more)}"


def how_to_verify(target: Target, machine: Machine, store: str, *, tasks: bool = True) -> str:
    """What to do so that what was built, or is to be, gets run on the machine that it is for."""
    return _here(target, machine, store, tasks) if is_meant(target, machine) else _orders(target, store, tasks)


def is_meant(target: Target, machine: Machine) -> bool:
    """Has this machine the GPU that the target is about? Then nothing is to be carried anywhere."""
    alike = (target.os, target.arch) == (machine.os, machine.arch)
    return alike and target.sm is not None and bool(gpu_models.fitting(machine, target.sm, target.gpu))


def _here(target: Target, machine: Machine, store: str, tasks: bool) -> str:
    """A sentence and lines for this very machine, which lacks a package or a driver."""
    if no_cuda(target.runtime, machine) is not None:
        return "mend that, then run here: build matrix"
    taken = machine.version(PACKAGE[target.runtime]) is not None
    said, commands, own = install.here(target, tasks, machine.python, taken=taken)
    if not own:
        return "\n".join([said, *commands, "build matrix"])
    orders, perform = f"build matrix  # leaves its orders in {store}/", f"{own}/bin/build perform '*-{target.name}'"
    return "\n".join([said, orders, *commands, f"{perform} --store {store}", "build matrix  # judges and publishes"])


def _orders(target: Target, store: str, tasks: bool) -> str:
    """A sentence and the commands that follow it, one a line: what must be on that machine, from the tables."""
    if target.os != "linux":
        return f"nothing yet: this program does not run on {target.os}"
    said = "; ".join(part for part in (install.named(target), install.needs(target)) if part)
    carried = f"{store}/ and {release.WHEEL} ({release.HOW_TO_MAKE_IT})"
    return "\n".join(
        [
            f"copy {carried} to {_the(target.machine)} ({said}), and there:",
            *install.commands(target, tasks),
            f".venv/bin/build perform '*-{target.name}' --store {store}",
            f"# then copy {store}/ back (rsync -a --ignore-existing), and run here: build matrix",
        ]
    )


def _the(machine: str) -> str:
    """`any CPU-only box` has its article."""
    return machine if machine.split(" ")[0].lower() in ("a", "an", "any", "the", "this") else f"the {machine}"


def _has_gpu(platform: Platform, machine: Machine) -> bool:
    return bool(gpu_models.fitting(machine, platform.sm, platform.gpu))


def _gpu_of(platform: Platform) -> str:
    return f"GPU of compute capability {platform.sm}" + (f" ({platform.gpu})" if platform.gpu else "")


def gpus_of(machine: Machine) -> str:
    if not machine.gpus:
        why = f" that it can use: {machine.gpu_problem}" if machine.gpu_problem else ""
        return f"this machine has no NVIDIA GPU{why}"
    return "this machine has " + ", ".join(gpu.described for gpu in machine.gpus)


def _within(installed: str, declared: str) -> bool:
    """Is 10.16.1.11 the declared 10.16?"""
    return (installed + ".").startswith(declared + ".")
