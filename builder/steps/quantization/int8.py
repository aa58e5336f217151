"""The int8 step: QuantizeLinear/DequantizeLinear pairs around convolutions.

Only convolutions are quantized, and in an `around` placement the nodes between two of them. Weights are int8 per output
channel, symmetric; biases stay float32, since TensorRT's parser refuses an int32 bias. `placement.py` decides where the
pairs go, `calibration.py` their ranges.

`symmetric` activations are int8 with zero point 0, the only kind that TensorRT accepts; `asymmetric` ones are uint8,
which wastes no code on the negative side after a ReLU and suits CPUs.

Written by hand: on SuperPoint under onnxruntime this reaches 22 dB at 40 ms, `quantize_static` at best 12.8 dB at 64
ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, List, Sequence, Set, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from builder.actions.action import Action
from builder.actions.recipes import Facts, LowerInt8, Made
from builder.errors import StepFailed
from builder.models import onnx_files
from builder.steps.quantization import fold_norms, placement
from builder.steps.quantization.calibration import Floats, Grid, grids
from builder.steps.quantization.placement import Places, Shift


def lower_int8(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, LowerInt8):
        raise StepFailed("an int8 action needs an int8 recipe")
    model = onnx_files.load(inputs / "model.onnx")
    keep = onnx_files.labelled(model, recipe.keep)
    model = prepared(model, recipe, keep)
    if not placement.has_convolutions(model):
        raise StepFailed(
            "the model has no convolution to quantize", hint="leave int8 out for it (`skip:` in matrix.yaml)"
        )
    with np.load(inputs / "images.npz", allow_pickle=False) as file:
        images = [image[None] for image in file["images"]]
    places = placement.places(model, recipe.placement, keep)
    found = grids(model, places.pairs, images, recipe) if places.pairs else {}  # none: every convolution is kept
    quantized = quantize(model, places, found, signed=recipe.activations == "symmetric")
    onnx_files.save(quantized, out / "model.onnx")
    return Made(len(quantized.graph.node), ())


def prepared(model: onnx.ModelProto, recipe: LowerInt8, keep: FrozenSet[str]) -> onnx.ModelProto:
    """The float32 graph that gets the pairs.

    For pairs around convolutions, without norms between.
    """
    return fold_norms.fold(model, keep) if recipe.placement == "around" else model


def quantize(model: onnx.ModelProto, places: Places, grids: Dict[str, Grid], *, signed: bool) -> onnx.ModelProto:
    """A copy of `model` with the pairs written in."""
    aligned, grids = align(model, places.shifts, grids, signed=signed)
    return _Writer(aligned, places, grids, signed).graph()


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
    def __init__(self, model: onnx.ModelProto, places: Places, grids: Dict[str, Grid], signed: bool) -> None:
        self._model = model
        self._places = places
        self._grids = grids
        self._kind = np.int8 if signed else np.uint8
        self._arrays: Dict[str, NDArray[np.generic]] = {
            i.name: numpy_helper.to_array(i) for i in model.graph.initializer
        }
        self._nodes: List[onnx.NodeProto] = []
        self._done: Set[str] = set()

    def graph(self) -> onnx.ModelProto:
        for original in self._model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            if node.output[0] in self._places.readers:
                for place, name in enumerate(node.input):
                    if name in self._grids:
                        node.input[place] = self._pair(name)
            if node.output[0] in self._places.convolutions:
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

    def _pair(self, name: str) -> str:
        """Write the pair on tensor `name` once.

        Returns its output name. A constant gets codes and DequantizeLinear only.
        """
        if name not in self._done:
            self._done.add(name)
            grid = self._grids[name]
            scale, zero = f"{name}_scale", f"{name}_zero"
            self._arrays[scale] = np.asarray(grid.scale, np.float32)
            self._arrays[zero] = np.asarray(grid.zero, self._kind)
            if name in self._arrays:
                codes = np.round(np.asarray(self._arrays[name], np.float64) / grid.scale) + grid.zero
                self._arrays[f"{name}_q"] = codes.astype(self._kind)
            else:
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


# ------------------------------------------------------------------------------------------- adds of a constant


Doubles = NDArray[np.float64]


def align(
    model: onnx.ModelProto, shifts: Sequence[Shift], grids: Dict[str, Grid], *, signed: bool
) -> Tuple[onnx.ModelProto, Dict[str, Grid]]:
    """One grid for tensor, constant and sum of each Add of a constant, so that the integer Add rounds nothing.

    A tensor on codes of scale S plus a constant that is a multiple of S is on codes of scale S. So the tensor takes the
    scale of the sum, and the constant is rounded to the nearest multiple. Each following convolution gets the rounding
    error back in its bias, which is exact without padding. Other calibrated grids do not change.

    Returns a copy of `model` with rounded constants and corrected biases, and `grids` with those of tensors and
    constants.
    """
    aligned, copy = dict(grids), onnx.ModelProto()
    copy.CopyFrom(model)
    arrays = {i.name: numpy_helper.to_array(i) for i in copy.graph.initializer}
    for shift in shifts:
        scale, zero = grids[shift.total].scale, grids[shift.total].zero
        if signed:  # 127 codes must reach the tensor's end as well; unsigned ones reach as far for both
            scale = max(scale, grids[shift.tensor].scale)
        exact = np.asarray(arrays[shift.constant], np.float64)
        if exact.ndim < 3 or exact.size != exact.shape[1]:
            continue  # not [1, C, 1, ...]
        codes = np.round(exact / scale)
        if np.ptp(codes) > 255 or (signed and np.abs(codes).max() > 127):
            continue  # constants that no 8 bits hold on this grid: the Add stays in float
        aligned[shift.tensor], aligned[shift.total] = Grid(scale, 0), Grid(scale, zero)
        aligned[shift.constant] = Grid(scale, 0 if signed else int(np.clip(-codes.min(), 0, 255)))
        arrays[shift.constant] = (codes * scale).astype(np.float32)
        _give_back(copy.graph, arrays, shift.total, exact - codes * scale)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items())
    return copy, aligned


def _give_back(graph: onnx.GraphProto, arrays: Dict[str, NDArray[np.generic]], name: str, lost: Doubles) -> None:
    """Add the effect of the lost constants [1, C, 1, ...] to the bias of each convolution that reads `name`."""
    for node in graph.node:
        if node.op_type != "Conv" or node.input[0] != name or any(i not in arrays for i in node.input[1:]):
            continue
        weight = np.asarray(arrays[node.input[1]], np.float64)
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if lost.size != groups * weight.shape[1]:
            continue  # one number for every channel
        by_output = np.repeat(lost.reshape(groups, -1), len(weight) // groups, axis=0)
        taps = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
        bias = arrays[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
        named = f"{node.output[0]}_bias"  # not in place: other nodes may read the same bias
        arrays[named] = (np.asarray(bias, np.float64) + (taps * by_output).sum(axis=1)).astype(np.float32)
        node.input[:] = [node.input[0], node.input[1], named]
