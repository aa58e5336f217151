"""The layer-errors step: the error of lowering each layer, ranked.

Errors are signal-to-noise ratios. Each layer is lowered alone, all others in float32, and the outputs are compared with
those of the float32 graph. So a layer's number is its own error, without errors of earlier layers. Noise powers of many
layers add up approximately, so the ranking of single layers shows which to keep. A second number is the error of each
layer's result when everything is lowered.

A layer of an int8 graph is a convolution. One of an fp16 graph is a node that multiplies by weights or joins several
tensors, with the following nodes that work on its result alone: to keep a convolution in float32 and not its activation
would put a cast between two that a runtime computes as one. Everything runs in onnxruntime on the CPU for any target:
the graph is the same, float16 is emulated (`builder/steps/fp16.py`), and the arithmetic of another
runtime may round differently.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from builder.actions.action import Action
from builder.actions.measurements import LayerError, LayerErrors
from builder.actions.recipes import Facts, LowerInt8, MeasureLayers
from builder.errors import StepFailed, first_line
from builder.models import onnx_files
from builder.runtimes import onnxruntime
from builder.steps import fp16
from builder.steps.quantization import int8, placement
from builder.steps.quantization.calibration import grids
from validation.samples import Arrays, load

# Operators that multiply by weights. Each begins a layer.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU"})
_EQUAL = 999.0  # decibels of equal tensors, whose ratio is infinite
Lower = Callable[[FrozenSet[str]], onnx.ModelProto]
Layer = Tuple[str, ...]


def measure_layer_errors(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureLayers):
        raise StepFailed("a layer-errors action needs a layer-errors recipe")
    model = onnx_files.load(inputs / "model.onnx")
    kept = onnx_files.labelled(model, recipe.lowering.keep)
    layers: List[Layer]
    if isinstance(recipe.lowering, LowerInt8):
        model = int8.prepared(model, recipe.lowering, kept)
        layers = [(name,) for name in _quantized(model, placement.places(model, recipe.lowering.placement, kept))]
        with np.load(inputs / "images.npz", allow_pickle=False) as file:
            images = [image[None] for image in file["images"]]
        lower = _int8(model, recipe.lowering, layers, kept, images)
    else:
        layers = _grouped(model, fp16.halved(model, kept))
        lower = _fp16(model)
    feeds = [load(inputs / "reference" / f"{name}.npz", name).inputs for name in recipe.samples]
    return measure(model, layers, lower, feeds, kept=kept, unordered=recipe.unordered)


def measure(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    lower: Lower,
    feeds: Sequence[Arrays],
    *,
    kept: FrozenSet[str] = frozenset(),
    unordered: bool = False,
) -> LayerErrors:
    """Measure every layer alone, then all together.

    `lower` makes the graph in which only the given labels stay in float32; it raises StepFailed for a layer that it
    cannot lower. `kept` stay in float32 throughout.
    """
    everything = frozenset(name for layer in layers for name in layer) | kept
    results = _results(model, layers)
    watched = _last(model, layers, results) if unordered else [value.name for value in model.graph.output]
    wanted = _run(model, [*results.values(), *watched], feeds)
    rows: List[LayerError] = []
    for number, layer in enumerate(layers, 1):
        print(f"layer {number} of {len(layers)}: {layer[0]}", flush=True)
        rows.append(_alone(model, layer, lower, everything - frozenset(layer), watched, feeds, wanted))
    broken = frozenset(name for row in rows if row.problem for name in row.nodes)
    found = _run(lower(kept | broken), list(results.values()), feeds)
    rows = [row if row.problem else _through(row, results[row.nodes], wanted, found) for row in rows]
    work = _work(model, layers, feeds)
    return LayerErrors(tuple(replace(row, work=work[row.nodes]) for row in sorted(rows, key=_harm)))


def _harm(row: LayerError) -> Tuple[bool, bool, float]:
    """Sort key: layers that cannot be lowered, then those without a finite number, then by noise."""
    return (not row.problem, row.alone_db is not None, row.alone_db or 0.0)


def _alone(
    model: onnx.ModelProto,
    layer: Layer,
    lower: Lower,
    keep: FrozenSet[str],
    watched: Sequence[str],
    feeds: Sequence[Arrays],
    wanted: Dict[str, List[Any]],
) -> LayerError:
    operator = next(str(n.op_type) for n in model.graph.node if onnx_files.label(n) == layer[0])
    try:
        made = lower(keep)
    except StepFailed as problem:
        return LayerError(layer, operator, problem=first_line(problem))
    found = _run(made, watched, feeds)
    noise = {name: _decibels(wanted[name], found[name]) for name in watched}
    worst = min(watched, key=lambda name: -math.inf if noise[name] is None else noise[name] or 0.0)
    return LayerError(layer, operator, noise[worst], worst)


def _through(row: LayerError, result: str, wanted: Dict[str, List[Any]], found: Dict[str, List[Any]]) -> LayerError:
    """The row with the error of its result in the graph with every layer lowered."""
    pairs = list(zip(wanted[result], found[result]))
    worst = max((float(np.abs(a - b).max(initial=0.0)) for a, b in pairs), default=0.0)
    largest = float(f"{worst:.7g}") if math.isfinite(worst) else None
    return replace(row, through_db=_decibels(wanted[result], found[result]), max_abs=largest)


def _decibels(wanted: Sequence[Any], found: Sequence[Any]) -> Optional[float]:
    """10 log10(signal / noise) over all samples; None where something is not finite."""
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in wanted)
    noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(wanted, found))
    if not math.isfinite(signal) or not math.isfinite(noise):
        return None
    if noise == 0 or signal == 0:
        return _EQUAL if noise == 0 else -_EQUAL
    return round(10 * math.log10(signal / noise), 3)


def _run(model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Arrays]) -> Dict[str, List[Any]]:
    """The named tensors as float32, sample by sample."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {value.name for value in probe.graph.output}
    kinds = {v.name: v for v in onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info}
    for name in dict.fromkeys(names):
        if name not in known:
            kind = kinds[name].type.tensor_type.elem_type if name in kinds else TensorProto.FLOAT
            probe.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    session = onnxruntime.session_of(probe.SerializeToString())
    runs = [session(feed) for feed in feeds]
    return {name: [np.asarray(run[name], np.float32) for run in runs] for name in names}


def _results(model: onnx.ModelProto, layers: Sequence[Layer]) -> Dict[Layer, str]:
    """The result of each layer: the first output of its last node."""
    made = {onnx_files.label(node): node.output[0] for node in model.graph.node}
    return {layer: made[layer[-1]] for layer in layers}


def _last(model: onnx.ModelProto, layers: Sequence[Layer], results: Dict[Layer, str]) -> List[str]:
    """Results of the layers that no other layer's nodes come after."""
    members = {name for layer in layers for name in layer}
    before: Dict[str, FrozenSet[str]] = {}  # tensor -> the layers' results that it is computed from
    for node in model.graph.node:
        behind = frozenset().union(*(before.get(name, frozenset()) | {name} for name in node.input))
        before.update(dict.fromkeys(node.output, behind))
    nodes = [node for node in model.graph.node if onnx_files.label(node) in members]
    inner = {own: layer for layer in layers for own in layer}
    used = {name for node in nodes for name in before[node.output[0]] if name != results[inner[onnx_files.label(node)]]}
    return [result for result in results.values() if result not in used]


def _work(model: onnx.ModelProto, layers: Sequence[Layer], feeds: Sequence[Arrays]) -> Dict[Layer, int]:
    """Multiply-accumulates of each layer's convolutions on the first sample."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    convolutions = {onnx_files.label(n): n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in shapes}
    sizes = _run(model, [node.output[0] for node in convolutions.values()], feeds[:1])

    def of(name: str) -> int:
        node = convolutions.get(name)
        return math.prod(shapes[node.input[1]][1:]) * int(sizes[node.output[0]][0].size) if node is not None else 0

    return {layer: sum(map(of, layer)) for layer in layers}


def _grouped(model: onnx.ModelProto, labels: Sequence[str]) -> List[Layer]:
    """The nodes as layers, in graph order: see the top of this file."""
    lowered, constants = set(labels), {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    home: Dict[str, List[str]] = {}  # tensor -> the layer that makes it
    layers: List[List[str]] = []
    for node in model.graph.node:
        if onnx_files.label(node) not in lowered:
            continue
        computed = [name for name in node.input if name and name not in constants]
        behind = home.get(computed[0]) if len(computed) == 1 and node.op_type not in _WEIGHTED else None
        if behind is None:
            behind = []
            layers.append(behind)
        behind.append(onnx_files.label(node))
        home.update(dict.fromkeys(node.output, behind))
    return [tuple(layer) for layer in layers]


def _fp16(model: onnx.ModelProto) -> Lower:
    return lambda keep: fp16.emulated(fp16.to_float16(model, keep))


def _int8(
    model: onnx.ModelProto, lowering: LowerInt8, layers: Sequence[Layer], kept: FrozenSet[str], images: Sequence[Any]
) -> Lower:
    """Ranges are found once, for every pair that any of the graphs will have."""
    everything = frozenset(name for layer in layers for name in layer) | kept
    keeps = [kept, *(everything - frozenset(layer) for layer in layers)]
    places = [placement.places(model, lowering.placement, keep) for keep in keeps]
    found = grids(model, list(dict.fromkeys(name for each in places for name in each.pairs)), images, lowering)

    def lower(keep: FrozenSet[str]) -> onnx.ModelProto:
        places = placement.places(model, lowering.placement, keep)
        pairs = {name: found[name] for name in places.pairs}
        return int8.quantize(model, places, pairs, signed=lowering.activations == "symmetric")

    return lower


def _quantized(model: onnx.ModelProto, places: placement.Places) -> List[str]:
    """Labels of the convolutions that compute in int8, in graph order."""
    return [onnx_files.label(node) for node in model.graph.node if node.output[0] in places.convolutions]
