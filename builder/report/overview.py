"""The first look at a version: one sentence, the count of each verdict, and the heat map of cells. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from builder import terminal
from builder.report import margins
from builder.store.manifest import Entry, Manifest

VERDICTS = ("passed", "failed", "unverified", "waiting", "skipped")


@dataclass(frozen=True)
class Count:
    verdict: str
    cells: int
    meaning: str


@dataclass(frozen=True)
class Fastest:
    head: str
    cell: str
    anchor: str
    p50: str
    speedup: str


@dataclass(frozen=True)
class Square:
    """A cell of the heat map. `bar` is how much of the tightest gate is used, 0 to 100 for drawing, or None."""

    cell: str
    anchor: str
    head: str
    precision: str
    target: str
    verdict: str
    share: str = ""
    gate: str = ""
    bar: Optional[int] = None


@dataclass(frozen=True)
class Row:
    head: str
    precision: str
    first: bool
    squares: Tuple[Optional[Square], ...]


@dataclass(frozen=True)
class Column:
    target: str
    runtime: str
    machine: str


@dataclass(frozen=True)
class Overview:
    sentence: str
    counts: Tuple[Count, ...]
    fastest: Tuple[Fastest, ...]
    columns: Tuple[Column, ...]
    rows: Tuple[Row, ...]
    untrained: str


_MEANING = {
    "passed": "measured, and within every gate",
    "failed": "measured and beyond a gate, or a step failed",
    "unverified": "built, but not measured: its machine was not here",
    "waiting": "not built yet: it is built on its own machine",
    "skipped": "ruled out by a compatibility rule or by matrix.yaml",
}


def anchors(manifest: Manifest) -> Dict[str, str]:
    """Cell -> the id of its row on the page. Numbered, since a name may hold what an id must not."""
    return {entry.cell: f"cell-{number}" for number, entry in enumerate(manifest.entries, 1)}


def overview(manifest: Manifest) -> Overview:
    weights = manifest.model.weights
    return Overview(
        sentence=_sentence(manifest),
        counts=tuple(
            Count(verdict, found, _MEANING[verdict])
            for verdict in VERDICTS
            for found in [sum(e.verdict.status == verdict for e in manifest.entries)]
            if found
        ),
        fastest=_fastest(manifest),
        columns=_columns(manifest),
        rows=_rows(manifest),
        untrained=weights if weights.startswith("seed") else "",
    )


def _sentence(manifest: Manifest) -> str:
    """'14 of 64 cells passed, none failed.' and what became of the rest."""
    of = {verdict: sum(e.verdict.status == verdict for e in manifest.entries) for verdict in VERDICTS}
    total = len(manifest.entries)
    said = f"{of['passed']} of {terminal.counted(total, 'cell')} passed, {of['failed'] or 'none'} failed."
    rest: List[str] = []
    if of["unverified"]:
        rest.append(f"{of['unverified']} {'is' if of['unverified'] == 1 else 'are'} built but not verified")
    if of["waiting"]:
        rest.append(f"{of['waiting']} {'waits' if of['waiting'] == 1 else 'wait'} for another machine")
    if of["skipped"]:
        rest.append(f"{of['skipped']} {'is' if of['skipped'] == 1 else 'are'} ruled out")
    return f"{said} {', '.join(rest)[:1].upper()}{', '.join(rest)[1:]}." if rest else said


def _fastest(manifest: Manifest) -> Tuple[Fastest, ...]:
    """Per head the cell with the lowest p50 that passed."""
    of, found = anchors(manifest), []
    for head in manifest.model.heads:
        timed = [
            (e.latency.artifact.p50, e.cell, e.latency)
            for e in manifest.entries
            if e.head == head.name and e.verdict.status == "passed" and e.latency is not None
        ]
        if timed:
            p50, cell, latency = min(timed, key=lambda row: row[:2])
            times = f"{latency.speedup:.2f}" if latency.speedup else ""
            found.append(Fastest(head.name, cell, of[cell], f"{p50:.1f} ms", times))
    return tuple(found)


def _columns(manifest: Manifest) -> Tuple[Column, ...]:
    columns: Dict[str, Column] = {}
    for entry in manifest.entries:
        runtime = f"{entry.platform.runtime} {entry.platform.version}" if entry.platform else ""
        known = columns.get(entry.target)
        if known is None or (runtime and not known.runtime):
            columns[entry.target] = Column(entry.target, runtime, entry.machine)
    return tuple(columns.values())


def _rows(manifest: Manifest) -> Tuple[Row, ...]:
    of = anchors(manifest)
    squares = {(e.head, e.precision, e.target): _square(e, of[e.cell]) for e in manifest.entries}
    targets = list(dict.fromkeys(e.target for e in manifest.entries))
    rows: List[Row] = []
    for head in dict.fromkeys(e.head for e in manifest.entries):
        for precision in dict.fromkeys(e.precision for e in manifest.entries if e.head == head):
            first = not rows or rows[-1].head != head
            rows.append(Row(head, precision, first, tuple(squares.get((head, precision, t)) for t in targets)))
    return tuple(rows)


def _square(entry: Entry, anchor: str) -> Square:
    margin = next(iter(margins.of(entry)), None)
    bare = Square(entry.cell, anchor, entry.head, entry.precision, entry.target, entry.verdict.status)
    if margin is None:
        return bare
    return Square(
        entry.cell,
        anchor,
        entry.head,
        entry.precision,
        entry.target,
        entry.verdict.status,
        margins.share(margin),
        margins.name(margin.check),
        round(100 * min(1.0, margin.used)),
    )
