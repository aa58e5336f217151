"""Contents of an artifact's file: tensors, operators, weights, layers.

Records only; the readers of the formats fill them. A layer here is one that multiplies and adds: a convolution or a
matrix product. All others are cheap beside them, so only these decide whether an artifact "runs in int8".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Literal, Mapping, Optional, Sequence, Tuple, Union

from builder.records import KEYED

Format = Literal["onnx", "openvino-ir", "tensorrt-plan", "tensorrt-rtx-plan"]
Shapes = Mapping[str, Tuple[int, ...]]

# An int8 artifact with less than this share of the work in int8 is flagged.
MOSTLY = 0.5
_USUAL = 256  # pixels for a dimension that nothing else decides


@dataclass(frozen=True)
class Fact:
    name: str
    value: str


@dataclass(frozen=True)
class Tensor:
    """`shape` has a number for a fixed dimension, the symbol or `?` for a dynamic one."""

    name: str
    dtype: str
    shape: Tuple[Union[int, str], ...]


@dataclass(frozen=True)
class OperatorCount:
    operator: str
    count: int


@dataclass(frozen=True)
class Weights:
    dtype: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product.

    `macs`: multiply-accumulates for one input, None for unknown shapes. `why`: the reason that it is not in int8.
    """

    name: str
    kind: str
    precision: str
    macs: Optional[int] = None
    why: str = ""


@dataclass(frozen=True)
class Layers:
    """Layers by their `source`; `at`: input shapes of the multiply-accumulates."""

    source: str
    layers: Tuple[Layer, ...]
    at: str = ""

    def shares(self) -> Dict[str, float]:
        """precision -> share of the work (of the layers, when a shape is unknown), largest first."""
        weights = [layer.macs or 0 for layer in self.layers] if self.counts_work else [1] * len(self.layers)
        found: Dict[str, float] = {}
        for layer, weight in zip(self.layers, weights):
            found[layer.precision] = found.get(layer.precision, 0.0) + weight / sum(weights)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def counts_work(self) -> bool:
        return all(layer.macs is not None for layer in self.layers) and any(layer.macs for layer in self.layers)

    @property
    def unit(self) -> str:
        return "multiply-accumulates" if self.counts_work else "compute layers"


@dataclass(frozen=True)
class Contents:
    """Contents of a file.

    `declared`: layers in the graph; `realised`: layers that run here, or those in the plan.
    """

    file: str
    format: Format
    size: int
    facts: Tuple[Fact, ...] = field(default=(), metadata=KEYED)
    inputs: Tuple[Tensor, ...] = ()
    outputs: Tuple[Tensor, ...] = ()
    operators: Tuple[OperatorCount, ...] = field(default=(), metadata=KEYED)
    weights: Tuple[Weights, ...] = field(default=(), metadata=KEYED)
    declared: Optional[Layers] = None
    realised: Optional[Layers] = None
    notes: Tuple[str, ...] = ()


def flag(precision: str, layers: Optional[Layers]) -> Optional[str]:
    """A warning for an int8 artifact with less than half of its work in int8.

    None otherwise.
    """
    if precision != "int8" or layers is None or not layers.layers:
        return None
    share = layers.shares().get("int8", 0.0)
    if share >= MOSTLY:
        return None
    return f"declared int8, but {share:.0%} of its {layers.unit} run in int8 ({layers.source})"


def counted(operators: Iterable[str]) -> Tuple[OperatorCount, ...]:
    """Most frequent first."""
    listed = list(operators)
    return tuple(
        OperatorCount(name, listed.count(name)) for name in sorted(set(listed), key=lambda n: (-listed.count(n), n))
    )


def summed(weights: Iterable[Weights]) -> Tuple[Weights, ...]:
    """One row per data type, largest first."""
    totals: Dict[str, Weights] = {}
    for one in weights:
        before = totals.get(one.dtype, Weights(one.dtype, 0, 0))
        totals[one.dtype] = Weights(one.dtype, before.count + one.count, before.bytes + one.bytes)
    return tuple(sorted(totals.values(), key=lambda w: -w.bytes))


def concrete(inputs: Sequence[Tensor], shapes: Shapes) -> Dict[str, Tuple[int, ...]]:
    """A shape for each input.

    The given one where it fits, else a batch of 1 and about 256 per dynamic dimension.
    """
    found: Dict[str, Tuple[int, ...]] = {}
    for tensor in inputs:
        given = shapes.get(tensor.name)
        found[tensor.name] = given if given and len(given) == len(tensor.shape) else _usual(tensor.shape)
    return found


def spelled(shapes: Shapes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _usual(shape: Tuple[Union[int, str], ...]) -> Tuple[int, ...]:
    sizes: List[int] = []
    for at, dim in enumerate(shape):
        if isinstance(dim, int):
            sizes.append(dim)
        elif at == 0:
            sizes.append(1)
        else:
            multiple = dim.partition("*")[0]
            step = int(multiple) if multiple.isdigit() and int(multiple) else 1
            sizes.append(step * math.ceil(_USUAL / step))
    return tuple(sizes)
