"""Work for another machine: kept in the store as complete actions, and performed there without the matrix.

The machine that plans writes down what it would have done; the store is copied; `build perform` on the other
machine does it and records the results under the same keys, so that the planner recalls them afterwards.
"""

from __future__ import annotations

import fnmatch
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from builder.actions.action import Action, Pending, Result
from builder.config.cells import expand
from builder.errors import DeployError
from builder.execution.scheduler import Outcome, perform_here
from builder.planning.planner import Plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_build, cannot_run
from builder.plugins import Executor
from builder.records import RecordError, from_json, to_json
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
            store.remember(Pending(cell.id, action, measure))


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


# The run that a store is in the middle of: what it was asked for, so that it can be gone on with when it was interrupted.
#
# It is written when a run begins and removed when it ends, whatever its verdict; what is there without a living run was left
# by one that was killed or interrupted.


@dataclass(frozen=True)
class Ongoing:
    """`id` is what other machines know the run by. The rest are its flags; `machines` is a path."""

    id: str
    only: Tuple[str, ...] = ()
    skip: Tuple[str, ...] = ()
    gates: Tuple[str, ...] = ()
    force: bool = False
    machines: Optional[str] = None


def new_id() -> str:
    return os.urandom(16).hex()


def find(store: Layout) -> Optional[Ongoing]:
    """None where none is, or one of another version."""
    try:
        return from_json(Ongoing, json.loads(store.ongoing.read_bytes()))
    except (OSError, ValueError, RecordError):
        return None


def begin(store: Layout, ongoing: Ongoing) -> None:
    """For whoever holds the store. What goes on keeps the time when it began. Not flushed: a run with nothing to do would
    pay for it, and what is half there is as good as none."""
    if find(store) != ongoing:
        store.ongoing.write_text(json.dumps(to_json(ongoing), indent=1) + "\n", encoding="utf-8")


def end(store: Layout) -> None:
    store.ongoing.unlink()


def made_since(store: Layout) -> FrozenSet[str]:
    """The keys of all results that were recorded since the run that goes on began."""
    began = store.ongoing.stat().st_mtime_ns
    return frozenset(key for key, path in store.recorded() if path.stat().st_mtime_ns >= began)
