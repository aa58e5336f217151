"""What a host asks of accuracy, `METRIC>=NUMBER` or `METRIC<=NUMBER`, held against what a manifest states. Pure.

views.repeatability_1px>=0.95    a task's metric, by the names of `build audit`
scores.cosine>=0.999             a statistic of an output against the model itself, on its worst photograph
parity.max_abs<=0.01             the same, of the worst output
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Iterable, Optional, Tuple

from builder.actions.measurements import AT_LEAST, OutputParity
from builder.errors import UsageError
from builder.store.manifest import Entry

_EXAMPLE = "write it as --min-accuracy 'parity.cosine>=0.999'"
_ALL = "parity"
_STATISTICS = tuple(f.name for f in dataclasses.fields(OutputParity) if f.name not in ("output", "sample", "problem"))


@dataclass(frozen=True)
class Demand:
    """`metric` must be at least `limit`, or at most."""

    metric: str
    at_most: bool
    limit: float

    @property
    def said(self) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {self.limit:g}"


def read(word: str) -> Demand:
    """The demand in a word of the command line. Raises UsageError."""
    where = f"--min-accuracy {word}"
    metric, sign, number = word.partition("<=" if "<=" in word else ">=")
    metric = metric.strip()
    if not sign or "." not in metric:
        raise UsageError("not a metric, >= or <=, and a number", where=where, hint=_EXAMPLE)
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise UsageError(f"{number.strip()!r} is not a number", where=where, hint=_EXAMPLE)
    return Demand(metric, sign == "<=", limit)


def check(demands: Iterable[Demand], entries: Iterable[Entry]) -> None:
    """Every demand is about something that some entry states, and the way round that makes sense. Raises UsageError."""
    listed = tuple(entries)
    known = sorted({name for entry in listed for name in _stated(entry)})
    less = {f"{row.task}.{row.metric}" for entry in listed for row in entry.tasks if row.lower_is_better}
    tasks = {f"{row.task}.{row.metric}" for entry in listed for row in entry.tasks}
    for demand in demands:
        where = f"--min-accuracy {demand.said}"
        if demand.metric not in known:
            near = difflib.get_close_matches(demand.metric, known, n=3, cutoff=0.4) or known[:5]
            hint = f"did you mean: {', '.join(near)}?" if near else "nothing was measured of this head"
            raise UsageError(f"no artifact of this head states {demand.metric}", where=where, hint=hint)
        at_most = demand.metric in less or (
            demand.metric not in tasks and demand.metric.rpartition(".")[2] not in AT_LEAST
        )
        if at_most != demand.at_most:
            better, sign = ("less", "<=") if at_most else ("more", ">=")
            raise UsageError(f"of {demand.metric}, {better} is better", where=where, hint=f"write {sign}")


def unmet(demands: Iterable[Demand], entry: Entry) -> Optional[str]:
    """The first demand that the entry does not meet, in words; None when it meets all."""
    for demand in demands:
        found = _value(demand, entry)
        if found is None:
            return f"{demand.said} is asked for, and it states no {demand.metric}"
        if not (found <= demand.limit if demand.at_most else found >= demand.limit):
            return f"{demand.said} is asked for, and it has {found:.6g}"
    return None


def _value(demand: Demand, entry: Entry) -> Optional[float]:
    """The number that the entry states, at its worst; None where a tensor is broken or nothing was measured."""
    for result in entry.tasks:
        if f"{result.task}.{result.metric}" == demand.metric:
            return _finite(result.value)
    output, _, statistic = demand.metric.rpartition(".")
    if statistic not in _STATISTICS:
        return None
    rows = [row for row in entry.parity if output in (_ALL, row.output)]
    if any(row.problem is not None for row in rows):
        return None  # broken on one sample: whatever the others say
    values = [value for value in (_finite(getattr(row, statistic)) for row in rows) if value is not None]
    return (max if demand.at_most else min)(values) if values else None


def _finite(value: Optional[float]) -> Optional[float]:
    return value if value is not None and math.isfinite(value) else None


def _stated(entry: Entry) -> Tuple[str, ...]:
    """Every metric that the entry has a number of."""
    tasks = [f"{row.task}.{row.metric}" for row in entry.tasks if row.value is not None]
    tensors = [
        f"{output}.{statistic}"
        for row in entry.parity
        for statistic in _STATISTICS
        if getattr(row, statistic) is not None
        for output in (row.output, _ALL)
    ]
    return (*tasks, *tensors)
