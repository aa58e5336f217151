"""Facts, rules, settings, gates and steps of one cell, for `build explain`. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from builder import terminal
from builder.actions.measurements import AT_LEAST, Swept
from builder.config.cells import Cell, selects
from builder.config.gates import Limit
from builder.config.matrix import CellSettings, Matrix, Search, Target, TorchSource
from builder.execution import search_trials as search_words
from builder.execution.scheduler import Outcome
from builder.planning.planner import Plan, asked_of
from builder.platforms import rules
from builder.platforms.machines import Machine
from builder.records import fields_of
from builder.store.manifest import Searched
from validation import verdict


@dataclass(frozen=True)
class ExplanationLine:
    """`name`: `value`, and where it comes from, when that is worth saying."""

    name: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class Instead:
    """`use` this, which `needs` that, at this cost in time."""

    use: str
    needs: str = ""
    cost: str = ""


@dataclass(frozen=True)
class Explanation:
    """`fate`: as in `build plan`; `rules`: those that hold; `broken`: the one that does not."""

    cell: str
    fate: str
    why: str
    what: Tuple[ExplanationLine, ...]
    rules: Tuple[ExplanationLine, ...]
    broken: Optional[ExplanationLine] = None
    instead: Tuple[Instead, ...] = ()
    orders: Tuple[str, ...] = ()
    settings: Tuple[ExplanationLine, ...] = ()
    gates: Tuple[ExplanationLine, ...] = ()
    sizes: Tuple[ExplanationLine, ...] = ()
    steps: Tuple[ExplanationLine, ...] = ()
    search: Tuple[ExplanationLine, ...] = ()


def explain(
    matrix: Matrix,
    machine: Machine,
    planned: Plan,
    cell: Cell,
    outcome: Outcome,
    fate: str,
    searched: Optional[Searched] = None,
) -> Explanation:
    asked = asked_of(matrix, cell, machine)
    answers, skip = rules.answers(asked), rules.judge(asked)
    remedies = rules.remedies(asked, skip) if skip is not None else ()
    disabled = cell.fate == "skipped" and skip is None
    return Explanation(
        cell=cell.id,
        fate=fate,
        why="; ".join(part for part in (cell.reason or _unverified(cell), cell.note) if part),
        what=_what(matrix, cell),
        rules=tuple(
            ExplanationLine(said.rule, said.fact, said.source) for said in answers if isinstance(said, rules.Held)
        )
        + _waived(asked, answers),
        broken=ExplanationLine(skip.rule, skip.fact, skip.source) if skip is not None else None,
        instead=tuple(Instead(r.use, r.needs, r.cost) for r in remedies),
        orders=cell.remedies if skip is None and not disabled and not cell.reached else (),
        settings=_settings(matrix, cell, searched),
        gates=_gates(matrix, cell) if cell.fate != "skipped" else (),
        sizes=_sizes(matrix, cell, outcome),
        steps=_steps(planned, cell, outcome),
        search=tuple(ExplanationLine(name, said) for name, said in search_words.search_lines(searched))
        if searched
        else (),
    )


def _unverified(cell: Cell) -> str:
    return f"unverified here: {cell.unverified}" if cell.unverified else ""


def _waived(asked: rules.Asked, answers: Tuple[rules.Answer, ...]) -> Tuple[ExplanationLine, ...]:
    pairs = [(said, rules.waived(asked, said)) for said in answers]
    return tuple(
        ExplanationLine(said.rule, f"{said.fact}; allowed: {allowed.reason}", said.source)
        for said, allowed in pairs
        if allowed
    )


def _what(matrix: Matrix, cell: Cell) -> Tuple[ExplanationLine, ...]:
    """The four parts of the id, with all that the matrix declares of them."""
    model, target = matrix.model, matrix.target(cell.target)
    source = model.source.factory if isinstance(model.source, TorchSource) else model.source.onnx
    outputs = [f"{o.name} {_shape(o.shape)}" for o in matrix.head(cell.head).outputs]
    inputs = [f"{i.name} {_shape(i.shape)}" for i in model.inputs]
    declared = {
        name: getattr(target, name)
        for name in fields_of(Target)
        if name not in ("name", "disabled", "runner", "worker") and getattr(target, name) is not None
    }
    return (
        ExplanationLine("model", f"{model.name}: {source}, ONNX opset {model.opset}, input {', '.join(inputs)}"),
        ExplanationLine("head", f"{cell.head}: {', '.join(outputs)}"),
        ExplanationLine("precision", cell.precision),
        ExplanationLine(
            "target", f"{target.name}: " + ", ".join(f"{name} {value}" for name, value in declared.items())
        ),
    )


def _shape(shape: "Tuple[int | str, ...]") -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"


def _settings(matrix: Matrix, cell: Cell, searched: Optional[Searched]) -> Tuple[ExplanationLine, ...]:
    """What matters to the target's runtime, with the last place that says it."""
    runtime = matrix.target(cell.target).runtime
    idle = {
        "static": runtime != "openvino",
        "workspace": runtime != "tensorrt" and runtime != "tensorrt-rtx",
        "activations": cell.precision != "int8",
        "allow": not cell.allow,
        "keep": not cell.keep,
        "search": cell.search is None,
    }
    lines: List[ExplanationLine] = []
    for name in (name for name in fields_of(Cell) if name in fields_of(CellSettings)):
        value = getattr(cell, name)
        if name == "tensorrt":
            given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            said = ", ".join(f"{name} {_said(v)}" for name, v in given.items() if v not in (None, ()))
            if not said:
                continue
        elif idle.get(name):
            continue
        else:
            said = _said(value)
        by_search = name == "keep" and searched is not None and searched.kept
        lines.append(ExplanationLine(name, said, "search" if by_search else _origin(matrix, cell, name)))
    return tuple(lines)


def _said(value: object) -> str:
    if isinstance(value, Search):
        return f"at most {terminal.counted(value.trials, 'trial')}, {value.minutes:g} minutes"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(_said(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ": ".join(str(getattr(value, f.name)) for f in dataclasses.fields(value))
    return str(value)


def _origin(matrix: Matrix, cell: Cell, name: str) -> str:
    for override in reversed(matrix.overrides):
        if selects(override.select, cell) and getattr(override.set, name) not in (None, ()):
            return f'override "{override.select}"'
    return "defaults" if getattr(matrix.defaults, name) not in (None, ()) else "built in"


def _gates(matrix: Matrix, cell: Cell) -> Tuple[ExplanationLine, ...]:
    outputs = [o.name for o in matrix.head(cell.head).outputs]
    tasks = [task.name for task in cell.tasks]
    return tuple(
        ExplanationLine(f"{limit.subject} {limit.metric}", _limit(limit), f'gate "{limit.select}"')
        for limit in verdict.limits_of(matrix.gates, cell, outputs, tasks)
    )


def _sizes(matrix: Matrix, cell: Cell, outcome: Outcome) -> Tuple[ExplanationLine, ...]:
    """The sweep of a cell that has one, in a line, and what went wrong in it."""
    if not cell.sweep:
        return ()
    result = outcome.results.get(cell.sweep)
    ask = f"build sweep {cell.id}"
    if result is None or not isinstance(result.facts, Swept):
        return (ExplanationLine("sweep", f"not measured yet; see it with: {ask}"),)
    outputs = [o.name for o in matrix.head(cell.head).outputs]
    checks = verdict.sweep_checks(verdict.limits_of(matrix.gates, cell, outputs, ()), result.facts)
    told = [("beyond a gate", verdict.describe(check)) for check in checks if not check.kept]
    told += [("no answer", said) for said in verdict.sweep_problems(result.facts)]
    told += [("outside, wrong", said) for said in verdict.sweep_findings(result.facts, checks)]
    return (
        ExplanationLine("sweep", f"{verdict.sweep_line(result.facts, checks)}; all of it: {ask}"),
        *(ExplanationLine(*t) for t in told),
    )


def _limit(limit: Limit) -> str:
    """'at least 0.9', 'loses at most 5 %', and whether it only reports."""
    if limit.bound == "value":
        least = limit.metric in AT_LEAST if limit.level == "tensor" else limit.metric == "speedup"
        said = f"{'threshold' if limit.level == 'task' else 'at least' if least else 'at most'} {limit.value:g}"
    else:
        than = "slower than the naive export by" if limit.level == "speed" else "loses"
        said = f"{than} at most {limit.value:g}{' %' if limit.bound == 'percent degradation' else ''}"
    return f"{said} (reported only)" if limit.report_only else said


def _steps(planned: Plan, cell: Cell, outcome: Outcome) -> Tuple[ExplanationLine, ...]:
    """Every job that the cell needs, in order of need, and how it stands."""
    jobs = {job.id: job for job in planned.jobs}
    wanted: Dict[str, None] = {}

    def add(id: str) -> None:
        if id in jobs and id not in wanted:
            for need in jobs[id].needs:
                add(need)
            wanted[id] = None

    references = [task.reference for task in cell.tasks]
    for id in (cell.parse, cell.engine, *references, *cell.measurements):
        add(id)
    return tuple(ExplanationLine(id, _state(id, jobs[id].elsewhere, outcome)) for id in wanted)


def _state(id: str, elsewhere: Optional[str], outcome: Outcome) -> str:
    if id in outcome.results:
        return "done"
    return "to do on its own machine" if elsewhere else "to do here"
