"""The emulate-fp16 step: a float16 graph as a float32 graph that rounds every float16 tensor, so that a CPU shows what
a GPU's float16 does.

onnxruntime's CPU provider computes a float16 graph in float32 and takes out the casts between two such nodes: a value
beyond 65504 that the next node brings back is never an infinity there. Here each tensor is cast to float16 and back by
nodes of the graph, which no optimizer may drop. Sums inside an operator stay in float32, as they do on tensor cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from builder.actions.action import Action
from builder.actions.recipes import EmulateFp16, Facts, Made
from builder.errors import StepFailed
from builder.models import onnx_files

_HALF = TensorProto.FLOAT16


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, EmulateFp16):
        raise StepFailed("an emulate-fp16 action needs an emulate-fp16 recipe")
    model = emulated(onnx_files.load(inputs / "model.onnx"))
    onnx_files.save(model, out / "model.onnx")
    return Made(len(model.graph.node), ())


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without float16 arithmetic. Tensors keep their names, and their values a float16's digits."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    half = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == _HALF}
    nodes: List[onnx.NodeProto] = []
    for node in made.graph.node:
        _widen(node)
        rounded = [name for name in node.output if name in half]
        node.output[:] = [f"{name}_exact" if name in half else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_rounded"], to=_HALF))
            nodes.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=TensorProto.FLOAT))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(copies)
    for tensor in made.graph.initializer:
        if tensor.data_type == _HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return made


def _widen(node: onnx.NodeProto) -> None:
    """Attributes that say float16 say float32: of constants and casts."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
            attribute.i = TensorProto.FLOAT
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _HALF:
            values = numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
