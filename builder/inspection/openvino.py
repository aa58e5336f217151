"""An OpenVINO IR: contents, and the precision in which its layers run here.

FakeQuantize marks layers that may be int8. The runtime graph of the compiled model shows what runs, so
the model is compiled here as on a host.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, List, Optional, Tuple, Union

import openvino

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
from builder.runtimes.openvino import precision_in_words, running

_COMPUTE = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
_PASSING = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "StridedSlice"})
_CONSTANT = "Constant"


def read(path: Path, shapes: Shapes, compute: str, name: str) -> Contents:
    """Everything in the two files, and the layers that run here. Raises UsageError."""
    model = _model(path, name)
    inputs = tuple(map(_tensor, model.inputs))
    sizes = concrete(inputs, shapes)
    operations = model.get_ops()
    constants = [op for op in operations if op.get_type_name() == _CONSTANT]
    notes: Tuple[str, ...] = ()
    realised_: Optional[Layers] = None
    facts, listed = _facts(path), counted(op.get_type_name() for op in operations if op not in constants)
    weights = summed(map(_weights, constants))
    outputs = tuple(map(_tensor, model.outputs))
    try:
        declared, realised_ = _layers(model, sizes, compute)
    except RuntimeError as problem:  # openvino's own errors are RuntimeErrors
        declared = Layers("by the IR's FakeQuantize", ())
        notes = (f"OpenVINO cannot compile it here: {_said(problem)}",)
    return Contents(
        file=name,
        format="openvino-ir",
        size=path.stat().st_size + path.with_suffix(".bin").stat().st_size,
        facts=facts,
        inputs=inputs,
        outputs=outputs,
        operators=listed,
        weights=weights,
        declared=declared,
        realised=realised_,
        notes=notes,
    )


def realised(path: Path, shapes: Shapes, compute: str, name: str) -> Layers:
    """Only the layers that run here. Raises UsageError when it does not compile."""
    model = _model(path, name)
    try:
        return _layers(model, concrete(tuple(map(_tensor, model.inputs)), shapes), compute)[1]
    except RuntimeError as problem:
        raise UsageError(f"OpenVINO cannot compile it here: {_said(problem)}", where=name) from None


def _model(path: Path, name: str) -> Any:
    if not path.with_suffix(".bin").is_file():
        raise UsageError(f"its weights, {path.with_suffix('.bin').name}, are not beside it", where=name)
    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as problem:
        raise UsageError(
            f"is no OpenVINO IR, or is cut short: {_said(problem)}", where=name, hint="copy or build it again"
        ) from None


def _layers(model: Any, sizes: Shapes, compute: str) -> Tuple[Layers, Layers]:
    """(declared, realised) at the shapes `sizes`. Changes the model's shapes."""
    model.reshape({name: list(shape) for name, shape in sizes.items()})
    computing = [op for op in model.get_ordered_ops() if op.get_type_name() in _COMPUTE]
    declared = tuple(_declared(op) for op in computing)
    work = {layer.name: layer.macs for layer in declared}
    config = {"INFERENCE_PRECISION_HINT": compute, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    compiled = openvino.Core().compile_model(model, "CPU", config)
    found: List[Layer] = []
    for layer in running(compiled):
        own = next((name for name in layer.made_of if name in work), layer.made_of[-1])
        found.append(Layer(own, layer.kind, layer.precision, work.get(own)))
    version = openvino.__version__.split("-")[0]
    return (
        Layers("by the IR's FakeQuantize", declared, spelled(sizes)),
        Layers(f"as OpenVINO {version} runs it on this CPU", tuple(found), spelled(sizes)),
    )


def _declared(op: Any) -> Layer:
    ways = ("activations", _is_fake(op.input_value(0))), ("weights", _is_integer(op.input_value(1)))
    lacking = [what for what, quantized in ways if not quantized]
    dtype = str(op.get_output_element_type(0).get_type_name())
    why = f"float {' and '.join(lacking)}" if lacking else ""
    precision = precision_in_words(dtype) if lacking else "int8"
    return Layer(op.get_friendly_name(), op.get_type_name(), precision, _work(op), why)


def _is_fake(value: Any) -> bool:
    node = value.get_node()
    while node.get_type_name() in _PASSING:
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "FakeQuantize")


def _is_integer(value: Any) -> bool:
    """Weights that are kept as integers, or quantized on the way."""
    node = value.get_node()
    while node.get_type_name() in ("Multiply", "Subtract", "Convert", *_PASSING):
        node = node.input_value(0).get_node()
    if node.get_type_name() == "FakeQuantize":
        return True
    return node.get_type_name() == _CONSTANT and node.get_element_type().get_type_name() in ("i8", "u8")


def _work(op: Any) -> Optional[int]:
    """Multiply-accumulates of one run of a layer with static shapes."""
    if op.get_output_partial_shape(0).is_dynamic:
        return None
    data, weight = ([int(d) for d in op.input_value(at).get_shape()] for at in (0, 1))
    out, kind = [int(d) for d in op.get_output_shape(0)], str(op.get_type_name())
    if kind == "MatMul":
        return math.prod(out) * (data[-2] if op.get_attributes().get("transpose_a") else data[-1])
    per_element = math.prod(weight[2:] if kind.startswith("Group") else weight[1:])
    return math.prod(data if kind.endswith("BackpropData") else out) * per_element


def _facts(path: Path) -> Tuple[Fact, ...]:
    text = path.read_text(encoding="utf-8", errors="replace")
    version = re.search(r"<net [^>]*version=\"(\d+)\"", text)
    made = re.search(r"<Runtime_version value=\"([^\"]*)\"", text)
    facts = (
        Fact("IR version", version.group(1) if version else ""),
        Fact("written by", f"OpenVINO {made.group(1)}" if made else ""),
    )
    return tuple(fact for fact in facts if fact.value)


def _tensor(port: Any) -> Tensor:
    dims: List[Union[int, str]] = [int(dim.get_length()) if dim.is_static else "?" for dim in port.get_partial_shape()]
    return Tensor(port.get_any_name(), str(port.get_element_type().get_type_name()), tuple(dims))


def _weights(constant: Any) -> Weights:
    element = constant.get_element_type()
    count = math.prod(constant.get_output_shape(0))
    return Weights(str(element.get_type_name()), count, (count * int(element.bitwidth) + 7) // 8)


def _said(problem: RuntimeError) -> str:
    """The reason: OpenVINO begins with the places in its source, line by line."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    telling = [line for line in lines if not re.match(r"Exception from |Check '|While ", line)]
    return (telling or lines or [first_line(problem)])[-1]
