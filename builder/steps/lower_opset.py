"""The opset step: the same graph in an older ONNX opset, for an older parser.

TensorRT 8.5 and 8.6 read opset 17. They do not refuse a newer graph: a reduction with its axes in an input, as
from opset 18 on, silently reduces every axis (NVIDIA/TensorRT#3467). Only the spelling changes here, never the
arithmetic; a node without an older spelling is an error.

Written by hand: the converters of onnx and onnxscript fail on both heads of SuperPoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from builder.actions.action import Action
from builder.actions.recipes import Facts, LowerOpset, Made
from builder.errors import StepFailed
from builder.models import onnx_files

# Modes of GridSample were renamed in opset 20.
_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic", b"nearest": b"nearest"}
_GRID_SAMPLE_RENAMED = 20
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
# Attributes with any value that the older opset implies.
_IMPLIED = {("Split", "num_outputs"), *((f"Reduce{kind}", "noop_with_empty_axes") for kind in _REDUCTIONS)}
# The IR version of each opset; older readers refuse newer ones.
_FORMATS = ((14, 7), (18, 8), (20, 9))
_HINT = "export with a lower `opset:`, or keep this head on a newer TensorRT"


def lower_opset(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, LowerOpset):
        raise StepFailed("an opset action needs an opset recipe")
    model = to_opset(onnx_files.load(inputs / "model.onnx"), action.recipe.opset)
    onnx_files.save(model, out / "model.onnx")
    return Made(len(model.graph.node), ())


def to_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A copy of `model` in an older opset.

    Raises StepFailed for a node without an older spelling.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    main = next(entry for entry in made.opset_import if entry.domain in ("", "ai.onnx"))
    if main.version <= opset:
        return made
    if made.functions:
        raise StepFailed("the model has functions of its own; inline them before it is brought to an older opset")
    _rewrite(made.graph, main.version, opset)
    main.version = opset
    made.ir_version = min(made.ir_version, next((n for last, n in _FORMATS if opset <= last), made.ir_version))
    return made


def _rewrite(graph: onnx.GraphProto, now: int, opset: int) -> None:
    constants: Dict[str, NDArray[np.generic]] = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rewrite(inner, now, opset)
        if node.domain in ("", "ai.onnx"):
            _respell(node, constants, now, opset)
    _drop_unused(graph)


def _respell(node: onnx.NodeProto, constants: Dict[str, NDArray[np.generic]], now: int, opset: int) -> None:
    try:
        old = onnx.defs.get_schema(node.op_type, opset, "")
    except Exception:  # onnx.defs.SchemaError, which not every onnx exports
        raise StepFailed(f"{_named(node)} does not exist in opset {opset}", hint=_HINT) from None
    if node.op_type.startswith("Reduce") and "axes" in old.attributes and len(node.input) > old.max_input:
        _axes_as_attribute(node, constants)
    if node.op_type == "GridSample" and now >= _GRID_SAMPLE_RENAMED > opset:
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = _MODES[attribute.s]
    if len(node.input) > old.max_input:
        raise StepFailed(f"{_named(node)} has an input that opset {opset} does not know", hint=_HINT)
    defaults = onnx.defs.get_schema(node.op_type, now, "").attributes
    kept: List[onnx.AttributeProto] = []
    for attribute in node.attribute:
        if attribute.name in old.attributes:
            kept.append(attribute)
        elif (node.op_type, attribute.name) not in _IMPLIED and not _is_default(attribute, defaults):
            raise StepFailed(f"{_named(node)}: opset {opset} has no {attribute.name}", hint=_HINT)
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend(copies)


def _axes_as_attribute(node: onnx.NodeProto, constants: Dict[str, NDArray[np.generic]]) -> None:
    name = node.input[1]
    axes = constants.get(name) if name else None
    del node.input[1:]
    if name and (axes is None or axes.size == 0):
        raise StepFailed(f"{_named(node)}: its axes are not constant, as they had to be before opset 18", hint=_HINT)
    if axes is not None:
        node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes.reshape(-1)]))


def _is_default(attribute: onnx.AttributeProto, known: "Dict[str, onnx.defs.OpSchema.Attribute]") -> bool:
    default = known[attribute.name].default_value if attribute.name in known else None
    if default is None or not default.type:
        return False
    return bool(helper.get_attribute_value(attribute) == helper.get_attribute_value(default))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Constants that only a rewritten node read."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                used |= {name for within in inner.node for name in within.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) < len(graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def _named(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type
