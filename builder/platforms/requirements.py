"""What a machine can do with each step and runtime, what is missing for the rest, and how to get that. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, List, Literal, Optional, Tuple

from builder.config.contract import PACKAGE
from builder.config.matrix import Matrix, Target, gpu_model
from builder.platforms import gpu_models, install, tables
from builder.platforms.install import EXTRA, how_to_build, how_to_verify, install_here
from builder.platforms.machines import Machine
from builder.platforms.platform import BUILDER, cannot_build, cannot_run, gpus_of, is_meant, no_cuda, platform_of
from builder.platforms.versions import at_least, first, release, within

# What must be installed for the steps before a runtime is in play, and the extra that has it.
_STEPS: Tuple[Tuple[str, str, Tuple[str, ...]], ...] = (
    ("export a PyTorch model", "build", ("torch", "onnx", "onnxscript", "numpy", "opencv-python-headless")),
    ("lower an ONNX model", "build", ("onnx", "onnxsim", "onnxruntime", "numpy", "opencv-python-headless")),
    ("compare artifacts", "", ("polygraphy", "numpy")),
    ("run on photographs", "host", ("numpy", "opencv-python-headless")),
)
_BUILD_PYTHON = "3.10"  # the extra `build` needs it
_OVER_SSH = "it is worked on over SSH"
_BY_FLEET = "it is worked on by the fleet"
_NEWEST_TENSORRT = 10  # the newest major version that `pip install` is advised for; 11 has not been run yet


@dataclass(frozen=True)
class Ability:
    """`build` and `run` say why not; they are empty for what the machine can do. A step has no `run`."""

    what: str
    build: str
    run: str
    remedies: Tuple[str, ...] = ()

    @property
    def can(self) -> str:
        words = [word for word, problem in (("build", self.build), ("run", self.run)) if not problem]
        return ", ".join(words) or "no"

    @property
    def why_not(self) -> str:
        if self.build and self.run and self.build != self.run:
            return f"build: {self.build}; run: {self.run}"
        return self.build or self.run


def steps(machine: Machine) -> Tuple[Ability, ...]:
    return tuple(_step(machine, *row) for row in _STEPS)


def _step(machine: Machine, what: str, extra: str, packages: Tuple[str, ...]) -> Ability:
    lacking = [name for name in packages if machine.version(name) is None]
    if not lacking:
        return Ability(what, "", "")
    remedy = install_here(extra) if extra else f"pip install {' '.join(lacking)}"
    if extra == "build" and not at_least(machine.python, _BUILD_PYTHON):
        remedy = "do this on a machine with Python 3.10 or newer, then copy its store here"
    return Ability(what, f"not installed: {', '.join(lacking)}", "", (remedy,))


def runtimes(machine: Machine) -> Tuple[Ability, ...]:
    cpu = tuple(_cpu(name, machine) for name in ("onnxruntime", "openvino"))
    return (*cpu, _onnxruntime_gpu(machine), _rtx(machine), _tensorrt(machine))


def targets(matrix: Matrix, machine: Machine) -> Tuple[Ability, ...]:
    """The targets of a matrix; whether single cells are ruled out is what `build plan` says."""
    return tuple(_target(target, machine, matrix.store, tasks=bool(matrix.tasks)) for target in matrix.targets)


def _target(target: Target, machine: Machine, store: str, *, tasks: bool) -> Ability:
    if target.disabled is not None:
        why = f"disabled in the matrix: {target.disabled.reason}"
        return Ability(target.name, why, why)
    if target.reached:
        fleet = all(place.many for place in target.reached)
        why, remedy = (_BY_FLEET, "build fleet") if fleet else (_OVER_SSH, f"build doctor --on {target.name}")
        return Ability(target.name, why, why, (remedy,))
    platform = platform_of(target, machine)
    build, run = cannot_build(platform, machine), cannot_run(platform, machine)
    if is_meant(target, machine) and no_cuda(target.runtime, machine):
        return Ability(target.name, build or "", run or "")  # the reason says what to mend
    if build is not None:
        return Ability(target.name, build, build, (how_to_build(target, machine, store, tasks=tasks),))
    return Ability(target.name, "", run or "", (how_to_verify(target, machine, store, tasks=tasks),) if run else ())


def _cpu(runtime: str, machine: Machine) -> Ability:
    problem = _absent(runtime, machine)
    return Ability(runtime, problem, problem, (install_here("host"),) if problem else ())


def _onnxruntime_gpu(machine: Machine) -> Ability:
    """It opens a plain ONNX file, which any onnxruntime makes."""
    name = "onnxruntime-gpu"
    absent = "" if machine.version(BUILDER[name]) is not None else f"{BUILDER[name]} is not installed"
    row = tables.ort_series(machine.version(PACKAGE[name]) or "")
    known = [gpu.sm for gpu in machine.gpus if gpu.sm]
    if not machine.gpus:
        run = f"it runs on an NVIDIA GPU; {gpus_of(machine)}"
    elif machine.l4t and row is None:
        run = "the package index has no onnxruntime-gpu for JetPack"
    elif row is not None and known and not any(row.runs_on(sm, machine.arch) for sm in known):
        run = f"it has code for compute capability {', '.join(row.code_on(machine.arch))}; {gpus_of(machine)}"
    else:
        run = _out_of_reach(name, machine) or _absent(name, machine) or no_cuda(name, machine) or ""
    remedies: Tuple[str, ...] = ()
    if known and not machine.gpu_problem and (absent or _absent(name, machine)):
        remedies = _to_type(_fitting_onnxruntime(machine, max(known, key=release)), machine)
    elif absent:
        remedies = (install_here(EXTRA[name]),)
    return Ability(name, absent, run, remedies)


def _rtx(machine: Machine) -> Ability:
    name = "tensorrt-rtx"
    platforms = [f"{row.os} on {row.arch}" for row in tables.rtx().platforms]
    if f"{machine.os} on {machine.arch}" not in platforms:
        why = f"it exists for {' and '.join(platforms)}, not for {machine.os} on {machine.arch}"
        return Ability(name, why, why)
    absent = _absent(name, machine)
    run, newest = absent, tables.rtx().series[-1]
    if not any(gpu.sm in newest.sm for gpu in machine.gpus):
        run = f"it runs on compute capability {', '.join(newest.sm)}; {gpus_of(machine)}"
    run = _out_of_reach(name, machine) or run or no_cuda(name, machine) or ""
    return Ability(name, absent, run, (install_here(EXTRA[name]),) if absent else ())


def _tensorrt(machine: Machine) -> Ability:
    name = "tensorrt"
    if not machine.gpus:
        why = f"it builds and runs on its own GPU only; {gpus_of(machine)}"
        return Ability(name, why, why)
    out_of_reach = _out_of_reach(name, machine)
    if out_of_reach:
        return Ability(name, out_of_reach, out_of_reach)
    known = [gpu.sm for gpu in machine.gpus if gpu.sm]
    if not known:
        why = f"the compute capability of the GPU is unknown; {gpus_of(machine)}"
        return Ability(name, why, why, ("install a newer NVIDIA driver, or nvidia-ml-py: pip install nvidia-ml-py",))
    problem, remedies = _absent(name, machine), _to_type(_fitting_tensorrt(machine, max(known, key=release)), machine)
    if problem and machine.version("libnvinfer"):
        problem = f"TensorRT {machine.version('libnvinfer')} is installed, but this Python does not see its module"
    problem = problem or _does_not_know(machine, known)
    if not problem:
        problem, remedies = no_cuda(name, machine) or "", ()
    return Ability(name, problem, problem, remedies if problem else ())


def _does_not_know(machine: Machine, known: List[str]) -> str:
    """Newer TensorRTs dropped older GPUs, older ones do not know newer GPUs. That of a JetPack knows its Jetson."""
    row = tables.tensorrt_series(machine.version("tensorrt") or "")
    if machine.l4t or row is None or set(known) & set(row.sm):
        return ""
    return f"TensorRT {machine.version('tensorrt')} is for compute capability {', '.join(row.sm)}; {gpus_of(machine)}"


def _to_type(target: Optional[Target], machine: Machine) -> Tuple[str, ...]:
    if target is None:
        return ()
    said, commands, _ = install.here(
        target, False, machine.python, taken=machine.version(PACKAGE[target.runtime]) is not None
    )
    return ("\n".join([said, *commands]),)


def _fitting_onnxruntime(machine: Machine, sm: str) -> Optional[Target]:
    """The newest onnxruntime-gpu for this GPU, its driver and this Python. The package index has none for a Jetson."""
    here = Target("here", "onnxruntime-gpu", arch=_arch(machine), sm=sm)
    python = first(machine.python, 2)
    for row in reversed(tables.onnxruntime_gpu().series):
        fits = release(row.cuda.first)[0] <= _driver(machine) and row.runs_on(sm, machine.arch)
        if fits and not machine.l4t and machine.arch in row.arches and row.python.covers(python):
            return replace(here, version=first(row.newest, 2))
    return None


def _fitting_tensorrt(machine: Machine, sm: str) -> Optional[Target]:
    """The TensorRT of this JetPack, or the newest for this GPU and its driver."""
    here = Target("here", "tensorrt", arch=_arch(machine), sm=sm)
    if machine.l4t:
        rows = tables.jetpack_series(machine.jetpack) if machine.jetpack else ()
        return replace(here, version=rows[-1].tensorrt, jetpack=machine.jetpack) if rows else None
    driver = _driver(machine)
    for row in reversed(tables.tensorrt().series):
        ends = [span.last for span in row.cuda if release(span.first)[0] <= driver]
        if release(row.newest)[0] <= _NEWEST_TENSORRT and sm in row.sm and ends:
            # From CUDA 12 on the packages that ask least of a driver are advised; before, one has to say which.
            return replace(here, version=first(row.newest, 2), cuda=ends[0] if driver < 12 else None)
    return None


def _out_of_reach(runtime: str, machine: Machine) -> str:
    """Said before anything about packages: with such a GPU, installing them would be in vain."""
    return no_cuda(runtime, machine) or "" if machine.gpus and machine.gpu_problem else ""


def _driver(machine: Machine) -> int:
    """The first number of the newest CUDA that the driver knows; 12 where that is not known."""
    return (release(machine.cuda_driver) or (12,))[0]


def _arch(machine: Machine) -> Literal["x86_64", "aarch64"]:
    return "aarch64" if machine.arch == "aarch64" else "x86_64"


def _absent(runtime: str, machine: Machine) -> str:
    return "" if machine.version(PACKAGE[runtime]) is not None else f"{PACKAGE[runtime]} is not installed"


# Does a machine that is worked on over SSH fit its target, and what does a worker lack there? Pure.
#
# Nothing of deploymatrix is installed there, so the lines to type are about the runtime and what measuring needs.


_PYTHON = ".venv/bin/python"  # where the lines of builder/platforms/install.py put it


@dataclass(frozen=True)
class Fitness:
    """`wrong`: why nothing is built there; `lacking`: packages without which nothing is measured; `differs`: what the
    matrix declares otherwise, and no artifact depends on; `lines`: how to get what is missing."""

    target: str
    wrong: str
    lacking: Tuple[str, ...]
    differs: Tuple[str, ...]
    lines: Tuple[str, ...]

    @property
    def said(self) -> str:
        absent = f"not installed: {', '.join(self.lacking)}" if self.lacking else ""
        return "; ".join(part for part in (self.wrong, absent, *self.differs) if part)


def fitness(target: Target, machine: Machine, *, tasks: bool) -> Fitness:
    """`tasks`: the matrix has metrics to score there."""
    platform = platform_of(target, machine)
    wrong = cannot_build(platform, machine) or cannot_run(platform, machine) or ""
    needed = ("numpy", "polygraphy", *(("opencv-python-headless",) if tasks else ()))
    lacking = tuple(name for name in needed if machine.version(name) is None)
    alike = (target.os, target.arch) == (machine.os, machine.arch)
    mends = alike and (target.sm is None or bool(gpu_models.fitting(machine, target.sm, target.gpu)))
    lines: Tuple[str, ...] = ()
    if wrong and mends:
        lines = (*install.without_ours(target, tasks), f"# then in matrix.yaml: worker: {{python: {_PYTHON}}}")
    elif wrong and alike and target.gpu and (others := gpu_models.fitting(machine, target.sm, None)):
        found = gpu_models.in_general(gpu_model(others[0].name))
        lines = (f"# it is another GPU; if it is the one that you mean, in matrix.yaml: gpu: {found}",)
    elif lacking and not wrong:
        lines = (f"{target.worker.python} -m pip install {' '.join(lacking)}",)
    return Fitness(target.name, wrong, lacking, tuple(_differing(target, machine)), lines)


def _differing(target: Target, machine: Machine) -> Iterator[str]:
    pairs: List[Tuple[str, "str | None", str]] = [
        ("driver", target.driver, machine.driver),
        ("CUDA", target.cuda, machine.cuda),
        ("cuDNN", target.cudnn, machine.cudnn),
        ("Python", target.python, machine.python),
    ]
    for name, declared, found in pairs:
        if declared and found and not within(found, declared):
            yield f"the target declares {name} {declared}, it has {found}"
