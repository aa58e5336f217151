"""TensorRT plans: contents of their bytes, and of a loaded engine.

The bytes need neither TensorRT nor a GPU. A plan of TensorRT begins with `ftrt`, one of TensorRT-RTX with `vtrt`. Bytes
24 to 27 hold the version, where `trtexec --getPlanVersionOnly` reads it. In plans of TensorRT-RTX 1.7 the header also
holds the total length. Their network is in readable text, with the compute capability and, for each convolution and
matrix product, the types of its operands. That text is not an interface, so missing parts are left out.

No GPU of the project has loaded an engine here yet. The inspector's terms differ between versions, so unknown ones are
left out.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from builder.errors import StepFailed, StoreDamaged, UsageError, first_line
from builder.inspection.contents import Contents, Fact, Layer, Layers, Tensor, counted

NATIVE, RTX = b"ftrt", b"vtrt"
_HEADER = 28
_NAMES = {NATIVE: "TensorRT", RTX: "TensorRT-RTX"}
_WORDS = {"float": "fp32", "half": "fp16", "bfloat16": "bf16", "bf16": "bf16", "int8": "int8", "uint8": "int8"}
_TENSOR = re.compile(rb'\n  (?:sub_)?tensor=\{ [^\n]*? name="([^"\n]+)" [^\n]*? type=(\w+) \}')
_COMPUTE = re.compile(rb'\n  (corrltn|fully_connected|matmul|gemm)=\{ name="([^"\n]+)" [^\n]*? input=\{([^}\n]*)\}')
_KINDS = {"corrltn": "convolution", "fully_connected": "matrix product"}
_ACCELERATORS = re.compile(rb"\n  accelerators=\{([^}\n]*)\}")


def is_plan(head: bytes) -> bool:
    return head[:4] in _NAMES


def read(path: Path, name: str) -> Contents:
    """Raises StoreDamaged for a truncated plan, UsageError for another file."""
    data = path.read_bytes()
    if not is_plan(data):
        raise UsageError("is no TensorRT plan", where=name)
    if len(data) < _HEADER:
        raise StoreDamaged(f"the plan is cut short after {len(data)} bytes", where=name, hint="copy or build it again")
    kind = data[:4]
    version = _version(data)
    if kind == RTX:
        _check_length(data, name)
    facts = (
        Fact("built by", f"{_NAMES[kind]} {version}" if version else ""),
        Fact("compute capability", ", ".join(_capabilities(data)) if kind == RTX else ""),
    )
    return Contents(
        file=name,
        format="tensorrt-rtx-plan" if kind == RTX else "tensorrt-plan",
        size=len(data),
        facts=tuple(fact for fact in facts if fact.value),
        realised=_layers(data) if kind == RTX else None,
        notes=() if version else ("its serialization is not one that this program knows: no version found",),
    )


def wrapped(head: bytes) -> Optional[str]:
    """A note on a plan behind another tool's metadata (a length, then JSON).

    None for any other file.
    """
    length = int.from_bytes(head[:4], "little")
    if not 2 <= length <= len(head) - 8 or not is_plan(head[4 + length :]):
        return None
    try:
        json.loads(head[4 : 4 + length])
    except ValueError:
        return None
    return f"it is a TensorRT plan behind {4 + length} bytes of metadata of another tool, which TensorRT does not read"


def _check_length(data: bytes, name: str) -> None:
    """The header of an RTX plan holds the length of all that follows it and itself."""
    whole = int.from_bytes(data[16:24], "little")
    if whole > len(data):
        raise StoreDamaged(
            f"the plan is cut short: it has {len(data)} bytes, its header says {whole}",
            where=name,
            hint="copy or build it again",
        )


def _version(data: bytes) -> Optional[str]:
    """`10.3.0.26`; None for a serialization that this program does not know."""
    return ".".join(map(str, data[24:28])) if data[4:8] == bytes(4) else None


def _capabilities(data: bytes) -> Tuple[str, ...]:
    """sm86 -> 8.6, sm120 -> 12.0."""
    found = [
        digits
        for match in _ACCELERATORS.findall(data)
        for digits in re.findall(r"sm(\d+)[a-z]?\b", match.decode("latin-1"))
    ]
    return tuple(dict.fromkeys(f"{digits[:-1]}.{digits[-1]}" for digits in found))


def _layers(data: bytes) -> Optional[Layers]:
    """The convolutions and matrix products in the plan's text, each once although every profile has a copy."""
    types: Dict[bytes, bytes] = dict(_TENSOR.findall(data))
    found: Dict[str, Layer] = {}
    for kind, name, operands in _COMPUTE.findall(data):
        first = next(iter(re.findall(rb'"([^"]+)"', operands)), b"")
        precision = types.get(first, b"unknown").decode("ascii", "replace")
        word = kind.decode("ascii")
        label = re.sub(r" \[profile \d+\]$", "", name.decode("utf-8", "replace"))
        found.setdefault(label, Layer(label, _KINDS.get(word, word), _WORDS.get(precision, precision)))
    return Layers("by the plan's own text", tuple(found.values())) if found else None


# ------------------------------------------------------------------- a loaded engine; it needs its GPU and its version


_LAYER_COMPUTE = re.compile(r"conv|gemm|matrix_?multiply|fully_?connected", re.IGNORECASE)
_TYPES = (("int8", "int8"), ("fp8", "fp8"), ("bf16|bfloat16", "bf16"), ("fp16|half", "fp16"), ("fp32|float", "fp32"))


def add(contents: Contents, path: Path) -> Contents:
    """`contents` of the plan at `path` with the report of the loaded engine.

    Raises StepFailed.
    """
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
    """The convolutions and matrix products in the JSON of IEngineInspector."""
    layers = [
        Layer(str(row.get("Name", "")), str(row.get("LayerType", "")), _precision(row))
        for row in _rows(told)
        if _LAYER_COMPUTE.search(str(row.get("LayerType", "")))
        or _LAYER_COMPUTE.search(str(row.get("ParameterType", "")))
    ]
    return Layers("as the engine's inspector tells", tuple(layers))


def kinds(told: str) -> List[str]:
    return [str(row.get("LayerType", "unknown")) for row in _rows(told)]


def _rows(told: str) -> List[Dict[str, Any]]:
    """The layers with details.

    An engine built without `profiling: detailed` has names only.
    """
    try:
        rows = json.loads(told).get("Layers", [])
    except (ValueError, AttributeError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def _precision(row: Dict[str, Any]) -> str:
    """The precision of the first input, which is multiplied."""
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
