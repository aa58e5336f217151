"""What a loaded TensorRT engine tells of itself: layers, their types, profiles. It needs the GPU and the version it is for.

Nobody has run this file on a GPU yet. What the inspector calls things differs between versions, so the reading is
lenient: what it does not recognise it leaves out.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

from builder.errors import StepFailed, first_line
from builder.inspection.contents import Contents, Fact, Layer, Layers, Tensor, counted

_COMPUTE = re.compile(r"conv|gemm|matrix_?multiply|fully_?connected", re.IGNORECASE)
_TYPES = (("int8", "int8"), ("fp8", "fp8"), ("bf16|bfloat16", "bf16"), ("fp16|half", "fp16"), ("fp32|float", "fp32"))


def add(contents: Contents, path: Path) -> Contents:
    """`contents` of the plan at `path`, with what the loaded engine tells. StepFailed when it does not load."""
    if contents.format == "tensorrt-rtx-plan":
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # before Polygraphy's first import of TensorRT
    from polygraphy.backend.common import BytesFromPath
    from polygraphy.backend.trt import EngineFromBytes
    from polygraphy.backend.trt.util import trt
    from polygraphy.exception import PolygraphyException

    try:
        engine: Any = EngineFromBytes(BytesFromPath(str(path)))()
    except PolygraphyException as problem:
        raise StepFailed(f"the engine does not load on this machine: {first_line(problem)}") from None
    told = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    modes = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
    tensors = {name: _tensor(engine, name) for name in names}
    found = parsed(told)
    return replace(
        contents,
        facts=(*contents.facts, *_profiles(engine, [name for name in names if modes[name]])),
        inputs=tuple(tensors[name] for name in names if modes[name]),
        outputs=tuple(tensors[name] for name in names if not modes[name]),
        operators=counted(kinds(told)),
        realised=found if found.layers else contents.realised,
    )


def parsed(told: str) -> Layers:
    """The convolutions and matrix products in what IEngineInspector gives as JSON."""
    layers = [
        Layer(str(row.get("Name", "")), str(row.get("LayerType", "")), _precision(row))
        for row in _rows(told)
        if _COMPUTE.search(str(row.get("LayerType", ""))) or _COMPUTE.search(str(row.get("ParameterType", "")))
    ]
    return Layers("as the engine's inspector tells", tuple(layers))


def kinds(told: str) -> List[str]:
    return [str(row.get("LayerType", "unknown")) for row in _rows(told)]


def _rows(told: str) -> List[Dict[str, Any]]:
    """The layers with their details; an engine built without `profiling: detailed` gives names only."""
    try:
        rows = json.loads(told).get("Layers", [])
    except (ValueError, AttributeError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def _precision(row: Dict[str, Any]) -> str:
    """Of the first input: what is multiplied."""
    first: Any = next(iter(row.get("Inputs") or []), {})
    said = f"{first.get('Datatype', '')} {first.get('Format/Datatype', '')}" if isinstance(first, dict) else str(first)
    return next((word for pattern, word in _TYPES if re.search(pattern, said, re.IGNORECASE)), "unknown")


def _tensor(engine: Any, name: str) -> Tensor:
    dims = tuple(int(d) if int(d) >= 0 else "?" for d in engine.get_tensor_shape(name))
    return Tensor(name, str(engine.get_tensor_dtype(name)).rpartition(".")[2].lower(), dims)


def _profiles(engine: Any, inputs: List[str]) -> List[Fact]:
    facts = []
    for number in range(engine.num_optimization_profiles):
        ranges = [
            f"{name} "
            + " .. ".join("x".join(map(str, tuple(s))) for s in engine.get_tensor_profile_shape(name, number))
            for name in inputs
        ]
        facts.append(Fact(f"profile {number}", "; ".join(ranges)))
    return facts
