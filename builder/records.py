"""Records: frozen dataclasses to JSON and back, driven by their type hints.

One reader serves matrix.yaml, actions, results and manifests, and the JSON Schema of matrix.yaml comes
from the same hints, so the schema always matches the reader. Written by hand: pydantic takes 133 to 176 ms to build one
schema, and is not there for the worker that is sent to a machine.

    from_json(type(x), to_json(x)) == x          for every record (a property test)

It reads `str int float bool`, `Literal`, `Optional`, `Tuple[T, ...]`, fixed tuples, dataclasses and unions of
dataclasses. A `Literal` field selects the member of a union; without one, the keys do. A field made with
`field(metadata=KEYED)` is a mapping in JSON and a tuple of records here: the key is the first field of the
record; when only one other field is left, the mapping's value is that field itself. A field made with
`field(metadata=DERIVED)` is computed from the others when a record is loaded: it is neither read nor written.
A record with a class method `from_text` may also be one text; a ValueError says why it cannot be read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from dataclasses import MISSING, dataclass
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Mapping,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

from builder.digest import Json

T = TypeVar("T")
KeyPath = Tuple[
    Union[int, str], ...
]  # the order of shapes.Dim: typing gives equal unions one form, the first that it meets

_LARGEST_INT = 1 << 62  # beyond it, a whole number is not meant as a float
KEYED: Mapping[str, bool] = {"keyed": True}
DERIVED: Mapping[str, bool] = {"derived": True}


class RecordError(Exception):
    """`data` at `path` does not fit the record.

    `wrong`: the name found; `known`: the valid ones.
    """

    def __init__(
        self, path: KeyPath, problem: str, *, wrong: str = "", known: Tuple[str, ...] = (), at_key: bool = False
    ) -> None:
        super().__init__(f"{dotted(path)}: {problem}")
        self.path, self.problem, self.wrong, self.known, self.at_key = path, problem, wrong, known, at_key


def dotted(path: KeyPath) -> str:
    """('targets', 'cpu', 'profiles', 0) -> 'targets.cpu.profiles[0]'."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else ("." if text else "") + part
    return text or "the document"


def described(text: str, *, keyed: bool = False) -> Dict[str, object]:
    """Metadata of a field.

    Its line in the JSON Schema, and whether it is written as a mapping.
    """
    return {"keyed": keyed, "doc": text}


@functools.lru_cache(maxsize=None)
def hints_of(cls: Any) -> Dict[str, Any]:
    """The field names of a dataclass, in order, with their resolved types.

    `typing.get_type_hints` compiles `str` anew for every field, which takes six times as long: 12 ms of `build plan`.
    """
    module = cls.__module__
    return {f.name: _resolved(f.type, module) if isinstance(f.type, str) else f.type for f in dataclasses.fields(cls)}


@functools.lru_cache(maxsize=None)
def _resolved(annotation: str, module: str) -> Any:
    return eval(annotation, vars(sys.modules[module]))


@functools.lru_cache(maxsize=None)
def fields_of(cls: Any) -> Dict[str, "dataclasses.Field[Any]"]:
    """The fields that have a JSON form."""
    return {f.name: f for f in dataclasses.fields(cls) if not f.metadata.get("derived")}


def keyed(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get("keyed"))


def required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


# ------------------------------------------------------------------------------------------- writing


def to_json(value: object) -> Json:
    """The JSON form of a record.

    Fields that hold their default are left out, so that a new field with a default changes no digest of an older
    record.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out: Dict[str, Json] = {}
        for name, field in fields_of(value.__class__).items():
            item = getattr(value, name)
            if not required(field) and item == _default(field) and not _is_tag(value.__class__, name):
                continue
            out[name] = _keyed_to_json(item) if keyed(field) else to_json(item)
        return out
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _keyed_to_json(items: Tuple[Any, ...]) -> Json:
    out: Dict[str, Json] = {}
    for item in items:
        cls: Any = type(item)
        key, *rest = fields_of(cls)
        if len(rest) == 1:
            value = getattr(item, rest[0])
            flat = keyed(fields_of(cls)[rest[0]])
            out[getattr(item, key)] = _keyed_to_json(value) if flat else to_json(value)
        else:
            body = cast("dict[str, Json]", to_json(item))
            out[getattr(item, key)] = {k: v for k, v in body.items() if k != key}
    return out


def _default(field: "dataclasses.Field[Any]") -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _is_tag(cls: type, name: str) -> bool:
    return get_origin(hints_of(cls)[name]) is Literal and len(get_args(hints_of(cls)[name])) == 1


# ------------------------------------------------------------------------------------------- reading


def from_json(cls: Type[T], data: object, path: KeyPath = ()) -> T:
    """Read parsed JSON as a `cls`.

    Raises RecordError at the first value that does not fit.
    """
    return cast(T, _read(cls, data, path))


def _read(hint: Any, data: object, path: KeyPath) -> object:
    reader, argument = _reader(hint)
    return reader(argument, data, path)


@functools.lru_cache(maxsize=None)
def _reader(hint: Any) -> Tuple[Callable[[Any, object, KeyPath], object], Any]:
    """The reader of `hint` and its argument.

    Cached: one manifest needs some ten thousand for a few dozen hints.
    """
    if dataclasses.is_dataclass(hint):
        return _read_record, hint
    readers = {Union: _read_union, tuple: _read_tuple, Literal: _read_literal}
    origin = get_origin(hint)
    return (readers[origin], get_args(hint)) if origin in readers else (_read_scalar, hint)


def _read_record(cls: Any, data: object, path: KeyPath) -> object:
    if hasattr(cls, "from_text") and not isinstance(data, dict):
        text = _read_scalar(str, data, path)
        try:
            return cast(object, cls.from_text(text))
        except ValueError as problem:
            raise RecordError(path, str(problem)) from None
    if not isinstance(data, dict):
        raise RecordError(path, f"expected a mapping, found {_kind(data)}")
    fields, hints = fields_of(cls), hints_of(cls)
    for key in data:
        if key not in fields:
            raise RecordError((*path, key), f"unknown key {key!r}", wrong=str(key), known=tuple(fields), at_key=True)
    values: Dict[str, object] = {}
    for name, field in fields.items():
        if name in data:
            reader = _read_keyed if keyed(field) else _read
            values[name] = reader(hints[name], data[name], (*path, name))
        elif required(field):
            raise RecordError(path, f"missing key {name!r}")
    try:
        return cls(**values)
    except ValueError as problem:  # a record's own __post_init__ check
        raise RecordError(path, str(problem)) from problem


def _read_keyed(hint: Any, data: object, path: KeyPath) -> object:
    if not isinstance(data, dict):
        raise RecordError(path, f"expected a mapping of names, found {_kind(data)}")
    item_type = get_args(hint)[0]
    key, *rest = fields_of(item_type)
    items: List[object] = []
    for name, body in data.items():
        if len(rest) == 1:
            field = fields_of(item_type)[rest[0]]
            reader = _read_keyed if keyed(field) else _read
            value = reader(hints_of(item_type)[rest[0]], body, (*path, name))
            try:
                items.append(item_type(**{key: name, rest[0]: value}))
            except ValueError as problem:
                raise RecordError((*path, name), str(problem)) from problem
        else:
            if not isinstance(body, dict):
                raise RecordError((*path, name), f"expected a mapping, found {_kind(body)}")
            if key in body:
                raise RecordError((*path, name, key), f"unknown key {key!r}", wrong=key, known=tuple(rest), at_key=True)
            items.append(_read_record(item_type, {key: name, **body}, (*path, name)))
    return tuple(items)


def _read_union(options: Tuple[Any, ...], data: object, path: KeyPath) -> object:
    if type(None) in options:
        if data is None:
            return None
        options = tuple(o for o in options if o is not type(None))
    if len(options) == 1:
        return _read(options[0], data, path)
    records = [o for o in options if dataclasses.is_dataclass(o)]
    if records and isinstance(data, dict):
        return _read_record(_choose(records, data, path), data, path)
    for option in options:
        try:
            return _read(option, data, path)
        except RecordError:
            continue
    names = " or ".join("a mapping" if dataclasses.is_dataclass(o) else _name(o) for o in options)
    raise RecordError(path, f"expected {names}, found {_kind(data)}")


def _choose(records: List[Any], data: Mapping[str, object], path: KeyPath) -> type:
    """The member of a union for `data`: by its tag (a one-word Literal), else by the most keys in common."""
    tags = {}
    for cls in records:
        for name, hint in hints_of(cls).items():
            if _is_tag(cls, name) and isinstance(get_args(hint)[0], str):
                tags[name, get_args(hint)[0]] = cls
    if not tags:
        return cast(type, max(records, key=lambda cls: len(set(hints_of(cls)) & set(data))))
    for (name, word), cls in tags.items():
        if data.get(name) == word:
            return cast(type, cls)
    name = next(iter(tags))[0]
    found = data.get(name)
    raise RecordError((*path, name), f"{found!r} is not known", wrong=str(found), known=tuple(word for _, word in tags))


def _read_tuple(args: Tuple[Any, ...], data: object, path: KeyPath) -> object:
    if not isinstance(data, (list, tuple)):
        raise RecordError(path, f"expected a list, found {_kind(data)}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], item, (*path, i)) for i, item in enumerate(data))
    if len(data) != len(args):
        raise RecordError(path, f"expected {len(args)} items, found {len(data)}")
    return tuple(_read(hint, item, (*path, i)) for i, (hint, item) in enumerate(zip(args, data)))


def _read_literal(allowed: Tuple[Any, ...], data: object, path: KeyPath) -> object:
    for value in allowed:
        if data == value and type(data) is type(value):
            return value
    known = tuple(str(value) for value in allowed)
    raise RecordError(path, f"{data!r} is not one of {', '.join(known)}", wrong=str(data), known=known)


def _read_scalar(hint: Any, data: object, path: KeyPath) -> object:
    if type(data) is hint and hint is not float:
        return data
    if hint is float and isinstance(data, int) and not isinstance(data, bool) and abs(data) < _LARGEST_INT:
        return float(data)
    if hint is float and isinstance(data, float) and not math.isfinite(data):
        raise RecordError(path, f"expected a finite number, found {data}")
    if type(data) is hint:
        return data
    hint_text = ""
    if hint is str and isinstance(data, (int, float)):
        hint_text = f' (write it in quotes: "{data}")'
    raise RecordError(path, f"expected {_name(hint)}, found {_kind(data)}{hint_text}")


def _kind(data: object) -> str:
    if isinstance(data, dict):
        return "a mapping"
    if isinstance(data, (list, tuple)):
        return "a list"
    if data is None:
        return "nothing"
    return f"{_name(type(data))} {data!r}"


def _name(hint: Any) -> str:
    names: Dict[object, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


# ------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class Setting:
    """One `name: value` that is handed on as it is (a factory's keyword argument)."""

    name: str
    value: Union[bool, int, float, str]


# -------------------------------------------------- consistency checks: a RecordError at the path of the invalid value


def expect(ok: bool, path: KeyPath, problem: str) -> None:
    if not ok:
        raise RecordError(path, problem)


def declared(name: str, known: Iterable[str], path: KeyPath, what: str, *, at_key: bool = False) -> None:
    names = tuple(known)
    if name not in names:
        raise RecordError(path, f"{what} {name!r} is not declared", wrong=name, known=names, at_key=at_key)
