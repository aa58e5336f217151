"""What works instead of a cell that is skipped: other precisions on the target, other versions and runtimes on the same
GPU, and the CPU beside it. Every one of them was put to the same rules, so none of them breaks one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Dict, Iterator, Optional, Sequence, Tuple

from builder.compat import install, jetpack, onnxruntime_gpu, precision, precision_rules, rtx, rules, tensorrt
from builder.compat.asked import Asked, Skip
from builder.compat.tables import version
from builder.config.matrix import Target

MOST = 3
_GPU = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu")
_CPU = ("openvino", "onnxruntime")
# Instead of a precision: what is nearest to it first.
_NEAREST: Dict[str, Tuple[str, ...]] = {
    "fp32": (),
    "bf16": ("fp16", "int8", "fp32"),
    "fp16": ("int8", "fp32"),
    "int8": ("fp16", "fp32"),
}


@dataclass(frozen=True)
class Remedy:
    """`use` this, which `needs` that, at about `cost`. `target` and `precision` are it as the matrix would say it; a
    remedy without them changes the model or the machine."""

    use: str
    needs: str = ""
    cost: str = ""
    target: Optional[Target] = None
    precision: str = ""

    @property
    def line(self) -> str:
        """In short; what it costs is said by `build explain`."""
        return f"{self.use} ({self.needs})" if self.needs else self.use


def remedies(asked: Asked, skip: Skip) -> Tuple[Remedy, ...]:
    """What mends the broken rule itself, then what can stand in for the cell; three at most."""
    found = [Remedy(fix) for fix in skip.fixes[:2]]
    for alternative in alternatives(asked, slow=_is_about_precision(skip)):
        if len(found) >= MOST:
            break
        found.append(alternative)
    return tuple(found[:MOST])


def alternatives(asked: Asked, *, slow: bool = False) -> Iterator[Remedy]:
    """Best first. `slow`: the precision is the trouble, so another one on the same target comes first."""
    here = list(_other_precisions(asked))
    first = (2 if asked.target.sm is not None else 1) if slow else 0
    yield from here[:first]
    yield from _on_the_gpu(asked) if slow else _on_the_gpu_somehow(asked)
    yield from _with(asked, _CPU)
    yield from here[first:]


def _is_about_precision(skip: Skip) -> bool:
    arithmetic = {f"{row.precision}-sm" for row in precision.ARITHMETIC}
    return skip.rule in {*arithmetic, *precision.WAIVABLE, "bf16-lowering", "cpu-bf16"}


def _other_precisions(asked: Asked) -> Iterator[Remedy]:
    for other in _NEAREST[asked.cell.precision]:
        if _works(asked, asked.target, other):
            yield Remedy(
                f"precision {other} on this target", "", cost(asked.target, other), asked.target, precision=other
            )


def _on_the_gpu_somehow(asked: Asked) -> Iterator[Remedy]:
    """In the precision that was asked for, or else in the nearest that the GPU can do at all."""
    found = list(_on_the_gpu(asked))
    for other in _NEAREST[asked.cell.precision]:
        if not found:
            instead = dataclasses.replace(asked, cell=dataclasses.replace(asked.cell, precision=other))
            found = [dataclasses.replace(r, use=f"{r.use} in {other}") for r in _on_the_gpu(instead)][:1]
    yield from found


def _on_the_gpu(asked: Asked) -> Iterator[Remedy]:
    if asked.target.sm is not None:
        yield from _with(asked, sorted(_GPU, key=lambda runtime: runtime != asked.target.runtime))


def _with(asked: Asked, runtimes: Sequence[str]) -> Iterator[Remedy]:
    """The same precision from the newest of each runtime that works on the same machine."""
    wanted = asked.cell.precision
    for runtime in runtimes:
        if not _computes(asked, runtime):
            continue
        fitting = (t for t in _candidates(asked.target, runtime) if _differs(asked, t) and _works(asked, t, wanted))
        target = next(fitting, None)
        if target is not None:
            yield Remedy(_named(target), install.needs(target), cost(target, wanted), target, wanted)


def _computes(asked: Asked, runtime: str) -> bool:
    """Does any version of the runtime compute in that precision on the GPU? Said once, not for every version."""
    on_cpu = {"sm": None, "jetpack": None} if runtime in _CPU else {}
    target = dataclasses.replace(asked.target, runtime=runtime, version=None, **on_cpu)  # type: ignore[arg-type]
    question = dataclasses.replace(asked, target=target)
    return not any(isinstance(rule(question), Skip) for rule in precision_rules.RULES)


def _differs(asked: Asked, target: Target) -> bool:
    """Not what was skipped: another runtime, version or CUDA."""
    old = asked.target
    return (target.runtime, target.version, target.cuda, target.jetpack, target.cudnn) != (
        old.runtime,
        old.version,
        old.cuda,
        old.jetpack,
        old.cudnn,
    )


def _works(asked: Asked, target: Target, wanted: str) -> bool:
    """Put to the same rules. Options are TensorRT's own, so another runtime is asked without them. Whether the
    processor of another machine has bf16 is not known here."""
    if wanted == "bf16" and (target.arch != asked.machine.arch or target.reached):
        return False
    options = asked.options if target.runtime.startswith("tensorrt") else type(asked.options)()
    cell = dataclasses.replace(asked.cell, precision=wanted)
    return rules.judge(dataclasses.replace(asked, cell=cell, target=target, options=options, allow=())) is None


def _candidates(old: Target, runtime: str) -> Iterator[Target]:
    """Targets with `runtime` on the same machine, newest first: as it is declared, or else with another Python."""
    kept = dataclasses.replace(old, runtime=runtime, version=None, cuda=None, cudnn=None)  # type: ignore[arg-type]
    if runtime in _CPU:
        yield dataclasses.replace(kept, sm=None, jetpack=None, driver=None)
        return
    for base in (kept, dataclasses.replace(kept, python=None)):
        if runtime == "tensorrt":
            yield from _tensorrts(base)
        elif runtime == "tensorrt-rtx":
            for rtx_row in reversed(rtx.RTX):
                if base.sm in rtx_row.sm:
                    yield dataclasses.replace(base, version=_series(rtx_row.newest), jetpack=None)
        else:
            yield from _onnxruntimes(base)


def _tensorrts(base: Target) -> Iterator[Target]:
    known = [row for row in jetpack.JETPACKS if base.sm in row.sm]
    declared = jetpack.named(base.jetpack) if base.jetpack is not None else ()
    # The declared JetPack first: another one means to flash the board anew.
    newest_first = list(reversed(known))
    for row in sorted(newest_first, key=lambda row: row not in declared):
        yield dataclasses.replace(base, version=row.tensorrt, cuda=row.cuda, jetpack=row.versions.last)
    if known:
        return
    for series in reversed(tensorrt.SERIES):
        for span in reversed(series.cuda if base.sm in series.sm else ()):
            yield dataclasses.replace(base, version=_series(series.newest), cuda=span.last)


def _onnxruntimes(base: Target) -> Iterator[Target]:
    for row in reversed(onnxruntime_gpu.ORT):
        cudnn = onnxruntime_gpu.cudnn_for(row, base.sm or "0")
        if cudnn is not None and row.runs_on(base.sm or "0", base.arch):
            yield dataclasses.replace(base, version=_series(row.newest), cuda=row.cuda.last, cudnn=cudnn.newest or None)


def _series(newest: str) -> str:
    """8.6.1 and 10.16.1: three numbers tell releases apart."""
    return ".".join(newest.split(".")[:3])


def _named(target: Target) -> str:
    if target.sm is None:
        return f"runtime: {target.runtime}, on the CPU"
    return f"{install.NAMES[target.runtime]} {target.version or ''}".rstrip()


def cost(target: Target, wanted: str) -> str:
    """What such a cell costs in time, in words: measured for CPUs, from the tables for GPUs."""
    if target.sm is None:
        row = next((r for r in precision.CPU_SPEEDS if (r.runtime, r.precision) == (target.runtime, wanted)), None)
        if row is None or target.arch != "x86_64":
            return "not measured on such a CPU"
        return f"measured {row.times:g} times as fast as the naive export, {precision.CPU_SPEEDS_ON}"
    if wanted == "fp32":
        unfused = ", without TensorRT's fusions" if target.runtime == "onnxruntime-gpu" else ""
        return f"about the fp32 rate of the GPU{unfused}"
    rate = precision.rate(wanted, target.sm)
    if rate is not None:
        return f"the GPU runs {wanted} at {rate.words}"
    core = precision.TENSOR_CORES_FROM.get(wanted)
    if core is not None and version(target.sm) >= version(core):
        return f"the GPU runs {wanted} on tensor cores"
    return f"{wanted} arithmetic of the GPU"
