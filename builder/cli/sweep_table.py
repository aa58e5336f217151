"""A judged sweep as a table for a person, as Markdown, and as JSON. Judges nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from builder import terminal
from builder.actions.measurements import SweepRow, Swept
from builder.digest import Json
from builder.records import to_json
from builder.store.manifest import Check
from validation.verdict import sweep_findings, sweep_line, told_of

_ALWAYS = ("max_abs", "cosine")
Column = Tuple[str, str]


@dataclass(frozen=True)
class Judged:
    """What was measured of a cell, and the limits that its sizes are held to."""

    cell: str
    outputs: Tuple[str, ...]
    swept: Swept
    checks: Tuple[Check, ...]

    @property
    def missed(self) -> bool:
        return any(not check.kept and not check.report_only for check in self.checks)


def as_text(one: Judged) -> str:
    header, rows = _cells(one)
    parts = [_title(one), "", terminal.table(header, rows, status=2), ""]
    parts.append(terminal.wrapped(f"{sweep_line(one.swept, one.checks)}.", ""))
    if not one.checks:
        parts.append("No gate limits a tensor of this cell: nothing was judged but whether it answers.")
    for title, lines in (
        ("Inside its profile and not good enough:", _failures(one)),
        ("Outside of its profile it answers otherwise than the model (no host sends it such a size):", _wrong(one)),
    ):
        if lines:
            parts += ["", title, *(terminal.wrapped(line, "  ") for line in lines)]
    return "\n".join(parts)


def as_markdown(one: Judged) -> str:
    header, rows = _cells(one)
    lines = [f"### {one.cell}", "", _title(one), ""]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(word.replace("|", "\\|") for word in row) + " |" for row in rows]
    return "\n".join([*lines, "", f"{sweep_line(one.swept, one.checks)}."])


def as_json(one: Judged) -> Json:
    rows: List[Json] = []
    for row in one.swept.rows:
        verdict, words = told_of(row, one.checks)
        made: Dict[str, Json] = {
            "size": list(row.point.size),
            "why": row.point.why,
            "inside": row.point.inside,
            "verdict": verdict,
            "p50_ms": row.time.p50 if row.time else None,
            "ms_per_megapixel": row.ms_per_megapixel,
            "outputs": [to_json(parity) for parity in row.parity],
        }
        if words:
            made["words"] = words
        rows.append(made)
    checks: List[Json] = [to_json(check) for check in one.checks]
    return {"cell": one.cell, "photograph": one.swept.photograph, "sizes": rows, "checks": checks}


def _title(one: Judged) -> str:
    swept = one.swept
    threads = f"{swept.threads} threads" if swept.threads else "every core"
    timed = f"timed for {swept.seconds:g} s a size on {swept.machine}, {threads}"
    return f"{one.cell}: {swept.photograph}, {timed}"


def _cells(one: Judged) -> Tuple[List[str], List[List[str]]]:
    columns = _columns(one)
    header = [
        "size",
        "why",
        "verdict",
        "p50 ms",
        "ms/MP",
        *(f"{output} {metric}" for output, metric in columns),
        "words",
    ]
    rows: List[List[str]] = []
    for row in one.swept.rows:
        verdict, words = told_of(row, one.checks)
        times = [f"{row.time.p50:.1f}", f"{row.ms_per_megapixel:.0f}"] if row.time else ["", ""]
        numbers = [_number(_value(row, column)) for column in columns]
        rows.append([row.point.named, row.point.why, verdict, *times, *numbers, words])
    if not any(row[-1] for row in rows):
        return header[:-1], [row[:-1] for row in rows]
    return header, rows


def _columns(one: Judged) -> Tuple[Column, ...]:
    """Two numbers of every output, and whatever else is gated."""
    gated = {(check.subject, check.metric): None for check in one.checks}
    named = {(output, metric): None for output in one.outputs for metric in _ALWAYS}
    return tuple(sorted({**named, **gated}, key=lambda column: one.outputs.index(column[0])))


def _value(row: SweepRow, column: Column) -> Optional[float]:
    found = next((parity for parity in row.parity if parity.output == column[0]), None)
    value: Optional[float] = getattr(found, column[1]) if found is not None else None
    return value


def _number(value: Optional[float]) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if abs(value) >= 0.01 or value == 0 else f"{value:.1e}"


def _failures(one: Judged) -> List[str]:
    told = [(row, told_of(row, one.checks)) for row in one.swept.rows if row.point.inside]
    return [f"{row.point.named}: {words}" for row, (verdict, words) in told if verdict == "failed"]


def _wrong(one: Judged) -> List[str]:
    return list(sweep_findings(one.swept, one.checks))
