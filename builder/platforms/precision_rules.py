"""Rules for precisions: what the GPU, the runtime and the processor can do with them, and how fast."""

from __future__ import annotations

from typing import Optional

from builder.platforms import tables
from builder.platforms.asked import Answer, Asked, Held, Skip, answer

_DOCUMENT = "docs/explanation/precisions.md"


def gpu_has_the_arithmetic(asked: Asked) -> Optional[Answer]:
    wanted, sm = asked.cell.precision, asked.target.sm
    row = tables.arithmetic(wanted)
    if sm is None or row is None:
        return None
    return answer(
        row.on(sm),
        f"{wanted}-sm",
        f"compute capability {sm} has {wanted} arithmetic",
        f"compute capability {sm} has no {wanted} arithmetic",
        row.source,
    )


def fp16_is_not_slow(asked: Asked) -> Optional[Answer]:
    """A rate below that of fp32 makes fp16 pointless, whatever the runtime reports."""
    sm = asked.target.sm
    if sm is None or asked.cell.precision != "fp16":
        return None
    row = tables.rate("fp16", sm)
    if row is None:
        core = tables.tensor_cores("fp16")
        assert core is not None
        said = f"compute capability {sm} runs fp16 on tensor cores (from {core.sm_from})"
        return Held("fp16-rate", said, core.source)
    said = f"compute capability {sm} runs fp16 at {row.words}"
    return answer(row.times >= 1, "fp16-rate", said, said, row.source)


def rtx_has_no_int8_convolution(asked: Asked) -> Optional[Answer]:
    if asked.target.runtime != "tensorrt-rtx" or asked.cell.precision != "int8":
        return None
    return Skip(
        "rtx-int8",
        "TensorRT-RTX uses int8 for the weights of matrix products only; convolutions would run in fp32",
        tables.rtx().series[-1].source,
    )


def cuda_provider_has_no_int8_convolution(asked: Asked) -> Optional[Answer]:
    if asked.target.runtime != "onnxruntime-gpu" or asked.cell.precision != "int8":
        return None
    return Skip(
        "cuda-int8",
        "onnxruntime's CUDA provider has no int8 convolution: they would run in fp32, or on the CPU",
        tables.onnxruntime_gpu().int8.source,
    )


def bf16_is_the_runtimes_own(asked: Asked) -> Optional[Answer]:
    if asked.cell.precision != "bf16":
        return None
    if asked.target.runtime == "openvino":
        return Held("bf16-lowering", "OpenVINO computes an fp32 graph in bf16 when told to", _DOCUMENT)
    why = {
        "onnxruntime": "onnxruntime's CPU provider has no bf16 convolution",
        "onnxruntime-gpu": "bf16 graphs are not written yet; onnxruntime-gpu takes the fp16 graph",
        "tensorrt": "bf16 graphs are not written yet; TensorRT takes the fp16 graph",
        "tensorrt-rtx": "bf16 graphs are not written yet; TensorRT-RTX takes the fp16 graph",
    }[asked.target.runtime]
    source = "onnxruntime, list of CPU operators" if asked.target.runtime == "onnxruntime" else _DOCUMENT
    return Skip("bf16-lowering", why, source)


def cpu_has_bf16(asked: Asked) -> Optional[Answer]:
    target, machine = asked.target, asked.machine
    if asked.cell.precision != "bf16" or target.runtime != "openvino" or target.arch != machine.arch or target.reached:
        return None
    rows = tables.precision().cpu_bf16
    wanted = [feature for row in rows for feature in row.features]
    has = [feature for feature in wanted if feature in machine.features]
    return answer(
        bool(has),
        "cpu-bf16",
        f"{machine.cpu} has {', '.join(has)}",
        f"{machine.cpu} has none of {', '.join(wanted)}; bf16 would be emulated",
        rows[0].source,
    )


RULES = (
    gpu_has_the_arithmetic,
    fp16_is_not_slow,
    rtx_has_no_int8_convolution,
    cuda_provider_has_no_int8_convolution,
    bf16_is_the_runtimes_own,
    cpu_has_bf16,
)
