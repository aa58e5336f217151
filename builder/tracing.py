"""The provenance of a version, from the plan and what became of its jobs. Pure; called only when a version is published."""

from __future__ import annotations

from typing import Dict, Iterator, List, Tuple

from builder.digest import Json
from builder.planning.jobs import Job
from builder.planning.planner import Plan, PlannedCell
from builder.platforms.platform import Pinned
from builder.records import Setting, to_json
from builder.run import Outcome
from builder.store.provenance import Chain, Link, Provenance, Step

_TOLD_APART = ("step",)  # has a field of its own


def trace(plan: Plan, outcome: Outcome, version: int) -> Provenance:
    jobs = {job.id: job for job in plan.jobs}
    chains = tuple(Chain(cell.cell.id, _links(cell, jobs, outcome)) for cell in plan.cells if cell.engine)
    wanted = dict.fromkeys(link.job for chain in chains for link in chain.links)
    steps: Dict[str, Step] = {}
    for id in wanted:
        steps.setdefault(outcome.actions[id].key, _step(id, outcome))
    return Provenance(1, version, tuple(steps.values()), chains)


def _links(cell: PlannedCell, jobs: Dict[str, Job], outcome: Outcome) -> Tuple[Link, ...]:
    """Every job that the cell's artifact and numbers come from, in order of need, as far as it could be pinned."""
    found: Dict[str, Link] = {}

    def visit(id: str) -> None:
        if id in found or id not in jobs:
            return
        for need in jobs[id].needs:
            visit(need)
        if id in outcome.actions:
            found[id] = Link(id, outcome.actions[id].key, jobs[id].needs)

    references = (task.reference for task in cell.tasks)
    for id in (cell.onnx, cell.parse, cell.engine, *references, *cell.measurements):
        visit(id)
    return tuple(found.values())


def _step(id: str, outcome: Outcome) -> Step:
    action, result = outcome.actions[id], outcome.results.get(id)
    recipe = to_json(action.recipe)
    outputs = tuple(Pinned(blob.name, blob.digest) for blob in result.outputs) if result else ()
    return Step(
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
