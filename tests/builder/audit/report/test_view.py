"""What is computed for the page: axes, margins, fronts, and the first sentence."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.audit.report import cells, charts
from builder.audit.report.cells import cell_rows, overview
from builder.audit.report.speed import TimedCell, pareto, speeds
from builder.store.manifest import Check
from tests import fakes
from tests.builder.audit.report.conftest import measured, version

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-6)

# ---------------------------------------------------------------------------------------------- axes


@example([90909091.0], False)
@given(st.lists(NUMBERS, min_size=1, max_size=8), st.booleans())
def test_every_value_lies_inside_its_axis_and_ticks_ascend(values: List[float], zero: bool) -> None:
    axis = charts.linear(values, 50, 400, zero=zero)
    assert all(49.9 <= axis.place(value) <= 400.1 for value in values)
    assert 2 <= len(axis.ticks) <= 8
    assert [tick.at for tick in axis.ticks] == sorted({tick.at for tick in axis.ticks})
    assert len({tick.label for tick in axis.ticks}) == len(axis.ticks), [tick.label for tick in axis.ticks]


def test_ticks_are_round_and_y_grows_upwards() -> None:
    axis = charts.linear([133.3, 451.7], 0, 100, zero=True)
    assert [tick.label for tick in axis.ticks] == ["0", "100", "200", "300", "400", "500"]
    assert charts.linear([0.1, 0.2], 200, 10).place(0.2) < charts.linear([0.1, 0.2], 200, 10).place(0.1)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.74559, "0.746"), (7e-6, "7.0e-06"), (1234.5, "1,230"), (-0.0125, "-0.0125"), (2.5e7, "2.50e+07")],
)
def test_numbers_are_short(value: float, said: str) -> None:
    assert charts.short(value) == said


# ---------------------------------------------------------------------------------------------- margins


def check(found: Optional[float], limit: float, **changes: object) -> Check:
    bare = Check("tensor", "scores", "max_abs", found, limit, True, "*")
    return dataclasses.replace(bare, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "own", "used"),
    [
        (check(0.04, 0.1), None, 0.4),
        (check(0.2, 0.1), None, 2.0),
        (check(0.0, 0.0), None, 0.0),
        (check(0.1, 0.0), None, cells.BEYOND),
        (check(None, 0.1), None, cells.BEYOND),
        (check(0.999, 0.99, metric="cosine", at_most=False), None, 0.1),
        (check(0.98, 0.99, metric="cosine", at_most=False), None, 2.0),
        (check(60.0, 30.0, metric="snr_db", at_most=False), None, 0.5),
        (check(-0.5, 0.02, level="task", bound="degradation"), 0.7, 0.0),  # better than the model
        (check(0.01, 0.02, level="task", bound="degradation"), 0.7, 0.5),
        (check(0.75, 0.6, level="task", at_most=False), 0.8, 0.25),  # a quarter of the way to the limit
        (check(0.9, 0.6, level="task", at_most=False), 0.8, 0.0),
        (check(0.5, 0.6, level="task", at_most=False), 0.8, 1.5),
        (check(0.5, 0.6, level="task", at_most=False), 0.55, 1.2),  # the model itself misses it
        (check(3.0, 5.0, level="task"), 2.0, 1 / 3),  # an error, at most
        (check(1.0, 1.0, level="arithmetic", at_most=False), None, 0.0),  # every layer as declared: no near miss
        (check(0.5, 1.0, level="arithmetic", at_most=False), None, 2.0),
    ],
)
def test_the_share_of_a_gate_that_is_used(one: Check, own: Optional[float], used: float) -> None:
    assert cells.share_used(one, own) == pytest.approx(used)


def test_a_missed_gate_never_reads_as_kept() -> None:
    for found, said in ((0.1000001, "101 %"), (0.0999999, "100 %"), (99.0, "over 9900 %")):
        one = check(found, 0.1)
        assert cells.margin_share(cells.Margin(one, cells.share_used(one))) == said


def test_the_gate_that_decides_comes_first() -> None:
    entry = measured("dense", "int8", "cpu_b", failed=True)
    first, *rest = cells.margins_of(entry)
    assert (first.check.metric, first.check.kept) == ("max_abs", False)
    assert rest[-1].check.report_only


# ---------------------------------------------------------------------------------------------- fronts


def timed(cell: str, p50: float, accuracy: float) -> TimedCell:
    return TimedCell(cell, "a", "fp32", "passed", p50, accuracy)


def names(front: Tuple[TimedCell, ...]) -> str:
    return "".join(cell.cell for cell in front)


def test_the_front_holds_what_nothing_else_beats() -> None:
    cells = [timed("a", 1, 0.5), timed("b", 2, 0.7), timed("c", 3, 0.6), timed("d", 4, 0.9), timed("e", 2, 0.65)]
    assert names(pareto(cells)) == "abd"
    assert names(pareto(cells, lower_is_better=True)) == "a"
    assert names(pareto([timed("a", 1, 0.5), timed("b", 1, 0.5)])) == "ab"
    assert pareto([]) == ()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_off_the_front_something_is_better_and_on_it_nothing_is(points: List[Tuple[int, int]]) -> None:
    cells = [timed(f"{i:02}", *point) for i, point in enumerate(points)]
    front = {cell.cell for cell in pareto(cells)}

    def beats(a: TimedCell, b: TimedCell) -> bool:
        return (a.p50 <= b.p50 and a.accuracy >= b.accuracy) and (a.p50, a.accuracy) != (b.p50, b.accuracy)

    assert front
    for cell in cells:
        assert (cell.cell in front) == (not any(beats(other, cell) for other in cells))


def test_charts_are_per_head_and_target_and_failed_cells_are_not_on_the_front() -> None:
    first = speeds(version(), 12)[0]
    assert first.accuracy.title == "good value"  # it has a gate that counts; what is only scored comes later
    assert [(c.head, c.target) for c in first.charts] == [
        (h, t) for h in ("dense", "points") for t in ("cpu_a", "cpu_b")
    ]
    a, b = first.charts[:2]
    assert len(a.marks) == len(b.marks) == 3
    assert a.fronted == ("tiny-dense-int8-cpu_a", "tiny-dense-fp16-cpu_a", "tiny-dense-fp32-cpu_a")
    assert b.fronted == ("tiny-dense-fp16-cpu_b", "tiny-dense-fp32-cpu_b")


def test_times_of_different_machines_have_no_front() -> None:
    one, two = measured("dense", "fp32", "cpu_a"), measured("dense", "fp16", "cpu_a")
    assert two.latency is not None
    moved = dataclasses.replace(two, latency=dataclasses.replace(two.latency, machine="another"))
    chart = speeds(fakes.manifest(one, moved), 1)[0].charts[0]
    assert chart.fronted == () and chart.front == "" and "different machines" in chart.why_no_front


# ---------------------------------------------------------------------------------------------- words


def test_the_sentence_counts() -> None:
    assert overview(version(heads=("dense",))).sentence == (
        "5 of 9 cells passed, 1 failed. 1 is built but not verified, 1 waits for another machine, 1 is ruled out."
    )
    assert overview(fakes.manifest(fakes.entry())).sentence == "1 of 1 cell passed, none failed."


def test_the_heat_map_has_every_cell_once_and_a_hole_where_none_was_planned() -> None:
    found = version(heads=("dense",))
    made = overview(dataclasses.replace(found, entries=found.entries[1:]))
    squares = [square for row in made.rows for square in row.squares]
    assert [s.cell for s in squares if s] and len([s for s in squares if s]) == 8 and squares.count(None) == 1
    failed = next(s for s in squares if s and s.verdict == "failed")
    assert (failed.share, failed.gate, failed.bar) == ("200 %", "scores max_abs", 100)


def test_fastest_is_the_fastest_that_passed() -> None:
    fastest = overview(version()).fastest
    assert [one.cell for one in fastest] == ["tiny-dense-int8-cpu_a", "tiny-points-int8-cpu_a"]


def test_without_details_only_what_failed_keeps_its_numbers() -> None:
    rows = cell_rows(version(), detailed=False)
    assert all(bool(row.checks) == (row.verdict == "failed") for row in rows)
    assert any(row.checks for row in rows)
