"""How much of each gate a cell uses: 0.4 is well inside, 1 is at the limit, more is a miss. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder.report.axes import short
from builder.store.manifest import Check, Entry

_BEST_IS_ONE = frozenset({"cosine", "matched", "agreement"})
BEYOND = 99.0  # more than this many times the limit, or no number at all


@dataclass(frozen=True)
class Margin:
    """A check, and the share of its limit that is used up, 0 to 99."""

    check: Check
    used: float


def of(entry: Entry) -> Tuple[Margin, ...]:
    """Every check of a cell: what counts before what is only reported, missed before kept, most used first."""
    own = {(result.task, result.metric): result.reference for result in entry.tasks}
    found = [Margin(c, used(c, own.get((c.subject, c.metric)))) for c in entry.verdict.checks]
    return tuple(
        sorted(found, key=lambda m: (m.check.report_only, m.check.kept, -m.used, m.check.subject, m.check.metric))
    )


def used(check: Check, own: Optional[float] = None) -> float:
    """The share of a limit that is used up.

    An error or a loss counts from 0 to its limit. A similarity whose best is 1 counts what it lacks of 1. A task's own
    number counts from what the model itself reaches (`own`), where that is inside the limit. Of any other number that
    must be at least its limit, it is the limit in parts of what was found; but an arithmetic is kept or not, and kept it is
    no near miss.
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


def name(check: Check) -> str:
    """'scores max_abs', 'views repeatability_3px lost'."""
    lost = {"value": "", "degradation": " lost", "percent degradation": " lost in %"}[check.bound]
    return f"{check.subject} {check.metric}{lost}"


def share(margin: Margin) -> str:
    """'41 %'. Never 100 % of a limit that was missed, nor more than that of one that was kept."""
    if margin.check.found is None:
        return "no number"
    if margin.used >= BEYOND:
        return f"over {100 * BEYOND:.0f} %"
    percent = round(100 * margin.used)
    return f"{min(percent, 100) if margin.check.kept else max(percent, 101)} %"


def numbers(check: Check) -> str:
    """'0.041, at most 0.1'."""
    found = "no number" if check.found is None else short(check.found)
    return f"{found}, {'at most' if check.at_most else 'at least'} {short(check.limit)}"
