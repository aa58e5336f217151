"""A gate in the words of the command line, `[CELLS:]PATH=NUMBER`, with the path it would have below a gate of matrix.yaml:

*-int8-*:outputs.scores.cosine=0.99      tasks.views.homography_3px.max_degradation=0.05      speed.speedup.threshold=2
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Tuple

from builder.config import checks
from builder.config.cells import all_cells, selects
from builder.config.gates import Gate
from builder.config.loader import Loaded
from builder.config.yaml_reader import nearest
from builder.digest import Json
from builder.errors import UsageError
from builder.records import RecordError, dotted, from_json

_EXAMPLE = "write it as --gate '*-int8-*:outputs.scores.cosine=0.99'"


def with_gates(loaded: Loaded, words: Tuple[str, ...]) -> Loaded:
    """`loaded` with these gates after its own. Raises UsageError."""
    made = tuple(_gate(loaded, word) for word in words)
    return dataclasses.replace(loaded, matrix=dataclasses.replace(loaded.matrix, gates=(*loaded.matrix.gates, *made)))


def _gate(loaded: Loaded, word: str) -> Gate:
    limit, equals, number = word.rpartition("=")
    select, _, path = limit.rpartition(":")
    names, where = path.split("."), f"--gate {word}"
    if not equals or len(names) < 3 or not all(names):
        said = "not a gate: a path below `outputs`, `tasks` or `speed`, and a number"
        raise UsageError(said, where=where, hint=_EXAMPLE)
    try:
        value: Json = float(number)
    except ValueError:
        raise UsageError(f"{number!r} is not a number", where=where, hint=_EXAMPLE) from None
    for name in reversed(names):
        value = {name: value}
    assert isinstance(value, dict)
    said_in_full: Dict[str, Json] = {"select": select or "*", **value}
    try:
        gate = from_json(Gate, said_in_full)
        checks.check_gate(loaded.matrix, gate, ())
    except RecordError as problem:
        told = f"{dotted(problem.path)}: {problem.problem}"
        raise UsageError(told, where=where, hint=nearest(problem)) from None
    if not any(selects(gate.select, cell) for cell in all_cells(loaded.matrix)):
        hint = "list the cells with: build plan --print-ids"
        raise UsageError(f"{gate.select!r} selects no cell", where=where, hint=hint)
    return gate
