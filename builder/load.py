"""matrix.yaml on disk to a checked `Matrix`. The only place that reads the file.

Anything wrong is one UsageError with `file:line:column` and, for a name, the nearest valid one. Paths in the
file are relative to its folder. Weights and photographs are not opened here: `plan` and the steps do that.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from builder import digest, photographs
from builder.consistent import consistency
from builder.errors import UsageError
from builder.evidence import Photographs
from builder.matrix import Matrix
from builder.record import RecordError, dotted, from_json
from builder.yaml_marks import Marked, YamlProblem, parse

_LARGEST = 1 << 20
_MINIMAL_HINT = "start from the commented matrix.yaml that ships with deploymatrix, or see `build schema`"


@dataclass(frozen=True)
class Loaded:
    """A matrix, the folder its paths are relative to, and the digest of the file's bytes. `calibration`: every photograph
    that int8 ranges may come from, before `count` draws some of them."""

    matrix: Matrix
    path: Path
    root: Path
    digest: str
    calibration: Optional[Photographs] = None

    @property
    def store(self) -> Path:
        return self.root / self.matrix.store


def load(path: Path) -> Loaded:
    data = _bytes(path)
    marked = _parse(path, data)
    if marked.data is None:
        raise UsageError("the file is empty", where=str(path), hint=_MINIMAL_HINT)
    try:
        written = from_json(Matrix, marked.data)
        matrix, pool = photographs.declared(written, path.parent), photographs.undrawn(written, path.parent)
        consistency.check(matrix)
    except RecordError as problem:
        raise _placed(path, marked, problem) from None
    return Loaded(matrix, path, path.parent, digest.of_bytes(data), pool)


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UsageError("this is a folder, not a matrix file", where=str(path), hint=f"try: -m {path / 'matrix.yaml'}")
    try:
        if path.exists() and not path.is_file():
            raise UsageError("this is not a regular file", where=str(path))
        if path.stat().st_size > _LARGEST:
            size = path.stat().st_size / (1 << 20)
            raise UsageError(f"{size:.1f} MiB is too large for a matrix file (at most 1 MiB)", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "no such file", where=str(path), hint="name one with -m PATH, or change to its folder"
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
    """What the person may have meant, or what would be right there."""
    if not problem.known:
        return None
    near = difflib.get_close_matches(problem.wrong, problem.known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid here: " + ", ".join(sorted(problem.known))
