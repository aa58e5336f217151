"""The overview of a version, its heat map of cells, and the table of cells.

Pure; numbers are text for readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from builder import terminal
from builder.actions.measurements import OutputParity
from builder.audit.report.charts import short
from builder.store.manifest import Check, Entry, Manifest, TaskResult

# ------------------------- margins: the share of a limit that is used, 0.4 well inside, 1 at the limit, more for a miss


_BEST_IS_ONE = frozenset({"cosine", "matched", "agreement"})
BEYOND = 99.0  # more than this many times the limit, or no number at all


@dataclass(frozen=True)
class Margin:
    """A check, and the share of its limit that is used up, 0 to 99."""

    check: Check
    used: float


def margins_of(entry: Entry) -> Tuple[Margin, ...]:
    """Every check of a cell.

    Deciding before reporting ones, missed before kept, most used first.
    """
    own = {(result.task, result.metric): result.reference for result in entry.tasks}
    found = [Margin(c, share_used(c, own.get((c.subject, c.metric)))) for c in entry.verdict.checks]
    return tuple(
        sorted(found, key=lambda m: (m.check.report_only, m.check.kept, -m.used, m.check.subject, m.check.metric))
    )


def share_used(check: Check, own: Optional[float] = None) -> float:
    """The share of a limit that is used.

    An error or a loss counts from 0 to its limit. A similarity whose best is 1 counts its distance from 1. A task's own
    number counts from the model's value (`own`), where that is inside the limit. For any other number with a lower
    limit, it is the limit as a share of the value. An arithmetic check is kept or not, so a kept one uses nothing.
    """
    found, limit = check.found, check.limit
    if found is None:
        return BEYOND
    if check.level == "arithmetic" and check.kept:
        return 0.0
    inside = own is not None and (own < limit if check.at_most else own > limit)
    if check.level == "task" and check.bound == "value" and own is not None and inside:
        part, whole = abs(own - found) if (found > own) == check.at_most else 0.0, abs(own - limit)
    elif check.at_most:
        part, whole = found, limit
    elif check.level == "tensor" and check.metric in _BEST_IS_ONE:
        part, whole = 1.0 - found, 1.0 - limit
    else:
        part, whole = limit, found
    if part <= 0:
        return 0.0
    return min(part / whole, BEYOND) if whole > 0 else BEYOND


def margin_name(check: Check) -> str:
    """'scores max_abs', 'views repeatability_3px lost'."""
    lost = {"value": "", "degradation": " lost", "percent degradation": " lost in %"}[check.bound]
    return f"{check.subject} {check.metric}{lost}"


def margin_share(margin: Margin) -> str:
    """'41 %'. Never 100 % for a missed limit, nor more than 100 % for a kept one."""
    if margin.check.found is None:
        return "no number"
    if margin.used >= BEYOND:
        return f"over {100 * BEYOND:.0f} %"
    percent = round(100 * margin.used)
    return f"{min(percent, 100) if margin.check.kept else max(percent, 101)} %"


def margin_numbers(check: Check) -> str:
    """'0.041, at most 0.1'."""
    found = "no number" if check.found is None else short(check.found)
    return f"{found}, {'at most' if check.at_most else 'at least'} {short(check.limit)}"


# ------------------------------------------------------------------------------------------- overview and heat map


VERDICTS = ("passed", "failed", "unverified", "waiting", "skipped")


@dataclass(frozen=True)
class VerdictCount:
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
    """A cell of the heat map.

    `bar`: the used share of the tightest gate, 0 to 100, or None.
    """

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
    counts: Tuple[VerdictCount, ...]
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
    """Cell -> id of its row on the page.

    Numbered, since a name may contain characters that an id must not.
    """
    return {entry.cell: f"cell-{number}" for number, entry in enumerate(manifest.entries, 1)}


def overview(manifest: Manifest) -> Overview:
    weights = manifest.model.weights
    return Overview(
        sentence=_sentence(manifest),
        counts=tuple(
            VerdictCount(verdict, found, _MEANING[verdict])
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
    """'14 of 64 cells passed, none failed.' and the counts of the other statuses."""
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
    margin = next(iter(margins_of(entry)), None)
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
        margin_share(margin),
        margin_name(margin.check),
        round(100 * min(1.0, margin.used)),
    )


# ------------------------------------------------------------------------------------------- the table of cells


@dataclass(frozen=True)
class ShownNumber:
    """The text of a number, and its sort key; without a key it sorts last."""

    said: str = ""
    value: Optional[float] = None


@dataclass(frozen=True)
class JudgedGate:
    """A gate: subject, value, limit, used share, and position."""

    gate: str
    numbers: str
    share: str
    kept: bool
    worst: str
    report_only: bool


@dataclass(frozen=True)
class Scored:
    task: str
    metric: str
    value: str
    reference: str
    lost: str
    worst: str


@dataclass(frozen=True)
class Differed:
    """An output's worst numbers over all photographs, and the photograph of the largest difference."""

    output: str
    max_abs: str
    mean_abs: str
    cosine: str
    snr_db: str
    worst: str


@dataclass(frozen=True)
class CellRow:
    cell: str
    anchor: str
    head: str
    precision: str
    target: str
    verdict: str
    rank: int
    machine: str
    runtime: str
    reason: str
    remedies: Tuple[str, ...]
    remarks: Tuple[str, ...]
    used: ShownNumber
    gate: str
    size: ShownNumber
    p50: ShownNumber
    speedup: ShownNumber
    timed: str
    checks: Tuple[JudgedGate, ...]
    tasks: Tuple[Scored, ...]
    outputs: Tuple[Differed, ...]
    digest: str
    reproduce: str


def cell_rows(manifest: Manifest, *, detailed: bool) -> Tuple[CellRow, ...]:
    """One row per cell.

    Without `detailed`, only failed cells have checks, tasks and outputs.
    """
    of = anchors(manifest)
    return tuple(_row(e, of, detailed or e.verdict.status == "failed") for e in manifest.entries)


def _row(entry: Entry, of: Dict[str, str], detailed: bool) -> CellRow:
    checks, artifact, latency = margins_of(entry), entry.artifact, entry.latency
    tightest = checks[0] if checks else None
    speedup = latency.speedup if latency else None
    return CellRow(
        cell=entry.cell,
        anchor=of[entry.cell],
        head=entry.head,
        precision=entry.precision,
        target=entry.target,
        verdict=entry.verdict.status,
        rank=VERDICTS.index(entry.verdict.status),
        machine=entry.machine,
        runtime=f"{entry.platform.runtime} {entry.platform.version}" if entry.platform else "",
        reason=entry.verdict.reason,
        remedies=entry.verdict.remedies,
        remarks=artifact.remarks if artifact else (),
        used=ShownNumber(margin_share(tightest), tightest.used) if tightest else ShownNumber(),
        gate=margin_name(tightest.check) if tightest else "",
        size=ShownNumber(terminal.size(artifact.size), float(artifact.size)) if artifact else ShownNumber(),
        p50=ShownNumber(f"{latency.artifact.p50:.1f} ms", latency.artifact.p50) if latency else ShownNumber(),
        speedup=ShownNumber(f"{speedup:.2f}x", speedup) if speedup else ShownNumber(),
        timed=_timed(entry),
        checks=tuple(map(_judged, checks)) if detailed else (),
        tasks=tuple(_scored(result) for result in entry.tasks) if detailed else (),
        outputs=_differed(entry.parity) if detailed else (),
        digest=artifact.digest if artifact else "",
        reproduce=entry.reproduce,
    )


def _timed(entry: Entry) -> str:
    """The method and machine of the timing."""
    if entry.latency is None:
        return ""
    found, naive = entry.latency.artifact, entry.latency.naive
    sides = "x".join(map(str, entry.latency.shape))
    said = f"p50 {found.p50:.1f}, p90 {found.p90:.1f}, p99 {found.p99:.1f} ms over {found.runs} runs of {sides}"
    beside = f"; the naive export in the same minutes: p50 {naive.p50:.1f} ms" if naive else ""
    return f"{said} on {entry.latency.machine}{beside}."


def _judged(margin: Margin) -> JudgedGate:
    check = margin.check
    numbers, share = margin_numbers(check), margin_share(margin)
    return JudgedGate(margin_name(check), numbers, share, check.kept, check.worst, check.report_only)


def _scored(result: TaskResult) -> Scored:
    value, reference, lost = (_or_dash(v) for v in (result.value, result.reference, result.lost))
    return Scored(result.task, result.metric, value, reference, lost, result.worst)


def _differed(parity: Sequence[OutputParity]) -> Tuple[Differed, ...]:
    found = []
    for output in dict.fromkeys(row.output for row in parity):
        rows = [row for row in parity if row.output == output]
        broken = next((row for row in rows if row.problem is not None), None)
        measured = [row for row in rows if row.max_abs is not None]
        worst = broken or max(measured, key=lambda row: row.max_abs or 0.0, default=rows[0])
        found.append(
            Differed(
                output,
                broken.problem or "" if broken else _or_dash(worst.max_abs),
                _or_dash(max((r.mean_abs for r in measured if r.mean_abs is not None), default=None)),
                _similar(min((r.cosine for r in measured if r.cosine is not None), default=None)),
                _or_dash(min((r.snr_db for r in measured if r.snr_db is not None), default=None)),
                worst.sample,
            )
        )
    return tuple(found)


def _or_dash(value: Optional[float]) -> str:
    return "-" if value is None else short(value)


def _similar(value: Optional[float]) -> str:
    """A similarity near 1 is shown by its distance from 1.

    0.9999991 and 0.999 must differ.
    """
    return "-" if value is None else f"{value:.7f}".rstrip("0").rstrip(".")
