"""A task's metrics of an artifact beside the model's own on the same cases. Pure; judges nothing."""

from __future__ import annotations

from typing import List, Tuple

from builder.actions.measurements import TaskScores
from builder.store.manifest import TaskResult


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
