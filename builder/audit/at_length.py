"""One cell at length: every number over the versions, and from version to version every step beside the one before.

This is the bisect: both chains are known by their digests, so the step where they part is found without building.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from builder import terminal
from builder.audit import phrases
from builder.audit.plain import WIDTH
from builder.store.provenance import Step
from validation import causes
from validation.causes import Pace
from validation.history import CellLine, Ledger, Line, Version


def as_text(ledger: Ledger, versions: Sequence[Version]) -> str:
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


def _numbers(lines: Sequence[Line], ledger: Ledger) -> str:
    shown = phrases.shown(ledger)
    header = ["number", "the model", *(f"v{release.version}" for release in shown)]
    header += [f"since v{ledger.against}", "limit"] if ledger.against is not None else []
    rows: List[Tuple[str, ...]] = []
    for line in lines:
        last = line.at(ledger.candidate)
        reference = phrases.number(line, last.reference) if last and last.reference is not None else ""
        values = [phrases.point(line, line.at(release.version)) for release in shown]
        row = (line.metric, reference, *values)
        if ledger.against is not None:
            row = (*row, _since(line), "BEYOND " + line.limit if line.state == "beyond" else line.limit)
        rows.append(row)
    return terminal.table(header, rows, status=0)


def _since(line: Line) -> str:
    if line.state in ("same", "gone", "unlike", "new") or line.worse is None:
        return {"same": "as before", "unlike": "not comparable"}.get(line.state, line.state)
    return ("worse" if line.worse > 0 else "better") + (
        f" {phrases.number(line, abs(line.worse))}" if line.kind != "verdict" else ""
    )


def _step_by_step(cell: str, old: Version, new: Version, moved: Sequence[str]) -> List[str]:
    what = phrases.listed(moved) if moved else "no number moved"
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


def _named(pace: Pace) -> str:
    task = causes.task_of(pace.job)
    return f"{pace.step} {task}" if task else pace.step


def _key(step: Optional[Step]) -> str:
    """The first digits of the action's key: `.deploymatrix/results/KEY*.json` in the store that performed it."""
    return causes.short(step.key) if step is not None else "-"


def _fate(pace: Pace) -> str:
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
