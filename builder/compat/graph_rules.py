"""Rules for the graph itself: what TensorRT limits, whatever the GPU. Sizes are those that the cell's profiles allow."""

from __future__ import annotations

from typing import Dict, Iterator, Optional, Tuple

from builder.compat import tensorrt
from builder.compat.asked import Answer, Asked, Held, answer
from builder.config import contract
from builder.config.contract import Profile
from builder.config.matrix import Head


def tensorrt_limits_topk(asked: Asked) -> Optional[Answer]:
    """A head that gives points picks them with TopK; how many is the fixed dimension of its points."""
    count = _points(asked.head) if asked.target.runtime.startswith("tensorrt") else None
    if count is None:
        return None
    said = f"head {asked.head.name!r} keeps {count} points; TopK in {asked.target.runtime} takes K up to"
    return answer(
        count <= tensorrt.TOPK_LARGEST,
        "tensorrt-topk",
        f"{said} {tensorrt.TOPK_LARGEST}",
        f"{said} {tensorrt.TOPK_LARGEST}",
        tensorrt.TOPK_SOURCE,
        (
            f"at most {tensorrt.TOPK_LARGEST} points (the head's options, and the shapes of its outputs)",
            "a head without TopK, whose host finds the maxima",
        ),
    )


def _points(head: Head) -> Optional[int]:
    """K of the output [batch, K, 2] that holds a head's points; None when it has none, or K is not fixed."""
    named = {head.align.points if head.align else None, head.postprocess.points if head.postprocess else None}
    for output in head.outputs:
        if output.name in named and len(output.shape) == 3 and isinstance(output.shape[1], int):
            return output.shape[1]
    return None


def tensorrt_reads_the_opset(asked: Asked) -> Optional[Answer]:
    """Never broken: a graph for an older parser is brought to its opset, node by node (`builder/steps/lower_opset.py`)."""
    target = asked.target
    row = tensorrt.series(target.version) if target.runtime == "tensorrt" and target.version is not None else None
    if row is None or not asked.opset:
        return None
    said = f"TensorRT {target.version} reads ONNX up to opset {row.opset}; the graph is opset {asked.opset}"
    lowered = f", brought to {row.opset} for it" if asked.opset > row.opset else ""
    return Held("tensorrt-opset", said + lowered, tensorrt.OPSET_SOURCE)


def tensorrt_limits_dimensions(asked: Asked) -> Optional[Answer]:
    if not asked.target.runtime.startswith("tensorrt"):
        return None
    tensors = {tensor.name: len(tensor.shape) for tensor in asked.inputs}
    tensors.update({tensor.name: len(tensor.shape) for tensor in asked.head.outputs})
    name, most = max(tensors.items(), key=lambda item: item[1], default=("", 0))
    return answer(
        most <= tensorrt.MOST_DIMENSIONS,
        "tensorrt-dimensions",
        f"tensors have at most {tensorrt.MOST_DIMENSIONS} dimensions; these have up to {most}",
        f"{name!r} has {most} dimensions; tensors in {asked.target.runtime} have at most {tensorrt.MOST_DIMENSIONS}",
        tensorrt.DIMENSIONS_SOURCE,
        ("fold dimensions of that tensor together in the model",),
    )


def tensorrt_limits_volume(asked: Asked) -> Optional[Answer]:
    """Inputs and outputs at the largest shapes of the profiles; what lies between them only the builder knows."""
    if not asked.target.runtime.startswith("tensorrt") or not asked.profiles:
        return None
    volumes = [found for profile in asked.profiles for found in _volumes(asked, profile)]
    most, name, profile = max(volumes, default=(0, "", ""))
    return answer(
        most <= tensorrt.MOST_ELEMENTS,
        "tensorrt-volume",
        f"the largest input or output has {most} elements, of at most 2^31 - 1",
        f"{name!r} has {most} elements at the largest shape of profile {profile!r}; a tensor in {asked.target.runtime} "
        "has at most 2^31 - 1",
        tensorrt.ELEMENTS_SOURCE,
        (f"a smaller `max` in profile {profile!r}",),
    )


def _volumes(asked: Asked, profile: Profile) -> Iterator[Tuple[int, str, str]]:
    """(elements, tensor, profile) of each input, and of each output whose every dimension is known."""
    sizes: Dict[str, int] = {}
    for tensor in asked.inputs:
        shape = next((r.max for r in profile.inputs if r.name == tensor.name), None)
        if shape is not None:
            sizes.update(contract.bind(tensor.shape, shape))
            yield _product(shape), tensor.name, profile.name
    for output in asked.head.outputs:
        parsed = [contract.parse(dim) for dim in output.shape]
        if all(symbol is None or symbol in sizes for _, symbol in parsed):
            yield _product(m * sizes[s] if s is not None else m for m, s in parsed), output.name, profile.name


def _product(numbers: "Tuple[int, ...] | Iterator[int]") -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


RULES = (tensorrt_reads_the_opset, tensorrt_limits_topk, tensorrt_limits_dimensions, tensorrt_limits_volume)
