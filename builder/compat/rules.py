"""The rules: may this cell exist on this target? Each rule is a pure function that returns a `Skip` or None.

A skip names the rule, the fact that broke it, where that fact is documented, and what would work instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from builder.cells import Cell
from builder.compat import tables
from builder.facts import Machine
from builder.matrix import Head, Target


@dataclass(frozen=True)
class Skip:
    rule: str
    fact: str
    source: str
    remedies: Tuple[str, ...]

    @property
    def reason(self) -> str:
        return self.fact


@dataclass(frozen=True)
class Asked:
    """May `cell`, an artifact of `head`, exist on `target`? `machine` matters only for targets that are this machine."""

    cell: Cell
    head: Head
    target: Target
    machine: Machine


Rule = Callable[[Asked], Optional[Skip]]


def judge(asked: Asked) -> Optional[Skip]:
    """The first rule that is broken."""
    for rule in RULES:
        skip = rule(asked)
        if skip is not None:
            return skip
    return None


def tensorrt_knows_the_gpu(asked: Asked) -> Optional[Skip]:
    target = asked.target
    if target.runtime != "tensorrt" or target.version is None or target.sm is None:
        return None
    row = tables.tensorrt_row(target.version)
    if row is None:
        known = ", ".join(".".join(map(str, r.last)) for r in tables.TENSORRT)
        return Skip(
            "tensorrt-version",
            f"TensorRT {target.version} is in no table here",
            "builder/compat/tables.py",
            (f"one of the series ending {known}",),
        )
    if tables.version(target.sm) >= tables.version(row.sm_from):
        return None
    return Skip(
        "tensorrt-sm",
        f"TensorRT {target.version} supports compute capability {row.sm_from} and newer; {target.machine} is {target.sm}",
        row.source,
        _runs_on(target.sm),
    )


def _runs_on(sm: str) -> Tuple[str, ...]:
    fitting = [r for r in tables.TENSORRT if tables.version(sm) >= tables.version(r.sm_from)]
    native = tuple(f"TensorRT {'.'.join(map(str, r.last))} (CUDA {r.cuda}; Python {r.python})" for r in fitting[-1:])
    return (*native, "a CPU target on the same machine: runtime: openvino or onnxruntime")


def jetpack_brings_its_tensorrt(asked: Asked) -> Optional[Skip]:
    target = asked.target
    if target.jetpack is None or target.version is None:
        return None
    series = ".".join(target.jetpack.split(".")[:2])
    row = tables.JETPACK_TENSORRT.get(series)
    declared = tables.version(target.version)
    if row is not None and declared[:2] == tables.version(row[0])[:2]:
        return None
    brings = f"brings TensorRT {row[0]}" if row else "is in no table here"
    remedy = f'version: "{row[0]}"' if row else "jetpack: one of " + ", ".join(tables.JETPACK_TENSORRT)
    return Skip(
        "jetpack-tensorrt",
        f"JetPack {target.jetpack} {brings}, not {target.version}",
        "JetPack release notes",
        (remedy,),
    )


def rtx_knows_the_gpu(asked: Asked) -> Optional[Skip]:
    target = asked.target
    if target.runtime != "tensorrt-rtx" or target.sm in tables.RTX_SM:
        return None
    return Skip(
        "rtx-sm",
        f"TensorRT-RTX builds for compute capability {', '.join(tables.RTX_SM)}; {target.machine} is {target.sm}",
        tables.RTX_SOURCE,
        _runs_on(target.sm or "0.0"),
    )


def rtx_has_no_int8_convolution(asked: Asked) -> Optional[Skip]:
    cell, target = asked.cell, asked.target
    if target.runtime != "tensorrt-rtx" or cell.precision != "int8":
        return None
    return Skip(
        "rtx-int8",
        "TensorRT-RTX uses int8 for the weights of matrix products only; convolutions would run in fp32",
        tables.RTX_SOURCE,
        ("precision fp16 on this target", "runtime: tensorrt on the same GPU for int8"),
    )


def bf16_is_the_runtimes_own(asked: Asked) -> Optional[Skip]:
    cell, target = asked.cell, asked.target
    if cell.precision != "bf16" or target.runtime == "openvino":
        return None
    why = {
        "onnxruntime": "onnxruntime's CPU provider has no bf16 convolution",
        "tensorrt": "bf16 graphs are not written yet; TensorRT takes the fp16 graph",
        "tensorrt-rtx": "bf16 graphs are not written yet; TensorRT-RTX takes the fp16 graph",
    }[target.runtime]
    remedy = ("precision fp16 on this target",) if target.runtime != "onnxruntime" else ("runtime: openvino",)
    return Skip("bf16-lowering", why, "onnxruntime CPU operator list; docs/explanation/precisions.md", remedy)


def cpu_has_bf16(asked: Asked) -> Optional[Skip]:
    cell, target, machine = asked.cell, asked.target, asked.machine
    if cell.precision != "bf16" or target.runtime != "openvino" or target.arch != machine.arch:
        return None
    if set(tables.CPU_BF16) & set(machine.features):
        return None
    return Skip(
        "cpu-bf16",
        f"{machine.cpu} has none of {', '.join(tables.CPU_BF16)}; bf16 would be emulated",
        tables.CPU_BF16_SOURCE,
        ("precision int8 on this target",),
    )


def gpu_has_the_arithmetic(asked: Asked) -> Optional[Skip]:
    cell, target = asked.cell, asked.target
    if target.sm is None:
        return None
    sm = tables.version(target.sm)
    if cell.precision == "fp16" and target.sm in tables.SM_SLOW_FP16:
        return Skip(
            "fp16-rate",
            f"compute capability {target.sm} runs fp16 at 1/64 of its fp32 rate",
            tables.SLOW_FP16_SOURCE,
            ("precision int8 on this target", "precision fp32 on this target"),
        )
    lowest = tables.SM_LOWEST.get(cell.precision)
    if lowest is None or (sm >= tables.version(lowest) and (cell.precision, target.sm) not in tables.SM_EXCEPT):
        return None
    return Skip(
        f"{cell.precision}-sm",
        f"compute capability {target.sm} has no {cell.precision} arithmetic",
        tables.SM_SOURCE,
        ("another precision on this target: fp32, or what `build plan` shows for it",),
    )


def tensorrt_limits_topk(asked: Asked) -> Optional[Skip]:
    """A head that gives points picks them with TopK; how many is the fixed dimension of its points."""
    if not asked.target.runtime.startswith("tensorrt"):
        return None
    count = _points(asked.head)
    if count is None or count <= tables.TOPK_LARGEST:
        return None
    return Skip(
        "tensorrt-topk",
        f"head {asked.head.name!r} keeps {count} points; TopK in {asked.target.runtime} takes K up to "
        f"{tables.TOPK_LARGEST}",
        tables.TOPK_SOURCE,
        (
            f"at most {tables.TOPK_LARGEST} points (the head's options, and the shapes of its outputs)",
            "a head without TopK, whose host finds the maxima",
            "a CPU target on the same machine: runtime: openvino or onnxruntime",
        ),
    )


def _points(head: Head) -> Optional[int]:
    """K of the output [batch, K, 2] that holds a head's points; None when it has none, or K is not fixed."""
    named = {head.align.points if head.align else None, head.postprocess.points if head.postprocess else None}
    for output in head.outputs:
        if output.name in named and len(output.shape) == 3 and isinstance(output.shape[1], int):
            return output.shape[1]
    return None


RULES: Tuple[Rule, ...] = (
    tensorrt_knows_the_gpu,
    jetpack_brings_its_tensorrt,
    rtx_knows_the_gpu,
    rtx_has_no_int8_convolution,
    gpu_has_the_arithmetic,
    bf16_is_the_runtimes_own,
    cpu_has_bf16,
    tensorrt_limits_topk,
)
