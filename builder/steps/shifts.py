"""Adds of a constant in an int8 graph: one grid for tensor, constant and sum, so that the integer Add rounds nothing.

A tensor on codes of scale S plus a constant that is a multiple of S lies on codes of scale S. So the tensor takes the
scale of the sum, and the constant is rounded to the nearest multiple. What that rounding lost is known: each convolution
behind gets it back in its bias, exactly where no padding reaches. The calibrated grids are otherwise left alone.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from builder.steps.calibrate import Grid
from builder.steps.placement import Shift

Doubles = NDArray[np.float64]


def align(
    model: onnx.ModelProto, shifts: Sequence[Shift], grids: Dict[str, Grid], *, signed: bool
) -> Tuple[onnx.ModelProto, Dict[str, Grid]]:
    """A copy of `model` with rounded constants and corrected biases, and `grids` with those of tensors and constants."""
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
    """Add to the bias of each convolution that reads `name` what the lost constants [1, C, 1, ...] would have given."""
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
