"""A machine as a file: what `build doctor --json` prints there, and `build plan --facts FILE` reads here."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from builder.errors import UsageError
from builder.facts import Machine
from builder.records import RecordError, from_json, to_json

SCHEMA = 1
_LARGEST = 1 << 20
_HINT = "write it on that machine with: build doctor --json > FILE"


@dataclass(frozen=True)
class FactFile:
    """`source` is where the facts come from, when they were not recorded on such a machine."""

    schema: int
    machine: Machine
    source: str = ""


def text(machine: Machine) -> str:
    return json.dumps(to_json(FactFile(SCHEMA, machine)), indent=1, ensure_ascii=False)


def read(path: Path) -> FactFile:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError("too large for a fact file (at most 1 MiB)", where=str(path), hint=_HINT)
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=str(path), hint=_HINT) from None
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text: a binary file?", where=str(path), hint=_HINT) from None
    except json.JSONDecodeError as problem:
        where = f"{path}:{problem.lineno}:{problem.colno}"
        raise UsageError(f"is not JSON: {problem.msg}", where=where, hint=_HINT) from None
    except RecursionError:
        raise UsageError("is nested too deeply for a fact file", where=str(path), hint=_HINT) from None
    found = data.get("schema") if isinstance(data, dict) else None
    if isinstance(data, dict) and "schema" in data and found != SCHEMA:
        raise UsageError(
            f"has schema {found!r}; this deploymatrix reads schema {SCHEMA}",
            where=str(path),
            hint="write it again with this version of deploymatrix: build doctor --json > FILE",
        )
    try:
        return from_json(FactFile, data)
    except RecordError as problem:
        near = difflib.get_close_matches(problem.wrong, problem.known, n=1, cutoff=0.5)
        raise UsageError(str(problem), where=str(path), hint=f"did you mean {near[0]!r}?" if near else _HINT) from None
