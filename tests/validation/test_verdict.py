"""Judging measurements: which limit applies, and what misses it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cells import Cell
from builder.gates import Gate, MetricGate, OutputGate, TaskGate
from builder.manifest import Miss, TaskResult
from builder.measurements import CaseScore, OutputParity, Score, TaskScores
from validation import verdict

CELL = Cell("tiny", "dense", "int8", "ort")
OUTPUTS = ("scores", "descriptors")


def row(output: str = "scores", sample: str = "a", **numbers: Any) -> OutputParity:
    return OutputParity(output, sample, None, **numbers)


def limits(*gates: Tuple[str, str, Dict[str, float]]) -> Dict[Tuple[str, str], float]:
    made = [Gate(select, (OutputGate(output, **numbers),)) for select, output, numbers in gates]
    return verdict.limits(made, CELL, OUTPUTS)


def test_only_gates_that_select_the_cell_apply() -> None:
    found = limits(("*-fp32-*", "*", {"max_abs": 1.0}), ("*-int8-*", "scores", {"cosine": 0.9}))
    assert found == {("scores", "cosine"): 0.9}


def test_a_star_is_every_output() -> None:
    assert limits(("*", "*", {"max_abs": 1.0})) == {(name, "max_abs"): 1.0 for name in OUTPUTS}


def test_later_gates_win_limit_by_limit() -> None:
    found = limits(
        ("*", "*", {"max_abs": 1.0, "cosine": 0.9}),
        ("*-int8-*", "scores", {"max_abs": 2.0}),
        ("*", "*", {"cosine": 0.5}),
    )
    assert found == {
        ("scores", "max_abs"): 2.0,
        ("scores", "cosine"): 0.5,
        ("descriptors", "max_abs"): 1.0,
        ("descriptors", "cosine"): 0.5,
    }


def test_outputs_of_another_head_do_not_apply() -> None:
    assert limits(("*", "keypoints", {"matched": 0.9})) == {}


@pytest.mark.parametrize(
    ("metric", "limit", "value", "missed"),
    [
        ("max_abs", 0.1, 0.1, False),
        ("max_abs", 0.1, 0.1000001, True),
        ("mean_abs", 0.1, 0.2, True),
        ("p99_abs", 0.1, 0.05, False),
        ("max_rel", 0.1, 0.2, True),
        ("cosine", 0.9, 0.9, False),
        ("cosine", 0.9, 0.89, True),
        ("snr_db", 30.0, 29.0, True),
        ("snr_db", 30.0, 999.0, False),
        ("matched", 0.9, 0.5, True),
        ("cosine", 0.9, None, True),
        ("max_rel", 0.1, None, True),
    ],
)
def test_errors_are_at_most_and_similarities_at_least(
    metric: str, limit: float, value: Optional[float], missed: bool
) -> None:
    numbers: Dict[str, Any] = {"max_abs": 0.0, metric: value}
    found = verdict.misses([row(**numbers)], {("scores", metric): limit})
    assert bool(found) == missed
    if missed:
        assert (found[0].found, found[0].limit, found[0].metric) == (value, limit, metric)


def test_every_metric_of_a_gate_is_tried_above() -> None:
    assert set(verdict.METRICS) == {"max_abs", "mean_abs", "p99_abs", "max_rel", "cosine", "snr_db", "matched"}


def test_a_miss_names_its_worst_sample() -> None:
    rows = [
        row(sample="a", max_abs=0.2, cosine=0.5),
        row(sample="b", max_abs=0.3, cosine=0.8),
        row("descriptors", max_abs=9.0),
    ]
    found = verdict.misses(rows, {("scores", "max_abs"): 0.1, ("scores", "cosine"): 0.9})
    assert [(m.metric, m.sample) for m in found] == [("max_abs", "b"), ("cosine", "a")]
    found = verdict.misses([*rows, row(sample="c", max_abs=0.0)], {("scores", "cosine"): 0.1})
    assert [(m.sample, m.found) for m in found] == [("c", None)], "a missing number is worse than any"


def test_a_set_without_pairs_is_judged_by_what_was_matched() -> None:
    assert verdict.misses([row(matched=0.0)], {("scores", "matched"): 0.9})
    assert not verdict.misses([row(matched=1.0)], {("scores", "matched"): 0.9, ("scores", "cosine"): 0.9})


def test_finding_nothing_again_never_passes() -> None:
    """Not one point of the reference was found: no other number exists, and none may be taken as met."""
    assert verdict.misses([row(matched=0.0)], {("scores", "cosine"): 0.9})
    assert verdict.misses(
        [row(matched=0.0), row(sample="b", max_abs=0.0, cosine=1.0, matched=1.0)], {("scores", "cosine"): 0.9}
    )


def test_an_output_that_was_never_measured_is_a_miss() -> None:
    assert verdict.misses([row(max_abs=0.0)], {("descriptors", "max_abs"): 1.0})


def test_problems_are_told_with_their_sample() -> None:
    rows = [OutputParity("scores", "a", "3 of 4 values are NaN or Inf"), row(max_abs=0.0)]
    assert verdict.problems(rows) == ("scores on a: 3 of 4 values are NaN or Inf",)


def test_describe() -> None:
    (miss,) = verdict.misses([row(max_abs=0.031)], {("scores", "max_abs"): 0.02})
    assert verdict.describe(miss) == "scores max_abs 0.031 > 0.02 on a"
    (miss,) = verdict.misses([row(max_abs=0.0)], {("scores", "cosine"): 0.9})
    assert "no number" in verdict.describe(miss)


def test_a_near_miss_is_told_with_enough_digits() -> None:
    (miss,) = verdict.misses([row(cosine=0.99989999, max_abs=0.0)], {("scores", "cosine"): 0.9999})
    assert "0.9999 < 0.9999" not in verdict.describe(miss)


# ------------------------------------------------------------------------------------------- tasks: which limits


def task_gate(select: str, task: str, metric: str, **limits_: float) -> Gate:
    return Gate(select, tasks=(TaskGate(task, (MetricGate(metric, **limits_),)),))


def task_limits(*gates: Gate, tasks: Sequence[str] = ("views", "stereo")) -> Dict[Tuple[str, str], MetricGate]:
    return verdict.task_limits(gates, CELL, tasks)


def test_only_task_gates_that_select_the_cell_apply() -> None:
    gates = (task_gate("*-fp32-*", "views", "m", threshold=1), task_gate("*-int8-*", "stereo", "n", max_degradation=2))
    assert task_limits(*gates) == {("stereo", "n"): MetricGate("n", max_degradation=2)}


def test_a_task_that_the_cell_is_not_scored_on_has_no_limits() -> None:
    """Its head is not among the task's, or the task's size lies outside its profiles."""
    gates = (task_gate("*", "views", "m", threshold=1), task_gate("*", "stereo", "m", threshold=1))
    assert list(task_limits(*gates, tasks=("stereo",))) == [("stereo", "m")]
    assert task_limits(*gates, tasks=()) == {}


def test_limits_on_outputs_and_on_tasks_do_not_mix() -> None:
    gate = Gate("*", (OutputGate("scores", cosine=0.9),), (TaskGate("views", (MetricGate("cosine", threshold=1),)),))
    assert verdict.limits([gate], CELL, OUTPUTS) == {("scores", "cosine"): 0.9}
    assert task_limits(gate) == {("views", "cosine"): MetricGate("cosine", threshold=1)}


def test_later_task_gates_win_limit_by_limit() -> None:
    found = task_limits(
        task_gate("*", "views", "m", threshold=0.5, max_degradation=0.1),
        task_gate("*", "views", "n", threshold=0.6),
        task_gate("*-int8-*", "views", "m", max_degradation=0.3, percent_max_degradation=5),
        task_gate("*-fp32-*", "views", "m", threshold=9),
        task_gate("*", "stereo", "m", threshold=0),
    )
    assert found == {
        ("views", "m"): MetricGate("m", threshold=0.5, max_degradation=0.3, percent_max_degradation=5),
        ("views", "n"): MetricGate("n", threshold=0.6),
        ("stereo", "m"): MetricGate("m", threshold=0),
    }


# ------------------------------------------------------------------------------------------- tasks: what misses


def scored(value: Optional[float], reference: Optional[float], *, error: bool = False) -> TaskResult:
    return TaskResult("views", "m", value, reference, error, "camera")


ALL_LIMITS: Dict[str, float] = {"threshold": 0.5, "max_degradation": 0.125, "percent_max_degradation": 25}
NAMES = {"value": "threshold", "degradation": "max_degradation", "percent degradation": "percent_max_degradation"}


def missed(result: Optional[TaskResult], **limits_: float) -> Dict[str, Optional[float]]:
    """bound -> what was found, of the limits that are missed."""
    results = [] if result is None else [result]
    found = verdict.task_misses(results, {("views", "m"): MetricGate("m", **limits_)})
    assert all((miss.output, miss.metric, miss.limit) == ("views", "m", limits_[NAMES[miss.bound]]) for miss in found)
    return {miss.bound: miss.found for miss in found}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (scored(0.5, 0.5), {}),
        (scored(0.75, 0.75), {}),
        (scored(0.49, 0.49), {"value": 0.49}),
        (scored(0.625, 0.75), {}),
        (scored(0.5, 0.625), {}),
        (scored(0.5, 0.75), {"degradation": 0.25, "percent degradation": pytest.approx(100 / 3)}),
        (scored(0.75, 1.0), {"degradation": 0.25}),
        (scored(2.75, 3.0), {"degradation": 0.25}),
        (scored(0.5, 0.67), {"degradation": pytest.approx(0.17), "percent degradation": pytest.approx(1700 / 67)}),
        (scored(0.9, 0.5), {}),
        (scored(0.25, 0.25, error=True), {}),
        (scored(0.5, 0.4, error=True), {}),
        (scored(0.51, 0.51, error=True), {"value": 0.51}),
        (scored(0.5, 0.375, error=True), {"percent degradation": pytest.approx(100 / 3)}),
        (scored(0.1, 0.5, error=True), {}),
        (scored(-0.5, -0.4), {"value": -0.5}),
        (scored(-0.75, -0.5), {"value": -0.75, "degradation": 0.25, "percent degradation": 50}),
        (scored(0.0, 0.0), {"value": 0.0}),
        (scored(-0.1, 0.0), {"value": -0.1, "percent degradation": 100}),
        (scored(0.1, 0.0), {"value": 0.1}),
        (scored(0.1, 0.0, error=True), {"percent degradation": 100}),
        (scored(None, 0.9), {"value": None, "degradation": None, "percent degradation": None}),
        (scored(0.9, None), {"degradation": None, "percent degradation": None}),
        (scored(None, None), {"value": None, "degradation": None, "percent degradation": None}),
        (None, {"value": None, "degradation": None, "percent degradation": None}),
    ],
)
def test_a_metric_misses_its_limits_each_by_itself(
    result: Optional[TaskResult], expected: Dict[str, Optional[float]]
) -> None:
    """At least 0.5 (at most, for an error), at most 0.125 lost, at most 25 % lost."""
    assert missed(result, **ALL_LIMITS) == expected
    for bound, name in NAMES.items():
        alone = {bound: expected[bound]} if bound in expected else {}
        assert missed(result, **{name: ALL_LIMITS[name]}) == alone
    assert missed(result) == {}


@pytest.mark.parametrize(
    ("limits_", "value", "reference"),
    [
        ({"max_degradation": 0.02}, 0.78, 0.8),
        ({"max_degradation": 0.03}, 0.67, 0.7),
        ({"percent_max_degradation": 5}, 0.76, 0.8),
        ({"percent_max_degradation": 10}, 0.63, 0.7),
    ],
)
def test_to_lose_exactly_the_limit_is_no_miss(limits_: Dict[str, float], value: float, reference: float) -> None:
    """In decimals: 0.8 - 0.78 is a little more than 0.02 in binary."""
    assert missed(scored(value, reference), **limits_) == {}


NUMBERS = st.floats(-1e6, 1e6)


@given(NUMBERS, NUMBERS, st.booleans())
def test_better_than_the_model_is_no_loss(one: float, two: float, error: bool) -> None:
    worse, better = (max(one, two), min(one, two)) if error else (min(one, two), max(one, two))
    none: Dict[str, float] = {"max_degradation": 0, "percent_max_degradation": 0}
    assert missed(scored(better, worse, error=error), **none) == {}
    assert missed(scored(one, one, error=error), **none) == {}


def test_a_loss_is_explained_by_a_case_and_a_low_value_is_not() -> None:
    gate = {("views", "m"): MetricGate("m", **ALL_LIMITS)}
    found = verdict.task_misses([scored(0.1, 0.9)], gate)
    assert [(miss.bound, miss.sample) for miss in found] == [
        ("value", ""),
        ("degradation", "camera"),
        ("percent degradation", "camera"),
    ]
    silent = verdict.task_misses([scored(None, 0.9)], gate)
    assert [miss.sample for miss in silent] == ["camera"] * 3


def test_every_missed_metric_is_told_in_the_order_of_the_gates() -> None:
    limits_ = {("views", "n"): MetricGate("n", threshold=1), ("stereo", "m"): MetricGate("m", threshold=1)}
    results = [TaskResult("stereo", "m", 0.5, 0.5), TaskResult("views", "n", 0.5, 0.5), TaskResult("views", "m", 0, 0)]
    found = verdict.task_misses(results, limits_)
    assert [(miss.output, miss.metric) for miss in found] == [("views", "n"), ("stereo", "m")]


# ------------------------------------------------------------------------------------------- tasks: against the model


def scores(total: Dict[str, Optional[float]], *cases: Tuple[str, Dict[str, Optional[float]]]) -> TaskScores:
    """Totals and the numbers of each case; a metric whose name ends in `error` is one."""
    return TaskScores(
        tuple(Score(name, value, name.endswith("error")) for name, value in total.items()),
        tuple(CaseScore(case, name, value) for case, row in cases for name, value in row.items()),
    )


def against(reference: TaskScores, candidate: TaskScores) -> List[Tuple[Optional[float], Optional[float], str]]:
    """(value, reference, worst) of each metric."""
    found = verdict.against("views", reference, candidate)
    assert [row.metric for row in found] == [score.metric for score in candidate.scores]
    assert all(row.task == "views" and row.lower_is_better == row.metric.endswith("error") for row in found)
    return [(row.value, row.reference, row.worst) for row in found]


MODEL = scores(
    {"m": 0.7, "m_error": 2.0},
    ("a", {"m": 0.8, "m_error": 1.0}),
    ("b", {"m": 0.6, "m_error": 2.0}),
    ("c", {"m": 0.7, "m_error": 3.0}),
)


def test_an_artifact_stands_beside_the_model_with_its_worst_case() -> None:
    candidate = scores(
        {"m": 0.5, "m_error": 2.5},
        ("a", {"m": 0.75, "m_error": 1.1}),
        ("b", {"m": 0.3, "m_error": 1.9}),
        ("c", {"m": 0.65, "m_error": 4.5}),
    )
    assert against(MODEL, candidate) == [(0.5, 0.7, "b"), (2.5, 2.0, "c")]


def test_where_nothing_was_lost_there_is_no_worst_case() -> None:
    assert against(MODEL, MODEL) == [(0.7, 0.7, ""), (2.0, 2.0, "")]
    better = scores({"m": 0.9, "m_error": 0.5}, *((case, {"m": 0.9, "m_error": 0.5}) for case in "abc"))
    assert against(MODEL, better) == [(0.9, 0.7, ""), (0.5, 2.0, "")]


def test_a_metric_that_only_the_total_has_names_no_case() -> None:
    model = scores({"iou": 0.7}, ("a", {"hits": 7.0}))
    assert against(model, scores({"iou": 0.6}, ("a", {"hits": 6.0}))) == [(0.6, 0.7, "")]


@pytest.mark.parametrize("row", [{"m": None, "m_error": 2.0}, {"m_error": 2.0}], ids=["none", "missing"])
def test_an_artifact_that_is_silent_on_a_case_is_not_judged_by_the_others(row: Dict[str, Optional[float]]) -> None:
    """The mean over the cases that it can do would look better than the whole."""
    candidate = scores(
        {"m": 0.9, "m_error": 2.0}, ("a", {"m": 0.9, "m_error": 1.0}), ("b", row), ("c", {"m": 0.7, "m_error": 3.0})
    )
    assert against(MODEL, candidate) == [(None, 0.7, "b"), (2.0, 2.0, "")]
    wanted = {("views", "m"): MetricGate("m", threshold=0.5)}
    (miss,) = verdict.task_misses(verdict.against("views", MODEL, candidate), wanted)
    assert verdict.describe(miss) == "views m has no number (limit 0.5) on b"


def test_a_case_for_which_the_model_has_no_number_asks_nothing_of_the_artifact() -> None:
    model = scores({"m": 0.7}, ("a", {"m": 0.7}), ("b", {"m": None}))
    for given_ in (None, 0.9):
        assert against(model, scores({"m": 0.6}, ("a", {"m": 0.6}), ("b", {"m": given_}))) == [(0.6, 0.7, "a")]


def test_a_metric_without_a_number_of_the_model_has_no_loss() -> None:
    (found,) = verdict.against("views", scores({"n": 1.0}), scores({"m": 0.6}))
    assert (found.value, found.reference, found.lost) == (0.6, None, None)


@pytest.mark.parametrize(("error", "lost"), [(False, 0.25), (True, -0.25)])
def test_what_is_lost_has_the_metrics_own_direction(error: bool, lost: float) -> None:
    assert TaskResult("views", "m", 0.5, 0.75, error).lost == lost


# ------------------------------------------------------------------------------------------- tasks: in words


@pytest.mark.parametrize(
    ("miss", "words"),
    [
        (Miss("views", "m", 0.55, 0.6, ""), "views m 0.55 < 0.6"),
        (Miss("views", "m_error", 2.5, 2, ""), "views m_error 2.5 > 2"),
        (Miss("views", "m", 0.05, 0.02, "camera", "degradation"), "views m lost 0.05 > 0.02, most on camera"),
        (Miss("views", "m", 0.05, 0.02, "", "degradation"), "views m lost 0.05 > 0.02"),
        (Miss("views", "m", 7.5, 5, "camera", "percent degradation"), "views m lost 7.5% > 5%, most on camera"),
        (Miss("views", "m", 7.5, 5, "", "percent degradation"), "views m lost 7.5% > 5%"),
        (Miss("views", "m", 0.0200001, 0.02, "", "degradation"), "views m lost 0.0200001 > 0.02"),
        (Miss("views", "m", 1 / 3, 0.25, "", "degradation"), "views m lost 0.3333 > 0.25"),
        (Miss("views", "m", None, 0.6, ""), "views m has no number (limit 0.6)"),
        (Miss("views", "m", None, 0.02, "camera", "degradation"), "views m has no number (limit 0.02) on camera"),
        (Miss("scores", "cosine", 0.8, 0.9, "camera-8x8"), "scores cosine 0.8 < 0.9 on camera-8x8"),
    ],
)
def test_a_miss_in_words(miss: Miss, words: str) -> None:
    assert verdict.describe(miss) == words
