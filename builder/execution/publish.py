"""A plan and what became of its jobs, as the entries of a manifest. Pure but for the OCI objects of artifacts."""

from __future__ import annotations

import dataclasses
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from builder.actions.measurements import Latency, Parity, Swept, TaskScores
from builder.actions.recipes import Made, MeasureParity
from builder.config.cells import Cell
from builder.config.loader import Loaded
from builder.config.matrix import Matrix, OnnxSource, SeededWeights
from builder.digest import Json
from builder.errors import DeployError
from builder.execution.scheduler import Outcome
from builder.planning.jobs import Job, OutputPin
from builder.planning.planner import Plan
from builder.platforms import dialects
from builder.platforms.machines import Machine
from builder.platforms.platform import Pinned, Tool
from builder.records import Setting, to_json
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import (
    Artifact,
    Builder,
    Entry,
    Golden,
    HeadContract,
    Manifest,
    ModelIdentity,
    Searched,
    TaskResult,
    Verdict,
)
from builder.store.provenance import Chain, JobLink, Provenance, StepRecord
from validation import verdict
from validation.verdict import limits_of

# The provenance of a version, from the plan and what became of its jobs. Pure; called only when a version is published.


_TOLD_APART = ("step",)  # has a field of its own


def trace(plan: Plan, outcome: Outcome, version: int) -> Provenance:
    jobs = {job.id: job for job in plan.jobs}
    chains = tuple(Chain(cell.id, _links(cell, jobs, outcome)) for cell in plan.cells if cell.engine)
    wanted = dict.fromkeys(link.job for chain in chains for link in chain.links)
    steps: Dict[str, StepRecord] = {}
    for id in wanted:
        steps.setdefault(outcome.actions[id].key, _step(id, outcome))
    return Provenance(1, version, tuple(steps.values()), chains)


def _links(cell: Cell, jobs: Dict[str, Job], outcome: Outcome) -> Tuple[JobLink, ...]:
    """Every job that the cell's artifact and numbers come from, in order of need, as far as it could be pinned."""
    found: Dict[str, JobLink] = {}

    def visit(id: str) -> None:
        if id in found or id not in jobs:
            return
        for need in jobs[id].needs:
            visit(need)
        if id in outcome.actions:
            found[id] = JobLink(id, outcome.actions[id].key, jobs[id].needs)

    references = (task.reference for task in cell.tasks)
    for id in (cell.onnx, cell.parse, cell.engine, *references, *cell.measurements):
        visit(id)
    return tuple(found.values())


def _step(id: str, outcome: Outcome) -> StepRecord:
    action, result = outcome.actions[id], outcome.results.get(id)
    recipe = to_json(action.recipe)
    outputs = tuple(Pinned(blob.name, blob.digest) for blob in result.outputs) if result else ()
    return StepRecord(
        key=action.key,
        step=action.recipe.step,
        settings=tuple(
            flat({k: v for k, v in recipe.items() if k not in _TOLD_APART} if isinstance(recipe, dict) else {})
        ),
        inputs=action.inputs,
        tools=action.tools,
        platform=action.platform,
        outputs=outputs,
        done=result is not None,
        site=result.site if result else None,
    )


def flat(value: Json, path: str = "") -> Iterator[Setting]:
    """Leaves by dotted path. A list of numbers or words is one leaf, `[[1, 2], [3, 4]]` reads `1x2, 3x4`; what is null or
    empty is left out: it is not set."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if all(_is_row(item) for item in value):
            if value:
                yield Setting(path, ", ".join(_row(item) for item in value))
        else:
            for number, item in enumerate(value):
                yield from flat(item, f"{path}.{number}")
    elif value is not None:
        yield Setting(path, value)


def _is_row(item: Json) -> bool:
    rows: List[Json] = item if isinstance(item, list) else [item]
    return not any(isinstance(one, (dict, list)) for one in rows)


def _row(item: Json) -> str:
    return "x".join(str(one) for one in item) if isinstance(item, list) else str(item)


# Which golden sample travels with an artifact: the smallest of those that its parity with the model was measured on.
#
# It is a file of the reference step's that is in the store already, so nothing is computed or stored for it. Running it is
# `builder/host/selftest.py`.


def of(matrix: Matrix, cell: Cell, jobs: Mapping[str, Job], outcome: Outcome, verdict: Verdict) -> Optional[Golden]:
    """None where the model itself was never run: there is nothing to compare with."""
    job = jobs.get(cell.parity)
    if job is None or not isinstance(job.recipe, MeasureParity):
        return None
    wanted = {f"reference/{name}.npz" for name in job.recipe.samples}
    pins = [pin for pin in job.pins if isinstance(pin, OutputPin) and pin.name in wanted]
    made = [(outcome.results[pin.job], pin.output) for pin in pins if pin.job in outcome.results]
    if not made:
        return None
    sample = min((result.output(name) for result, name in made), key=lambda blob: blob.size)
    outputs = [output.name for output in matrix.head(cell.head).outputs]
    unjudged = () if verdict.checks else limits_of(matrix.gates, cell, outputs, ())
    return Golden(
        sample,
        job.recipe.align,
        job.recipe.agreement,
        tuple(limit for limit in unjudged if limit.level == "tensor" and not limit.report_only),
    )


def manifest(
    loaded: Loaded,
    plan: Plan,
    outcome: Outcome,
    store: Layout,
    machine: Machine,
    *,
    version: int,
    created: str,
    release: str,
    searched: Optional[Mapping[str, Searched]] = None,
) -> Manifest:
    """`searched`: by cell id, what the search for layers to keep in float32 came to."""
    jobs = {job.id: job for job in plan.jobs}
    return Manifest(
        schema=2,
        version=version,
        created=created,
        matrix=loaded.digest,
        model=_identity(loaded.matrix),
        builder=Builder(
            release, machine.kind, machine.python, tuple(Tool(p.name, p.version) for p in machine.packages)
        ),
        entries=tuple(
            _entry(loaded.matrix, cell, jobs, outcome, store, (searched or {}).get(cell.id)) for cell in plan.cells
        ),
    )


def _identity(matrix: Matrix) -> ModelIdentity:
    model, source = matrix.model, matrix.model.source
    if isinstance(source, OnnxSource):
        named, weights = source.onnx, f"sha256:{source.sha256}"
    elif isinstance(source.weights, SeededWeights):
        named, weights = source.factory, f"seed {source.weights.seed}"
    else:
        named, weights = source.factory, f"sha256:{source.weights.sha256}"
    heads = tuple(HeadContract(h.name, h.outputs, h.postprocess) for h in model.heads)
    return ModelIdentity(model.name, named, weights, model.inputs, heads, model.preprocess)


def _entry(
    matrix: Matrix,
    cell: Cell,
    jobs: Mapping[str, Job],
    outcome: Outcome,
    store: Layout,
    searched: Optional[Searched],
) -> Entry:
    target = matrix.target(cell.target)
    engine = outcome.results.get(cell.engine)
    parity = outcome.results.get(cell.parity)
    found = _said(judge(matrix, cell, outcome), searched)
    measured = parity.facts if parity and isinstance(parity.facts, Parity) else Parity(())
    return Entry(
        cell=cell.id,
        head=cell.head,
        precision=cell.precision,
        target=cell.target,
        machine=target.machine,
        verdict=found,
        platform=cell.platform,
        profiles=tuple(matrix.profile(name) for name in cell.profiles) if cell.platform else (),
        artifact=_artifact(cell, outcome, store) if engine else None,
        parity=measured.outputs,
        arithmetic=measured.arithmetic,
        tasks=scored(cell, outcome),
        latency=_latency(cell, outcome),
        sweep=_swept(cell, outcome),
        reproduce=f"build matrix --only '{cell.id}'" if cell.fate == "build" or cell.reached else "",
        search=searched,
        golden=of(matrix, cell, jobs, outcome, found) if engine else None,
    )


def _artifact(cell: Cell, outcome: Outcome, store: Layout) -> Artifact:
    engine = outcome.results[cell.engine]
    onnx = outcome.results[cell.onnx].output("model.onnx")
    made = (outcome.results[job].facts for job in (cell.onnx, cell.engine))
    remarks = tuple(remark for facts in made if isinstance(facts, Made) for remark in facts.remarks)
    return Artifact(
        digest=versions.put_artifact(store, cell.id, engine.product).digest,
        size=sum(blob.size for blob in engine.product),
        files=engine.product,
        onnx=onnx.digest,
        action=engine.key,
        compute=cell.compute,
        static=cell.static,
        seconds=engine.seconds,
        remarks=remarks,
        portability=_portability(cell),
    )


def _latency(cell: Cell, outcome: Outcome) -> Optional[Latency]:
    found = outcome.results.get(cell.latency)
    return found.facts if found and isinstance(found.facts, Latency) else None


def _swept(cell: Cell, outcome: Outcome) -> Optional[Swept]:
    found = outcome.results.get(cell.sweep)
    return found.facts if found and isinstance(found.facts, Swept) else None


def _portability(cell: Cell) -> str:
    runtime = cell.platform.runtime if cell.platform else ""
    return dialects.portability(cell.tensorrt, runtime) if runtime.startswith("tensorrt") else ""


def _said(found: Verdict, searched: Optional[Searched]) -> Verdict:
    """What fails although a search was made says so."""
    if found.status != "failed" or searched is None:
        return found
    return dataclasses.replace(found, reason=f"{found.reason}; {searched.said}")


def judge(matrix: Matrix, cell: Cell, outcome: Outcome) -> Verdict:
    """The verdict over one cell, from what became of its jobs."""
    if cell.fate == "skipped":
        return Verdict("skipped", cell.reason, cell.remedies)
    failure = first_failure(cell, outcome)
    if failure is not None:
        return Verdict(
            "failed", f"{failure.where or 'a step'}: {failure.what}", (failure.hint,) if failure.hint else ()
        )
    if cell.engine not in outcome.results:
        return Verdict("waiting", cell.reason, cell.remedies)
    parity = outcome.results.get(cell.parity)
    if parity is None or not isinstance(parity.facts, Parity):
        return Verdict("unverified", _not_run(cell), cell.remedies if cell.reached else ())
    unscored = [task.name for task in cell.tasks if task.job not in outcome.results]
    if unscored:
        return Verdict("unverified", f"not scored on {', '.join(unscored)}: {_not_run(cell)}")
    if cell.sweep and cell.sweep not in outcome.results:
        return Verdict("unverified", f"not swept over its sizes: {_not_run(cell)}")
    return _judged(matrix, cell, parity.facts, outcome)


def _not_run(cell: Cell) -> str:
    """Why an artifact that is there was not measured. A machine that it is left to has built it, and did not come to more."""
    if cell.reached:
        return "its machine was away before it was measured; `build matrix` again goes on from there"
    return cell.unverified or cell.reason or "it was not run"


def scored(cell: Cell, outcome: Outcome) -> Tuple[TaskResult, ...]:
    results: List[TaskResult] = []
    for task in cell.tasks:
        scored, reference = outcome.results.get(task.job), outcome.results.get(task.reference)
        if scored and reference and isinstance(scored.facts, TaskScores) and isinstance(reference.facts, TaskScores):
            results += verdict.task_results(task.name, reference.facts, scored.facts)
    return tuple(results)


def _judged(matrix: Matrix, cell: Cell, parity: Parity, outcome: Outcome) -> Verdict:
    swept = _swept(cell, outcome)
    broken = (*verdict.problems(parity.outputs), *(verdict.sweep_problems(swept) if swept else ()))
    if broken:
        return Verdict("failed", broken[0] + (f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""))
    outputs = [o.name for o in matrix.head(cell.head).outputs]
    wanted = verdict.limits_of(matrix.gates, cell, outputs, [task.name for task in cell.tasks])
    if all(limit.report_only for limit in wanted):
        return Verdict("unverified", "no gate applies to it", (f"add a gate to matrix.yaml that selects {cell.id}",))
    results = scored(cell, outcome)
    checks = verdict.checks(wanted, parity.outputs, results, _latency(cell, outcome))
    checks += verdict.sweep_checks(wanted, swept) if swept else ()
    checks += verdict.arithmetic_checks(cell.precision, cell.compute, parity.arithmetic)
    found = Verdict("passed", checks=checks)
    if found.misses:
        unknown = verdict.unknown_metrics(wanted, results)
        reason = "; ".join([*unknown, *map(verdict.describe, found.misses)])
        remedies = ("correct the name in `gates:`; nothing is measured again",) if unknown else ()
        return dataclasses.replace(found, status="failed", reason=reason, remedies=remedies)
    return found


def first_failure(cell: Cell, outcome: Outcome) -> Optional[DeployError]:
    """The error of the first of this cell's jobs, or of what they need, that failed."""
    references = (task.reference for task in cell.tasks)
    jobs: Tuple[str, ...] = (cell.onnx, cell.parse, cell.engine, *references, *cell.measurements)
    for job in jobs:
        failed = outcome.failures.get(outcome.blocked.get(job, job))
        if failed is not None:
            return failed
    return None
