"""Runs a plan: recall each job or perform it, in order of need, several at once. Judges nothing, prints nothing.

A job that fails takes down only the jobs that need it. Jobs for another machine are handed to its executor, beside what is
done here; which of several machines takes a job is for `builder/execution/scheduler.py` to say, and what one leaves undone another
gets. Where there is none, they are recalled when that machine has performed them (`builder/execution/orders.py` keeps the rest for
it). What machines that are away leave undone waits.
"""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, AbstractSet, Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Set

from builder.actions.action import Action, Result, this_site
from builder.config.remote_machines import Reached
from builder.errors import DeployError, StepFailed, Unreachable
from builder.planning.jobs import Job
from builder.planning.planner import Plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.plugins import Executor
from builder.store.layout import Layout

# Which of the machines that may do a job takes it, and what becomes of a job whose machine was away or failed. Pure.
#
# A machine takes one job at a time, the fleet many. What is measured goes to the machine that built it, as long as
# that is there, so that the numbers of a cell are of one machine. A job goes to each machine once.


MOST_OF_A_FLEET = 64  # jobs that are left to it at once: each has a thread here that waits


class Placing:
    def __init__(self) -> None:
        self._busy: Dict[str, str] = {}  # address -> job
        self._left_to_fleet = 0  # jobs
        self._made: Dict[str, Reached] = {}
        self._tried: Dict[str, Dict[Reached, DeployError]] = {}

    def seat(self, job: Job) -> Optional[Reached]:
        """The machine that takes `job` now; None while it has to wait for one that is at work."""
        left = self._left(job)
        builders = {self._made[need] for need in job.needs if need in self._made}
        for place in [place for place in left if place in builders] or left:
            if self._left_to_fleet < MOST_OF_A_FLEET if place.many else place.where not in self._busy:
                return place
        return None

    def begins(self, job: Job, place: Reached) -> None:
        if place.many:
            self._left_to_fleet += 1
        else:
            self._busy[place.where] = job.id

    def ends(self, job: Job, place: Reached, problem: Optional[DeployError] = None) -> bool:
        """Is there no other machine that could do `job`? True when it is done."""
        self._left_to_fleet -= place.many
        self._busy.pop(place.where, None)
        if problem is None:
            self._made[job.id] = place
            return True
        self._tried.setdefault(job.id, {})[place] = problem
        return not self._left(job)

    def problem(self, job: Job) -> DeployError:
        """What became of a job that no machine has done: that of a step that failed, rather than of machines that are away."""
        tried = self._tried[job.id]
        failed = [problem for problem in tried.values() if not isinstance(problem, Unreachable)]
        if not failed:
            return _together(list(tried.values()))
        others = [place.where for place, problem in tried.items() if problem in failed[:-1]]
        if not others:
            return failed[-1]
        return StepFailed(
            f"{failed[-1].what} (as on {', '.join(others)})", where=failed[-1].where, hint=failed[-1].hint
        )

    def _left(self, job: Job) -> List[Reached]:
        return [place for place in job.reached if place not in self._tried.get(job.id, {})]


def _together(away: Sequence[DeployError]) -> DeployError:
    if len(away) == 1:
        return away[0]
    return Unreachable(
        "none of its machines can be used: " + "; ".join(f"{problem.where}: {problem.what}" for problem in away)
    )


def shared(jobs: Sequence[Job]) -> Set[Reached]:
    """Machines beside which there is another one for each of their jobs: nobody has to wait long for them."""
    alone: Set[Reached] = {job.reached[0] for job in jobs if len(job.reached) == 1}
    return {place for job in jobs for place in job.reached} - alone


# What a run tells while it works: a protocol, and two plain reporters. The live table is `builder/cli/live.py`.


class Reporter(Protocol):
    def begin(self, plan: Plan) -> None: ...

    def started(self, job: str) -> None: ...

    def said(self, job: str, line: str) -> None:
        """A line that the step printed."""

    def ended(self, job: str, how: str, seconds: float) -> None:
        """`how`: done, recalled, failed, waiting or blocked."""

    def told(self, line: str) -> None:
        """A line about no single job."""

    def close(self) -> None: ...


class Silent:
    def begin(self, plan: Plan) -> None: ...

    def started(self, job: str) -> None: ...

    def said(self, job: str, line: str) -> None: ...

    def ended(self, job: str, how: str, seconds: float) -> None: ...

    def told(self, line: str) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """One line per job that did something, and what is heard of jobs on other machines, which are not to be watched
    otherwise; for logs and pipes."""

    def __init__(self, out: Optional[IO[str]] = None) -> None:
        self._out = out or sys.stderr
        self._total = self._count = 0
        self._elsewhere: AbstractSet[str] = frozenset()

    def begin(self, plan: Plan) -> None:
        self._total, self._count = len(plan.jobs), 0
        self._elsewhere = {job.id for job in plan.jobs if job.reached}

    def said(self, job: str, line: str) -> None:
        if job in self._elsewhere and line:
            self._print(f"{job}: {line}")

    def ended(self, job: str, how: str, seconds: float) -> None:
        self._count += 1
        if how not in ("recalled", "waiting"):
            self._print(f"[{self._count}/{self._total}] {job}: {how} ({seconds:.1f} s)")

    def told(self, line: str) -> None:
        self._print(line)

    def _print(self, line: str) -> None:
        """In one piece: several threads tell of their jobs."""
        self._out.write(f"{line}\n")
        self._out.flush()


@dataclass
class Outcome:
    """What became of each job, by job id. A job is in exactly one of results, failures, waiting and blocked; `away` says why
    one waits whose machine could not be reached, or was not the declared one."""

    results: Dict[str, Result] = field(default_factory=dict)
    actions: Dict[str, Action] = field(default_factory=dict)
    performed: Set[str] = field(default_factory=set)
    failures: Dict[str, DeployError] = field(default_factory=dict)
    waiting: Set[str] = field(default_factory=set)
    blocked: Dict[str, str] = field(default_factory=dict)
    away: Dict[str, Unreachable] = field(default_factory=dict)

    def settled(self, job: str) -> bool:
        return job in self.results or job in self.failures or job in self.waiting or job in self.blocked


def prospect(plan: Plan, pinner: Pinner, store: Layout) -> Outcome:
    """What a run would find already done. Performs and writes nothing."""
    outcome = Outcome()
    for job in plan.jobs:
        if all(need in outcome.results for need in job.needs):
            try:
                action = outcome.actions[job.id] = pinner.pin(job, outcome.results)
            except DeployError as problem:
                outcome.failures[job.id] = problem
                continue
            found = store.recall(action.key)
            if found is not None:
                outcome.results[job.id] = found
    return outcome


def perform_here(
    action: Action,
    files: Mapping[str, Path],
    root: Path,
    store: Layout,
    executor: Executor,
    machine: Machine,
    say: Callable[[str], None],
) -> Result:
    """Perform one action by `executor` on this `machine`, and record its result. Errors as `Executor.perform`."""
    made = executor.perform(action, files, root, store, say)
    result = dataclasses.replace(made, site=this_site(machine))
    store.record(result)
    return result


def run(
    plan: Plan,
    pinner: Pinner,
    store: Layout,
    executor: Executor,
    reporter: Reporter,
    *,
    jobs: int = 1,
    force: bool = False,
    spared: AbstractSet[str] = frozenset(),
    at: Optional[Callable[[Reached], Executor]] = None,
) -> Outcome:
    """Every job of `plan`, at most `jobs` at once here. The caller holds the store's lock. `force`: nothing is recalled but
    the results of the keys in `spared`. `at`: the executors of other machines."""
    return _Run(plan, pinner, store, executor, reporter, force, spared, at).through(jobs)


class _Run:
    def __init__(
        self,
        plan: Plan,
        pinner: Pinner,
        store: Layout,
        executor: Executor,
        reporter: Reporter,
        force: bool,
        spared: AbstractSet[str],
        at: Optional[Callable[[Reached], Executor]],
    ) -> None:
        self._plan, self._pinner, self._store, self._spared = plan, pinner, store, spared
        self._executor, self._reporter, self._force, self._at = executor, reporter, force, at
        self._executors: Dict[Reached, Executor] = {}
        self._met = False
        self._placing, self._places = Placing(), {}  # type: Placing, Dict[str, Reached]
        self._outcome = Outcome()

    def through(self, jobs: int) -> Outcome:
        open_jobs: List[Job] = list(self._plan.jobs)
        running: Dict["Future[Result]", Job] = {}
        machines = {place for job in open_jobs for place in job.reached}
        threads = jobs + sum(MOST_OF_A_FLEET if place.many else 1 for place in machines)
        pool = ThreadPoolExecutor(max_workers=threads)
        self._reporter.begin(self._plan)
        try:
            while open_jobs or running:
                self._start(open_jobs, running, pool, jobs)
                if running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        job = running.pop(future)
                        if not self._finish(job, future):
                            open_jobs.insert(0, job)
        except BaseException:  # an interrupt above all: nothing that was started may outlive the run
            for executor in (self._executor, *self._executors.values()):
                executor.stop()
            raise
        finally:
            pool.shutdown(wait=True)
        return self._outcome

    def _start(
        self, open_jobs: List[Job], running: Dict["Future[Result]", Job], pool: ThreadPoolExecutor, jobs: int
    ) -> None:
        """Settle what needs no work, and hand out work while there is room. Exclusive jobs go last and alone. On another
        machine every job is alone."""
        for job in list(open_jobs):
            if not all(self._outcome.settled(need) for need in job.needs):
                continue
            if not self._settle(job):
                if not self._has_room(job, list(running.values()), open_jobs, jobs):
                    continue
                self._meet()
                running[pool.submit(self._perform, job)] = job
            open_jobs.remove(job)

    def _meet(self) -> None:
        """Have an executor for every place before the first job of this run is performed: what is wrong with how a place is
        named or unlocked ends the run, and fails no cell. Nobody is connected to yet."""
        if not self._met and self._at is not None:
            for place in dict.fromkeys(place for job in self._plan.jobs for place in job.reached):
                self._executors[place] = self._at(place)
        self._met = True

    def _has_room(self, job: Job, running: List[Job], open_jobs: List[Job], jobs: int) -> bool:
        if not self._is_elsewhere(job):
            here = [other for other in running if not self._is_elsewhere(other)]
            waiting = any(not self._is_elsewhere(other) and not other.exclusive for other in open_jobs)
            return _has_room_here(job, here, waiting, jobs)
        place = self._placing.seat(job)
        if place is None:
            return False
        self._placing.begins(job, place)
        self._places[job.id] = place
        return True

    def _is_elsewhere(self, job: Job) -> bool:
        return bool(job.reached) and self._at is not None

    def _settle(self, job: Job) -> bool:
        """Recalled, waiting, blocked or unpinnable: true, and no worker is needed."""
        outcome = self._outcome
        missing = [need for need in job.needs if need not in outcome.results]
        if missing:
            if all(need in outcome.waiting for need in missing):
                outcome.waiting.add(job.id)
                return self._ended(job, "waiting")
            first = next(need for need in missing if need not in outcome.waiting)
            outcome.blocked[job.id] = outcome.blocked.get(first, first)
            return self._ended(job, "blocked")
        try:
            action = outcome.actions[job.id] = self._pinner.pin(job, outcome.results)
        except DeployError as problem:
            outcome.failures[job.id] = problem
            return self._ended(job, "failed")
        afresh = self._force and (job.elsewhere is None or self._is_elsewhere(job)) and action.key not in self._spared
        found = None if afresh else self._store.recall(action.key)
        if found is not None:
            outcome.results[job.id] = found
            return self._ended(job, "recalled")
        if job.elsewhere is not None and not self._is_elsewhere(job):
            outcome.waiting.add(job.id)
            return self._ended(job, "waiting")
        return False

    def _ended(self, job: Job, how: str, seconds: float = 0.0) -> bool:
        self._reporter.ended(job.id, how, seconds)
        return True

    def _perform(self, job: Job) -> Result:
        action = self._outcome.actions[job.id]
        self._reporter.started(job.id)
        files = self._pinner.files(job, action)
        return self._executor_of(job).perform(
            action, files, self._pinner.root, self._store, lambda line: self._reporter.said(job.id, line)
        )

    def _executor_of(self, job: Job) -> Executor:
        place = self._places.get(job.id)
        return self._executors[place] if place is not None else self._executor

    def _finish(self, job: Job, future: "Future[Result]") -> bool:
        """Is the job settled? False when another machine has to take it."""
        place = self._places.pop(job.id, None)
        try:
            result = future.result()
            if result.site is None:
                result = dataclasses.replace(result, site=this_site(self._pinner.machine))
        except DeployError as problem:
            if place is not None:
                if not self._placing.ends(job, place, problem):
                    self._reporter.told(f"{job.id}: {place.where}: {problem.what}; it goes to another machine")
                    return False
                problem = self._placing.problem(job)
            if isinstance(problem, Unreachable) and place is not None:
                self._outcome.away[job.id] = problem
                self._outcome.waiting.add(job.id)
                return self._ended(job, "waiting")
            self._outcome.failures[job.id] = problem
            return self._ended(job, "failed")
        if place is not None:
            self._placing.ends(job, place)
        self._store.record(result)
        self._outcome.results[job.id] = result
        self._outcome.performed.add(job.id)
        return self._ended(job, "done", result.seconds)


def _has_room_here(job: Job, here: List[Job], others_wait: bool, jobs: int) -> bool:
    """`others_wait`: there are jobs for this machine that may run beside others."""
    if len(here) >= (1 if job.exclusive else jobs) or any(other.exclusive for other in here):
        return False
    return not (job.exclusive and others_wait)
