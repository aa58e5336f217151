"""One metric of one cell over the versions: what counts as a move, how steep it is, and what piled up. Pure."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

from builder.config.gates import DriftLimit
from validation.readings import Metric, Reading

ROUNDING_DB = 100.0  # signal-to-noise above this is the rounding of float32: 100 and 140 dB are equally good
_TENSOR_SHARE, _TENSOR_LEAST, _DECIBELS, _SIMILARITY = 0.05, 1e-6, 0.5, 1e-6
_LATENCY_SHARE, _LATENCY_LEAST = 0.10, 0.03
_DIGITS = 9


class Series:
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
        """What does not count as a move between two versions, in the metric's unit."""
        pair = [noise(self.by_version[n]) for n in (before, after) if n in self.by_version]
        both = sum(pair) if self.metric.kind == "latency" else max(pair, default=0.0)
        return round(both, _DIGITS)

    def alike(self, before: int, after: int) -> bool:
        return self.by_version[before].context == self.by_version[after].context


def noise(reading: Reading) -> float:
    """What does not count as a move away from this reading, in the metric's unit.

    A time: what the A/A comparison of its own runs gave, at least 3 % (minutes differ more than runs do), 10 % where none was
    made; both versions' noise adds up. A difference of tensors: 5 % of it, at least a millionth. Decibels: 0.5. A similarity
    or a task metric: a millionth. A size or a verdict: nothing.
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


def creep(series: Series, known: Sequence[int], limit: Optional[DriftLimit]) -> Optional[Tuple[int, float]]:
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


def slope(series: Series, known: Sequence[int]) -> Optional[float]:
    """Least squares over the versions in their order, per version; positive is worse. None below two points."""
    alike = [n for n in known if series.alike(n, known[-1])]
    if len(alike) < 2:
        return None
    values = [audible(series.metric, series.value(n) or 0.0) for n in alike]
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((i - middle) * (v - mean) for i, v in enumerate(values))
    steep = over / sum((i - middle) ** 2 for i in range(len(values)))
    return round(steep if series.metric.better == "less" else -steep, _DIGITS)
