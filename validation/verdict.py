"""Judging measurements against the gates of matrix.yaml. Pure: the same numbers and gates, the same verdict."""

from __future__ import annotations

import dataclasses
from typing import Dict, Iterable, List, Literal, Optional, Sequence, Tuple

from builder.cells import Cell, selects
from builder.gates import Gate, MetricGate, OutputGate
from builder.manifest import Miss, TaskResult
from builder.measurements import OutputParity, TaskScores

# Metrics of which more is better; of all others, less.
AT_LEAST = frozenset({"cosine", "snr_db", "matched"})
Bound = Literal["value", "degradation", "percent degradation"]
METRICS = tuple(f.name for f in dataclasses.fields(OutputGate) if f.name != "output")


def limits(gates: Iterable[Gate], cell: Cell, outputs: Sequence[str]) -> Dict[Tuple[str, str], float]:
    """(output, metric) -> limit: every matching gate laid over the earlier ones, `*` over every output."""
    resolved: Dict[Tuple[str, str], float] = {}
    for gate in gates:
        if not selects(gate.select, cell):
            continue
        for wanted in gate.outputs:
            names = outputs if wanted.output == "*" else [o for o in outputs if o == wanted.output]
            for name in names:
                for metric in METRICS:
                    limit: Optional[float] = getattr(wanted, metric)
                    if limit is not None:
                        resolved[name, metric] = limit
    return resolved


def misses(measured: Sequence[OutputParity], limit_of: Dict[Tuple[str, str], float]) -> Tuple[Miss, ...]:
    """One Miss per broken limit, at the sample where it is broken worst. A number that is missing is a miss."""
    found: List[Miss] = []
    for (output, metric), limit in limit_of.items():
        rows = [row for row in measured if row.output == output and row.problem is None]
        if not rows:  # nothing was measured: `problems` names why, or the output was never compared
            found.append(Miss(output, metric, None, limit, "no sample"))
            continue
        worst = _worst([row for row in rows if metric == "matched" or not _was_empty(row)], metric)
        if worst is None:  # every sample was rightly empty
            continue
        value: Optional[float] = getattr(worst, metric)
        if value is None or (value < limit if metric in AT_LEAST else value > limit):
            found.append(Miss(output, metric, value, limit, worst.sample))
    return tuple(found)


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


def against(task: str, reference: TaskScores, candidate: TaskScores) -> Tuple[TaskResult, ...]:
    """The candidate's metrics beside the model's own, each with the case in which it lost most.

    A case for which the model has a number and the candidate none leaves the total without a value: the mean of the
    other cases would hide that it found nothing there.
    """
    own = {score.metric: score.value for score in reference.scores}
    results: List[TaskResult] = []
    for score in candidate.scores:
        silent = _silent_case(score.metric, reference, candidate)
        worst = silent or _worst_case(score.metric, reference, candidate, 1 if score.lower_is_better else -1)
        value = None if silent else score.value
        results.append(TaskResult(task, score.metric, value, own.get(score.metric), score.lower_is_better, worst))
    return tuple(results)


def _silent_case(metric: str, reference: TaskScores, candidate: TaskScores) -> str:
    """The first case in which only the model has a number of this name, or ""."""
    had = {row.case for row in reference.cases if row.metric == metric and row.value is not None}
    has = {row.case for row in candidate.cases if row.metric == metric and row.value is not None}
    return min(had - has, default="")


def _worst_case(metric: str, reference: TaskScores, candidate: TaskScores, sign: int) -> str:
    """ "" when no case has a number of this name, or none lost anything."""
    own = {row.case: row.value for row in reference.cases if row.metric == metric}
    lost = [
        (sign * (row.value - (own[row.case] or 0.0)), row.case)
        for row in candidate.cases
        if row.metric == metric and row.value is not None and own.get(row.case) is not None
    ]
    worst = max(lost, default=(0.0, ""))
    return worst[1] if worst[0] > 0 else ""


def task_limits(gates: Iterable[Gate], cell: Cell, tasks: Sequence[str]) -> Dict[Tuple[str, str], MetricGate]:
    """(task, metric) -> its limits, of the `tasks` that the cell is scored on: every matching gate laid over the earlier
    ones, limit by limit."""
    resolved: Dict[Tuple[str, str], MetricGate] = {}
    for gate in gates:
        if not selects(gate.select, cell):
            continue
        for wanted in (gated for gated in gate.tasks if gated.task in tasks):
            for limits_ in wanted.metrics:
                given = {k: v for k, v in dataclasses.asdict(limits_).items() if v is not None}
                before = resolved.get((wanted.task, limits_.metric), limits_)
                resolved[wanted.task, limits_.metric] = dataclasses.replace(before, **given)
    return resolved


def task_misses(scored: Sequence[TaskResult], limit_of: Dict[Tuple[str, str], MetricGate]) -> Tuple[Miss, ...]:
    """One Miss per broken limit. A metric that was not measured, or has no number, is a miss."""
    results = {(result.task, result.metric): result for result in scored}
    found: List[Miss] = []
    for (task, metric), gate in limit_of.items():
        result = results.get((task, metric)) or TaskResult(task, metric, None, None)
        lost, own = result.lost, result.reference
        percent = _percent(lost, own)
        checks: Tuple[Tuple[Bound, Optional[float], Optional[float], bool], ...] = (
            ("value", result.value, gate.threshold, result.lower_is_better),
            ("degradation", lost, gate.max_degradation, True),
            ("percent degradation", percent, gate.percent_max_degradation, True),
        )
        for bound, value, limit, at_most in checks:
            if limit is not None and (value is None or (value > limit if at_most else value < limit)):
                # The case that lost most explains a loss or a missing number; of a low total it would say nothing.
                case = "" if bound == "value" and value is not None else result.worst
                found.append(Miss(task, metric, value, limit, case, bound))
    return tuple(found)


def _percent(lost: Optional[float], own: Optional[float]) -> Optional[float]:
    """What was lost in percent of the model's own value; of nothing, anything lost is all of it."""
    if lost is None or own is None:
        return None
    return round(100 * lost / abs(own), 7) if own else (100.0 if lost > 0 else 0.0)


def describe(miss: Miss) -> str:
    """'scores max_abs 0.031 > 0.02 on camera-480x640'."""
    where = f" on {miss.sample}" if miss.sample else ""
    if miss.found is None:
        return f"{miss.output} {miss.metric} has no number (limit {miss.limit:g}){where}"
    sign = "<" if miss.found < miss.limit else ">"
    lost = {"value": "", "degradation": "lost ", "percent degradation": "lost "}[miss.bound]
    if miss.bound != "value" and miss.sample:
        where = f", most on {miss.sample}"
    unit = "%" if miss.bound == "percent degradation" else ""
    digits = next((d for d in (4, 7) if float(f"{miss.found:.{d}g}") != float(f"{miss.limit:.{d}g}")), 12)
    numbers = f"{lost}{miss.found:.{digits}g}{unit} {sign} {miss.limit:.{digits}g}{unit}"
    return f"{miss.output} {miss.metric} {numbers}{where}"
