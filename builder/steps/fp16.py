"""The fp16 steps: a strongly typed float16 graph, and its emulation.

Inputs and outputs stay float32. Every other float32 tensor becomes float16, except
- inputs and outputs of `FLOAT32_OPS`: exponentials, the L2 norm, whose sums of squares exceed float16's range, and
  sampling at coordinates, which need more digits than float16 has;
- inputs and outputs of nodes that the recipe keeps;
- tensors computed only from such tensors: scores after a softmax, pixel coordinates that were integers. A float16
  score has so few digits that neighbours tie in non-maximum suppression.
One Cast is on each border.

Written by hand: onnxruntime's converter left nodes unsorted and gave Casts duplicate names, which TensorRT-RTX refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, FrozenSet, List, Set, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from builder.actions.action import Action
from builder.actions.recipes import EmulateFp16, Facts, LowerFp16, Made
from builder.errors import StepFailed
from builder.models import onnx_files

FLOAT32_OPS: FrozenSet[str] = frozenset({"Softmax", "ReduceL2", "Clip", "Div", "GridSample", "LayerNormalization"})
# Inputs that ONNX fixes to float32: the regions and scales of a resize.
FLOAT32_INPUTS: Dict[str, Tuple[int, ...]] = {"Resize": (1, 2), "Upsample": (1,)}
_LARGEST = float(np.finfo(np.float16).max)


def lower_fp16(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, LowerFp16):
        raise StepFailed("an fp16 action needs an fp16 recipe")
    original = onnx_files.load(inputs / "model.onnx")
    model = to_float16(original, onnx_files.labelled(original, recipe.keep))
    onnx_files.save(model, out / "model.onnx")
    return Made(len(model.graph.node), ())


def to_float16(model: onnx.ModelProto, keep: FrozenSet[str] = frozenset()) -> onnx.ModelProto:
    """A copy of `model` in float16; the nodes labelled in `keep` stay float32.

    Raises StepFailed for a weight beyond float16's range, which would become an infinity.
    """
    return _Lowering(model, keep).graph()


def halved(model: onnx.ModelProto, keep: FrozenSet[str] = frozenset()) -> List[str]:
    """Labels of the nodes that `to_float16` makes float16, in graph order."""
    return _Lowering(model, keep).halved()


class _Lowering:
    def __init__(self, model: onnx.ModelProto, keep: FrozenSet[str]) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._keep = keep
        self._kept_operands = {name for n in model.graph.node if onnx_files.label(n) in keep for name in n.input}
        self._floats = _float_tensors(model)
        self._arrays: Dict[str, NDArray[np.generic]] = {
            i.name: numpy_helper.to_array(i) for i in model.graph.initializer
        }
        self._outputs = {value.name for value in model.graph.output} & self._floats
        self._inputs = {value.name for value in model.graph.input}
        self._wide = set(self._inputs)  # tensors that exist in float32; the rest is float16
        self._spared = set(self._inputs)  # of these, what does not make float32 of all that is computed from it
        self._nodes: List[onnx.NodeProto] = []
        self._casts: Set[str] = set()

    def halved(self) -> List[str]:
        """Labels of the nodes that compute in float16."""
        nodes = self._model.graph.node
        made = [n for n in nodes if any(name in self._floats for name in n.output) and not self._classified(n)]
        return [onnx_files.label(node) for node in made if node.op_type != "Constant"]

    def graph(self) -> onnx.ModelProto:
        for original in self._model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            self._lower(node)
        graph = self._model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in self._arrays.items() if n in used)
        return self._model

    def _lower(self, node: onnx.NodeProto) -> None:
        single = self._classified(node)
        fixed = FLOAT32_INPUTS.get(node.op_type, ())
        node.input[:] = [self._operand(name, single or at in fixed) for at, name in enumerate(node.input)]
        _retype(node, single)
        narrow_outputs = [o for o in node.output if o in self._outputs and not single]
        node.output[:] = [f"{o}_half" if o in narrow_outputs else o for o in node.output]
        self._nodes.append(node)
        for name in narrow_outputs:
            self._nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_cast", to=TensorProto.FLOAT))

    def _classified(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes in float32; records its float32 tensors.

        Call it in graph order.
        """
        by_nature = self._stays_single(node)
        single = by_nature or self._is_kept(node)
        if single and not by_nature:
            self._spared.update(node.output)
        self._wide.update(name for name in node.output if single or name in self._outputs)
        return single

    def _stays_single(self, node: onnx.NodeProto) -> bool:
        """A kept operator, or one with all float inputs computed in float32 (the image itself does not count)."""
        if node.op_type in FLOAT32_OPS:
            return True
        if not any(name in self._floats for name in node.output):
            return False
        fixed = FLOAT32_INPUTS.get(node.op_type, ())
        operands = [name for at, name in enumerate(node.input) if at not in fixed]
        computed = [name for name in operands if name in self._floats and name not in self._arrays]
        if not computed:  # a cast of integers or booleans: exact in float32
            return node.op_type == "Cast"
        return all(name in self._wide and name not in self._spared for name in computed)

    def _is_kept(self, node: onnx.NodeProto) -> bool:
        """By the recipe, or a constant that a kept node reads."""
        named = onnx_files.label(node) in self._keep
        return named or (node.op_type == "Constant" and node.output[0] in self._kept_operands)

    def _operand(self, name: str, single: bool) -> str:
        if name not in self._floats or (name in self._arrays and single):
            return name
        if name in self._arrays:
            return self._half(name)
        if (name in self._wide) == single:
            return name
        return self._cast(name, single)

    def _half(self, name: str) -> str:
        values, half = self._arrays[name], f"{name}_f16"
        if half not in self._arrays:
            largest = float(np.abs(values).max(initial=0))
            if np.isfinite(largest) and largest > _LARGEST:
                raise StepFailed(
                    f"the weight {name} reaches {largest:.3g}, beyond float16's {_LARGEST:.0f}",
                    hint="keep its node in float32 (`keep:` in matrix.yaml), let `search:` find it, "
                    "or leave fp16 out (`skip:`)",
                )
            self._arrays[half] = values.astype(np.float16)
        return half

    def _cast(self, name: str, single: bool) -> str:
        target = f"{name}_{'f32' if single else 'f16'}"
        if target not in self._casts:
            self._casts.add(target)
            to = TensorProto.FLOAT if single else TensorProto.FLOAT16
            self._nodes.append(helper.make_node("Cast", [name], [target], f"{target}_cast", to=to))
        return target


def _retype(node: onnx.NodeProto, single: bool) -> None:
    """Change float32 constants and casts inside the float16 part of the graph to float16."""
    if single:
        return
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))


def _float_tensors(model: onnx.ModelProto) -> Set[str]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {i.name for i in graph.initializer if i.data_type == TensorProto.FLOAT}


# ------------------------------------------------------------------------------------------- emulation


_HALF = TensorProto.FLOAT16


def emulate_fp16(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, EmulateFp16):
        raise StepFailed("an emulate-fp16 action needs an emulate-fp16 recipe")
    model = emulated(onnx_files.load(inputs / "model.onnx"))
    onnx_files.save(model, out / "model.onnx")
    return Made(len(model.graph.node), ())


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in float32 that rounds every float16 tensor.

    Tensors keep their names. onnxruntime's CPU provider computes a float16 graph in float32 and removes the casts
    between two such nodes. So a value beyond 65504 is never an infinity there if the next node brings it back. Here
    nodes that no optimizer may drop cast each tensor to float16 and back. Sums inside an operator stay in float32, as
    on tensor cores.
    """
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
    """Change float16 attributes of constants and casts to float32."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
            attribute.i = TensorProto.FLOAT
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _HALF:
            values = numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
