"""The end of a run, for a person and for a machine: what was built, recalled, failed, waits, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional

from builder import terminal
from builder.digest import Json
from builder.execution import search_trials as search_words
from builder.execution.scheduler import Outcome
from builder.planning.planner import Plan
from builder.records import to_json
from builder.store.manifest import Entry, Manifest
from validation import verdict

_ORDER = ("passed", "failed", "unverified", "waiting", "skipped")


def _how(planned: Plan, outcome: Outcome) -> Dict[str, str]:
    """cell -> built or recalled, for cells with an artifact of this run."""
    how: Dict[str, str] = {}
    for cell in planned.cells:
        jobs = {cell.onnx, cell.engine, *cell.measurements}
        if cell.engine in outcome.results:
            how[cell.id] = "built" if jobs & outcome.performed else "recalled"
    return how


def _selected(manifest: Manifest, planned: Plan) -> List[Entry]:
    ids = {cell.id for cell in planned.cells}
    return [entry for entry in manifest.entries if entry.cell in ids]


def as_json(manifest: Manifest, outcome: Outcome, planned: Plan, fresh: bool) -> Json:
    how, cells = _how(planned, outcome), []  # type: Dict[str, str], List[Json]
    away = {
        cell.id: f"{problem.where}: {problem.what}"
        for cell in planned.cells
        for job, problem in outcome.away.items()
        if job in (cell.engine, *cell.measurements)
    }
    for entry in _selected(manifest, planned):
        row: Dict[str, Json] = {"cell": entry.cell, "verdict": to_json(entry.verdict), "how": how.get(entry.cell, "")}
        if entry.cell in away:
            row["away"] = away[entry.cell]
        if entry.artifact:
            row["artifact"] = entry.artifact.digest
        if entry.latency:
            row["p50_ms"], row["speedup"] = entry.latency.artifact.p50, entry.latency.speedup
        if entry.sweep:
            row["sweep"] = to_json(entry.sweep)
        if entry.search:
            row["search"] = to_json(entry.search)
        if entry.tasks:
            row["tasks"] = [to_json(result) for result in entry.tasks]
        cells.append(row)
    performed: List[Json] = [*sorted(outcome.performed)]
    return {"version": manifest.version, "new": fresh, "performed": performed, "cells": cells}


def as_text(manifest: Manifest, outcome: Outcome, planned: Plan, fresh: bool, store: Path) -> str:
    entries, how = _selected(manifest, planned), _how(planned, outcome)
    shown = [e for e in entries if e.verdict.status in ("passed", "failed", "unverified")]
    rows = [(e.cell, e.verdict.status, how.get(e.cell, ""), _size(e), _speed(e), _remark(e)) for e in shown]
    parts: List[str] = []
    if rows:
        parts += [
            terminal.table(("cell", "verdict", "how", "size", "p50 (x naive)", "worst, or why"), rows, status=1),
            "",
        ]
    parts += _searched(entries)
    parts += _away(outcome)
    parts += _left_out(entries)
    words: List[str] = [e.verdict.status for e in entries]
    made = terminal.counts(how.values(), ("built", "recalled"))
    version = f"Version v{manifest.version}" if fresh else f"Nothing changed since version v{manifest.version}"
    parts.append(f"{len(entries)} cells: {terminal.counts(words, _ORDER)}; {made}. {version} in {store}/.")
    if manifest.model.weights.startswith("seed"):
        parts.append(f"Note: the model is untrained ({manifest.model.weights}); its accuracy means nothing yet.")
    parts.append(_next(words, store))
    return "\n".join(parts)


def _searched(entries: List[Entry]) -> List[str]:
    """What layers had to stay in float32. A search in vain is told in the verdict's reason."""
    kept = [(entry.cell, entry.search) for entry in entries if entry.search is not None and entry.search.kept]
    lines = [terminal.wrapped(f"searched: {cell}: {search_words.search_line(found)}", "") for cell, found in kept]
    return [*lines, ""] if lines else []


def _away(outcome: Outcome) -> List[str]:
    """The machines that were to be worked on and could not be, each reason once."""
    said = dict.fromkeys(f"{terminal.paint('away')}: {problem}" for problem in outcome.away.values())
    return [*said, ""] if said else []


def _left_out(entries: List[Entry]) -> List[str]:
    """What was not built, target by target, and what to do about it."""
    lines: List[str] = []
    waiting = [(e.target, " / ".join(e.verdict.remedies)) for e in entries if e.verdict.status == "waiting"]
    for advice, targets in terminal.grouped(waiting).items():
        named = ", ".join(f"{targets.count(t)} on {t}" for t in dict.fromkeys(targets))
        lines.append(terminal.wrapped(f"{terminal.paint('waiting')}: {named}. To build: {advice}", ""))
    skipped = [(e.target, e.verdict.reason) for e in entries if e.verdict.status == "skipped"]
    if skipped:
        lines.append(f"{terminal.paint('skipped')}: {len(skipped)} cells, each with its reason in `build plan`")
    return [*lines, ""] if lines else []


def _size(entry: Entry) -> str:
    return terminal.size(entry.artifact.size) if entry.artifact else ""


def _speed(entry: Entry) -> str:
    if entry.latency is None:
        return ""
    ratio = f" ({entry.latency.speedup:.2f}x)" if entry.latency.speedup else ""
    return f"{entry.latency.artifact.p50:.1f} ms{ratio}"


def _remark(entry: Entry) -> str:
    if entry.verdict.status != "passed":
        hint = entry.verdict.remedies[0] if entry.verdict.status == "failed" and entry.verdict.remedies else ""
        reason = entry.verdict.reason.partition("\n")[0]
        return f"{reason} ({hint})" if hint else reason
    remarks = entry.artifact.remarks if entry.artifact else ()
    warned = [f"reported only: {verdict.describe(check)}" for check in entry.verdict.warnings]
    swept = (verdict.sweep_line(entry.sweep, entry.verdict.checks),) if entry.sweep else ()
    return "; ".join((*warned, *_worst(entry), *_tasks(entry), *swept, *remarks))


def _worst(entry: Entry) -> List[str]:
    """The largest absolute difference of each output, over all samples."""
    worst: Dict[str, Optional[float]] = {}
    for row in entry.parity:
        if row.max_abs is not None:
            worst[row.output] = max(worst.get(row.output) or 0.0, row.max_abs)
    return [f"{name} {value:.1e}" for name, value in worst.items() if value is not None]


def _tasks(entry: Entry) -> List[str]:
    """Of each task the metric that lost most, in proportion, against the model itself."""
    lines: List[str] = []
    for task in dict.fromkeys(result.task for result in entry.tasks):
        rows = [r for r in entry.tasks if r.task == task and r.lost is not None and r.reference]
        worst = max(rows, key=lambda r: (r.lost or 0.0) / abs(r.reference or 1.0), default=None)
        if worst is not None:
            lines.append(f"{task} {worst.metric} {worst.value:.3g} of {worst.reference:.3g}")
    return lines


def _next(words: List[str], store: Path) -> str:
    if "passed" in words:
        where = "" if str(store) == "artifacts" else f" --from {store}"
        return f"Next: build pull{where}   then: build run PHOTO"
    if "failed" in words:
        return "Next: look at the reasons above; a gate that is too tight is changed in matrix.yaml, and nothing is rebuilt"
    return "Next: take the cells that wait to their machines"
