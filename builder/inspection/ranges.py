"""The ranges that calibration wrote into an int8 graph, read back from its Q/DQ pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from onnx import numpy_helper

from builder import terminal
from builder.config.matrix import Calibration
from builder.digest import Json
from builder.inspection import onnx_graph
from builder.records import to_json

Found = Sequence[Tuple[Tuple[str, ...], Tuple["Range", ...]]]  # cells that share a graph, and its ranges


@dataclass(frozen=True)
class Range:
    """`low` and `high` are the outermost values that a code stands for; what lies beyond is clipped to them."""

    tensor: str
    low: float
    high: float
    scale: float
    zero: int
    codes: str


def of(path: Path, name: str) -> Tuple[Range, ...]:
    """Of every tensor that is quantized when the graph runs, in graph order. UsageError when it is no ONNX file."""
    graph = onnx_graph.load(path, name).graph
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
