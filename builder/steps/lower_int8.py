"""The int8 step: explicit QuantizeLinear/DequantizeLinear pairs from calibration photographs.

Only convolutions are quantized: their weights to int8 per output channel, symmetric; biases stay float32, since
TensorRT's parser refuses an int32 bias. A pair sits on each convolution's input; where that comes from a MaxPool,
the pair goes in front of it (rounding and maximum commute), so that the convolution before writes int8.

`symmetric` activations are int8 with zero point 0, the only kind TensorRT takes; `asymmetric` ones are uint8,
which wastes no code on the negative side after a ReLU and suits CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, List, Set

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from builder import onnx_file
from builder.action import Action
from builder.errors import StepFailed
from builder.recipes import Facts, LowerInt8, Made
from builder.steps.calibrate import Floats, Grid, grids


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, LowerInt8):
        raise StepFailed("an int8 action needs an int8 recipe")
    model = onnx_file.load(inputs / "model.onnx")
    keep = onnx_file.labelled(model, recipe.keep)
    if not activations(model):
        raise StepFailed(
            "the model has no convolution to quantize", hint="leave int8 out for it (`skip:` in matrix.yaml)"
        )
    places = activations(model, keep)
    with np.load(inputs / "images.npz", allow_pickle=False) as file:
        images = [image[None] for image in file["images"]]
    found = grids(model, places, images, recipe) if places else {}  # none: every convolution is kept
    quantized = quantize(model, found, signed=recipe.activations == "symmetric", keep=keep)
    onnx_file.save(quantized, out / "model.onnx")
    return Made(len(quantized.graph.node), ())


def activations(model: onnx.ModelProto, keep: FrozenSet[str] = frozenset()) -> List[str]:
    """The tensors that get a pair, in graph order. `keep`: labels of nodes that stay in float32."""
    producer = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if _is_quantizable(node, model, keep)]
    pools = _passed_pools(model, keep)
    return list(dict.fromkeys(_before_pooling(producer, node.input[0], pools) for node in convolutions))


def quantizable(model: onnx.ModelProto, keep: FrozenSet[str] = frozenset()) -> List[str]:
    """Labels of the nodes that `quantize` makes int8, in graph order."""
    return [onnx_file.label(node) for node in model.graph.node if _is_quantizable(node, model, keep)]


def _is_quantizable(node: onnx.NodeProto, model: onnx.ModelProto, keep: FrozenSet[str]) -> bool:
    """A convolution whose weights are constants, and that is not kept."""
    if onnx_file.label(node) in keep:
        return False
    return node.op_type == "Conv" and any(i.name == node.input[1] for i in model.graph.initializer)


def _passed_pools(model: onnx.ModelProto, keep: FrozenSet[str]) -> FrozenSet[str]:
    """Outputs of the MaxPools that a pair may go in front of: neither kept themselves nor read by a kept node."""
    read = {name for node in model.graph.node if onnx_file.label(node) in keep for name in node.input}
    pools = [n for n in model.graph.node if n.op_type == "MaxPool" and onnx_file.label(n) not in keep]
    return frozenset(node.output[0] for node in pools if node.output[0] not in read)


def _before_pooling(producer: Dict[str, onnx.NodeProto], name: str, pools: FrozenSet[str]) -> str:
    return _before_pooling(producer, producer[name].input[0], pools) if name in pools else name


def quantize(
    model: onnx.ModelProto, grids: Dict[str, Grid], *, signed: bool, keep: FrozenSet[str] = frozenset()
) -> onnx.ModelProto:
    """A copy of `model` with the pairs written in; the nodes labelled in `keep` stay as they are."""
    return _Writer(model, grids, signed, keep).graph()


@dataclass(frozen=True)
class QuantizedWeight:
    """values int8 [O, ...]; scale float32 [O]: weight = values * scale."""

    values: "NDArray[np.int8]"
    scale: Floats


def quantize_weight(weight: Floats) -> QuantizedWeight:
    """Symmetric, per output channel; a channel of zeros has scale 1."""
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    rounded = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return QuantizedWeight(np.clip(rounded, -127, 127).astype(np.int8), scale)


class _Writer:
    def __init__(self, model: onnx.ModelProto, grids: Dict[str, Grid], signed: bool, keep: FrozenSet[str]) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._grids = grids
        self._kind = np.int8 if signed else np.uint8
        self._producer = {name: node for node in model.graph.node for name in node.output}
        self._quantizable = {node.output[0] for node in model.graph.node if _is_quantizable(node, model, keep)}
        self._pooled = self._pools_to_quantize(_passed_pools(model, keep))
        self._arrays: Dict[str, NDArray[np.generic]] = {
            i.name: numpy_helper.to_array(i) for i in model.graph.initializer
        }
        self._nodes: List[onnx.NodeProto] = []
        self._done: Set[str] = set()

    def graph(self) -> onnx.ModelProto:
        for original in self._model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            if node.output[0] in self._pooled and node.input[0] in self._grids:
                node.input[0] = self._pair(node.input[0])
            if node.output[0] in self._quantizable:
                if node.input[0] in self._grids:
                    node.input[0] = self._pair(node.input[0])
                node.input[1] = self._weight(node.input[1])
            self._nodes.append(node)
        graph = self._model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(a), n) for n, a in self._arrays.items() if n in used
        )
        return self._model

    def _pools_to_quantize(self, passed: FrozenSet[str]) -> Set[str]:
        """Outputs of the MaxPools between a pair and its convolution."""
        found: Set[str] = set()
        for node in self._model.graph.node:
            name = node.input[0] if node.output[0] in self._quantizable else ""
            while name in passed:
                found.add(name)
                name = self._producer[name].input[0]
        return found

    def _pair(self, name: str) -> str:
        """Write the pair on tensor `name` once; the name of what comes out."""
        if name not in self._done:
            self._done.add(name)
            grid = self._grids[name]
            scale, zero = f"{name}_scale", f"{name}_zero"
            self._arrays[scale] = np.asarray(grid.scale, np.float32)
            self._arrays[zero] = np.asarray(grid.zero, self._kind)
            self._nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_q"], f"{name}_Q"))
            self._nodes.append(
                helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_dq"], f"{name}_DQ")
            )
        return f"{name}_dq"

    def _weight(self, name: str) -> str:
        if name not in self._done:
            self._done.add(name)
            made = quantize_weight(np.asarray(self._arrays[name], np.float32))
            values, scale, zero = f"{name}_i8", f"{name}_scale", f"{name}_zero"
            self._arrays[values], self._arrays[scale] = made.values, made.scale
            self._arrays[zero] = np.zeros(len(made.scale), np.int8)
            self._nodes.append(
                helper.make_node("DequantizeLinear", [values, scale, zero], [f"{name}_dq"], f"{name}_DQ", axis=0)
            )
        return f"{name}_dq"
