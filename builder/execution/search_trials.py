"""One cell with other layers kept in float32: its jobs, what becomes of them, and whether the gates are met.

A trial is the cell itself, drawn with another `keep`: its jobs are pinned, recalled or performed like any others, so that
a search that was ended goes on where it stood. What cannot run here is tried as the same graph in onnxruntime on this
machine's CPU, float16 emulated; its own engine is verified where it belongs. A trial is not timed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from builder import terminal
from builder.actions.measurements import Cost, LayerError, LayerErrors
from builder.config.cells import Cell
from builder.config.matrix import Matrix
from builder.config.tensorrt import TensorRtOptions
from builder.errors import DeployError
from builder.execution import publish
from builder.execution.scheduler import Outcome
from builder.planning.job_graph import draw, layer_errors
from builder.planning.jobs import Job
from builder.planning.measurement_jobs import cost
from builder.planning.planner import Plan, placed
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform, cannot_run
from builder.store.manifest import Recovered, Searched, Trial, Verdict
from validation import verdict

Attempt = Callable[[Plan, str], Outcome]  # runs a plan, or looks up what a run would find done; says what it is for
STAND_IN = "onnxruntime on this machine's CPU"


@dataclass(frozen=True)
class Tried:
    """`seconds` of work that no trial before it had in common with it."""

    cell: Cell
    jobs: Tuple[Job, ...]
    outcome: Outcome
    verdict: Verdict
    seconds: float

    @property
    def passed(self) -> bool:
        return accurate(self.verdict)

    @property
    def missed(self) -> str:
        missed = [check for check in self.verdict.misses if check.level != "speed"]
        return "; ".join(map(verdict.describe, missed)) or self.verdict.reason


def accurate(found: Verdict) -> bool:
    """Every gate on tensors and tasks is met. Speed is another matter: to keep layers makes nothing faster."""
    missed = found.status == "failed" and found.checks and all(check.level == "speed" for check in found.misses)
    return found.status == "passed" or bool(missed)


@dataclass
class Bench:
    """Tries one cell. Remembers which work it has counted."""

    matrix: Matrix
    machine: Machine
    cell: Cell
    attempt: Attempt
    _counted: Set[str] = field(default_factory=set)

    @property
    def stands_in(self) -> bool:
        """The cell's own runtime is not here."""
        return self.cell.fate == "waiting" or bool(self.cell.unverified)

    @property
    def lacking(self) -> str:
        """Why nothing can be tried here at all."""
        if not self.stands_in:
            return ""
        missing = [name for name in ("onnxruntime", "polygraphy") if self.machine.version(name) is None]
        return f"{missing[0]} is not installed here" if missing else cannot_run(self._cpu, self.machine) or ""

    @property
    def ranking(self) -> Tuple[Job, ...]:
        return layer_errors(self.matrix, self.machine, self.cell)

    @property
    def jobs(self) -> Tuple[Job, ...]:
        """The jobs of the cell as it is."""
        return draw(self.matrix, self.machine, self.cell)[1]

    @property
    def lowering(self) -> str:
        """The job that lowers the graph, "" when there is none."""
        return self.ranking[-1].id.partition("/")[2] if self.ranking else ""

    def count(self, outcome: Outcome, jobs: Sequence[Job]) -> float:
        """Seconds of work in `outcome` that were not counted before, as they were recorded."""
        fresh = {}
        for job in jobs:
            result = outcome.results.get(job.id)
            if result is not None and result.key not in self._counted:
                fresh[result.key] = result.seconds
        self._counted.update(fresh)
        return sum(fresh.values())

    def layers(self) -> "Tuple[Optional[Tuple[LayerError, ...]], float, Optional[DeployError]]":
        """(what lowering does to each layer, seconds, what went wrong); no layers and no error: not done yet."""
        jobs = self.ranking
        outcome = self.attempt(Plan((), jobs), f"search {self.cell.id}: what lowering does to each layer")
        result = outcome.results.get(jobs[-1].id)
        if result is not None and isinstance(result.facts, LayerErrors):
            return result.facts.layers, self.count(outcome, jobs), None
        failed = [outcome.failures[job.id] for job in jobs if job.id in outcome.failures]
        return None, 0.0, failed[0] if failed else None

    def tried(self, nodes: Tuple[str, ...], said: str) -> Optional[Tried]:
        """None when it is not done yet."""
        base = self._standing() if self.stands_in else self.cell
        cell, jobs = self._drawn(base, nodes)
        jobs = tuple(job for job in jobs if job.id != cell.latency)
        outcome = self.attempt(Plan((cell,), jobs), said)
        found = publish.judge(self.matrix, cell, outcome)
        if found.status in ("waiting", "unverified"):
            return None
        return Tried(cell, jobs, outcome, found, self.count(outcome, jobs))

    def final(self, nodes: Tuple[str, ...], plain: Outcome) -> "Optional[Tuple[Tried, Optional[Cost]]]":
        """The cell itself with these nodes kept, timed beside the one without; None when that is not done yet."""
        cell, jobs = self._drawn(self.cell, nodes)
        added = self._cost(cell, plain)
        each = {job.id: job for job in (*jobs, *added)}
        outcome = self.attempt(Plan((cell,), tuple(each.values())), "")
        found = publish.judge(self.matrix, cell, outcome)
        timed = [cell.latency, *(job.id for job in added[-1:])]
        if not self.stands_in and not all(id in outcome.results or id in outcome.failures for id in timed):
            return None
        result = outcome.results.get(f"cost/{cell.id}")
        facts = result.facts if result else None
        own = {job.id for job in jobs}
        return Tried(cell, jobs, _only(outcome, own), found, 0.0), facts if isinstance(facts, Cost) else None

    def _cost(self, cell: Cell, plain: Outcome) -> Tuple[Job, ...]:
        """The jobs that time it beside the artifact with everything lowered, where there is one to time."""
        if self.stands_in or self.cell.engine not in plain.results:
            return ()
        by_id = {job.id: job for job in self.jobs}
        lowered = replace(by_id[self.cell.engine], id=f"{self.cell.engine}/lowered")
        found: Dict[str, Job] = {}

        def need(job: Job) -> None:
            for id in job.needs:
                need(by_id[id])
                found[id] = by_id[id]

        need(lowered)
        return (*found.values(), lowered, cost(self.matrix, self.machine, cell, lowered.id))

    @property
    def _cpu(self) -> Platform:
        here = self.machine
        version = here.version("onnxruntime") or "any"
        return Platform("onnxruntime", version, here.os, here.arch, features=here.features)

    def _standing(self) -> Cell:
        """The cell as onnxruntime on this machine runs it."""
        built = replace(self.cell, fate="build", reason="", remedies=(), reached=(), emulated=True)
        own = replace(built, compute="f32", static=False, tensorrt=TensorRtOptions())
        return placed(own, self._cpu, self.machine)

    def _drawn(self, cell: Cell, nodes: Sequence[str]) -> Tuple[Cell, Tuple[Job, ...]]:
        """The cell with these nodes kept too, and its jobs."""
        keep = tuple(sorted({*cell.keep, *nodes}))
        return draw(self.matrix, self.machine, replace(cell, keep=keep))


def _only(outcome: Outcome, jobs: Set[str]) -> Outcome:
    return Outcome(
        results={id: result for id, result in outcome.results.items() if id in jobs},
        actions={id: action for id, action in outcome.actions.items() if id in jobs},
        performed=outcome.performed & jobs,
        failures={id: problem for id, problem in outcome.failures.items() if id in jobs},
        waiting=outcome.waiting & jobs,
        blocked={id: first for id, first in outcome.blocked.items() if id in jobs},
        away={id: problem for id, problem in outcome.away.items() if id in jobs},
    )


# What a search came to, in words: one line for a summary, several for `build explain`. Pure.


def search_line(found: Searched) -> str:
    """'1 of 4 layers in float32: mix; out snr_db 0 -> 34.5 (limit 20); +0.10 ms (1.30x)'."""
    parts = [found.said, *map(_recovered, found.recovered)]
    if found.cost is not None:
        parts.append(cost_text(found.cost))
    if found.estimated:
        parts.append(f"estimated in {found.estimated}")
    return "; ".join(parts)


def search_lines(found: Searched) -> List[Tuple[str, str]]:
    return list(_lines(found))


def _lines(found: Searched) -> Iterator[Tuple[str, str]]:
    yield "outcome", f"{found.ended}: {found.said}"
    if found.estimated:
        yield "estimated", f"in {found.estimated}; the artifact itself is verified on its own machine"
    if found.kept:
        yield "keep", f"[{', '.join(found.kept)}]"
    if found.was:
        yield "missed", found.was
    for one in found.recovered:
        yield "recovered", _recovered(one)
    if found.cost is not None:
        yield (
            "cost",
            f"{cost_text(found.cost)} beside everything lowered, {_shape(found.cost)}, on {found.cost.machine}",
        )
    for number, trial in enumerate(found.trials, 1):
        yield f"trial {number}", _trial(trial, found.layers)
    yield "budget", f"{terminal.counted(found.budget.trials, 'trial')}, {found.budget.minutes:g} minutes"


def cost_text(of: Cost) -> str:
    return f"{of.ms:+.2f} ms ({of.ratio:.2f}x)"


def _shape(of: Cost) -> str:
    return "x".join(map(str, of.shape))


def _recovered(one: Recovered) -> str:
    lost = "" if one.bound == "value" else "lost "
    unit = "%" if one.bound == "percent degradation" else ""
    before, after = (f"{v:.4g}{unit}" if v is not None else "no number" for v in (one.before, one.after))
    return f"{one.subject} {one.metric} {lost}{before} -> {after} (limit {one.limit:g}{unit})"


def _trial(trial: Trial, layers: int) -> str:
    named = "all layers" if len(trial.kept) == layers else ", ".join(trial.kept)
    result = "it passes" if trial.passed else trial.missed
    return f"{named} in float32: {result} ({trial.seconds:.1f} s)"
