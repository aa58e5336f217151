"""plan(matrix, machine) -> Plan: every cell with its fate, and the jobs that would make the cells. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Iterable, List, Optional, Tuple

from builder.config.cells import Cell, all_cells, any_selects, resolve, settings_of
from builder.config.matrix import Matrix, TorchSource
from builder.config.remote_machines import Reached
from builder.planning.job_graph import draw
from builder.planning.jobs import Job
from builder.platforms import rules
from builder.platforms.install import how_to_build, how_to_verify
from builder.platforms.machines import Machine
from builder.platforms.platform import (
    Platform,
    cannot_build,
    cannot_run,
    platform_of,
)

# No address: a manifest says it, which is read far from here.
OVER_SSH = "it is built and run on its own machine, over SSH"
BY_FLEET = "it is built and run by a worker of the fleet"


@dataclass(frozen=True)
class Plan:
    cells: Tuple[Cell, ...]
    jobs: Tuple[Job, ...]

    def job(self, id: str) -> Job:
        return next(job for job in self.jobs if job.id == id)

    def needed(self, ids: Iterable[str]) -> Tuple[Job, ...]:
        """The jobs of these ids and all that they need, in order of need."""
        by_id, wanted, waiting = {job.id: job for job in self.jobs}, set(), list(ids)
        while waiting:
            id = waiting.pop()
            if id not in wanted:
                wanted.add(id)
                waiting += by_id[id].needs
        return tuple(job for job in self.jobs if job.id in wanted)


def plan(
    matrix: Matrix,
    machine: Machine,
    *,
    only: Tuple[str, ...] = (),
    skip: Tuple[str, ...] = (),
    store: Optional[str] = None,
) -> Plan:
    """Expand, judge and draw the jobs. `only`, `skip` and `store` are what the command line says: selectors, and the
    folder that the person is told to carry when it is not the one of matrix.yaml."""
    jobs: Dict[str, Job] = {}
    cells: List[Cell] = []
    for cell in all_cells(matrix):
        if not any_selects(matrix.build, cell) or any_selects(matrix.skip, cell):
            continue
        if (only and not any_selects(only, cell)) or any_selects(skip, cell):
            continue
        cells.append(_plan_cell(matrix, machine, resolve(matrix, cell), jobs, store or matrix.store))
    return Plan(tuple(cells), tuple(jobs.values()))


def asked_of(matrix: Matrix, cell: Cell, machine: Machine) -> rules.Asked:
    """What the compatibility rules are asked about a cell."""
    return rules.Asked(
        cell=cell,
        head=matrix.head(cell.head),
        target=matrix.target(cell.target),
        machine=machine,
        inputs=matrix.model.inputs,
        profiles=tuple(matrix.profile(name) for name in cell.profiles),
        options=cell.tensorrt,
        allow=cell.allow,
        opset=matrix.model.opset if isinstance(matrix.model.source, TorchSource) else 0,
    )


def _plan_cell(matrix: Matrix, machine: Machine, cell: Cell, jobs: Dict[str, Job], store: str) -> Cell:
    target = matrix.target(cell.target)
    disabled = target.disabled or settings_of(matrix, cell).disabled
    if disabled is not None:
        see = (f"see {disabled.issue}",) if disabled.issue else ()
        return replace(cell, fate="skipped", reason=f"disabled: {disabled.reason}", source="matrix.yaml", remedies=see)
    asked = asked_of(matrix, cell, machine)
    skip = rules.judge(asked)
    if skip is not None:
        remedies = tuple(remedy.line for remedy in rules.remedies(asked, skip))
        return replace(cell, fate="skipped", reason=skip.fact, source=skip.source, rule=skip.rule, remedies=remedies)
    cell = placed(replace(cell, note=_note(asked), reached=target.reached), platform_of(target, machine), machine)
    cell, drawn = draw(matrix, machine, cell)
    for job in drawn:
        jobs.setdefault(job.id, job)
    if cell.reached:
        remedy = "build fleet" if _by_fleet(cell.reached) else f"build doctor --on {target.name}"
    elif cell.elsewhere:
        remedy = how_to_build(target, machine, store, tasks=bool(matrix.tasks))
    elif cell.unrunnable:
        return replace(cell, remedies=(how_to_verify(target, machine, store, tasks=bool(matrix.tasks)),))
    else:
        return cell
    return replace(cell, fate="waiting", reason=cell.elsewhere or "", remedies=(remedy,))


def placed(cell: Cell, platform: Platform, machine: Machine) -> Cell:
    """The cell on its platform. Where another machine is named, it is neither built nor run on this one."""
    if cell.reached:
        why = BY_FLEET if _by_fleet(cell.reached) else OVER_SSH
        return replace(cell, platform=platform, elsewhere=why, unrunnable=why)
    elsewhere, unrunnable = cannot_build(platform, machine), cannot_run(platform, machine)
    return replace(cell, platform=platform, elsewhere=elsewhere, unrunnable=unrunnable)


def _by_fleet(reached: Tuple[Reached, ...]) -> bool:
    return all(place.many for place in reached)


def _note(asked: rules.Asked) -> str:
    """What was asked for although it is slow, and why."""
    waived = [(said, rules.waived(asked, said)) for said in rules.answers(asked)] if asked.allow else []
    return "; ".join(f"{said.fact}, wanted all the same: {allowed.reason}" for said, allowed in waived if allowed)
