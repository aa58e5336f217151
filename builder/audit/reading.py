"""The versions that an audit looks at, read from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from builder.errors import StoreDamaged, UsageError
from builder.store import versions
from builder.store.layout import Layout
from validation.history import Version

USUAL = 10  # versions that are looked at when --since does not say


def number(word: str, flag: str, known: Tuple[int, ...]) -> int:
    """`v3` or `3`, one of `known`; UsageError otherwise."""
    digits = word[1:] if word[:1] in ("v", "V") else word
    if not digits.isdigit() or int(digits) not in known:
        listed = ", ".join(f"v{n}" for n in known)
        raise UsageError(f"{flag} {word}: there is no such version", hint=f"versions: {listed}")
    return int(digits)


def read(
    place: Path, candidate: Optional[str], against: Optional[str], since: Optional[str]
) -> Tuple[Tuple[Version, ...], Optional[int]]:
    """(the versions, ascending; the number of the one that the last is held against, or None for one version only)."""
    store = Layout(place)
    known = versions.numbers(store)
    if not known:
        raise UsageError(f"{place} holds no version", hint="name a store with --store DIR, or make one: build matrix")
    last = number(candidate, "--version", known) if candidate else known[-1]
    earlier = tuple(n for n in known if n < last)
    held = number(against, "--against", known) if against else (earlier[-1] if earlier else None)
    if held is not None and held >= last:
        raise UsageError(
            f"--against v{held}: v{last} cannot be held against itself or a later version",
            hint="name the later one with --version N",
        )
    first = number(since, "--since", known) if since else None
    if first is not None and first > last:
        raise UsageError(f"--since v{first} is after v{last}")
    kept = [n for n in earlier if n >= first] if first is not None else list(earlier[1 - USUAL :])
    wanted = sorted({*kept, last, *((held,) if held is not None else ())})
    return tuple(_version(store, n) for n in wanted), held


def _version(store: Layout, number_: int) -> Version:
    try:
        manifest = versions.read(store, number_)
        return Version(manifest, versions.read_provenance(store, manifest))
    except StoreDamaged as problem:
        raise StoreDamaged(
            f"v{number_}: {problem.what}",
            where=problem.where,
            hint=f"{problem.hint}; --since leaves older versions out" if problem.hint else "--since leaves it out",
        ) from None
