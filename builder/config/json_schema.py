"""JSON Schemas from the type hints of records, above all of matrix.yaml."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Literal, Union, get_args, get_origin

from builder.config.matrix import Matrix
from builder.digest import Json
from builder.records import fields_of, hints_of, keyed, required

_SCALARS: Dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def of_matrix() -> Dict[str, Json]:
    return of(Matrix, "deploymatrix matrix.yaml")


def of(record: type, title: str) -> Dict[str, Json]:
    """Draft 2020-12, one definition per record."""
    definitions: Dict[str, Json] = {}
    root = _schema(record, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_object(root),
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(hint: Any, definitions: Dict[str, Json]) -> Json:
    if dataclasses.is_dataclass(hint):
        return _reference(hint, definitions)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is Union:
        return {
            "anyOf": [_schema(a, definitions) for a in args if a is not type(None)]
            + [{"type": "null"}] * (type(None) in args)
        }
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": _schema(args[0], definitions)}
        items: List[Json] = [_schema(a, definitions) for a in args]
        return {"type": "array", "prefixItems": items, "minItems": len(args), "maxItems": len(args)}
    return {"type": _SCALARS[hint]}


def _reference(cls: Any, definitions: Dict[str, Json], without: str = "") -> Json:
    """The schema of a record.

    `without` is the field that is the key of a mapping, left out inside.
    """
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # a place holder, should records ever contain themselves
        definitions[cls.__name__] = _record(cls, definitions, without)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _record(cls: Any, definitions: Dict[str, Json], without: str) -> Json:
    properties: Dict[str, Json] = {}
    needed: List[Json] = []
    for name, field in fields_of(cls).items():
        if name == without:
            continue
        hint = hints_of(cls)[name]
        body = _object(_mapping(hint, definitions) if keyed(field) else _schema(hint, definitions))
        if "doc" in field.metadata:
            body = {**body, "description": str(field.metadata["doc"])}
        properties[name] = body
        if required(field):
            needed.append(name)
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    described: Dict[str, Json] = {} if summary.startswith(f"{cls.__name__}(") else {"description": summary}
    return {**described, "type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _mapping(hint: Any, definitions: Dict[str, Json]) -> Json:
    """A KEYED field: a mapping from the record's first field to the rest of it."""
    item = get_args(hint)[0]
    key, *rest = fields_of(item)
    if len(rest) > 1:
        return {"type": "object", "additionalProperties": _reference(item, definitions, without=key)}
    hints, field = hints_of(item), fields_of(item)[rest[0]]
    inner = _mapping(hints[rest[0]], definitions) if keyed(field) else _schema(hints[rest[0]], definitions)
    return {"type": "object", "additionalProperties": inner}


def _object(value: Json) -> Dict[str, Json]:
    assert isinstance(value, dict)
    return value
