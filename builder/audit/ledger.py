"""The ledger of a store: every number over the versions, judged.

Pure: the same versions and limits give the same ledger. A number is compared with the model, the last release and its
limit. How a line is judged (docs/explanation/drift.md has the reasons):

- a change within the noise does not count: see `noise`;
- `worse` is the loss of the candidate against the base version; beyond its limit plus the noise, the line is `beyond`;
- so is a sum of several steps that are each within the limit (`creep`);
- a number that disappeared counts as beyond any limit.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Literal, Optional, Sequence, Tuple

from builder.audit import causes
from builder.audit.history import (
    STATES,
    CellLine,
    Change,
    Ledger,
    LineGroup,
    Metric,
    MetricLine,
    MetricMove,
    Point,
    Reading,
    Release,
    State,
    StateCount,
    Version,
    readings,
)
from builder.config.gates import DriftLimit
from builder.store.manifest import Entry

# ------------------------------------------------------------- series: noise, slope and creep of one metric of one cell


ROUNDING_DB = 100.0  # signal-to-noise above this is the rounding of float32: 100 and 140 dB are equally good
_TENSOR_SHARE, _TENSOR_LEAST, _DECIBELS, _SIMILARITY = 0.05, 1e-6, 0.5, 1e-6
_LATENCY_SHARE, _LATENCY_LEAST = 0.10, 0.03
_DIGITS = 9


class MetricSeries:
    """The readings of one metric of one cell by version."""

    def __init__(self, cell: str, metric: Metric, by_version: Dict[int, Reading]) -> None:
        self.cell, self.metric, self.by_version = cell, metric, by_version

    def value(self, version: Optional[int]) -> Optional[float]:
        reading = self.by_version.get(version) if version is not None else None
        return reading.value if reading is not None else None

    def worse(self, before: float, after: float) -> float:
        """Positive when `after` is worse."""
        before, after = (audible(self.metric, value) for value in (before, after))
        return round(after - before if self.metric.better == "less" else before - after, _DIGITS)

    def noise(self, before: int, after: int) -> float:
        """The largest change between two versions that does not count, in the metric's unit."""
        pair = [noise(self.by_version[n]) for n in (before, after) if n in self.by_version]
        both = sum(pair) if self.metric.kind == "latency" else max(pair, default=0.0)
        return round(both, _DIGITS)

    def alike(self, before: int, after: int) -> bool:
        return self.by_version[before].context == self.by_version[after].context


def noise(reading: Reading) -> float:
    """The largest change from this reading that does not count, in the metric's unit.

    A time: the result of the A/A comparison of its own runs, at least 3 % (minutes differ more than runs do), 10 %
    without one; both versions' noise adds up. A difference of tensors: 5 % of it, at least a millionth. Decibels: 0.5.
    A similarity or a task metric: a millionth. A size or a verdict: nothing.
    """
    kind, value = reading.metric.kind, abs(reading.value or 0.0)
    if kind == "latency":
        return value * (max(reading.noise, _LATENCY_LEAST) if reading.noise is not None else _LATENCY_SHARE)
    if kind == "tensor":
        if reading.metric.unit == "dB":
            return _DECIBELS
        return _SIMILARITY if reading.metric.better == "more" else max(value * _TENSOR_SHARE, _TENSOR_LEAST)
    return _SIMILARITY if kind == "task" else 0.0


def audible(metric: Metric, value: float) -> float:
    return min(value, ROUNDING_DB) if metric.unit == "dB" else value


def creep_of(series: MetricSeries, known: Sequence[int], limit: Optional[DriftLimit]) -> Optional[Tuple[int, float]]:
    """(since, how much worse) over the last steps that were each within the limit, at least two of them."""
    if limit is None or len(known) < 3:
        return None
    since = known[-1]
    for before, after in zip(reversed(known[:-1]), reversed(known[1:])):
        start, end = series.value(before), series.value(after)
        assert start is not None and end is not None
        step = series.worse(start, end)
        if not series.alike(before, after) or limit.exceeded(abs(step), audible(series.metric, start)):
            break
        since = before
    first, last = series.value(since), series.value(known[-1])
    if first is None or last is None or known.index(since) > len(known) - 3:
        return None
    return since, series.worse(first, last)


def slope_of(series: MetricSeries, known: Sequence[int]) -> Optional[float]:
    """Least squares over the versions in their order, per version; positive is worse.

    None below two points.
    """
    alike = [n for n in known if series.alike(n, known[-1])]
    if len(alike) < 2:
        return None
    values = [audible(series.metric, series.value(n) or 0.0) for n in alike]
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((i - middle) * (v - mean) for i, v in enumerate(values))
    steep = over / sum((i - middle) ** 2 for i in range(len(values)))
    return round(steep if series.metric.better == "less" else -steep, _DIGITS)


# ------------------------------------------------------------------------------------------- cells and groups


def cell_line(cell: str, versions: Sequence[Version], against: Optional[int]) -> Optional[CellLine]:
    """The cell's line.

    None for a cell that is neither in the candidate nor in the base version.
    """
    now = versions[-1].manifest.entry(cell)
    then = next((v.manifest.entry(cell) for v in versions if v.number == against), None)
    entry = now or then
    if entry is None:
        return None
    return CellLine(
        cell=cell,
        head=entry.head,
        precision=entry.precision,
        target=entry.target,
        runtime=f"{entry.platform.runtime} {entry.platform.version}" if entry.platform else "",
        verdict=now.verdict.status if now else "gone",
        artifact=_artifact(then, now),
    )


def _artifact(then: Optional[Entry], now: Optional[Entry]) -> Literal["same", "changed", "new", "none"]:
    before, after = (entry.artifact if entry else None for entry in (then, now))
    if after is None:
        return "none"
    if before is None:
        return "new"
    return "same" if before.files == after.files else "changed"


def groups(cells: Sequence[CellLine], lines: Sequence[MetricLine]) -> Tuple[LineGroup, ...]:
    """Precision x target x runtime, in the order of the cells."""
    keys: Dict[Tuple[str, str, str], List[str]] = {}
    for cell in cells:
        keys.setdefault((cell.precision, cell.target, cell.runtime), []).append(cell.cell)
    return tuple(_group(key, names, lines) for key, names in keys.items())


def _group(key: Tuple[str, str, str], cells: Sequence[str], lines: Sequence[MetricLine]) -> LineGroup:
    own = [(number, line) for number, line in enumerate(lines) if line.cell in cells]
    drifted = [(number, line) for number, line in own if line.state in ("beyond", "worse") and line.worse is not None]
    lost = [(number, line) for number, line in own if line.lost is not None and line.lost > 0]
    counts = [StateCount(state, sum(line.state == state for _, line in own)) for state in STATES]
    return LineGroup(
        *key,
        cells=len(cells),
        counts=tuple(count for count in counts if count.lines),
        drifted=max(drifted, key=lambda pair: _weight(pair[1]))[0] if drifted else None,
        lost=max(lost, key=lambda pair: pair[1].lost or 0.0)[0] if lost else None,
    )


def _weight(line: MetricLine) -> Tuple[bool, float]:
    """How far it drifted, for comparing unlike metrics: beyond first, then in percent."""
    return line.state == "beyond", abs(line.percent if line.percent is not None else 100.0)


# ------------------------------------------------------------------------------------------- the ledger


LimitOf = Callable[[str, Metric, bool], Optional[DriftLimit]]
"""(cell, metric, timed in turns) -> how much worse it may be; None for as much as it likes."""


def ledger(
    versions: Sequence[Version],
    limit_of: LimitOf,
    *,
    against: Optional[int] = None,
    limits: str = "",
    only: Callable[[str], bool] = lambda cell: True,
    metrics: Callable[[Metric, bool], bool] = lambda metric, timed_in_turns: True,
) -> Ledger:
    """The ledger of `versions`, ascending, at least one; the last is the candidate.

    It is compared with version `against`, by default the one before it. `only` and `metrics` choose cells and metrics;
    `limits` is kept unchanged.
    """
    candidate = versions[-1]
    if against is None and len(versions) > 1:
        against = versions[-2].number
    changes = _Changes()
    lines: List[MetricLine] = []
    seen = dict.fromkeys(entry.cell for version in reversed(versions) for entry in version.manifest.entries)
    cells = [cell for cell in seen if only(cell)]
    for cell in cells:
        table = {v.number: _readings(v, cell) for v in versions}
        timed = any("latency.speedup" in row for row in table.values())
        told = False  # the whole cell is lost: its numbers need not repeat it
        for metric in _metrics(table, versions):
            if metrics(metric, timed):
                series = MetricSeries(
                    cell, metric, {n: row[metric.name] for n, row in table.items() if metric.name in row}
                )
                limit = limit_of(cell, metric, timed)
                made = _line(series, versions, against, limit, changes)
                if told and made.state == "beyond" and series.value(candidate.number) is None:
                    made = dataclasses.replace(made, state="gone")
                told = told or (metric.kind == "verdict" and limit is not None and _lost_whole(candidate, cell))
                lines.append(made)
    kept = [line for line in lines if line.at(candidate.number) or (against is not None and line.at(against))]
    cell_lines = tuple(line for line in (cell_line(cell, versions, against) for cell in cells) if line is not None)
    return Ledger(
        schema=1,
        model=candidate.manifest.model.name,
        candidate=candidate.number,
        against=against,
        releases=tuple(Release(v.number, v.manifest.created, v.provenance is not None) for v in versions),
        limits=limits,
        groups=groups(cell_lines, kept),
        cells=cell_lines,
        changes=tuple(changes.listed),
        lines=tuple(kept),
    )


class _Changes:
    """The reasons that moves point at, each once."""

    def __init__(self) -> None:
        self.listed: List[Change] = []
        self._known: Dict[Tuple[int, str, str, str], int] = {}

    def index(self, series: MetricSeries, old: Version, new: Version) -> int:
        metric = series.metric
        first = metric.name.partition(".")[0]
        task = first if metric.kind == "task" or first == causes.SWEEP else ""
        key = (new.number, series.cell, metric.kind, task)
        if key not in self._known:
            change = causes.between(old, new, series.cell, metric.kind, task)
            if change not in self.listed:
                self.listed.append(change)
            self._known[key] = self.listed.index(change)
        return self._known[key]


def _lost_whole(version: Version, cell: str) -> bool:
    entry = version.manifest.entry(cell)
    return entry is None or entry.artifact is None


def _readings(version: Version, cell: str) -> Dict[str, Reading]:
    entry = version.manifest.entry(cell)
    return readings(entry) if entry is not None else {}


def _metrics(table: Dict[int, Dict[str, Reading]], versions: Sequence[Version]) -> List[Metric]:
    """Every metric of any version, as in the newest version that has it."""
    found: Dict[str, Metric] = {}
    for version in reversed(versions):
        for name, reading in table[version.number].items():
            found.setdefault(name, reading.metric)
    return list(found.values())


# ------------------------------------------------------------------------------------------- lines


def _line(
    series: MetricSeries,
    versions: Sequence[Version],
    against: Optional[int],
    limit: Optional[DriftLimit],
    changes: "_Changes",
) -> MetricLine:
    candidate, metric = versions[-1].number, series.metric
    known = [v.number for v in versions if series.value(v.number) is not None]
    moves = _moves(series, versions, changes)
    state, worse, said = _judged(series, candidate, against, limit)
    creep = creep_of(series, known, limit)
    if state in ("same", "worse") and limit is not None and creep is not None and candidate in known:
        since, amount = creep
        if limit.exceeded(amount - series.noise(since, candidate), series.value(since) or 0.0):
            state, said = "beyond", f"{amount:.4g} worse since v{since} in steps that were each within {limit}"
    before = series.value(against)
    reading = series.by_version.get(candidate)
    return MetricLine(
        cell=series.cell,
        metric=metric.name,
        kind=metric.kind,
        better=metric.better,
        unit=metric.unit,
        state=state,
        points=tuple(_point(v.number, series.by_version[v.number]) for v in versions if v.number in series.by_version),
        said=said,
        lost=_lost(series, reading) if metric.kind == "task" else None,
        worse=worse,
        percent=round(100 * worse / abs(before), 4) if worse is not None and before else None,
        noise=series.noise(against, candidate) if against is not None else 0.0,
        limit=_limit_words(metric, limit),
        slope=slope_of(series, known),
        creep=creep[1] if creep is not None else None,
        moved=next((move.version for move in moves if against is None or move.version > against), None),
        moves=moves,
    )


def _limit_words(metric: Metric, limit: Optional[DriftLimit]) -> str:
    if limit is None:
        return ""
    return "must pass" if metric.kind == "verdict" else str(limit)


def _point(version: int, reading: Reading) -> Point:
    return Point(version, reading.value, reading.reference, reading.where, reading.word)


def _lost(series: MetricSeries, reading: Optional[Reading]) -> Optional[float]:
    if reading is None or reading.value is None or reading.reference is None:
        return None
    return series.worse(reading.reference, reading.value)


def _judged(
    series: MetricSeries, candidate: int, against: Optional[int], limit: Optional[DriftLimit]
) -> Tuple[State, Optional[float], str]:
    """(state, how much worse, as text)."""
    before, after = series.value(against), series.value(candidate)
    if against is None or before is None:
        return "new", None, "" if after is not None else "has no number"
    if after is None:
        now = series.by_version.get(candidate)
        if series.metric.kind == "verdict":
            word = series.by_version[against].word
            return ("beyond" if limit and before else "gone"), None, f"{word} in v{against}, not in v{candidate}"
        said = f"has no number in v{candidate}"
        said += f": {now.where}" if now is not None and now.where else ""
        return ("beyond" if limit is not None else "gone"), None, said
    if not series.alike(against, candidate):
        old, new = series.by_version[against].context, series.by_version[candidate].context
        return "unlike", None, f"not comparable: {old}; now {new}"
    worse = series.worse(before, after)
    noise = series.noise(against, candidate)
    if abs(worse) <= noise:
        loud = limit is not None and limit.exceeded(worse, audible(series.metric, before))
        return "same", worse, f"{worse:.4g} worse, but its noise is {noise:.4g}: measure longer" if loud else ""
    if worse < 0:
        return "better", worse, ""
    if limit is not None and limit.exceeded(worse - noise, audible(series.metric, before)):
        return "beyond", worse, _verdict_words(series, against, candidate)
    return "worse", worse, ""


def _verdict_words(series: MetricSeries, against: int, candidate: int) -> str:
    now = series.by_version[candidate]
    if series.metric.kind != "verdict":
        return ""
    return f"{series.by_version[against].word} in v{against}, {now.word} in v{candidate}" + (
        f": {now.where}" if now.where else ""
    )


def _moves(series: MetricSeries, versions: Sequence[Version], changes: "_Changes") -> Tuple[MetricMove, ...]:
    """Changes beyond the noise.

    A slow change counts from the last settled value, so that many small steps become one move, at the version where
    they left the noise.
    """
    moves: List[MetricMove] = []
    settled: Optional[int] = None
    for old, new in zip(versions, versions[1:]):
        settled = old.number if series.value(old.number) is not None and settled is None else settled
        before, after = series.value(settled), series.value(new.number)
        if new.number not in series.by_version and old.number not in series.by_version:
            continue
        if before is None or after is None or settled is None:
            lost = series.value(old.number) is not None and after is None
            found = series.value(old.number) is None and after is not None and old.number in series.by_version
            if lost or found:
                change = changes.index(series, old, new)
                moves.append(MetricMove(old.number, new.number, series.value(old.number), after, None, change))
            settled = new.number if after is not None else settled
            continue
        worse = series.worse(before, after)
        unlike = not series.alike(settled, new.number)
        words = series.by_version[settled].word != series.by_version[new.number].word
        if abs(worse) > series.noise(settled, new.number) or unlike or words:
            change = changes.index(series, old, new)
            moves.append(MetricMove(old.number, new.number, before, after, None if unlike else worse, change))
            settled = new.number
    return tuple(moves)
