"""One run of `build matrix`: what it plans, performs, searches and publishes. Prints nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import AbstractSet, Callable, Iterator, Mapping, Optional, Set, Tuple

from builder import clock
from builder.config.loader import Loaded
from builder.config.remote_machines import Reached
from builder.execution import publish, scheduler
from builder.execution.precision_search import Healed, heal, recalled
from builder.execution.scheduler import Outcome, Reporter, prospect
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.plugins import Executor
from builder.release import VERSION
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest, Searched

At = Callable[[Reached], Executor]


class Build:
    """The matrix, this machine and the store of one run."""

    def __init__(self, loaded: Loaded, machine: Machine, store: Layout) -> None:
        self.loaded, self.machine, self.store = loaded, machine, store
        self.pinner = Pinner(loaded.root, machine, store)

    def plan(self, only: Tuple[str, ...] = (), skip: Tuple[str, ...] = ()) -> Plan:
        return plan(self.loaded.matrix, self.machine, only=only, skip=skip, store=str(self.store.root))

    def recalled(self, planned: Plan) -> Healed:
        """What is already done of it. Performs and writes nothing."""
        return recalled(self.loaded.matrix, self.machine, planned, self.pinner, self.store)

    @contextlib.contextmanager
    def elsewhere(self, planned: Plan, run_id: str, environ: Mapping[str, str]) -> Iterator[Optional[At]]:
        """The executors of the machines that the matrix says to work on; None without any."""
        if not any(job.reached for job in planned.jobs):
            yield None
            return
        from builder.execution.executors import Campaign, Crew  # only a run with other machines pays for it

        fleet = self.loaded.matrix.fleet.beside(self.loaded.root) if self.loaded.matrix.fleet else None
        with Crew(Campaign(run_id, environ, scheduler.shared(planned.jobs), fleet)) as crew:
            yield crew.at

    def perform(
        self,
        planned: Plan,
        executor: Executor,
        reporter: Reporter,
        at: Optional[At],
        *,
        jobs: int,
        force: bool,
        done: AbstractSet[str],
    ) -> Healed:
        """Perform the plan, and search for layers to keep in float32. The caller holds the store's lock.

        `force`: perform each step once, but for those whose keys are in `done`.
        """
        performed: Set[str] = set(done)

        def attempt(some: Plan, said: str) -> Outcome:
            if said:
                found = prospect(some, self.pinner, self.store)
                results = [found.results.get(job.id) for job in some.jobs]
                if all(result and (not force or result.key in performed) for result in results):
                    return found  # nothing to do, and nothing to say
                reporter.told(said)
            outcome = scheduler.run(
                some, self.pinner, self.store, executor, reporter, jobs=jobs, force=force, spared=performed, at=at
            )
            performed.update(outcome.results[job].key for job in outcome.performed)
            return outcome

        known: Mapping[str, Searched] = {}
        if not force and any(cell.search for cell in planned.cells):
            # with the layers that an earlier run found: nothing is done for artifacts that are not used
            found = self.recalled(planned)
            planned, known = found.plan, {cell: one for cell, one in found.searched.items() if one.kept}
        outcome = attempt(planned, "")
        return heal(self.loaded.matrix, self.machine, planned, outcome, attempt, reporter.told, known=known)

    def publish(self, healed: Healed, *, partly: bool) -> Tuple[Manifest, bool]:
        """Publish the manifest of what is now known, if it says something new: (the latest manifest, is it new?).

        `partly`: cells outside the selection keep their entries when nothing they depend on has changed.
        """
        whole = self._with_the_rest(healed) if partly else healed
        last = versions.latest(self.store)
        made = publish.manifest(
            self.loaded,
            whole.plan,
            whole.outcome,
            self.store,
            self.machine,
            version=last.version + 1 if last else 1,
            created=clock.text(clock.now()),
            release=VERSION,
            searched=whole.searched,
        )
        if last is not None and last.says_the_same_as(made):
            return last, False
        from builder.store import provenance  # here, so that a run with nothing to say does not pay for it

        traced = publish.trace(whole.plan, whole.outcome, made.version)
        versions.publish(self.store, made, dataclasses.replace(traced, revision=provenance.of(self.loaded.root)))
        return made, True

    def _with_the_rest(self, healed: Healed) -> Healed:
        """What was selected, and the cells outside the selection as far as they are done."""
        found = self.recalled(self.plan())
        outcome = dataclasses.replace(
            healed.outcome,
            results={**found.outcome.results, **healed.outcome.results},
            actions={**found.outcome.actions, **healed.outcome.actions},
        )
        chosen = {cell.id: cell for cell in healed.plan.cells}
        jobs = {job.id: job for job in (*found.plan.jobs, *healed.plan.jobs)}
        cells = tuple(chosen.get(cell.id, cell) for cell in found.plan.cells)
        whole = Healed(Plan(cells, tuple(jobs.values())), outcome, {**found.searched, **healed.searched})
        kept = tuple(c for c in cells if c.id in chosen or c.fate != "build" or whole.fate(c) == "recalled")
        return dataclasses.replace(whole, plan=dataclasses.replace(whole.plan, cells=kept))
