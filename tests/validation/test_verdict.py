"""Judging measurements: which limit applies, and what misses it."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import pytest

from builder.cells import Cell
from builder.gates import Gate, OutputGate
from builder.measurements import OutputParity
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
