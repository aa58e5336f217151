"""All rules in their order: whether they skip a cell, what each says of it, and what works instead of a skipped one. Pure.

Each rule is a function of `Asked` that answers with a fact and where it is documented, or with nothing when it does not
concern such a target. What is offered instead, another precision, version or runtime, or the CPU beside the GPU, was put
to the same rules, so it breaks none.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Dict, Iterator, Optional, Sequence, Tuple

from builder.config.matrix import WAIVABLE, Target
from builder.platforms import gpu_rules, install, precision_rules, tables, tensorrt_rules
from builder.platforms.asked import Answer, Asked, Held, Rule, Skip, waived
from builder.platforms.versions import first

__all__ = ["RULES", "Answer", "Asked", "Held", "Remedy", "Rule", "Skip", "answers", "judge", "remedies", "waived"]

RULES: Tuple[Rule, ...] = (
    *tensorrt_rules.RULES,
    *gpu_rules.RULES,
    *precision_rules.RULES,
    *tensorrt_rules.GRAPH_RULES,
)

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


def judge(asked: Asked) -> Optional[Skip]:
    """The first rule that is broken and not waived."""
    for rule in RULES:
        said = rule(asked)
        if isinstance(said, Skip) and waived(asked, said) is None:
            return said
    return None


def answers(asked: Asked) -> Tuple[Answer, ...]:
    """What every rule says that concerns the cell, broken ones and waived ones included."""
    return tuple(said for said in (rule(asked) for rule in RULES) if said is not None)


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
    most = (2 if asked.target.sm is not None else 1) if slow else 0
    yield from here[:most]
    yield from _on_the_gpu(asked) if slow else _on_the_gpu_somehow(asked)
    yield from _with(asked, _CPU)
    yield from here[most:]


def _is_about_precision(skip: Skip) -> bool:
    arithmetic = {f"{row.precision}-sm" for row in tables.precision().arithmetic}
    return skip.rule in {*arithmetic, *WAIVABLE, "bf16-lowering", "cpu-bf16"}


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
    return judge(dataclasses.replace(asked, cell=cell, target=target, options=options, allow=())) is None


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
            for rtx_row in reversed(tables.rtx().series):
                if base.sm in rtx_row.sm:
                    yield dataclasses.replace(base, version=first(rtx_row.newest, 3), jetpack=None)
        else:
            yield from _onnxruntimes(base)


def _tensorrts(base: Target) -> Iterator[Target]:
    known = [row for row in tables.jetpack().series if base.sm in row.sm]
    declared = tables.jetpack_series(base.jetpack) if base.jetpack is not None else ()
    # The declared JetPack first: another one means to flash the board anew.
    newest_first = list(reversed(known))
    for row in sorted(newest_first, key=lambda row: row not in declared):
        yield dataclasses.replace(base, version=row.tensorrt, cuda=row.cuda, jetpack=row.versions.last)
    if known:
        return
    for series in reversed(tables.tensorrt().series):
        for span in reversed(series.cuda if base.sm in series.sm else ()):
            yield dataclasses.replace(base, version=first(series.newest, 3), cuda=span.last)


def _onnxruntimes(base: Target) -> Iterator[Target]:
    for row in reversed(tables.onnxruntime_gpu().series):
        cudnn = tables.cudnn_for(row, base.sm or "0")
        if cudnn is not None and row.runs_on(base.sm or "0", base.arch):
            yield dataclasses.replace(
                base, version=first(row.newest, 3), cuda=row.cuda.last, cudnn=cudnn.newest or None
            )


def _named(target: Target) -> str:
    if target.sm is None:
        return f"runtime: {target.runtime}, on the CPU"
    return f"{install.NAMES[target.runtime]} {target.version or ''}".rstrip()


def cost(target: Target, wanted: str) -> str:
    """What such a cell costs in time, in words: measured for CPUs, from the tables for GPUs."""
    if target.sm is None:
        row = next(
            (r for r in tables.precision().cpu_speeds if (r.runtime, r.precision) == (target.runtime, wanted)), None
        )
        if row is None or target.arch != "x86_64":
            return "not measured on such a CPU"
        return f"measured {row.times:g} times as fast as the naive export, {row.source}"
    if wanted == "fp32":
        unfused = ", without TensorRT's fusions" if target.runtime == "onnxruntime-gpu" else ""
        return f"about the fp32 rate of the GPU{unfused}"
    rate = tables.rate(wanted, target.sm)
    if rate is not None:
        return f"the GPU runs {wanted} at {rate.words}"
    core = tables.tensor_cores(wanted)
    if core is not None and core.on(target.sm):
        return f"the GPU runs {wanted} on tensor cores"
    return f"{wanted} arithmetic of the GPU"
