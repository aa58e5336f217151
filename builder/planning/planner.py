"""plan(matrix, machine) -> Plan: every cell with its fate, and the jobs that would make the cells. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Iterable, List, Optional, Tuple

from builder.config.cells import Cell, Settings, all_cells, any_selects, resolve, settings_of
from builder.config.matrix import Matrix, TorchSource
from builder.config.remote_machines import Reached
from builder.planning.job_graph import draw
from builder.planning.jobs import DrawnTask, Job, Wanted
from builder.platforms import rules
from builder.platforms.install import how_to_build, how_to_verify
from builder.platforms.machines import Machine
from builder.platforms.platform import PARSER, Platform, cannot_build, cannot_run, platform_of

# No address: a manifest says it, which is read far from here.
OVER_SSH = "it is built and run on its own machine, over SSH"
BY_FLEET = "it is built and run by a worker of the fleet"


@dataclass(frozen=True)
class PlannedCell:
    """`fate`: build (here), waiting (for its machine), skipped (`rule`, or the person, said no). `unverified` says why
    parity cannot be measured here; `note` which rule about speed was waived. A skipped cell has no job ids. A cell that
    waits is built by this run all the same when one of its machines can be `reached`."""

    cell: Cell
    fate: str
    settings: Settings
    platform: Optional[Platform] = None
    reason: str = ""
    source: str = ""
    remedies: Tuple[str, ...] = ()
    unverified: str = ""
    onnx: str = ""
    engine: str = ""
    parity: str = ""
    latency: str = ""
    tasks: Tuple[DrawnTask, ...] = ()
    parse: str = ""
    sweep: str = ""
    rule: str = ""
    note: str = ""
    reached: Tuple[Reached, ...] = ()

    @property
    def measurements(self) -> Tuple[str, ...]:
        """The jobs that run the artifact: they need its machine."""
        swept = (self.sweep,) if self.sweep else ()
        return (self.parity, *(task.job for task in self.tasks), self.latency, *swept)


@dataclass(frozen=True)
class Plan:
    cells: Tuple[PlannedCell, ...]
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
    cells: List[PlannedCell] = []
    for cell in all_cells(matrix):
        if not any_selects(matrix.build, cell) or any_selects(matrix.skip, cell):
            continue
        if (only and not any_selects(only, cell)) or any_selects(skip, cell):
            continue
        cells.append(_plan_cell(matrix, machine, cell, jobs, store or matrix.store))
    return Plan(tuple(cells), tuple(jobs.values()))


def asked_of(matrix: Matrix, cell: Cell, settings: Settings, machine: Machine) -> rules.Asked:
    """What the compatibility rules are asked about a cell."""
    return rules.Asked(
        cell=cell,
        head=matrix.head(cell.head),
        target=matrix.target(cell.target),
        machine=machine,
        inputs=matrix.model.inputs,
        profiles=tuple(matrix.profile(name) for name in settings.profiles),
        options=settings.tensorrt,
        allow=settings.allow,
        opset=matrix.model.opset if isinstance(matrix.model.source, TorchSource) else 0,
    )


def _plan_cell(matrix: Matrix, machine: Machine, cell: Cell, jobs: Dict[str, Job], store: str) -> PlannedCell:
    target, settings = matrix.target(cell.target), resolve(matrix, cell)
    planned = PlannedCell(cell, "build", settings)
    disabled = target.disabled or settings_of(matrix, cell).disabled
    if disabled is not None:
        see = (f"see {disabled.issue}",) if disabled.issue else ()
        return replace(
            planned, fate="skipped", reason=f"disabled: {disabled.reason}", source="matrix.yaml", remedies=see
        )
    asked = asked_of(matrix, cell, settings, machine)
    skip = rules.judge(asked)
    if skip is not None:
        remedies = tuple(remedy.line for remedy in rules.remedies(asked, skip))
        return replace(planned, fate="skipped", reason=skip.fact, source=skip.source, rule=skip.rule, remedies=remedies)
    platform = platform_of(target, machine)
    planned = replace(planned, platform=platform, note=_note(asked), reached=target.reached)
    elsewhere, unrunnable = _elsewhere(planned, machine)
    planned, drawn = redrawn(matrix, machine, planned, settings)
    for job in drawn:
        jobs.setdefault(job.id, job)
    if target.reached:
        only_fleet = all(place.many for place in target.reached)
        remedy = "build fleet" if only_fleet else f"build doctor --on {target.name}"
        return replace(planned, fate="waiting", reason=elsewhere or "", remedies=(remedy,))
    if elsewhere is not None:
        remedy = how_to_build(target, machine, store, tasks=bool(matrix.tasks))
        return replace(planned, fate="waiting", reason=elsewhere, remedies=(remedy,))
    if unrunnable is None:
        return planned
    return replace(planned, remedies=(how_to_verify(target, machine, store, tasks=bool(matrix.tasks)),))


def redrawn(
    matrix: Matrix, machine: Machine, planned: PlannedCell, settings: Settings, *, emulated: bool = False
) -> Tuple[PlannedCell, Tuple[Job, ...]]:
    """The cell with other settings, on its platform, and its jobs in order of need. `emulated`: see `Wanted`."""
    wanted = replace(wanted_of(planned, settings, machine), emulated=emulated)
    drawn = draw(matrix, wanted)
    named = replace(
        planned,
        settings=settings,
        unverified="" if planned.reached else wanted.unrunnable or "",
        onnx=drawn.onnx,
        engine=drawn.engine,
        parity=drawn.parity,
        latency=drawn.latency,
        tasks=drawn.tasks,
        parse=drawn.parse,
        sweep=drawn.sweep,
    )
    return named, drawn.jobs


def wanted_of(planned: PlannedCell, settings: Settings, machine: Machine) -> Wanted:
    """What is drawn for a cell that is not skipped."""
    platform = planned.platform
    assert platform is not None
    parser = PARSER if machine.version(PARSER) else None
    elsewhere, unrunnable = _elsewhere(planned, machine)
    return Wanted(
        planned.cell, settings, platform, machine.kind, elsewhere, unrunnable, parser, reached=planned.reached
    )


def _elsewhere(planned: PlannedCell, machine: Machine) -> Tuple[Optional[str], Optional[str]]:
    """(why the cell cannot be built here, why it cannot be run here): neither is done where another machine is named."""
    if planned.reached:
        why = BY_FLEET if all(place.many for place in planned.reached) else OVER_SSH
        return why, why
    assert planned.platform is not None
    return cannot_build(planned.platform, machine), cannot_run(planned.platform, machine)


def _note(asked: rules.Asked) -> str:
    """What was asked for although it is slow, and why."""
    waived = [(said, rules.waived(asked, said)) for said in rules.answers(asked)] if asked.allow else []
    return "; ".join(f"{said.fact}, wanted all the same: {allowed.reason}" for said, allowed in waived if allowed)
