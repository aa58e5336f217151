"""The rows of the table of cells, with all that is known of each. Pure; every number is text, as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

from builder import terminal
from builder.actions.measurements import OutputParity
from builder.report import margins
from builder.report.axes import short
from builder.report.overview import VERDICTS, anchors
from builder.store.manifest import Entry, Manifest, TaskResult


@dataclass(frozen=True)
class Number:
    """What is shown, and what it is sorted by; without a number it sorts last."""

    said: str = ""
    value: Optional[float] = None


@dataclass(frozen=True)
class Judged:
    """A gate: what it is about, what was found and allowed, how much of it is used, and where."""

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
    used: Number
    gate: str
    size: Number
    p50: Number
    speedup: Number
    timed: str
    checks: Tuple[Judged, ...]
    tasks: Tuple[Scored, ...]
    outputs: Tuple[Differed, ...]
    digest: str
    reproduce: str


def cell_rows(manifest: Manifest, *, detailed: bool) -> Tuple[CellRow, ...]:
    """One row per cell; without `detailed`, only what failed keeps its checks, tasks and outputs."""
    of = anchors(manifest)
    return tuple(_row(e, of, detailed or e.verdict.status == "failed") for e in manifest.entries)


def _row(entry: Entry, of: Dict[str, str], detailed: bool) -> CellRow:
    checks, artifact, latency = margins.of(entry), entry.artifact, entry.latency
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
        used=Number(margins.share(tightest), tightest.used) if tightest else Number(),
        gate=margins.name(tightest.check) if tightest else "",
        size=Number(terminal.size(artifact.size), float(artifact.size)) if artifact else Number(),
        p50=Number(f"{latency.artifact.p50:.1f} ms", latency.artifact.p50) if latency else Number(),
        speedup=Number(f"{speedup:.2f}x", speedup) if speedup else Number(),
        timed=_timed(entry),
        checks=tuple(map(_judged, checks)) if detailed else (),
        tasks=tuple(_scored(result) for result in entry.tasks) if detailed else (),
        outputs=_differed(entry.parity) if detailed else (),
        digest=artifact.digest if artifact else "",
        reproduce=entry.reproduce,
    )


def _timed(entry: Entry) -> str:
    """How, and on what, the time was measured."""
    if entry.latency is None:
        return ""
    found, naive = entry.latency.artifact, entry.latency.naive
    sides = "x".join(map(str, entry.latency.shape))
    said = f"p50 {found.p50:.1f}, p90 {found.p90:.1f}, p99 {found.p99:.1f} ms over {found.runs} runs of {sides}"
    beside = f"; the naive export in the same minutes: p50 {naive.p50:.1f} ms" if naive else ""
    return f"{said} on {entry.latency.machine}{beside}."


def _judged(margin: margins.Margin) -> Judged:
    check = margin.check
    numbers, share = margins.numbers(check), margins.share(margin)
    return Judged(margins.name(check), numbers, share, check.kept, check.worst, check.report_only)


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
    """A similarity near 1 is told by what it lacks: 0.9999991 and 0.999 must not both read 1."""
    return "-" if value is None else f"{value:.7f}".rstrip("0").rstrip(".")
