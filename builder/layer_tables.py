"""What lowering does to each layer of a version's graphs: one action per lowered graph, recalled or performed here.

Cells that share a lowered graph share its table. A graph whose making is not in the store (another matrix, a copy without
records) says so; a report is never refused for want of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from builder.actions.action import Result
from builder.actions.measurements import LayerError, LayerErrors
from builder.config.loader import Loaded
from builder.errors import DeployError, StepFailed
from builder.execution.scheduler import perform_here, prospect
from builder.planning.job_graph import layer_errors
from builder.planning.jobs import Job, Wanted
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.plugins import Executor
from builder.store.layout import Layout
from builder.store.manifest import Manifest


@dataclass(frozen=True)
class LayerTable:
    """Of the lowered graph that `cells` were built from. Without `layers`, `why_not` says why."""

    cells: Tuple[str, ...]
    layers: Tuple[LayerError, ...] = ()
    why_not: str = ""


def layer_tables(
    loaded: Loaded,
    manifest: Manifest,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> Tuple[LayerTable, ...]:
    """Of every lowered graph of the version's built cells, in the order of the matrix. Without `executor` only what is in
    the store already, and nothing is said of the rest."""
    wanted, pinner = plan(loaded.matrix, machine), Pinner(loaded.root, machine, store)
    outcome = prospect(wanted, pinner, store)
    jobs: Dict[str, Job] = {}
    cells: Dict[str, List[str]] = {}
    stale: Dict[str, str] = {}
    for planned in wanted.cells:
        entry = manifest.entry(planned.cell.id)
        if entry is None or entry.artifact is None or planned.platform is None:
            continue
        drawn = layer_errors(loaded.matrix, Wanted(planned.cell, planned.settings, planned.platform, machine.kind))
        if drawn:
            jobs.setdefault(drawn[-1].id, drawn[-1])
            cells.setdefault(drawn[-1].id, []).append(planned.cell.id)
            made = outcome.results.get(planned.onnx)
            if made is None or made.output("model.onnx").digest != entry.artifact.onnx:
                stale[drawn[-1].id] = f"{planned.onnx} is not the graph of this version any more: build matrix"
    found: List[LayerTable] = []
    for id, job in jobs.items():
        if id in stale:
            found.append(LayerTable(tuple(cells[id]), why_not=stale[id]))
        else:
            found.append(_table(tuple(cells[id]), job, outcome.results, pinner, store, machine, executor, say))
    return tuple(table for table in found if executor is not None or table.layers)


def _table(
    cells: Tuple[str, ...],
    job: Job,
    results: Mapping[str, Result],
    pinner: Pinner,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> LayerTable:
    missing = [need for need in job.needs if need not in results]
    if missing:
        return LayerTable(cells, why_not=f"{missing[0]} is not in the store as matrix.yaml has it now: build matrix")
    try:
        result = _recall_or_perform(job, results, pinner, store, machine, executor, say)
    except (DeployError, OSError) as problem:
        said = problem.what if isinstance(problem, DeployError) else f"the store: {problem.strerror}"
        return LayerTable(cells, why_not=said)
    layers: Optional[LayerErrors] = result.facts if isinstance(result.facts, LayerErrors) else None
    return LayerTable(cells, layers.layers) if layers else LayerTable(cells, why_not="its record holds something else")


def _recall_or_perform(
    job: Job,
    results: Mapping[str, Result],
    pinner: Pinner,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> Result:
    action = pinner.pin(job, results)
    found = store.recall(action.key)
    if found is not None:
        return found
    if executor is None:
        raise StepFailed("not measured yet")
    say(f"measuring {job.id}")
    with store.locked():
        files = pinner.files(job, action)
        return perform_here(action, files, pinner.root, store, executor, machine, lambda line: None)
