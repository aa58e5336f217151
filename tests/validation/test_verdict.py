"""Judging measurements: which limit applies, and what misses it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.actions.measurements import AT_LEAST, CaseScore, Latency, OutputParity, Percentiles, Score, TaskScores
from builder.config.cells import Cell
from builder.config.gates import Bound, Gate, Limit, MetricGate, OutputGate, TaskGate
from builder.store.manifest import Check, TaskResult, Verdict
from validation import verdict
from validation import verdict as gate_limits

CELL = Cell("tiny", "dense", "int8", "ort")
OUTPUTS = ("scores", "descriptors")


def row(output: str = "scores", sample: str = "a", **numbers: Any) -> OutputParity:
    return OutputParity(output, sample, None, **numbers)


def limits(*gates: Tuple[str, str, Dict[str, float]]) -> Dict[Tuple[str, str], float]:
    made = [Gate(select, (OutputGate(output, **numbers),)) for select, output, numbers in gates]
    found = gate_limits.limits_of(made, CELL, OUTPUTS, ())
    assert all((limit.level, limit.bound) == ("tensor", "value") for limit in found)
    return {(limit.subject, limit.metric): limit.value for limit in found}


def misses(rows: Sequence[OutputParity], limit_of: Dict[Tuple[str, str], float]) -> List[Check]:
    held = [Limit("tensor", output, metric, "value", value, "*") for (output, metric), value in limit_of.items()]
    return [check for check in verdict.checks(held, rows, (), None) if not check.kept]


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
        ("median_abs", 0.1, 0.2, True),
        ("mean_rel", 0.1, 0.2, True),
        ("median_rel", 0.1, 0.2, True),
        ("p99_rel", 0.1, 0.2, True),
        ("psnr_db", 30.0, 29.0, True),
        ("agreement", 0.99, 0.98, True),
        ("agreement", 0.99, 1.0, False),
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
    found = misses([row(**numbers)], {("scores", metric): limit})
    assert bool(found) == missed
    if missed:
        assert (found[0].found, found[0].limit, found[0].metric) == (value, limit, metric)


def test_every_metric_of_a_gate_is_tried_above() -> None:
    tried = {"max_abs", "mean_abs", "median_abs", "p99_abs", "max_rel", "mean_rel", "median_rel", "p99_rel"}
    assert set(gate_limits.METRICS) == tried | AT_LEAST


def test_a_miss_names_its_worst_sample() -> None:
    rows = [
        row(sample="a", max_abs=0.2, cosine=0.5),
        row(sample="b", max_abs=0.3, cosine=0.8),
        row("descriptors", max_abs=9.0),
    ]
    found = misses(rows, {("scores", "max_abs"): 0.1, ("scores", "cosine"): 0.9})
    assert [(m.metric, m.worst) for m in found] == [("max_abs", "b"), ("cosine", "a")]
    found = misses([*rows, row(sample="c", max_abs=0.0)], {("scores", "cosine"): 0.1})
    assert [(m.worst, m.found) for m in found] == [("c", None)], "a missing number is worse than any"


def test_a_set_without_pairs_is_judged_by_what_was_matched() -> None:
    assert misses([row(matched=0.0)], {("scores", "matched"): 0.9})
    assert not misses([row(matched=1.0)], {("scores", "matched"): 0.9, ("scores", "cosine"): 0.9})


def test_finding_nothing_again_never_passes() -> None:
    """Not one point of the reference was found: no other number exists, and none may be taken as met."""
    assert misses([row(matched=0.0)], {("scores", "cosine"): 0.9})
    assert misses(
        [row(matched=0.0), row(sample="b", max_abs=0.0, cosine=1.0, matched=1.0)], {("scores", "cosine"): 0.9}
    )


def test_an_output_that_was_never_measured_is_a_miss() -> None:
    assert misses([row(max_abs=0.0)], {("descriptors", "max_abs"): 1.0})


def test_problems_are_told_with_their_sample() -> None:
    rows = [OutputParity("scores", "a", "3 of 4 values are NaN or Inf"), row(max_abs=0.0)]
    assert verdict.problems(rows) == ("scores on a: 3 of 4 values are NaN or Inf",)


def test_describe() -> None:
    (miss,) = misses([row(max_abs=0.031)], {("scores", "max_abs"): 0.02})
    assert verdict.describe(miss) == "scores max_abs 0.031 > 0.02 on a, gate *"
    (miss,) = misses([row(max_abs=0.0)], {("scores", "cosine"): 0.9})
    assert "no number" in verdict.describe(miss)


def test_a_near_miss_is_told_with_enough_digits() -> None:
    (miss,) = misses([row(cosine=0.99989999, max_abs=0.0)], {("scores", "cosine"): 0.9999})
    assert "0.9999 < 0.9999" not in verdict.describe(miss)


# ------------------------------------------------------------------------------------------- tasks: which limits


def task_gate(select: str, task: str, metric: str, **limits_: float) -> Gate:
    return Gate(select, tasks=(TaskGate(task, (MetricGate(metric, **limits_),)),))


NAMES: Dict[Bound, str] = {
    "value": "threshold",
    "degradation": "max_degradation",
    "percent degradation": "percent_max_degradation",
}


def task_limits(*gates: Gate, tasks: Sequence[str] = ("views", "stereo")) -> Dict[Tuple[str, str], MetricGate]:
    """What is resolved, put together as it would be written."""
    given_: Dict[Tuple[str, str], Dict[str, float]] = {}
    for limit in gate_limits.limits_of(gates, CELL, (), tasks):
        assert limit.level == "task"
        given_.setdefault((limit.subject, limit.metric), {})[NAMES[limit.bound]] = limit.value
    return {at: MetricGate(at[1], **values) for at, values in given_.items()}


def task_misses(results: Sequence[TaskResult], wanted: Dict[Tuple[str, str], MetricGate]) -> List[Check]:
    gates = [Gate("*", tasks=(TaskGate(task, (metric,)),)) for (task, _), metric in wanted.items()]
    held = gate_limits.limits_of(gates, CELL, (), [task for task, _ in wanted])
    return [check for check in verdict.checks(held, (), results, None) if not check.kept]


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
    found = gate_limits.limits_of([gate], CELL, OUTPUTS, ["views"])
    assert [(limit.level, limit.subject, limit.value) for limit in found] == [
        ("tensor", "scores", 0.9),
        ("task", "views", 1),
    ]


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


def missed(result: Optional[TaskResult], **limits_: float) -> Dict[str, Optional[float]]:
    """bound -> what was found, of the limits that are missed."""
    results = [] if result is None else [result]
    found = task_misses(results, {("views", "m"): MetricGate("m", **limits_)})
    assert all((miss.subject, miss.metric, miss.limit) == ("views", "m", limits_[NAMES[miss.bound]]) for miss in found)
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
    found = task_misses([scored(0.1, 0.9)], gate)
    assert [(miss.bound, miss.worst) for miss in found] == [
        ("value", ""),
        ("degradation", "camera"),
        ("percent degradation", "camera"),
    ]
    silent = task_misses([scored(None, 0.9)], gate)
    assert [miss.worst for miss in silent] == ["camera"] * 3


def test_every_missed_metric_is_told_in_the_order_of_the_gates() -> None:
    limits_ = {("views", "n"): MetricGate("n", threshold=1), ("stereo", "m"): MetricGate("m", threshold=1)}
    results = [TaskResult("stereo", "m", 0.5, 0.5), TaskResult("views", "n", 0.5, 0.5), TaskResult("views", "m", 0, 0)]
    found = task_misses(results, limits_)
    assert [(miss.subject, miss.metric) for miss in found] == [("views", "n"), ("stereo", "m")]


# ------------------------------------------------------------------------------------------- tasks: against the model


def scores(total: Dict[str, Optional[float]], *cases: Tuple[str, Dict[str, Optional[float]]]) -> TaskScores:
    """Totals and the numbers of each case; a metric whose name ends in `error` is one."""
    return TaskScores(
        tuple(Score(name, value, name.endswith("error")) for name, value in total.items()),
        tuple(CaseScore(case, name, value) for case, row in cases for name, value in row.items()),
    )


def against(reference: TaskScores, candidate: TaskScores) -> List[Tuple[Optional[float], Optional[float], str]]:
    """(value, reference, worst) of each metric."""
    found = verdict.task_results("views", reference, candidate)
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
    (miss,) = task_misses(verdict.task_results("views", MODEL, candidate), wanted)
    assert verdict.describe(miss) == "views m has no number (limit 0.5) on b, gate *"


def test_a_case_for_which_the_model_has_no_number_asks_nothing_of_the_artifact() -> None:
    model = scores({"m": 0.7}, ("a", {"m": 0.7}), ("b", {"m": None}))
    for given_ in (None, 0.9):
        assert against(model, scores({"m": 0.6}, ("a", {"m": 0.6}), ("b", {"m": given_}))) == [(0.6, 0.7, "a")]


def test_a_metric_without_a_number_of_the_model_has_no_loss() -> None:
    (found,) = verdict.task_results("views", scores({"n": 1.0}), scores({"m": 0.6}))
    assert (found.value, found.reference, found.lost) == (0.6, None, None)


@pytest.mark.parametrize(("error", "lost"), [(False, 0.25), (True, -0.25)])
def test_what_is_lost_has_the_metrics_own_direction(error: bool, lost: float) -> None:
    assert TaskResult("views", "m", 0.5, 0.75, error).lost == lost


# ------------------------------------------------------------------------------------------- in words


def check(found: Optional[float], limit: float, worst: str = "", bound: Bound = "value", at_most: bool = True) -> Check:
    return Check("task", "views", "m", found, limit, at_most, "*", worst, bound)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (check(0.55, 0.6, at_most=False), "views m 0.55 < 0.6"),
        (check(0.6, 0.6, at_most=False), "views m 0.6 >= 0.6"),
        (check(2.5, 2), "views m 2.5 > 2"),
        (check(1.5, 2), "views m 1.5 <= 2"),
        (check(0.05, 0.02, "camera", "degradation"), "views m lost 0.05 > 0.02, most on camera"),
        (check(0.05, 0.02, "", "degradation"), "views m lost 0.05 > 0.02"),
        (check(7.5, 5, "camera", "percent degradation"), "views m lost 7.5% > 5%, most on camera"),
        (check(7.5, 5, "", "percent degradation"), "views m lost 7.5% > 5%"),
        (check(0.0200001, 0.02, "", "degradation"), "views m lost 0.0200001 > 0.02"),
        (check(1 / 3, 0.25, "", "degradation"), "views m lost 0.3333 > 0.25"),
        (check(None, 0.6), "views m has no number (limit 0.6)"),
        (check(None, 0.02, "camera", "degradation"), "views m has no number (limit 0.02) on camera"),
        (Check("tensor", "s", "cosine", 0.8, 0.9, False, "*", "camera-8x8"), "s cosine 0.8 < 0.9 on camera-8x8"),
        (
            Check("speed", "latency", "p50_ms", 12.5, 10, True, "*", "1x1x8x8", "percent degradation"),
            "latency p50_ms slower by 12.5% > 10% on 1x1x8x8",
        ),
    ],
)
def test_a_check_in_words(made: Check, words: str) -> None:
    assert verdict.describe(made) == f"{words}, gate *"


# ------------------------------------------------------------------------------------------- speed


def latency(artifact: float, naive: Optional[float], noise: Optional[float] = None) -> Latency:
    times = Percentiles(artifact, artifact * 1.25, artifact * 2, 30)
    beside = Percentiles(naive, naive, naive, 30) if naive else None
    return Latency(times, beside, (1, 1, 8, 8), 2, "machine", "in turns", noise)


def speed(measured: Optional[Latency], metric: str, **given_: float) -> Dict[Bound, Tuple[Optional[float], bool]]:
    """bound -> what was found, and whether it keeps its limit."""
    held = gate_limits.limits_of([Gate("*", speed=(MetricGate(metric, **given_),))], CELL, OUTPUTS, ())
    found = verdict.checks(held, (), (), measured)
    assert all((made.level, made.subject, made.metric) == ("speed", "latency", metric) for made in found)
    return {made.bound: (made.found, made.kept) for made in found}


def test_times_are_at_most_and_speedup_at_least() -> None:
    assert speed(latency(10, 20), "p50_ms", threshold=10) == {"value": (10, True)}
    assert speed(latency(10, 20), "p90_ms", threshold=12) == {"value": (12.5, False)}
    assert speed(latency(10, 20), "p99_ms", threshold=20) == {"value": (20, True)}
    assert speed(latency(10, 20), "speedup", threshold=2) == {"value": (2, True)}
    assert speed(latency(10, 20), "speedup", threshold=2.1) == {"value": (2, False)}


def test_what_is_lost_is_counted_against_the_naive_export() -> None:
    wanted = {"max_degradation": 1.0, "percent_max_degradation": 5.0}
    assert speed(latency(11, 10), "p50_ms", **wanted) == {
        "degradation": (1.0, True),
        "percent degradation": (10.0, False),
    }
    assert speed(latency(9, 10), "p50_ms", **wanted) == {
        "degradation": (-1.0, True),
        "percent degradation": (-10.0, True),
    }


def test_what_noise_does_by_itself_is_forgiven() -> None:
    """Five percent of noise: 10.4 ms may be 10 ms, 10.6 ms may not."""
    assert speed(latency(10.4, 20, 0.05), "p50_ms", threshold=10)["value"][1]
    assert not speed(latency(10.6, 20, 0.05), "p50_ms", threshold=10)["value"][1]
    assert speed(latency(10.4, 10, 0.05), "p50_ms", percent_max_degradation=0)["percent degradation"][1]
    assert not speed(latency(10.6, 10, 0.05), "p50_ms", percent_max_degradation=0)["percent degradation"][1]
    assert speed(latency(10.4, 20.8, 0.05), "speedup", threshold=2.09)["value"][1]
    assert not speed(latency(10.4, 20.8, 0.04), "speedup", threshold=2.09)["value"][1]


def test_what_was_not_timed_keeps_no_limit() -> None:
    assert speed(None, "p50_ms", threshold=10, max_degradation=1) == {
        "value": (None, False),
        "degradation": (None, False),
    }
    assert speed(latency(10, None), "speedup", threshold=2) == {"value": (None, False)}
    assert speed(latency(10, None), "p50_ms", percent_max_degradation=1) == {"percent degradation": (None, False)}


# ------------------------------------------------------------------------------------------- gates that only report


def test_a_gate_that_only_reports_does_not_loosen_one_that_decides() -> None:
    gates = [
        Gate("*", (OutputGate("scores", max_abs=0.1),)),
        Gate("*", (OutputGate("scores", max_abs=0.5, cosine=0.9),), report_only=True),
    ]
    found = {
        (limit.metric, limit.report_only): limit.value for limit in gate_limits.limits_of(gates, CELL, OUTPUTS, ())
    }
    assert found == {("max_abs", False): 0.1, ("max_abs", True): 0.5, ("cosine", True): 0.9}


def test_a_miss_that_is_only_reported_is_a_warning() -> None:
    held = [
        Limit("tensor", "scores", "max_abs", "value", 0.1, "*", True),
        Limit("tensor", "scores", "cosine", "value", 0.9, "*"),
    ]
    made = Verdict("passed", checks=verdict.checks(held, [row(max_abs=0.2, cosine=0.95)], (), None))
    assert [(check_.metric, check_.kept) for check_ in made.checks] == [("max_abs", False), ("cosine", True)]
    assert [check_.metric for check_ in made.warnings] == ["max_abs"]
    assert made.misses == ()
