"""Work for another machine: kept in the store as complete actions, and performed there without the matrix.

The machine that plans writes down what it would have done; the store is copied; `build perform` on the other
machine does it and records the results under the same keys, so that the planner recalls them afterwards.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Mapping

from builder.actions.action import Action, Pending, Result
from builder.config.cells import expand
from builder.errors import DeployError
from builder.planning.planner import Plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_build, cannot_run
from builder.plugins import Executor
from builder.run import Outcome, perform_here
from builder.store.layout import Layout


def keep(plan: Plan, outcome: Outcome, pinner: Pinner, store: Layout) -> None:
    """Remember every cell whose artifact or measurements this machine could not make."""
    for cell in plan.cells:
        action = outcome.actions.get(cell.engine)
        if action is None or not {cell.engine, *cell.measurements} & outcome.waiting:
            continue
        jobs = [plan.job(id) for id in cell.measurements]
        if all(need in outcome.results or need == cell.engine for job in jobs for need in job.needs):
            _carry(pinner.files(plan.job(cell.engine), action), action, store)
            measure = tuple(pinner.pin(job, outcome.results, without=cell.engine) for job in jobs)
            for job, made in zip(jobs, measure):
                _carry(pinner.files(job, made), made, store)
            store.remember(Pending(cell.cell.id, action, measure))


def _carry(files: Mapping[str, Path], action: Action, store: Layout) -> None:
    """Put the files that lie beside matrix.yaml (a metric's code, a timing cache) into the store, which travels to the other machine."""
    for pinned in action.inputs:
        if not store.holds(pinned.digest):
            store.put_bytes(pinned.name, files[pinned.name].read_bytes())


@dataclass
class Performed:
    done: List[str]
    refused: Dict[str, str]
    failed: Dict[str, DeployError]


def perform(
    selector: str, store: Layout, executor: Executor, machine: Machine, say: Callable[[str], None]
) -> Performed:
    """Build and measure the selected pending cells that this machine fits."""
    report = Performed([], {}, {})
    for pending in store.pending():
        if not _selected(selector, pending.cell):
            continue
        platform = pending.engine.platform
        assert platform is not None
        reason = cannot_build(platform, machine) or cannot_run(platform, machine)
        if reason is not None:
            report.refused[pending.cell] = reason
            continue
        try:
            built = _recall_or_perform(pending.engine, store, executor, machine, say)
            for action in pending.measuring(built):
                _recall_or_perform(action, store, executor, machine, say)
            report.done.append(pending.cell)
        except DeployError as problem:
            report.failed[pending.cell] = problem
    return report


def _selected(selector: str, cell: str) -> bool:
    return any(fnmatch.fnmatchcase(cell, pattern) for pattern in expand(selector))


def _recall_or_perform(
    action: Action, store: Layout, executor: Executor, machine: Machine, say: Callable[[str], None]
) -> Result:
    found = store.recall(action.key)
    if found is not None:
        return found
    files: Dict[str, Path] = {pinned.name: store.fetch(pinned.digest) for pinned in action.inputs}
    return perform_here(action, files, store.root, store, executor, machine, say)
