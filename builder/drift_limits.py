"""How far a number may get worse from release to release: the `drift:` section of matrix.yaml, and `--fail-on`.

Words only; `validation/drift.py` holds the numbers against them. A limit is a number in the metric's own unit, a share
of the earlier value (`10%`), or `off`. The later limit wins.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from typing import Optional, Tuple, Union

from builder.errors import UsageError
from builder.records import described

LATENCY = "latency"  # the speed-up where a yardstick was timed beside the artifact, else the time itself


@dataclass(frozen=True)
class MetricLimit:
    """`metric` is a name with * and {a,b}, or the first part of one: `views` is every metric of that task."""

    metric: str
    limit: Union[float, str] = field(metadata=described("A number, '10%' of the earlier value, or 'off'."))


@dataclass(frozen=True)
class DriftLimits:
    select: str = field(metadata=described("Cell ids, with * and {a,b}; later limits win."))
    limits: Tuple[MetricLimit, ...] = field(
        metadata=described("How much worse each metric may be than in the last release.", keyed=True)
    )


@dataclass(frozen=True)
class Limit:
    """At most `amount` worse, in the metric's unit or (`percent`) in percent of the earlier value."""

    amount: float
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.amount:g}{'%' if self.percent else ''}"

    def exceeded(self, worse: float, before: float) -> bool:
        """Whether `worse` (positive: worse) on top of the value `before` is more than allowed."""
        allowed = abs(before) * self.amount / 100 if self.percent else self.amount
        return worse > allowed + 1e-12  # 0.914 - 0.894 is not more than 0.02


def parse(value: Union[float, str], where: str) -> Optional[Limit]:
    """A limit as a person writes it; None for `off`. UsageError says what it may be."""
    if isinstance(value, str):
        word = value.strip()
        if word == "off":
            return None
        percent = word.endswith("%")
        try:
            amount = float(word[:-1] if percent else word)
        except ValueError:
            amount = math.nan
    else:
        amount, percent = float(value), False
    if not math.isfinite(amount) or amount < 0:
        raise UsageError(f"{value!r} is no limit", where=where, hint="a limit is a number (0.02), a share (10%) or off")
    return Limit(amount, percent)


def names(pattern: str, metric: str, *, timed_in_turns: bool) -> bool:
    """Whether `pattern` means the metric. `timed_in_turns`: the cell has a speed-up, and `latency` means that."""
    if pattern == LATENCY:
        return metric == ("latency.speedup" if timed_in_turns else "latency.p50_ms")
    return metric == pattern or metric.partition(".")[0] == pattern or fnmatch.fnmatchcase(metric, pattern)
