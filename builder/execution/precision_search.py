"""The search over a whole plan: each failed cell that asks for it is tried with layers kept, and takes the best that met
its gates. Performs nothing itself: `attempt` does, or looks up what was performed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Dict, FrozenSet, Generator, List, Mapping, Optional, Sequence, Tuple

from builder import terminal
from builder.actions.measurements import Cost, LayerError
from builder.config.cells import Cell
from builder.config.matrix import Matrix, Search
from builder.execution import publish
from builder.execution.scheduler import Outcome, prospect
from builder.execution.search_trials import STAND_IN, Attempt, Bench, Tried, accurate
from builder.planning.jobs import Job
from builder.planning.planner import Plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.store.layout import Layout
from builder.store.manifest import Check, Ended, Recovered, Searched, Trial, Verdict

# Which layers to keep next: a coroutine that asks and is told whether it passed. Pure; it knows no model and no store.
#
# Layers are numbers, 0 for the one that hurts most. First everything is kept: when that fails, nothing will pass. Then
# prefixes of the ranking, each twice as much longer as the last, until one passes (few layers are the usual case), and
# between the longest that failed and the shortest that passed by halves. Then each layer of that prefix is left out
# once: the ranking may have blamed one that does no harm in company. Last, layers that are dear to keep are exchanged for
# cheaper ones, as many for as many, by the multiply-accumulates that a layer does: timing each would make the search
# depend on noise. The same answers give the same questions.


Kept = Tuple[int, ...]
_EXCHANGES = 3  # cheaper layers that are tried in place of one


def smallest(work: Sequence[int], forced: int) -> Generator[Kept, bool, Optional[Kept]]:
    """Yields what to keep, is sent whether that passed, returns the fewest that did; None when not even all do. What passes
    is always better than what passed before it.

    `work`: how much each layer does. The first `forced` layers cannot be lowered and are always kept. That none but these is kept is known to fail, unless
    there are some: then it was never tried.
    """
    layers = len(work)
    if not (yield tuple(range(layers))):
        return None
    shortest = yield from _prefix(layers, forced)
    kept = tuple(range(shortest))
    for layer in reversed(range(forced, shortest - 1)):  # without the last one it is a prefix that failed
        fewer = tuple(other for other in kept if other != layer)
        if (yield fewer):
            kept = fewer
    for layer in sorted(kept[forced:], key=lambda layer: -work[layer]):
        cheaper = [other for other in range(layers) if other not in kept and 2 * work[other] < work[layer]]
        for other in cheaper[:_EXCHANGES]:
            exchanged = tuple(sorted({*kept, other} - {layer}))
            if (yield exchanged):
                kept = exchanged
                break
    return kept


def _prefix(layers: int, forced: int) -> Generator[Kept, bool, int]:
    """The length of the shortest prefix that passes."""
    failed, passed, step = (forced - 1 if forced else 0), layers, 1
    while failed + step < passed:
        if (yield tuple(range(failed + step))):
            passed = failed + step
        else:
            failed, step = failed + step, 2 * step
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if (yield tuple(range(middle))):
            passed = middle
        else:
            failed = middle
    return passed


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Healed:
    """The plan and its outcome with the artifacts that were found in place of those that failed, what was searched, and
    the cells whose search is still to be made. By cell id."""

    plan: Plan
    outcome: Outcome
    searched: Mapping[str, Searched] = field(default_factory=dict)
    unfinished: FrozenSet[str] = frozenset()

    def fate(self, cell: Cell) -> str:
        """build, recalled, waiting or skipped: recalled when all that this run would do for it is already done."""
        results = self.outcome.results
        if cell.fate == "skipped":
            return cell.fate
        if cell.fate == "waiting" and not cell.reached:
            return "recalled" if cell.engine in results else "waiting"
        here = (cell.engine,) if cell.unverified else (cell.engine, *cell.measurements)
        done = cell.id not in self.unfinished and all(job in results for job in here)
        return "recalled" if done else "build"


def heal(
    matrix: Matrix,
    machine: Machine,
    plan: Plan,
    outcome: Outcome,
    attempt: Attempt,
    tell: Tell,
    *,
    known: Optional[Mapping[str, Searched]] = None,
) -> Healed:
    """Search for every cell of `plan` that missed its gates and has `search` in its settings. Where `attempt` only looks
    up and something is not done yet, the cell stays as it is. `known`: cells that `plan` has as they were found already."""
    healed = Healed(plan, outcome, known or {})
    for cell in plan.cells:
        budget = cell.search
        if budget is None or not budget.trials or cell.fate == "skipped" or cell.id in healed.searched:
            continue
        case = _Case(Bench(matrix, machine, cell, attempt), budget, outcome, tell)
        found = case.searched(publish.judge(matrix, cell, outcome))
        if found is not None:
            healed = _with(healed, cell, found, case)
        elif case.unfinished:
            healed = replace(healed, unfinished=healed.unfinished | {cell.id})
    return healed


def recalled(matrix: Matrix, machine: Machine, plan: Plan, pinner: Pinner, store: Layout) -> Healed:
    """What a run and its searches would find already done. Performs and writes nothing."""

    def look_up(some: Plan, said: str) -> Outcome:
        return prospect(some, pinner, store)

    return heal(matrix, machine, plan, look_up(plan, ""), look_up, lambda line: None)


@dataclass
class _Case:
    """The search for one cell, and the work that it did."""

    bench: Bench
    budget: Search
    plain: Outcome
    tell: Tell
    final: Optional[Tried] = None
    worked: bool = False
    unfinished: bool = False
    trials: List[Trial] = field(default_factory=list)
    tries: Dict[Kept, Tried] = field(default_factory=dict)

    def searched(self, judged: Verdict) -> Optional[Searched]:
        """None when there is nothing to search for, or (looking up only) it was not done."""
        bench, failed = self.bench, judged.status == "failed"
        if accurate(judged) or (judged.status == "unverified" and not bench.stands_in):
            return None
        if not bench.ranking:
            why = f"no step lowers the graph of {bench.cell.precision} cells for this runtime"
            return self._ended("not applicable", f"no search: {why}") if failed else None
        if bench.lacking:
            return self._ended("not applicable", f"no search: {bench.lacking}")
        if failed and not bench.stands_in and not self._of_lowering():
            return None  # another step failed: no precision heals that
        bench.count(self.plain, bench.jobs)
        missed = Tried(bench.cell, (), self.plain, judged, 0.0)
        if bench.stands_in:
            said = f"search {bench.cell.id}: everything lowered, in {STAND_IN}"
            standing = self._noted(bench.tried((), said))
            if standing is None:
                return None
            if standing.passed:
                said = f"no search: in {STAND_IN} the same graph meets the gates"
                return self._ended("not applicable", said) if failed else None
            missed = standing
        return self._ranked(missed)

    def _of_lowering(self) -> bool:
        """The artifact was measured, or it was the lowering itself that failed."""
        return self.bench.cell.parity in self.plain.results or self.bench.lowering in self.plain.failures

    def _ranked(self, missed: Tried) -> Optional[Searched]:
        layers, seconds, problem = self.bench.layers()
        if problem is not None:
            return self._ended("failed", f"the search failed: {problem.what}")
        if layers is None:
            self.unfinished = True
            return None
        if not layers:
            return self._ended("not applicable", "no search: every layer is kept already")
        kept, ended = self._tried(layers, seconds)
        if ended is None:
            return None
        return self._concluded(layers, kept, ended, missed)

    def _tried(self, layers: Tuple[LayerError, ...], seconds: float) -> Tuple[Optional[Kept], Optional[Ended]]:
        """(the layers to keep, how it ended); no end: something is not done yet."""
        asking = smallest([layer.work for layer in layers], sum(1 for layer in layers if layer.problem))
        keep, best = next(asking), None
        while True:
            if len(self.trials) >= self.budget.trials or seconds >= 60 * self.budget.minutes:
                return best, "budget"
            tried = self._noted(self.bench.tried(_nodes(layers, keep), self._announced(layers, keep)))
            if tried is None:
                return None, None
            seconds += tried.seconds
            self.tries[keep] = tried
            names = tuple(layers[number].name for number in keep)
            missed = "" if tried.passed else tried.missed
            self.trials.append(Trial(names, tried.passed, missed, round(tried.seconds, 3)))
            if tried.outcome.performed:
                self.tell(f"  {'it passes' if tried.passed else missed}")
            best = keep if tried.passed else best  # what passes is better than what passed before
            try:
                keep = asking.send(tried.passed)
            except StopIteration as end:
                return best, "found" if end.value is not None else "impossible"

    def _announced(self, layers: Sequence[LayerError], keep: Kept) -> str:
        number = f"search {self.bench.cell.id}: trial {len(self.trials) + 1} of at most {self.budget.trials}"
        return f"{number}, {_share(layers, keep)} in float32"

    def _noted(self, tried: Optional[Tried]) -> Optional[Tried]:
        self.worked = self.worked or bool(tried is not None and tried.outcome.performed)
        self.unfinished = self.unfinished or tried is None
        return tried

    def _concluded(
        self, layers: Tuple[LayerError, ...], kept: Optional[Kept], ended: Ended, missed: Tried
    ) -> Optional[Searched]:
        made = terminal.counted(len(self.trials), "trial")
        if ended == "impossible":
            least = self.tries[tuple(range(len(layers)))].missed
            return self._ended(ended, f"search: even with every layer in float32 it misses {least}", layers, missed)
        if kept is None or len(kept) == len(layers):
            if ended == "found":
                said = f"search: it passes only with all {len(layers)} layers in float32, as an fp32 cell has them"
                return self._ended("everything", said, layers, missed)
            best = f"all {len(layers)} layers in float32" if kept else "none that passes"
            said = f"search ended after {made}; best: {best}; allow more with `search: {{trials: N, minutes: M}}`"
            return self._ended(ended, said, layers, missed)
        final = self.bench.final(_nodes(layers, kept), self.plain)
        if final is None:
            self.unfinished = True
            return None
        self.final, cost = final
        self._noted(self.final)
        said = f"{_share(layers, kept)} in float32: {', '.join(layers[number].name for number in kept)}"
        if ended == "budget":
            said += f" (fewer may do: the search ended after {made})"
        return self._ended(ended, said, layers, missed, kept, cost)

    def _ended(
        self,
        ended: Ended,
        said: str,
        layers: Sequence[LayerError] = (),
        missed: Optional[Tried] = None,
        kept: Kept = (),
        cost: Optional[Cost] = None,
    ) -> Searched:
        after = self.tries[kept].verdict.checks if kept else ()
        return Searched(
            ended=ended,
            said=said,
            budget=self.budget,
            layers=len(layers),
            kept=_nodes(layers, kept),
            trials=tuple(self.trials),
            was=_problems(layers) or (missed.missed if missed else ""),
            recovered=_recovered(missed.verdict.misses, after) if missed and kept else (),
            cost=cost,
            estimated=STAND_IN if self.trials and self.bench.stands_in else "",
        )


def _problems(layers: Sequence[LayerError]) -> str:
    """Why some layers cannot be lowered at all: then there is no artifact that missed anything, today or recalled."""
    return "; ".join(f"{layer.name}: {layer.problem}" for layer in layers if layer.problem)


def _nodes(layers: Sequence[LayerError], kept: Kept) -> Tuple[str, ...]:
    return tuple(node for number in kept for node in layers[number].nodes)


def _share(layers: Sequence[LayerError], kept: Kept) -> str:
    return f"{len(kept)} of {terminal.counted(len(layers), 'layer')}"


def _recovered(before: Sequence[Check], after: Sequence[Check]) -> Tuple[Recovered, ...]:
    found = {(c.level, c.subject, c.metric, c.bound): c.found for c in after}
    return tuple(
        Recovered(c.subject, c.metric, c.bound, c.limit, c.found, found.get((c.level, c.subject, c.metric, c.bound)))
        for c in before
        if c.level != "speed"
    )


def _with(healed: Healed, cell: Cell, found: Searched, case: _Case) -> Healed:
    """`healed` with what was found for one cell: its artifact takes the place of the one that failed."""
    plan, outcome = healed.plan, healed.outcome
    if case.final is not None:
        plan, outcome = _replaced(plan, outcome, case.final)
    performed = outcome.performed | ({f"search/{cell.id}"} if case.worked else set())
    searched = {**healed.searched, cell.id: found}
    return replace(healed, plan=plan, outcome=replace(outcome, performed=performed), searched=searched)


def _replaced(plan: Plan, outcome: Outcome, final: Tried) -> Tuple[Plan, Outcome]:
    cells = tuple(final.cell if cell.id == final.cell.id else cell for cell in plan.cells)
    jobs = {job.id: job for job in (*plan.jobs, *final.jobs)}
    used: Dict[str, Job] = {}

    def use(id: str) -> None:
        if id in jobs and id not in used:
            for need in jobs[id].needs:
                use(need)
            used[id] = jobs[id]

    for cell in cells:
        for id in (cell.onnx, cell.parse, cell.engine, *(task.reference for task in cell.tasks), *cell.measurements):
            use(id)
    new, made = {job.id for job in final.jobs}, final.outcome

    def old(id: str) -> bool:
        return id in used and id not in new

    return Plan(cells, tuple(used.values())), Outcome(
        results={**{k: v for k, v in outcome.results.items() if old(k)}, **made.results},
        actions={**{k: v for k, v in outcome.actions.items() if old(k)}, **made.actions},
        performed=outcome.performed | made.performed,
        failures={**{k: v for k, v in outcome.failures.items() if old(k)}, **made.failures},
        waiting={id for id in outcome.waiting if old(id)} | made.waiting,
        blocked={**{k: v for k, v in outcome.blocked.items() if old(k)}, **made.blocked},
        away={**{k: v for k, v in outcome.away.items() if old(k)}, **made.away},
    )
