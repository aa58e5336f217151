"""Charts of accuracy against latency, with a Pareto front.

One chart per head and target, of timed and scored cells. Pure.

The front is among cells that passed: a cell is on it when no other is as fast and as accurate, and better in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from builder.audit.report.cells import anchors
from builder.audit.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, free, linear, roomy, short
from builder.store.manifest import Entry, Manifest

_WORST_SNR = "worst signal-to-noise ratio"


@dataclass(frozen=True)
class Accuracy:
    """An accuracy of artifacts: a task's metric, or parity without a task."""

    title: str
    lower_is_better: bool
    unit: str = ""


@dataclass(frozen=True)
class TimedCell:
    """A cell with both numbers.

    Milliseconds and accuracy, and the model's own accuracy if there is one.
    """

    cell: str
    anchor: str
    precision: str
    verdict: str
    p50: float
    accuracy: float
    own: Optional[float] = None


@dataclass(frozen=True)
class Mark:
    """A point of the chart.

    Position, contents, and its label with the label's position.
    """

    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    precision: str
    verdict: str
    on_front: bool
    cell: str
    p50: str
    accuracy: str


@dataclass(frozen=True)
class Chart:
    """`front`: path of the Pareto front; `own_y`: height of the model itself.

    `why_no_front`: set when timings are not comparable.
    """

    id: str
    head: str
    target: str
    machine: str
    x: Axis
    y: Axis
    marks: Tuple[Mark, ...]
    front: str
    fronted: Tuple[str, ...]
    own: str = ""
    own_y: Optional[float] = None
    why_no_front: str = ""


@dataclass(frozen=True)
class Speed:
    """The charts of one accuracy."""

    accuracy: Accuracy
    charts: Tuple[Chart, ...]


def pareto(cells: Sequence[TimedCell], *, lower_is_better: bool = False) -> Tuple[TimedCell, ...]:
    """Those that no other beats, fastest first. Equal ones are all on the front."""
    sign = -1.0 if lower_is_better else 1.0

    def beaten(one: TimedCell) -> bool:
        return any(
            o.p50 <= one.p50
            and sign * o.accuracy >= sign * one.accuracy
            and (o.p50 < one.p50 or sign * o.accuracy > sign * one.accuracy)
            for o in cells
        )

    return tuple(sorted((c for c in cells if not beaten(c)), key=lambda c: (c.p50, -sign * c.accuracy, c.cell)))


def speeds(manifest: Manifest, most: int) -> Tuple[Speed, ...]:
    """At most `most` accuracies, those with gates first, in the order of the manifest."""
    found = []
    for number, (accuracy, value) in enumerate(_accuracies(manifest)[:most]):
        charts = _charts(manifest, accuracy, value, number)
        if charts:
            found.append(Speed(accuracy, charts))
    return tuple(found)


Value = Callable[[Entry], "Tuple[Optional[float], Optional[float]]"]


def _accuracies(manifest: Manifest) -> List[Tuple[Accuracy, Value]]:
    """Every task metric that any cell was scored on, and parity last."""
    gated = {(c.subject, c.metric) for e in manifest.entries for c in e.verdict.checks if c.level == "task"}
    names: Dict[Tuple[str, str], bool] = {}
    for entry in manifest.entries:
        for result in entry.tasks:
            names.setdefault((result.task, result.metric), result.lower_is_better)
    ordered = sorted(names, key=lambda name: name not in gated)
    found: List[Tuple[Accuracy, Value]] = [
        (Accuracy(f"{task} {metric}", names[task, metric]), _task_value(task, metric)) for task, metric in ordered
    ]
    return [*found, (Accuracy(_WORST_SNR, False, " dB"), _snr)]


def _task_value(task: str, metric: str) -> Value:
    def value(entry: Entry) -> Tuple[Optional[float], Optional[float]]:
        result = next((r for r in entry.tasks if (r.task, r.metric) == (task, metric)), None)
        return (result.value, result.reference) if result else (None, None)

    return value


def _snr(entry: Entry) -> Tuple[Optional[float], Optional[float]]:
    """The worst over all outputs and photographs, in decibels; 999 for equal tensors."""
    if any(row.problem for row in entry.parity):
        return None, None
    return min((row.snr_db for row in entry.parity if row.snr_db is not None), default=None), None


def _charts(manifest: Manifest, accuracy: Accuracy, value: Value, number: int) -> Tuple[Chart, ...]:
    groups: Dict[Tuple[str, str], List[Entry]] = {}
    for entry in manifest.entries:
        if entry.latency is not None and value(entry)[0] is not None:
            groups.setdefault((entry.head, entry.target), []).append(entry)
    of = anchors(manifest)
    return tuple(
        _chart(f"speed-{number}-{i}", entries, accuracy, value, of) for i, entries in enumerate(groups.values())
    )


def _chart(id: str, entries: Sequence[Entry], accuracy: Accuracy, value: Value, of: Dict[str, str]) -> Chart:
    cells = [_timed(entry, value, of) for entry in entries]
    own = next((c.own for c in cells if c.own is not None), None)
    heights = [c.accuracy for c in cells] + ([own] if own is not None else [])
    x = linear([c.p50 for c in cells], LEFT, WIDTH - RIGHT, zero=True)
    y = linear(roomy(heights), HEIGHT - BOTTOM, TOP)
    why = _why_no_front(entries)
    passed = [c for c in cells if c.verdict == "passed"]
    front = () if why else pareto(passed, lower_is_better=accuracy.lower_is_better)
    return Chart(
        id=id,
        head=entries[0].head,
        target=entries[0].target,
        machine=", ".join(dict.fromkeys(e.latency.machine for e in entries if e.latency)),
        x=x,
        y=y,
        marks=_marks(cells, front, x, y, accuracy),
        front=_stairs(front, x, y, accuracy),
        fronted=tuple(c.cell for c in front),
        own="" if own is None else short(own) + accuracy.unit,
        own_y=None if own is None else y.place(own),
        why_no_front=why,
    )


def _timed(entry: Entry, value: Value, of: Dict[str, str]) -> TimedCell:
    accuracy, own = value(entry)
    assert entry.latency is not None and accuracy is not None
    p50, status = entry.latency.artifact.p50, entry.verdict.status
    return TimedCell(entry.cell, of[entry.cell], entry.precision, status, p50, accuracy, own)


def _why_no_front(entries: Sequence[Entry]) -> str:
    timings = [e.latency for e in entries if e.latency is not None]
    if len({t.machine for t in timings}) > 1:
        return "no front: the cells were timed on different machines"
    if len({(t.shape, t.threads) for t in timings}) > 1:
        return "no front: the cells were timed at different sizes or with different threads"
    return ""


def _stairs(front: Sequence[TimedCell], x: Axis, y: Axis, accuracy: Accuracy) -> str:
    """Steps: nothing is known between two cells, so the accuracy stays that of the last one."""
    if len(front) < 2:
        return ""
    places = [(x.place(c.p50), y.place(c.accuracy)) for c in front]
    return f"M{places[0][0]},{places[0][1]}" + "".join(f"H{px}V{py}" for px, py in places[1:])


def _marks(
    cells: Sequence[TimedCell], front: Sequence[TimedCell], x: Axis, y: Axis, accuracy: Accuracy
) -> Tuple[Mark, ...]:
    on_front, taken, marks = {c.cell for c in front}, [], []
    points = [(x.place(c.p50), y.place(c.accuracy)) for c in cells]
    taken += [(px - 7, py - 7, px + 7, py + 7) for px, py in points]
    for cell, (px, py) in zip(cells, points):
        box = free(px, py, len(cell.precision), taken)
        taken.append(box)
        marks.append(
            Mark(
                x=px,
                y=py,
                label_x=round(box[0], 1),
                label_y=round(box[3] - 3, 1),
                anchor=cell.anchor,
                precision=cell.precision,
                verdict=cell.verdict,
                on_front=cell.cell in on_front,
                cell=cell.cell,
                p50=f"{cell.p50:.1f} ms",
                accuracy=short(cell.accuracy) + accuracy.unit,
            )
        )
    return tuple(marks)
