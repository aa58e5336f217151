"""What onnxruntime makes of an ONNX file on the CPU: the graph that its session runs, read back.

A Q/DQ pair is a wish. onnxruntime turns a convolution into an integer one only where it finds the pattern that it
knows, and computes in float otherwise; its CPU provider has no float16 at all. Only the optimised graph tells.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Optional

import onnxruntime

from builder.errors import UsageError, first_line
from builder.inspection import onnx_graph
from builder.inspection.contents import Layers, Shapes, spelled


def layers(path: Path, sizes: Shapes, name: str) -> Layers:
    """The convolutions and matrix products that run. UsageError when onnxruntime cannot open the file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The level above it only lays tensors out anew, in operators that no shape inference knows.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    original = onnx_graph.load(path, name)
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's exceptions share no base but Exception
            raise UsageError(f"onnxruntime cannot open it: {first_line(problem)}", where=name) from None
        optimised = onnx_graph.load(written, name)
    found = onnx_graph.layers(optimised, sizes, f"as onnxruntime {onnxruntime.__version__} runs it here", realised=True)
    known = {**onnx_graph.FLOATING, **onnx_graph.INTEGER, **onnx_graph.FUSED}
    roots = [onnx_graph.weight_name(n, optimised.graph) for n in optimised.graph.node if n.op_type in known]
    work = _work(original, sizes)
    named = tuple(
        replace(layer, macs=layer.macs if layer.macs is not None else work.get(root))
        for layer, root in zip(found.layers, roots)
    )
    counts = all(layer.macs is not None for layer in named)
    return Layers(found.source, named, spelled(sizes) if counts else "")


def _work(original: Any, sizes: Shapes) -> Dict[str, Optional[int]]:
    """Weights -> multiply-accumulates, of the file as it was; weights that several nodes share are left out."""
    known = {**onnx_graph.FLOATING, **onnx_graph.INTEGER}
    roots = [onnx_graph.weight_name(n, original.graph) for n in original.graph.node if n.op_type in known]
    once = {root for root, times in Counter(roots).items() if times == 1}
    counted = onnx_graph.layers(original, sizes, "").layers
    return {root: layer.macs for root, layer in zip(roots, counted) if root in once}
