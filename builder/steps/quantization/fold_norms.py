"""Rewriting Conv -> Relu -> BatchNormalization as Conv -> Relu -> Add.

So an integer runtime can fuse the first two. A batch norm behind a ReLU is s * relu(x) + t by channel. For s > 0, s *
relu(x) = relu(s * x): s goes into the convolution before. For s < 0, |s| goes there and the sign into the weights of
the convolutions behind. What remains is + t, one Add. It stays in front of the next convolution, which pads the norm's
output with zeros. A MaxPool between them moves in front of the Add, since max(x) + t = max(x + t).

The numbers equal the original within float rounding. Other norms stay unchanged. Nothing is quantized here.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Optional, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from builder.models import onnx_files

Array = NDArray[np.generic]
Doubles = NDArray[np.float64]
_EPSILON = 1e-5  # ONNX's default


def fold(model: onnx.ModelProto, keep: FrozenSet[str] = frozenset()) -> onnx.ModelProto:
    """A copy of `model`; the norms labelled in `keep` stay."""
    return _Folding(model).graph(keep)


class _Folding:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._nodes: List[onnx.NodeProto] = list(self._model.graph.node)
        self._outputs = {value.name for value in model.graph.output}
        self._arrays: Dict[str, Array] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self._producer = {name: node for node in self._nodes for name in node.output}

    def graph(self, keep: FrozenSet[str]) -> onnx.ModelProto:
        for norm in [node for node in self._nodes if node.op_type == "BatchNormalization"]:
            if onnx_files.label(norm) not in keep:
                self._fold(norm)
        graph = self._model.graph
        nodes, used = list(self._nodes), {name for node in self._nodes for name in node.input}
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(copies)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(a), n) for n, a in self._arrays.items() if n in used
        )
        return self._model

    def _fold(self, norm: onnx.NodeProto) -> None:
        before = self._convolution_and_relu(norm)
        found = self._scale_and_shift(norm)
        if before is None or found is None:
            return
        (convolution, relu), (scale, shift) = before, found
        pool, sign = self._pool(norm), np.where(scale < 0, -1.0, 1.0)
        behind = self._consumers(norm.output[0])
        if sign.min() < 0 and not (norm.output[0] not in self._outputs and all(map(self._is_plain, behind))):
            return
        self._scale_outputs(convolution, np.abs(scale))
        if sign.min() < 0:
            for node in behind:
                self._scale_inputs(node, sign)
        rank = np.asarray(self._arrays[convolution.input[1]]).ndim
        shift = (sign * shift).reshape(1, -1, *[1] * (rank - 2))
        self._put_shift(norm, relu.output[0], pool, shift.astype(np.float32))

    def _convolution_and_relu(self, norm: onnx.NodeProto) -> Optional[Tuple[onnx.NodeProto, onnx.NodeProto]]:
        """The convolution and the ReLU before the norm, when nothing else reads them."""
        relu = self._producer.get(norm.input[0])
        if relu is None or relu.op_type != "Relu" or not self._is_private(relu.output[0]):
            return None
        convolution = self._producer.get(relu.input[0])
        if convolution is None or not self._is_plain(convolution) or not self._is_private(convolution.output[0]):
            return None
        return convolution, relu

    def _is_plain(self, node: onnx.NodeProto) -> bool:
        """Whether it is a convolution with constant weights and bias."""
        return node.op_type == "Conv" and all(name in self._arrays for name in node.input[1:])

    def _is_private(self, name: str) -> bool:
        return name not in self._outputs and len(self._consumers(name)) == 1

    def _consumers(self, name: str) -> List[onnx.NodeProto]:
        return [node for node in self._nodes if name in node.input]

    def _scale_and_shift(self, norm: onnx.NodeProto) -> Optional[Tuple[Doubles, Doubles]]:
        """The norm as scale * x + shift, or None when it is not constant."""
        if not all(name in self._arrays for name in norm.input[1:]):
            return None
        gamma, beta, mean, variance = (np.asarray(self._arrays[name], np.float64) for name in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), _EPSILON)
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale

    def _pool(self, norm: onnx.NodeProto) -> Optional[onnx.NodeProto]:
        """The MaxPool behind the norm, when it alone reads it."""
        if not self._is_private(norm.output[0]):
            return None
        node = self._consumers(norm.output[0])[0]
        return node if node.op_type == "MaxPool" and len(node.output) == 1 else None

    def _scale_outputs(self, convolution: onnx.NodeProto, scale: Doubles) -> None:
        weight = np.asarray(self._arrays[convolution.input[1]], np.float64)
        self._replace(convolution, 1, weight * scale.reshape(-1, *[1] * (weight.ndim - 1)))
        if len(convolution.input) > 2:
            self._replace(convolution, 2, np.asarray(self._arrays[convolution.input[2]], np.float64) * scale)

    def _scale_inputs(self, convolution: onnx.NodeProto, scale: Doubles) -> None:
        """Scale weights [O, I/groups, ...].

        Output channels of group g read the input channels of group g.
        """
        weight = np.asarray(self._arrays[convolution.input[1]], np.float64)
        groups = next((a.i for a in convolution.attribute if a.name == "group"), 1)
        by_output = np.repeat(scale.reshape(groups, -1), len(weight) // groups, axis=0)
        self._replace(convolution, 1, weight * by_output.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2)))

    def _replace(self, node: onnx.NodeProto, place: int, value: Doubles) -> None:
        """New constants for one node; those that other nodes read too stay for them."""
        name = node.input[place]
        if sum(list(other.input).count(name) for other in self._nodes) > 1:
            name = node.input[place] = f"{name}_of_{node.output[0]}"
        self._arrays[name] = value.astype(np.float32)

    def _put_shift(
        self, norm: onnx.NodeProto, activated: str, pool: Optional[onnx.NodeProto], shift: NDArray[np.float32]
    ) -> None:
        """Add in the place of the norm, or behind the pool. `shift` is [1, C, 1, ...]."""
        constant, last = f"{norm.output[0]}_shift", (pool or norm).output[0]
        self._arrays[constant] = shift
        if pool is not None:
            pool.input[0], pool.output[0] = activated, f"{last}_unshifted"
            activated = pool.output[0]
        add = helper.make_node("Add", [activated, constant], [last], f"{norm.name or norm.output[0]}_shift")
        if pool is None:
            self._nodes[self._nodes.index(norm)] = add
        else:
            self._nodes.remove(norm)
            self._nodes.insert(self._nodes.index(pool) + 1, add)
        self._producer.update({name: node for node in self._nodes for name in node.output})
