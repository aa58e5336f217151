"""A ledger as text for a terminal, in 100 columns: the groups, what is beyond its limit and why, what changed when."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

from builder import terminal
from builder.audit import phrases
from validation.history import Group, Ledger, Line

WIDTH = 100


def as_text(ledger: Ledger, place: Path, *, every: bool = False) -> str:
    """`every`: list also what did not move, and what got worse without a limit on it."""
    parts = [f"{ledger.model} in {place}/, {phrases.headline(ledger)}", "", _groups(ledger)]
    if ledger.against is not None:
        parts += _sections(ledger, every)
        parts += _changes(ledger)
    elif every:
        parts += ["", *_lines(tuple(ledger.lines), ledger)]
    parts += ["", *_end(ledger, place)]
    return "\n".join(parts)


def _groups(ledger: Ledger) -> str:
    header = ["precision", "target", "runtime", "cells", "farthest from the model"]
    header += [f"since v{ledger.against}"] if ledger.against is not None else []
    groups = phrases.measured(ledger)
    rows = [_group(group, ledger) for group in groups]
    left = len(ledger.groups) - len(groups)
    note = (
        f"\n{terminal.counted(left, 'more group')} that no number is of: waiting, skipped or not run here"
        if left
        else ""
    )
    return (terminal.table(header, rows, status=0) if rows else "Nothing was measured.") + note


def _group(group: Group, ledger: Ledger) -> Tuple[str, ...]:
    lost = phrases.farthest(group, ledger)
    row = (group.precision, group.target, group.runtime or "-", str(group.cells), lost)
    return row if ledger.against is None else (*row, phrases.counted(group))


def _sections(ledger: Ledger, every: bool) -> List[str]:
    parts: List[str] = []
    for title, states in (
        ("Beyond the limit", ("beyond",)),
        ("Worse, within the limit", ("worse",)),
        ("Not comparable", ("unlike",)),
    ):
        chosen = tuple(line for line in ledger.lines if line.state in states)
        shown = chosen if every or states == ("beyond",) else tuple(line for line in chosen if line.limit)
        if shown:
            parts += ["", f"{title} (values: {' '.join(f'v{r.version}' for r in phrases.shown(ledger))})"]
            for reasons, lines in phrases.by_reason(shown, ledger):
                parts += [terminal.wrapped(said, "  ", WIDTH, hanging=4) for said in reasons]
                parts += _lines(tuple(lines), ledger)
        if len(shown) < len(chosen):
            left = terminal.counted(len(chosen) - len(shown), "number")
            parts += ["", f"{title.partition(',')[0]}, without a limit: {left}; --all lists them"]
    parts += _gone(ledger)
    if every:
        for title, state in (("New", "new"), ("Better", "better"), ("As before", "same")):
            chosen = tuple(line for line in ledger.lines if line.state == state)
            parts += ["", title, *_lines(chosen, ledger)] if chosen else []
    return parts


def _gone(ledger: Ledger) -> List[str]:
    """What is no longer measured, without a word for each number of a cell that is gone."""
    gone = [cell.cell for cell in ledger.cells if cell.verdict == "gone"]
    lines = tuple(line for line in ledger.lines if line.state == "gone" and line.cell not in gone)
    parts: List[str] = []
    if gone:
        parts = [
            "",
            f"Not in v{ledger.candidate}: {terminal.counted(len(gone), 'cell')}",
            f"  {phrases.listed(gone, 2)}",
        ]
    if lines:
        cells = list(dict.fromkeys(line.cell for line in lines))
        said = f"No longer measured: {terminal.counted(len(lines), 'number')} of {', '.join(cells)}"
        parts += ["", terminal.wrapped(said, "", WIDTH, hanging=2)]
    return parts


def _lines(lines: Tuple[Line, ...], ledger: Ledger) -> List[str]:
    """Cell by cell, its metrics below it."""
    parts: List[str] = []
    width = max((len(line.metric) for line in lines), default=0)
    for cell in dict.fromkeys(line.cell for line in lines):
        parts.append(f"    {cell}")
        for line in (line for line in lines if line.cell == cell):
            values = phrases.series(line, ledger)
            parts.append(
                terminal.wrapped(
                    "  ".join(part for part in (values, phrases.since(line, ledger)) if part),
                    f"      {line.metric.ljust(width)}  ",
                    WIDTH,
                    hanging=width + 8,
                )
            )
    return parts


def _changes(ledger: Ledger) -> List[str]:
    rows = phrases.history(ledger)
    if not rows:
        return []
    parts = ["", "What changed, where numbers moved"]
    for old, new, reasons, numbers, cells in rows:
        moved = f"{terminal.counted(numbers, 'number')} in {terminal.counted(cells, 'cell')}"
        parts.append(terminal.wrapped(f"{'; '.join(reasons)} ({moved})", f"  v{old} -> v{new}  ", WIDTH, hanging=4))
    return parts


def _end(ledger: Ledger, place: Path) -> List[str]:
    unrecorded = [f"v{r.version}" for r in ledger.releases if not r.recorded]
    notes: List[str] = []
    if unrecorded and ledger.against is not None:
        named = ", ".join(unrecorded)
        notes.append(
            f"Note: {named} did not record the steps (an older release); reasons there are from manifests only."
        )
    store = "" if str(place) == "artifacts" else f" --store {place}"
    if ledger.beyond:
        count = terminal.counted(len(ledger.beyond), "number")
        notes.append(f"Drift: {count} beyond the limit (limits: {ledger.limits}). Exit code 4.")
        notes.append(f"Next: build audit{store} {ledger.beyond[0].cell}")
    elif ledger.against is not None:
        notes.append(f"Nothing is beyond its limit (limits: {ledger.limits}).")
    return notes
