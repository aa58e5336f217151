"""The ledger of a store: every number of every cell over the versions, held against the model, the last release and its
limit, and where it moved and why. Pure: the same versions and limits, the same ledger.

How a line is judged (docs/explanation/drift.md has the reasons):

- a change within the noise is none: see `noise`;
- `worse` is what the candidate lost against the version it is held against; beyond its limit on top of the noise, the line
  is `beyond`;
- so is what piled up in several steps of which none was beyond the limit by itself (`creep`);
- a number that was there and is not counts as beyond any limit.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from builder.config.gates import DriftLimit
from validation import causes, grouping
from validation import series as trend
from validation.history import Change, Ledger, Line, Move, Point, Release, State, Version
from validation.readings import Metric, Reading, readings
from validation.series import Series, audible

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
    """`versions` ascending, at least one; the last is the candidate. It is held against version `against`, which is one of
    them, by default the one before it. `only` and `metrics` choose cells and metrics; `limits` is kept as it is."""
    candidate = versions[-1]
    if against is None and len(versions) > 1:
        against = versions[-2].number
    changes = _Changes()
    lines: List[Line] = []
    seen = dict.fromkeys(entry.cell for version in reversed(versions) for entry in version.manifest.entries)
    cells = [cell for cell in seen if only(cell)]
    for cell in cells:
        table = {v.number: _readings(v, cell) for v in versions}
        timed = any("latency.speedup" in row for row in table.values())
        told = False  # that the whole cell is lost: its numbers need not say it again, each for itself
        for metric in _metrics(table, versions):
            if metrics(metric, timed):
                series = Series(cell, metric, {n: row[metric.name] for n, row in table.items() if metric.name in row})
                limit = limit_of(cell, metric, timed)
                made = _line(series, versions, against, limit, changes)
                if told and made.state == "beyond" and series.value(candidate.number) is None:
                    made = dataclasses.replace(made, state="gone")
                told = told or (metric.kind == "verdict" and limit is not None and _lost_whole(candidate, cell))
                lines.append(made)
    kept = [line for line in lines if line.at(candidate.number) or (against is not None and line.at(against))]
    cell_lines = tuple(
        line for line in (grouping.cell_line(cell, versions, against) for cell in cells) if line is not None
    )
    return Ledger(
        schema=1,
        model=candidate.manifest.model.name,
        candidate=candidate.number,
        against=against,
        releases=tuple(Release(v.number, v.manifest.created, v.provenance is not None) for v in versions),
        limits=limits,
        groups=grouping.groups(cell_lines, kept),
        cells=cell_lines,
        changes=tuple(changes.listed),
        lines=tuple(kept),
    )


class _Changes:
    """The reasons that moves point at, each once."""

    def __init__(self) -> None:
        self.listed: List[Change] = []
        self._known: Dict[Tuple[int, str, str, str], int] = {}

    def index(self, series: Series, old: Version, new: Version) -> int:
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
    """Every metric of any version, as the newest that has it says it."""
    found: Dict[str, Metric] = {}
    for version in reversed(versions):
        for name, reading in table[version.number].items():
            found.setdefault(name, reading.metric)
    return list(found.values())


# ---------------------------------------------------------------------------------------------- a line


def _line(
    series: Series,
    versions: Sequence[Version],
    against: Optional[int],
    limit: Optional[DriftLimit],
    changes: "_Changes",
) -> Line:
    candidate, metric = versions[-1].number, series.metric
    known = [v.number for v in versions if series.value(v.number) is not None]
    moves = _moves(series, versions, changes)
    state, worse, said = _judged(series, candidate, against, limit)
    creep = trend.creep(series, known, limit)
    if state in ("same", "worse") and limit is not None and creep is not None and candidate in known:
        since, amount = creep
        if limit.exceeded(amount - series.noise(since, candidate), series.value(since) or 0.0):
            state, said = "beyond", f"{amount:.4g} worse since v{since} in steps that were each within {limit}"
    before = series.value(against)
    reading = series.by_version.get(candidate)
    return Line(
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
        slope=trend.slope(series, known),
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


def _lost(series: Series, reading: Optional[Reading]) -> Optional[float]:
    if reading is None or reading.value is None or reading.reference is None:
        return None
    return series.worse(reading.reference, reading.value)


def _judged(
    series: Series, candidate: int, against: Optional[int], limit: Optional[DriftLimit]
) -> Tuple[State, Optional[float], str]:
    """(state, how much worse, in words)."""
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


def _verdict_words(series: Series, against: int, candidate: int) -> str:
    now = series.by_version[candidate]
    if series.metric.kind != "verdict":
        return ""
    return f"{series.by_version[against].word} in v{against}, {now.word} in v{candidate}" + (
        f": {now.where}" if now.where else ""
    )


def _moves(series: Series, versions: Sequence[Version], changes: "_Changes") -> Tuple[Move, ...]:
    """Where the number left its noise. A slow change counts from the value it had settled on, so that many small steps are
    one move in the end, at the version where they left the noise."""
    moves: List[Move] = []
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
                moves.append(Move(old.number, new.number, series.value(old.number), after, None, change))
            settled = new.number if after is not None else settled
            continue
        worse = series.worse(before, after)
        unlike = not series.alike(settled, new.number)
        words = series.by_version[settled].word != series.by_version[new.number].word
        if abs(worse) > series.noise(settled, new.number) or unlike or words:
            change = changes.index(series, old, new)
            moves.append(Move(old.number, new.number, before, after, None if unlike else worse, change))
            settled = new.number
    return tuple(moves)
