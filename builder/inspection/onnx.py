"""ONNX files: contents, quantized layers, layers that run, and ranges.

A node is int8 in the file when both its operands come from DequantizeLinear (Q/DQ), through operators that only move or
compare values, or when it is an integer operator. A Q/DQ pair is only a request: onnxruntime turns a convolution into
an integer one where it finds a pattern that it knows, and computes in float otherwise; its CPU provider has no float16
at all. The optimised graph of a session shows what runs.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from builder import terminal
from builder.config.matrix import Calibration
from builder.digest import Json
from builder.errors import UsageError, first_line
from builder.inspection.contents import (
    Contents,
    Fact,
    Layer,
    Layers,
    Shapes,
    Tensor,
    Weights,
    concrete,
    counted,
    spelled,
    summed,
)
from builder.models import onnx_files
from builder.records import to_json

# operator -> positions of its two operands; the second one holds the weights.
FLOATING: Dict[str, Tuple[int, int]] = {"Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1)}
INTEGER: Dict[str, Tuple[int, int]] = {
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
}
FUSED = {"FusedConv": (0, 1), "FusedGemm": (0, 1), "FusedMatMul": (0, 1)}  # onnxruntime's own
_PASSING = frozenset(
    {"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather"}
)
_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "uint8": "int8"}
_NAMES = {"float": "float32", "double": "float64", "undefined": "unknown"}


def read(path: Path, shapes: Shapes, name: str) -> Contents:
    """All contents of a file.

    `shapes`: of its inputs, for counting the work. Raises UsageError.
    """
    model = load(path, name)
    external = any(t.data_location == TensorProto.EXTERNAL for t in onnx_files.tensors(model.graph))
    inputs = tuple(_tensor(value) for value in _real_inputs(model.graph))
    sizes = concrete(inputs, shapes)
    nodes = list(_nodes(model.graph))
    inner = len(nodes) - len(model.graph.node)
    notes = ["its weights are in another file, which is not read"] if external else []
    if inner:
        notes.append(f"{inner} nodes lie inside the branches of others; of these only the operators are counted")
    return Contents(
        file=name,
        format="onnx",
        size=path.stat().st_size,
        facts=_facts(model),
        inputs=inputs,
        outputs=tuple(map(_tensor, model.graph.output)),
        operators=counted(_operator(node) for node in nodes),
        weights=summed(map(_weights, (t for t in onnx_files.tensors(model.graph) if t.data_type))),
        declared=layers(model, sizes, "by the graph's Q/DQ"),
        notes=tuple(notes),
    )


def load(path: Path, name: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as problem:  # protobuf's DecodeError is not exported by onnx
        raise UsageError(
            f"is not an ONNX model, or is cut short: {first_line(problem)}", where=name, hint="copy or export it again"
        ) from None
    if not model.graph.node and not model.graph.output:
        raise UsageError("is not an ONNX model: it has no graph", where=name)
    return model


def layers(model: onnx.ModelProto, sizes: Shapes, source: str, *, realised: bool = False) -> Layers:
    """The convolutions and matrix products of the main graph.

    `realised`: the graph is onnxruntime's own, where a float operator always computes in float.
    """
    tensors = _Tensors(model, sizes)
    known = {**FLOATING, **INTEGER, **(FUSED if realised else {})}
    found = tuple(
        _layer(node, known[node.op_type], tensors, realised) for node in model.graph.node if node.op_type in known
    )
    counts = all(layer.macs is not None for layer in found)
    return Layers(source, found, spelled(sizes) if counts else "")


def largest_tensor(path: Path, sizes: Shapes) -> str:
    """The largest output of a node for inputs of these shapes, as text.

    Empty if unknown.
    """
    graph = _inferred(load(path, path.name), sizes)
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for value in (*graph.value_info, *graph.output):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name in makers and dims and all(dims):
            width = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).itemsize
            found.append((math.prod(dims) * width, value.name, dims))
    if not found:
        return ""
    size, name, dims = max(found, key=lambda one: one[0])  # the first of equals
    node = onnx_files.label(makers[name])
    shape = "x".join(map(str, dims))
    return f"its largest tensor is {name} of node {node}, {size / (1 << 20):.1f} MiB ({shape}) for {spelled(sizes)}"


def weight_name(node: onnx.NodeProto, graph: onnx.GraphProto) -> str:
    """The constant at the root of a node's weights.

    The same before and after optimisation.
    """
    producer = {name: one for one in graph.node for name in one.output}
    at = {**FLOATING, **INTEGER, **FUSED}[node.op_type][1]
    name = node.input[at] if len(node.input) > at else ""
    while name in producer and producer[name].input:
        name = producer[name].input[0]
    return name


def _layer(node: onnx.NodeProto, places: Tuple[int, int], tensors: "_Tensors", realised: bool) -> Layer:
    name = node.name or node.output[0]
    operands = [node.input[at] for at in places if at < len(node.input)]
    macs = tensors.work(node, operands)
    if node.op_type in INTEGER:
        return Layer(name, node.op_type, "int8", macs)
    kinds = [None if realised else tensors.quantized(operand) for operand in operands]
    if len(kinds) == 2 and None not in kinds:
        words = {_word(kind) for kind in kinds if kind}
        return Layer(name, node.op_type, words.pop() if len(words) == 1 else "mixed", macs)
    lacking = [what for what, kind in zip(("activations", "weights"), kinds) if kind is None]
    why = "" if realised else f"float {' and '.join(lacking)}"
    return Layer(name, node.op_type, _word(tensors.dtype(operands[-1])), macs, why)


class _Tensors:
    """Types and shapes of the tensors of a graph, as far as shape inference finds them."""

    def __init__(self, model: onnx.ModelProto, sizes: Shapes) -> None:
        graph = _inferred(model, sizes)
        self.producer = {name: node for node in graph.node for name in node.output}
        self._dtypes: Dict[str, int] = {t.name: t.data_type for t in graph.initializer}
        self._shapes: Dict[str, Tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
        for value in (*graph.input, *graph.output, *graph.value_info):
            self._dtypes.setdefault(value.name, value.type.tensor_type.elem_type)
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if value.type.tensor_type.HasField("shape") and all(dims):
                self._shapes.setdefault(value.name, tuple(dims))

    def dtype(self, name: str) -> str:
        if self._dtypes.get(name):
            return _dtype(self._dtypes[name])
        node = self.producer.get(name)
        if node is None or not node.input:
            return "unknown"
        if node.op_type == "Cast":
            return next((_dtype(a.i) for a in node.attribute if a.name == "to"), "unknown")
        return self.dtype(node.input[1 if node.op_type == "DequantizeLinear" else 0])

    def quantized(self, name: str) -> Optional[str]:
        """The integer type that DequantizeLinear makes `name` from.

        None for a tensor computed in float.
        """
        node = self.producer.get(name)
        while node is not None and node.op_type in _PASSING:
            node = self.producer.get(node.input[0])
        if node is None or node.op_type != "DequantizeLinear":
            return None
        source = self.producer.get(node.input[0])
        if source is not None and source.op_type == "QuantizeLinear":
            return self.dtype(source.input[2]) if len(source.input) > 2 and source.input[2] else "uint8"
        return self.dtype(node.input[0])

    def work(self, node: onnx.NodeProto, operands: List[str]) -> Optional[int]:
        """Multiply-accumulates of one run; None where a shape is not known."""
        known = [self._shapes.get(name) for name in (*operands, node.output[0])]
        if len(known) != 3 or None in known:
            return None
        data, weight, out = ([] if s is None else list(s) for s in known)
        if "Conv" in node.op_type:
            return math.prod(data if node.op_type == "ConvTranspose" else out) * math.prod(weight[1:])
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(out) * (data[0] if transposed else data[-1]) if data else None


def _inferred(model: onnx.ModelProto, sizes: Shapes) -> onnx.GraphProto:
    """The graph with the shapes of all tensors for inputs of `sizes`, or unchanged when inference fails."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ())):
            dim.dim_value = size
    for value in fixed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
            dim.ClearField("dim_value")
    del fixed.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    except Exception:  # unknown operators, models beyond 2 GiB: then the work is not counted
        return model.graph


def _facts(model: onnx.ModelProto) -> Tuple[Fact, ...]:
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    producer = " ".join(word for word in (model.producer_name, model.producer_version) if word)
    facts = (Fact("opset", opsets), Fact("IR version", str(model.ir_version)), Fact("producer", producer))
    return tuple(fact for fact in facts if fact.value)


def _real_inputs(graph: onnx.GraphProto) -> List[onnx.ValueInfoProto]:
    constants = {t.name for t in graph.initializer}  # old files list these as inputs too
    return [value for value in graph.input if value.name not in constants]


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    dims: List[Union[int, str]] = [d or "?" for d in onnx_files.dimensions(value)]
    return Tensor(value.name, _dtype(value.type.tensor_type.elem_type), tuple(dims))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _operator(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def _weights(tensor: onnx.TensorProto) -> Weights:
    count, dtype = math.prod(tensor.dims), _dtype(tensor.data_type)
    digits = re.match(r"\D+(\d+)", dtype)  # bfloat16, uint4, float8e4m3fn; bool and string have none
    return Weights(dtype, count, (count * int(digits.group(1) if digits else 8) + 7) // 8)


def _dtype(number: int) -> str:
    name = str(TensorProto.DataType.Name(number)).lower()
    return _NAMES.get(name, name)


def _word(dtype: Optional[str]) -> str:
    return _WORDS.get(dtype or "unknown", dtype or "unknown")


# ------------------------------------------------------------------------------------ what onnxruntime runs on the CPU


def session_layers(path: Path, sizes: Shapes, name: str) -> Layers:
    """The convolutions and matrix products that run.

    Raises UsageError when onnxruntime refuses the file.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The next level only changes layouts, in operators without shape inference.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    original = load(path, name)
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's exceptions share no base but Exception
            raise UsageError(f"onnxruntime cannot open it: {first_line(problem)}", where=name) from None
        optimised = load(written, name)
    found = layers(optimised, sizes, f"as onnxruntime {onnxruntime.__version__} runs it here", realised=True)
    known = {**FLOATING, **INTEGER, **FUSED}
    roots = [weight_name(n, optimised.graph) for n in optimised.graph.node if n.op_type in known]
    work = _work(original, sizes)
    named = tuple(
        replace(layer, macs=layer.macs if layer.macs is not None else work.get(root))
        for layer, root in zip(found.layers, roots)
    )
    counts = all(layer.macs is not None for layer in named)
    return Layers(found.source, named, spelled(sizes) if counts else "")


def _work(original: Any, sizes: Shapes) -> Dict[str, Optional[int]]:
    """Weights -> multiply-accumulates of the original file, without weights that several nodes share."""
    known = {**FLOATING, **INTEGER}
    roots = [weight_name(n, original.graph) for n in original.graph.node if n.op_type in known]
    once = {root for root, times in Counter(roots).items() if times == 1}
    counted = layers(original, sizes, "").layers
    return {root: layer.macs for root, layer in zip(roots, counted) if root in once}


# ------------------------------------------------------------------------------------------- ranges of an int8 graph


Found = Sequence[Tuple[Tuple[str, ...], Tuple["Range", ...]]]  # cells that share a graph, and its ranges


@dataclass(frozen=True)
class Range:
    """`low` and `high`: the outermost values of the codes; values beyond are clipped."""

    tensor: str
    low: float
    high: float
    scale: float
    zero: int
    codes: str


def ranges_of(path: Path, name: str) -> Tuple[Range, ...]:
    """The range of every quantized activation, in graph order.

    Raises UsageError for another file.
    """
    graph = load(path, name).graph
    arrays: Dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
    found: List[Range] = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and all(given in arrays for given in node.input[1:]):
            scale = float(numpy_helper.to_array(arrays[node.input[1]]))
            zero = numpy_helper.to_array(arrays[node.input[2]])
            least, most = (-128, 127) if zero.dtype.kind == "i" else (0, 255)
            low, high = (least - int(zero)) * scale, (most - int(zero)) * scale
            found.append(Range(node.input[0], low, high, scale, int(zero), str(zero.dtype)))
    return tuple(found)


def as_text(chosen: Calibration, found: Found) -> str:
    parts = [_title(chosen)]
    for cells, rows in found:
        shown = [(r.tensor, f"{r.low:.4g}", f"{r.high:.4g}", f"{r.scale:.4g}", str(r.zero), r.codes) for r in rows]
        parts += [
            "",
            ", ".join(cells),
            terminal.table(("tensor", "low", "high", "scale", "zero", "codes"), shown, status=5),
        ]
    return "\n".join(parts)


def as_json(chosen: Calibration, found: Found) -> Json:
    graphs: List[Json] = [{"cells": list(cells), "ranges": [to_json(row) for row in rows]} for cells, rows in found]
    return {"calibration": to_json(chosen), "graphs": graphs}


def _title(chosen: Calibration) -> str:
    height, width = chosen.size
    method = f"percentile {chosen.percentile:g}" if chosen.method == "percentile" else chosen.method
    if chosen.photographs is None:
        return f"Ranges by {method}, from the images of {chosen.source} at {height}x{width}"
    files = chosen.photographs.files
    return terminal.wrapped(
        f"Ranges by {method}, from {len(files)} photographs at {height}x{width}: {', '.join(files)}", ""
    )
