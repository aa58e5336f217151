"""The contract of a model's artifacts: everything a host needs to open one and to use its tensors.

These records are declared in matrix.yaml and copied into every manifest. Other records of matrix.yaml are in
`builder/config/matrix.py`, which a host never loads. Nothing here reads a file. Sizes are (height, width) in pixels,
shapes are NCHW.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Literal, Optional, Tuple, Union

from builder.records import described

# Symbolic tensor shapes: `[batch, 1, 8*h8, 8*w8]`. A dimension is a whole number, a symbol (`batch`), or a multiple of
# a symbol (`8*h8`).


Dim = Union[int, str]
Shape = Tuple[Dim, ...]

_SYMBOLIC = re.compile(r"(?:(\d+)\s*\*\s*)?([A-Za-z_]\w*)")


def parse(dim: Dim) -> Tuple[int, Optional[str]]:
    """(multiple, symbol): 8*h8 -> (8, 'h8'), batch -> (1, 'batch'), 256 -> (256, None). Raises ValueError."""
    if isinstance(dim, int):
        if dim < 1:
            raise ValueError(f"dimension {dim} is not positive")
        return dim, None
    match = _SYMBOLIC.fullmatch(dim.strip())
    if not match or match.group(1) == "0":
        raise ValueError(f"{dim!r} is not a dimension; write 256, batch or 8*h8")
    return int(match.group(1) or 1), match.group(2)


def spelled(dim: Dim) -> str:
    """The one spelling that comparisons use: `8 * h8` -> `8*h8`."""
    multiple, symbol = parse(dim)
    if symbol is None:
        return str(multiple)
    return symbol if multiple == 1 else f"{multiple}*{symbol}"


def bind(shape: Shape, actual: Tuple[int, ...]) -> Dict[str, int]:
    """The value of each symbol for a tensor of shape `actual`. Raises ValueError when it does not fit."""
    if len(shape) != len(actual):
        raise ValueError(f"{list(actual)} has {len(actual)} dimensions, {list(shape)} has {len(shape)}")
    bound: Dict[str, int] = {}
    for dim, size in zip(shape, actual):
        multiple, symbol = parse(dim)
        if symbol is None:
            if size != multiple:
                raise ValueError(f"{size} where {list(shape)} has the fixed dimension {multiple}")
        elif size < 1 or size % multiple:
            raise ValueError(f"{size} is not a multiple of {multiple}, as {dim!r} in {list(shape)} asks")
        elif bound.setdefault(symbol, size // multiple) != size // multiple:
            raise ValueError(f"{symbol} would be {bound[symbol]} and {size // multiple} at once in {list(actual)}")
    return bound


def with_size(shape: Shape, size: Tuple[int, int], batch: int = 1) -> Tuple[int, ...]:
    """`shape` (its last two dimensions height and width, its first the batch) at `size` = (height, width) pixels."""
    fixed = [dim if isinstance(dim, int) else batch for dim in shape]
    fixed[-2], fixed[-1] = size
    bind(shape, tuple(fixed))
    return tuple(fixed)


Precision = Literal["fp32", "bf16", "fp16", "int8"]
Runtime = Literal["onnxruntime", "openvino", "onnxruntime-gpu", "tensorrt-rtx", "tensorrt"]
Compute = Literal["f32", "bf16", "f16"]
ON_CPU = ("onnxruntime", "openvino")  # runtimes that compute on the CPU
# The installed package with the runtime's version.
PACKAGE = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "onnxruntime-gpu": "onnxruntime-gpu",
    "tensorrt-rtx": "tensorrt_rtx",
    "tensorrt": "tensorrt",
}


@dataclass(frozen=True)
class Input:
    name: str
    shape: Tuple[Dim, ...] = field(metadata=described("NCHW; a number, a symbol (batch) or a multiple (8*h8)."))
    dtype: Literal["float32"] = "float32"


@dataclass(frozen=True)
class Output:
    name: str
    shape: Tuple[Dim, ...]


@dataclass(frozen=True)
class Keypoints:
    """How a host turns the head's tensors into keypoints. A head without it returns tensors.

    Without `points`, `scores` is a map [B, H, W] and `descriptors` [B, D, H/8, W/8] a coarse one: the host finds the
    maxima. With `points` [B, K, 2], the head has found them: scores [B, K], descriptors [B, K, D].
    """

    kind: Literal["keypoints"] = "keypoints"
    scores: str = field(default="scores", metadata=described("Output with the scores."))
    descriptors: str = field(default="descriptors", metadata=described("Output with the descriptors."))
    points: Optional[str] = field(
        default=None, metadata=described("Output with (x, y) in pixels, when the head gives points.")
    )
    threshold: float = field(default=0.005, metadata=described("Lowest score that counts as a keypoint."))
    nms_radius: int = field(default=4, metadata=described("Pixels; no two keypoints are closer than this (Chebyshev)."))
    top_k: int = field(default=1024, metadata=described("At most this many keypoints, best first."))


@dataclass(frozen=True)
class Align:
    """Rows of the outputs are an unordered set of points (top-k keypoints): pair them before comparing."""

    points: str = field(metadata=described("The output that holds (x, y) in pixels, [batch, K, 2]."))
    scores: str = field(metadata=described("The output that holds a score per row, [batch, K]."))
    at_least: float = field(default=0.0, metadata=described("Reference rows with a lower or equal score are padding."))
    within: float = field(default=1.0, metadata=described("Pixels; a point farther than this from its pair is lost."))


@dataclass(frozen=True)
class Preprocess:
    """The contract between a photograph and the input tensor. It travels in the manifest to every host."""

    color: Literal["grayscale", "rgb"] = "grayscale"
    range: Tuple[float, float] = field(default=(0.0, 1.0), metadata=described("0..255 is mapped linearly to this."))
    mean: Tuple[float, ...] = field(default=(), metadata=described("Subtracted after `range`, one number per channel."))
    std: Tuple[float, ...] = field(default=(), metadata=described("Divided by after `mean`, one number per channel."))
    resize: Literal["linear", "area"] = field(
        default="linear", metadata=described("OpenCV's INTER_LINEAR or INTER_AREA.")
    )
    multiple: int = field(default=1, metadata=described("Height and width are brought to a multiple of this."))


@dataclass(frozen=True)
class ShapeRange:
    name: str
    min: Tuple[int, ...]
    opt: Tuple[int, ...]
    max: Tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """A TensorRT optimization profile: for each input the smallest, usual and largest shape."""

    name: str
    inputs: Tuple[ShapeRange, ...] = field(metadata=described("For each input: min, opt and max shape.", keyed=True))


@dataclass(frozen=True)
class Agreement:
    """An output whose largest element along `axis` is its meaning (class scores)."""

    output: str
    axis: int
