"""Judging a sweep: sizes inside fail the cell, sizes outside are told."""

from __future__ import annotations

from typing import Optional, Tuple

from builder.actions.measurements import OutputParity, Percentiles, SweepPoint, SweepRow, Swept
from builder.config.gates import Limit
from validation import verdict

LIMITS = (
    Limit("tensor", "scores", "max_abs", "value", 0.1, "*-int8-*"),
    Limit("tensor", "scores", "cosine", "value", 0.9, "*", report_only=True),
    Limit("task", "views", "recall", "value", 0.5, "*"),
    Limit("speed", "latency", "p50_ms", "value", 1.0, "*"),
)


def row(
    size: Tuple[int, int],
    max_abs: Optional[float] = 0.05,
    *,
    inside: bool = True,
    problem: Optional[str] = None,
    refused: str = "",
    model_refused: str = "",
) -> SweepRow:
    point = SweepPoint(size, "opt" if inside else "wider than max", inside)
    if refused or model_refused:
        return SweepRow(point, refused=refused, model_refused=model_refused)
    found = OutputParity("scores", f"a-{point.named}", problem, max_abs=None if problem else max_abs, cosine=0.95)
    return SweepRow(point, (found,), Percentiles(2.0, 2.0, 2.0, 3) if inside else None)


def swept(*rows: SweepRow) -> Swept:
    return Swept(rows, "a.png", 0.5, 0, "a laptop")


def test_every_limit_on_a_tensor_is_judged_at_its_worst_size_and_no_other_limit() -> None:
    found = verdict.sweep_checks(
        LIMITS, swept(row((8, 8)), row((16, 8), 0.2), row((8, 16), 0.07), row((8, 24), 9, inside=False))
    )
    assert [(c.level, c.subject, c.metric, c.found, c.worst, c.kept) for c in found] == [
        ("sweep", "scores", "max_abs", 0.2, "16x8", False),
        ("sweep", "scores", "cosine", 0.95, "8x8", True),
    ]
    assert [c.report_only for c in found] == [False, True]


def test_a_size_inside_without_an_answer_is_a_problem_in_its_own_words() -> None:
    made = swept(
        row((8, 8)),
        row((16, 8), refused="out of memory"),
        row((8, 16), model_refused="odd size"),
        row((24, 8), problem="3 of 4 values are NaN or Inf"),
        row((8, 24), refused="too wide", inside=False),
    )
    assert verdict.sweep_problems(made) == (
        "16x8: refused: out of memory",
        "8x16: the model itself refuses: odd size",
        "24x8: scores: 3 of 4 values are NaN or Inf",
    )


def told(one: SweepRow) -> Tuple[str, str]:
    return verdict.told_of(one, verdict.sweep_checks(LIMITS, swept(row((8, 8)))))


def test_what_becomes_of_a_size() -> None:
    assert told(row((8, 8))) == ("passed", "")
    assert told(row((8, 8), 0.2)) == ("failed", "scores max_abs 0.2 > 0.1, gate *-int8-*")
    assert told(row((8, 8), refused="no memory")) == ("failed", "refused: no memory")
    assert told(row((8, 8), inside=False)) == ("answers", "")
    assert told(row((8, 8), 0.2, inside=False)) == ("differs", "scores max_abs 0.2 > 0.1, gate *-int8-*")
    assert told(row((8, 8), problem="shape [1] where the reference has [2]", inside=False))[0] == "differs"
    assert told(row((8, 8), refused="too wide", inside=False)) == ("refuses", "too wide")
    both = row((8, 8), refused="too wide", model_refused="odd", inside=False)
    assert told(both) == ("refuses", "too wide; the model itself does too")
    answers = row((8, 8), model_refused="odd", inside=False)
    assert told(answers) == ("differs", "the model itself refuses: odd")


def test_an_answer_outside_that_is_not_the_models_is_a_finding_and_no_problem() -> None:
    made = swept(row((8, 8)), row((8, 16), 0.5, inside=False), row((8, 24), inside=False))
    checks = verdict.sweep_checks(LIMITS, made)
    assert all(check.kept for check in checks)
    assert verdict.sweep_problems(made) == ()
    assert verdict.sweep_findings(made, checks) == ("8x16 (wider than max): scores max_abs 0.5 > 0.1, gate *-int8-*",)


def test_in_a_line() -> None:
    made = swept(
        row((8, 8)), row((16, 8), 0.2), row((8, 16), 0.5, inside=False), row((8, 24), refused="no", inside=False)
    )
    said = verdict.sweep_line(made, verdict.sweep_checks(LIMITS, made))
    assert said == "2 sizes, failed at 16x8; outside 1 refuses, 1 differs; 15625 to 31250 ms per megapixel"


def test_without_a_gate_only_answers_are_judged() -> None:
    made = swept(row((8, 8), 9.0), row((8, 16), 9.0, inside=False))
    assert verdict.sweep_checks((), made) == ()
    assert [verdict.told_of(one, ())[0] for one in made.rows] == ["passed", "answers"]
