"""Runs a plan: recall each job or perform it, in order of need, several at once. Judges nothing, prints nothing.

A job that fails blocks only the jobs that need it. Jobs for another machine go to its executor, beside what is done here;
what one machine leaves undone goes to another (`Placing`), and waits when all are away. A job for a machine that nobody
reaches is recalled once it is performed there (`builder/execution/orders.py` keeps it until then).
"""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, AbstractSet, Callable, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Set, Tuple

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
    return _Run(plan, pinner, store, executor, reporter, jobs, force, spared, at).through()


@dataclass
class _Run:
    """One run of a plan. `open`: jobs that are neither settled nor running, in the order they are looked at."""

    plan: Plan
    pinner: Pinner
    store: Layout
    executor: Executor
    reporter: Reporter
    jobs: int
    force: bool
    spared: AbstractSet[str]
    at: Optional[Callable[[Reached], Executor]]
    outcome: Outcome = field(default_factory=Outcome)
    placing: Placing = field(default_factory=Placing)
    open: List[Job] = field(default_factory=list)
    running: Dict["Future[Result]", Tuple[Job, Optional[Reached]]] = field(default_factory=dict)
    keys: Dict[str, str] = field(default_factory=dict)  # job id -> action key
    executors: Dict[Reached, Executor] = field(default_factory=dict)

    def through(self) -> Outcome:
        self.open = list(self.plan.jobs)
        machines = {place for job in self.open for place in job.reached}
        threads = self.jobs + sum(MOST_OF_A_FLEET if place.many else 1 for place in machines)
        self.reporter.begin(self.plan)
        with ThreadPoolExecutor(max_workers=threads) as pool:
            try:
                while self.open or self.running:
                    for job in self._ready():
                        if self._recall(job) or self._dispatch(job, pool):
                            self.open.remove(job)
                    for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                        self._record(future)
            except BaseException:  # an interrupt above all: nothing that was started may outlive the run
                for executor in (self.executor, *self.executors.values()):
                    executor.stop()
                raise
        return self.outcome

    def _ready(self) -> Iterator[Job]:
        """Open jobs whose needs have results. A job with a need that ended without one ends here."""
        for job in list(self.open):
            if all(self.outcome.settled(need) for need in job.needs):
                missing = [need for need in job.needs if need not in self.outcome.results]
                if missing:
                    self.open.remove(job)
                    self._end_without(job, missing)
                else:
                    yield job

    def _end_without(self, job: Job, missing: Sequence[str]) -> None:
        first = next((need for need in missing if need not in self.outcome.waiting), None)
        if first is None:
            self._wait(job)
        else:
            self.outcome.blocked[job.id] = self.outcome.blocked.get(first, first)
            self._ended(job, "blocked")

    def _recall(self, job: Job) -> bool:
        """Take the recorded result. True also for a job that ends without one: its inputs are missing, or it waits."""
        elsewhere = self._is_elsewhere(job)
        try:
            key = self.keys.get(job.id) or self._resolve(job)
        except DeployError as problem:
            return self._fail(job, problem)
        afresh = self.force and (job.elsewhere is None or elsewhere) and key not in self.spared
        found = None if afresh else self.store.recall(key)
        if found is not None:
            self.outcome.results[job.id] = found
            return self._ended(job, "recalled")
        return job.elsewhere is not None and not elsewhere and self._wait(job)

    def _resolve(self, job: Job) -> str:
        """The key of the action of `job`; once, since its needs have their results by now."""
        action = self.outcome.actions[job.id] = self.pinner.pin(job, self.outcome.results)
        return self.keys.setdefault(job.id, action.key)

    def _dispatch(self, job: Job, pool: ThreadPoolExecutor) -> bool:
        """Hand `job` to an executor. False while there is no room for it."""
        place = self.placing.seat(job) if self._is_elsewhere(job) else None
        if place is None and (self._is_elsewhere(job) or not self._has_room_here(job)):
            return False
        self._make_executors()
        if place is not None:
            self.placing.begins(job, place)
        executor = self.executors[place] if place is not None else self.executor
        self.running[pool.submit(self._perform, job, executor)] = job, place
        return True

    def _is_elsewhere(self, job: Job) -> bool:
        return bool(job.reached) and self.at is not None

    def _has_room_here(self, job: Job) -> bool:
        """Exclusive jobs run last and alone. Other machines take one job each and do not count."""
        here = [other for other, place in self.running.values() if place is None]
        if len(here) >= (1 if job.exclusive else self.jobs) or any(other.exclusive for other in here):
            return False
        return not job.exclusive or all(other.exclusive or self._is_elsewhere(other) for other in self.open)

    def _make_executors(self) -> None:
        """Make the executors of all places before the first job: a wrong name or key ends the run and fails no cell. This
        connects to no machine yet."""
        if self.at is not None and not self.executors:
            for place in dict.fromkeys(place for job in self.plan.jobs for place in job.reached):
                self.executors[place] = self.at(place)

    def _perform(self, job: Job, executor: Executor) -> Result:
        """In a thread of its own."""
        action = self.outcome.actions[job.id]
        self.reporter.started(job.id)
        files = self.pinner.files(job, action)
        return executor.perform(
            action, files, self.pinner.root, self.store, lambda line: self.reporter.said(job.id, line)
        )

    def _record(self, future: "Future[Result]") -> None:
        """Record the result of a job, or give the job to another machine, or fail it."""
        job, place = self.running.pop(future)
        try:
            result = future.result()
        except DeployError as problem:
            self._not_done(job, place, problem)
            return
        if result.site is None:
            result = dataclasses.replace(result, site=this_site(self.pinner.machine))
        if place is not None:
            self.placing.ends(job, place)
        self.store.record(result)
        self.outcome.results[job.id] = result
        self.outcome.performed.add(job.id)
        self._ended(job, "done", result.seconds)

    def _not_done(self, job: Job, place: Optional[Reached], problem: DeployError) -> None:
        if place is None:
            self._fail(job, problem)
        elif not self.placing.ends(job, place, problem):
            self.reporter.told(f"{job.id}: {place.where}: {problem.what}; it goes to another machine")
            self.open.insert(0, job)
        else:
            problem = self.placing.problem(job)
            if isinstance(problem, Unreachable):
                self.outcome.away[job.id] = problem
                self._wait(job)
            else:
                self._fail(job, problem)

    def _wait(self, job: Job) -> bool:
        self.outcome.waiting.add(job.id)
        return self._ended(job, "waiting")

    def _fail(self, job: Job, problem: DeployError) -> bool:
        self.outcome.failures[job.id] = problem
        return self._ended(job, "failed")

    def _ended(self, job: Job, how: str, seconds: float = 0.0) -> bool:
        self.reporter.ended(job.id, how, seconds)
        return True
