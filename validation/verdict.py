"""Checks of measurements against limits.

Pure. `limits_of` selects the limits of a cell from the gates of matrix.yaml; the functions named `*checks` apply them,
and `*problems` are failures without a limit.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Dict, Iterable, Iterator, List, Literal, Optional, Sequence, Tuple

from builder.actions.measurements import (
    AT_LEAST,
    Arithmetic,
    Latency,
    OutputParity,
    Percentiles,
    SweepRow,
    Swept,
    TaskScores,
)
from builder.config.cells import Cell, selects
from builder.config.contract import Compute
from builder.config.gates import Bound, Gate, Level, Limit, MetricGate, OutputGate
from builder.store.manifest import Check, TaskResult


def checks(
    limits: Iterable[Limit],
    parity: Sequence[OutputParity],
    tasks: Sequence[TaskResult],
    latency: Optional[Latency],
) -> Tuple[Check, ...]:
    """One check per limit. An output that is correctly empty on every sample has none.

    A value that was not measured has no number.
    """
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
    """A sentence for each metric in a gate that its task did not return.

    The names of a task's metrics are known only after scoring.
    """
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
    """At the worst sample.

    None when the aligned set was correctly empty on every sample.
    """
    metric, at_most = limit.metric, limit.metric not in AT_LEAST
    compared = [row for row in rows if row.problem is None]
    if not compared:  # `problems` names why, or the output was never compared
        return [_check(limit, None, at_most, "no sample")]
    worst = _worst([row for row in compared if metric == "matched" or not _was_empty(row)], metric)
    return [] if worst is None else [_check(limit, getattr(worst, metric), at_most, worst.sample)]


def problems(measured: Sequence[OutputParity]) -> Tuple[str, ...]:
    """Reasons that tensors could not be compared.

    Any of them fails the cell, with or without gates.
    """
    return tuple(f"{row.output} on {row.sample}: {row.problem}" for row in measured if row.problem is not None)


def _was_empty(row: OutputParity) -> bool:
    """Whether an aligned set is correctly empty, on both sides."""
    return row.max_abs is None and row.matched == 1.0


def _worst(rows: Sequence[OutputParity], metric: str) -> Optional[OutputParity]:
    """The row with the worst value of `metric`; a row without a number is the worst."""
    sign = 1 if metric in AT_LEAST else -1

    def badness(row: OutputParity) -> Tuple[bool, float]:
        value: Optional[float] = getattr(row, metric)
        return (value is not None, 0.0 if value is None else sign * value)

    return min(rows, key=badness, default=None)


# ------------------------------------------------------------------------------------------- tasks and speed


def _of_task(limit: Limit, result: TaskResult) -> Check:
    if limit.bound == "value":
        # The case with the largest loss explains a loss or a missing number, but not a low total.
        case = "" if result.value is not None else result.worst
        return _check(limit, result.value, result.lower_is_better, case)
    lost = result.lost
    return _check(limit, lost if limit.bound == "degradation" else _percent(lost, result.reference), True, result.worst)


def _percent(lost: Optional[float], own: Optional[float]) -> Optional[float]:
    """The loss in percent of the model's own value; any loss of zero is 100 %."""
    if lost is None or own is None:
        return None
    return round(100 * lost / abs(own), 7) if own else (100.0 if lost > 0 else 0.0)


def _of_speed(limit: Limit, latency: Optional[Latency]) -> Check:
    """Noise alone may push a time beyond its limit.

    That much is allowed, and recorded as slack.
    """
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


# ------------------------------------------------------------------------------------------- text


def describe(check: Check) -> str:
    """'scores max_abs 0.031 > 0.02 on camera-480x640, gate *-int8-*'; <= or >= for a limit that was kept."""
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


# ------------------------------------------------------------------------------------------- limits of a cell


METRICS = tuple(f.name for f in dataclasses.fields(OutputGate) if f.name != "output")
_BOUNDS: Tuple[Tuple[str, Bound], ...] = (
    ("threshold", "value"),
    ("max_degradation", "degradation"),
    ("percent_max_degradation", "percent degradation"),
)
LATENCY = "latency"  # the subject of every speed limit


def limits_of(gates: Iterable[Gate], cell: Cell, outputs: Sequence[str], tasks: Sequence[str]) -> Tuple[Limit, ...]:
    """Every limit on the cell's `outputs`, on its `tasks`, and on its speed.

    Later gates override earlier ones. Gates that only report and gates that decide override only their own kind, so a
    trial limit never loosens one in force.
    """
    laid: Dict[Tuple[bool, Level, str, str, Bound], Limit] = {}
    for gate in gates:
        if selects(gate.select, cell):
            for limit in _limits(gate, outputs, tasks):
                laid[limit.report_only, limit.level, limit.subject, limit.metric, limit.bound] = limit
    return tuple(laid.values())


def _limits(gate: Gate, outputs: Sequence[str], tasks: Sequence[str]) -> Iterator[Limit]:
    for wanted in gate.outputs:
        for name in outputs if wanted.output == "*" else [o for o in outputs if o == wanted.output]:
            for metric in METRICS:
                value = getattr(wanted, metric)
                if value is not None:
                    yield Limit("tensor", name, metric, "value", value, gate.select, gate.report_only)
    for gated in gate.tasks:
        if gated.task in tasks:
            yield from _bounds(gate, "task", gated.task, gated.metrics)
    yield from _bounds(gate, "speed", LATENCY, gate.speed)


def _bounds(gate: Gate, level: Level, subject: str, metrics: Sequence[MetricGate]) -> Iterator[Limit]:
    for limited in metrics:
        for name, bound in _BOUNDS:
            value = getattr(limited, name)
            if value is not None:
                yield Limit(level, subject, limited.metric, bound, value, gate.select, gate.report_only)


# ------------------------------------------------------------------------------------------- arithmetic


BUILT_IN = "built in"
_WORDS: Dict[Compute, str] = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def arithmetic_checks(precision: str, compute: Compute, found: Sequence[Arithmetic]) -> Tuple[Check, ...]:
    """The share of layers that run in the declared arithmetic or a finer one, as the runtime reports it.

    Declared is int8 for int8 cells, else `compute`. A runtime may lower precision by itself: OpenVINO by default
    computes an fp32 model in bf16 on processors that can. So this check is built in, for every runtime that reports its
    arithmetic.
    """
    total = sum(one.layers for one in found)
    if not total:
        return ()
    allowed = {"fp32", _WORDS[compute], *(("int8",) if precision == "int8" else ())}
    others = [one for one in found if one.precision not in allowed]
    kept = total - sum(one.layers for one in others)
    told = " and ".join(f"{one.layers} of {total} layers ran in {one.precision}" for one in others)
    return (Check("arithmetic", "compute", compute, round(kept / total, 6), 1.0, False, BUILT_IN, told),)


# ------------------------------------------------------------------------------------------- task results


def task_results(task: str, reference: TaskScores, candidate: TaskScores) -> Tuple[TaskResult, ...]:
    """The candidate's metrics beside the model's own, each with the case of the largest loss.

    A case for which only the model has a number leaves the total without a value: the mean of the
    other cases would hide the failure.
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


# ------------------------------------------------------------------------------------------- sweeps
#
# Inside a profile, a size beyond a gate, or without an answer, fails the cell. Outside, hosts send no image, so a
# different answer is a finding for the user and fails nothing.


Word = Literal["passed", "failed", "answers", "refuses", "differs"]
_PLURAL = {"answers": "answer", "refuses": "refuse", "differs": "differ"}


def sweep_checks(limits: Iterable[Limit], swept: Swept) -> Tuple[Check, ...]:
    """Each limit on a tensor at the size where it is kept worst; `worst` is that size."""
    rows = [
        dataclasses.replace(parity, sample=row.point.named)
        for row in swept.rows
        if row.point.inside
        for parity in row.parity
    ]
    tensors = [limit for limit in limits if limit.level == "tensor"]
    return tuple(dataclasses.replace(check, level="sweep") for check in checks(tensors, rows, (), None))


def sweep_problems(swept: Swept) -> Tuple[str, ...]:
    """Sizes inside that could not be compared at all, and why."""
    return tuple(f"{row.point.named}: {said}" for row in swept.rows if row.point.inside for said in _no_answer(row))


def sweep_findings(swept: Swept, held_to: Sequence[Check]) -> Tuple[str, ...]:
    """Sizes outside at which it answers, and not as the model does."""
    outside = [row for row in swept.rows if not row.point.inside]
    told = [(row, told_of(row, held_to)) for row in outside]
    return tuple(f"{row.point.named} ({row.point.why}): {words}" for row, (word, words) in told if word == "differs")


def told_of(row: SweepRow, held_to: Sequence[Check]) -> Tuple[Word, str]:
    """The status of a size, and its explanation.

    Inside: passed or failed; outside: answers (as the model does, as far as gates tell), refuses or differs.
    """
    broken = [*_no_answer(row), *(describe(check) for check in _beyond(row.parity, held_to))]
    if row.point.inside:
        return ("failed", "; ".join(broken)) if broken else ("passed", "")
    if row.refused:
        also = "; the model itself does too" if row.model_refused else ""
        return "refuses", row.refused + also
    return ("differs", "; ".join(broken)) if broken else ("answers", "")


def sweep_line(swept: Swept, held_to: Sequence[Check]) -> str:
    """'12 sizes; outside 2 answer, 4 refuse; 240 to 310 ms per megapixel', and sizes that failed."""
    words = [(row, told_of(row, held_to)[0]) for row in swept.rows]
    inside = [row for row, _ in words if row.point.inside]
    failed = [row.point.named for row, word in words if word == "failed"]
    said = [f"{len(inside)} sizes" + (f", failed at {', '.join(failed)}" if failed else "")]
    told: Tuple[Word, ...] = ("answers", "refuses", "differs")
    counts = [(sum(w == word for _, w in words), word) for word in told]
    counted = [f"{count} {word if count == 1 else _PLURAL[word]}" for count, word in counts if count]
    if counted:
        said.append(f"outside {', '.join(counted)}")
    times = [row.ms_per_megapixel for row in inside if row.ms_per_megapixel is not None]
    if times:
        said.append(f"{min(times):.0f} to {max(times):.0f} ms per megapixel")
    return "; ".join(said)


def _no_answer(row: SweepRow) -> List[str]:
    if row.model_refused:
        return [f"the model itself refuses: {row.model_refused}"]
    if row.refused:
        return [f"refused: {row.refused}"]
    return [f"{parity.output}: {parity.problem}" for parity in row.parity if parity.problem is not None]


def _beyond(rows: Sequence[OutputParity], held_to: Sequence[Check]) -> List[Check]:
    """The limits that this one size does not keep."""
    limits = [
        Limit("tensor", c.subject, c.metric, c.bound, c.limit, c.gate, c.report_only)
        for c in held_to
        if not c.report_only
    ]
    compared = [row for row in rows if row.problem is None]
    named = {row.output for row in compared}
    found = checks([limit for limit in limits if limit.subject in named], compared, (), None)
    return [dataclasses.replace(check, worst="") for check in found if not check.kept]
