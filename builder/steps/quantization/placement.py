"""Placement of Q/DQ pairs: int8 convolutions, and tensors with a pair.

`inputs`: a pair on the input of every convolution, none on outputs, measured as the fastest with OpenVINO.

`tensorrt`: the same, as NVIDIA recommends for TensorRT ("quantize all inputs of weighted operations; by default, don't
quantize their outputs"), without the few-channel convolutions that NVIDIA's own quantizer leaves in float, since
TensorRT has no int8 kernel for them or none that is faster.

`around`: pairs on inputs and outputs, as onnxruntime's CPU provider needs. It computes a convolution in int8 only
between two pairs, with at most a ReLU in front of the second. An Add whose operands and sum have pairs becomes an
integer one. A convolution stays in float when no other follows it, or when its result is an output of the graph: its
result would be quantized only to be dequantized at once.

A pair on the output of a MaxPool goes in front of it: rounding and maximum commute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Set, Tuple

import onnx

from builder.models import onnx_files

_CHANNELS = 16  # from here on TensorRT's int8 kernels are right for any convolution
_FUSED = ("Relu", "Clip")  # operators that onnxruntime fuses between a convolution and the pair behind it


@dataclass(frozen=True)
class Shift:
    """An Add of a constant.

    `total` = `tensor` (through MaxPools) + `constant`; only it reads `tensor`.
    """

    tensor: str
    constant: str
    total: str


@dataclass(frozen=True)
class Places:
    """`convolutions`: outputs of those in int8.

    `pairs`: tensors with a pair, in graph order. `readers`: nodes, by first output, that read pairs instead of tensors.
    """

    convolutions: FrozenSet[str]
    pairs: Tuple[str, ...]
    readers: FrozenSet[str]
    shifts: Tuple[Shift, ...] = ()


def has_convolutions(model: onnx.ModelProto) -> bool:
    graph = _Graph(model, frozenset())
    return any(map(graph.is_quantizable, model.graph.node))


def places(model: onnx.ModelProto, placement: str, keep: FrozenSet[str] = frozenset()) -> Places:
    """Choose the places for `placement`: `inputs`, `tensorrt` or `around`.

    `keep` has the labels of nodes that compute in float. Keeping one convolution never quantizes another.
    """
    graph = _Graph(model, keep)
    convolutions = list(filter(graph.is_convolution, model.graph.node))
    if placement == "around":
        return _around(model, graph, convolutions)
    if placement == "tensorrt":  # a model of nothing but such convolutions is quantized all the same
        convolutions = list(filter(graph.suits_tensorrt, convolutions)) or convolutions
    return _inputs(graph, list(filter(graph.is_quantizable, convolutions)))


def _inputs(graph: "_Graph", chosen: List[onnx.NodeProto]) -> Places:
    """A node that is kept reads float32 that was never rounded."""
    pools = {name for node in chosen for name in graph.pools_before(node.input[0])}
    pairs = dict.fromkeys(graph.before_pools(node.input[0]) for node in chosen)
    convolutions = frozenset(node.output[0] for node in chosen)
    return Places(convolutions, tuple(pairs), convolutions | pools)


def _around(model: onnx.ModelProto, graph: "_Graph", candidates: List[onnx.NodeProto]) -> Places:
    """All nodes read pairs, kept ones too.

    A float reader would keep the convolution before it in float. A model whose convolutions are all last ones gets
    pairs around these.
    """
    candidates = [node for node in candidates if graph.settled(node.output[0]) not in graph.outputs] or candidates
    front = [node for node in candidates if graph.comes_before_a_convolution(node)] or candidates
    chosen = [node for node in front if graph.is_quantizable(node) and not graph.lost_its_followers(node)]
    pairs: Dict[str, None] = {}
    for node in chosen:
        pairs.setdefault(graph.before_pools(node.input[0]))
        pairs.setdefault(graph.settled(node.output[0]))
    given = {value.name for value in model.graph.input}
    readers = frozenset(n.output[0] for n in model.graph.node if n.op_type != "Shape" or n.input[0] not in given)
    shifts = tuple(graph.shifts(set(pairs)))
    return Places(frozenset(node.output[0] for node in chosen), tuple(pairs), readers, shifts)


class _Graph:
    def __init__(self, model: onnx.ModelProto, keep: FrozenSet[str]) -> None:
        self._nodes: List[onnx.NodeProto] = list(model.graph.node)
        self._keep = keep
        self._shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
        self._constants = set(self._shapes)
        self._given = {value.name for value in model.graph.input}
        self.outputs = {value.name for value in model.graph.output}
        self._producer = {name: node for node in self._nodes for name in node.output}
        self._consumers: Dict[str, List[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)
        self._leading = self._leading_to(self.is_convolution)  # tensors from which a convolution is reached
        self._quantized_ahead = self._leading_to(self.is_quantizable)  # and one that is not kept

    def _leading_to(self, wanted: Callable[[onnx.NodeProto], bool]) -> Set[str]:
        found: Set[str] = set()
        for node in reversed(self._nodes):
            if wanted(node) or any(name in found for name in node.output):
                found.update(node.input)
        return found

    def _is_kept(self, node: onnx.NodeProto) -> bool:
        return onnx_files.label(node) in self._keep

    def is_convolution(self, node: onnx.NodeProto) -> bool:
        """Whether it is a convolution with constant weights."""
        return node.op_type == "Conv" and node.input[1] in self._constants

    def is_quantizable(self, node: onnx.NodeProto) -> bool:
        return self.is_convolution(node) and not self._is_kept(node)

    def lost_its_followers(self, node: onnx.NodeProto) -> bool:
        """Whether every following convolution is kept, so that its result would be dequantized at once."""
        return node.output[0] in self._leading and node.output[0] not in self._quantized_ahead

    def suits_tensorrt(self, node: onnx.NodeProto) -> bool:
        """The rule of `find_nodes_from_convs_to_exclude` in NVIDIA/Model-Optimizer (modelopt/onnx/quantization)."""
        outputs, inputs, *kernel = self._shapes[node.input[1]]
        if min(outputs, inputs) >= _CHANNELS:
            return True
        if next((a.i for a in node.attribute if a.name == "group"), 1) > 1:
            return bool(outputs % 8 == 0 and min(kernel) >= 3)
        wide = max(outputs, inputs) >= _CHANNELS or node.input[0] in self._given
        return wide and (outputs % 8 == 0 or inputs % 8 == 0) and len(set(kernel)) == 1

    def comes_before_a_convolution(self, node: onnx.NodeProto) -> bool:
        return node.output[0] in self._leading

    def settled(self, name: str) -> str:
        """The output of a convolution after the nodes that the runtime fuses with it."""
        readers = self._consumers.get(name, [])
        fused = len(readers) == 1 and readers[0].op_type in _FUSED and not self._is_kept(readers[0])
        return readers[0].output[0] if fused and name not in self.outputs else name

    def pools_before(self, name: str) -> List[str]:
        """Outputs of MaxPools before `name` that a pair may precede.

        Not kept, and without a kept reader.
        """
        node = self._producer.get(name)
        if node is None or node.op_type != "MaxPool" or any(map(self._is_kept, (node, *self._consumers[name]))):
            return []
        return [name, *self.pools_before(node.input[0])]

    def before_pools(self, name: str) -> str:
        pools = self.pools_before(name)
        return self._producer[pools[-1]].input[0] if pools else name

    def shifts(self, pairs: Set[str]) -> List[Shift]:
        """Adds of a constant by channel between two pairs, behind a non-negative activation."""
        found = []
        for node in self._nodes:
            constants = [name for name in node.input if name in self._constants]
            if node.op_type != "Add" or len(constants) != 1 or node.output[0] not in pairs:
                continue
            operand = next(name for name in node.input if name not in self._constants)
            path = [*self.pools_before(operand), self.before_pools(operand)]
            source = self._producer.get(path[-1])
            private = all(len(self._consumers[name]) == 1 and name not in self.outputs for name in path)
            if private and path[-1] in pairs and source is not None and source.op_type == "Relu":
                found.append(Shift(path[-1], constants[0], node.output[0]))
        return found
