"""What lowering does to each layer of a version's graphs: one action per lowered graph, recalled or performed here.

Cells that share a lowered graph share its table. A graph whose making is not in the store (another matrix, a copy without
records) says so; a report is never refused for want of a table.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from builder import site
from builder.action import Result
from builder.draw_layers import layer_errors
from builder.errors import DeployError, StepFailed
from builder.facts import Machine
from builder.jobs import Job, Wanted
from builder.load import Loaded
from builder.manifest import Manifest
from builder.measurements import LayerError, LayerErrors
from builder.pinning import Pinner
from builder.plan import plan
from builder.seams import Executor
from builder.stores.layout import Layout


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
    chains: Dict[str, Tuple[Job, ...]] = {}
    cells: Dict[str, List[str]] = {}
    for planned in plan(loaded.matrix, machine).cells:
        entry = manifest.entry(planned.cell.id)
        if entry is None or entry.artifact is None or planned.platform is None:
            continue
        jobs = layer_errors(loaded.matrix, Wanted(planned.cell, planned.settings, planned.platform, machine.kind))
        if jobs:
            chains.setdefault(jobs[-1].id, jobs)
            cells.setdefault(jobs[-1].id, []).append(planned.cell.id)
    pinner = Pinner(loaded.root, machine, store)
    tables = (_table(tuple(cells[id]), jobs, pinner, store, machine, executor, say) for id, jobs in chains.items())
    return tuple(table for table in tables if executor is not None or table.layers)


def _table(
    cells: Tuple[str, ...],
    jobs: Tuple[Job, ...],
    pinner: Pinner,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> LayerTable:
    results: Dict[str, Result] = {}
    try:
        for job in jobs[:-1]:
            found = store.recall(pinner.pin(job, results).key)
            if found is None:
                return LayerTable(
                    cells, why_not=f"{job.id} is not in the store as matrix.yaml has it now: build matrix"
                )
            results[job.id] = found
        result = _recall_or_perform(jobs[-1], results, pinner, store, machine, executor, say)
    except (DeployError, OSError) as problem:
        said = problem.what if isinstance(problem, DeployError) else f"the store: {problem.strerror}"
        return LayerTable(cells, why_not=said)
    layers: Optional[LayerErrors] = result.facts if isinstance(result.facts, LayerErrors) else None
    return LayerTable(cells, layers.layers) if layers else LayerTable(cells, why_not="its record holds something else")


def _recall_or_perform(
    job: Job,
    results: Dict[str, Result],
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
        made = executor.perform(action, pinner.files(job, action), pinner.root, store, lambda line: None)
        result = dataclasses.replace(made, site=site.here(machine))
        store.record(result)
    return result
