"""The tables of docs/reference/matrix.md, drawn from the JSON Schema and the defaults of the records behind it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Dict, Iterator, List, Tuple

from builder import records
from builder.actions import measurements
from builder.config import contract, gates, json_schema, matrix, remote_machines, tensorrt
from builder.digest import Json
from builder.records import fields_of, required, to_json

_FILES = (
    matrix,
    contract,
    matrix,
    gates,
    gates,
    records,
    tensorrt,
    measurements,
    remote_machines,
    remote_machines,
)  # where the records of the schema are
BEGIN, END = "<!-- generated: keys -->", "<!-- end of generated -->"

# What the records themselves do not say of a key.
MEANINGS: Dict[str, str] = {
    "Matrix.schema": "Version of this format.",
    "Matrix.model": "The model, its heads, its input and its sizes.",
    "Matrix.precisions": "Precisions to build, in the order of the cells.",
    "Matrix.parity": "Photographs and sizes at which artifacts are compared with the model.",
    "Matrix.gates": "Limits an artifact must keep to pass. They are judged after measuring: a change rebuilds nothing.",
    "Matrix.latency": "How long and with how many threads artifacts are timed.",
    "Matrix.sweep": "Cells whose sizes are swept, inside their profiles and just outside.",
    "Matrix.defaults": "Settings of every cell.",
    "Matrix.overrides": "Settings of some cells, laid over the defaults in order.",
    "Matrix.fleet": "Where jobs for workers of the fleet are left.",
    "Listed.worker": "How work is done on it.",
    "Model.name": "First part of every cell id.",
    "Model.source": "Where the model comes from: a torch factory, or an ONNX file.",
    "Model.preprocess": "From a photograph to the input tensor.",
    "Input.dtype": "Type of the tensor.",
    "Head.postprocess": "How a host turns the tensors into keypoints. Without it `build run` writes tensors.",
    "Keypoints.kind": "The only kind there is.",
    "Preprocess.color": "Channels of the input: one or three.",
    "ShapeRange.min": "Smallest shape.",
    "ShapeRange.opt": "Usual shape. TensorRT optimises for it, and latency is measured at it.",
    "ShapeRange.max": "Largest shape.",
    "ParitySet.photographs": "The photographs to compare on.",
    "Disabled.reason": "Why. `build plan` shows it.",
    "Target.runtime": "What opens the artifact there.",
    "Target.os": "Operating system of that machine.",
    "Target.arch": "Processor architecture of that machine.",
    "Target.worker": "How work is done on the machine of `where`.",
    "Target.disabled": "Skip every cell of this target.",
    "CellSettings.disabled": "Skip these cells.",
    "Override.set": "The settings.",
}


def text() -> str:
    """Markdown: one table per record, in the order in which they are first needed."""
    parts: List[str] = [BEGIN, ""]
    definitions = _definitions()
    for name in _in_order(definitions):
        body = definitions[name]
        parts += [f"### {name}", ""]
        if isinstance(body.get("description"), str):
            parts += [str(body["description"]), ""]
        parts += ["| key | type | default | meaning |", "|---|---|---|---|"]
        parts += ["| " + " | ".join(row) + " |" for row in _rows(name, body)]
        parts.append("")
    return "\n".join([*parts, END])


def unexplained() -> Tuple[str, ...]:
    """Keys for which neither the record nor MEANINGS has a meaning."""
    return tuple(f"{name}.{key}" for name, key, doc in _keys() if not doc and f"{name}.{key}" not in MEANINGS)


def stale() -> Tuple[str, ...]:
    """Meanings here that no key needs."""
    undocumented = {f"{name}.{key}" for name, key, doc in _keys() if not doc}
    return tuple(sorted(set(MEANINGS) - undocumented))


def _definitions() -> Dict[str, Dict[str, Json]]:
    found = json_schema.of_matrix()["$defs"]
    assert isinstance(found, dict)
    return {name: body for name, body in found.items() if isinstance(body, dict)}


def _keys() -> Iterator[Tuple[str, str, str]]:
    for name, body in _definitions().items():
        for key, item in _properties(body).items():
            yield name, key, str(item.get("description", ""))


def _properties(body: Dict[str, Json]) -> Dict[str, Dict[str, Json]]:
    found = body.get("properties", {})
    assert isinstance(found, dict)
    return {key: item for key, item in found.items() if isinstance(item, dict)}


def _in_order(definitions: Dict[str, Dict[str, Json]]) -> List[str]:
    order, waiting = [], ["Matrix"]  # type: Tuple[List[str], List[str]]
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting = [n for n in _mentioned(definitions[name]) if n not in order] + waiting
    return order


def _mentioned(value: Json) -> List[str]:
    if isinstance(value, dict):
        own = [str(value["$ref"]).rsplit("/", 1)[-1]] if "$ref" in value else []
        return own + [name for item in value.values() for name in _mentioned(item)]
    return [name for item in value for name in _mentioned(item)] if isinstance(value, list) else []


def _rows(name: str, body: Dict[str, Json]) -> Iterator[Tuple[str, str, str, str]]:
    record = next(getattr(file, name) for file in _FILES if hasattr(file, name))
    for key, item in _properties(body).items():
        meaning = str(item.get("description") or MEANINGS.get(f"{name}.{key}", ""))
        yield f"`{key}`", _type(item), _default(record, key), re.sub(r"([*|])", r"\\\1", meaning)


def _type(item: Json) -> str:
    assert isinstance(item, dict)
    if "$ref" in item:
        name = str(item["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "enum" in item:
        assert isinstance(item["enum"], list)
        return " or ".join(f"`{word}`" for word in item["enum"])
    if "anyOf" in item:
        assert isinstance(item["anyOf"], list)
        return " or ".join(_type(part) for part in item["anyOf"] if part != {"type": "null"})
    if "prefixItems" in item:
        assert isinstance(item["prefixItems"], list)
        return "[" + ", ".join(_type(part) for part in item["prefixItems"]) + "]"
    if "items" in item:
        listed = _type(item["items"])
        return f"list of ({listed})" if " or " in listed else f"list of {listed}"
    if "additionalProperties" in item:
        return f"name: {_type(item['additionalProperties'])}"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}[
        str(item["type"])
    ]


def _default(record: object, key: str) -> str:
    field = fields_of(record)[key]
    if required(field):
        return "required"
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is None or dataclasses.is_dataclass(value):
        return "none" if value is None else "its own defaults"
    return f"`{json.dumps(to_json(value))}`" if value != () else "none"
