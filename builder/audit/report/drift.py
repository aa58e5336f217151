"""Charts of drift over versions, and what got worse.

One chart per metric, head and target, with a line per precision. Pure.

Numbers and judgement come from the ledger (`builder/audit/ledger.py`); here they get positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from builder.audit import text
from builder.audit.history import CellLine, Ledger, MetricLine
from builder.audit.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, free, linear, roomy

_MOST_LISTED = 30


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    version: str
    said: str
    where: str


@dataclass(frozen=True)
class Course:
    """One cell over the versions.

    A path through its dots, and the label behind the last one. `values` has one text per version on the page.
    """

    cell: str
    precision: str
    state: str
    path: str
    dots: Tuple[Dot, ...]
    label_x: float
    label_y: float
    values: Tuple[str, ...]
    said: str


@dataclass(frozen=True)
class VersionTick:
    at: float
    label: str


@dataclass(frozen=True)
class DriftChart:
    id: str
    head: str
    target: str
    y: Axis
    ticks: Tuple[VersionTick, ...]
    courses: Tuple[Course, ...]


@dataclass(frozen=True)
class DriftMetric:
    """`beyond`: how many of its lines are beyond their limit."""

    title: str
    unit: str
    better: str
    beyond: int
    charts: Tuple[DriftChart, ...]


@dataclass(frozen=True)
class Drifted:
    cell: str
    metric: str
    state: str
    change: str
    said: str
    reasons: Tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    headline: str
    versions: Tuple[str, ...]
    limits: str
    metrics: Tuple[DriftMetric, ...]
    drifted: Tuple[Drifted, ...]
    unlisted: int


def drift(ledger: Optional[Ledger], most: int) -> Optional[Drift]:
    """The charts; None for a store of one version.

    At most `most` metrics: first those beyond a limit, then those that get worse, then task metrics.
    """
    if ledger is None or ledger.against is None:
        return None
    worse = [line for line in ledger.lines if line.state == "beyond"]
    worse += [line for line in ledger.lines if line.state in ("worse", "gone")]
    named = tuple(f"v{release.version}" for release in ledger.releases)
    return Drift(
        headline=text.headline(ledger),
        versions=named,
        limits=ledger.limits,
        metrics=tuple(_metric(ledger, name, i) for i, name in enumerate(_ordered(ledger)[:most])),
        drifted=tuple(_drifted(line, ledger) for line in worse[:_MOST_LISTED]),
        unlisted=max(0, len(worse) - _MOST_LISTED),
    )


_CHARTED = ("task", "tensor", "latency")
_RANK = {"beyond": 0, "worse": 1}


def _ordered(ledger: Ledger) -> List[str]:
    """Metrics with a chart.

    Task metrics, signal-to-noise ratios and speed-ups; worst state first.
    """
    best: Dict[str, Tuple[int, int]] = {}
    for line in ledger.lines:
        told = line.kind == "task" or line.metric.endswith((".snr_db", "latency.speedup")) or line.state == "beyond"
        if line.kind in _CHARTED and told and any(point.value is not None for point in line.points):
            rank = (_RANK.get(line.state, 2), _CHARTED.index(line.kind))
            best[line.metric] = min(best.get(line.metric, rank), rank)
    return sorted(best, key=lambda name: best[name])


def _metric(ledger: Ledger, name: str, number: int) -> DriftMetric:
    lines = [line for line in ledger.lines if line.metric == name and any(p.value is not None for p in line.points)]
    cells = {cell.cell: cell for cell in ledger.cells}
    groups: Dict[Tuple[str, str], List[MetricLine]] = {}
    for line in lines:
        cell = cells.get(line.cell)
        if cell is not None:
            groups.setdefault((cell.head, cell.target), []).append(line)
    charts = tuple(_chart(f"drift-{number}-{i}", ledger, group, cells) for i, group in enumerate(groups.values()))
    beyond = sum(line.state == "beyond" for line in lines)
    return DriftMetric(name.replace(".", " ", 1), lines[0].unit, lines[0].better, beyond, charts)


def _chart(id: str, ledger: Ledger, lines: List[MetricLine], cells: Dict[str, CellLine]) -> DriftChart:
    numbers = [release.version for release in ledger.releases]
    step = (WIDTH - LEFT - RIGHT - 60) / max(1, len(numbers) - 1)
    at = {number: round(LEFT + 12 + i * step, 1) for i, number in enumerate(numbers)}
    y = linear(roomy([p.value for line in lines for p in line.points if p.value is not None]), HEIGHT - BOTTOM, TOP)
    taken: List[Tuple[float, float, float, float]] = []
    courses = tuple(_course(line, cells[line.cell].precision, at, y, taken, ledger) for line in lines)
    first = cells[lines[0].cell]
    ticks = tuple(VersionTick(at[number], f"v{number}") for number in numbers)
    return DriftChart(id, first.head, first.target, y, ticks, courses)


def _course(
    line: MetricLine,
    precision: str,
    at: Dict[int, float],
    y: Axis,
    taken: List[Tuple[float, float, float, float]],
    ledger: Ledger,
) -> Course:
    dots = tuple(
        Dot(at[p.version], y.place(p.value), f"v{p.version}", text.number(line, p.value), p.where)
        for p in line.points
        if p.value is not None
    )
    box = free(dots[-1].x, dots[-1].y, len(precision), taken)
    taken.append(box)
    return Course(
        cell=line.cell,
        precision=precision,
        state=line.state,
        path="M" + "L".join(f"{dot.x},{dot.y}" for dot in dots),
        dots=dots,
        label_x=round(box[0], 1),
        label_y=round(box[3] - 3, 1),
        values=tuple(text.point(line, line.at(release.version)) for release in ledger.releases),
        said=text.since(line, ledger),
    )


def _drifted(line: MetricLine, ledger: Ledger) -> Drifted:
    before, after = (text.point(line, line.at(v)) for v in (ledger.against, ledger.candidate))
    return Drifted(
        cell=line.cell,
        metric=line.metric,
        state="beyond the limit" if line.state == "beyond" else line.state,
        change=f"{before} to {after}",
        said=text.since(line, ledger),
        reasons=text.reasons(line, ledger),
    )
