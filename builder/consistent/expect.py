"""What a consistency check says when it does not hold: a RecordError at the path of the offending value."""

from __future__ import annotations

from typing import Iterable

from builder.record import Path, RecordError


def expect(ok: bool, path: Path, problem: str) -> None:
    if not ok:
        raise RecordError(path, problem)


def declared(name: str, known: Iterable[str], path: Path, what: str, *, at_key: bool = False) -> None:
    names = tuple(known)
    if name not in names:
        raise RecordError(path, f"{what} {name!r} is not declared", wrong=name, known=names, at_key=at_key)
