"""A ledger as text for a terminal, in 100 columns, one cell in detail, and texts shared by all formats."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from builder import terminal
from builder.audit import causes
from builder.audit.causes import StepChange
from builder.audit.history import (
    CellLine,
    Change,
    Ledger,
    LineGroup,
    MetricLine,
    MetricMove,
    Point,
    Release,
    State,
    Version,
)
from builder.store.provenance import StepRecord

# ------------------------------------------------------------------------------- shared texts: numbers, changes, causes


MOST_VALUES = 5
NO_MOVE = "in no single version: every step was within the noise"


def number(line: MetricLine, value: Optional[float]) -> str:
    """`0.857`, `12.3 ms`, `38.1 dB`, `2.51x`, `1.4 MiB`; `-` for none."""
    if value is None:
        return "-"
    if line.unit == "B":
        return terminal.size(int(value))
    return f"{value:.4g}" + {"": "", "x": "x"}.get(line.unit, f" {line.unit}")


def point(line: MetricLine, at: Optional[Point]) -> str:
    """A verdict by its status, anything else by its number."""
    if at is None:
        return "-"
    return at.word or number(line, at.value)


def series(line: MetricLine, ledger: Ledger) -> str:
    """The values over the shown versions, oldest first: `0.914 0.914 - 0.857`."""
    values = [point(line, line.at(release.version)) for release in shown_cells(ledger)]
    return " ".join(word.replace(" ", "") for word in values)


def shown_cells(ledger: Ledger) -> Tuple[Release, ...]:
    """The last five versions, and always the one that the candidate is held against."""
    last = ledger.releases[-MOST_VALUES:]
    held = tuple(r for r in ledger.releases if r.version == ledger.against and r not in last)
    return (*held, *(last[1:] if held else last))


def since(line: MetricLine, ledger: Ledger) -> str:
    """`worse by 0.057 (limit 0.02)`: the candidate against the base version."""
    if line.said:
        return line.said
    limit = f" (limit {line.limit})" if line.limit and line.kind != "verdict" else ""
    if line.worse is None:
        return "new" if line.state == "new" and ledger.against is not None else ""
    if line.state == "same":
        return "as before"
    if line.kind == "verdict":
        return f"{point(line, line.at(ledger.against))} -> {point(line, line.at(ledger.candidate))}"
    way = "worse" if line.worse > 0 else "better"
    percent = f", {abs(line.percent):.1f}%" if line.percent is not None and line.kind in ("latency", "size") else ""
    return f"{way} by {number(line, abs(line.worse))}{percent}{limit}"


def headline(ledger: Ledger) -> str:
    """`v4 against v3: 3 beyond the limit, 12 worse, 480 as before`."""
    states = [line.state for line in ledger.lines]
    words: Dict[State, str] = {
        "beyond": "beyond the limit", "worse": "worse", "gone": "gone", "unlike": "not comparable", "new": "new",
        "better": "better", "same": "as before",
    }  # fmt: skip
    said = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    if ledger.against is None:
        return f"v{ledger.candidate} is the only version here: nothing to hold it against but the model"
    return f"v{ledger.candidate} against v{ledger.against}: {', '.join(said) or 'nothing measured'}"


def blamed(line: MetricLine, ledger: Ledger) -> Tuple[MetricMove, ...]:
    """The moves to explain.

    Those after the base version that made the line worse, or all of these. Empty for a line that drifted without a
    move.
    """
    later = [move for move in line.moves if ledger.against is None or move.version > ledger.against]
    return tuple(move for move in later if move.worse is None or move.worse > 0) or tuple(later)


def by_reason(lines: Tuple[MetricLine, ...], ledger: Ledger) -> List[Tuple[Tuple[str, ...], List[MetricLine]]]:
    """The lines by the causes that explain them, each set of causes once, in the order of the lines."""
    found: Dict[Tuple[str, ...], List[MetricLine]] = {}
    for line in lines:
        found.setdefault(reasons(line, ledger), []).append(line)
    return list(found.items())


def reasons(line: MetricLine, ledger: Ledger) -> Tuple[str, ...]:
    """The causes of moves since the base version, version by version.

    Empty for a line without one.
    """
    said = tuple(dict.fromkeys(reason(ledger.changes[move.change]) for move in blamed(line, ledger)))
    return said or ((NO_MOVE,) if line.state in ("beyond", "worse", "better") else ())


def reason(change: Change) -> str:
    """`v3 -> v4: weights a1b2c3d4 -> 99887766; onnxruntime 1.23.2 -> 1.24.1`."""
    return f"v{change.since} -> v{change.version}: " + "; ".join(causes.in_words(change))


def history(ledger: Ledger) -> List[Tuple[int, int, List[str], int, int]]:
    """Per version with moves.

    (since, version, every cause, numbers that moved, cells).
    """
    moved: Dict[Tuple[int, int], Tuple[Dict[str, None], List[str]]] = {}
    for line in ledger.lines:
        for move in line.moves:
            words, cells = moved.setdefault((move.since, move.version), ({}, []))
            words.update(dict.fromkeys(causes.in_words(ledger.changes[move.change])))
            cells.append(line.cell)
    return [(*pair, list(words), len(cells), len(set(cells))) for pair, (words, cells) in sorted(moved.items())]


def measured(ledger: Ledger) -> Tuple[LineGroup, ...]:
    """The groups with a measurement or a changed verdict.

    All others always waited or were skipped.
    """
    numbers = {
        line.cell for line in ledger.lines if line.kind != "verdict" or line.state in ("beyond", "worse", "better")
    }
    told = {(c.precision, c.target, c.runtime) for c in ledger.cells if c.cell in numbers}
    return tuple(group for group in ledger.groups if (group.precision, group.target, group.runtime) in told)


def listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def farthest(group: LineGroup, ledger: Ledger) -> str:
    """The distance from the model itself.

    The largest loss of a task metric, else the lowest signal-to-noise ratio.
    """
    lost = ledger.lines[group.lost] if group.lost is not None else None
    if lost is not None:
        return f"{lost.metric} lost {number(lost, lost.lost)}"
    own = {
        c.cell
        for c in ledger.cells
        if (c.precision, c.target, c.runtime) == (group.precision, group.target, group.runtime)
    }
    ratios: List[Tuple[float, MetricLine]] = []
    for line in ledger.lines:
        at = line.at(ledger.candidate)
        if line.cell in own and line.metric.endswith(".snr_db") and at is not None and at.value is not None:
            ratios.append((at.value, line))
    if not ratios:
        return "-"
    value, line = min(ratios, key=lambda pair: pair[0])
    return f"{line.metric} {number(line, value)}"


def counted(group: LineGroup) -> str:
    """`2 beyond, 4 worse`; `as before`."""
    counts = [f"{count.lines} {count.state}" for count in group.counts if count.state not in ("same", "new")]
    return ", ".join(counts) or ("as before" if group.count("same") else "new")


# ------------------------------------------------------------------------------------------- the ledger


WIDTH = 100


def as_text(ledger: Ledger, place: Path, *, every: bool = False) -> str:
    """`every`: list also lines without a move, and those that got worse without a limit."""
    parts = [f"{ledger.model} in {place}/, {headline(ledger)}", "", _groups(ledger)]
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
    groups = measured(ledger)
    rows = [_group(group, ledger) for group in groups]
    left = len(ledger.groups) - len(groups)
    note = (
        f"\n{terminal.counted(left, 'more group')} that no number is of: waiting, skipped or not run here"
        if left
        else ""
    )
    return (terminal.table(header, rows, status=0) if rows else "Nothing was measured.") + note


def _group(group: LineGroup, ledger: Ledger) -> Tuple[str, ...]:
    lost = farthest(group, ledger)
    row = (group.precision, group.target, group.runtime or "-", str(group.cells), lost)
    return row if ledger.against is None else (*row, counted(group))


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
            parts += ["", f"{title} (values: {' '.join(f'v{r.version}' for r in shown_cells(ledger))})"]
            for reasons, lines in by_reason(shown, ledger):
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
    """Lines that are no longer measured.

    A removed cell has one entry, not one per number.
    """
    gone = [cell.cell for cell in ledger.cells if cell.verdict == "gone"]
    lines = tuple(line for line in ledger.lines if line.state == "gone" and line.cell not in gone)
    parts: List[str] = []
    if gone:
        parts = [
            "",
            f"Not in v{ledger.candidate}: {terminal.counted(len(gone), 'cell')}",
            f"  {listed(gone, 2)}",
        ]
    if lines:
        cells = list(dict.fromkeys(line.cell for line in lines))
        said = f"No longer measured: {terminal.counted(len(lines), 'number')} of {', '.join(cells)}"
        parts += ["", terminal.wrapped(said, "", WIDTH, hanging=2)]
    return parts


def _lines(lines: Tuple[MetricLine, ...], ledger: Ledger) -> List[str]:
    """Cell by cell, its metrics below it."""
    parts: List[str] = []
    width = max((len(line.metric) for line in lines), default=0)
    for cell in dict.fromkeys(line.cell for line in lines):
        parts.append(f"    {cell}")
        for line in (line for line in lines if line.cell == cell):
            values = series(line, ledger)
            parts.append(
                terminal.wrapped(
                    "  ".join(part for part in (values, since(line, ledger)) if part),
                    f"      {line.metric.ljust(width)}  ",
                    WIDTH,
                    hanging=width + 8,
                )
            )
    return parts


def _changes(ledger: Ledger) -> List[str]:
    rows = history(ledger)
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


# ---------------------------- one cell in detail: every number over the versions, and every step beside its counterpart
#
# This is the bisect: digests identify both chains, so their first difference is found without building.


def cell_as_text(ledger: Ledger, versions: Sequence[Version]) -> str:
    return "\n\n".join(_cell(cell, ledger, versions) for cell in ledger.cells)


def _cell(cell: CellLine, ledger: Ledger, versions: Sequence[Version]) -> str:
    lines = [line for line in ledger.lines if line.cell == cell.cell]
    parts = [terminal.wrapped(_what(cell, ledger), "", WIDTH, hanging=2), "", _numbers(lines, ledger)]
    reasons = [line for line in lines if line.said]
    parts += [""] if reasons else []
    parts += [terminal.wrapped(f"{line.metric}: {line.said}", "  ", WIDTH, hanging=4) for line in reasons]
    for old, new in zip(versions, versions[1:]):
        moved = [line.metric for line in lines if any(move.version == new.number for move in line.moves)]
        parts += ["", *_step_by_step(cell.cell, old, new, moved)]
    return "\n".join(parts)


def _what(cell: CellLine, ledger: Ledger) -> str:
    artifact = {
        "same": f"its files are those of v{ledger.against}",
        "changed": f"its files are not those of v{ledger.against}",
        "new": "",
        "none": "no artifact",
    }[cell.artifact]
    return f"{cell.cell}: " + ", ".join(word for word in (cell.verdict, cell.runtime, artifact) if word)


def _numbers(lines: Sequence[MetricLine], ledger: Ledger) -> str:
    shown = shown_cells(ledger)
    header = ["number", "the model", *(f"v{release.version}" for release in shown)]
    header += [f"since v{ledger.against}", "limit"] if ledger.against is not None else []
    rows: List[Tuple[str, ...]] = []
    for line in lines:
        last = line.at(ledger.candidate)
        reference = number(line, last.reference) if last and last.reference is not None else ""
        values = [point(line, line.at(release.version)) for release in shown]
        row = (line.metric, reference, *values)
        if ledger.against is not None:
            row = (*row, _since(line), "BEYOND " + line.limit if line.state == "beyond" else line.limit)
        rows.append(row)
    return terminal.table(header, rows, status=0)


def _since(line: MetricLine) -> str:
    if line.state in ("same", "gone", "unlike", "new") or line.worse is None:
        return {"same": "as before", "unlike": "not comparable"}.get(line.state, line.state)
    return ("worse" if line.worse > 0 else "better") + (
        f" {number(line, abs(line.worse))}" if line.kind != "verdict" else ""
    )


def _step_by_step(cell: str, old: Version, new: Version, moved: Sequence[str]) -> List[str]:
    what = listed(moved) if moved else "no number moved"
    title = terminal.wrapped(f"v{old.number} -> v{new.number}: {what}", "", WIDTH, hanging=2)
    if old.provenance is None or new.provenance is None:
        without = " and ".join(f"v{v.number}" for v in (old, new) if v.provenance is None)
        change = causes.between(old, new, cell, "verdict")
        known = [terminal.wrapped(said, "    ", WIDTH, hanging=6) for said in causes.in_words(change)]
        return [title, f"  {without} did not record its steps. What the manifests say:", *known]
    paces = causes.walk(old.provenance, new.provenance, cell)
    if not paces:
        return [title, "  it was not built"]
    rows = [(_named(pace), _key(pace.before), _key(pace.after), _fate(pace)) for pace in paces]
    table = terminal.table(("step", f"v{old.number}", f"v{new.number}", "what is not as it was"), rows, status=0)
    gates = [
        f"  {causes.words(cause)}"
        for cause in causes.between(old, new, cell, "verdict").causes
        if cause.kind == "gate" and (cause.before or cause.after)
    ]
    return [title, *(f"  {row}" for row in table.splitlines()), *gates]


def _named(pace: StepChange) -> str:
    task = causes.task_of(pace.job)
    return f"{pace.step} {task}" if task else pace.step


def _key(step: Optional[StepRecord]) -> str:
    """The first digits of the action's key.

    `.deploymatrix/results/KEY*.json` in the store that performed it.
    """
    return causes.short(step.key) if step is not None else "-"


def _fate(pace: StepChange) -> str:
    said = "; ".join(dict.fromkeys(causes.words(cause) for cause in pace.causes))
    words = {
        "same": "nothing",
        "follows": "only what earlier steps gave",
        "changed": f"{said}; gave the same" if pace.gave_the_same else said,
        "rebuilt": said,
        "new": "this step is new",
        "dropped": "this step is no longer done",
    }
    if pace.fate in ("same", "follows") and said:
        return f"{words[pace.fate]}, but performed elsewhere: {said}"
    return words[pace.fate]
