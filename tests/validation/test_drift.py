"""The ledger on manifests made up for it: noise, limits, creep, what is lost, what cannot be compared, and its laws."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.actions.measurements import OutputParity, SweepPoint, SweepRow, Swept
from builder.audit import causes
from builder.audit import ledger as drift
from builder.audit.drift_limits import Allowances, check, usual_limit
from builder.audit.history import Cause, Ledger, Metric, MetricLine, Version, readings
from builder.config.gates import DriftLimit, DriftLimits, MetricLimit, names_metric, parse_drift_limit
from builder.errors import UsageError
from builder.platforms.platform import Pinned, Platform
from builder.records import from_json, to_json
from builder.store.manifest import Entry, TaskResult
from builder.store.provenance import Chain, JobLink, Provenance, StepRecord
from tests.fakes import entry, manifest

CELL = "tiny-dense-fp32-ort"
PLATFORM = Platform("onnxruntime", "1.23.2", "linux", "x86_64")


def version(number: int, *entries: Entry) -> Version:
    return Version(manifest(*entries, version=number))


def with_task(value: Optional[float], reference: float = 0.8, *, error: bool = False) -> Entry:
    return dataclasses.replace(entry(p50=None), tasks=(TaskResult("views", "m", value, reference, error, "camera"),))


def with_rows(*rows: OutputParity) -> Entry:
    return dataclasses.replace(entry(p50=None), parity=rows)


def timed(p50: float, naive: Optional[float] = 8.0, *, noise: Optional[float] = None, on: str = "here") -> Entry:
    made = entry(p50=p50, naive=naive, measured_on=on)
    assert made.latency is not None
    return dataclasses.replace(made, latency=dataclasses.replace(made.latency, noise=noise))


def ledger(*entries: Sequence[Entry], limit: Optional[str] = None, against: Optional[int] = None) -> Ledger:
    """Of versions 1, 2, ... with the usual limits, or `limit` for everything."""
    of = Allowances().of if limit is None else lambda cell, metric, timed: parse_drift_limit(limit, "")
    return drift.ledger([version(n, *some) for n, some in enumerate(entries, 1)], of, against=against)


def line(made: Ledger, metric: str) -> MetricLine:
    (found,) = [n for n in made.lines if n.metric == metric]
    return found


# ------------------------------------------------------------------------------------------- readings


def test_a_tensor_is_read_at_its_worst_sample() -> None:
    rows = [OutputParity("scores", s, None, max_abs=a, cosine=c) for s, a, c in (("x", 0.1, 0.9), ("y", 0.2, 0.99))]
    found = readings(with_rows(*rows))
    assert (found["scores.max_abs"].value, found["scores.max_abs"].where) == (0.2, "y")
    assert (found["scores.cosine"].value, found["scores.cosine"].where) == (0.9, "x")
    assert "scores.matched" not in found, "what was not measured is not read"


def test_tensors_that_could_not_be_compared_have_no_number() -> None:
    good, bad = (
        OutputParity("scores", "x", None, max_abs=0.1),
        OutputParity("scores", "y", "3 of 9 values are NaN or Inf"),
    )
    found = readings(with_rows(good, bad))["scores.max_abs"]
    assert (found.value, found.where) == (None, "y: 3 of 9 values are NaN or Inf")


def test_every_statistic_of_parity_is_read() -> None:
    numbers = {f.name: 0.5 for f in dataclasses.fields(OutputParity) if f.name not in ("output", "sample", "problem")}
    found = readings(with_rows(OutputParity("scores", "x", None, **numbers)))  # type: ignore[arg-type]
    assert {f"scores.{name}" for name in numbers} <= set(found)
    assert found["scores.cosine"].metric.better == "more" and found["scores.max_abs"].metric.better == "less"


def swept(*refused: str) -> Entry:
    """Swept at three sizes inside and one outside; `refused` at those inside that are named so."""
    sizes = [((64, 64), True), ((80, 96), True), ((96, 96), True), ((8, 8), False)]
    rows = [
        SweepRow(point, () if point.named in refused else (OutputParity("scores", "x", None, max_abs=point.size[0] / 1000),),
                 refused="no" if point.named in refused or not inside else "")
        for point, inside in ((SweepPoint(size, "drawn", inside), inside) for size, inside in sizes)
    ]  # fmt: skip
    return dataclasses.replace(entry(), sweep=Swept(tuple(rows), "x.png", 0.5, 0, "here"))


def test_a_sweep_is_read_at_its_worst_size_and_by_what_it_answers() -> None:
    found = readings(swept("80x96"))
    assert found["sweep.scores.max_abs"].value == 0.096
    assert found["sweep.answered"].value == pytest.approx(2 / 3)
    assert found["sweep.answered"].where == "80x96: no"
    made = ledger([swept()], [swept("80x96")])
    assert (line(made, "sweep.answered").state, line(made, "sweep.scores.max_abs").state) == ("beyond", "same")


# ------------------------------------------------------------------------------------------- judging


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (0.75, 0.75, "same"),
        (0.75, 0.74, "worse"),
        (0.75, 0.73, "worse"),
        (0.75, 0.72, "beyond"),
        (0.75, 0.78, "better"),
    ],
)
def test_a_task_metric_is_held_to_its_limit(before: float, after: float, state: str) -> None:
    found = line(ledger([with_task(before)], [with_task(after)]), "views.m")
    assert found.state == state
    assert found.worse == pytest.approx(before - after)
    assert found.lost == pytest.approx(0.8 - after)


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        (3.0, 2.0, 33.3333),
        (3.0, 4.0, -33.3333),
        (-2.0, -2.5, 25.0),
        (0.5, 0.5, 0.0),
        (0.0, -0.5, None),
        (0.5, None, None),
    ],
)
def test_percent_is_of_the_size_of_the_number_before(
    before: float, after: Optional[float], percent: Optional[float]
) -> None:
    assert line(ledger([with_task(before)], [with_task(after)]), "views.m").percent == percent


def test_only_a_task_metric_is_held_against_the_model() -> None:
    """The reference of a speed-up is the naive export, not the model."""
    made = ledger([timed(4.0)])
    assert {one.metric: one.lost for one in made.lines if one.points[-1].reference} == {"latency.speedup": None}


def test_of_an_error_more_is_worse() -> None:
    found = line(ledger([with_task(1.0, error=True)], [with_task(1.2, error=True)]), "views.m")
    assert (found.state, found.limit, found.percent) == ("beyond", "10%", pytest.approx(20))
    assert line(ledger([with_task(1.0, error=True)], [with_task(0.5, error=True)]), "views.m").state == "better"


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ((4.0, 8.0), (4.2, 8.0), "same"),  # within 2 x 10 %: no noise was measured
        ((4.0, 8.0), (8.0, 16.0), "same"),  # a machine that was busy: twice as slow beside a yardstick twice as slow
        ((4.0, 8.0), (6.0, 8.0), "beyond"),
        ((4.0, 8.0), (2.0, 8.0), "better"),
    ],
)
def test_speed_is_judged_beside_its_yardstick(before: Any, after: Any, state: str) -> None:
    made = ledger([timed(*before)], [timed(*after)])
    assert line(made, "latency.speedup").state == state
    assert line(made, "latency.p50_ms").limit == "", "the time itself has no limit where there is a yardstick"


def test_without_a_yardstick_the_time_itself_is_judged() -> None:
    assert line(ledger([timed(4.0, None)], [timed(6.0, None)]), "latency.p50_ms").state == "beyond"


def test_measured_noise_decides_what_is_a_move() -> None:
    assert line(ledger([timed(4.0, noise=0.01)], [timed(4.4, noise=0.01)]), "latency.speedup").state == "worse"
    assert line(ledger([timed(4.0, noise=0.2)], [timed(5.2, noise=0.2)]), "latency.speedup").state == "same"


def test_a_change_that_drowns_in_noise_is_said_to_do_so() -> None:
    found = line(ledger([timed(4.0, noise=0.5)], [timed(6.0, noise=0.5)]), "latency.speedup")
    assert (found.state, found.said) == ("same", "0.6667 worse, but its noise is 1.667: measure longer")


def test_times_of_another_machine_do_not_compare() -> None:
    made = ledger([timed(4.0)], [timed(9.0, on="there")])
    assert {line(made, name).state for name in ("latency.p50_ms", "latency.speedup")} == {"unlike"}
    assert "here" in line(made, "latency.speedup").said and "there" in line(made, "latency.speedup").said
    assert made.beyond == ()


def test_above_rounding_all_decibels_are_equal() -> None:
    rows = [[with_rows(OutputParity("scores", "x", None, snr_db=db))] for db in (999.0, 118.0, 85.0)]
    assert line(ledger(*rows[:2]), "scores.snr_db").state == "same"
    assert line(ledger(*rows[1:]), "scores.snr_db").state == "beyond", "a silent bf16"


def test_a_number_that_is_lost_is_beyond_any_limit() -> None:
    made = ledger([with_task(0.75)], [with_task(None)])
    assert line(made, "views.m").state == "beyond"
    assert "has no number in v2: camera" in line(made, "views.m").said
    assert line(ledger([with_task(0.75)], [with_task(None)], limit="off"), "views.m").state == "gone"


def test_a_cell_that_passed_must_pass() -> None:
    failed, waiting = entry(status="failed"), entry(status="waiting", artifact=False, p50=None)
    found = line(ledger([entry()], [failed]), "verdict")
    assert (found.state, found.said) == ("beyond", "passed in v1, failed in v2: why it is failed")
    assert line(ledger([entry()], [waiting]), "verdict").state == "beyond"
    assert line(ledger([failed], [waiting]), "verdict").state == "same"
    assert line(ledger([failed], [entry()]), "verdict").state == "better"


def test_a_cell_that_is_gone_is_told() -> None:
    made = ledger([entry(), entry("tiny-dense-fp16-ort")], [entry()])
    gone = next(n for n in made.lines if n.cell == "tiny-dense-fp16-ort" and n.metric == "verdict")
    assert (gone.state, gone.said) == ("beyond", "passed in v1, not in v2")
    assert next(c for c in made.cells if c.cell == "tiny-dense-fp16-ort").verdict == "gone"
    skipped = entry("tiny-dense-fp16-ort", status="skipped", artifact=False, p50=None)
    assert ledger([entry(), skipped], [entry()]).beyond == ()


def test_a_new_cell_is_new() -> None:
    made = ledger([entry()], [entry(), entry("tiny-dense-fp16-ort")])
    assert {n.state for n in made.lines if n.cell == "tiny-dense-fp16-ort"} == {"new"}


# ------------------------------------------------------------------------------------------- over the versions


def test_the_version_where_it_moved_is_named() -> None:
    made = ledger(*([with_task(v)] for v in (0.8, 0.8, 0.75, 0.75, 0.75)), against=1)
    found = line(made, "views.m")
    assert (found.moved, [(m.since, m.version) for m in found.moves]) == (3, [(2, 3)])
    assert found.moves[0].worse == pytest.approx(0.05)


_NO_READING = with_rows()
_NO_NUMBER = with_task(None)


@pytest.mark.parametrize(
    ("entries", "moves"),
    [
        ([with_task(0.8), _NO_NUMBER, _NO_NUMBER], [(1, 2, 0.8, None, None)]),
        ([with_task(0.8), _NO_READING, _NO_READING], [(1, 2, 0.8, None, None)]),
        ([with_task(0.8), with_task(0.7), _NO_NUMBER], [(1, 2, 0.8, 0.7, 0.1), (2, 3, 0.7, None, None)]),
        ([with_task(0.8), with_task(0.8 - 1e-7), _NO_NUMBER], [(2, 3, 0.8 - 1e-7, None, None)]),
        ([_NO_NUMBER, with_task(0.8), with_task(0.7)], [(1, 2, None, 0.8, None), (2, 3, 0.8, 0.7, 0.1)]),
        ([_NO_READING, with_task(0.8), with_task(0.7)], [(2, 3, 0.8, 0.7, 0.1)]),
        ([_NO_NUMBER, _NO_NUMBER, with_task(0.8)], [(2, 3, None, 0.8, None)]),
        ([with_task(0.8), _NO_NUMBER, with_task(0.8)], [(1, 2, 0.8, None, None)]),
        ([with_task(0.8), _NO_NUMBER, with_task(0.7)], [(1, 2, 0.8, None, None), (2, 3, 0.8, 0.7, 0.1)]),
    ],
)
def test_a_number_that_is_lost_or_found_has_moved(entries: List[Entry], moves: List[Tuple[Any, ...]]) -> None:
    """A number is lost once. One that is found again is held against its last value; a new metric has not moved."""
    found = line(ledger(*([one] for one in entries), against=1), "views.m")
    assert [(m.since, m.version, m.before, m.after, m.worse) for m in found.moves] == moves


def test_small_steps_pile_up_to_creep() -> None:
    values = [0.80, 0.79, 0.78, 0.77, 0.76]
    for count in range(2, 6):
        found = line(ledger(*([with_task(v)] for v in values[:count])), "views.m")
        assert found.state == ("worse" if count < 4 else "beyond"), count
    assert found.creep == pytest.approx(0.04)
    assert "0.04 worse since v1 in steps that were each within 0.02" in found.said


def test_a_step_that_was_beyond_by_itself_starts_the_creep_anew() -> None:
    found = line(ledger(*([with_task(v)] for v in (0.80, 0.70, 0.69, 0.69))), "views.m")
    assert found.state == "same"
    assert found.creep == pytest.approx(0.01), "a step that was accepted is not held against every later version"


def test_a_version_without_the_number_is_passed_over() -> None:
    made = ledger([with_task(0.8)], [entry(p50=None)], [with_task(0.7)], against=1)
    found = line(made, "views.m")
    assert (found.state, [p.version for p in found.points]) == ("beyond", [1, 3])


def test_the_slope_is_positive_when_it_gets_worse() -> None:
    values = (0.80, 0.79, 0.78)
    assert line(ledger(*([with_task(v)] for v in values)), "views.m").slope == pytest.approx(0.01)
    assert line(ledger(*([with_task(v, error=True)] for v in values)), "views.m").slope == pytest.approx(-0.01)


def test_groups_are_precision_target_and_runtime() -> None:
    now = [
        entry(),
        entry("tiny-keys-fp32-ort", head="keys"),
        entry("tiny-dense-fp16-ov", runtime="openvino", version="1"),
    ]
    made = ledger([entry()], now)
    assert [(g.precision, g.target, g.runtime, g.cells) for g in made.groups] == [
        ("fp32", "ort", "onnxruntime 1.23.2", 2),
        ("fp16", "ov", "openvino 1", 1),
    ]


# ------------------------------------------------------------------------------------------- without provenance


def test_without_provenance_the_manifests_say_what_they_know() -> None:
    old, new = version(1, with_task(0.8)), version(2, with_task(0.7))
    model = dataclasses.replace(new.manifest.model, weights="seed 8")
    new = Version(dataclasses.replace(new.manifest, model=model))
    made = drift.ledger([old, new], Allowances().of)
    (move,) = line(made, "views.m").moves
    change = made.changes[move.change]
    assert not change.recorded
    assert [(c.what, c.before, c.after) for c in change.causes[:1]] == [("weights", "seed 7", "seed 8")]


@pytest.mark.parametrize(
    ("before", "after", "versions"),
    [
        (PLATFORM, dataclasses.replace(PLATFORM, version="1.24.1"), ("1.23.2", "1.24.1")),
        (PLATFORM, PLATFORM, None),
        (PLATFORM, None, None),
        (None, PLATFORM, None),
        (None, None, None),
    ],
)
def test_platforms_are_compared_where_both_versions_name_one(
    before: Optional[Platform], after: Optional[Platform], versions: Optional[Tuple[str, str]]
) -> None:
    old, new = (version(n, dataclasses.replace(entry(), platform=p)) for n, p in ((1, before), (2, after)))
    found = [(c.what, c.before, c.after) for c in causes.between(old, new, CELL, "task").causes if c.kind == "runtime"]
    assert found == ([("onnxruntime", *versions)] if versions else [])


def test_a_cell_that_was_not_there_has_no_platform_to_compare() -> None:
    found = causes.between(version(1), version(2, entry()), CELL, "task")
    assert (found.causes, found.recorded) == ((), False)


# ------------------------------------------------------------------------------------------- with provenance


def made_by(number: int, *steps: str) -> Version:
    """A version whose cell was made by `steps`, each of which took what the one before gave."""
    performed = tuple(
        StepRecord(
            f"{name} after {before}", name, inputs=(Pinned("in", before),), outputs=(Pinned("out", name),), done=True
        )
        for before, name in zip(("the source", *steps), steps)
    )
    links = tuple(JobLink(step.step, step.key, steps[at - 1 : at] if at else ()) for at, step in enumerate(performed))
    return Version(version(number, entry()).manifest, Provenance(1, number, performed, (Chain(CELL, links),)))


def test_a_step_that_is_new_or_dropped_is_named() -> None:
    two, three = made_by(1, "export", "engine"), made_by(2, "export", "simplify", "engine")
    assert two.provenance is not None and three.provenance is not None
    old, new = two.provenance.by_key, three.provenance.by_key
    added = Cause("step", "step simplify", "", "done", steps=("simplify",))
    dropped = Cause("step", "step simplify", "done", "", steps=("simplify",))
    export, simplify = new["export after the source"], new["simplify after export"]
    engines = old["engine after export"], new["engine after simplify"]
    assert causes.walk(two.provenance, three.provenance, CELL) == (
        causes.StepChange("export", "export", "same", export, export),
        causes.StepChange("simplify", "simplify", "new", None, simplify, (added,)),
        causes.StepChange("engine", "engine", "follows", *engines),
    )
    assert causes.walk(three.provenance, two.provenance, CELL) == (
        causes.StepChange("export", "export", "same", export, export),
        causes.StepChange("engine", "engine", "follows", *engines[::-1]),
        causes.StepChange("simplify", "simplify", "dropped", simplify, None, (dropped,)),
    )
    assert causes.between(two, three, CELL, "size").causes == (added,)
    assert causes.between(three, two, CELL, "size").causes == (dropped,)


# ------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(("written", "limit"), [(0.02, DriftLimit(0.02)), ("0.02", DriftLimit(0.02)), ("10%", DriftLimit(10, True)), ("off", None), (0, DriftLimit(0))])  # fmt: skip
def test_a_limit_reads(written: Any, limit: Optional[DriftLimit]) -> None:
    assert parse_drift_limit(written, "here") == limit


@pytest.mark.parametrize("written", [-1, "ten", "10%%", "", "nan", "inf", "-5%"])
def test_what_is_no_limit_is_refused(written: Any) -> None:
    with pytest.raises(UsageError, match="is no limit"):
        parse_drift_limit(written, "here")


def test_a_difference_in_the_last_digit_is_not_beyond() -> None:
    assert not DriftLimit(0.02).exceeded(0.914 - 0.894, 0.914)


def _metric(name: str, kind: Any = "task", better: Any = "more") -> Metric:
    return Metric(name, kind, better)


def test_later_limits_of_the_matrix_win() -> None:
    declared = (
        DriftLimits("*", (MetricLimit("views", 0.1), MetricLimit("latency", "off"))),
        DriftLimits("*-int8-*", (MetricLimit("views.{m,n}", "5%"),)),
    )
    held = Allowances(declared)
    assert held.of("t-d-fp32-ort", _metric("views.m"), True) == DriftLimit(0.1)
    assert held.of("t-d-int8-ort", _metric("views.m"), True) == DriftLimit(5, True)
    assert held.of("t-d-int8-ort", _metric("views.o"), True) == DriftLimit(0.1)
    assert held.of("t-d-int8-ort", _metric("latency.speedup", "latency"), True) is None
    assert held.of("t-d-int8-ort", _metric("stereo.m"), True) == DriftLimit(0.02), "the default"


@pytest.mark.parametrize(
    ("flags", "limits"),
    [
        ((), (DriftLimit(0.02), None, DriftLimit(0))),
        (("views.m:0.5",), (DriftLimit(0.5), None, None)),
        (("views",), (DriftLimit(0.02), None, None)),
        (("scores.max_abs",), (None, DriftLimit(0), None)),
        (("any",), (DriftLimit(0), DriftLimit(0), DriftLimit(0))),
        (("none",), (None, None, None)),
        (("limits", "scores.*:0.1"), (DriftLimit(0.02), DriftLimit(0.1), DriftLimit(0))),
        (("verdict",), (None, None, DriftLimit(0))),
    ],
)
def test_fail_on_says_what_alone_counts(flags: Tuple[str, ...], limits: Any) -> None:
    held = Allowances(fail_on=flags)
    metrics = (_metric("views.m"), _metric("scores.max_abs", "tensor", "less"), _metric("verdict", "verdict"))
    assert tuple(held.of(CELL, metric, False) for metric in metrics) == limits


def test_latency_means_the_speed_up_where_there_is_one() -> None:
    assert [names_metric("latency", f"latency.{m}", timed_in_turns=t) for t in (True, False) for m in ("speedup", "p50_ms")] == [
        True, False, False, True,
    ]  # fmt: skip


def test_a_misspelt_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no metric of this store") as caught:
        check(["veiws.m"], ["views.m", "verdict"])
    assert "views.m" in (caught.value.hint or "")
    check(["any", "none", "limits", "views", "v*:3"], ["views.m"])


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        (("scores.cosine", "tensor"), "0.001"),
        (("scores.snr_db", "tensor"), "10"),
        (("scores.matched", "tensor"), "0.02"),
        (("sweep.answered", "tensor"), "0"),
        (("views.m", "task"), "0.02"),
        (("views.m", "task", "less"), "10%"),
        (("latency.speedup", "latency"), "15%"),
        (("size", "size", "less"), "25%"),
    ],
)
def test_the_documented_defaults_are_those_that_hold(metric: Tuple[str, ...], limit: str) -> None:
    assert usual_limit(_metric(*metric), True) == parse_drift_limit(limit, "")


# ------------------------------------------------------------------------------------------- laws

_VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1, width=32)), min_size=1, max_size=7)


def _of(values: Sequence[Optional[float]], limit: Optional[str] = None) -> Ledger:
    return ledger(*([with_task(v)] for v in values), limit=limit)


@given(_VALUES)
def test_it_reads_as_it_was_written(values: List[Optional[float]]) -> None:
    made = _of(values)
    assert from_json(Ledger, json.loads(json.dumps(to_json(made)))) == made


@given(_VALUES)
def test_every_move_points_at_its_reason_and_leaves_the_noise(values: List[Optional[float]]) -> None:
    made = _of(values)
    for one in made.lines:
        for move in one.moves:
            change = made.changes[move.change]
            assert (change.since, change.version) == (move.since, move.version)
            assert change.causes, "there is always something to say"
            assert move.worse is None or abs(move.worse) > 1e-6


@given(st.floats(0, 1, width=32), st.integers(2, 6))
def test_nothing_drifts_that_does_not_change(value: float, count: int) -> None:
    made = _of([value] * count, limit="0")
    assert {one.state for one in made.lines} == {"same"}
    assert not made.changes and not made.beyond


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_there_and_back_are_opposite(one: float, other: float) -> None:
    there, back = line(_of([one, other]), "views.m").worse, line(_of([other, one]), "views.m").worse
    assert there is not None and back is not None
    assert there == -back


@given(_VALUES, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_looser_limit_fails_no_more(values: List[Optional[float]], one: float, other: float) -> None:
    tight, loose = (_of(values, limit=f"{amount:.6f}") for amount in sorted((one, other)))
    failed = [{n.metric for n in made.beyond} for made in (tight, loose)]
    creeping = {n.metric for n in loose.beyond if "in steps" in n.said}
    assert failed[1] - creeping <= failed[0], "creep alone may count further back under a looser limit"


@given(_VALUES)
def test_the_candidate_is_worse_by_the_sum_of_its_moves(values: List[Optional[float]]) -> None:
    known = [v if v is not None else 0.5 for v in values]
    found = line(ledger(*([with_task(v)] for v in known), against=1 if len(known) > 1 else None), "views.m")
    if found.worse is not None:
        moved = sum(move.worse or 0.0 for move in found.moves)
        assert moved == pytest.approx(found.worse, abs=2e-6 * len(known))
