"""A YAML file to a record: the one place that reads one. Anything wrong is one UsageError with `file:line:column`.

For a name that is not known, the nearest valid one is the hint. What the record means is for its callers.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Optional, Type, TypeVar

from builder import digest
from builder.errors import UsageError
from builder.records import RecordError, dotted, from_json
from builder.yaml_marks import Marked, YamlProblem, parse

T = TypeVar("T")
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Read(Generic[T]):
    """A record, the digest of the file's bytes, and where each of its values stands."""

    record: T
    path: Path
    digest: str
    marked: Marked

    def wrong(self, problem: RecordError) -> UsageError:
        """What a check of the record found, at its place in the file."""
        return _placed(self.path, self.marked, problem)


def read(path: Path, cls: Type[T], *, kind: str, flag: str, empty: str) -> Read[T]:
    """`kind` is what such a file is called, `flag` the one that names it, `empty` the hint for a file with nothing in it."""
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
    """What the person may have meant, or what would be right there."""
    if not problem.known:
        return None
    near = difflib.get_close_matches(problem.wrong, problem.known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid here: " + ", ".join(sorted(problem.known))
