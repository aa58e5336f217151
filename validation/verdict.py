"""Judging measurements against limits. Pure: the same numbers and limits, the same checks."""

from __future__ import annotations

import difflib
from typing import Iterable, List, Optional, Sequence, Tuple

from builder.actions.measurements import AT_LEAST, Latency, OutputParity, Percentiles
from builder.config.gates import Limit
from builder.store.manifest import Check, TaskResult


def checks(
    limits: Iterable[Limit],
    parity: Sequence[OutputParity],
    tasks: Sequence[TaskResult],
    latency: Optional[Latency],
) -> Tuple[Check, ...]:
    """One for each limit, but for outputs that were rightly empty on every sample. What was not measured has no number."""
    made: List[Check] = []
    scored = {(result.task, result.metric): result for result in tasks}
    for limit in limits:
        if limit.level == "task":
            result = scored.get((limit.subject, limit.metric)) or TaskResult(limit.subject, limit.metric, None, None)
            made.append(_of_task(limit, result))
        elif limit.level == "speed":
            made.append(_of_speed(limit, latency))
        else:
            made += _of_tensor(limit, [row for row in parity if row.output == limit.subject])
    return tuple(made)


def unknown_metrics(limits: Iterable[Limit], tasks: Sequence[TaskResult]) -> Tuple[str, ...]:
    """A sentence for each metric that a gate names and its task did not give: which names are there is known only once
    the task has been scored."""
    said: List[str] = []
    for limit in limits:
        given = [result.metric for result in tasks if result.task == limit.subject]
        if limit.level == "task" and given and limit.metric not in given:
            near = difflib.get_close_matches(limit.metric, given, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"it gives {', '.join(given)}"
            said.append(f"task {limit.subject} has no metric {limit.metric!r} (gate {limit.select}): {meant}")
    return tuple(dict.fromkeys(said))


def _check(limit: Limit, found: Optional[float], at_most: bool, worst: str, slack: float = 0.0) -> Check:
    return Check(
        level=limit.level,
        subject=limit.subject,
        metric=limit.metric,
        found=found,
        limit=limit.value,
        at_most=at_most,
        gate=limit.select,
        worst=worst,
        bound=limit.bound,
        slack=slack,
        report_only=limit.report_only,
    )


# ------------------------------------------------------------------------------------------- tensors


def _of_tensor(limit: Limit, rows: Sequence[OutputParity]) -> List[Check]:
    """At the sample that is worst. None when the aligned set was rightly empty on every sample."""
    metric, at_most = limit.metric, limit.metric not in AT_LEAST
    compared = [row for row in rows if row.problem is None]
    if not compared:  # `problems` names why, or the output was never compared
        return [_check(limit, None, at_most, "no sample")]
    worst = _worst([row for row in compared if metric == "matched" or not _was_empty(row)], metric)
    return [] if worst is None else [_check(limit, getattr(worst, metric), at_most, worst.sample)]


def problems(measured: Sequence[OutputParity]) -> Tuple[str, ...]:
    """What kept tensors from being compared at all; any of these fails the cell, gates or not."""
    return tuple(f"{row.output} on {row.sample}: {row.problem}" for row in measured if row.problem is not None)


def _was_empty(row: OutputParity) -> bool:
    """An aligned set that is empty on both sides: there was nothing to compare, and that is right."""
    return row.max_abs is None and row.matched == 1.0


def _worst(rows: Sequence[OutputParity], metric: str) -> Optional[OutputParity]:
    """The row with the worst value of `metric`; one without a number is worse than any."""
    sign = 1 if metric in AT_LEAST else -1

    def badness(row: OutputParity) -> Tuple[bool, float]:
        value: Optional[float] = getattr(row, metric)
        return (value is not None, 0.0 if value is None else sign * value)

    return min(rows, key=badness, default=None)


# ------------------------------------------------------------------------------------------- tasks and speed


def _of_task(limit: Limit, result: TaskResult) -> Check:
    if limit.bound == "value":
        # The case that lost most explains a loss or a missing number; of a low total it would say nothing.
        case = "" if result.value is not None else result.worst
        return _check(limit, result.value, result.lower_is_better, case)
    lost = result.lost
    return _check(limit, lost if limit.bound == "degradation" else _percent(lost, result.reference), True, result.worst)


def _percent(lost: Optional[float], own: Optional[float]) -> Optional[float]:
    """What was lost in percent of the model's own value; of nothing, anything lost is all of it."""
    if lost is None or own is None:
        return None
    return round(100 * lost / abs(own), 7) if own else (100.0 if lost > 0 else 0.0)


def _of_speed(limit: Limit, latency: Optional[Latency]) -> Check:
    """Noise may bring a time beyond its limit by itself: that much is forgiven, and recorded as slack."""
    noise = (latency.noise if latency else None) or 0.0
    at = "x".join(map(str, latency.shape)) if latency else ""
    if limit.metric == "speedup":
        speedup = latency.speedup if latency else None
        return _check(limit, speedup, False, at, (speedup or 0.0) * noise)
    time, naive = _time(latency.artifact if latency else None, limit), _time(latency.naive if latency else None, limit)
    if limit.bound == "value" or time is None:
        return _check(limit, time, True, at, (time or 0.0) * noise)
    if naive is None or naive == 0:
        return _check(limit, None, True, at)
    if limit.bound == "degradation":
        return _check(limit, round(time - naive, 6), True, at, time * noise)
    return _check(limit, round(100 * (time / naive - 1), 6), True, at, 100 * noise * time / naive)


def _time(measured: Optional[Percentiles], limit: Limit) -> Optional[float]:
    if measured is None:
        return None
    return {"p50_ms": measured.p50, "p90_ms": measured.p90, "p99_ms": measured.p99}.get(limit.metric)


# ------------------------------------------------------------------------------------------- in words


def describe(check: Check) -> str:
    """'scores max_abs 0.031 > 0.02 on camera-480x640, gate *-int8-*'; for a limit that was kept, <= or >= instead."""
    if check.level == "arithmetic":
        did = "and every layer keeps to it" if check.kept else f"but {check.worst}"
        return f"declared {check.subject} {check.metric}, {did}, says the runtime"
    where, gate = f" on {check.worst}" if check.worst else "", f", gate {check.gate}"
    if check.found is None:
        return f"{check.subject} {check.metric} has no number (limit {check.limit:g}){where}{gate}"
    sign = ("<=" if check.at_most else ">=") if check.kept else (">" if check.at_most else "<")
    lost = "" if check.bound == "value" else ("slower by " if check.level == "speed" else "lost ")
    if check.bound != "value" and check.worst and check.level == "task":
        where = f", most on {check.worst}"
    unit = "%" if check.bound == "percent degradation" else ""
    digits = next((d for d in (4, 7) if float(f"{check.found:.{d}g}") != float(f"{check.limit:.{d}g}")), 12)
    numbers = f"{lost}{check.found:.{digits}g}{unit} {sign} {check.limit:.{digits}g}{unit}"
    return f"{check.subject} {check.metric} {numbers}{where}{gate}"
