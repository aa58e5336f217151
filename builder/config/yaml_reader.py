"""Reading a YAML file as a record.

Any error is one UsageError with `file:line:column`. PyYAML parses; the scalars are then read by the YAML 1.2 core
rules, so that `1e-4` is a number and `no` is text. Duplicate keys, anchor loops, alias bombs and unknown tags are
errors. For an unknown name, the nearest valid one is the hint.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, FrozenSet, Generic, List, Optional, Tuple, Type, TypeVar

import yaml

from builder import digest
from builder.digest import Json
from builder.errors import UsageError
from builder.records import KeyPath, RecordError, dotted, from_json

# --------------------------------------------- YAML text to plain data, with the line and column of every key and value


_MOST_VALUES = 100_000
_DEEPEST = 64
_TOO_DEEP = f"nested more than {_DEEPEST} deep"
_LONGEST_NUMBER = 18
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Dict[str, Json] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
    "True": True,
    "False": False,
}
_MERGE = "tag:yaml.org,2002:merge"


class YamlProblem(Exception):
    """An error at a 1-based line and column."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(problem)
        self.problem, self.line, self.column = problem, line, column


Place = Tuple[int, int]


@dataclass
class Marked:
    """The data, and the positions of its values and keys by path.

    `read` counts values, aliases each time.
    """

    data: Json = None
    values: Dict[KeyPath, Place] = field(default_factory=dict)
    keys: Dict[KeyPath, Place] = field(default_factory=dict)
    read: int = 0

    def place(self, path: KeyPath, *, at_key: bool = False) -> Place:
        """Where `path` is written: the nearest enclosing value that has a place."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))


def parse(text: str) -> Marked:
    """Raises YamlProblem. An empty document gives data None."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_deep_nesting(text, loader)
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        said = ", ".join(part for part in (problem.context, problem.problem) if part)
        if "nesting depth" in said:  # newer parsers have a limit of their own
            said = _TOO_DEEP
        raise YamlProblem(said, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from problem
    except yaml.YAMLError as problem:
        raise YamlProblem(str(problem).splitlines()[0], 1, 1) from problem
    marked = Marked()
    if node is not None:
        marked.data = _value(node, (), frozenset(), marked)
    return marked


def _refuse_deep_nesting(text: str, loader: Any) -> None:
    """Composing recurses once per level, in C; a hostile file could exhaust the stack.

    Events do not recurse.
    """
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise YamlProblem(_TOO_DEEP, *place)


def _value(node: yaml.Node, path: KeyPath, open_nodes: FrozenSet[int], marked: Marked) -> Json:
    place = _start(node)
    if id(node) in open_nodes:
        raise YamlProblem("an anchor contains itself", *place)
    if len(open_nodes) >= _DEEPEST:
        raise YamlProblem(_TOO_DEEP, *place)
    marked.read += 1
    if marked.read > _MOST_VALUES:
        raise YamlProblem(f"more than {_MOST_VALUES} values after aliases are followed", *place)
    marked.values.setdefault(path, place)
    inside = open_nodes | {id(node)}
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, inside, marked)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), inside, marked) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node, place)


def _mapping(node: yaml.MappingNode, path: KeyPath, inside: FrozenSet[int], marked: Marked) -> Json:
    """Own keys are read before merged ones, so that they keep their own positions."""
    own: Dict[str, Json] = {}
    first: Dict[str, Place] = {}
    merges: List[Tuple[yaml.Node, Place]] = []
    for key_node, value_node in node.value:
        place = _start(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlProblem("a key must be text", *place)
        if key_node.tag == _MERGE:
            merges.append((value_node, place))
            continue
        key = key_node.value
        if key in own:
            raise YamlProblem(f"the key {key!r} is here twice; first on line {first[key][0]}", *place)
        first[key] = place
        marked.keys.setdefault((*path, key), place)
        own[key] = _value(value_node, (*path, key), inside, marked)
    merged: Dict[str, Json] = {}
    for value_node, place in reversed(merges):  # of several, the last one counts
        part = _value(value_node, path, inside, marked)
        if not isinstance(part, dict):
            raise YamlProblem("<< takes one mapping", *place)
        merged = {**part, **merged}
    return {**merged, **own}


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: yaml.ScalarNode, place: Place) -> Json:
    text = str(node.value)
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise YamlProblem(f"the tag {node.tag} is not read here", *place)
    if node.style:  # quoted or block text; plain is None or '', depending on the parser
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > _LONGEST_NUMBER:
            raise YamlProblem(f"a number of {len(text)} digits is too long", *place)
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


# ------------------------------------------------------------------------------------------- plain data to records


T = TypeVar("T")
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Read(Generic[T]):
    """A record, the digest of the file's bytes, and the positions of its values."""

    record: T
    path: Path
    digest: str
    marked: Marked

    def wrong(self, problem: RecordError) -> UsageError:
        """The error for a failed check of the record, at its position in the file."""
        return _placed(self.path, self.marked, problem)


def read(path: Path, cls: Type[T], *, kind: str, flag: str, empty: str) -> Read[T]:
    """Read a file.

    `kind`: its name in messages; `flag`: the flag that names it; `empty`: the hint for an empty file.
    """
    data = _bytes(path, kind, flag)
    marked = _parse(path, data)
    if marked.data is None:
        raise UsageError("the file is empty", where=str(path), hint=empty)
    try:
        return Read(from_json(cls, marked.data), path, digest.of_bytes(data), marked)
    except RecordError as problem:
        raise _placed(path, marked, problem) from None


def _bytes(path: Path, kind: str, flag: str) -> bytes:
    if path.is_dir():
        raise UsageError(
            f"this is a folder, not a {kind} file", where=str(path), hint=f"try: {flag} {path / f'{kind}.yaml'}"
        )
    try:
        if path.exists() and not path.is_file():
            raise UsageError("this is not a regular file", where=str(path))
        if path.stat().st_size > _LARGEST:
            size = path.stat().st_size / (1 << 20)
            raise UsageError(f"{size:.1f} MiB is too large for a {kind} file (at most 1 MiB)", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "no such file", where=str(path), hint=f"name one with {flag} PATH, or change to its folder"
        ) from None
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=str(path)) from None


def _parse(path: Path, data: bytes) -> Marked:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise UsageError(f"byte {problem.start} is not UTF-8 text: a binary file?", where=f"{path}:{line}:1") from None
    if "\0" in text:
        raise UsageError(
            "holds NUL bytes: a binary file?", where=f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}:1"
        )
    try:
        return parse(text)
    except YamlProblem as problem:
        raise UsageError(problem.problem, where=f"{path}:{problem.line}:{problem.column}") from None


def _placed(path: Path, marked: Marked, problem: RecordError) -> UsageError:
    line, column = marked.place(problem.path, at_key=problem.at_key)
    what = problem.problem
    parent = problem.path[:-1] if problem.at_key else problem.path
    if parent:
        what += f" (in {dotted(parent)})"
    return UsageError(what, where=f"{path}:{line}:{column}", hint=nearest(problem))


def nearest(problem: RecordError) -> Optional[str]:
    """The nearest valid names, as a hint."""
    if not problem.known:
        return None
    near = difflib.get_close_matches(problem.wrong, problem.known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid here: " + ", ".join(sorted(problem.known))
